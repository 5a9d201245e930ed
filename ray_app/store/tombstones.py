"""What was forgotten on request, and must not come back.

A tombstone of a URL stays until it is lifted: whatever a crawl or a backup brings of that URL is refused. One of a
whole brand (``url`` "") stands for the brand as it was: nothing from before comes back, and the brand is known again
only when somebody begins it anew.

Who forgets writes the tombstone first, in a transaction of its own. Whoever writes for a brand looks for tombstones in
the transaction that writes, so what it looked at is either seen by the forgetting, which comes after, or refused.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable
from dataclasses import dataclass, replace
from typing import Any

from sqlalchemy import ColumnElement, Connection, and_, delete, select, update

from ray_app.errors import InputError
from ray_app.records import PageOutcome, UrlState
from ray_app.store.db import Database, insert
from ray_app.store.rows import Discovery
from ray_app.store.schema import brands, tombstones, urls

FORGOTTEN = "forgotten"  # reason of such a URL in the ledger
IN_LIST = 1_000  # keys per IN list


@dataclass(frozen=True, slots=True, order=True)
class Tombstone:
    """One forgotten URL of a brand, or the whole brand as it was."""

    brand: str
    url: str  # "": the whole brand
    forgotten_at: float  # POSIX seconds
    receipt: str


class Tombstones:
    """Methods raise StoreUnavailable when SQL cannot be reached."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def bury(self, brand: str, url: str, now: float, receipt: str, *, anew: bool = False) -> Tombstone:
        """Write a tombstone; the one that is in force, an older one of the same unless ``anew``."""
        row = {"brand": brand, "url": url, "forgotten_at": now, "receipt": receipt}
        with self._db.write() as conn:
            statement = insert(conn, tombstones).values(row)
            key = ["brand", "url"]
            change = {"forgotten_at": now, "receipt": receipt}
            conn.execute(
                statement.on_conflict_do_update(index_elements=key, set_=change)
                if anew
                else statement.on_conflict_do_nothing()
            )
            return _rows(conn, _this(brand, url))[0]

    def lift(self, brand: str, url: str) -> bool:
        """Let the URL or the brand in again, from the next crawl on; False when it was not forgotten."""
        with self._db.write() as conn:
            lifted = conn.execute(delete(tombstones).where(_this(brand, url))).rowcount > 0
            if lifted and url:
                again = {"state": UrlState.QUEUED.value, "reason": "discovered"}
                this = and_(urls.c.brand == brand, urls.c.url == url, urls.c.reason == FORGOTTEN)
                conn.execute(update(urls).where(this).values(**again))
            return lifted

    def find(self, brand: str, url: str = "") -> Tombstone | None:
        """That of a URL, or of the brand as a whole."""
        with self._db.read() as conn:
            found = _rows(conn, _this(brand, url))
        return found[0] if found else None

    def all(self, brand: str = "", url: str = "") -> list[Tombstone]:
        """Those of one brand or of all, of one URL or of any; by brand and URL."""
        some = [*([tombstones.c.brand == brand] if brand else []), *([tombstones.c.url == url] if url else [])]
        with self._db.read() as conn:
            return _rows(conn, *some)


def everything(conn: Connection) -> list[Tombstone]:
    """All tombstones, inside the caller's transaction."""
    return _rows(conn)


def buried(conn: Connection, brand: str, wanted: Collection[str]) -> set[str]:
    """Those of the URLs (ledger keys) that were forgotten."""
    mine = and_(tombstones.c.brand == brand, tombstones.c.url != "")
    if not wanted or conn.execute(select(tombstones.c.url).where(mine).limit(1)).first() is None:
        return set()
    keys: list[str] = list(wanted)
    found: set[str] = set()
    for start in range(0, len(keys), IN_LIST):
        some = tombstones.c.url.in_(keys[start : start + IN_LIST])
        found.update(conn.scalars(select(tombstones.c.url).where(mine, some)))
    return found


def brand_receipt(conn: Connection, brand: str) -> str:
    """The receipt of the brand's own tombstone; "" when it was never forgotten as a whole."""
    return conn.scalar(select(tombstones.c.receipt).where(_this(brand, ""))) or ""


def is_gone(conn: Connection, brand: str) -> bool:
    """Whether the brand was forgotten and nobody has begun it anew."""
    known = select(brands.c.name).where(brands.c.name == brand)
    return bool(brand_receipt(conn, brand)) and conn.execute(known).first() is None


def check(conn: Connection, brand: str, url: str) -> None:
    """Raises InputError when the URL, or the brand as it was, was forgotten."""
    if buried(conn, brand, [url]):
        raise InputError(f"{url} was forgotten on request.", hint=f"`backline forget --lift --url {url}` lets it in.")
    if is_gone(conn, brand):
        raise gone_error(brand)


def gone_error(brand: str) -> InputError:
    """What is said to whoever names a forgotten brand."""
    return InputError(
        f"The brand {brand} was forgotten on request.",
        hint=f"Begin it anew by naming its start page with --url, or `backline forget --lift --brand {brand}`.",
    )


def refuse_found(found: Iterable[Discovery], gone: Collection[str]) -> list[Discovery]:
    """Discoveries without what forgotten pages led to; forgotten URLs among them are ruled out."""
    kept = (one for one in found if one.parent not in gone)
    return [replace(one, state=UrlState.SKIPPED, reason=FORGOTTEN) if one.url in gone else one for one in kept]


def refuse_outcome(outcome: PageOutcome) -> PageOutcome:
    """What is written of a page that was forgotten while it was fetched."""
    return PageOutcome(outcome.task, UrlState.SKIPPED, FORGOTTEN)


def _this(brand: str, url: str) -> ColumnElement[bool]:
    return and_(tombstones.c.brand == brand, tombstones.c.url == url)


def _rows(conn: Connection, *where: ColumnElement[bool]) -> list[Tombstone]:
    columns: list[Any] = [tombstones.c[name] for name in Tombstone.__dataclass_fields__]
    query = select(*columns).where(*where).order_by(tombstones.c.brand, tombstones.c.url)
    return [Tombstone(*row) for row in conn.execute(query)]
