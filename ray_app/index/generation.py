"""One immutable state of a brand's index: chunks, vectors and keywords that belong together.

Row i of its chunks, vectors and keyword index is the same chunk.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ray_app.errors import ChecksumMismatch
from ray_app.index.build import build_generation
from ray_app.index.keywords import KeywordIndex
from ray_app.index.layout import CHUNKS, DOCUMENTS, KEYWORDS, VECTORS
from ray_app.index.manifest import Manifest, check_files, read_manifest
from ray_app.index.ports import Vectors
from ray_app.index.table import ChunkTable
from ray_app.index.vectors import ExactSearch, Half, Indices
from ray_app.records import Chunk

__all__ = ["Generation", "build_generation"]


class Generation:
    """A generation open for reading, memory-mapped; stays readable when its files are collected meanwhile."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Use ``open``. Raises OSError or ValueError."""
        self.path = path
        self.manifest = manifest
        self.table = ChunkTable(path / CHUNKS)
        self.vectors: Half = np.asarray(np.load(path / VECTORS, mmap_mode="r", allow_pickle=False))  # (chunks, dim)
        self.keywords = KeywordIndex.open(path / KEYWORDS)
        self._exact = ExactSearch(self.vectors)

    @classmethod
    def open(cls, path: Path, *, verify: bool = True) -> Generation:
        """Raises ChecksumMismatch when anything is missing or not what the manifest says.

        Sizes are always compared; ``verify`` reads every file once for its checksum (0.3 s per 230 MB, 100,000 chunks).
        """
        manifest = read_manifest(path)
        check_files(path, manifest, contents=verify)
        try:
            opened = cls(path, manifest)
        except (OSError, ValueError) as error:
            raise ChecksumMismatch(f"Generation {path.name} cannot be read: {error}") from error
        shapes = (len(opened.table), len(opened.keywords), opened.vectors.shape)
        if shapes != (manifest.chunks, manifest.chunks, (manifest.chunks, manifest.model.dim)):
            raise ChecksumMismatch(f"The files of generation {path.name} do not belong together.")
        return opened

    def __len__(self) -> int:
        return self.manifest.chunks

    @property
    def name(self) -> str:
        return self.manifest.generation

    def chunk(self, at: int) -> Chunk:
        """The chunk in row ``at``. Raises IndexError."""
        return self.table[at]

    def chunks(self) -> Iterator[Chunk]:
        """Every chunk in row order, read as it is asked for."""
        return iter(self.table)

    def documents(self) -> dict[str, str]:
        """Content hash of each document by URL. Raises OSError when the files were collected meanwhile."""
        found = pq.read_table(self.path / DOCUMENTS, columns=["url", "content_hash"])
        return dict(zip(*(found.column(name).to_pylist() for name in ("url", "content_hash")), strict=True))

    def chunk_ids(self) -> list[str]:
        """In row order."""
        return self.table.column("chunk_id")

    def embedding_keys(self) -> list[str]:
        """In row order."""
        return self.table.column("embedding_key")

    def index_of(self, chunk_id: str) -> int | None:
        """The row of a chunk, None when this generation does not hold it."""
        return self.table.by_id.get(chunk_id)

    def dense(self, query: Vectors, k: int) -> tuple[Indices, NDArray[np.float32]]:
        """Rows of the ``k`` nearest chunks and their cosines, exact. ``query`` (dim,) of length 1. ModelMismatch."""
        return self._exact.search(query, k)
