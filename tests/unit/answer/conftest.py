"""A small published index, built by the real index code with a twin of the embedder."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import pyarrow as pa
import pytest
from answer_parts import CORPUS, FixedIndex

from ray_app.answer.retrieve import Opened
from ray_app.config import IndexSettings
from ray_app.index.build import Recipe, Sources, write_generation
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_path
from ray_app.index.staging import to_table
from ray_app.records import Chunk
from ray_app.testing.fakes import HashEmbedder

Build = Callable[..., Generation]


@pytest.fixture(scope="session")
def embedder() -> HashEmbedder:
    return HashEmbedder()


@pytest.fixture(scope="session")
def build(embedder: HashEmbedder, tmp_path_factory: pytest.TempPathFactory) -> Build:
    """``build(brand, chunks, products={url: names}, by=embedder)``"""

    def make(
        brand: str,
        chunks: Sequence[Chunk],
        products: Mapping[str, Sequence[str]] | None = None,
        by: HashEmbedder = embedder,
    ) -> Generation:
        root = tmp_path_factory.mktemp("index")
        vectors = by.encode([c.embedding_text for c in chunks]).astype("<f2")
        table = to_table(chunks, [(products or {}).get(c.url, ()) for c in chunks])
        column = pa.array([row.tobytes() for row in vectors], pa.binary())
        table = table.set_column(table.schema.get_field_index("vector"), "vector", column)
        documents = list(dict.fromkeys((c.url, "") for c in chunks))
        recipe = Recipe(by.model, IndexSettings(), "1")
        manifest = write_generation(root, brand, recipe, Sources(documents, [table]), parent="", now=1_700_000_000.0)
        return Generation.open(generation_path(root, brand, manifest.generation))

    return make


@pytest.fixture(scope="session")
def index(build: Build) -> FixedIndex:
    return FixedIndex({brand: build(brand, chunks) for brand, chunks in CORPUS.items()})


@pytest.fixture(scope="session")
def opened(index: FixedIndex) -> Opened:
    return Opened((("acme", index.get("acme")),))
