"""The Serve application: an HTTP ingress that holds the answer lane, and the reranker as an autoscaled deployment.

``serve run serve_config.yaml`` calls ``build_app`` with the typed ``args`` of that file.
"""

from __future__ import annotations

import asyncio
import logging
import os
from typing import Any

import ray
from fastapi import FastAPI
from pydantic import BaseModel, ConfigDict, Field
from ray import serve
from ray.serve.schema import LoggingConfig

from ray_app.answer.rerank import load_reranker
from ray_app.api.app import create_app
from ray_app.config import Settings, load
from ray_app.index.embedder import load_embedder
from ray_app.index.ports import VectorStore
from ray_app.observe.log import configure
from ray_app.on_ray.handles import HandleReranker
from ray_app.on_ray.indexer import RemoteIndexer
from ray_app.on_ray.job_board import RemoteJobBoard
from ray_app.on_ray.services import Backend, Outside, Reading
from ray_app.on_ray.vector_owner import vector_store

APP_NAME = "backline"
API, RERANKER = "Api", "Reranker"

# Questions whose passages are scored in one forward pass, and how long the first waits for company.
BATCH_QUESTIONS = 8
BATCH_WAIT_S = 0.004

# More threads than this gain little on a few dozen short texts.
MAX_THREADS = 4

# What the deployments hold unless serve_config.yaml says otherwise; a test keeps both the same. The CPU shares are
# for a laptop, where a crawl and an embedding must fit beside them; see docs/operations.md.
DEFAULTS: dict[str, dict[str, Any]] = {
    API: {
        "num_replicas": 1,
        "max_ongoing_requests": 64,
        "max_queued_requests": 256,
        "ray_actor_options": {"num_cpus": 0.4},
    },
    RERANKER: {
        "autoscaling_config": {"min_replicas": 1, "max_replicas": 2, "target_ongoing_requests": 4},
        "max_ongoing_requests": 16,
        "max_queued_requests": 128,
        "ray_actor_options": {"num_cpus": 0.2},
    },
}


class ServeArgs(BaseModel):
    """``args`` of serve_config.yaml. An empty field leaves the setting of the environment as it is."""

    model_config = ConfigDict(extra="forbid")

    data_dir: str = Field("", description="where the index lies")
    reranker: str = Field("", description="CrossEncoder by hub name or path, or maxsim")
    fusion: str = Field("", description="convex or rrf")
    llm_model: str = Field("", description="model at the configured OpenAI-compatible endpoint")
    torch_threads: int = Field(0, ge=0, description="threads of torch in each replica; 0: one per CPU, four at most")

    def settings(self) -> Settings:
        """The settings with these fields on top. Raises ConfigError."""
        overrides: dict[str, Any] = {"data_dir": self.data_dir} if self.data_dir else {}
        retrieval = {"reranker": self.reranker, "fusion": self.fusion}
        if given := {name: value for name, value in retrieval.items() if value}:
            overrides["retrieval"] = given
        if self.llm_model:
            overrides["llm"] = {"model": self.llm_model}
        return load(**overrides)


class RerankerReplica:
    """The reranker of the answer lane in a process of its own, scoring the questions of several requests at once."""

    def __init__(self, settings: Settings, threads: int) -> None:
        configure(settings.log, component="reranker")
        embedder = load_embedder(settings.embedding, _threads(threads))
        self._reranker, fallback = load_reranker(settings.retrieval, embedder)
        self._fallback = fallback or ""

    def describe(self) -> tuple[str, str, str]:
        """(name, kind, why it is not the one asked for or "")."""
        return self._reranker.name, self._reranker.kind, self._fallback

    @serve.batch(max_batch_size=BATCH_QUESTIONS, batch_wait_timeout_s=BATCH_WAIT_S)
    async def score(self, questions: list[str], passages: list[list[str]]) -> list[list[float]]:
        """One list of scores per question."""
        return await self._reranker.score_many(list(zip(questions, passages, strict=True)))


class ApiReplica:
    """The HTTP API with retrieval and generation in the same process: one hop, to the reranker, per question."""

    async def __init__(self, settings: Settings, threads: int, reranker: Any) -> None:  # type: ignore[misc]
        configure(settings.log, component="api")
        embedder = await asyncio.to_thread(load_embedder, settings.embedding, _threads(threads))
        name, kind, fallback = await reranker.describe.remote()
        outside = Outside(
            board=RemoteJobBoard(settings),
            vectors=await asyncio.to_thread(_vectors, settings),
            documents=RemoteIndexer(settings),
        )
        reading = Reading(HandleReranker(reranker, name, kind), fallback)
        self._backend = Backend(settings, embedder, reading, outside)
        await self._backend.start()

    def __serve_build_asgi_app__(self) -> FastAPI:  # the name that Serve looks for
        return create_app(self._backend.services())

    async def __del__(self) -> None:
        await self._backend.close()


def _vectors(settings: Settings) -> VectorStore | None:
    """The vector store, unless every brand is searched exactly whatever its size."""
    return vector_store(settings) if settings.chroma.fill else None


def _threads(configured: int) -> int:
    """Ray would leave one thread to a replica with less than a CPU; a question uses what is idle instead."""
    return configured or min(MAX_THREADS, os.cpu_count() or 1)


def build_app(args: ServeArgs) -> serve.Application:
    """The application of serve_config.yaml."""
    return application(args.settings(), args.torch_threads)


# Serve makes the arguments from this class; with annotations as strings it would hand over a plain dict.
build_app.__annotations__["args"] = ServeArgs


def application(settings: Settings, threads: int = 0) -> serve.Application:
    """The deployments over ready settings, which travel to the replicas as they are."""
    quiet = LoggingConfig(log_level="WARNING", enable_access_log=False)
    options = {name: {**DEFAULTS[name], "name": name, "logging_config": quiet} for name in DEFAULTS}
    reranker = serve.deployment(RerankerReplica).options(**options[RERANKER]).bind(settings, threads)
    ingress = serve.deployment(serve.ingress()(ApiReplica)).options(**options[API])
    return ingress.bind(settings, threads, reranker)


def deploy(settings: Settings) -> None:
    """Start the application in this session's cluster and wait until it answers."""
    logging.getLogger("ray.serve").setLevel(logging.WARNING)  # it tells of every step, to the terminal
    serve.start(http_options={"host": settings.serve.host, "port": settings.serve.port})
    serve.run(application(settings), name=APP_NAME, route_prefix="/")


def undeploy() -> None:
    """Stop Serve in this session's cluster."""
    if ray.is_initialized():
        serve.shutdown()
