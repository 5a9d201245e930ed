"""The app over small in-memory services, asked in process."""

from __future__ import annotations

import asyncio
import uuid
from collections.abc import AsyncIterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from ray_app.api import examples
from ray_app.api.app import create_app
from ray_app.api.ports import BrandInfo, Services
from ray_app.config import ServeSettings
from ray_app.errors import UnknownBrand
from ray_app.ingest.urls import normalise
from ray_app.observe.health import HealthCheck, HealthReport
from ray_app.observe.metrics import Metrics
from ray_app.records import Answer, AnswerMode, Chunk, Citation, Hit, Question

CHUNK = Chunk(
    chunk_id="c" * 32,
    brand="acme",
    url="https://acme.test/reset",
    title="MC-707",
    section=("Care", "Reset"),
    anchor="#reset",
    text="Hold [SHIFT] while switching on.",
    lang="en",
    kind="html",
    ordinal=0,
    embedding_key="e" * 32,
    doc_hash="d" * 32,
)


@dataclass
class Answers:
    """Knows the brand acme; remembers what was asked."""

    error: Exception | None = None
    hang: bool = False
    asked: list[Question] = field(default_factory=list)

    async def answer(self, question: Question) -> Answer:
        await self._take(question)
        citation = Citation(1, CHUNK.chunk_id, CHUNK.link, CHUNK.title, "Care > Reset", CHUNK.text)
        return Answer(
            "a1", f"{CHUNK.text} [1]", AnswerMode.EXTRACTIVE, (citation,), 0.8, "acme:g1", timings_ms={"retrieve": 2.0}
        )

    async def search(self, question: Question) -> tuple[Sequence[Hit], Sequence[str], Mapping[str, float]]:
        await self._take(question)
        hit = Hit(CHUNK, 0.9, {"dense": 0.5, "fused": 0.9})
        return [hit] * 3, ["chroma"], {"retrieve": 2.0}

    async def _take(self, question: Question) -> None:
        self.asked.append(question)
        if self.hang:
            await asyncio.Event().wait()
        if self.error:
            raise self.error
        if question.brand not in ("", "acme"):
            raise UnknownBrand(f"No brand is called {question.brand}.")


class Brands:
    async def brands(self) -> Sequence[BrandInfo]:
        return [BrandInfo("acme", "Acme", "g1", 3, 9, 1_700_000_000.0, {"fetched": 3})]

    async def coverage(self, brand: str) -> Mapping[str, Any]:
        return {**examples.COVERAGE, "brand": self._known(brand)}

    async def why(self, brand: str, url: str) -> Mapping[str, Any] | None:
        row = {**examples.WHY, "brand": self._known(brand), "url": normalise(url)}
        return row if "internal" in url else None

    def _known(self, brand: str) -> str:
        if brand != "acme":
            raise UnknownBrand
        return brand


@dataclass(frozen=True)
class TaskTwin:
    task_id: str
    kind: str
    payload: Mapping[str, Any]
    state: str = "queued"
    result: Mapping[str, Any] | None = None
    error: str | None = None
    submission_id: str | None = None
    created_at: float = 1.0
    updated_at: float = 2.0


@dataclass
class Tasks:
    kept: dict[str, TaskTwin] = field(default_factory=dict)

    async def submit(self, kind: str, payload: Mapping[str, Any]) -> TaskTwin:
        if payload["brand"] not in ("", "acme"):
            raise UnknownBrand()
        task = TaskTwin(uuid.uuid4().hex, kind, payload)
        self.kept[task.task_id] = task
        return task

    async def get(self, task_id: str) -> TaskTwin | None:
        return self.kept.get(task_id)


@dataclass
class Health:
    checks: tuple[HealthCheck, ...] = (HealthCheck("store", "ok", "", 1.0),)
    reasons: tuple[str, ...] = ()
    unwritable: tuple[str, ...] = ()

    async def health(self) -> HealthReport:
        return HealthReport(self.checks, {"reranker": "maxsim"})

    async def ready(self) -> tuple[bool, Sequence[str]]:
        return not self.reasons, self.reasons

    async def writes(self) -> Sequence[str]:
        return self.unwritable


@dataclass
class Twins:
    answers: Answers = field(default_factory=Answers)
    tasks: Tasks = field(default_factory=Tasks)
    health: Health = field(default_factory=Health)
    metrics: Metrics = field(default_factory=lambda: Metrics("1.2.3"))


@pytest.fixture
def twins() -> Twins:
    return Twins()


@pytest.fixture
def app(twins: Twins) -> FastAPI:
    limits = ServeSettings(max_question_chars=100, max_body_bytes=2_048, answer_timeout_s=0.2)
    return create_app(Services(twins.answers, Brands(), twins.tasks, twins.health, twins.metrics, limits))


@pytest.fixture
async def client(app: FastAPI) -> AsyncIterator[httpx.AsyncClient]:
    async with httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://api.test") as client:
        yield client
