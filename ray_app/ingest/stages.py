"""The two stages between stored documents and staged vectors, as plain classes over Arrow tables.

Chunking: rows {brand, part, row} -> rows of ``index.staging.SCHEMA`` without vectors; any CPU.
Embedding: the same rows with vectors for the keys that are not known yet; one model per worker, GPU or CPU.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ray_app.config import EmbeddingSettings
from ray_app.index.digests import Digests
from ray_app.index.ports import Embedder
from ray_app.index.staging import Staging, to_chunks, to_table
from ray_app.ingest.chunk import Chunker, TokenCounter
from ray_app.records import Chunk, ModelId, PageRef
from ray_app.store.ledger import StoredDocument
from ray_app.store.pages import PageStore


@dataclass(frozen=True, slots=True)
class EmbedOrder:
    """What is to be cut and embedded, and where it goes."""

    brand: str
    documents: Sequence[StoredDocument]
    model: ModelId
    staging: Staging
    run: str  # of the staging


class ChunkStage:
    """Reads documents from the page store and cuts them into chunks."""

    def __init__(
        self, pages: Path, brand: str, counter: TokenCounter, settings: EmbeddingSettings, model: ModelId
    ) -> None:
        self._pages = PageStore(pages)
        self._brand = brand
        self._chunker = Chunker(counter, settings.chunk_tokens, settings.overlap_tokens)
        self._model = model

    def __call__(self, batch: pa.Table) -> pa.Table:
        """Rows {part, row} -> one row per chunk."""
        refs = [PageRef(row["part"], row["row"]) for row in batch.to_pylist()]
        chunks: list[Chunk] = []
        for document in self._pages.read(self._brand, refs):
            chunks += self._chunker.chunks(document, self._model)
        return to_table(chunks)


class EmbedStage:
    """Fills in the vectors of chunks whose embedding key is not in ``known``."""

    def __init__(self, embedder: Embedder, known: Digests) -> None:
        self._embedder = embedder
        self._known = known

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The same rows with float16 vectors where they are new; texts equal within the batch are embedded once.

        Keeps nothing from batch to batch: a batch that Ray runs again must give the same rows again.
        """
        keys: list[str] = batch.column("embedding_key").to_pylist()
        missing = self._known.missing(keys)
        new = {
            key: chunk.embedding_text
            for key, chunk, lacking in zip(keys, to_chunks(batch), missing, strict=True)
            if lacking
        }
        vectors = dict(zip(new, self._encode(list(new.values())), strict=True))
        column = pa.array([vectors.pop(key, None) for key in keys], type=pa.binary())
        return batch.set_column(batch.schema.get_field_index("vector"), "vector", column)

    def _encode(self, texts: list[str]) -> list[bytes]:
        if not texts:
            return []
        return [vector.tobytes() for vector in self._embedder.encode(texts).astype("<f2")]
