"""Making a generation live: fill the vector store, switch the pointer, clear away what no kept generation needs.

The pointer is the commit point. Whatever is cut short before it, readers see the old generation; after it, the
new one. Every step may be repeated.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ray_app.errors import ChecksumMismatch, VectorStoreDown
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_names, generation_path, remove_generation, stale_names
from ray_app.index.ports import VectorStore
from ray_app.observe.log import get_logger
from ray_app.records import ModelId
from ray_app.store.catalog import Catalog

log = get_logger(__name__)

BATCH = 500  # vectors per call to the store: 0.8 MB of 384 numbers

STALE_AGE_S = 6 * 3600.0  # a directory the catalog does not know, untouched for so long, is no longer being built


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing did."""

    generation: str
    upserted: int  # vectors the store lacked
    deleted: int  # vectors no kept generation holds
    removed: tuple[str, ...]  # old generations, and what crashed runs left behind
    degraded: str = ""  # why the vector store is not filled; searches are exact until it is


def collection_name(brand: str, model: ModelId) -> str:
    """The store's collection for one brand and model; a brand's name has no dot, so the part before it is the brand."""
    return f"{brand}.{hashlib.blake2b(f'{model}/{model.dim}'.encode(), digest_size=6).hexdigest()}"


def publish(  # noqa: PLR0913  # two stores, a folder, and what to publish in them
    catalog: Catalog,
    root: Path,
    brand: str,
    generation: str,
    vectors: VectorStore | None,
    *,
    fence: int | None,
    keep: int,
    now: float,
) -> Published:
    """Make ``generation`` the live one of ``brand`` and keep ``keep`` generations, this one included.

    Raises ChecksumMismatch when its files are damaged and LeaseLost when ``fence`` is old, both before anything
    is switched. A vector store that fails does not stop it: generations are the truth, the store is filled again
    by the next publish.
    """
    built = Generation.open(generation_path(root, brand, generation), verify=True)
    catalog.add_generation(brand, generation, built.manifest.summary())
    upserted, problem = fill(vectors, built)
    catalog.publish(brand, generation, now, fence)
    kept = _kept(catalog, root, brand, generation, keep)
    deleted, late_problem = _trim(vectors, root, brand, kept)
    removed = collect(catalog, root, brand, kept, now)
    done = Published(generation, upserted, deleted, tuple(removed), problem or late_problem)
    log.info("generation_live", brand=brand, chunks=len(built), **_fields(done))
    return done


def _fields(done: Published) -> Mapping[str, str | int]:
    return {
        "generation": done.generation,
        "upserted": done.upserted,
        "deleted": done.deleted,
        "removed": len(done.removed),
        "degraded": done.degraded,
    }


def fill(store: VectorStore | None, built: Generation) -> tuple[int, str]:
    if store is None:
        return 0, ""
    collection = collection_name(built.manifest.brand, built.manifest.model)
    ids = built.chunk_ids()
    try:
        held = store.ids(collection)
        lacking = [row for row, one in enumerate(ids) if one not in held]
        for start in range(0, len(lacking), BATCH):
            rows = lacking[start : start + BATCH]
            store.upsert(collection, [ids[r] for r in rows], built.vectors[rows].astype(np.float32))
    except VectorStoreDown as error:
        log.warning("vector_store_not_filled", brand=built.manifest.brand, error=str(error))
        return 0, str(error)
    return len(lacking), ""


def _kept(catalog: Catalog, root: Path, brand: str, live: str, keep: int) -> set[str]:
    """The live generation and the newest others that were published once, ``keep`` in all."""
    there = set(generation_names(root, brand))
    newest = [row.generation for row in catalog.generations(brand) if row.generation in there - {live}]
    return {live, *newest[: keep - 1]}


def _trim(store: VectorStore | None, root: Path, brand: str, kept: Iterable[str]) -> tuple[int, str]:
    """Delete from the store what no kept generation holds, and collections of models that none of them uses."""
    if store is None:
        return 0, ""
    wanted = _wanted(root, brand, kept)
    deleted = 0
    try:
        for collection in store.collections():
            if collection.partition(".")[0] != brand:
                continue
            if collection not in wanted:
                deleted += store.count(collection)
                store.drop(collection)
                continue
            surplus = sorted(store.ids(collection) - wanted[collection])
            for start in range(0, len(surplus), BATCH):
                store.delete(collection, surplus[start : start + BATCH])
            deleted += len(surplus)
    except VectorStoreDown as error:
        log.warning("vector_store_not_trimmed", brand=brand, error=str(error))
        return deleted, str(error)
    return deleted, ""


def _wanted(root: Path, brand: str, kept: Iterable[str]) -> dict[str, set[str]]:
    """Chunk ids by collection. A damaged generation wants nothing: it cannot be served, only rebuilt."""
    wanted: dict[str, set[str]] = {}
    for name in kept:
        try:
            generation = Generation.open(generation_path(root, brand, name), verify=False)
        except ChecksumMismatch as error:
            log.error("generation_damaged", brand=brand, generation=name, error=str(error))
            continue
        collection = collection_name(brand, generation.manifest.model)
        wanted.setdefault(collection, set()).update(generation.chunk_ids())
    return wanted


def collect(catalog: Catalog, root: Path, brand: str, kept: set[str], now: float) -> list[str]:
    """Files go before their row: while the row is there, the next publish finds what this one did not finish."""
    old = [row.generation for row in catalog.generations(brand) if row.generation not in kept]
    for name in old:
        remove_generation(root, brand, name)
        catalog.drop_generation(brand, name)
    stale = stale_names(root, brand, kept, now - STALE_AGE_S)
    for name in stale:
        remove_generation(root, brand, name)
    return old + stale
