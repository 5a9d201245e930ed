"""The vector store compared with the generations, vector by vector, and brought in line with them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_app.index.digests import Digests, Words, hexes, union, words
from ray_app.index.generation import Generation
from ray_app.index.ports import Vectors, VectorStore
from ray_app.index.publish import collection_name

BATCH = 500  # vectors per call to the store: 0.8 MB of 384 numbers
ALIKE = 0.999  # cosine: one text embedded in bf16 and in fp32 has .9999, and rounding to float16 costs less


@dataclass(frozen=True, slots=True)
class Difference:
    """What one collection of the store has otherwise than the generations."""

    kind: str  # "vector_missing", "vector_surplus", "vector_altered" or "collection", which none of them wants
    collection: str
    count: int  # of vectors
    example: str = ""  # the id of one


def differences(
    store: VectorStore, brand: str, generations: Sequence[Generation], *, repair: bool
) -> Iterator[Difference]:
    """Compare what is held of ``brand`` with these generations, newest first; with ``repair`` mend it on the way.

    Raises VectorStoreDown, VectorStoreLocked.
    """
    wanted: dict[str, list[Generation]] = {}
    for generation in generations:
        wanted.setdefault(collection_name(brand, generation.manifest.model), []).append(generation)
    for name in store.collections():
        if name.partition(".")[0] == brand and name not in wanted:
            yield Difference("collection", name, store.count(name))
            if repair:
                store.drop(name)
    for name, own in wanted.items():
        yield from _in_collection(store, name, own, repair=repair)


def _in_collection(
    store: VectorStore, collection: str, generations: Sequence[Generation], *, repair: bool
) -> Iterator[Difference]:
    held = Digests.of(words(sorted(store.ids(collection))))
    seen = Digests.of(words(b""))
    missing, altered = _Tally("vector_missing", collection), _Tally("vector_altered", collection)
    for generation in generations:
        own = generation.ids.digests.words
        new = own[:, seen.places(own) < 0]
        there = held.places(new) >= 0
        missing.add(new[:, ~there])
        bad = new[:, there][:, _altered(store, collection, generation, new[:, there])]
        altered.add(bad)
        if repair:
            _upsert(store, collection, generation, np.concatenate([new[:, ~there], bad], axis=1))
        seen = union([seen, generation.ids.digests])
    surplus = _Tally("vector_surplus", collection)
    surplus.add(held.words[:, seen.places(held.words) < 0])
    if repair:
        for ids in surplus.batches():
            store.delete(collection, ids)
    yield from (tally.difference() for tally in (missing, surplus, altered) if tally.count)


class _Tally:
    """Ids of one kind of difference."""

    def __init__(self, kind: str, collection: str) -> None:
        self._kind = kind
        self._collection = collection
        self._found: list[Words] = []

    def add(self, ids: Words) -> None:
        self._found.append(ids)

    @property
    def count(self) -> int:
        return sum(ids.shape[1] for ids in self._found)

    def batches(self) -> Iterator[list[str]]:
        for ids in self._found:
            for start in range(0, ids.shape[1], BATCH):
                yield hexes(ids[:, start : start + BATCH])

    def difference(self) -> Difference:
        return Difference(self._kind, self._collection, self.count, next(self.batches())[0])


def _altered(store: VectorStore, collection: str, generation: Generation, ids: Words) -> NDArray[np.bool_]:
    """Which of these vectors, all of them held, are not those of the generation."""
    found = np.zeros(ids.shape[1], bool)
    rows = generation.ids.rows_of(ids)
    for start in range(0, len(rows), BATCH):
        names = hexes(ids[:, start : start + BATCH])
        held_names, held = store.vectors(collection, names)
        place = {name: at for at, name in enumerate(names)}
        expected = generation.vectors[rows[start : start + BATCH]].astype(np.float32)
        alike = np.zeros(len(names), bool)
        if held_names and held.shape[1] == expected.shape[1]:
            at = [place[name] for name in held_names]
            alike[at] = _cosines(held, expected[at]) >= ALIKE  # NaN is not
        found[start : start + BATCH] = ~alike
    return found


def _cosines(one: Vectors, other: Vectors) -> Vectors:
    with np.errstate(all="ignore"):
        lengths = np.linalg.norm(one, axis=1) * np.linalg.norm(other, axis=1)
        return np.asarray((one * other).sum(axis=1) / lengths, np.float32)


def _upsert(store: VectorStore, collection: str, generation: Generation, ids: Words) -> None:
    rows = generation.ids.rows_of(ids)
    for start in range(0, len(rows), BATCH):
        part = slice(start, start + BATCH)
        store.upsert(collection, hexes(ids[:, part]), generation.vectors[rows[part]].astype(np.float32))
