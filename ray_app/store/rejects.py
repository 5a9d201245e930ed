"""Chunks that could not be embedded, with the reason: what is missing from an index is written down."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass

from sqlalchemy import delete, func, select

from ray_app.store import fence as lease
from ray_app.store.db import Database, insert
from ray_app.store.schema import rejects
from ray_app.store.settle import plain

ROWS = 500  # per statement; SQLite takes 32,766 values in one
DETAIL_CHARS = 500


@dataclass(frozen=True, slots=True)
class Reject:
    """One chunk that is in no index. ``reason`` is a key of records.CHUNK_REASONS."""

    chunk_id: str
    url: str
    reason: str
    detail: str
    model: str  # that was to embed it
    at: float  # POSIX seconds


class Rejects:
    """Methods raise StoreUnavailable when SQL cannot be reached."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def replace(self, brand: str, kept: Iterable[str], found: Sequence[Reject], fence: int | None = None) -> None:
        """Keeps what is known of the ``kept`` URLs and puts ``found`` in place of everything else.

        Raises LeaseLost when a ``fence`` is given and old.
        """
        stay = set(kept)
        rows = [{**asdict(one), "brand": brand, "detail": plain(one.detail, DETAIL_CHARS)} for one in found]
        with self._db.write() as conn:
            if fence is not None:
                lease.check(conn, brand, fence)
            urls = conn.scalars(select(rejects.c.url).distinct().where(rejects.c.brand == brand)).all()
            gone = [url for url in urls if url not in stay]
            for start in range(0, len(gone), ROWS):
                these = rejects.c.url.in_(gone[start : start + ROWS])
                conn.execute(delete(rejects).where(rejects.c.brand == brand, these))
            for start in range(0, len(rows), ROWS):
                conn.execute(insert(conn, rejects).values(rows[start : start + ROWS]).on_conflict_do_nothing())

    def of_url(self, brand: str, url: str) -> list[Reject]:
        """Those of one document."""
        names = [rejects.c[name] for name in Reject.__slots__]
        query = select(*names).where(rejects.c.brand == brand, rejects.c.url == url).order_by(rejects.c.chunk_id)
        with self._db.read() as conn:
            return [Reject(**row) for row in conn.execute(query).mappings()]

    def counts(self, brand: str) -> dict[str, int]:
        """How many by reason."""
        query = (
            select(rejects.c.reason, func.count().label("chunks"))
            .where(rejects.c.brand == brand)
            .group_by(rejects.c.reason)
        )
        with self._db.read() as conn:
            return {row.reason: row.chunks for row in conn.execute(query)}
