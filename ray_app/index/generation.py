"""One immutable state of a brand's index: chunks, vectors and keywords that belong together.

Row i of its chunks, vectors and keyword index is the same chunk. Rows are ordered by language, first product, URL and
position in the document, so that those of a language, a product or a document are few ranges.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ray_app.errors import ChecksumMismatch
from ray_app.index.digests import DigestRows
from ray_app.index.keywords import KeywordIndex
from ray_app.index.layout import CHUNKS, DOCUMENTS, IDS, KEYS, KEYWORDS, VECTORS
from ray_app.index.manifest import Manifest, check_files, read_manifest
from ray_app.index.ports import Vectors
from ray_app.index.rows import NO_ROWS, Rows, both, joined
from ray_app.index.table import ChunkTable
from ray_app.index.vectors import ExactSearch, Half, Indices
from ray_app.records import Chunk


@dataclass(frozen=True, slots=True)
class DocumentRow:
    """A document of a generation; its chunks are the rows first..first+chunks."""

    url: str
    content_hash: str
    lang: str
    products: tuple[str, ...]
    first: int
    chunks: int

    @property
    def rows(self) -> tuple[int, int]:
        """[start, stop)"""
        return self.first, self.first + self.chunks


class Generation:
    """A generation open for reading, memory-mapped; stays readable when its files are collected meanwhile."""

    def __init__(self, path: Path, manifest: Manifest) -> None:
        """Use ``open``. Raises OSError or ValueError."""
        self.path = path
        self.manifest = manifest
        self.table = ChunkTable(path / CHUNKS)
        self.vectors: Half = np.asarray(np.load(path / VECTORS, mmap_mode="r", allow_pickle=False))  # (chunks, dim)
        self.keywords = KeywordIndex.open(path / KEYWORDS)
        self.ids = DigestRows.open(path / IDS)  # of chunks
        self.keys = DigestRows.open(path / KEYS)  # of embeddings
        self._documents = pq.read_table(path / DOCUMENTS)
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
        shapes = (len(opened.table), len(opened.keywords), opened.vectors.shape, len(opened.ids.digests))
        size = manifest.chunks
        if shapes != (size, size, (size, manifest.model.dim), size):
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
        """Content hash of each document by URL."""
        return dict(zip(*(self._documents.column(name).to_pylist() for name in ("url", "content_hash")), strict=True))

    def document_rows(self) -> list[DocumentRow]:
        """Every document, in row order."""
        rows = self._documents.to_pylist()
        return [DocumentRow(**{**row, "products": tuple(row["products"] or ())}) for row in rows]

    def chunk_ids(self) -> list[str]:
        """In row order."""
        return self.table.column("chunk_id")

    def index_of(self, chunk_id: str) -> int | None:
        """The row of a chunk, None when this generation does not hold it."""
        return self.ids.row(chunk_id)

    def rows(self, lang: str = "", product: str = "") -> Rows | None:
        """The rows a filter lets through, None for all of them.

        A text whose language is not known is let through by every language. ``product`` is a name or model as the
        documents spell it, whatever its case; one that no document names lets nothing through.
        """
        speaking = self._by_lang.get(lang, self._by_lang.get("", NO_ROWS)) if lang else None
        return both(speaking, self._by_product.get(_plain(product), NO_ROWS) if product else None)

    def dense(self, query: Vectors, k: int, rows: Rows | None = None) -> tuple[Indices, NDArray[np.float32]]:
        """Rows of the ``k`` nearest chunks and their cosines, exact. ``query`` (dim,) of length 1. ModelMismatch."""
        return self._exact.search(query, k) if rows is None else self._exact.search(query, k, rows)

    def warm(self) -> None:
        """Do now what the first question would wait for."""
        self._exact.warm()
        self.rows(lang="-", product="-")

    @cached_property
    def _by_lang(self) -> dict[str, Rows]:
        """Each language with the rows of texts whose language nobody knows."""
        documents = self.document_rows()
        unknown = [d.rows for d in documents if not d.lang]
        langs = {d.lang for d in documents}
        own = [(d.lang, d.rows) for d in documents if d.lang]
        return _grouped([*own, *((lang, rows) for lang in langs for rows in unknown)])

    @cached_property
    def _by_product(self) -> dict[str, Rows]:
        return _grouped((_plain(name), d.rows) for d in self.document_rows() for name in d.products)


def _grouped(ranges: Iterable[tuple[str, tuple[int, int]]]) -> dict[str, Rows]:
    found: defaultdict[str, list[tuple[int, int]]] = defaultdict(list)
    for name, rows in ranges:
        found[name].append(rows)
    return {name: joined(own) for name, own in found.items()}


def _plain(name: str) -> str:
    return " ".join(name.casefold().split())
