"""Looking at what is there: urls, why, brands, index list."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import typer

from ray_app.commands.output import AsJson, clock, emit_lines, say, settings_for, table
from ray_app.errors import InputError
from ray_app.records import REASONS, UrlState

if TYPE_CHECKING:
    from ray_app.store.rows import UrlRow
    from ray_app.store.stores import Stores

Brand = Annotated[str, typer.Option("--brand", "-b", help="Brand.")]

index_app = typer.Typer(help="The index of a brand.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(urls)
    app.command()(why)
    app.command()(brands)
    app.add_typer(index_app, name="index")


def urls(
    brand: Brand,
    state: Annotated[UrlState | None, typer.Option("--state", help="Only URLs in this state.")] = None,
    as_json: AsJson = False,
) -> None:
    """List every URL of a brand with its state and reason."""
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        opened.catalog.brand(brand)
        rows = opened.ledger.urls(brand, state)
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
    from ray_app.ingest.urls import normalise
    from ray_app.store.stores import stores

    settings = settings_for()
    wanted = normalise(url)
    with stores(settings) as opened:
        rows = [row for row in opened.ledger.find(wanted) if not brand or row.brand == brand]
    if not rows:
        raise InputError(f"No crawl has ever seen {wanted}.", hint="Its links may lie on a page not reached yet.")
    if as_json:
        emit_lines({**asdict(row), "story": story(row)} for row in rows)
        return
    for row in rows:
        say(f"{row.url} ({row.brand})", "bold")
        for sentence in story(row):
            say(f"  {sentence}")


def story(row: UrlRow) -> list[str]:
    """What the ledger knows about a URL, in sentences."""
    found = f"It was found on {row.parent}" if row.parent else "It is a start URL"
    sentences = [f"{found}, {row.depth} link(s) from the start, on {clock(row.discovered_at)} UTC."]
    because = REASONS.get(row.reason, row.reason)
    sentences.append(f"Its state is {row.state}: {because}.")
    if row.canonical_url:
        sentences.append(f"{row.canonical_url} stands for it.")
    if row.fetched_at:
        answer = f"answered {row.status}" if row.status else "did not answer"
        sentences.append(f"It was last asked for on {clock(row.fetched_at)} UTC and {answer}.")
    if row.state is UrlState.QUEUED and row.attempts:
        sentences.append(f"{row.attempts} attempt(s) failed; the next is due on {clock(row.due_at)} UTC.")
    if row.detail:
        sentences.append(f"Detail: {row.detail}")
    if row.content_hash:
        sentences.append(f"Its text is stored as {row.content_hash} ({row.title or 'no title'}).")
    return sentences


def brands(as_json: AsJson = False) -> None:
    """List brands with what was crawled and what is published."""
    from ray_app.on_ray.targets import known
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        rows = [_brand(opened, name) for name in sorted(known(settings, opened.catalog))]
    if as_json:
        emit_lines(asdict(row) for row in rows)
        return
    states = ("fetched", "skipped", "failed", "gone", "queued")
    table(
        ("brand", *states, "generation", "documents", "chunks"),
        (
            (row.brand, *(row.urls.get(s, 0) for s in states), row.generation or "-", row.documents, row.chunks)
            for row in rows
        ),
    )


@dataclass(frozen=True, slots=True)
class BrandRow:
    """A brand as `backline brands` shows it; ``urls`` counts URLs by state."""

    brand: str
    urls: dict[str, int]
    generation: str | None
    documents: int
    chunks: int


def _brand(opened: Stores, name: str) -> BrandRow:
    urls: Counter[str] = Counter()
    for (state, _), count in opened.ledger.counts(name).items():
        urls[str(state)] += count
    live = opened.catalog.live(name)
    shown = next((g for g in opened.catalog.generations(name) if g.generation == live), None)
    return BrandRow(name, dict(urls), live, shown.documents if shown else 0, shown.chunks if shown else 0)


@index_app.command("list")
def index_list(
    brand: Annotated[str, typer.Option("--brand", "-b", help="One brand.")] = "", as_json: AsJson = False
) -> None:
    """List the generations kept, the live one marked."""
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        if brand:
            opened.catalog.brand(brand)
        live = opened.catalog.pointers()
        rows = [
            {**asdict(row), "live": live.get(name) == row.generation}
            for name in ([brand] if brand else opened.catalog.brands())
            for row in opened.catalog.generations(name)
        ]
    if as_json:
        emit_lines(rows)
        return
    table(
        ("", "brand", "generation", "documents", "chunks", "model", "made (UTC)"),
        (
            (
                "*" if r["live"] else "",
                r["brand"],
                r["generation"],
                r["documents"],
                r["chunks"],
                r["model"],
                clock(r["created_at"]),
            )
            for r in rows
        ),
    )
