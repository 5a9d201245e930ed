"""The vector store in memory: exact, for tests and for machines without Chroma."""

from __future__ import annotations

import threading
from collections.abc import Sequence
from itertools import islice

import numpy as np

from ray_app.errors import ModelMismatch
from ray_app.index.ports import Vectors
from ray_app.index.vectors import best


class MemoryVectorStore:
    """The ``VectorStore`` port over dictionaries."""

    def __init__(self) -> None:
        self._held: dict[str, dict[str, Vectors]] = {}
        self._lock = threading.Lock()

    def upsert(self, collection: str, ids: Sequence[str], vectors: Vectors) -> None:
        with self._lock:
            held = self._held.setdefault(collection, {})
            rows = np.asarray(vectors, np.float32)
            _same_width(collection, held, rows.shape[-1])
            held.update(zip(ids, rows / np.linalg.norm(rows, axis=-1, keepdims=True), strict=True))

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        with self._lock:
            for one in ids:
                self._held.get(collection, {}).pop(one, None)

    def query(self, collection: str, vector: Vectors, k: int) -> list[tuple[str, float]]:
        with self._lock:
            held = dict(self._held.get(collection, {}))
        if not held:
            return []
        _same_width(collection, held, len(vector))
        cosines = np.stack(list(held.values())) @ (np.asarray(vector, np.float32) / np.linalg.norm(vector))
        names = list(held)
        where, values = best(cosines, k)
        return [(names[i], float(v)) for i, v in zip(where, values, strict=True)]

    def count(self, collection: str) -> int:
        return len(self._held.get(collection, {}))

    def ids(self, collection: str) -> set[str]:
        with self._lock:
            return set(self._held.get(collection, {}))

    def page(self, collection: str, start: int, limit: int) -> list[str]:
        with self._lock:
            return list(islice(self._held.get(collection, {}), start, start + max(limit, 0)))

    def missing(self, collection: str, ids: Sequence[str]) -> set[str]:
        with self._lock:
            return set(ids) - self._held.get(collection, {}).keys()

    def vectors(self, collection: str, ids: Sequence[str]) -> tuple[list[str], Vectors]:
        with self._lock:
            held = self._held.get(collection, {})
            names = [one for one in dict.fromkeys(ids) if one in held]
            return names, np.array([held[one] for one in names], np.float32) if names else np.empty((0, 0), np.float32)

    def drop(self, collection: str) -> None:
        with self._lock:
            self._held.pop(collection, None)

    def collections(self) -> list[str]:
        return sorted(self._held)

    def describe(self) -> dict[str, str | int | float | bool]:
        return {"kind": "memory", "where": "this process"}

    def close(self) -> None:
        """Nothing to let go of."""


def _same_width(collection: str, held: dict[str, Vectors], width: int) -> None:
    known = len(next(iter(held.values()))) if held else width
    if known != width:
        raise ModelMismatch(f"Collection {collection!r} holds vectors of {known} numbers, not {width}.")
