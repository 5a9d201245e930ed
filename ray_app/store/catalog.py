"""Brands, their generations, and which generation is live."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from sqlalchemy import and_, delete, select, update

from ray_app.errors import LeaseLost, NoGeneration, StoreError, UnknownBrand
from ray_app.store import fence as lease
from ray_app.store import tombstones
from ray_app.store.db import Database, insert
from ray_app.store.schema import brands, generations, pointers
from ray_app.store.schema import tombstones as buried


@dataclass(frozen=True, slots=True)
class GenerationRow:
    """One complete generation of a brand's index."""

    brand: str
    generation: str
    chunks: int
    documents: int
    model: str
    created_at: float
    published_at: float | None  # when it went live; None when it is not the live one
    held: bool = False  # it is live and stays so, whatever is built, until that is lifted
    figures: Mapping[str, float] | None = None  # of its own retrieval evaluation; None: not evaluated


class Catalog:
    """Methods raise StoreUnavailable when SQL cannot be reached."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def save_brand(
        self, name: str, config: Mapping[str, Any], fence: int | None = None, receipt: str | None = None
    ) -> None:
        """Keeps the brand's configuration, which must be JSON, in place of an earlier one.

        ``receipt``: of the brand's tombstone when this run was planned ("": there was none). Raises LeaseLost when the
        brand was forgotten since then, or when a ``fence`` is given and old.
        """
        with self._db.write() as conn:
            if fence is not None:
                lease.check(conn, name, fence)
            if receipt is not None and tombstones.brand_receipt(conn, name) != receipt:
                raise LeaseLost(f"The brand {name} was forgotten on request meanwhile; this run stops.")
            statement = insert(conn, brands).values(name=name, config=dict(config))
            change = {"config": statement.excluded.config}
            conn.execute(statement.on_conflict_do_update(index_elements=["name"], set_=change))

    def brand(self, name: str) -> dict[str, Any]:
        """The saved configuration. Raises UnknownBrand."""
        with self._db.read() as conn:
            config = conn.scalar(select(brands.c.config).where(brands.c.name == name))
        if config is None:
            raise UnknownBrand(f"No such brand: {name!r}.")
        return dict(config)

    def brands(self) -> list[str]:
        """Names of the saved brands, sorted."""
        with self._db.read() as conn:
            return list(conn.scalars(select(brands.c.name).order_by(brands.c.name)))

    def forgotten(self) -> dict[str, str]:
        """The receipt of every brand that was ever forgotten as a whole, whether or not it was begun anew since."""
        query = select(buried.c.brand, buried.c.receipt).where(buried.c.url == "")
        with self._db.read() as conn:
            return {row.brand: row.receipt for row in conn.execute(query)}

    def add_generation(self, brand: str, generation: str, summary: Mapping[str, Any], fence: int | None = None) -> None:
        """Records a complete generation; ``summary`` has chunks, documents, model and created_at, perhaps figures.

        May be repeated; the first word stands. Raises LeaseLost when a ``fence`` is given and old.

        Raises StoreError naming what ``summary`` lacks.
        """
        if missing := sorted({"chunks", "documents", "model", "created_at"} - summary.keys()):
            raise StoreError(f"The summary of generation {generation} lacks {', '.join(missing)}.")
        row = {
            "brand": brand,
            "generation": generation,
            "chunks": int(summary["chunks"]),
            "documents": int(summary["documents"]),
            "model": str(summary["model"]),
            "created_at": float(summary["created_at"]),
            "figures": summary.get("figures"),
        }
        with self._db.write() as conn:
            if fence is not None:
                lease.check(conn, brand, fence)
            conn.execute(insert(conn, generations).values(row).on_conflict_do_nothing())

    def generations(self, brand: str) -> list[GenerationRow]:
        """The recorded generations of a brand, newest first."""
        live = and_(pointers.c.brand == generations.c.brand, pointers.c.generation == generations.c.generation)
        query = (
            select(generations, pointers.c.published_at, pointers.c.held)
            .outerjoin(pointers, live)
            .where(generations.c.brand == brand)
            .order_by(generations.c.created_at.desc(), generations.c.generation.desc())
        )
        with self._db.read() as conn:
            return [GenerationRow(**{**row, "held": bool(row["held"])}) for row in conn.execute(query).mappings()]

    def live(self, brand: str) -> str | None:
        """The generation that readers use."""
        with self._db.read() as conn:
            return conn.scalar(select(pointers.c.generation).where(pointers.c.brand == brand))

    def pointers(self) -> dict[str, str]:
        """The live generation of every brand that has one; one small query."""
        with self._db.read() as conn:
            rows = conn.execute(select(pointers.c.brand, pointers.c.generation))
            return {row.brand: row.generation for row in rows}

    def aligned(self) -> dict[str, str]:
        """The generation of each brand that the vector store is known to hold whole."""
        with self._db.read() as conn:
            rows = conn.execute(select(pointers.c.brand, pointers.c.aligned).where(pointers.c.aligned != ""))
            return {row.brand: row.aligned for row in rows}

    def set_aligned(self, brand: str, generation: str) -> None:
        """Notes that the vector store holds a generation whole; "" while that is not known."""
        with self._db.write() as conn:
            conn.execute(update(pointers).where(pointers.c.brand == brand).values(aligned=generation))

    def check(self, brand: str, fence: int | None) -> None:
        """Raises LeaseLost when a ``fence`` is given and old."""
        if fence is not None:
            with self._db.write() as conn:
                lease.check(conn, brand, fence)

    def held(self, brand: str) -> bool:
        """Whether the live generation is to stay whatever is built."""
        with self._db.read() as conn:
            return bool(conn.scalar(select(pointers.c.held).where(pointers.c.brand == brand)))

    def publish(self, brand: str, generation: str, now: float, fence: int | None = None, *, hold: bool = False) -> None:
        """Makes a recorded generation the live one. Also the way back to an earlier one, which ``hold`` keeps.

        Raises NoGeneration when it is not recorded, LeaseLost when a ``fence`` is given and old.
        """
        with self._db.write() as conn:
            if fence is not None:
                lease.check(conn, brand, fence)
            this = and_(generations.c.brand == brand, generations.c.generation == generation)
            if conn.scalar(select(generations.c.generation).where(this)) is None:
                raise NoGeneration(f"The brand {brand} has no generation {generation}.")
            change = {"generation": generation, "published_at": now, "held": int(hold)}
            statement = insert(conn, pointers).values(brand=brand, **change)
            conn.execute(statement.on_conflict_do_update(index_elements=["brand"], set_=change))

    def drop_generation(self, brand: str, generation: str) -> None:
        """Forgets a generation that readers no longer use. Raises StoreError when it is the live one."""
        with self._db.write() as conn:
            live = select(pointers.c.generation).where(pointers.c.brand == brand).with_for_update()
            if conn.scalar(live) == generation:
                raise StoreError(f"The generation {generation} of {brand} is live and cannot be dropped.")
            this = and_(generations.c.brand == brand, generations.c.generation == generation)
            conn.execute(delete(generations).where(this))
