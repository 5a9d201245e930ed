"""The real embedding model, loaded once for all tests that need it, and a brand that is indexed without one."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from workshop import Workshop

from ray_app.config import EmbeddingSettings, load
from ray_app.index.embedder import SentenceEmbedder, load_embedder
from ray_app.ingest import indexing
from ray_app.store.stores import stores
from ray_app.testing.fakes import HashEmbedder


@pytest.fixture(scope="session")
def real_embedder() -> SentenceEmbedder:
    """The bundled model as it is configured by default; takes some seconds."""
    return load_embedder(EmbeddingSettings())


@pytest.fixture
def shop(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Workshop]:
    settings = load(data_dir=tmp_path)
    monkeypatch.setattr(indexing, "model_id", lambda _: HashEmbedder().model)
    with stores(settings) as opened:
        yield Workshop(settings, opened)
