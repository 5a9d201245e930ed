"""The two stages between stored documents and staged vectors, as plain classes over Arrow tables.

Chunking: rows {brand, part, row} -> rows of ``index.staging.SCHEMA`` without vectors; any CPU.
Embedding: the same rows with vectors for the keys that are not known yet; one model per worker, GPU or CPU.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from ray_app.config import EmbeddingSettings, Settings
from ray_app.errors import BadVector, ModelMismatch, TokenizerFailed
from ray_app.index.digests import Digests
from ray_app.index.ports import Embedder
from ray_app.index.staging import Staging, to_chunks, to_table
from ray_app.ingest.chunk import Chunker, TokenCounter
from ray_app.observe.log import get_logger
from ray_app.records import Chunk, Document, ModelId, PageRef
from ray_app.store.ledger import StoredDocument
from ray_app.store.pages import PageStore

log = get_logger(__name__)

# Documents cut at once: large enough to pay for the tokenizer's start, small enough to bound memory.
DOCUMENTS_PER_BLOCK = 64
# Chunks embedded at once, and so the most that a kill of a worker can lose; sorted by length inside.
CHUNKS_PER_BATCH = 256
# A part of the staging: what one batch makes, as long as its texts are prose. Tables and code may be much larger.
PART_ROWS = 256
PART_BYTES = 8 * 1024 * 1024
# Special tokens around a text: [CLS] and [SEP], or <s> and </s>. Some models have one only, none has more.
FRAME_TOKENS = 2
# Of one document. A page that names more is an overview, and about none of them.
MAX_PRODUCTS = 8


@dataclass(frozen=True, slots=True)
class EmbedOrder:
    """What is to be cut and embedded, and where it goes."""

    brand: str
    documents: Sequence[StoredDocument]
    model: ModelId
    staging: Staging
    run: str  # of the staging


@dataclass(frozen=True, slots=True)
class Flaw:
    """Why a chunk has no vector."""

    reason: str  # a key of records.CHUNK_REASONS
    detail: str


@dataclass(frozen=True, slots=True)
class Staged:
    """What of a batch went into the staging."""

    rows: int
    embedded: int  # vectors computed
    rejected: int


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
        """Rows {part, row} -> one row per chunk, without vectors."""
        refs = [PageRef(row["part"], row["row"]) for row in batch.to_pylist()]
        chunks: list[Chunk] = []
        products: list[tuple[str, ...]] = []
        for document in self._pages.read(self._brand, refs):
            found = self._chunker.chunks(document, self._model)
            chunks += found
            products += [products_of(document)] * len(found)
        return to_table(chunks, products)


class EmbedStage:
    """Fills in the vectors of chunks whose embedding key is not in ``known``, or the reason why one has none."""

    def __init__(self, embedder: Embedder, known: Digests) -> None:
        self._embedder = embedder
        self._known = known

    def __call__(self, batch: pa.Table) -> pa.Table:
        """The same rows with float16 vectors where they are new; texts equal within the batch are embedded once.

        A text that cannot be embedded has ``reject`` and ``detail`` instead; it takes no other of the batch along.
        Keeps nothing from batch to batch: a batch that is run again must give the same rows again.
        """
        keys: list[str] = batch.column("embedding_key").to_pylist()
        missing = self._known.missing(keys)
        new = {
            key: chunk.embedding_text
            for key, chunk, lacking in zip(keys, to_chunks(batch), missing, strict=True)
            if lacking
        }
        flaws = {key: flaw for key, text in new.items() if (flaw := self._flaw(text)) is not None}
        sound = {key: text for key, text in new.items() if key not in flaws}
        made = dict(zip(sound, self._encode(list(sound.values())), strict=True))
        vectors = {key: found for key, found in made.items() if isinstance(found, bytes)}
        flaws |= {key: found for key, found in made.items() if isinstance(found, Flaw)}
        for flaw in flaws.values():
            log.warning("chunk_rejected", reason=flaw.reason, detail=flaw.detail)
        columns = {
            "vector": [vectors.pop(key, None) for key in keys],
            "reject": [flaws[key].reason if key in flaws else None for key in keys],
            "detail": [flaws[key].detail if key in flaws else None for key in keys],
        }
        for name, values in columns.items():
            place = batch.schema.get_field_index(name)
            batch = batch.set_column(place, name, pa.array(values, batch.schema.field(place).type))
        return batch

    def _flaw(self, text: str) -> Flaw | None:
        """What keeps a text from being embedded, as far as that shows before."""
        if not text.strip():
            return Flaw("empty", "only spaces")
        try:
            tokens = self._embedder.count(text)
        except TokenizerFailed as error:
            return Flaw("tokenizer", error.message)
        if not tokens:
            return Flaw("empty", "no tokens")
        room = self._embedder.max_tokens - FRAME_TOKENS
        return Flaw("too_long", f"{tokens} tokens, {room} are read") if tokens > room else None

    def _encode(self, texts: list[str]) -> list[bytes | Flaw]:
        """Of each text its vector; where some fail, they are found by halving."""
        if not texts:
            return []
        try:
            return [vector.tobytes() for vector in self._embedder.encode(texts).astype("<f2")]
        except (BadVector, TokenizerFailed) as error:
            if len(texts) == 1:
                return [Flaw("bad_vector" if isinstance(error, BadVector) else "tokenizer", error.message)]
        half = len(texts) // 2
        return self._encode(texts[:half]) + self._encode(texts[half:])


def products_of(document: Document) -> tuple[str, ...]:
    """What the document is about, best first: names of products, then model designations."""
    facts = document.facts
    return tuple(dict.fromkeys((*facts.products, *facts.models)))[:MAX_PRODUCTS]


def stage(staging: Staging, run: str, table: pa.Table) -> Staged:
    """Write embedded rows durably, in parts of bounded size. Raises OSError."""
    for part in parts(table):
        staging.write(run, part)
    rejects = table.num_rows - table.column("reject").null_count
    return Staged(table.num_rows, table.num_rows - table.column("vector").null_count, rejects)


def parts(table: pa.Table) -> Iterator[pa.Table]:
    """Slices of at most PART_ROWS rows and, unless one row alone is larger, PART_BYTES."""
    if table.num_rows > 1 and (table.num_rows > PART_ROWS or table.nbytes > PART_BYTES):
        half = table.num_rows // 2
        yield from parts(table.slice(0, half))
        yield from parts(table.slice(half))
    else:
        yield table


def embed_here(settings: Settings, order: EmbedOrder, embedder: Embedder) -> dict[str, int]:
    """The same two stages in this process, for a handful of documents; returns the vectors made by kind of worker.

    Raises ModelMismatch when ``embedder`` is not of the order's model.
    """
    if embedder.model != order.model:
        raise ModelMismatch(f"The order is for {order.model}, the embedder is {embedder.model}.")
    cut = ChunkStage(settings.data_dir / "pages", order.brand, embedder, settings.embedding, order.model)
    embed = EmbedStage(embedder, order.staging.known(order.run))
    made = 0
    for first in range(0, len(order.documents), DOCUMENTS_PER_BLOCK):
        chunks = cut(references(order.documents[first : first + DOCUMENTS_PER_BLOCK]))
        for start in range(0, chunks.num_rows, CHUNKS_PER_BATCH):
            made += stage(order.staging, order.run, embed(chunks.slice(start, CHUNKS_PER_BATCH))).embedded
    return {"cpu" if str(embedder.describe()["device"]).startswith("cpu") else "gpu": made}


def references(documents: Sequence[StoredDocument]) -> pa.Table:
    """Where documents lie, as rows {part, row}: what ChunkStage reads."""
    return pa.table(
        {"part": [one.page.part for one in documents], "row": [one.page.row for one in documents]},
        schema=pa.schema([("part", pa.string()), ("row", pa.int64())]),
    )
