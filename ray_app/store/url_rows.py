"""Reading and writing rows of URLs. Each call runs inside the caller's transaction."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any, TypeVar

from sqlalchemy import (
    ColumnElement,
    Connection,
    Row,
    and_,
    bindparam,
    case,
    false,
    func,
    literal_column,
    not_,
    or_,
    select,
    update,
)

from ray_app.records import PageOutcome, UrlState
from ray_app.store import tombstones
from ray_app.store.aliases import Alias, Held, aliases
from ray_app.store.db import insert
from ray_app.store.rows import Cycle, Discovery, Mode, UrlRow
from ray_app.store.schema import cycles, urls
from ray_app.store.settle import (
    JUDGED,
    NO_TEXT,
    TRANSIENT,
    UNASKED,
    UNFOUND,
    Known,
    address,
    best,
    hand_over,
    host_of,
    meet,
    settle,
    way,
)

IN_LIST = 1_000  # keys per IN list; SQLite allows 32,766 and PostgreSQL 65,535 parameters

_T = TypeVar("_T")

_this_row = and_(urls.c.brand == bindparam("key_brand"), urls.c.url == bindparam("key_url"))
_aliased = and_(urls.c.alias_of != "", urls.c.state == UrlState.FETCHED.value)
reason = case((_aliased, urls.c.alias_reason), else_=urls.c.reason).label("reason")
_canonical = case((_aliased, urls.c.alias_of), else_=urls.c.canonical_url).label("canonical_url")
# The columns of UrlRow as a reader sees them: a URL that another one stands for says so.
shown = [
    {"reason": reason, "canonical_url": _canonical}.get(name, urls.c[name]) for name in UrlRow.__dataclass_fields__
]
# Conditions of partial indexes, word for word: SQLite uses such an index only for a query that repeats its condition.
_in_waiting_index = urls.c.cycle_due > literal_column("0")
_in_listed_index = urls.c.sitemap != literal_column("''")
in_alias_index = urls.c.alias_of != literal_column("''")
in_redirect_index = urls.c.reason == literal_column("'redirect'")
# Ruled out by its address alone, before any fetch.
judged = and_(urls.c.state == UrlState.SKIPPED.value, urls.c.status == 0, urls.c.reason.in_(sorted(JUDGED)))
# Settled after having been asked for; settle.spent says the same of an outcome.
_unsent = and_(urls.c.state == UrlState.SKIPPED.value, urls.c.status == 0)
# Not only handed over, but known to a crawl; see settle.UNFOUND.
_found = urls.c.cycle_done > UNFOUND
_read_by_crawl = urls.c.extractor >= 0
spent = and_(urls.c.state != UrlState.QUEUED.value, not_(_unsent), urls.c.reason.not_in(sorted(UNASKED)))


def waiting(brand: str, cycle: int) -> ColumnElement[bool]:
    """URLs that are still to be settled in the cycle."""
    return and_(urls.c.brand == brand, urls.c.cycle_due == cycle, _in_waiting_index)


def known(conn: Connection, brand: str, wanted: Iterable[str]) -> dict[str, Known]:
    """What the rules need of each of these URLs that has a row."""
    columns = [urls.c[name] for name in Known.__dataclass_fields__]
    found: dict[str, Known] = {}
    for keys in _slices(wanted, IN_LIST):
        query = select(*columns).where(urls.c.brand == brand, urls.c.url.in_(keys))
        found.update((row[0], Known(*row)) for row in conn.execute(query))
    return found


def commit(
    conn: Connection,
    brand: str,
    cycle: Cycle,
    outcomes: Iterable[PageOutcome],
    discoveries: Iterable[Discovery],
    now: float,
    room: int | None = None,
) -> int:
    """Writes outcomes, each first of its URL, and what they led to; returns how many URLs are new.

    Of what was forgotten on request nothing is written but that it was (see ``store.tombstones``).

    ``room``: how many new URLs may be recorded; the rest is counted as dropped.
    """
    found = best(discoveries)
    first = {address(outcome.task.url): outcome for outcome in reversed(list(outcomes))}
    if gone := tombstones.buried(conn, brand, found.keys() | first.keys() | {one.parent for one in found.values()}):
        found = {one.url: one for one in tombstones.refuse_found(found.values(), gone)}
        first = {url: tombstones.refuse_outcome(one) if url in gone else one for url, one in first.items()}
    rows = known(conn, brand, found.keys() | first.keys())
    lost = best(Discovery(url, one.task.depth, "", one.task.hops) for url, one in first.items() if url not in rows)
    added = _add(conn, brand, cycle, lost, rows, now, None) if lost else 0
    added += _add(conn, brand, cycle, {u: d for u, d in found.items() if u not in lost}, rows, now, room)
    if lost:
        rows |= known(conn, brand, lost)
    settled = [(url, settle(rows[url], outcome, cycle.number, now)) for url, outcome in first.items()]
    write(conn, brand, {url: values for url, values in settled if values is not None})
    return added


def _add(
    conn: Connection,
    brand: str,
    cycle: Cycle,
    found: Mapping[str, Discovery],
    rows: Mapping[str, Known],
    now: float,
    room: int | None,
) -> int:
    new = [one for url, one in found.items() if url not in rows]
    if room is not None and len(new) > room:
        this = and_(cycles.c.brand == brand, cycles.c.number == cycle.number)
        conn.execute(update(cycles).where(this).values(dropped=cycles.c.dropped + len(new) - room))
        new = new[:room]
    if new:
        conn.execute(insert(conn, urls).on_conflict_do_nothing(), [_new_row(brand, cycle, one, now) for one in new])
    again = ((url, meet(rows[url], one, cycle)) for url, one in found.items() if url in rows)
    write(conn, brand, {url: changes for url, changes in again if changes})
    return len(new)


def _new_row(brand: str, cycle: Cycle, found: Discovery, now: float) -> dict[str, Any]:
    queued = found.state is UrlState.QUEUED
    return {
        "brand": brand,
        "url": found.url,
        "host": host_of(found.url),
        "state": found.state.value,
        "reason": found.reason,
        "discovered_at": now,
        "cycle_done": cycle.number - queued,
        "cycle_due": cycle.number if queued else 0,
        "cycle_seen": cycle.number,
        "template": found.template,
        "sitemap": found.sitemap,
        "lastmod": found.lastmod,
        **way(found),
    }


def hand_in(conn: Connection, brand: str, outcome: PageOutcome, now: float) -> None:
    """Writes a text that was handed over; the URL is in the ledger afterwards, whether or not it was before."""
    url = address(outcome.task.url)
    held = known(conn, brand, [url]).get(url)
    values = hand_over(held, outcome, now)
    if held is None:
        row = {"brand": brand, "url": url, "host": host_of(url), "discovered_at": now, **values}
        conn.execute(insert(conn, urls).values(row))
    else:
        write(conn, brand, {url: values})


def write(conn: Connection, brand: str, changes: Mapping[str, Mapping[str, Any]]) -> None:
    """``changes``: columns by URL."""
    alike: dict[tuple[str, ...], list[dict[str, Any]]] = defaultdict(list)
    for url, values in changes.items():
        row = {"key_brand": brand, "key_url": url, **{f"new_{name}": value for name, value in values.items()}}
        alike[tuple(values)].append(row)
    for columns, rows in alike.items():
        conn.execute(update(urls).where(_this_row).values({name: bindparam(f"new_{name}") for name in columns}), rows)


def begin(conn: Connection, brand: str, cycle: Cycle, now: float) -> None:
    """Makes what a new cycle is about wait for it. A full one begins with its start URLs alone."""
    if cycle.mode is Mode.FULL:
        return
    failed = urls.c.state == UrlState.FAILED.value
    if cycle.mode is Mode.RETRY:
        wanted = or_(failed, urls.c.reason.in_(("robots_unreachable", "blocked_address")))
    else:
        old = or_(urls.c.revisit_at <= now, failed, urls.c.state == UrlState.QUEUED.value)
        newer = and_(urls.c.fetched_at > 0, urls.c.lastmod > urls.c.fetched_at)
        wanted = and_(or_(old, newer, _by_another_extractor(cycle)), not_(judged))
    due = {"cycle_due": cycle.number, "attempts": 0, "due_at": 0.0}
    conn.execute(update(urls).where(urls.c.brand == brand, wanted, _found).values(**due))


def _by_another_extractor(cycle: Cycle) -> ColumnElement[bool]:
    """Stored texts that this cycle's extraction did not make: it may make others of the same pages."""
    if not cycle.extractor:
        return false()
    return and_(urls.c.page_part.is_not(None), urls.c.extractor != cycle.extractor)


def settle_listed(conn: Connection, brand: str, cycle: Cycle, sitemap: str) -> int:
    """Settles what its sitemap says has not changed since it was read; returns how many URLs that were."""
    unchanged = and_(
        waiting(brand, cycle.number),
        urls.c.sitemap == sitemap,
        _in_listed_index,
        urls.c.state == UrlState.FETCHED.value,
        urls.c.page_part.is_not(None),
        _read_by_crawl,
        urls.c.misses == 0,
        urls.c.depth > 0,  # start URLs are looked at in every crawl
        urls.c.lastmod > 0,
        urls.c.lastmod <= urls.c.fetched_at,
        not_(_by_another_extractor(cycle)),
    )
    done = {"reason": "lastmod", "cycle_done": cycle.number, "cycle_due": 0}
    return conn.execute(update(urls).where(unchanged).values(**done)).rowcount


def reopen(conn: Connection, brand: str, cycle: Cycle, template: str, limit: int) -> int:
    """Queues URLs of a pattern that were refused as a trap; returns how many."""
    refused = and_(urls.c.brand == brand, urls.c.template == template, urls.c.reason == "trap")
    some = list(conn.scalars(select(urls.c.url).where(refused).order_by(urls.c.depth, urls.c.url).limit(limit)))
    queued = {"state": UrlState.QUEUED.value, "reason": "discovered", "cycle_done": cycle.number - 1}
    write(conn, brand, {url: {**queued, "cycle_due": cycle.number, "cycle_seen": cycle.number} for url in some})
    return len(some)


def fail_host(conn: Connection, brand: str, cycle: Cycle, host: str) -> int:
    """Gives up what waits for a host that is down, for this cycle; returns how many URLs that were."""
    here = and_(waiting(brand, cycle.number), urls.c.host == host)
    failed = {"state": UrlState.FAILED.value, "reason": "host_down", "cycle_done": cycle.number, "cycle_due": 0}
    return conn.execute(update(urls).where(here).values(**failed, due_at=0.0, revisit_at=0.0)).rowcount


def end(conn: Connection, brand: str, cycle: Cycle) -> int:
    """Ends the waiting; returns how many URLs the cycle did not come to.

    Those of them without text become SKIPPED ``page_cap``; the others keep what is known of them.
    """
    here = waiting(brand, cycle.number)
    left = conn.scalar(select(func.count()).select_from(urls).where(here)) or 0
    capped = {"state": UrlState.SKIPPED.value, "reason": "page_cap", "cycle_done": cycle.number}
    conn.execute(update(urls).where(here, urls.c.state == UrlState.QUEUED.value).values(**capped))
    conn.execute(update(urls).where(here).values(cycle_due=0, due_at=0.0, revisit_at=0.0))
    return left


def drop_unlinked(conn: Connection, brand: str, cycle: Cycle, now: float) -> int:
    """After a full cycle that met no failure: texts that no link led to leave. Returns how many."""
    # Links of a page that could not be read this time may be the only ones to others.
    unread = and_(urls.c.page_part.is_not(None), _read_by_crawl, urls.c.state != UrlState.FETCHED.value)
    trouble = or_(urls.c.reason.in_(sorted(TRANSIENT)), unread)
    met = select(urls.c.url).where(urls.c.brand == brand, urls.c.cycle_done == cycle.number, trouble)
    if conn.execute(met.limit(1)).first() is not None:
        return 0
    unseen = urls.c.cycle_seen < cycle.number
    lost = and_(urls.c.brand == brand, urls.c.page_part.is_not(None), _read_by_crawl, unseen)
    gone = {"state": UrlState.GONE.value, "reason": "unlinked", "changed_at": now, "revisit_at": 0.0, "misses": 0}
    return conn.execute(update(urls).where(lost).values(**gone, **NO_TEXT)).rowcount


@dataclass(frozen=True, slots=True)
class StandIns:
    """Which URLs stand for others, and the rows from which that was worked out."""

    rows: Sequence[Row[Any]]
    wanted: Mapping[str, Alias]


def stand_ins(conn: Connection, brand: str, before: StandIns | None = None) -> StandIns:
    """Works it out by the rules of store.aliases, unless ``before`` was made of the same rows."""
    columns = (urls.c.url, urls.c.depth, urls.c.words_hash, urls.c.numbers_hash, urls.c.simhash)
    held = and_(urls.c.brand == brand, urls.c.page_part.is_not(None))
    about = (urls.c.declared_canonical, (urls.c.misses > 0).label("missed"), urls.c.alias_of, urls.c.alias_reason)
    rows = conn.execute(select(*columns, *about).where(held).order_by(urls.c.url)).all()
    if before is not None and before.rows == rows:
        return before
    return StandIns(rows, aliases(Held(*row[:7]) for row in rows))


def consolidate(conn: Connection, brand: str, before: StandIns | None = None) -> None:
    """Writes down which URLs stand for others. ``before`` is what was worked out while nothing was locked."""
    found = stand_ins(conn, brand, before)
    changes = {}
    for row in found.rows:
        alias = found.wanted.get(row.url)
        now = (alias.of, alias.reason) if alias else ("", "")
        if now != (row.alias_of, row.alias_reason):
            changes[row.url] = {"alias_of": now[0], "alias_reason": now[1]}
    write(conn, brand, changes)


def _slices(items: Iterable[_T], size: int) -> Iterator[list[_T]]:
    rest = iter(items)
    while part := list(islice(rest, size)):
        yield part
