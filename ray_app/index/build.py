"""Writing a generation: what is new is spooled in one pass, then everything is merged in its final order.

Sources are the live generation, whose rows are copied as arrays, and tables of new chunks. Nothing that the live one
holds is tokenised or embedded again, and no more than a block of rows is held at once: what grows with the corpus is
some 60 bytes a chunk of flat arrays, and about a kilobyte a document.
"""

from __future__ import annotations

import shutil
from array import array
from collections.abc import Callable, Iterable, Iterator, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ray_app.config import IndexSettings
from ray_app.errors import IndexingError
from ray_app.index.digests import DigestRows, Digests, Words, hexes, order_of, words
from ray_app.index.files import sync_file, sync_folder
from ray_app.index.generation import Generation
from ray_app.index.layout import (
    CHUNKS,
    DOCUMENTS,
    IDS,
    KEYS,
    KEYWORDS,
    SCRATCH,
    VECTORS,
    brand_path,
    generation_name,
)
from ray_app.index.manifest import Manifest, file_sums, hash_documents, write_manifest
from ray_app.index.postings import Run, RunWriter, merge
from ray_app.index.staging import to_chunks, to_table, vectors_of
from ray_app.index.table import ChunkTable, ChunkWriter
from ray_app.index.tokens import tokenise, tokeniser_version
from ray_app.index.vectors import Half, VectorWriter
from ray_app.records import Chunk, ModelId

BATCH = 1_024  # chunks held at once: some 2 MB of text and 1.5 MB of vectors

DOCUMENT_SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("content_hash", pa.string()),
        ("lang", pa.string()),
        ("products", pa.list_(pa.string())),
        ("first", pa.int32()),  # its chunks are the rows first..first+chunks
        ("chunks", pa.int32()),
    ]
)

# Places in the sources: rows of the live generation, from here on those of the spool.
_SPOOL = np.int64(1) << 40

VectorOf = Callable[[Sequence[str]], NDArray[Any]]

Find = Callable[[Digests], Iterator[tuple[Words, Half]]]


@dataclass(frozen=True, slots=True)
class Recipe:
    """How the chunks of a generation were made."""

    model: ModelId
    settings: IndexSettings
    chunker_version: str
    model_source: str = ""  # the name or path by which the model is loaded


@dataclass(frozen=True, slots=True)
class Sources:
    """What the next generation of a brand is made from."""

    documents: Sequence[tuple[str, str]]  # (url, content_hash) of all of them
    added: Iterable[pa.Table] = ()  # rows of staging.SCHEMA, read once; a chunk id that comes again is left out
    base: Generation | None = None  # of the same model
    kept: Set[str] = frozenset()  # URLs whose chunks are taken from ``base``
    find: Find | None = None  # vectors of added rows that bring none and that ``base`` does not hold either


def build_generation(  # noqa: PLR0913  # what a generation is made of; every part is named at the call
    root: Path,
    brand: str,
    *,
    chunks: Iterable[Chunk],
    documents: Sequence[tuple[str, str]],
    vector_of: VectorOf,
    model: ModelId,
    settings: IndexSettings,
    chunker_version: str,
    parent: str,
    now: float,
    corpus_hash: str = "",
) -> Manifest:
    """A generation of nothing but these chunks; ``vector_of`` gives the vectors (n, model.dim) of n embedding keys.

    See ``write_generation``.
    """

    def tables() -> Iterator[pa.Table]:
        for batch in _batches(iter(chunks)):
            vectors = np.asarray(vector_of([c.embedding_key for c in batch]))
            column = pa.array([row.tobytes() for row in vectors.astype("<f2")], pa.binary())
            table = to_table(batch)
            yield table.set_column(table.schema.get_field_index("vector"), "vector", column)

    recipe = Recipe(model, settings, chunker_version)
    sources = Sources(documents, tables())
    return write_generation(root, brand, recipe, sources, parent=parent, now=now, corpus_hash=corpus_hash)


def write_generation(  # noqa: PLR0913  # likewise
    root: Path,
    brand: str,
    recipe: Recipe,
    sources: Sources,
    *,
    parent: str,
    now: float,
    corpus_hash: str = "",
    check: Callable[[], object] = lambda: None,
) -> Manifest:
    """Write a new generation of ``brand`` under ``root``; it exists when this returns, and is not live yet.

    ``check`` is called just before it comes to exist, and may raise: LeaseLost, when somebody took the brand over.
    ``corpus_hash`` "" takes that of the documents. Raises BadVector, ModelMismatch, IndexingError for a vector that
    is nowhere, OSError when the disk refuses; whatever is raised, nothing is left behind.
    """
    name = generation_name(now)
    folder = brand_path(root, brand) / name
    (folder / KEYWORDS).mkdir(parents=True)
    try:
        chunks = _write_files(folder, recipe, sources)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        manifest = Manifest(
            brand=brand,
            generation=name,
            created_at=now,
            model=recipe.model,
            chunker_version=recipe.chunker_version,
            tokeniser_version=tokeniser_version(recipe.settings.stemming),
            chunks=chunks,
            documents=len(dict(sources.documents)),
            corpus_hash=corpus_hash or hash_documents(sources.documents),
            parent=parent,
            files=file_sums(folder, files),
            model_source=recipe.model_source,
        )
        for durable in files:
            sync_file(durable)
        for above in (folder / KEYWORDS, folder, folder.parent, root):
            sync_folder(above)
        check()
        write_manifest(folder, manifest)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return manifest


def _write_files(folder: Path, recipe: Recipe, sources: Sources) -> int:
    """Everything but the manifest; returns the number of chunks."""
    scratch = folder / SCRATCH
    scratch.mkdir()
    spool = _Spool(scratch, recipe, sources.base)
    with spool:
        for table in sources.added:
            spool.add(table)
    spool.settle(sources.find)
    plan = _Plan.of(sources, spool)
    with ThreadPoolExecutor(1, "keywords") as beside:  # numpy lets go of the interpreter while it sorts
        keywords = beside.submit(_write_keywords, folder / KEYWORDS, plan, sources.base, spool, recipe.settings)
        _write_rows(folder, plan, sources.base, spool, recipe.model.dim)
        keywords.result()
    pq.write_table(pa.Table.from_pylist(plan.documents, schema=DOCUMENT_SCHEMA), folder / DOCUMENTS)
    shutil.rmtree(scratch)
    return len(plan.places)


@dataclass(slots=True)
class _Doc:
    """A document of the spool."""

    lang: str
    products: list[str]


class _Spool:
    """New rows in the order they came, in files, with what is needed to order them."""

    def __init__(self, folder: Path, recipe: Recipe, base: Generation | None) -> None:
        self._dim = recipe.model.dim
        self._base = base
        self._path = folder / CHUNKS
        self._vector_path = folder / "vectors.bin"
        self._chunks = ChunkWriter(self._path)
        self._vectors = self._vector_path.open("wb")
        self._tokens = RunWriter(folder, stemming=recipe.settings.stemming)
        self._owed = array("q")  # rows whose vector is in neither the table nor the base
        self._ids = bytearray()
        self._keys = bytearray()
        self.docs: dict[str, int] = {}
        self.about: list[_Doc] = []
        self.doc_of = array("i")
        self.ordinals = array("i")
        self.runs: list[Run] = []

    def __enter__(self) -> _Spool:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with closing(self._vectors):
            self._chunks.__exit__(None, None, None)
        if kind is None:
            self.runs = self._tokens.close()

    def add(self, table: pa.Table) -> None:
        """Rows of staging.SCHEMA."""
        if table.num_rows == 0:
            return
        keys = words(table.column("embedding_key").to_pylist())
        self._append_vectors(table.column("vector").combine_chunks(), keys)
        self._chunks.append(table)
        self._ids += bytes.fromhex("".join(table.column("chunk_id").to_pylist()))
        self._keys += bytes.fromhex("".join(table.column("embedding_key").to_pylist()))
        chunks = to_chunks(table)
        self._tokens.add(tokenise(c.embedding_text) for c in chunks)
        for chunk, products in zip(chunks, table.column("products").to_pylist(), strict=True):
            doc = self.docs.setdefault(chunk.url, len(self.about))
            if doc == len(self.about):
                self.about.append(_Doc(chunk.lang, products or []))
            self.doc_of.append(doc)
            self.ordinals.append(chunk.ordinal)

    def _append_vectors(self, column: pa.Array, keys: Words) -> None:
        rows = np.zeros((len(column), self._dim), np.float16)
        own = np.asarray(column.is_valid())
        rows[own] = vectors_of(column.filter(pa.array(own)), self._dim)
        lacking = np.flatnonzero(~own)
        if self._base is not None and len(lacking):
            held = self._base.keys.rows_of(keys[:, lacking])
            rows[lacking[held >= 0]] = self._base.vectors[held[held >= 0]]
            lacking = lacking[held < 0]
        self._owed.extend((lacking + len(self.doc_of)).tolist())
        self._vectors.write(rows.tobytes())

    def settle(self, find: Find | None) -> None:
        """Fetch the vectors that are still owed: from other rows of the spool, then from ``find``.

        Raises IndexingError naming a key that nobody embedded.
        """
        shape = (len(self.doc_of), self._dim)
        self.ids = words(self._ids)
        self.table = ChunkTable(self._path)
        self.vectors = np.zeros(shape, np.float16)
        if shape[0]:
            self.vectors = np.memmap(self._vector_path, np.float16, "r+", shape=shape)
        if self._owed:
            self._pay(_Owed(np.array(self._owed), words(self._keys)), find)

    def rows_by_document(self) -> list[NDArray[np.int64]]:
        """The rows of each document in reading order; a chunk that came twice, from a worker's retry, is there once."""
        rows = np.sort(DigestRows.of(self.ids).rows).astype(np.int64)
        docs, ordinals = np.array(self.doc_of, np.int64)[rows], np.array(self.ordinals, np.int64)[rows]
        order = np.lexsort((rows, ordinals, docs))
        return np.split(rows[order], np.searchsorted(docs[order], np.arange(1, len(self.about))))

    def _pay(self, owed: _Owed, find: Find | None) -> None:
        given, keys = np.setdiff1d(np.arange(len(self.vectors)), owed.rows), words(self._keys)
        for start in range(0, len(given), BATCH):
            rows = given[start : start + BATCH]
            owed.pay(keys[:, rows], self.vectors[rows], self.vectors)
        if find is not None and not owed.paid.all():
            for keys, vectors in find(Digests.of(owed.keys[:, ~owed.paid])):
                owed.pay(keys, vectors, self.vectors)
        for name in hexes(owed.keys[:, ~owed.paid][:, :1]):
            raise IndexingError(f"No vector was made for embedding key {name}.", hint="Run the embedding again.")


class _Owed:
    """Rows that wait for the vector of their key; several may wait for the same."""

    def __init__(self, rows: NDArray[np.int64], keys: Words) -> None:
        order = order_of(keys[:, rows])
        self.rows = rows[order]
        self.keys = keys[:, self.rows]
        self.paid = np.zeros(len(rows), bool)

    def pay(self, keys: Words, vectors: Half, into: Half) -> None:
        """``vectors`` (n, dim) of ``keys`` (2, n) to the rows of ``into`` that wait for them."""
        left = np.searchsorted(self.keys[0], keys[0], "left")
        waiting = np.searchsorted(self.keys[0], keys[0], "right") - left
        which = np.repeat(np.arange(len(left)), waiting)
        at = np.arange(len(which)) - np.repeat(np.cumsum(waiting) - waiting, waiting) + left[which]
        same = self.keys[1, at] == keys[1, which]
        into[self.rows[at[same]]] = vectors[which[same]]
        self.paid[at[same]] = True


@dataclass(frozen=True, slots=True)
class _Entry:
    """A document and where its chunks come from."""

    url: str
    content_hash: str
    about: _Doc
    places: NDArray[np.int64]

    def order(self) -> tuple[str, list[str], str]:
        return self.about.lang, [name.casefold() for name in self.about.products[:1]], self.url

    def row(self, first: int) -> dict[str, Any]:
        """Of DOCUMENT_SCHEMA."""
        about = {"lang": self.about.lang, "products": self.about.products}
        return {"url": self.url, "content_hash": self.content_hash, **about, "first": first, "chunks": len(self.places)}


@dataclass(frozen=True, slots=True)
class _Plan:
    """The order of the rows of the next generation."""

    places: NDArray[np.int64]  # where each row comes from: a row of the base, or _SPOOL plus one of the spool
    documents: list[dict[str, Any]]  # rows of DOCUMENT_SCHEMA

    @classmethod
    def of(cls, sources: Sources, spool: _Spool) -> _Plan:
        """By language, first product, URL and position in the document, so that filters are few ranges of rows."""
        entries = sorted(_entries(sources, spool), key=_Entry.order)
        firsts = np.cumsum([0, *(len(entry.places) for entry in entries)]).tolist()
        places = np.concatenate([np.empty(0, np.int64), *(entry.places for entry in entries)])
        return cls(places, [entry.row(first) for entry, first in zip(entries, firsts, strict=False)])

    def blocks(self) -> Iterator[NDArray[np.int64]]:
        for start in range(0, len(self.places), BATCH):
            yield self.places[start : start + BATCH]


def _entries(sources: Sources, spool: _Spool) -> Iterator[_Entry]:
    held = {row.url: row for row in sources.base.document_rows()} if sources.base is not None else {}
    rows_of = spool.rows_by_document()
    if strangers := spool.docs.keys() - dict(sources.documents).keys():
        raise IndexingError(f"There are chunks of {min(strangers)}, which is none of the documents.")
    for url, content in dict(sources.documents).items():
        if url in sources.kept:
            row = held[url]
            yield _Entry(url, content, _Doc(row.lang, list(row.products)), np.arange(*row.rows))
        elif (doc := spool.docs.get(url)) is not None:
            yield _Entry(url, content, spool.about[doc], _SPOOL + rows_of[doc])
        else:
            yield _Entry(url, content, _Doc("", []), np.empty(0, np.int64))


def _write_keywords(folder: Path, plan: _Plan, base: Generation | None, spool: _Spool, settings: IndexSettings) -> None:
    new_rows = np.arange(len(plan.places), dtype=np.int32)
    fresh = plan.places >= _SPOOL
    runs: list[tuple[Run, NDArray[np.int32]]] = []
    if base is not None:
        kept = np.full(len(base), -1, np.int32)
        kept[plan.places[~fresh]] = new_rows[~fresh]
        runs.append((base.keywords.as_run(), kept))
    added = np.full(len(spool.doc_of), -1, np.int32)
    added[plan.places[fresh] - _SPOOL] = new_rows[fresh]
    start = 0
    for run in spool.runs:
        runs.append((run, added[start : start + len(run.lengths)]))
        start += len(run.lengths)
    merge(runs, len(plan.places), folder, settings.bm25_k1, settings.bm25_b)


def _write_rows(folder: Path, plan: _Plan, base: Generation | None, spool: _Spool, dim: int) -> None:
    """Chunks, vectors, and where each id and key stands."""
    ids, keys = bytearray(), bytearray()
    with ChunkWriter(folder / CHUNKS) as chunks, VectorWriter(folder / VECTORS, dim) as vectors:
        for places in plan.blocks():
            table = pa.Table.from_batches(_pieces(places, base, spool))
            chunks.append(table)
            vectors.append(_vectors(places, base, spool, dim))
            ids += bytes.fromhex("".join(table.column("chunk_id").to_pylist()))
            keys += bytes.fromhex("".join(table.column("embedding_key").to_pylist()))
    DigestRows.of(words(ids)).save(folder / IDS)
    DigestRows.of(words(keys)).save(folder / KEYS)


def _pieces(places: NDArray[np.int64], base: Generation | None, spool: _Spool) -> list[pa.RecordBatch]:
    """The rows at ``places``, in order, uncopied."""
    pieces: list[pa.RecordBatch] = []
    for part in np.split(places, np.flatnonzero(np.diff(places >= _SPOOL)) + 1):
        if part[0] >= _SPOOL:
            pieces += spool.table.take(part - _SPOOL)
        elif base is not None:
            pieces += base.table.take(part)
    return pieces


def _vectors(places: NDArray[np.int64], base: Generation | None, spool: _Spool, dim: int) -> Half:
    rows = np.empty((len(places), dim), np.float16)
    fresh = places >= _SPOOL
    rows[fresh] = spool.vectors[places[fresh] - _SPOOL]
    if base is not None:
        rows[~fresh] = base.vectors[places[~fresh]]
    return rows


def _batches(chunks: Iterator[Chunk]) -> Iterator[list[Chunk]]:
    while batch := list(islice(chunks, BATCH)):
        yield batch
