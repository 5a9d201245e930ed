"""A small brand whose generations are built in milliseconds."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_app.config import IndexSettings
from ray_app.index.build import build_generation
from ray_app.index.manifest import Manifest
from ray_app.index.vectors import unit_rows
from ray_app.records import Chunk, ModelId
from ray_app.store.catalog import Catalog
from ray_app.store.db import Database

MODEL = ModelId("toy", "r1", 8)
NOW = 1_795_460_701.0  # 2026-11-23T19:05:01Z

Build = Callable[..., Manifest]


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def chunk(text: str, brand: str = "acme", url: str = "https://acme.example/a") -> Chunk:
    return Chunk(
        chunk_id=digest(brand + url + text),
        brand=brand,
        url=url,
        title="Manual",
        section=("Setup", "Power"),
        anchor="#power",
        text=text,
        lang="en",
        kind="html",
        ordinal=0,
        embedding_key=digest(text),
        doc_hash=digest(url),
    )


def vectors_of(keys: Sequence[str], dim: int = MODEL.dim) -> Any:
    """A direction of its own for each key, the same every time."""
    rows = [np.random.default_rng(int(key[:8], 16)).standard_normal(dim) for key in keys]
    return unit_rows(np.array(rows).reshape(len(rows), dim))


@pytest.fixture(autouse=True)
def no_disk_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build waits for the disk some twenty times; only the order of that matters here."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return tmp_path / "index"


@pytest.fixture
def build(root: Path) -> Build:
    """``build(texts, brand="acme", **changes)``: a generation of one chunk per text."""

    def make(texts: Sequence[str], brand: str = "acme", **changes: Any) -> Manifest:
        settings: dict[str, Any] = {
            "chunks": [chunk(text, brand) for text in texts],
            "documents": [("https://acme.example/a", digest("doc"))],
            "vector_of": vectors_of,
            "model": MODEL,
            "settings": IndexSettings(),
            "chunker_version": "1",
            "parent": "",
            "now": NOW,
        }
        return build_generation(root, brand, **{**settings, **changes})

    return make


@pytest.fixture
def catalog(tmp_path: Path) -> Iterator[Catalog]:
    db = Database(f"sqlite:///{tmp_path / 'backline.db'}")
    yield Catalog(db)
    db.close()
