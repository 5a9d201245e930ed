"""Rows of numbers: unit vectors, the vector file of a generation, and exact search in it."""

from __future__ import annotations

import io
import threading
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_app.errors import BadVector, ModelMismatch
from ray_app.index.ports import Vectors

Half = NDArray[np.float16]
Indices = NDArray[np.int64]

# Up to this size a float32 copy is kept in memory: 100,000 chunks of 384 numbers, the largest brand that is
# searched exactly by default. One query then takes 8 ms instead of 55, which converting block by block does.
COPY_CAP_BYTES = 100_000 * 384 * 4
BLOCK_ROWS = 1_024  # converted at once beyond that; 1.5 MB of 384 numbers stay in the processor's cache

UNIT_TOLERANCE = 0.01  # float16 rows are off by 0.0005; anything farther is not a normalised vector


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
    if 0 <= k < len(where):
        where = where[np.argpartition(scores[where], len(where) - k)[len(where) - k :]] if k else where[:0]
    where = where[np.lexsort((where, -scores[where]))]
    return where, scores[where]


class VectorWriter:
    """Appends rows to a float16 .npy whose length is known only at the end."""

    def __init__(self, path: Path, dim: int) -> None:
        self._dim = dim
        self._rows = 0
        self._file = path.open("wb")
        self._file.write(self._header())

    def append(self, vectors: NDArray[Any]) -> None:
        """Rows (n, dim) of length 1, written as they are. Raises ModelMismatch or BadVector."""
        if vectors.ndim != 2 or vectors.shape[1] != self._dim:
            raise ModelMismatch(f"Vectors of shape {vectors.shape} do not fit a model of {self._dim} numbers.")
        with np.errstate(over="ignore", invalid="ignore"):
            norms = np.linalg.norm(np.asarray(vectors, np.float32), axis=1)
        bad = int(np.count_nonzero(~(np.abs(norms - 1) < UNIT_TOLERANCE)))  # NaN is bad, too
        if bad:
            raise BadVector(f"{bad} of {len(vectors)} vectors are not of length 1.")
        self._file.write(np.ascontiguousarray(vectors, np.float16).tobytes())
        self._rows += len(vectors)

    def __enter__(self) -> VectorWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self._file.seek(0)
            self._file.write(self._header())
        self._file.close()

    def _header(self) -> bytes:
        # numpy leaves room in every header for the first number of the shape to grow, so its size is fixed
        header = io.BytesIO()
        shape = {"descr": "<f2", "fortran_order": False, "shape": (self._rows, self._dim)}
        np.lib.format.write_array_header_1_0(header, shape)
        return header.getvalue()


class ExactSearch:
    """Cosines of one vector with all rows; nothing is missed. Safe in threads."""

    def __init__(self, vectors: Half) -> None:
        """``vectors`` (n, dim), rows of length 1, usually memory-mapped."""
        self._vectors = vectors
        self._copy: Vectors | None = None
        self._copying = threading.Lock()

    def search(self, query: Vectors, k: int) -> tuple[Indices, NDArray[np.float32]]:
        """The ``k`` nearest rows and their cosines, nearest first. Raises ModelMismatch."""
        width = self._vectors.shape[1]
        if query.shape != (width,):
            raise ModelMismatch(f"A question vector of shape {query.shape} does not fit vectors of {width} numbers.")
        return best(self._cosines(np.asarray(query, np.float32)), k)

    def _cosines(self, query: Vectors) -> NDArray[np.float32]:
        if self._vectors.size * 4 <= COPY_CAP_BYTES:
            return np.asarray(self._floats() @ query)
        cosines = np.empty(len(self._vectors), np.float32)
        for start in range(0, len(cosines), BLOCK_ROWS):
            block = slice(start, start + BLOCK_ROWS)
            cosines[block] = self._vectors[block].astype(np.float32) @ query
        return cosines

    def _floats(self) -> Vectors:
        with self._copying:
            if self._copy is None:
                self._copy = self._vectors.astype(np.float32)
            return self._copy
