"""Batch embedding: one Ray Data pipeline from changed documents to staged vectors.

``from_arrow`` (where documents lie) -> ``map_batches(ChunkTask)`` -> ``map_batches`` on embedding workers. A worker
writes what it has computed before it passes on the counts of its batch, so nothing large flows out, and a kill costs at
most the batch at hand: Ray Data starts the worker again and gives it its batches again, and the worker asks the staging
what is there.

In a cluster of one kind of node the pool's actors are the workers themselves. Where nodes with and without a GPU embed
together, the pool's actors are lanes, each with a worker of its own plan: docs/adr/0013-embedding-workers.md.
"""

from __future__ import annotations

import hashlib
import logging
import os
import warnings
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import asdict, dataclass, replace
from itertools import cycle, islice
from typing import Any

import pyarrow as pa
import ray
from ray.data import ActorPoolStrategy, Dataset
from ray.data.exceptions import ExecutionTimeoutError
from ray.exceptions import NodeDiedError, OutOfMemoryError, RayActorError, RayTaskError, WorkerCrashedError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from ray_app.config import Settings
from ray_app.errors import BacklineError, ClusterError, ConfigError, ModelMismatch
from ray_app.index.digests import union
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
# Tasks with one actor of the pool: while it computes the first, the second is on its way.
IN_FLIGHT = 2
# Workers that may die over one batch, or before they are ready, until the run gives up: so many are no accident.
DEATHS = 5
# How often a lane that waits for its worker looks whether the run goes on.
LOOK_S = 5.0
# A worker that replaces a dead one has a batch waiting. One that is not ready after this has no node to run on.
REPLACE_S = 120.0
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
    """An EmbedStage with its own model, which writes what it makes; an actor of Ray Data's pool, or of a lane.

    Safe to start and to call again after a kill: what the run has staged already is not embedded again.
    """

    def __init__(self, settings: Settings, staging: Staging, run: str, model: ModelId, plan: WorkerPlan) -> None:
        """Raises ModelMismatch when this node has another model under the name: its vectors must not be mixed in."""
        configure(settings.log, component="embedder")
        os.nice(NICENESS)
        self._staging, self._run, self._kind = staging, run, plan.kind
        me = f"start-{ray.get_runtime_context().get_actor_id()}"
        with _attempt(staging, run, me, "before they were ready"):
            chosen = {"device": "cpu"} if plan.kind == "cpu" else {}
            embedder = load_embedder(settings.embedding.model_copy(update=chosen), threads=plan.threads)
            if embedder.model != model:
                raise ModelMismatch(f"The order is for {model}, the model of this node is {embedder.model}.")
            known, staged = staging.known(run), staging.staged(run)
            self._stage = EmbedStage(embedder, union([known, staged]) if len(staged) else known)

    def __repr__(self) -> str:  # how the dashboard and the logs of Ray call it
        return f"embedder:{self._kind}"

    def __call__(self, batch: pa.Table) -> pa.Table:
        """For Ray Data."""
        return self.embed(batch)

    def ready(self) -> None:
        """Answers once the model is loaded."""

    def embed(self, batch: pa.Table) -> pa.Table:
        """Embed and write durably; returns one row {kind, rows, embedded, rejected}."""
        done = Staged(0, 0, 0)
        if batch.num_rows:
            name = hashlib.sha256("".join(batch.column("chunk_id").to_pylist()).encode()).hexdigest()[:32]
            with _attempt(self._staging, self._run, name, "over one batch"):
                done = stage(self._staging, self._run, self._stage(batch))
        return pa.table({name: [value] for name, value in {"kind": self._kind, **asdict(done)}.items()})


@contextmanager
def _attempt(staging: Staging, run: str, name: str, when: str) -> Iterator[None]:
    """Do something that may kill the process. Raises ClusterError when DEATHS attempts came to no end."""
    if staging.attempt(run, name) > DEATHS:
        hint = "The logs of the cluster may say why; often it is memory."
        raise ClusterError(f"{DEATHS} embedding workers died {when}.", hint=hint)
    try:
        yield
    finally:
        staging.survived(run, name)


class PlanDesk:
    """Which lane takes which plan; one that is started again gets its own back."""

    def __init__(self, plans: Sequence[WorkerPlan]) -> None:
        self._plans = plans
        self._taken: dict[str, WorkerPlan] = {}

    def take(self, lane: str) -> WorkerPlan:
        """The plan of the actor ``lane``."""
        return self._taken.setdefault(lane, self._plans[len(self._taken) % len(self._plans)])


class EmbedLane:
    """An actor of Ray Data's pool that has a worker with resources of its own, and passes batches to it.

    It is ready once its worker is: a lane whose worker waits for a GPU is given no batches. When the worker dies, the
    lane starts another and repeats the batch. When it cannot be started, the ``spare`` plan takes its place.
    """

    def __init__(
        self, settings: Settings, staging: Staging, run: str, model: ModelId, desk: Any, spare: WorkerPlan
    ) -> None:
        """``desk``: handle of the run's PlanDesk, which ends with the run."""
        configure(settings.log, component="embedder")
        self._arguments = (settings, staging, run, model)
        self._desk, self._spare = desk, spare
        self._plan = self._own_plan()
        self._worker = self._hire()

    def __call__(self, batch: pa.Table) -> pa.Table:
        """What the worker says of the batch. Raises what it raises, and ClusterError when none can be started."""
        while True:
            try:
                return ray.get(self._worker.embed.remote(batch))
            except GONE as error:
                self._dismiss(self._worker, error)
                self._worker = self._hire(patience_s=REPLACE_S)
            except RayTaskError as error:
                raise _original(error) from None

    def _own_plan(self) -> WorkerPlan:
        try:
            plan: WorkerPlan = ray.get(self._desk.take.remote(ray.get_runtime_context().get_actor_id()))
        except RayActorError as error:
            raise ClusterError("The embedding run has ended.") from error
        return plan

    def _hire(self, patience_s: float = float("inf")) -> Any:
        """A worker of the own plan that is ready, or else of the spare one."""
        cause = f"no node had room for it within {patience_s:.0f} s"
        for _ in range(DEATHS):
            worker = _start(*self._arguments, self._plan)
            try:
                if self._ready(worker, patience_s):
                    return worker
                ray.kill(worker)
                break
            except GONE as error:
                self._dismiss(worker, error)
                cause = _cause(error)
                if getattr(error, "actor_init_failed", False):
                    break
        if self._plan == self._spare:
            raise ClusterError(f"No embedding worker could start: {cause}")
        log.error("embed_worker_fell_back", kind=self._plan.kind, to=self._spare.kind, error=cause)
        self._plan = self._spare
        return self._hire()

    def _ready(self, worker: Any, patience_s: float) -> bool:
        ready, waited = worker.ready.remote(), 0.0
        while not ray.wait([ready], timeout=LOOK_S)[0]:
            self._own_plan()  # raises when the run is over
            waited += LOOK_S
            if waited >= patience_s:
                return False
        ray.get(ready)
        return True

    def _dismiss(self, worker: Any, error: Exception) -> None:
        log.warning("embed_worker_died", kind=self._plan.kind, node=self._plan.node, error=_cause(error))
        ray.kill(worker)  # it may only be out of reach


def _start(settings: Settings, staging: Staging, run: str, model: ModelId, plan: WorkerPlan) -> Any:
    # A preference only: when its node is gone, the worker may run on another.
    where = NodeAffinitySchedulingStrategy(plan.node, soft=True) if plan.node else "DEFAULT"
    options = {"num_cpus": plan.num_cpus, "num_gpus": plan.num_gpus, "scheduling_strategy": where}
    return ray.remote(**options)(EmbedWorker).remote(settings, staging, run, model, plan)


def embed_documents(settings: Settings, order: EmbedOrder) -> dict[str, int]:
    """Chunk and embed into the order's staging run; returns the vectors made by kind of worker.

    A batch whose worker was killed between writing and answering is not among them. Raises what the workers raise:
    ConfigError when chunks would be longer than the model reads, OSError when the disk refuses, ClusterError when
    workers keep dying.
    """
    check_chunks(settings.embedding)
    plans = plan_workers(settings, _nodes())
    if not plans:
        raise ClusterError("No node of the cluster has CPUs or GPUs for embedding workers.")
    made, seen = Counter[str](), Counter[str]()
    with _desk(plans) as desk, closing(_counts(_pipeline(settings, order, plans, desk))) as counts:
        for row in counts:
            made[row["kind"]] += row["embedded"]
            seen.update(rows=row["rows"], rejected=row["rejected"])
    figures = {**seen, **{f"embedded_by_{kind}": count for kind, count in made.items()}}
    log.info("documents_embedded", brand=order.brand, run=order.run, **figures)
    return dict(made)


def _nodes() -> list[Node]:
    return [
        Node(node["NodeID"], node["Resources"].get("CPU", 0.0), node["Resources"].get("GPU", 0.0))
        for node in ray.nodes()
        if node["Alive"]
    ]


@contextmanager
def _desk(plans: Sequence[WorkerPlan]) -> Iterator[Any]:
    """A PlanDesk where plans differ; None where one kind of worker does for all nodes."""
    if len({replace(plan, node="") for plan in plans}) == 1:
        yield None
        return
    desk = ray.remote(num_cpus=0, max_restarts=-1, max_task_retries=-1)(PlanDesk).remote(plans)
    try:
        yield desk
    finally:
        ray.kill(desk)


def _pipeline(settings: Settings, order: EmbedOrder, plans: Sequence[WorkerPlan], desk: Any) -> Dataset | None:
    """Rows {kind, rows, embedded, rejected}, one for each batch; None when there are no documents."""
    _tune()
    documents, step = order.documents, DOCUMENTS_PER_BLOCK
    blocks = [references(documents[first : first + step]) for first in range(0, len(documents), step)]
    if not blocks:
        return None
    chunks = ray.data.from_arrow(blocks).map_batches(
        ChunkTask(settings, order.brand, order.model).__call__,
        batch_format="pyarrow",
        batch_size=None,
        num_cpus=LIGHT_CPUS,
        concurrency=min(sum(CHUNKERS[plan.kind] for plan in plans), len(blocks)),
    )
    arguments = (settings, order.staging, order.run, order.model)
    worker: dict[str, Any] = {
        "fn": EmbedWorker,
        "fn_constructor_args": (*arguments, plans[0]),
        "num_cpus": plans[0].num_cpus,
        "num_gpus": plans[0].num_gpus,
    }
    lane: dict[str, Any] = {
        "fn": EmbedLane,
        "fn_constructor_args": (*arguments, desk, _spare(plans)),
        "num_cpus": 0,
    }
    # Not repartitioned on the way: that is a task of one CPU, which a small machine that serves never has free.
    return chunks.map_batches(
        **(worker if desk is None else lane),
        batch_format="pyarrow",
        batch_size=CHUNKS_PER_BATCH,
        compute=ActorPoolStrategy(size=len(plans), max_tasks_in_flight_per_actor=IN_FLIGHT),
    )


def _spare(plans: Sequence[WorkerPlan]) -> WorkerPlan:
    """What a lane does with whose own plan cannot be carried out: a share that is free on any machine."""
    threads = min((plan.threads for plan in plans if plan.threads), default=None)
    return WorkerPlan("cpu", SMALL_WORKER_CPUS, 0.0, threads, "")


def _counts(results: Dataset | None) -> Generator[dict[str, Any]]:
    """The rows of the pipeline, which runs as they are taken."""
    if results is None:
        return
    try:
        yield from results.iter_rows()
    except RayTaskError as error:
        raise _original(error) from error
    except RayActorError as error:
        raise ClusterError(f"No embedding worker could start: {_cause(error)}") from error
    except ExecutionTimeoutError as error:
        hint = "Are there free CPUs or GPUs for embedding workers?"
        raise ClusterError(str(error).partition("\n")[0], hint=hint) from error


def _original(error: RayTaskError) -> Exception:
    """What a task raised, where it is for the caller."""
    return error.cause if isinstance(error.cause, BacklineError | OSError) else error


def _cause(error: BaseException) -> str:
    """The last line, which is where Ray puts what was raised inside an actor."""
    return (str(error).strip().splitlines() or [type(error).__name__])[-1].strip()


def _tune() -> None:
    """Ray Data writes its own progress to the terminal, in between ours, and wraps what tasks raise."""
    context = ray.data.DataContext.get_current()
    context.enable_progress_bars = False
    context.print_on_execution_start = False
    context.issue_detectors_config.detectors = []
    context.raise_original_map_exception = True  # what it is wrapped in loses it on the way to the driver
    logging.getLogger("ray.data").setLevel(logging.CRITICAL)  # what is raised is reported by the caller
    warnings.filterwarnings("ignore", "The minimum number of concurrent actors")  # a few documents are no mistake
