"""Batch embedding on Ray Data: changed documents stream through chunking and embedding into staged parts."""

from __future__ import annotations

import logging
import os
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

import pyarrow as pa
import ray
from ray.data.block import BlockAccessor
from ray.data.datasource import Datasink

from ray_app.config import Settings
from ray_app.index.embedder import load_embedder, token_counter
from ray_app.index.staging import Staging
from ray_app.ingest.stages import ChunkStage, EmbedOrder, EmbedStage
from ray_app.observe.log import configure
from ray_app.on_ray.scrape_pool import NICENESS
from ray_app.records import ModelId

# Documents per chunking task: large enough to pay for the tokenizer's start, small enough to bound memory.
DOCUMENTS_PER_BLOCK = 64
# Chunks per call of an embedding worker, and so the most that a kill can lose; sorted by length inside.
CHUNKS_PER_BATCH = 256
# CPU shares of tasks that mostly wait for Arrow and the disk.
LIGHT_CPUS = 0.1
# Shares of an embedding worker on a machine of up to four CPUs, beside Serve and a crawl; see docs/operations.md.
SMALL_MACHINE_CPUS = 4
SMALL_WORKER_CPUS = 0.3
# CPUs of a worker on larger machines: more threads than this gain little on short texts.
WORKER_CPUS = 4
# Embedding workers on one GPU: two keep it busy while one tokenises.
GPU_SHARE = 0.5


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """How many embedding workers, and what each holds."""

    workers: int
    num_cpus: float
    num_gpus: float
    threads: int | None  # torch threads; None: the library's default


def plan_workers(settings: Settings, cpus: float, gpus: float) -> WorkerPlan:
    """GPU workers when the cluster has GPUs, CPU workers otherwise; half the CPUs stay for the rest."""
    wanted = settings.embedding.workers
    if gpus >= 1 and not settings.embedding.device.startswith("cpu"):
        return WorkerPlan(wanted or int(gpus / GPU_SHARE), 1.0, GPU_SHARE, None)
    if cpus <= SMALL_MACHINE_CPUS:
        return WorkerPlan(wanted or 1, SMALL_WORKER_CPUS, 0.0, max(1, int(cpus)))
    return WorkerPlan(wanted or max(1, int(cpus / 2 / WORKER_CPUS)), WORKER_CPUS, 0.0, WORKER_CPUS)


class _ChunkTask:
    """A ChunkStage made where it runs."""

    def __init__(self, settings: Settings, brand: str, model: ModelId) -> None:
        self._settings, self._brand, self._model = settings, brand, model

    def __call__(self, batch: pa.Table) -> pa.Table:
        counter = token_counter(self._settings.embedding)
        pages = self._settings.data_dir / "pages"
        return ChunkStage(pages, self._brand, counter, self._settings.embedding, self._model)(batch)


class _EmbedWorker:
    """An EmbedStage with its own model, in an actor of Ray Data."""

    def __init__(self, settings: Settings, staging: Staging, run: str, threads: int | None) -> None:
        configure(settings.log, component="embedder")
        os.nice(NICENESS)
        self._stage = EmbedStage(load_embedder(settings.embedding, threads=threads), staging.known(run))

    def __call__(self, batch: pa.Table) -> pa.Table:
        return self._stage(batch)


class StagingSink(Datasink[int]):
    """Writes each block as it comes: what is written survives a kill of everything else."""

    def __init__(self, staging: Staging, run: str) -> None:
        self._staging = staging
        self._run = run

    def write(self, blocks: Iterable[Any], ctx: Any) -> int:
        """One durable part per block; returns the rows written."""
        return sum(self._staging.write(self._run, BlockAccessor.for_block(block).to_arrow()) for block in blocks)


def embed_documents(settings: Settings, order: EmbedOrder) -> dict[str, int]:
    """Chunk and embed into the order's staging run; returns the vectors made by kind of worker."""
    staging, run = order.staging, order.run
    _quiet()
    resources = ray.cluster_resources()
    plan = plan_workers(settings, resources.get("CPU", 1), resources.get("GPU", 0))
    rows = [{"part": document.page.part, "row": document.page.row} for document in order.documents]
    blocks = -(-len(rows) // DOCUMENTS_PER_BLOCK)
    (
        ray.data.from_items(rows, override_num_blocks=blocks)
        .map_batches(
            _ChunkTask(settings, order.brand, order.model).__call__,
            batch_format="pyarrow",
            batch_size=None,
            num_cpus=LIGHT_CPUS,
        )
        .map_batches(
            _EmbedWorker,
            fn_constructor_args=(settings, staging, run, plan.threads),
            batch_format="pyarrow",
            batch_size=CHUNKS_PER_BATCH,
            concurrency=plan.workers,
            num_cpus=plan.num_cpus,
            num_gpus=plan.num_gpus,
        )
        .write_datasink(StagingSink(staging, run), ray_remote_args={"num_cpus": LIGHT_CPUS})
    )
    return {}


def _quiet() -> None:
    """Ray Data writes its own progress to the terminal, in between ours."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.issue_detectors_config.detectors = []
    logging.getLogger("ray.data").setLevel(logging.ERROR)
