"""The story of one URL in sentences, from what the ledger knows."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from datetime import UTC, datetime

from ray_app.records import REASONS, UrlState
from ray_app.store.rows import SitemapRow, UrlRow
from ray_app.store.settle import UNFOUND

SHOWN_ALIASES = 5


def story(row: UrlRow, aliases: Sequence[str] = (), indexed: bool | None = None) -> list[str]:
    """How the URL was found, what happened to it and why, and what happens next.

    ``aliases`` are the URLs it stands for; ``indexed``: whether the live generation holds its text, None when
    there is none.
    """
    return [*_found(row), *_state(row), *_text(row, aliases, indexed), *_next(row)]


def sitemap_story(row: SitemapRow) -> list[str]:
    """What a robots.txt or sitemap led to."""
    kind = "robots.txt of a host" if row.kind == "robots" else "sitemap"
    told = [f"It is a {kind}" + (f", found through {row.parent}." if row.parent else ".")]
    if row.fetched_at:
        told.append(
            f"It was last asked for on {clock(row.fetched_at)} UTC"
            + (f" and answered {row.status}." * bool(row.status) or ".")
        )
    because = "it was read" if row.reason == "ok" else REASONS.get(row.reason, row.reason)
    told.append(f"Its state is {row.state}: {because}.")
    if row.entries:
        names = "names" if row.state is UrlState.FETCHED else "named"
        told.append(f"It {names} {row.entries} {'sitemaps' if row.kind == 'robots' else 'URLs'}.")
    return told + ([f"Detail: {row.detail}."] if row.detail else [])


def clock(seconds: float) -> str:
    """POSIX seconds as a person reads them (UTC)."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M:%S")


def _found(row: UrlRow) -> Iterator[str]:
    if row.cycle_done == UNFOUND:
        yield f"It was handed over; no crawl has found it. It is known since {clock(row.discovered_at)} UTC."
        return
    links = f"{row.depth} link{'s' * (row.depth != 1)} from the start"
    if not row.parent and row.depth:
        yield f"It was found on {clock(row.discovered_at)} UTC on a page that was forgotten since."
    elif not row.parent:
        yield f"It is a start URL, known since {clock(row.discovered_at)} UTC."
    elif row.parent == row.sitemap:
        yield f"The sitemap {row.sitemap} lists it; it is known since {clock(row.discovered_at)} UTC."
    else:
        way = f"{row.parent} redirects to it" if row.hops else f"It was found on {row.parent}"
        yield f"{way}, {links}, on {clock(row.discovered_at)} UTC."
    if row.lastmod:
        yield f"Its sitemap says that it was last changed on {clock(row.lastmod)} UTC."


def _state(row: UrlRow) -> Iterator[str]:
    yield f"Its state is {row.state}: {REASONS.get(row.reason, row.reason)}."
    if row.canonical_url:
        yield f"{row.canonical_url} stands for it."
    if row.reason == "handed":
        yield f"It was last handed over on {clock(row.fetched_at)} UTC."
    elif row.fetched_at:
        # Without a status the reason says what went wrong, then or since: perhaps nothing was sent this time.
        answer = f" and answered {row.status}" if row.status else ""
        yield f"It was last asked for on {clock(row.fetched_at)} UTC{answer}."
    elif row.state is not UrlState.QUEUED:
        yield "It was never asked for."
    if row.detail:
        yield f"Detail: {row.detail.rstrip('.')}."


def _text(row: UrlRow, aliases: Sequence[str], indexed: bool | None) -> Iterator[str]:
    if row.content_hash:
        lang = f", in {row.lang}" if row.lang else ""
        yield f"Its text is stored as {row.content_hash} ({row.title or 'no title'}{lang})."
        if row.extractor < 0:
            yield "Its text was handed over; only a text that a crawl reads at this address takes its place."
        if row.misses:
            yield "The server says that it is not there; the text leaves when the next crawl hears the same."
        if row.canonical_url and row.state is UrlState.FETCHED:
            pass
        elif indexed is None:
            yield "Nothing is published for its brand, or nothing that can be read."
        else:
            yield (
                "It is in the live index."
                if indexed
                else "It is not in the live index; the next embedding puts it there."
            )
    if aliases:
        more = f" and {len(aliases) - SHOWN_ALIASES} more" if len(aliases) > SHOWN_ALIASES else ""
        yield f"It stands for {', '.join(aliases[:SHOWN_ALIASES])}{more}."


def _next(row: UrlRow) -> Iterator[str]:
    if row.cycle_due:
        failed = (
            f"{row.attempts} attempt{'s' * (row.attempts != 1)} failed; the next is due on {clock(row.due_at)} UTC."
        )
        yield failed if row.attempts else "It waits for its turn in the crawl that is under way."
    elif row.revisit_at:
        yield f"Delta crawls leave it alone until {clock(row.revisit_at)} UTC."
