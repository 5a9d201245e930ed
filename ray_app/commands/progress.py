"""What a person sees while a crawl runs: bars on a terminal, JSON lines otherwise."""

from __future__ import annotations

import sys
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict
from typing import Protocol

import orjson
from rich.progress import BarColumn, SpinnerColumn, TaskID, TextColumn, TimeElapsedColumn
from rich.progress import Progress as Bars

from ray_app.commands.output import err
from ray_app.ingest.crawl import Progress

# JSON progress lines of one brand come at most this often.
LINE_EVERY_S = 2.0
SHOWN_ERRORS = 3


class Show(Protocol):
    """Takes the progress of all brands, from any thread."""

    def __call__(self, progress: Progress) -> None: ...


@contextmanager
def shown() -> Iterator[Show]:
    """The display for the length of a block."""
    if not err.is_terminal:
        yield _Lines()
        return
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=28),
        TextColumn("{task.completed:.0f}/{task.total:.0f} URLs"),
        TextColumn("{task.fields[rate]:.0f}/s"),
        TextColumn("{task.fields[note]}", markup=False),
        TimeElapsedColumn(),
    )
    with Bars(*columns, console=err) as bars:
        yield _Bars(bars)


class _Bars:
    def __init__(self, bars: Bars) -> None:
        self._bars = bars
        self._rows: dict[str, TaskID] = {}
        self._lock = threading.Lock()

    def __call__(self, progress: Progress) -> None:
        total = progress.handled + progress.waiting + progress.under_way
        with self._lock:
            if progress.brand not in self._rows:
                self._rows[progress.brand] = self._bars.add_task(progress.brand, total=total, rate=0.0, note="")
            self._bars.update(
                self._rows[progress.brand],
                completed=progress.handled,
                total=max(total, 1),
                rate=progress.pages_per_s,
                note=_note(progress),
            )


def _note(progress: Progress) -> str:
    parts = [f"{progress.stored} texts", f"{progress.waiting} waiting"]
    parts += [f"{count} {reason}" for reason, count in _worst(progress.errors)]
    if progress.done:
        parts.append("done")
    elif progress.eta_s is not None:
        parts.append(f"about {progress.eta_s:.0f} s left")
    return ", ".join(parts)


def _worst(errors: Mapping[str, int]) -> list[tuple[str, int]]:
    """The errors met most often; a line has room for few."""
    return sorted(errors.items(), key=lambda item: (-item[1], item[0]))[:SHOWN_ERRORS]


class _Lines:
    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._lock = threading.Lock()

    def __call__(self, progress: Progress) -> None:
        with self._lock:
            now = time.monotonic()
            if not progress.done and now - self._last.get(progress.brand, 0.0) < LINE_EVERY_S:
                return
            self._last[progress.brand] = now
            sys.stderr.write(orjson.dumps({"event": "crawl_progress", **asdict(progress)}).decode() + "\n")
