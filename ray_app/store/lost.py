"""Stored texts whose page part is missing or damaged: which URLs point to them, and how they are fetched anew."""

from __future__ import annotations

from collections.abc import Iterator, Sequence, Set
from dataclasses import dataclass

from sqlalchemy import ColumnElement, and_, select, update

from ray_app.records import PageRef, UrlState
from ray_app.store import fence as lease
from ray_app.store.db import Database
from ray_app.store.schema import urls
from ray_app.store.settle import NO_TEXT, UNFOUND

ROWS = 500  # per statement and per read
LOST = "lost"  # in place of a part's name: the text is fetched anew, and until then in the index alone


@dataclass(frozen=True, slots=True)
class StoredPage:
    """A URL that holds a text, whether or not it stands for others."""

    url: str
    content_hash: str
    page: PageRef
    fetchable: bool  # a crawl knows the way to it; False: it was only handed over


def stored_pages(db: Database, brand: str) -> Iterator[StoredPage]:
    """Every URL of the brand with a text, by page part; not those whose text is known to be lost."""
    columns = (urls.c.page_part, urls.c.url, urls.c.page_row, urls.c.content_hash, urls.c.cycle_done)
    query = select(*columns).where(urls.c.brand == brand, urls.c.page_part != LOST)
    query = query.order_by(urls.c.page_part, urls.c.url)
    after: ColumnElement[bool] | None = None
    while True:
        with db.read() as conn:
            rows = conn.execute((query if after is None else query.where(after)).limit(ROWS)).all()
        for part, url, row, text, done in rows:
            yield StoredPage(url, text, PageRef(part, row), done > UNFOUND)
        if len(rows) < ROWS:
            return
        last = rows[-1]
        same = and_(urls.c.page_part == last.page_part, urls.c.url > last.url)
        after = (urls.c.page_part > last.page_part) | same


def fetch_anew(db: Database, brand: str, fence: int, lost: Sequence[StoredPage], held: Set[str]) -> None:
    """Have the next crawl fetch these URLs whatever it believes of them. Raises LeaseLost.

    The index goes on with a text that it holds itself (``held``, URLs); of any other nothing is left but the URL.
    A text that was handed over waits for its owner. What was stored under a URL since it was found lost is left alone.
    """
    anew = {"page_part": LOST, "page_row": 0, "etag": "", "last_modified": "", "revisit_at": 0.0}
    empty = {**anew, **NO_TEXT, "state": UrlState.QUEUED.value, "reason": "discovered", "misses": 0}
    there = urls.c.page_part.in_({page.page.part for page in lost})
    with db.write() as conn:
        lease.check(conn, brand, fence)
        for kept in (True, False):
            some = [page.url for page in lost if (page.url in held) is kept]
            for start in range(0, len(some), ROWS):
                these = and_(urls.c.brand == brand, urls.c.url.in_(some[start : start + ROWS]), there)
                if kept:  # a text of another extraction is asked for as if nothing were stored
                    conn.execute(update(urls).where(these, urls.c.extractor > 0).values(extractor=0))
                conn.execute(update(urls).where(these).values(**(anew if kept else empty)))
