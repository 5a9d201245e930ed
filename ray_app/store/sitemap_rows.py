"""Reading and writing rows of robots.txt files and sitemaps. Each call runs inside the caller's transaction."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, select, update

from ray_app.records import FetchTask, Kind, PageOutcome, UrlState
from ray_app.store.db import insert
from ray_app.store.rows import Cycle, Mode, SitemapRow
from ray_app.store.schema import sitemaps
from ray_app.store.settle import TEXT_CHARS, VALIDATOR_CHARS, plain

MAX_SITEMAPS = 2_000  # of one brand; the protocol's index holds 50,000, of which no support site has made use


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
    query = select(*columns, sitemaps.c.kind, sitemaps.c.due_at).where(this).order_by(*order).limit(limit)
    return [
        (FetchTask(**{name: row[name] for name in names}, kind=Kind(row["kind"])), row["due_at"])
        for row in conn.execute(query).mappings()
    ]


def settle(conn: Connection, cycle: Cycle, outcome: PageOutcome, now: float) -> None:
    """Writes what happened to one; a repeated or late outcome changes nothing."""
    retry = outcome.state is UrlState.QUEUED
    values = {
        "state": outcome.state.value,
        "reason": outcome.reason,
        "status": outcome.status,
        "attempts": outcome.task.attempts + (outcome.state in (UrlState.QUEUED, UrlState.FAILED)),
        "due_at": (outcome.retry_at or now) if retry else 0.0,
        "cycle_due": cycle.number if retry else 0,
        "cycle_done": 0 if retry else cycle.number,
        "fetched_at": outcome.fetched_at,
        "detail": plain(outcome.detail, TEXT_CHARS),
    }
    if outcome.state is UrlState.FETCHED and outcome.reason != "not_modified":
        validators = (plain(outcome.etag, VALIDATOR_CHARS), plain(outcome.last_modified, VALIDATOR_CHARS))
        values |= {"etag": validators[0], "last_modified": validators[1]}
        values["entries"] = len(outcome.listed) + len(outcome.links)
    this = and_(sitemaps.c.brand == outcome.task.brand, sitemaps.c.url == outcome.task.url)
    conn.execute(update(sitemaps).where(this, sitemaps.c.cycle_due == cycle.number).values(**values))


def failed(conn: Connection, brand: str, cycle: Cycle) -> bool:
    """Whether the cycle could not read one of them."""
    this = and_(sitemaps.c.brand == brand, sitemaps.c.state == UrlState.FAILED.value)
    return conn.execute(select(sitemaps.c.url).where(this, sitemaps.c.cycle_done == cycle.number)).first() is not None


def rows(conn: Connection, brand: str) -> list[SitemapRow]:
    """Every one of a brand, by URL."""
    return _rows(conn, sitemaps.c.brand == brand)


def find(conn: Connection, url: str) -> list[SitemapRow]:
    """One of them in every brand that knows it."""
    return _rows(conn, sitemaps.c.url == url)


def _rows(conn: Connection, where: ColumnElement[bool]) -> list[SitemapRow]:
    columns = [sitemaps.c[name] for name in SitemapRow.__dataclass_fields__]
    query = select(*columns).where(where).order_by(sitemaps.c.brand, sitemaps.c.url)
    return [SitemapRow(**{**row, "state": UrlState(row["state"])}) for row in conn.execute(query).mappings()]
