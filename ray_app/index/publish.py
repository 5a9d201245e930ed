"""Making a generation live: fill the vector store, switch the pointer, clear away what no kept generation needs.

The pointer is the commit point. Whatever is cut short before it, readers see the old generation; after it, the
new one. Every step may be repeated.
"""

from __future__ import annotations

import hashlib
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np

from ray_app.config import IndexSettings
from ray_app.errors import ChecksumMismatch, StoreError, VectorStoreDown, VectorStoreLocked
from ray_app.index.depot import Depot
from ray_app.index.digests import Digests, Words, hexes, union, words
from ray_app.index.generation import Generation
from ray_app.index.layout import made_at, stale_names
from ray_app.index.ports import VectorStore
from ray_app.observe.log import get_logger
from ray_app.records import ModelId
from ray_app.store.catalog import Catalog

log = get_logger(__name__)

BATCH = 500  # vectors per call to the store: 0.8 MB of 384 numbers

STALE_AGE_S = 6 * 3600.0  # a directory the catalog does not know, untouched for so long, is no longer being built


@dataclass(frozen=True, slots=True)
class Alignment:
    """What brought the vector store into line with the generations of a brand."""

    upserted: int = 0  # vectors the store lacked
    deleted: int = 0  # vectors no generation holds
    problem: str = ""  # why it is not in line; searches are exact until it is


@dataclass(frozen=True, slots=True)
class Published:
    """What publishing did."""

    generation: str
    upserted: int
    deleted: int
    removed: tuple[str, ...]  # old generations, and what crashed runs left behind
    degraded: str = ""  # the problem of the alignment


def collection_name(brand: str, model: ModelId) -> str:
    """The store's collection for one brand and model; a brand's name has no dot, so the part before it is the brand."""
    return f"{brand}.{hashlib.blake2b(f'{model}/{model.dim}'.encode(), digest_size=6).hexdigest()}"


class Publisher:
    """Switches brands to new generations."""

    def __init__(self, catalog: Catalog, depot: Depot, vectors: VectorStore | None, settings: IndexSettings) -> None:
        """Without ``vectors`` no vector store is kept in line."""
        self._catalog = catalog
        self._depot = depot
        self._vectors = vectors
        self._settings = settings

    def publish(
        self,
        brand: str,
        name: str,
        *,
        fence: int | None,
        now: float,
        figures: Mapping[str, float] | None = None,
        hold: bool = False,
        refill: bool = False,
    ) -> Published:
        """Make a generation the live one of ``brand``, keep as many as the settings say, collect the rest.

        Raises ChecksumMismatch when its files are damaged and LeaseLost when ``fence`` is old, both before anything
        is switched; what goes wrong after the switch is told as degraded. A vector store that fails does not stop it:
        generations are the truth, and are searched exactly until the next run has brought the store into line. Brands
        that are searched through it are filled before the switch, others after. ``refill`` sends every vector again,
        also those of ids that it holds.
        """
        built = Generation.open(self._depot.fetch(brand, name), verify=True)
        self._depot.push(brand, name)
        rows = self._catalog.generations(brand)
        before = self._open(brand, (row.generation for row in rows))
        live = self._catalog.live(brand)
        trusted = not refill and live is not None and self._catalog.aligned().get(brand) == live
        summary = {**built.manifest.summary(), "figures": dict(figures) if figures else None}
        self._catalog.add_generation(brand, name, summary, fence)
        early: Alignment | None = None
        if len(built) > self._settings.exact_max_chunks:
            early = self._align(brand, [*before, built], before if trusted else (), refill=built if refill else None)
        self._catalog.publish(brand, name, now, fence, hold=hold)
        if early is not None and not early.problem and self._vectors is not None:
            self._catalog.set_aligned(brand, name)
        known: Sequence[Generation] = before if trusted else ()
        if early is not None:
            known = [*before, built] if not early.problem else ()
        try:
            done = self._clear_away(brand, name, fence, now, known, refill=refill and early is None)
        except (StoreError, OSError) as error:  # the new generation is live all the same; the next run finishes this
            log.warning("publication_not_finished", brand=brand, generation=name, error=str(error))
            done = Published(name, 0, 0, (), f"It is live, but clearing up after it failed: {error}")
        if early is not None:
            done = replace(done, upserted=done.upserted + early.upserted, degraded=early.problem or done.degraded)
        log.info("generation_live", brand=brand, chunks=len(built), **_fields(done))
        return done

    def tidy(self, brand: str, now: float, fence: int | None = None) -> Published | None:
        """Collect what no kept generation needs, and bring the vector store in line, asked for every id.

        Nothing is switched; None for a brand of which nothing is published. Call it under the brand's lease.
        """
        live = self._catalog.live(brand)
        return None if live is None else self._clear_away(brand, live, fence, now, (), refill=False)

    def _clear_away(
        self, brand: str, live: str, fence: int | None, now: float, known: Sequence[Generation], *, refill: bool
    ) -> Published:
        """Bring the vector store in line with what is kept, and collect the rest. Raises LeaseLost."""
        rows = [row.generation for row in self._catalog.generations(brand)]  # what comes later is not ours to collect
        kept = self._kept(brand, live, rows)
        generations = self._open(brand, kept)
        self._catalog.check(brand, fence)
        again = next((one for one in generations if one.name == live), None) if refill else None
        done = self._align(brand, generations, known, refill=again)
        self._catalog.check(brand, fence)
        if self._vectors is not None and not done.problem:
            self._catalog.set_aligned(brand, live)
        old = [name for name in rows if name not in kept]
        removed = collect(self._catalog, self._depot, brand, old, {*kept, *rows}, now)
        return Published(live, done.upserted, done.deleted, tuple(removed), done.problem)

    def _kept(self, brand: str, live: str, rows: Sequence[str]) -> set[str]:
        """The live generation and the newest others of the recorded ``rows`` that are whole."""
        there = set(self._depot.names(brand)) - {live}
        newest = [name for name in rows if name in there]
        return {live, *newest[: self._settings.keep_generations - 1]}

    def _open(self, brand: str, names: Iterable[str]) -> list[Generation]:
        """Those that can be read; a damaged one wants nothing of the vector store, for it cannot be served."""
        found: list[Generation] = []
        for name in sorted(set(names) & set(self._depot.names(brand))) if self._vectors is not None else ():
            try:
                found.append(Generation.open(self._depot.fetch(brand, name), verify=False))
            except ChecksumMismatch as error:
                log.error("generation_damaged", brand=brand, generation=name, error=str(error))
        return found

    def _align(
        self,
        brand: str,
        generations: Sequence[Generation],
        before: Sequence[Generation],
        *,
        refill: Generation | None = None,
    ) -> Alignment:
        if self._vectors is None:
            return Alignment()
        if not before:  # nobody knows what it lacks: search exactly until it is filled
            self._catalog.set_aligned(brand, "")
        return align(self._vectors, brand, generations, before, refill)


def align(
    store: VectorStore,
    brand: str,
    generations: Sequence[Generation],
    before: Sequence[Generation] = (),
    refill: Generation | None = None,
) -> Alignment:
    """Have the store hold the vectors of these generations of ``brand`` and no others of it.

    ``before`` are generations it was in line with: when it holds as many ids as they do, it is believed to hold just
    those, and a large brand costs no more than what changed. Without ``before`` it is asked for every id. Of ``refill``
    every vector is sent, for ids do not tell whether a vector is the present one.
    """
    done = Alignment()
    try:
        wanted, known = _by_collection(generations), _by_collection(before)
        for name in store.collections():
            if name.partition(".")[0] == brand and name not in wanted:
                done = replace(done, deleted=done.deleted + store.count(name))
                store.drop(name)
        for name, own in wanted.items():
            held = _held(store, name, known.get(name, []))
            done = _align_one(store, name, own, held, done)
        if refill is not None:
            name = collection_name(brand, refill.manifest.model)
            done = replace(done, upserted=_upsert(store, name, refill, refill.ids.digests.words))
    except (VectorStoreDown, VectorStoreLocked) as error:
        log.warning("vector_store_not_aligned", brand=brand, error=str(error))
        return replace(done, problem=str(error))
    return done


def _by_collection(generations: Iterable[Generation]) -> dict[str, list[Generation]]:
    found: defaultdict[str, list[Generation]] = defaultdict(list)
    for generation in generations:
        found[collection_name(generation.manifest.brand, generation.manifest.model)].append(generation)
    return dict(found)


def _held(store: VectorStore, collection: str, believed: Sequence[Generation]) -> Digests:
    guess = union([one.ids.digests for one in believed])
    if believed and store.count(collection) == len(guess):
        return guess
    return Digests.of(words(sorted(store.ids(collection))))


def _align_one(
    store: VectorStore, collection: str, generations: Sequence[Generation], held: Digests, done: Alignment
) -> Alignment:
    upserted = 0
    wanted = Digests.of(words(b""))
    for generation in generations:
        own = generation.ids.digests.words
        lacking = own[:, (held.places(own) < 0) & (wanted.places(own) < 0)]
        upserted += _upsert(store, collection, generation, lacking)
        wanted = union([wanted, generation.ids.digests])
    surplus = hexes(held.words[:, wanted.places(held.words) < 0])
    for start in range(0, len(surplus), BATCH):
        store.delete(collection, surplus[start : start + BATCH])
    return replace(done, upserted=done.upserted + upserted, deleted=done.deleted + len(surplus))


def _upsert(store: VectorStore, collection: str, generation: Generation, ids: Words) -> int:
    rows = generation.ids.rows_of(ids)
    for start in range(0, len(rows), BATCH):
        part = slice(start, start + BATCH)
        store.upsert(collection, hexes(ids[:, part]), generation.vectors[rows[part]].astype(np.float32))
    return len(rows)


def _fields(done: Published) -> Mapping[str, str | int]:
    return {
        "generation": done.generation,
        "upserted": done.upserted,
        "deleted": done.deleted,
        "removed": len(done.removed),
        "degraded": done.degraded,
    }


def collect(
    catalog: Catalog, depot: Depot, brand: str, old: Sequence[str], kept: Collection[str], now: float
) -> list[str]:
    """Remove the recorded generations ``old``, but never the live one, and what crashed runs left; returns the names.

    ``kept`` are all others that are recorded. Files go before their row: while the row is there, the next publish
    finds what this one did not finish.
    """
    removed = []
    for name in old:
        if catalog.live(brand) != name:
            depot.remove(brand, name)
            catalog.drop_generation(brand, name)
            removed.append(name)
    recorded = {*kept, *(row.generation for row in catalog.generations(brand))}
    stale = stale_names(depot.root, brand, recorded, now - STALE_AGE_S)
    if depot.shared:  # pushed by a run that was killed before it published
        stale += [name for name in depot.names(brand) if name not in recorded and made_at(name) < now - STALE_AGE_S]
    for name in dict.fromkeys(stale):
        depot.remove(brand, name)
    return removed + list(dict.fromkeys(stale))
