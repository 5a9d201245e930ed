"""Reading and writing rows of robots.txt files and sitemaps. Each call runs inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, case, not_, or_, select, update

from ray_app.records import FetchTask, Kind, PageOutcome, UrlState
from ray_app.store.db import insert
from ray_app.store.rows import Cycle, Mode, SitemapRow
from ray_app.store.schema import sitemaps
from ray_app.store.settle import KEPT_SKIPS, TEXT_CHARS, VALIDATOR_CHARS, host_of, plain, untried

MAX_SITEMAPS = 2_000  # of one brand; the protocol's index holds 50,000, of which no support site has made use
WHOLE = ("ok", "not_modified")  # FETCHED reasons of one that was read to its end

_whole = and_(sitemaps.c.state == UrlState.FETCHED.value, sitemaps.c.reason.in_(WHOLE))
# The server said that there is no sitemap here: gone, moved, empty, or something else in its place.
_skipped = and_(sitemaps.c.state == UrlState.SKIPPED.value, sitemaps.c.reason.not_in(sorted(KEPT_SKIPS)))
_denied = or_(sitemaps.c.state == UrlState.GONE.value, _skipped, sitemaps.c.reason == "empty")


def add(conn: Connection, brand: str, cycle: Cycle, found: Iterable[FetchTask], parent: str = "") -> None:
    """Records sitemaps that were found, each waiting for this cycle; what is known already only waits."""
    held = set(conn.scalars(select(sitemaps.c.url).where(sitemaps.c.brand == brand)))
    rows = [_new_row(brand, cycle, one, parent) for one in {one.url: one for one in found}.values()]
    new = [row for row in rows if row["url"] not in held][: max(0, MAX_SITEMAPS - len(held))]
    if new:
        conn.execute(insert(conn, sitemaps).on_conflict_do_nothing(), new)


def _new_row(brand: str, cycle: Cycle, found: FetchTask, parent: str) -> dict[str, Any]:
    return {
        "brand": brand,
        "url": found.url,
        "kind": found.kind.value,
        "state": UrlState.QUEUED.value,
        "reason": "discovered",
        "parent": parent,
        "depth": found.depth,
        "cycle_due": cycle.number,
    }


def begin(conn: Connection, brand: str, cycle: Cycle) -> None:
    """Has every known one asked for again, but for a cycle that is about failures only."""
    if cycle.mode is not Mode.RETRY:
        due = {"cycle_due": cycle.number, "attempts": 0, "due_at": 0.0}
        conn.execute(update(sitemaps).where(sitemaps.c.brand == brand).values(**due))


def due(conn: Connection, brand: str, cycle: Cycle, limit: int) -> list[tuple[FetchTask, float]]:
    """What waits, with the time before which it is not asked for; robots.txt first, then by depth."""
    names = ("brand", "url", "depth", "attempts", "etag", "last_modified")
    columns = [sitemaps.c[name] for name in names]
    this = and_(sitemaps.c.brand == brand, sitemaps.c.cycle_due == cycle.number)
    order = (sitemaps.c.due_at, sitemaps.c.kind, sitemaps.c.depth, sitemaps.c.url)
    more = (sitemaps.c.kind, sitemaps.c.due_at, sitemaps.c.parent)
    query = select(*columns, *more).where(this).order_by(*order).limit(limit)
    found = []
    for row in conn.execute(query).mappings():
        # Whether a robots.txt (depth 0) may name it is for the robots.txt of its own host to say.
        invited = row["depth"] > 1 and host_of(row["parent"]) == host_of(row["url"])
        task = FetchTask(**{name: row[name] for name in names}, kind=Kind(row["kind"]), invited=invited)
        found.append((task, row["due_at"]))
    return found


def settle(conn: Connection, cycle: Cycle, outcome: PageOutcome, now: float) -> None:
    """Writes what happened to one; a repeated or late outcome changes nothing.

    Servers say by mistake that a sitemap is not there: what it listed is forgotten when two cycles in a row say so.
    """
    retry = outcome.state is UrlState.QUEUED
    tried = outcome.state in (UrlState.QUEUED, UrlState.FAILED) and not untried(outcome)
    values: dict[str, Any] = {
        "state": outcome.state.value,
        "reason": outcome.reason,
        "status": outcome.status,
        "attempts": outcome.task.attempts + tried,
        "due_at": (outcome.retry_at or now) if retry else 0.0,
        "cycle_due": cycle.number if retry else 0,
        "cycle_done": 0 if retry else cycle.number,
        "detail": plain(outcome.detail, TEXT_CHARS),
    }
    if outcome.fetched_at:
        values["fetched_at"] = outcome.fetched_at
    if _denies(outcome):
        values |= {"entries": case((_denied, 0), else_=sitemaps.c.entries), "etag": "", "last_modified": ""}
    elif outcome.state is UrlState.FETCHED and outcome.reason != "not_modified":
        whole = outcome.reason in WHOLE  # of a part no validator is kept, so that the next crawl reads it anew
        values["entries"] = len(outcome.listed) + len(outcome.links)
        values["etag"] = plain(outcome.etag, VALIDATOR_CHARS) if whole else ""
        values["last_modified"] = plain(outcome.last_modified, VALIDATOR_CHARS) if whole else ""
    this = and_(sitemaps.c.brand == outcome.task.brand, sitemaps.c.url == outcome.task.url)
    conn.execute(update(sitemaps).where(this, sitemaps.c.cycle_due == cycle.number).values(**values))


def _denies(outcome: PageOutcome) -> bool:
    """What ``_denied`` says of a row."""
    skipped = outcome.state is UrlState.SKIPPED and outcome.reason not in KEPT_SKIPS
    return outcome.state is UrlState.GONE or skipped or outcome.reason == "empty"


def failed(conn: Connection, brand: str, cycle: Cycle) -> bool:
    """Whether the cycle could not read one of them, or not to its end, so that what it lists is not known."""
    here = sitemaps.c.cycle_done == cycle.number
    silent = and_(here, sitemaps.c.state == UrlState.FAILED.value)
    unread = or_(silent, and_(sitemaps.c.entries > 0, not_(and_(here, _whole))))
    return conn.execute(select(sitemaps.c.url).where(sitemaps.c.brand == brand, unread).limit(1)).first() is not None


def fail_host(conn: Connection, brand: str, cycle: Cycle, host: str) -> None:
    """Gives up those that wait for a host that is down, for this cycle."""
    this = and_(sitemaps.c.brand == brand, sitemaps.c.cycle_due == cycle.number)
    silent = [url for url in conn.scalars(select(sitemaps.c.url).where(this)) if host_of(url) == host]
    failed = {"state": UrlState.FAILED.value, "reason": "host_down", "cycle_done": cycle.number, "cycle_due": 0}
    if silent:
        conn.execute(update(sitemaps).where(this, sitemaps.c.url.in_(silent)).values(**failed, due_at=0.0))


def rows(conn: Connection, brand: str) -> list[SitemapRow]:
    """Every one of a brand, by URL."""
    return _rows(conn, sitemaps.c.brand == brand)


def find(conn: Connection, url: str, brand: str = "") -> list[SitemapRow]:
    """One of them in the brand, or in every brand that knows it."""
    return _rows(conn, and_(sitemaps.c.url == url, *([sitemaps.c.brand == brand] if brand else [])))


def _rows(conn: Connection, where: ColumnElement[bool]) -> list[SitemapRow]:
    columns = [sitemaps.c[name] for name in SitemapRow.__dataclass_fields__]
    query = select(*columns).where(where).order_by(sitemaps.c.brand, sitemaps.c.url)
    return [SitemapRow(**{**row, "state": UrlState(row["state"])}) for row in conn.execute(query).mappings()]
