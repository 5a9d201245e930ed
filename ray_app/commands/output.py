"""How commands speak: results on standard output, everything else on standard error."""

from __future__ import annotations

import sys
from collections.abc import Iterable, Sequence
from typing import Annotated, Any

import orjson
import typer
from rich.console import Console
from rich.table import Table

from ray_app.config import Settings, load
from ray_app.errors import BacklineError
from ray_app.observe.log import configure

EXIT_OK, EXIT_FAILED, EXIT_USAGE, EXIT_PARTLY = 0, 1, 2, 3
EXIT_INTERRUPTED = 130  # as shells have it for ctrl-C

AsJson = Annotated[bool, typer.Option("--json", help="One JSON document, or JSON lines, on standard output.")]

# Columns of output that no person reads on a terminal: wide enough that grep sees whole cells.
FILE_WIDTH = 240

out = Console(highlight=False, soft_wrap=True, width=None if sys.stdout.isatty() else FILE_WIDTH)
err = Console(stderr=True, highlight=False, soft_wrap=True)


def settings_for(*, quiet: bool = True, **overrides: Any) -> Settings:
    """The settings in force, with logging set up for a command: only what goes wrong is shown."""
    settings = load(**overrides)
    log = (
        settings.log.model_copy(update={"level": "WARNING"}) if quiet and settings.log.level == "INFO" else settings.log
    )
    configure(log, component="cli")
    return settings


def emit(document: Any) -> None:
    """One JSON value on a line of standard output."""
    sys.stdout.write(orjson.dumps(document, default=str).decode() + "\n")
    sys.stdout.flush()


def emit_lines(documents: Iterable[Any]) -> None:
    """JSON lines on standard output."""
    for document in documents:
        emit(document)


def table(columns: Sequence[str], rows: Iterable[Sequence[object]], title: str = "") -> None:
    """A table for a person; cells are shown as they are, never as markup."""
    grid = Table(*columns, title=title or None, title_justify="left", box=None, pad_edge=False)
    for row in rows:
        grid.add_row(*(_plain(cell) for cell in row))
    out.print(grid)


def _plain(cell: object) -> Any:
    from rich.text import Text

    return Text("" if cell is None else str(cell))


def say(text: str, style: str = "") -> None:
    """A line for a person on standard output, without markup."""
    out.print(text, style=style or None, markup=False)


def note(text: str) -> None:
    """A line for a person on standard error, without markup."""
    err.print(text, style="dim", markup=False)


def fail(error: BacklineError) -> None:
    """What went wrong and what to do, on standard error."""
    err.print(f"error: {error.message}", style="red", markup=False)
    if error.hint:
        err.print(error.hint, markup=False)


def clock(seconds: float | None) -> str:
    """POSIX seconds as a person reads them (UTC); "-" for never."""
    from datetime import UTC, datetime

    if not seconds:
        return "-"
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")
