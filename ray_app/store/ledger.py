"""The URL ledger: what is known of every URL of a brand, and who may write it.

**One document per text.** Of all URLs that hold the same text one stands for all; which one is worked out from
what is stored (``store.aliases``) at the end of each cycle, so it does not depend on the order texts came in.

**Cycles.** A URL waits in at most one cycle (``cycle_due``) and is settled at most once in it (``cycle_done``).
Which URLs a cycle is about depends on its mode; what it finds on its way joins it.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence, Set
from dataclasses import replace
from itertools import islice
from typing import Any

from sqlalchemy import ColumnElement, Connection, Select, and_, func, or_, select, union, update

from ray_app.records import FetchTask, Kind, PageOutcome, PageRef, UrlState
from ray_app.store import fence as lease
from ray_app.store import sitemap_rows, tombstones, url_rows
from ray_app.store.db import Database, insert
from ray_app.store.rows import Cycle, Discovery, Finished, Holder, Mode, SitemapRow, StoredDocument, UrlRow
from ray_app.store.schema import cycles, urls
from ray_app.store.settle import address

__all__ = ["Cycle", "Discovery", "Holder", "Ledger", "Mode", "StoredDocument", "UrlRow"]

PAGE_ROWS = 1_000  # rows per read of a listing, so that a slow consumer holds no transaction open

_TASK = ("brand", "url", "depth", "hops", "attempts", "etag", "last_modified", "content_hash", "extractor")


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

    def seize(self, brand: str, holder: Holder, now: float, ttl_s: float) -> int:
        """As ``acquire``, but a running holder loses the brand at its next write, unless it has the same label."""
        with self._db.write() as conn:
            return lease.seize(conn, brand, holder, now, ttl_s)

    def renew(self, brand: str, fence: int, now: float, ttl_s: float) -> None:
        """Holds the brand until ``now + ttl_s``. Raises LeaseLost."""
        with self._db.write() as conn:
            lease.renew(conn, brand, fence, now, ttl_s)

    def release(self, brand: str, fence: int) -> None:
        """Frees the brand, if it is still held under ``fence``."""
        with self._db.write() as conn:
            lease.release(conn, brand, fence)

    # -- cycles

    def open_cycle(
        self, brand: str, now: float, fence: int | None = None, mode: Mode = Mode.DELTA, extractor: int = 0
    ) -> Cycle:
        """The unfinished cycle of the brand, whatever its mode, or else a new one.

        A delta cycle comes to every text that another ``extractor`` made, whatever visits and sitemaps say.
        Raises LeaseLost when a ``fence`` is given and old.
        """
        with self._db.write() as conn:
            if fence is not None:
                lease.check(conn, brand, fence)
            last = _last_cycle(conn, brand)
            if last is not None and last.finished_at is None:
                return replace(last, resumed=True, extractor=extractor)
            number = 1 if last is None else last.number + 1
            row = {"brand": brand, "number": number, "started_at": now, "mode": mode.value}
            conn.execute(insert(conn, cycles).values(row))
            cycle = Cycle(number, now, None, mode=mode, extractor=extractor)
            url_rows.begin(conn, brand, cycle, now)
            sitemap_rows.begin(conn, brand, cycle)
            return cycle

    def finish_cycle(self, brand: str, cycle: Cycle, fence: int, now: float) -> Finished:
        """Ends a cycle and works out which URLs stand for others. Raises LeaseLost.

        URLs it did not come to and that hold no text become SKIPPED ``page_cap`` and wait for the next cycle; the
        others keep what is known of them. After a full cycle that came to everything and met no failure, texts that
        no link led to leave.
        """
        before = self._stand_ins(brand)
        with self._db.write() as conn:
            lease.check(conn, brand, fence)
            left, dropped = url_rows.end(conn, brand, cycle), _dropped(conn, brand, cycle)
            whole = cycle.mode is Mode.FULL and not left and not dropped
            clean = whole and not sitemap_rows.failed(conn, brand, cycle)
            unlinked = url_rows.drop_unlinked(conn, brand, cycle, now) if clean else 0
            this = and_(cycles.c.brand == brand, cycles.c.number == cycle.number, cycles.c.finished_at.is_(None))
            conn.execute(update(cycles).where(this).values(finished_at=now))
            url_rows.consolidate(conn, brand, before)
            return Finished(left, unlinked, dropped)

    def last_cycle(self, brand: str) -> Cycle | None:
        """The newest cycle, finished or not."""
        with self._db.read() as conn:
            return _last_cycle(conn, brand)

    def done_in_cycle(self, brand: str, cycle: int) -> int:
        """How many URLs were settled in the cycle after having been asked for."""
        return self._count(urls.c.brand == brand, urls.c.cycle_done == cycle, url_rows.spent)

    def waiting(self, brand: str, cycle: int) -> int:
        """How many URLs are still to be settled in the cycle."""
        return self._count(url_rows.waiting(brand, cycle))

    def known_urls(self, brand: str) -> int:
        """How many URLs of the brand have a row."""
        return self._count(urls.c.brand == brand)

    def texts(self, brand: str) -> int:
        """How many URLs of the brand hold a text."""
        return self._count(urls.c.brand == brand, urls.c.page_part.is_not(None))

    # -- the crawl

    def discover(
        self, brand: str, cycle: Cycle, found: Iterable[Discovery], now: float, fence: int | None = None
    ) -> int:
        """Adds what is not known yet; returns how many that were. Raises LeaseLost when ``fence`` is given and old.

        A known URL takes a shorter way to it. One that its address alone had ruled out is queued when it is
        now found in a way that does not. A full cycle comes to whatever is found in it. Nothing else changes.
        """
        with self._db.write() as conn:
            if fence is not None:
                lease.check(conn, brand, fence)
            return url_rows.commit(conn, brand, cycle, (), found, now)

    def due(
        self, brand: str, cycle: int, host: str, limit: int, now: float, exclude: Set[str] = frozenset()
    ) -> list[FetchTask]:
        """At most ``limit`` URLs of a host to fetch now: least depth first, then as they were discovered."""
        query = (
            select(*(urls.c[name] for name in _TASK))
            .where(url_rows.waiting(brand, cycle), urls.c.host == host, urls.c.due_at <= now)
            .order_by(urls.c.depth, urls.c.discovered_at, urls.c.url)
            .limit(limit + len(exclude))
        )
        with self._db.read() as conn:
            tasks = (FetchTask(*row) for row in conn.execute(query))
            return list(islice((task for task in tasks if task.url not in exclude), limit))

    def hosts(self, brand: str, cycle: int) -> list[str]:
        """The hosts that URLs of the cycle wait for."""
        with self._db.read() as conn:
            return list(conn.scalars(select(urls.c.host).where(url_rows.waiting(brand, cycle)).distinct()))

    def next_due(self, brand: str, cycle: int) -> float | None:
        """When the first of the URLs still to be settled may be tried; None when there is none."""
        with self._db.read() as conn:
            first: float | None = conn.scalar(select(func.min(urls.c.due_at)).where(url_rows.waiting(brand, cycle)))
        return first

    def commit(
        self,
        brand: str,
        cycle: Cycle,
        fence: int,
        outcomes: Sequence[PageOutcome],
        discoveries: Iterable[Discovery],
        now: float,
        room: int | None = None,
    ) -> int:
        """Writes outcomes and what they led to in one transaction; returns how many URLs are new. Raises LeaseLost.

        A URL that was forgotten on request is only recorded as that, whatever its outcome brings.

        Durable when it returns. Repeating a commit changes nothing (see ``store.settle``). At most ``room`` new URLs
        are recorded, if it is given; the rest is counted in the cycle.
        """
        with self._db.write() as conn:
            lease.check(conn, brand, fence)
            return url_rows.commit(conn, brand, cycle, outcomes, discoveries, now, room)

    def not_admitted(self, brand: str, wanted: Iterable[str]) -> set[str]:
        """Those of the URLs that have no row, or one that says that they belong to a trap."""
        asked = {address(url): url for url in wanted}
        with self._db.read() as conn:
            rows = url_rows.known(conn, brand, asked)
        return {url for key, url in asked.items() if key not in rows or rows[key].reason == "trap"}

    def reopen(self, brand: str, cycle: Cycle, fence: int, template: str, limit: int) -> int:
        """Lets URLs of a pattern in that were refused as a trap; returns how many. Raises LeaseLost."""
        with self._db.write() as conn:
            lease.check(conn, brand, fence)
            return url_rows.reopen(conn, brand, cycle, template, limit)

    def give_up_host(self, brand: str, cycle: Cycle, fence: int, host: str) -> int:
        """Fails what waits for a host that is down; returns how many pages that were. Raises LeaseLost."""
        with self._db.write() as conn:
            lease.check(conn, brand, fence)
            sitemap_rows.fail_host(conn, brand, cycle, host)
            return url_rows.fail_host(conn, brand, cycle, host)

    def hand_over(self, brand: str, outcome: PageOutcome, now: float) -> None:
        """Writes a text that its owner hands over, in place of what is stored under its URL (see ``store.settle``).

        Needs no lease, for a crawl may hold it for hours: it concerns this one row and is one transaction, before or
        after any commit of the holder. A run that reads the documents later publishes it. Raises InputError when the
        URL or the brand was forgotten on request.
        """
        with self._db.write() as conn:
            lease.wait_for_commits(conn, brand)
            tombstones.check(conn, brand, address(outcome.task.url))
            url_rows.hand_in(conn, brand, outcome, now)

    # -- sitemaps

    def add_sitemaps(self, brand: str, cycle: Cycle, found: Iterable[FetchTask], fence: int) -> None:
        """Records robots.txt files and sitemaps that are not known yet. Raises LeaseLost."""
        with self._db.write() as conn:
            lease.check(conn, brand, fence)
            sitemap_rows.add(conn, brand, cycle, found)

    def sitemaps_due(self, brand: str, cycle: Cycle, limit: int) -> list[tuple[FetchTask, float]]:
        """Those that the cycle has not read yet, with the time before which they are not asked for."""
        with self._db.read() as conn:
            return sitemap_rows.due(conn, brand, cycle, limit)

    def commit_sitemap(
        self,
        brand: str,
        cycle: Cycle,
        fence: int,
        outcome: PageOutcome,
        found: Iterable[Discovery],
        now: float,
        room: int | None = None,
    ) -> int:
        """Writes what one robots.txt or sitemap led to; returns how many URLs are new. Raises LeaseLost.

        ``outcome.links`` are sitemaps it names, ``found`` what its entries are to the crawl.
        In a delta cycle, pages it says have not changed since they were read are settled without a request.
        """
        with self._db.write() as conn:
            lease.check(conn, brand, fence)
            added = url_rows.commit(conn, brand, cycle, (), found, now, room)
            depth = outcome.task.depth + 1
            nested = [FetchTask(brand, url, depth, kind=Kind.SITEMAP) for url in outcome.links]
            sitemap_rows.add(conn, brand, cycle, nested, parent=outcome.task.url)
            sitemap_rows.settle(conn, cycle, outcome, now)
            if cycle.mode is Mode.DELTA and outcome.state is UrlState.FETCHED:
                url_rows.settle_listed(conn, brand, cycle, outcome.task.url)
            return added

    def find_sitemap(self, url: str, brand: str = "") -> list[SitemapRow]:
        """A robots.txt or sitemap in the brand, or in every brand that knows it."""
        with self._db.read() as conn:
            return sitemap_rows.find(conn, url, brand)

    def sitemaps(self, brand: str) -> list[SitemapRow]:
        """The robots.txt files and sitemaps of a brand."""
        with self._db.read() as conn:
            return sitemap_rows.rows(conn, brand)

    # -- reading

    def consolidate(self, brand: str, fence: int) -> None:
        """Works out which URLs stand for others, as the end of a cycle does. Raises LeaseLost."""
        before = self._stand_ins(brand)
        with self._db.write() as conn:
            lease.check(conn, brand, fence)
            url_rows.consolidate(conn, brand, before)

    def documents(self, brand: str) -> list[StoredDocument]:
        """Every text of the brand once, by URL, as the last cycle left them.

        A text stays until the server takes it away: a page that only fails for now is still a document.
        """
        columns = (urls.c.url, urls.c.content_hash, urls.c.page_part, urls.c.page_row, urls.c.title)
        query = select(*columns).where(urls.c.brand == brand, urls.c.page_part.is_not(None), urls.c.alias_of == "")
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
        rows = self._rows(select(*url_rows.shown).where(urls.c.brand == brand, urls.c.url == address(url)))
        return rows[0] if rows else None

    def find(self, url: str, brand: str = "") -> list[UrlRow]:
        """One URL in the brand, or in every brand that knows it."""
        return [row for name in ([brand] if brand else self._brands()) if (row := self.url(name, url)) is not None]

    def aliases_of(self, brand: str, url: str, limit: int = 100) -> list[str]:
        """The URLs that this one stands for, or that redirect to it."""
        aliases = and_(urls.c.brand == brand, urls.c.alias_of == url, url_rows.in_alias_index)
        moved = and_(urls.c.brand == brand, urls.c.canonical_url == url, url_rows.in_redirect_index)
        # Each has an index, which SQLite uses as long as the order is asked for outside.
        found = union(*(select(urls.c.url).where(each) for each in (aliases, moved))).subquery()
        with self._db.read() as conn:
            return list(conn.scalars(select(found.c.url).order_by(found.c.url).limit(limit)))

    def urls(self, brand: str, state: UrlState | None = None, reason: str = "") -> Iterator[UrlRow]:
        """Every URL of a brand, by URL; each thousand is read by itself."""
        query = select(*url_rows.shown).where(urls.c.brand == brand).order_by(urls.c.url).limit(PAGE_ROWS)
        if state is not None:
            query = query.where(urls.c.state == state.value)
        if reason:
            query = query.where(url_rows.reason == reason)
        rows = self._rows(query)
        while rows:
            yield from rows
            rows = self._rows(query.where(urls.c.url > rows[-1].url))

    def counts(self, brand: str) -> dict[tuple[UrlState, str], int]:
        """URLs by (state, reason)."""
        shown = select(urls.c.state, url_rows.reason).where(urls.c.brand == brand).subquery()
        query = select(shown.c.state, shown.c.reason, func.count()).group_by(shown.c.state, shown.c.reason)
        with self._db.read() as conn:
            return {(UrlState(state), reason): count for state, reason, count in conn.execute(query)}

    def templates(self, brand: str) -> list[tuple[str, int, int]]:
        """Of each pattern of URLs with a budget: how many were looked at, how many shapes their texts have."""
        looked_at = or_(urls.c.fetched_at > 0, urls.c.reason == "robots")
        admitted = func.count().filter(urls.c.reason != "trap", looked_at)
        shapes = func.count(urls.c.shape.distinct()).filter(urls.c.shape != "")
        query = select(urls.c.template, admitted, shapes).where(urls.c.brand == brand, urls.c.template != "")
        with self._db.read() as conn:
            return [(row[0], row[1], row[2]) for row in conn.execute(query.group_by(urls.c.template))]

    def _stand_ins(self, brand: str) -> url_rows.StandIns:
        """Worked out before a transaction that writes: other brands must not wait for it."""
        with self._db.read() as conn:
            return url_rows.stand_ins(conn, brand)

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
    if row is None:
        return None
    return Cycle(row["number"], row["started_at"], row["finished_at"], mode=Mode(row["mode"]), dropped=row["dropped"])


def _dropped(conn: Connection, brand: str, cycle: Cycle) -> int:
    this = and_(cycles.c.brand == brand, cycles.c.number == cycle.number)
    return conn.scalar(select(cycles.c.dropped).where(this)) or 0
