"""What SQL holds of a URL or a brand, and how it is taken out. Each method is one transaction under a lease."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Mapping
from typing import Any

from sqlalchemy import Connection, and_, bindparam, delete, func, or_, select, update

from ray_app.records import TaskState, UrlState
from ray_app.store import fence as lease
from ray_app.store.db import Database
from ray_app.store.schema import brands, cycles, generations, pointers, rejects, sitemaps, tasks, urls
from ray_app.store.settle import NO_TEXT
from ray_app.store.tombstones import FORGOTTEN

# Of a forgotten URL only how it was found stays: its address, its depth and where it was listed.
BLANK: Mapping[str, Any] = {
    **NO_TEXT,
    "state": UrlState.SKIPPED.value,
    "reason": FORGOTTEN,
    "status": 0,
    "attempts": 0,
    "due_at": 0.0,
    "fetched_at": 0.0,
    "canonical_url": "",
    "media_type": "",
    "bytes": 0,
    "seconds": 0.0,
    "detail": "",
    "cycle_due": 0,
    "misses": 0,
    "revisit_at": 0.0,
}
# Columns in which other rows name a URL, each with what goes with it.
NAMED = {
    "alias_of": {"alias_of": "", "alias_reason": ""},
    "declared_canonical": {"declared_canonical": ""},
    "canonical_url": {"canonical_url": ""},
    "parent": {"parent": ""},
}
TASK_ROWS = 500  # looked through at once
_ENDED = frozenset({TaskState.DONE.value, TaskState.FAILED.value, TaskState.CANCELLED.value})
# In prose a URL ends at these; what follows another character is part of a longer one.
_URL_END = r"(?![^\s\"'<>()\[\],;#])"


class Forgetting:
    """Methods raise LeaseLost when the fence is old, StoreUnavailable when SQL cannot be reached."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def same_text(self, brand: str, url: str) -> list[str]:
        """Other URLs of the brand that hold the same words: their texts stay unless they are forgotten too."""
        words = select(urls.c.words_hash).where(urls.c.brand == brand, urls.c.url == url, urls.c.words_hash != "")
        others = and_(urls.c.brand == brand, urls.c.url != url, urls.c.words_hash.in_(words))
        with self._db.read() as conn:
            return list(conn.scalars(select(urls.c.url).where(others).order_by(urls.c.url)))

    def urls(self, brand: str, gone: Collection[str], fence: int, now: float) -> dict[str, int]:
        """Blanks the rows of URLs and what other rows say of them; returns how many rows changed, by table."""
        with self._db.write() as conn:
            lease.check(conn, brand, fence)
            rows = named = bad = 0
            for url in gone:
                rows += _blank(conn, brand, url, now)
                for column, values in NAMED.items():
                    this = and_(urls.c.brand == brand, urls.c[column] == url)
                    named += conn.execute(update(urls).where(this).values(**values)).rowcount
                bad += conn.execute(delete(rejects).where(rejects.c.brand == brand, rejects.c.url == url)).rowcount
            return {"ledger_rows": rows, "ledger_mentions": named, "rejects": bad}

    def move(self, brand: str, old: str, new: str, moved: Mapping[int, int], fence: int) -> int:
        """Points the rows that point into one part to another; returns how many those were."""
        with self._db.write() as conn:
            lease.check(conn, brand, fence)
            here = and_(urls.c.brand == brand, urls.c.page_part == old)
            held = conn.execute(select(urls.c.url, urls.c.page_row).where(here)).all()
            this = and_(urls.c.brand == brand, urls.c.url == bindparam("key_url"))
            change = update(urls).where(this).values(page_part=new, page_row=bindparam("new_row"))
            if held:
                conn.execute(change, [{"key_url": url, "new_row": moved[row]} for url, row in held])
            return len(held)

    def withdraw(self, brand: str, fence: int) -> None:
        """Leaves the brand without a live generation."""
        with self._db.write() as conn:
            lease.check(conn, brand, fence)
            conn.execute(delete(pointers).where(pointers.c.brand == brand))

    def brand(self, brand: str, fence: int) -> dict[str, int]:
        """Deletes every row of a brand but its lease and tombstones; returns how many, by table."""
        with self._db.write() as conn:
            lease.check(conn, brand, fence)
            tables = {
                "ledger_rows": urls,
                "cycles": cycles,
                "sitemaps": sitemaps,
                "rejects": rejects,
                "pointers": pointers,
                "generation_rows": generations,
            }
            removed = {
                name: conn.execute(delete(table).where(table.c.brand == brand)).rowcount
                for name, table in tables.items()
            }
            removed["brands"] = conn.execute(delete(brands).where(brands.c.name == brand)).rowcount
            return removed

    def empty(self, brand: str) -> bool:
        """Whether the brand has no rows but its lease and tombstones."""
        with self._db.read() as conn:
            columns = [brands.c.name, urls.c.brand, cycles.c.brand, generations.c.brand]
            return not any(conn.execute(select(one).where(one == brand).limit(1)).first() for one in columns)

    def tasks(self, brand: str, gone: Collection[str]) -> int:
        """Deletes ended tasks that name a URL (or, without any, the brand), and empties others; returns how many."""
        names = _named_by(brand, gone)
        # Who works on one of a URL still needs to know for whom; one of a whole brand has nothing left to work on.
        kept = {"payload": {"brand": brand}} if gone else {"payload": {}, "state": TaskState.CANCELLED.value}
        last, found = "", 0
        while rows := self._some_tasks(last):
            last = rows[-1][0]
            these = [(key, state) for key, state, *told in rows if any(map(names, told))]
            found += len(these)
            with self._db.write() as conn:
                for key, state in these:
                    if state in _ENDED:
                        conn.execute(delete(tasks).where(tasks.c.id == key))
                    else:  # whoever works on it notes there how it ends
                        values = {**kept, "result": None, "error": ""}
                        conn.execute(update(tasks).where(tasks.c.id == key).values(**values))
        return found

    def _some_tasks(self, last: str) -> list[tuple[Any, ...]]:
        columns = (tasks.c.id, tasks.c.state, tasks.c.payload, tasks.c.result, tasks.c.error)
        with self._db.read() as conn:
            query = select(*columns).where(tasks.c.id > last).order_by(tasks.c.id).limit(TASK_ROWS)
            return [tuple(row) for row in conn.execute(query)]


def named_in(value: Any, brand: str, gone: Collection[str]) -> bool:
    """Whether JSON names one of the URLs, or, without any, the brand."""
    return _named_by(brand, gone)(value)


def _named_by(brand: str, gone: Collection[str]) -> Callable[[Any], bool]:
    if gone:
        wanted = re.compile("|".join(re.escape(url) + _URL_END for url in sorted(gone)))
    else:  # alone, in brand:generation of an answer, or in the words of an error
        wanted = re.compile(rf"(?:^|[\s'\",]){re.escape(brand)}(?:$|[\s'\",:.])")
    return lambda value: any(wanted.search(text) for text in _texts(value))


def _texts(value: Any) -> Iterator[str]:
    """Every text in JSON; keys are texts too."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        yield from map(str, value)
        for one in value.values():
            yield from _texts(one)
    elif isinstance(value, list | tuple):
        for one in value:
            yield from _texts(one)


def _blank(conn: Connection, brand: str, url: str, now: float) -> int:
    """Whether the row of a URL held anything."""
    this = and_(urls.c.brand == brand, urls.c.url == url)
    blank_already = and_(*(urls.c[name] == value for name, value in BLANK.items() if value is not None))
    changed = update(urls).where(this, or_(~blank_already, urls.c.page_part.is_not(None)))
    return conn.execute(changed.values(**BLANK, changed_at=now)).rowcount


def count(conn: Connection, table: Any) -> int:
    """Rows of a table."""
    return conn.scalar(select(func.count()).select_from(table)) or 0
