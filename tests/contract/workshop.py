"""A brand whose documents a test sets, indexed without Ray and without a model."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

import pyarrow as pa
from sqlalchemy import delete, insert

from ray_app.config import Settings
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_path
from ray_app.index.memory import MemoryVectorStore
from ray_app.index.ports import Gate, VectorStore
from ray_app.ingest.indexing import BrandIndexer, EmbedReport
from ray_app.ingest.stages import ChunkStage, EmbedOrder, EmbedStage
from ray_app.records import Document, Facts, Section
from ray_app.store.lease import Lease
from ray_app.store.schema import urls
from ray_app.store.stores import Stores
from ray_app.testing.fakes import HashEmbedder

BRAND = "acme"


class Words:
    """Counts words as tokens."""

    def count(self, text: str) -> int:
        return len(text.split())


class Workshop:
    """A brand whose documents a test sets, with a runner that counts what it is given."""

    def __init__(self, settings: Settings, opened: Stores) -> None:
        self.settings = settings
        self.stores = opened
        self.embedder = HashEmbedder()
        self.vectors: VectorStore = MemoryVectorStore()
        self.orders: list[int] = []
        self.spoil: Mapping[str, str] = {}  # words of a chunk -> why it is rejected
        self.fail_after: int | None = None  # chunks
        opened.catalog.save_brand(BRAND, {"start_urls": []})

    def put(self, texts: Mapping[str, str]) -> None:
        """Have the brand hold just these documents, by the last part of their URL."""
        documents = [document(name, text) for name, text in texts.items()]
        part = self.stores.pages.write_part(BRAND, documents) if documents else ""
        with self.stores.db.write() as conn:
            conn.execute(delete(urls).where(urls.c.brand == BRAND))
            for row, one in enumerate(documents):
                fields = {"content_hash": one.content_hash, "page_part": part, "page_row": row}
                state = {"state": "fetched", "reason": "ok", "cycle_done": 1}
                conn.execute(insert(urls).values(brand=BRAND, url=one.url, **state, **fields))

    def run(self, order: EmbedOrder) -> dict[str, int]:
        self.orders.append(len(order.documents))
        pages = self.settings.data_dir / "pages"
        cut = ChunkStage(pages, BRAND, Words(), self.settings.embedding, order.model)
        rows = pa.table(
            {
                "part": [d.page.part for d in order.documents],
                "row": [d.page.row for d in order.documents],
            }
        )
        table = EmbedStage(self.embedder, order.staging.known(order.run))(cut(rows))
        for number in range(table.num_rows):
            if number == self.fail_after:
                raise KeyboardInterrupt
            order.staging.write(order.run, self._spoilt(table.slice(number, 1)))
        return {"cpu": table.num_rows}

    def _spoilt(self, row: pa.Table) -> pa.Table:
        why = next((why for word, why in self.spoil.items() if word in row.column("text")[0].as_py()), None)
        if why is None:
            return row
        for name, value in (("reject", why), ("detail", "as a test wants"), ("vector", None)):
            at = row.schema.get_field_index(name)
            row = row.set_column(at, name, pa.array([value], row.schema.field(at).type))
        return row

    def index(self, gate: Gate | None = None, *, force: bool = False, again: bool = False) -> EmbedReport:
        indexer = BrandIndexer(self.settings, self.stores, self.run, self.vectors, gate)
        with Lease(self.stores.ledger, BRAND, label="test", ttl_s=60) as lease:
            return indexer.index(BRAND, lease, force=force, again=again)

    def live(self) -> Generation:
        name = self.stores.catalog.live(BRAND)
        assert name
        return Generation.open(generation_path(self.stores.index_root, BRAND, name))

    def texts(self) -> list[str]:
        return sorted(chunk.text for chunk in self.live().chunks())

    def staged(self) -> list[Path]:
        return list(self.stores.staging_root.rglob("*.parquet"))


def document(name: str, text: str) -> Document:
    return Document(
        brand=BRAND,
        url=f"https://acme.example/{name}",
        title=name,
        lang="en",
        kind="html",
        sections=(Section(("Setup",), "#setup", text),),
        content_hash=hashlib.sha256(f"{name}{text}".encode()).hexdigest()[:32],
        facts=Facts(products=(f"Model {name}",)),
    )
