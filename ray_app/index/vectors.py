"""Rows of numbers: unit vectors, the vector file of a generation, and exact search in it."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numkong
import numpy as np
from numpy.typing import NDArray

from ray_app.errors import BadVector, ModelMismatch
from ray_app.index.npy import NpyWriter
from ray_app.index.ports import Vectors
from ray_app.index.rows import Rows, size
from ray_app.observe.log import get_logger

Half = NDArray[np.float16]
Indices = NDArray[np.int64]

# Read at once: 12.6 MB of 384 numbers. Smaller blocks cost calls, larger ones leave threads waiting for the last.
BLOCK_ROWS = 16_384
CONVERT_ROWS = 1_024  # made float32 at once; 1.5 MB of 384 numbers stay in the processor's cache
SPLIT_ROWS = 65_536  # from here on a search is shared among threads: 2.4 ms of work for one of them
GAP_ROWS = 48  # a call of the kernel costs as much as reading so many rows: smaller gaps between ranges are read, too
MAX_THREADS = 4  # memory is what limits a scan; more threads would only take it from other questions

UNIT_TOLERANCE = 0.01  # float16 rows are off by 0.0005; anything farther is not a normalised vector

log = get_logger(__name__)


def unit_rows(vectors: NDArray[Any]) -> Vectors:
    """Rows scaled to length 1, float32. Raises BadVector when a row is zero, NaN or infinite."""
    rows = np.asarray(vectors, np.float32)
    with np.errstate(over="ignore", invalid="ignore"):  # what comes out is looked at
        norms = np.linalg.norm(rows, axis=1, keepdims=True)
    bad = int(np.count_nonzero(~(np.isfinite(norms) & (norms > 1e-12))))
    if bad:
        raise BadVector(f"{bad} of {len(rows)} vectors are zero, NaN or infinite.", hint="Try precision fp32.")
    return np.asarray(rows / norms, np.float32)


def best(scores: NDArray[np.float32], k: int, among: Indices | None = None) -> tuple[Indices, NDArray[np.float32]]:
    """Positions and values of the ``k`` highest scores (of those ``among``), highest first; ties by position."""
    where = np.arange(len(scores)) if among is None else among
    if 0 < k < len(where):
        values = scores[where]
        kth = np.partition(values, len(where) - k)[len(where) - k]
        above, equal = where[values > kth], np.sort(where[values == kth])
        where = np.concatenate([above, equal[: k - len(above)]])
    elif k <= 0:
        where = where[:0]
    where = where[np.lexsort((where, -scores[where]))]
    return where, scores[where]


class VectorWriter(NpyWriter):
    """The float16 vectors of a generation; each is looked at before it is written."""

    def __init__(self, path: Path, dim: int) -> None:
        super().__init__(path, np.dtype("<f2"), dim)
        self._dim = dim

    def append(self, values: NDArray[Any]) -> None:
        """Rows (n, dim) of length 1, written as they are. Raises ModelMismatch or BadVector."""
        if values.ndim != 2 or values.shape[1] != self._dim:
            raise ModelMismatch(f"Vectors of shape {values.shape} do not fit a model of {self._dim} numbers.")
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(np.asarray(values, np.float32), axis=1)
        bad = int(np.count_nonzero(~(np.abs(norms - 1) < UNIT_TOLERANCE)))  # NaN is bad, too
        if bad:
            raise BadVector(f"{bad} of {len(values)} vectors are not of length 1.")
        super().append(np.asarray(values, "<f2"))

    def __enter__(self) -> VectorWriter:
        return self


@dataclass(frozen=True, slots=True)
class _Question:
    """What is searched for, and how far the fast scan may be off."""

    vector: Vectors  # (dim,)
    half: Half  # (1, dim), the same rounded, for the kernel reads rows and question alike
    k: int
    slack: float  # no cosine of the scan is farther than this from the one computed in float32

    @classmethod
    def of(cls, vector: Vectors, k: int) -> _Question:
        half = vector.astype(np.float16)
        lost = float(np.linalg.norm(vector - half.astype(np.float32)))
        # Two sums of ``dim`` products in float32 (Higham, Accuracy and Stability, 3.1), and the question's rounding.
        summed = 2 * len(vector) * 2.0**-24 * float(np.linalg.norm(vector))
        return cls(vector, half.reshape(1, -1), k, (lost + summed) * (1 + UNIT_TOLERANCE))


Found = tuple[Indices, NDArray[np.float32]]


class ExactSearch:
    """Cosines of one vector with all rows; nothing is missed. Safe in threads, keeps no copy of the rows.

    A vector kernel reads the float16 rows where they lie, with the question rounded to float16, too. That is off by
    ``slack`` at most, so every row that could be among the best is computed again in float32: usually a few more
    than ``k``. Results are those of ``exhaustive``, which converts and multiplies everything, at a tenth of its time.
    """

    def __init__(self, vectors: Half) -> None:
        """``vectors`` (n, dim), rows of length 1, usually memory-mapped."""
        self._vectors = vectors
        self._all: Rows = np.array([[0, len(vectors)]], np.int64)
        self._kernel_fits = True

    def warm(self) -> None:
        """Read every row once, so that the first question does not wait for the disk."""
        width = self._vectors.shape[1]
        self.search(np.full(width, width**-0.5, np.float32), 1)

    def search(self, query: Vectors, k: int, rows: Rows | None = None) -> Found:
        """The ``k`` nearest rows and their cosines, nearest first, equal ones by row. Raises ModelMismatch.

        ``query`` (dim,). Only ``rows`` are looked at; None: all.
        """
        vector = self._checked(query)
        if k <= 0 or (rows is not None and not len(rows)):
            return best(np.empty(0, np.float32), 0)
        if not self._kernel_fits:
            return self.exhaustive(vector, k, rows)
        question = _Question.of(vector, k)
        near, rough = self._near(question, self._all if rows is None else rows)
        cosines = self._cosines(near, vector)
        if len(near) and float(np.abs(cosines - rough).max()) > question.slack:
            self._kernel_fits = False  # a processor whose kernel sums in half precision, say
            log.error("vector_kernel_inexact", off=float(np.abs(cosines - rough).max()), slack=question.slack)
            return self.exhaustive(vector, k, rows)
        where, values = best(cosines, k)
        return near[where], values

    def exhaustive(self, query: Vectors, k: int, rows: Rows | None = None) -> Found:
        """The same as ``search`` by plain arithmetic over every row: the oracle, and the way without a fit kernel."""
        vector = self._checked(query)
        ranges = (self._all if rows is None else rows).tolist()
        places = np.concatenate([np.empty(0, np.int64), *(np.arange(start, stop) for start, stop in ranges)])
        where, values = best(self._cosines(places, vector), k)
        return places[where], values

    def _checked(self, query: Vectors) -> Vectors:
        width = self._vectors.shape[1]
        if query.shape != (width,):
            raise ModelMismatch(f"A question vector of shape {query.shape} does not fit vectors of {width} numbers.")
        return np.asarray(query, np.float32)

    def _cosines(self, places: Indices, query: Vectors) -> NDArray[np.float32]:
        """In float32. einsum adds up all rows in the same order: equal ones have equal cosines wherever they lie."""
        cosines = np.empty(len(places), np.float32)
        for start in range(0, len(places), CONVERT_ROWS):
            part = slice(start, start + CONVERT_ROWS)
            np.einsum("ij,j->i", self._vectors[places[part]].astype(np.float32), query, out=cosines[part])
        return cosines

    def _near(self, question: _Question, rows: Rows) -> Found:
        """Every row that may be among the best, ascending, with the scan's cosine."""
        batches = list(_batches(_bridged(rows)))
        threads = min(self._threads, len(batches)) if size(rows) >= SPLIT_ROWS else 1
        shares = [batches[len(batches) * i // threads : len(batches) * (i + 1) // threads] for i in range(threads)]
        others = [self._pool.submit(self._scan, question, share, rows) for share in shares[1:]]
        parts = [self._scan(question, shares[0], rows), *(other.result() for other in others)]
        places, rough = (np.concatenate(columns) for columns in zip(*parts, strict=True))
        kept = rough >= _floor(rough, question)
        return places[kept], rough[kept]

    def _scan(self, question: _Question, batches: Sequence[Rows], rows: Rows) -> Found:
        places, rough, floor = np.empty(0, np.int64), np.empty(0, np.float32), -np.inf
        for batch in batches:
            found, scores = self._read(question, batch)
            hits = np.flatnonzero(scores >= floor)
            hits = hits[_inside(found[hits], rows)]
            places, rough = np.concatenate([places, found[hits]]), np.concatenate([rough, scores[hits]])
            floor = _floor(rough, question)
            kept = rough >= floor
            places, rough = places[kept], rough[kept]
        return places, rough

    def _read(self, question: _Question, batch: Rows) -> Found:
        """The rows of a batch and their cosines by the kernel."""
        # Without out=, for which numkong takes another way, three times as slow.
        scores = [np.asarray(numkong.cdist(self._vectors[a:b], question.half, "dot"))[:, 0] for a, b in batch.tolist()]
        places = [np.arange(start, stop) for start, stop in batch.tolist()]
        return np.concatenate(places), np.concatenate(scores).astype(np.float32)

    @cached_property
    def _threads(self) -> int:
        return min(MAX_THREADS, os.cpu_count() or 1)

    @cached_property
    def _pool(self) -> ThreadPoolExecutor:
        return ThreadPoolExecutor(self._threads - 1, thread_name_prefix="exact-search")


def _floor(rough: NDArray[np.float32], question: _Question) -> float:
    """What a row needs to be perhaps among the ``k`` best, when it and the k-th of these are off by the slack."""
    if len(rough) < question.k:
        return -np.inf
    return float(np.partition(rough, len(rough) - question.k)[len(rough) - question.k]) - 2 * question.slack


def _bridged(rows: Rows) -> Rows:
    """The ranges with small gaps between them filled."""
    far = np.flatnonzero(rows[1:, 0] - rows[:-1, 1] > GAP_ROWS)
    first, last = np.append(0, far + 1), np.append(far, len(rows) - 1)
    return np.stack([rows[first, 0], rows[last, 1]], axis=1) if len(rows) else rows


def _inside(places: Indices, rows: Rows) -> NDArray[np.bool_]:
    """Which places, none before the first range, lie in one of the ranges."""
    return np.asarray(places < rows[np.searchsorted(rows[:, 0], places, side="right") - 1, 1])


def _batches(rows: Rows) -> Iterator[Rows]:
    """The same rows in the same order, up to BLOCK_ROWS of them at a time; many small ranges share a batch."""
    batch: list[tuple[int, int]] = []
    room = BLOCK_ROWS
    for begin, stop in rows.tolist():
        start = begin
        while start < stop:
            end = min(stop, start + room)
            batch.append((start, end))
            room -= end - start
            start = end
            if not room:
                yield np.array(batch, np.int64)
                batch, room = [], BLOCK_ROWS
    if batch:
        yield np.array(batch, np.int64)
