"""A small installation: crawled, indexed and searched in milliseconds, with real stores and a toy embedder."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from ray_app.config import Settings, load
from ray_app.index.build import build_generation
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_path
from ray_app.index.manifest import Manifest
from ray_app.index.ports import VectorStore
from ray_app.index.publish import align
from ray_app.index.vectors import unit_rows
from ray_app.records import Chunk, Document, FetchTask, Fingerprint, ModelId, PageOutcome, PageRef, Section, UrlState
from ray_app.store.lease import Lease
from ray_app.store.ledger import Cycle, Discovery
from ray_app.store.stores import open_stores

MODEL = ModelId("toy", "r1", 8)
SITE = "https://acme.example"


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def vectors_of(keys: Sequence[str], dim: int = MODEL.dim) -> Any:
    rows = [np.random.default_rng(int(key[:8], 16)).standard_normal(dim) for key in keys]
    return unit_rows(np.array(rows).reshape(len(rows), dim))


def settings_at(folder: Path, url: str = "") -> Settings:
    return load(data_dir=folder, store={"database_url": url})


def document(url: str, text: str, brand: str = "acme") -> Document:
    section = Section(("Setup",), "#top", text)
    return Document(brand, url, f"Title of {text}", "en", "html", (section,), digest(text))


def outcome(url: str, text: str, page: PageRef, brand: str = "acme") -> PageOutcome:
    print_of = Fingerprint(digest(text), digest(text)[:16], int(digest(text)[:15], 16), digest(text)[:16])
    return PageOutcome(
        FetchTask(brand, url),
        UrlState.FETCHED,
        "ok",
        status=200,
        etag=f'"{digest(text)[:8]}"',
        title=f"Title of {text}",
        content_hash=digest(text),
        page=page,
        fetched_at=5.0,
        fingerprint=print_of,
        lang="en",
        detail=f"detail of {text}",
    )


class Installation:
    """One data directory with its database."""

    def __init__(self, folder: Path, url: str = "", vectors: VectorStore | None = None) -> None:
        self.settings = settings_at(folder, url)
        self.stores = open_stores(self.settings)
        self.vectors = vectors

    def close(self) -> None:
        self.stores.close()

    def lease(self, brand: str = "acme") -> Lease:
        return Lease(self.stores.ledger, brand, label="crawl", ttl_s=60.0)

    def commit(self, brand: str, cycle: Cycle, fence: int, texts: Mapping[str, str]) -> None:
        """One batch: its part first, then the ledger."""
        part = self.stores.pages.write_part(brand, [document(url, text, brand) for url, text in texts.items()])
        done = [outcome(url, text, PageRef(part, row), brand) for row, (url, text) in enumerate(texts.items())]
        found = [Discovery(url, 1, SITE + "/") for url in texts]
        self.stores.ledger.commit(brand, cycle, fence, done, found, 10.0)

    def crawl(self, texts: Mapping[str, str], brand: str = "acme") -> None:
        """A full cycle over these pages, three to a part."""
        with self.lease(brand) as lease:
            self.stores.catalog.save_brand(brand, {"start_urls": [f"https://{brand}.example/"]})
            cycle = self.stores.ledger.open_cycle(brand, 10.0, lease.fence)
            pairs = list(texts.items())
            for start in range(0, len(pairs), 3):
                self.commit(brand, cycle, lease.fence, dict(pairs[start : start + 3]))
            self.stores.ledger.finish_cycle(brand, cycle, lease.fence, 20.0)

    def index(self, brand: str = "acme", now: float = 1_795_460_701.0) -> str:
        """A generation with a chunk for each document, live; returns its name."""
        documents = self.stores.ledger.documents(brand)
        texts = self.stores.pages.read(brand, [one.page for one in documents])
        chunks = [_chunk(one) for one in texts]
        built = self._build(brand, chunks, [(one.url, one.content_hash) for one in documents], now)
        self.stores.catalog.add_generation(brand, built.generation, built.summary())
        self.stores.catalog.publish(brand, built.generation, now)
        if self.vectors is not None:
            align(self.vectors, brand, self.generations(brand))
        return built.generation

    def _build(self, brand: str, chunks: list[Chunk], documents: list[tuple[str, str]], now: float) -> Manifest:
        return build_generation(
            self.stores.index_root,
            brand,
            chunks=chunks,
            documents=documents,
            vector_of=vectors_of,
            model=MODEL,
            settings=self.settings.index,
            chunker_version="1",
            parent="",
            now=now,
        )

    def generations(self, brand: str = "acme") -> list[Generation]:
        names = [row.generation for row in self.stores.catalog.generations(brand)]
        return [Generation.open(generation_path(self.stores.index_root, brand, name)) for name in names]

    def live(self, brand: str = "acme") -> Generation:
        name = self.stores.catalog.live(brand)
        assert name is not None
        return Generation.open(generation_path(self.stores.index_root, brand, name))

    def answers(self, words: str, brand: str = "acme") -> list[tuple[str, str, float]]:
        """What both searches find, with their scores: (kind, text, score)."""
        live = self.live(brand)
        rows, scores = live.dense(vectors_of([digest(words)])[0], 5)
        found = [("dense", live.chunk(int(at)).text, float(score)) for at, score in zip(rows, scores, strict=True)]
        at, weights = live.keywords.search(words, 5)
        return found + [("words", live.chunk(int(a)).text, float(w)) for a, w in zip(at, weights, strict=True)]


def _chunk(one: Document) -> Chunk:
    text = one.sections[0].text
    return Chunk(
        chunk_id=digest(one.brand + one.url + text),
        brand=one.brand,
        url=one.url,
        title=one.title,
        section=("Setup",),
        anchor="#top",
        text=text,
        lang="en",
        kind="html",
        ordinal=0,
        embedding_key=digest(text),
        doc_hash=one.content_hash,
    )


def files_with(folder: Path, needle: str, *, but: Sequence[str] = ("receipts",)) -> list[str]:
    """Files under ``folder`` in whose bytes ``needle`` stands."""
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    held = (path for path in files if path.relative_to(folder).parts[0] not in but)
    return [path.relative_to(folder).as_posix() for path in held if needle.encode() in path.read_bytes()]
