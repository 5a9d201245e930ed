"""Writing a generation in one pass over its chunks, in bounded memory."""

from __future__ import annotations

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from itertools import islice
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ray_app.config import IndexSettings
from ray_app.index.files import sync_file, sync_folder
from ray_app.index.keywords import KeywordIndex
from ray_app.index.layout import CHUNKS, DOCUMENTS, KEYWORDS, VECTORS, brand_path, generation_name
from ray_app.index.manifest import Manifest, file_sums, hash_documents, write_manifest
from ray_app.index.table import ChunkWriter
from ray_app.index.tokens import TOKENISER_VERSION, tokenise
from ray_app.index.vectors import VectorWriter
from ray_app.records import Chunk, ModelId

BATCH = 1_024  # chunks held at once: some 2 MB of text and 1.5 MB of vectors

DOCUMENT_SCHEMA = pa.schema([("url", pa.string()), ("content_hash", pa.string()), ("chunks", pa.int32())])

VectorOf = Callable[[Sequence[str]], NDArray[Any]]
Documents = Sequence[tuple[str, str, *tuple[int, ...]]]


def build_generation(  # noqa: PLR0913  # what a generation is made of; every part is named at the call
    root: Path,
    brand: str,
    *,
    chunks: Iterable[Chunk],
    documents: Documents,
    vector_of: VectorOf,
    model: ModelId,
    settings: IndexSettings,
    chunker_version: str,
    parent: str,
    now: float,
    corpus_hash: str = "",
) -> Manifest:
    """Write a new generation of ``brand`` under ``root``; it exists when this returns, and is not live yet.

    ``chunks`` is read once; a chunk id that comes again is left out. ``documents`` are (url, content_hash);
    a number of chunks may follow, but they are counted here. ``vector_of`` gives the vectors (n, model.dim), of
    length 1, of n embedding keys. ``corpus_hash`` "" takes that of the documents. Raises BadVector or
    ModelMismatch; whatever is raised, nothing is left behind.
    """
    name = generation_name(now)
    folder = brand_path(root, brand) / name
    (folder / KEYWORDS).mkdir(parents=True)
    try:
        per_url = _write_files(folder, chunks, vector_of, model, settings)
        pairs = [(document[0], document[1]) for document in documents]
        pq.write_table(_documents(pairs, per_url), folder / DOCUMENTS)
        files = sorted(p for p in folder.rglob("*") if p.is_file())
        manifest = Manifest(
            brand=brand,
            generation=name,
            created_at=now,
            model=model,
            chunker_version=chunker_version,
            tokeniser_version=TOKENISER_VERSION,
            chunks=per_url.total(),
            documents=len(documents),
            corpus_hash=corpus_hash or hash_documents(pairs),
            parent=parent,
            files=file_sums(folder, files),
        )
        for durable in files:
            sync_file(durable)
        for above in (folder / KEYWORDS, folder, folder.parent, root):
            sync_folder(above)
        write_manifest(folder, manifest)
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise
    return manifest


def _write_files(
    folder: Path, chunks: Iterable[Chunk], vector_of: VectorOf, model: ModelId, settings: IndexSettings
) -> Counter[str]:
    """Number of chunks by URL."""
    per_url: Counter[str] = Counter()
    with ExitStack() as open_files:
        table = open_files.enter_context(ChunkWriter(folder / CHUNKS))
        vectors = open_files.enter_context(VectorWriter(folder / VECTORS, model.dim))

        def tokens() -> Iterator[list[str]]:  # the keyword index pulls; what it pulls is stored on the way
            for batch in _batches(_once(chunks)):
                table.append(batch)
                per_url.update(c.url for c in batch)
                vectors.append(vector_of([c.embedding_key for c in batch]))
                yield from (tokenise(c.embedding_text) for c in batch)

        keywords = KeywordIndex.build(tokens(), settings.bm25_k1, settings.bm25_b)
    keywords.save(folder / KEYWORDS)
    return per_url


def _once(chunks: Iterable[Chunk]) -> Iterator[Chunk]:
    seen: set[bytes] = set()
    for chunk in chunks:
        key = bytes.fromhex(chunk.chunk_id)
        if key not in seen:
            seen.add(key)
            yield chunk


def _batches(chunks: Iterator[Chunk]) -> Iterator[list[Chunk]]:
    while batch := list(islice(chunks, BATCH)):
        yield batch


def _documents(documents: Sequence[tuple[str, str]], per_url: Counter[str]) -> pa.Table:
    rows = [{"url": url, "content_hash": content, "chunks": per_url[url]} for url, content in documents]
    return pa.Table.from_pylist(rows, schema=DOCUMENT_SCHEMA)
