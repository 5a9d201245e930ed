"""Batch embedding: changed documents stream through Ray Data into chunks, and through embedding workers into staging.

Reading and cutting are tasks of Ray Data, which keeps no more blocks ahead than its share of the object store holds.
Embedding workers are actors of our own, on GPU nodes and on CPU nodes in one run: whoever is free takes the next
batch. A worker writes what it has computed before it answers, so a kill costs at most the batch at hand, and a
batch whose worker died goes to another. Why not an actor pool of Ray Data: docs/adr/0013-embedding-workers.md.
"""

from __future__ import annotations

import logging
import os
from collections import Counter, deque
from collections.abc import Callable, Generator, Iterable, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from itertools import cycle, islice
from typing import Any

import pyarrow as pa
import ray
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_app.config import Settings
from ray_app.errors import BacklineError, ClusterError, ConfigError
from ray_app.index.embedder import check_chunks, load_embedder, token_counter
from ray_app.index.staging import Staging
from ray_app.ingest.stages import (
    CHUNKS_PER_BATCH,
    DOCUMENTS_PER_BLOCK,
    ChunkStage,
    EmbedOrder,
    EmbedStage,
    Staged,
    references,
    stage,
)
from ray_app.observe.log import configure, get_logger
from ray_app.on_ray.scrape_pool import NICENESS
from ray_app.records import ModelId

# CPU shares of tasks that mostly wait for Arrow and the disk.
LIGHT_CPUS = 0.1
# Shares of an embedding worker on a machine of up to four CPUs, beside Serve and a crawl; see docs/operations.md.
SMALL_MACHINE_CPUS = 4
SMALL_WORKER_CPUS = 0.3
# CPUs of a worker on larger machines: more threads than this gain little on short texts.
WORKER_CPUS = 4
# Embedding workers on one GPU: two keep it busy while one tokenises.
GPU_SHARE = 0.5
# Chunking tasks at once for each worker: a GPU embeds faster than one task can cut.
CHUNKERS = {"cpu": 1, "gpu": 4}
# Batches handed to one worker: while it computes the first, the second is on its way.
IN_FLIGHT = 2
# Workers that may die over one batch, or in a row while they start, before the run gives up: so many are no accident.
DEATHS = 5
# What a call to an actor raises when its process or node is gone.
GONE = (RayActorError, WorkerCrashedError, NodeDiedError, OutOfMemoryError)

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Node:
    """What one machine of the cluster offers."""

    id: str  # of Ray
    cpus: float
    gpus: float


@dataclass(frozen=True, slots=True)
class WorkerPlan:
    """What one embedding worker holds, and where."""

    kind: str  # cpu | gpu
    num_cpus: float
    num_gpus: float
    threads: int | None  # of torch; None: the library's default
    node: str  # where it should run; "": wherever there is a GPU


def plan_workers(settings: Settings, nodes: Sequence[Node]) -> list[WorkerPlan]:
    """Workers on every GPU, and on the CPUs of nodes without one; half of those stay for the rest.

    Raises ConfigError when a GPU is configured and there is none.
    """
    device, wanted = settings.embedding.device, settings.embedding.workers
    gpus = 0.0 if device.startswith("cpu") else sum(int(node.gpus) for node in nodes)
    if device.startswith("cuda") and not gpus:
        raise ConfigError(f"The device {device!r} is configured, but no node has a GPU.", hint="Use auto or cpu.")
    plans = [WorkerPlan("gpu", 1.0, GPU_SHARE, None, "") for _ in range(int(gpus / GPU_SHARE))]
    if not (gpus and device != "auto"):
        for node in nodes:
            if node.cpus > 0 and (node.gpus < 1 or not gpus):
                plans += _on_cpus(node)
    return list(islice(cycle(plans), wanted)) if wanted and plans else plans


def _on_cpus(node: Node) -> list[WorkerPlan]:
    if node.cpus <= SMALL_MACHINE_CPUS:
        return [WorkerPlan("cpu", SMALL_WORKER_CPUS, 0.0, max(1, int(node.cpus)), node.id)]
    count = max(1, int(node.cpus / 2 / WORKER_CPUS))
    return [WorkerPlan("cpu", WORKER_CPUS, 0.0, WORKER_CPUS, node.id)] * count


class ChunkTask:
    """A ChunkStage made where it runs."""

    def __init__(self, settings: Settings, brand: str, model: ModelId) -> None:
        self._settings, self._brand, self._model = settings, brand, model

    def __call__(self, batch: pa.Table) -> pa.Table:
        counter = token_counter(self._settings.embedding)
        pages = self._settings.data_dir / "pages"
        return ChunkStage(pages, self._brand, counter, self._settings.embedding, self._model)(batch)


class EmbedWorker:
    """An EmbedStage with its own model, which writes what it makes."""

    def __init__(self, settings: Settings, staging: Staging, run: str, plan: WorkerPlan) -> None:
        configure(settings.log, component="embedder")
        os.nice(NICENESS)
        self._staging, self._run, self._kind = staging, run, plan.kind
        chosen = {"device": "cpu"} if plan.kind == "cpu" else {}
        embedder = load_embedder(settings.embedding.model_copy(update=chosen), threads=plan.threads)
        self._stage = EmbedStage(embedder, staging.known(run))

    def __repr__(self) -> str:  # how the dashboard and the logs of Ray call it
        return f"embedder:{self._kind}"

    def ready(self) -> None:
        """Answers once the model is loaded."""

    def embed(self, batch: pa.Table) -> Staged:
        """Embed and write durably."""
        return stage(self._staging, self._run, self._stage(batch))


def embed_documents(settings: Settings, order: EmbedOrder) -> dict[str, int]:
    """Chunk and embed into the order's staging run; returns the vectors made by kind of worker.

    Raises ConfigError when chunks would be longer than the model reads, ClusterError when workers keep dying.
    """
    check_chunks(settings.embedding)
    plans = plan_workers(settings, _nodes())
    if not plans:
        raise ClusterError("No node of the cluster has CPUs or GPUs for embedding workers.")
    pool = EmbedPool(plans, lambda plan: _worker(settings, order, plan))
    try:
        with closing(_batches(settings, order, sum(CHUNKERS[plan.kind] for plan in plans))) as batches:
            pool.run(batches)
    finally:
        pool.close()
    log.info("documents_embedded", brand=order.brand, run=order.run, **pool.figures())
    return dict(pool.made)


def _nodes() -> list[Node]:
    return [
        Node(node["NodeID"], node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
        for node in ray.nodes()
        if node["Alive"]
    ]


def _worker(settings: Settings, order: EmbedOrder, plan: WorkerPlan) -> Any:
    # A preference only: when its node is gone, the worker may run on another.
    where = NodeAffinitySchedulingStrategy(plan.node, soft=True) if plan.node else "DEFAULT"
    options = {"num_cpus": plan.num_cpus, "num_gpus": plan.num_gpus, "scheduling_strategy": where}
    return ray.remote(**options)(EmbedWorker).remote(settings, order.staging, order.run, plan)


def _batches(settings: Settings, order: EmbedOrder, tasks: int) -> Generator[pa.Table]:
    """Chunks of the order's documents, CHUNKS_PER_BATCH at a time, at the pace at which they are taken."""
    _quiet()
    documents, step = order.documents, DOCUMENTS_PER_BLOCK
    blocks = [references(documents[first : first + step]) for first in range(0, len(documents), step)]
    if not blocks:
        return
    chunks = ray.data.from_arrow(blocks).map_batches(
        ChunkTask(settings, order.brand, order.model).__call__,
        batch_format="pyarrow",
        batch_size=None,
        num_cpus=LIGHT_CPUS,
        concurrency=min(tasks, len(blocks)),
    )
    for batch in chunks.iter_batches(batch_size=CHUNKS_PER_BATCH, batch_format="pyarrow"):
        if batch.num_rows:
            yield batch


@dataclass(slots=True)
class _Batch:
    table: Any  # reference to an Arrow table, held until it is written
    deaths: int = 0  # of workers that had it in hand


@dataclass(slots=True, eq=False)
class _Worker:
    plan: WorkerPlan
    actor: Any
    starting: Any  # reference that is there once it is ready; None afterwards
    batches: list[_Batch] = field(default_factory=list)  # with it, the first in hand


class EmbedPool:
    """Hands batches to workers of several kinds, each to one that is ready and has the least to do.

    Holds IN_FLIGHT batches for each worker and no more, however long the run.
    """

    def __init__(self, plans: Sequence[WorkerPlan], start: Callable[[WorkerPlan], Any]) -> None:
        """``start`` makes the actor of a plan."""
        self._start = start
        self._workers: list[_Worker] = []
        self._busy: dict[Any, tuple[_Worker, _Batch]] = {}
        self._again: deque[_Batch] = deque()  # of workers that died
        self._false_starts = 0  # workers in a row that died before they were ready
        self.made: Counter[str] = Counter()  # vectors by kind of worker
        self.rows = self.rejected = self.deaths = 0
        for plan in plans:
            self._hire(plan)

    def run(self, batches: Iterable[pa.Table]) -> None:
        """Until all are written. Raises what the workers raise, and ClusterError when they keep dying."""
        for batch in batches:
            self._hand(_Batch(ray.put(batch)))
            while self._again:
                self._hand(self._again.popleft())
        while self._busy or self._again:
            if self._again:
                self._hand(self._again.popleft())
            else:
                self._wait()

    def close(self) -> None:
        """Ends the workers."""
        for worker in self._workers:
            ray.kill(worker.actor)
        self._workers.clear()

    def figures(self) -> dict[str, int]:
        """For the log."""
        made = {f"embedded_by_{kind}": count for kind, count in self.made.items()}
        return {"rows": self.rows, "rejected": self.rejected, "worker_deaths": self.deaths, **made}

    def _hand(self, batch: _Batch) -> None:
        while not (free := [one for one in self._workers if one.starting is None and len(one.batches) < IN_FLIGHT]):
            self._wait()
        worker = min(free, key=lambda one: len(one.batches))
        worker.batches.append(batch)
        self._busy[worker.actor.embed.remote(batch.table)] = (worker, batch)

    def _wait(self) -> None:
        """Until a worker is ready, or one has answered or died."""
        starting = {one.starting: one for one in self._workers if one.starting is not None}
        (done, *_), _ = ray.wait([*self._busy, *starting], num_returns=1)
        if done in starting:
            self._started(starting[done], done)
        else:
            self._answered(done)

    def _started(self, worker: _Worker, done: Any) -> None:
        """A kind that cannot start here does not stop the others; one that was killed is replaced."""
        try:
            ray.get(done)
            self._false_starts = 0
        except GONE as error:
            self._dismiss(worker, error)
            self._false_starts += 1
            if self._false_starts < DEATHS and not getattr(error, "actor_init_failed", False):
                self._hire(worker.plan)
            elif not self._workers:
                raise ClusterError(f"No embedding worker could start: {_cause(error)}") from error
        worker.starting = None

    def _answered(self, done: Any) -> None:
        worker, batch = self._busy.pop(done)
        try:
            staged: Staged = ray.get(done)
        except GONE as error:
            self._died(worker, batch, error)
            return
        except RayTaskError as error:
            if isinstance(error.cause, BacklineError | OSError):
                raise error.cause from error
            raise
        worker.batches.remove(batch)
        self.made[worker.plan.kind] += staged.embedded
        self.rows += staged.rows
        self.rejected += staged.rejected

    def _died(self, worker: _Worker, batch: _Batch, error: Exception) -> None:
        """Its batches go to others, and a new worker takes its place."""
        self._again.append(batch)
        if worker not in self._workers:  # it had two batches, and this is the second to come back
            return
        self._dismiss(worker, error)
        self.deaths += 1
        worker.batches[0].deaths += 1
        if worker.batches[0].deaths >= DEATHS:
            raise ClusterError(f"{DEATHS} embedding workers died over one batch: {_cause(error)}") from error
        self._hire(worker.plan)

    def _dismiss(self, worker: _Worker, error: Exception) -> None:
        log.warning("embed_worker_died", kind=worker.plan.kind, node=worker.plan.node, error=_cause(error))
        self._workers.remove(worker)
        ray.kill(worker.actor)  # it may only be out of reach

    def _hire(self, plan: WorkerPlan) -> None:
        actor = self._start(plan)
        self._workers.append(_Worker(plan, actor, actor.ready.remote()))


def _cause(error: BaseException) -> str:
    """The last line, which is where Ray puts what was raised inside an actor."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _quiet() -> None:
    """Ray Data writes its own progress to the terminal, in between ours."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.issue_detectors_config.detectors = []
    logging.getLogger("ray.data").setLevel(logging.ERROR)
