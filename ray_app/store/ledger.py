"""The URL ledger: what is known of every URL of a brand, and who may write it.

**One document per text.** Which URL stands for a text is never stored. Of all URLs that hold the same text
the owner is the one with the least (depth, url), worked out at each reading; the others read as
``duplicate``. So it depends on what is stored and not on the order it came in, a crash leaves nothing to
repair, and when an owner goes away the next URL stands for the text at once.

**Cycles.** ``cycle_done`` is the last cycle in which a URL was settled. ``open_cycle`` lifts every row to
the cycle before the new one, so what is due is one equality and one walk along an index.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Select,
    and_,
    bindparam,
    case,
    func,
    not_,
    or_,
    select,
    update,
)

from ray_app.records import FetchTask, PageOutcome, PageRef, UrlState
from ray_app.store import fence as lease
from ray_app.store.db import Database, insert
from ray_app.store.rows import Cycle, Discovery, Holder, StoredDocument, UrlRow
from ray_app.store.schema import cycles, urls
from ray_app.store.settle import JUDGED, Known, address, best, plain, revives, settle, shortens

__all__ = ["Cycle", "Discovery", "Holder", "Ledger", "StoredDocument", "UrlRow"]

IN_LIST = 1_000  # keys per IN list; SQLite allows 32,766 and PostgreSQL 65,535 parameters
PAGE_ROWS = 1_000  # rows per read of a listing, so that a slow consumer holds no transaction open

_T = TypeVar("_T")

_held = urls.alias("held")
_owner = (
    select(_held.c.url)
    .where(_held.c.brand == urls.c.brand, _held.c.content_hash == urls.c.content_hash, _held.c.page_part.is_not(None))
    .order_by(_held.c.depth, _held.c.url)
    .limit(1)
    .correlate(urls)
    .scalar_subquery()
)
_duplicate = and_(urls.c.page_part.is_not(None), urls.c.state == UrlState.FETCHED.value, _owner != urls.c.url)
_reason = case((_duplicate, "duplicate"), else_=urls.c.reason).label("reason")
_canonical = case((_duplicate, _owner), else_=urls.c.canonical_url).label("canonical_url")
_shown = [
    {"reason": _reason, "canonical_url": _canonical}.get(name, urls.c[name]) for name in UrlRow.__dataclass_fields__
]
_judged = and_(urls.c.state == UrlState.SKIPPED.value, urls.c.status == 0, urls.c.reason.in_(sorted(JUDGED)))
_this_row = and_(urls.c.brand == bindparam("key_brand"), urls.c.url == bindparam("key_url"))


class Ledger:
    """The URLs, cycles and leases of every brand. Methods raise StoreUnavailable when SQL cannot be reached."""

    def __init__(self, db: Database) -> None:
        self._db = db

    # -- the lease

    def acquire(self, brand: str, holder: Holder, now: float, ttl_s: float) -> int:
        """The fence of the new holder, greater than any before. Raises LeaseHeld naming the present one.

        A dead process of the same host is followed at once, any other holder after ``ttl_s`` without renewal.
        """
        with self._db.write() as conn:
            return lease.acquire(conn, brand, holder, now, ttl_s)

    def renew(self, brand: str, fence: int, now: float, ttl_s: float) -> None:
        """Holds the brand until ``now + ttl_s``. Raises LeaseLost."""
        with self._db.write() as conn:
            lease.renew(conn, brand, fence, now, ttl_s)

    def release(self, brand: str, fence: int) -> None:
        """Frees the brand, if it is still held under ``fence``."""
        with self._db.write() as conn:
            lease.release(conn, brand, fence)

    # -- cycles

    def open_cycle(self, brand: str, now: float, fence: int | None = None) -> Cycle:
        """The unfinished cycle of the brand, or else a new one. Raises LeaseLost when a ``fence`` is given and old."""
        with self._db.write() as conn:
            if fence is not None:
                lease.check(conn, brand, fence)
            last = _last_cycle(conn, brand)
            if last is not None and last.finished_at is None:
                return Cycle(last.number, last.started_at, None, resumed=True)
            number = 1 if last is None else last.number + 1
            conn.execute(insert(conn, cycles).values(brand=brand, number=number, started_at=now))
            _lift(conn, brand, number)
            return Cycle(number, now, None)

    def finish_cycle(self, brand: str, number: int, fence: int, now: float) -> int:
        """Ends a cycle; returns how many URLs it did not come to. Raises LeaseLost.

        Those of them that wait for a fetch become SKIPPED ``page_cap`` and come due in the next cycle; the
        others keep what is known of them.
        """
        with self._db.write() as conn:
            lease.check(conn, brand, fence)
            pending = _pending(brand, number)
            left = conn.scalar(select(func.count()).select_from(urls).where(pending)) or 0
            capped = {"state": UrlState.SKIPPED.value, "reason": "page_cap", "cycle_done": number, "due_at": 0.0}
            conn.execute(update(urls).where(pending, urls.c.state == UrlState.QUEUED.value).values(**capped))
            this = and_(cycles.c.brand == brand, cycles.c.number == number, cycles.c.finished_at.is_(None))
            conn.execute(update(cycles).where(this).values(finished_at=now))
            return left

    def last_cycle(self, brand: str) -> Cycle | None:
        """The newest cycle, finished or not."""
        with self._db.read() as conn:
            return _last_cycle(conn, brand)

    def done_in_cycle(self, brand: str, cycle: int) -> int:
        """How many URLs were settled by a fetch, or a try to, in the cycle."""
        return self._count(urls.c.brand == brand, urls.c.cycle_done == cycle, not_(_judged))

    def waiting(self, brand: str, cycle: int) -> int:
        """How many URLs are still to be settled in the cycle."""
        return self._count(_pending(brand, cycle))

    # -- the crawl

    def discover(self, brand: str, cycle: int, found: Iterable[Discovery], now: float, fence: int | None = None) -> int:
        """Adds what is not known yet; returns how many that were. Raises LeaseLost when ``fence`` is given and old.

        A known URL takes a shorter way to it. One that its address alone had ruled out is queued when it is
        now found in a way that does not. Nothing else about a known URL changes.
        """
        with self._db.write() as conn:
            if fence is not None:
                lease.check(conn, brand, fence)
            wanted = best(found)
            return _add(conn, brand, cycle, wanted, _known(conn, brand, wanted), now)

    def due(self, brand: str, cycle: int, limit: int, now: float, exclude: Set[str] = frozenset()) -> list[FetchTask]:
        """At most ``limit`` URLs to fetch now: least depth first, then as they were discovered."""
        columns = [urls.c[name] for name in FetchTask.__dataclass_fields__]
        query = (
            select(*columns)
            .where(_pending(brand, cycle), urls.c.due_at <= now)
            .order_by(urls.c.depth, urls.c.discovered_at, urls.c.url)
            .limit(limit + len(exclude))
        )
        with self._db.read() as conn:
            tasks = (FetchTask(*row) for row in conn.execute(query))
            return list(islice((task for task in tasks if task.url not in exclude), limit))

    def next_due(self, brand: str, cycle: int) -> float | None:
        """When the first of the URLs still to be settled may be tried; None when there is none."""
        with self._db.read() as conn:
            first: float | None = conn.scalar(select(func.min(urls.c.due_at)).where(_pending(brand, cycle)))
        return first

    def commit(
        self,
        brand: str,
        cycle: int,
        fence: int,
        outcomes: Sequence[PageOutcome],
        discoveries: Iterable[Discovery],
        now: float,
    ) -> None:
        """Writes outcomes and what they led to in one transaction. Raises LeaseLost.

        Durable when it returns. Repeating a commit changes nothing (see ``store.settle``).
        """
        with self._db.write() as conn:
            lease.check(conn, brand, fence)
            found = best(discoveries)
            first = {address(outcome.task.url): outcome for outcome in reversed(outcomes)}
            known = _known(conn, brand, found.keys() | first.keys())
            lost = [Discovery(url, one.task.depth, "", one.task.hops) for url, one in first.items() if url not in known]
            _add(conn, brand, cycle, found | best(lost), known, now)
            if lost:
                known |= _known(conn, brand, [one.url for one in lost])
            settled = [(url, settle(known[url], outcome, cycle, now)) for url, outcome in first.items()]
            _update(conn, brand, {url: values for url, values in settled if values is not None})

    # -- reading

    def documents(self, brand: str) -> list[StoredDocument]:
        """Every text of the brand once, by URL.

        A text stays until the server takes it away: a page that only fails for now is still a document.
        """
        columns = (urls.c.url, urls.c.content_hash, urls.c.page_part, urls.c.page_row, urls.c.title)
        query = select(*columns).where(urls.c.brand == brand, urls.c.page_part.is_not(None), _owner == urls.c.url)
        with self._db.read() as conn:
            rows = conn.execute(query.order_by(urls.c.url)).all()
        return [StoredDocument(url, text, PageRef(part, row), title) for url, text, part, row, title in rows]

    def parts(self, brand: str) -> set[str]:
        """The page-store parts that rows of the brand point to."""
        query = select(urls.c.page_part).where(urls.c.brand == brand, urls.c.page_part.is_not(None)).distinct()
        with self._db.read() as conn:
            return {str(part) for part in conn.scalars(query)}

    def url(self, brand: str, url: str) -> UrlRow | None:
        """One URL of one brand."""
        rows = self._rows(select(*_shown).where(urls.c.brand == brand, urls.c.url == address(url)))
        return rows[0] if rows else None

    def find(self, url: str) -> list[UrlRow]:
        """One URL in every brand that knows it."""
        return [row for brand in self._brands() if (row := self.url(brand, url)) is not None]

    def urls(self, brand: str, state: UrlState | None = None) -> Iterator[UrlRow]:
        """Every URL of a brand, by URL; each thousand is read by itself."""
        query = select(*_shown).where(urls.c.brand == brand).order_by(urls.c.url).limit(PAGE_ROWS)
        if state is not None:
            query = query.where(urls.c.state == state.value)
        rows = self._rows(query)
        while rows:
            yield from rows
            rows = self._rows(query.where(urls.c.url > rows[-1].url))

    def counts(self, brand: str) -> dict[tuple[UrlState, str], int]:
        """URLs by (state, reason)."""
        shown = select(urls.c.state, _reason).where(urls.c.brand == brand).subquery()
        query = select(shown.c.state, shown.c.reason, func.count()).group_by(shown.c.state, shown.c.reason)
        with self._db.read() as conn:
            return {(UrlState(state), reason): count for state, reason, count in conn.execute(query)}

    def _count(self, *where: ColumnElement[bool]) -> int:
        with self._db.read() as conn:
            return conn.scalar(select(func.count()).select_from(urls).where(*where)) or 0

    def _rows(self, query: Select[Any]) -> list[UrlRow]:
        with self._db.read() as conn:
            return [UrlRow(**{**row, "state": UrlState(row["state"])}) for row in conn.execute(query).mappings()]

    def _brands(self) -> Iterator[str]:
        """Brands with URLs, by hopping along the primary key instead of reading all of it."""
        brand: str | None = ""
        while True:
            with self._db.read() as conn:
                brand = conn.scalar(select(func.min(urls.c.brand)).where(urls.c.brand > brand))
            if brand is None:
                return
            yield brand


def _last_cycle(conn: Connection, brand: str) -> Cycle | None:
    query = select(cycles).where(cycles.c.brand == brand).order_by(cycles.c.number.desc()).limit(1)
    row = conn.execute(query).mappings().one_or_none()
    return None if row is None else Cycle(row["number"], row["started_at"], row["finished_at"])


def _lift(conn: Connection, brand: str, number: int) -> None:
    """Makes every URL of the brand due in cycle ``number``, but for those ruled out by their address."""
    late = or_(urls.c.cycle_done < number - 1, urls.c.attempts > 0, urls.c.due_at > 0)
    due = {"cycle_done": number - 1, "attempts": 0, "due_at": 0.0}
    conn.execute(update(urls).where(urls.c.brand == brand, late, not_(_judged)).values(**due))
    conn.execute(update(urls).where(urls.c.brand == brand, _judged).values(cycle_done=number))


def _pending(brand: str, cycle: int) -> ColumnElement[bool]:
    return and_(urls.c.brand == brand, urls.c.cycle_done == cycle - 1)


def _known(conn: Connection, brand: str, wanted: Iterable[str]) -> dict[str, Known]:
    columns = [urls.c[name] for name in Known.__dataclass_fields__]
    known: dict[str, Known] = {}
    for keys in _slices(wanted, IN_LIST):
        query = select(*columns).where(urls.c.brand == brand, urls.c.url.in_(keys))
        known.update((row[0], Known(*row)) for row in conn.execute(query))
    return known


def _slices(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part


def _add(
    conn: Connection, brand: str, cycle: int, found: dict[str, Discovery], known: dict[str, Known], now: float
) -> int:
    new = [one for url, one in found.items() if url not in known]
    if new:
        rows = [_new_row(brand, cycle, one, now) for one in new]
        conn.execute(insert(conn, urls).on_conflict_do_nothing(), rows)
    again = [(known[url], one) for url, one in found.items() if url in known]
    revived = [one for row, one in again if revives(row, one)]
    queued = {"state": UrlState.QUEUED.value, "reason": "discovered", "detail": "", "cycle_done": cycle - 1}
    _update(conn, brand, {one.url: queued | _way(one) for one in revived})
    shorter = [one for row, one in again if not revives(row, one) and shortens(row, one)]
    _update(conn, brand, {one.url: _way(one) for one in shorter})
    return len(new)


def _new_row(brand: str, cycle: int, found: Discovery, now: float) -> dict[str, Any]:
    queued = found.state is UrlState.QUEUED
    return {
        "brand": brand,
        "url": found.url,
        "state": found.state.value,
        "reason": found.reason,
        "discovered_at": now,
        "cycle_done": cycle - queued,
        **_way(found),
    }


def _way(found: Discovery) -> dict[str, Any]:
    return {"depth": found.depth, "hops": found.hops, "parent": plain(found.parent, len(found.parent))}


def _update(conn: Connection, brand: str, changes: dict[str, dict[str, Any]]) -> None:
    """``changes``: by URL, all with the same columns."""
    if not changes:
        return
    columns = next(iter(changes.values()))
    statement = update(urls).where(_this_row).values({name: bindparam(f"new_{name}") for name in columns})
    rows = [
        {"key_brand": brand, "key_url": url, **{f"new_{name}": value for name, value in values.items()}}
        for url, values in changes.items()
    ]
    conn.execute(statement, rows)
