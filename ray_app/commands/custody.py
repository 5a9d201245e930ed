"""What is kept and what is not: backup, restore, forget."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ray_app.commands.output import EXIT_FAILED, EXIT_PARTLY, AsJson, clock, emit, note, say, settings_for, table
from ray_app.errors import InputError

if TYPE_CHECKING:
    from ray_app.ingest.forget import Forgetter
    from ray_app.ingest.restore import RestoreReport
    from ray_app.store.receipts import Receipt


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (backup, restore, forget):
        app.command()(command)


def backup(
    file: Annotated[str, typer.Argument(help="A tar, compressed if it ends in .zst; %Y%m%d in it is the day.")],
    all_generations: Annotated[
        bool, typer.Option("--all-generations", help="With every kept generation, not only the live ones.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Write everything into one file, while crawls and publishes go on. Settings and secrets are not in it."""
    from ray_app.ingest.backup import Backup
    from ray_app.on_ray.custody import backup_path
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        report = Backup(settings, opened).write(backup_path(file, time.time()), every=all_generations)
    if as_json:
        emit(report.as_dict())
    else:
        say(f"wrote {report.file}: {report.bytes:,} bytes in {report.seconds:.1f} s", "bold")
        table(("table", "rows"), ((name, count) for name, count in report.rows.items() if count))
        live = sum(map(len, report.generations.values()))
        say(f"{report.page_parts} page parts, {live} generations of {len(report.generations)} brands")
        _problems(report.problems)
    if report.problems:
        raise typer.Exit(EXIT_PARTLY)


def restore(
    file: Annotated[Path, typer.Argument(help="A file that `backline backup` wrote.")],
    force: Annotated[bool, typer.Option("--force", help="Replace what is here.")] = False,
    receipt: Annotated[
        list[Path] | None, typer.Option("--receipt", help="Of something forgotten since, elsewhere; repeatable.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Make this installation what it was when the backup was made, without what was forgotten since."""
    from ray_app.ingest.restore import Restore
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        report = Restore(settings, opened).run(file.expanduser(), force=force, receipts=receipt or ())
    if as_json:
        emit(report.as_dict())
    else:
        _tell_restored(report)
    if report.problems:
        raise typer.Exit(EXIT_PARTLY)


def _tell_restored(report: RestoreReport) -> None:
    say(f"restored {report.file} of {clock(report.made_at)} UTC in {report.seconds:.1f} s", "bold")
    table(("table", "rows"), ((name, count) for name, count in report.rows.items() if count))
    table(("brand", "generation"), report.generations.items())
    if report.forgotten:
        say(f"{report.forgotten} times something was forgotten; left out for that:")
        table(("what", "count"), report.left_out.items())
    _problems(report.problems)
    note("The vector store is filled by the next publish, or now by `backline index verify` or jobs/optimize.py.")


def forget(
    brand: Annotated[str, typer.Option("--brand", "-b", help="All of this brand; with --url only that.")] = "",
    url: Annotated[str, typer.Option("--url", "-u", help="One page or document.")] = "",
    lift: Annotated[bool, typer.Option("--lift", help="Let it in again, from the next crawl on.")] = False,
    as_json: AsJson = False,
) -> None:
    """Remove a page or a brand from everything that is stored, for good, and write a receipt."""
    from ray_app.ingest.forget import Forgetter
    from ray_app.on_ray.custody import reach
    from ray_app.store.stores import stores

    if not brand and not url:
        raise InputError("Nothing is named.", hint="Give --brand, --url or both.")
    settings = settings_for()
    with stores(settings) as opened:
        brands = _brands(Forgetter(settings, opened), brand, url)
        if lift:
            _lift(Forgetter(settings, opened), brands, url, as_json=as_json)
            return
        with reach(settings) as outside:
            forgetter = Forgetter(settings, opened, outside)
            receipts = [_forgotten(forgetter, name, url) for name in brands]
    if as_json:
        emit({"receipts": [document for document, _ in receipts]})
    else:
        for document, before in receipts:
            _tell(document, before, settings.data_dir)
    if not all(document["complete"] for document, _ in receipts):
        raise typer.Exit(EXIT_FAILED)


def _brands(forgetter: Forgetter, brand: str, url: str) -> list[str]:
    if brand:
        return [brand]
    if found := forgetter.brands_of(url):
        return found
    raise InputError(f"No brand knows {url}.", hint="Name the --brand to have it refused when it is found.")


def _forgotten(forgetter: Forgetter, brand: str, url: str) -> tuple[dict[str, Any], dict[str, int]]:
    """The receipt, and what it had counted before this run."""
    before: dict[str, int] = {}

    def started(receipt: Receipt) -> None:
        before.update(receipt.removed)

    return forgetter.forget(brand, url, on_start=started).as_dict(), before


def _lift(forgetter: Forgetter, brands: list[str], url: str, *, as_json: bool) -> None:
    lifted = {brand: forgetter.lift(brand, url) for brand in brands}
    if as_json:
        emit({"lifted": lifted})
        return
    for brand, done in lifted.items():
        what = f"{url} of {brand}" if url else f"The brand {brand}"
        say(f"{what} is let in again by the next crawl" if done else f"{what} was not forgotten")


def _tell(receipt: dict[str, Any], before: dict[str, int], data_dir: Path) -> None:
    what = f"{receipt['url']} of {receipt['brand']}" if receipt["url"] else f"the brand {receipt['brand']}"
    now = {name: count - before.get(name, 0) for name, count in receipt["removed"].items()}
    say(f"forgot {what}" if any(now.values()) else f"nothing was left of {what}", "bold")
    table(("removed", "now", "in all"), ((name, now[name], count) for name, count in receipt["removed"].items()))
    for url in receipt["same_text"]:
        say(f"the same text stands at {url}, which was not forgotten", "yellow")
    for line in receipt["remains"]:
        say(f"remains: {line}", "dim")
    _problems(receipt["problems"])
    if not receipt["complete"]:
        say("It is not complete: mend that and run the same command again.", "red")
    say(f"receipt {data_dir / 'receipts' / receipt['receipt']}.json")


def _problems(problems: Any) -> None:
    for problem in problems:
        say(f"problem: {problem}", "red")
