"""A small published index, built by the real index code with a twin of the embedder."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import pytest
from answer_parts import CORPUS, FixedIndex

from ray_app.answer.retrieve import Opened
from ray_app.config import IndexSettings
from ray_app.index.build import build_generation
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_path
from ray_app.records import Chunk
from ray_app.testing.fakes import HashEmbedder

Build = Callable[[str, Sequence[Chunk]], Generation]


@pytest.fixture(scope="session")
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture(scope="session")
def build(embedder: HashEmbedder, tmp_path_factory: pytest.TempPathFactory) -> Build:
    def make(brand: str, chunks: Sequence[Chunk]) -> Generation:
        root = tmp_path_factory.mktemp("index")
        texts = {c.embedding_key: c.embedding_text for c in chunks}
        manifest = build_generation(
            root,
            brand,
            chunks=chunks,
            documents=[(c.url, "") for c in chunks],
            vector_of=lambda keys: embedder.encode([texts[k] for k in keys]),
            model=embedder.model,
            settings=IndexSettings(),
            chunker_version="1",
            parent="",
            now=1_700_000_000.0,
        )
        return Generation.open(generation_path(root, brand, manifest.generation))

    return make


@pytest.fixture(scope="session")
def index(build: Build) -> FixedIndex:
    return FixedIndex({brand: build(brand, chunks) for brand, chunks in CORPUS.items()})


@pytest.fixture(scope="session")
def opened(index: FixedIndex) -> Opened:
    return Opened((("acme", index.get("acme")),))
