"""The real embedding model, loaded once for all tests that need it."""

from __future__ import annotations

import pytest

from ray_app.config import EmbeddingSettings
from ray_app.index.embedder import SentenceEmbedder, load_embedder


@pytest.fixture(scope="session")
def real_embedder() -> SentenceEmbedder:
    """The bundled model as it is configured by default; takes some seconds."""
    return load_embedder(EmbeddingSettings())
