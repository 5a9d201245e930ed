"""Looking at what is there: urls, why, coverage, brands."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ray_app.commands.output import AsJson, clock, emit_lines, say, settings_for, table
from ray_app.errors import InputError
from ray_app.records import CHUNK_REASONS, REASONS, UrlState

if TYPE_CHECKING:
    from ray_app.index.coverage import Coverage
    from ray_app.store.rows import UrlRow

Brand = Annotated[str, typer.Option("--brand", "-b", help="Brand.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(urls)
    app.command()(why)
    app.command()(coverage)
    app.command()(brands)


def urls(
    brand: Brand,
    state: Annotated[UrlState | None, typer.Option("--state", help="Only URLs in this state.")] = None,
    reason: Annotated[str, typer.Option("--reason", help="Only URLs with this reason, such as robots.")] = "",
    as_json: AsJson = False,
) -> None:
    """List every URL of a brand with its state and reason."""
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        opened.catalog.brand(brand)
        if reason and reason not in REASONS:
            raise InputError(f"No URL has the reason {reason!r}.", hint=f"Reasons are: {', '.join(sorted(REASONS))}.")
        rows = opened.ledger.urls(brand, state, reason)
        if as_json:
            emit_lines(_line(row) for row in rows)
            return
        columns = ("state", "reason", "status", "depth", "fetched (UTC)", "url")
        table(columns, ((r.state, r.reason, r.status, r.depth, clock(r.fetched_at), r.url) for r in rows))


def _line(row: UrlRow) -> dict[str, object]:
    return {
        "url": row.url,
        "state": row.state,
        "reason": row.reason,
        "status": row.status,
        "depth": row.depth,
        "content_hash": row.content_hash,
        "fetched_at": row.fetched_at,
    }


def why(
    url: Annotated[str, typer.Argument(help="The URL to explain.")],
    brand: Annotated[str, typer.Option("--brand", "-b", help="Only this brand's story.")] = "",
    as_json: AsJson = False,
) -> None:
    """Tell the story of one URL: how it was found, what happened to it, and why."""
    from ray_app.index.coverage import explain
    from ray_app.index.depot import open_depot
    from ray_app.ingest.handed import spelled
    from ray_app.store.stores import stores

    settings = settings_for()
    wanted = spelled(url)
    with stores(settings) as opened:
        told = explain(opened, open_depot(settings), wanted, brand)
    if not told:
        raise InputError(f"No crawl has ever seen {wanted}.", hint="Its links may lie on a page not reached yet.")
    if as_json:
        emit_lines({**one.fields, "story": one.story} for one in told)
        return
    for one in told:
        say(f"{one.url} ({one.brand})", "bold")
        for sentence in one.story:
            say(f"  {sentence}")


def coverage(
    brand: Annotated[
        list[str] | None, typer.Option("--brand", "-b", help="Brand; repeatable. None: every brand.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Report what became of every URL known of a brand: discovered, fetched, unchanged, indexed, skipped and why."""
    from ray_app.index.coverage import coverage as report
    from ray_app.index.depot import open_depot
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        for name in brand or ():
            opened.catalog.brand(name)
        figures = [report(opened, open_depot(settings), name) for name in brand or opened.catalog.brands()]
    if as_json:
        emit_lines({**asdict(one), "share": one.share} for one in figures)
        return
    columns = ("brand", *_FIGURES, "indexed", "chunks", "crawled (UTC)")
    table(columns, (_covered(one) for one in figures))
    for one in figures:
        say("")
        say(one.brand, "bold")
        for state, reasons in one.reasons.items():
            for reason, count in sorted(reasons.items(), key=lambda item: -item[1]):
                say(f"  {count:7} {state:8} {REASONS.get(reason, reason)} ({reason})")
        for reason, count in sorted(one.rejected.items()):
            say(f"  {count:7} passages  left out: {CHUNK_REASONS[reason]} ({reason})")
        if one.dropped:
            say(f"  {one.dropped:7} links were not recorded: the brand has as many URLs as crawl.max_urls allows")


_FIGURES = ("discovered", "fetched", "unchanged", "texts", "documents")


def _covered(one: Coverage) -> tuple[object, ...]:
    figures = (getattr(one, name) for name in _FIGURES)
    return (one.brand, *figures, f"{one.indexed} ({one.share:.0%})", one.chunks, clock(one.crawled_at))


def brands(as_json: AsJson = False) -> None:
    """List brands with what was crawled and what is published."""
    from ray_app.on_ray.brand_desk import brand_infos
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        rows = brand_infos(settings, opened)
    if as_json:
        emit_lines(
            {
                "brand": row.name,
                "urls": row.urls,  # counted by state
                "generation": row.generation or None,
                "documents": row.documents,
                "chunks": row.chunks,
            }
            for row in rows
        )
        return
    states = ("fetched", "skipped", "failed", "gone", "queued")
    table(
        ("brand", *states, "generation", "documents", "chunks"),
        (
            (row.name, *(row.urls.get(s, 0) for s in states), row.generation or "-", row.documents, row.chunks)
            for row in rows
        ),
    )
