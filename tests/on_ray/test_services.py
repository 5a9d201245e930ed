"""The parts behind the API in one process, without a cluster: what follows a generation and what forgets it."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

import ray_app.on_ray  # noqa: F401  # before any test imports ray, which reads the environment at once
from ray_app.answer.rerank import MaxSimReranker
from ray_app.config import Settings
from ray_app.errors import UnknownBrand
from ray_app.index.build import build_generation
from ray_app.index.memory import MemoryVectorStore
from ray_app.on_ray.services import Backend, HealthDesk, Outside, Reading
from ray_app.records import AnswerMode, Chunk, Question
from ray_app.testing.fakes import HashEmbedder

WAIT_S = 30
RESET = Question("How do I reset the router?", brand="acme")


@pytest.fixture
async def backend(tmp_path: Path) -> AsyncIterator[Backend]:
    embedder = HashEmbedder()
    reading = Reading(MaxSimReranker(embedder))
    made = Backend(Settings(data_dir=tmp_path), embedder, reading, Outside(vectors=MemoryVectorStore()))
    yield made
    await made.close()


def publish(backend: Backend, text: str) -> str:
    key = f"{len(text):032x}"
    url = "https://acme.example/reset"
    chunk = Chunk(key, "acme", url, "Reset", (), "", text, "en", "html", 0, key, "")
    manifest = build_generation(
        backend.stores.index_root,
        "acme",
        chunks=[chunk],
        documents=[(url, "")],
        vector_of=lambda keys: backend.embedder.encode([chunk.embedding_text]),
        model=backend.embedder.model,
        settings=backend.settings.index,
        chunker_version="1",
        parent="",
        now=time.time(),
    )
    backend.stores.catalog.add_generation("acme", manifest.generation, manifest.summary())
    backend.stores.catalog.publish("acme", manifest.generation, time.time())
    return manifest.generation


async def test_it_answers_from_what_is_published_while_it_runs(backend: Backend) -> None:
    publish(backend, "To reset the router, hold the button for ten seconds.")
    await backend.start()
    first = await backend.answerer.answer(RESET)
    assert (first.mode, "ten seconds" in first.answer) == (AnswerMode.EXTRACTIVE, True)
    name = publish(backend, "To reset the router, hold the button for twenty seconds.")
    deadline = time.monotonic() + WAIT_S
    while not (answer := await backend.answerer.answer(RESET)).generation.endswith(name):
        assert "ten seconds" in answer.answer
        assert time.monotonic() < deadline
    assert "twenty seconds" in answer.answer
    assert (await HealthDesk(backend)._index()).state == "ok"
    assert (await HealthDesk(backend)._vectors()).state == "ok"


async def test_a_forgotten_brand_leaves_the_index_and_the_cache(
    backend: Backend, monkeypatch: pytest.MonkeyPatch
) -> None:
    publish(backend, "To reset the router, hold the button for ten seconds.")
    await backend.start()
    await backend.answerer.answer(RESET)
    assert (await backend.answerer.answer(RESET)).cache == "exact"
    forgotten = asyncio.Event()
    cache = backend.answerer._parts.cache
    assert cache is not None
    forget = cache.forget

    async def noted(brand: str) -> int:
        gone = await forget(brand)
        assert (brand, gone) == ("acme", 1)
        forgotten.set()
        return gone

    monkeypatch.setattr(cache, "forget", noted)
    monkeypatch.setattr(backend.stores.catalog, "live", lambda brand: None)
    monkeypatch.setattr(backend.stores.catalog, "pointers", dict)
    await asyncio.wait_for(forgotten.wait(), WAIT_S)
    with pytest.raises(UnknownBrand):
        await backend.answerer.answer(RESET)


async def test_closing_ends_its_threads(backend: Backend) -> None:
    await backend.start()
    assert [t for t in threading.enumerate() if t.name.startswith("index-")]
    await backend.close()
    assert not [t for t in threading.enumerate() if t.name.startswith("index-")]
