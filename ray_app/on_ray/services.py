"""Puts the answer lane together and gives the API its services, inside a Serve replica or a plain process."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import time
from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import redis.asyncio
from fastapi import FastAPI

from ray_app import __version__
from ray_app.answer.answerer import Answerer, build_answerer
from ray_app.answer.ports import Reranker
from ray_app.answer.rerank import load_reranker
from ray_app.api.app import create_app
from ray_app.api.ports import Services, TaskKind, TaskRecord
from ray_app.api.schemas import AskResponse
from ray_app.config import Settings
from ray_app.errors import BacklineError, ClusterUnavailable, NoGeneration, UnknownBrand
from ray_app.index.depot import open_depot
from ray_app.index.embedder import load_embedder, model_id
from ray_app.index.embedders import Embedders, MainEmbedder, by_source
from ray_app.index.guarded import guarded
from ray_app.index.ports import Embedder, VectorStore
from ray_app.index.reader import IndexReader
from ray_app.index.recall import RecallSampler
from ray_app.ingest.handed import DocumentDesk, Form, Handed
from ray_app.observe.health import Check, Finding, HealthReport, run_checks
from ray_app.observe.log import get_logger
from ray_app.observe.metrics import LedgerCollector, Metrics
from ray_app.on_ray.brand_desk import BrandDesk
from ray_app.on_ray.targets import Target, resolve
from ray_app.records import Question, TaskState
from ray_app.schedule.runner import JobBoard
from ray_app.store.recent import RecentCounts
from ray_app.store.stores import Stores, open_stores
from ray_app.store.writable import WriteProbe

log = get_logger(__name__)

CHECK_TIMEOUT_S = 5.0
# Free share of the disk under data_dir below which health says so.
DISK_WARN, DISK_DOWN = 0.20, 0.10
# A task waits so long for another run on its brand: people submit a crawl and an embedding one after the other.
TASK_WAIT_S = 3600.0
# An embedding that has not moved for so long is told to the indexer again, which may have been down.
PUSH_AGAIN_S = 5.0
# What is known of writing is believed so long: a balancer asks every second or so, and each probe waits for the disk.
WRITES_FRESH_S = 2.0
# Longer than a write on a busy disk takes, shorter than balancers wait for an answer.
WRITES_WAIT_S = 0.5
# Questions answered in the background at once by one process; more wait.
BACKGROUND_QUESTIONS = 4


@dataclass(frozen=True, slots=True)
class Reading:
    """The reranker in use, with the reason when it is not the one that was asked for."""

    reranker: Reranker
    fallback: str = ""


@dataclass(frozen=True, slots=True)
class Outside:
    """What the process that hosts the API has to offer: where jobs run, vectors are searched, documents taken in."""

    board: JobBoard | None = None
    vectors: VectorStore | None = None
    documents: DocumentDesk | None = None


class Backend:
    """The parts behind the API of one process; ``close`` lets go of all of them."""

    def __init__(self, settings: Settings, embedder: Embedder, reading: Reading, outside: Outside) -> None:
        self.settings = settings
        self.stores = open_stores(settings)
        self.embedders = Embedders(
            embedder,
            load=lambda source: load_embedder(by_source(settings.embedding, source)),
            identify=lambda source: model_id(by_source(settings.embedding, source)),
        )
        self.embedder: Embedder = MainEmbedder(self.embedders)
        self.reader = IndexReader(self.stores.catalog, open_depot(settings), self.embedders)
        self.reading = reading
        self.metrics = Metrics(__version__)
        self.vectors = guarded(outside.vectors) if outside.vectors is not None else None
        # Health tells why; an answer only says which one read the passages.
        instead = f"{reading.reranker.name} instead of {settings.retrieval.reranker}" if reading.fallback else None
        self.answerer = build_answerer(
            self.reader,
            self.embedder,
            settings,
            vectors=self.vectors,
            reranker=(reading.reranker, instead),
            embedders=self.embedders,
            sampler=RecallSampler(self.metrics.vector_recall),
        )
        self.tasks = TaskDesk(settings, self.stores, self.answerer, outside)
        self.writes = WriteWatch(WriteProbe(self.stores.db, settings.data_dir).problem)

    async def start(self) -> None:
        """Open what is published, and follow it from now on. Without it, each brand stays as it is first opened."""
        loop = asyncio.get_running_loop()
        self.reader.on_gone = lambda brand: self._forget(brand, loop)
        await asyncio.to_thread(self.reader.refresh)
        self.reader.start()

    def services(self) -> Services:
        """What ``create_app`` needs."""
        recent = RecentCounts(self.stores.ledger)
        self.metrics.registry.register(LedgerCollector(recent, self.stores.catalog, self.stores.tasks))
        return Services(
            answers=self.answerer,
            brands=BrandDesk(self.settings, self.stores, recent),
            tasks=self.tasks,
            health=HealthDesk(self),
            metrics=self.metrics,
            limits=self.settings.serve,
        )

    async def close(self) -> None:
        """Let go of connections and files."""
        await asyncio.to_thread(self.reader.close)
        await self.answerer.close()
        self.stores.close()

    def _forget(self, brand: str, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.run_coroutine_threadsafe(self.answerer.forget(brand), loop)


def generator_name(settings: Settings) -> str:
    """The language model that writes answers, "extractive" when none is configured."""
    if settings.llm.api_key.get_secret_value():
        return settings.llm.model
    return settings.llm.ollama_model if settings.llm.ollama_base_url else "extractive"


async def local_app(settings: Settings) -> tuple[FastAPI, Callable[[], Awaitable[None]]]:
    """The whole API in this process, without Ray; returns it with the call that closes it."""
    embedder = await asyncio.to_thread(load_embedder, settings.embedding)
    reranker, fallback = await asyncio.to_thread(load_reranker, settings.retrieval, embedder)
    backend = Backend(settings, embedder, Reading(reranker, fallback or ""), Outside())
    return create_app(backend.services()), backend.close


class TaskDesk:
    """The API's TaskService: crawls become Ray jobs, the indexer publishes brands, questions are answered here."""

    def __init__(self, settings: Settings, stores: Stores, answerer: Answerer, outside: Outside) -> None:
        self._settings = settings
        self._stores = stores
        self._answerer = answerer
        self._board = outside.board
        self._documents = outside.documents
        self._background: set[asyncio.Task[None]] = set()
        self._room = asyncio.Semaphore(BACKGROUND_QUESTIONS)

    async def submit(self, kind: TaskKind, payload: Mapping[str, Any]) -> TaskRecord:
        """See api.ports.TaskService."""
        if kind == "rag-query":
            return await self._submit_question(payload)
        if kind == "embed":
            return await asyncio.to_thread(self._submit_embedding, payload)
        return await asyncio.to_thread(self._submit_job, kind, payload)

    async def get(self, task_id: str) -> TaskRecord | None:
        """See api.ports.TaskService."""
        return await asyncio.to_thread(self._get, task_id)

    def _submit_embedding(self, payload: Mapping[str, Any]) -> TaskRecord:
        if self._documents is None:
            raise _nothing_runs()
        if "document" in payload:
            receipt = self._documents.hand_over(payload["brand"], _handed(payload["document"]))
            payload = {"brand": payload["brand"], "document": asdict(receipt)}
        else:
            if self._crawl_is_ahead(payload["brand"]):
                return self._submit_job("embed", payload)
            resolve(self._settings, self._stores.catalog, Target(payload["brand"]))
        task_id = self._stores.tasks.create("embed", payload, time.time())
        self._push(self._documents, task_id)
        return self._present(task_id)

    def _crawl_is_ahead(self, brand: str) -> bool:
        """Whether a crawl was asked for that has not ended: a job starts after its job, the indexer would before."""
        return any(task.payload.get("brand") == brand for task in self._stores.tasks.unfinished("scrape"))

    def _push(self, documents: DocumentDesk, task_id: str) -> None:
        """The task lies in SQL, where the indexer finds it when it comes back."""
        try:
            documents.publish(task_id)
        except ClusterUnavailable as error:
            log.warning("indexer_not_reached", task=task_id, error=str(error))

    def _submit_job(self, kind: TaskKind, payload: Mapping[str, Any]) -> TaskRecord:
        if self._board is None:
            raise _nothing_runs()
        resolve(self._settings, self._stores.catalog, Target(payload["brand"], tuple(payload.get("urls") or ())))
        task_id = self._stores.tasks.create(kind, payload, time.time())
        try:
            self._board.submit(f"task-{task_id}", kind, _arguments(task_id, payload))
        except BacklineError as error:
            self._note(task_id, state=TaskState.FAILED, error=str(error))
            raise
        self._note(task_id, submission_id=f"task-{task_id}")
        return self._present(task_id)

    async def _submit_question(self, payload: Mapping[str, Any]) -> TaskRecord:
        task_id = await asyncio.to_thread(self._stores.tasks.create, "rag-query", payload, time.time())
        work = asyncio.create_task(self._answer(task_id, payload))
        self._background.add(work)
        work.add_done_callback(self._background.discard)
        return await asyncio.to_thread(self._present, task_id)

    async def _answer(self, task_id: str, payload: Mapping[str, Any]) -> None:
        async with self._room:
            await asyncio.to_thread(self._note, task_id, state=TaskState.RUNNING)
            try:
                answer = await self._answerer.answer(
                    Question(text=payload["question"], brand=payload.get("brand") or "")
                )
            except BacklineError as error:
                await asyncio.to_thread(self._note, task_id, state=TaskState.FAILED, error=str(error))
                return
            result = AskResponse.of(answer).model_dump(mode="json")
            await asyncio.to_thread(self._note, task_id, state=TaskState.DONE, result=result)

    def _get(self, task_id: str) -> TaskRecord | None:
        task = self._stores.tasks.get(task_id)
        if task is None or task.state not in (TaskState.QUEUED, TaskState.RUNNING):
            return task
        if problem := self._lost(task):
            self._note(task_id, state=TaskState.FAILED, error=problem)
            return self._stores.tasks.get(task_id)
        return task

    def _lost(self, task: TaskRecord) -> str:
        """Why an unfinished task will never finish, "" when it may."""
        if task.kind == "rag-query":
            late = time.time() - task.updated_at > 2 * self._settings.serve.answer_timeout_s
            return "The process that worked on it went away." if late else ""
        if task.kind == "embed" and not task.submission_id and self._documents is not None:
            if time.time() - task.updated_at > PUSH_AGAIN_S:
                self._push(self._documents, task.task_id)
            return ""
        if self._board is None or not task.submission_id:
            return ""
        state = self._board.state(task.submission_id)
        if state == "failed":
            return f"Its Ray job failed; its log says why: ray job logs {task.submission_id}"
        return "The cluster no longer knows its Ray job." if state is None else ""

    def _note(self, task_id: str, **fields: Any) -> None:
        self._stores.tasks.update(task_id, now=time.time(), **fields)

    def _present(self, task_id: str) -> TaskRecord:
        task = self._stores.tasks.get(task_id)
        if task is None:
            raise ClusterUnavailable("The task was deleted while it was submitted.")
        return task


def _nothing_runs() -> ClusterUnavailable:
    return ClusterUnavailable("Tasks need a running Backline.", hint="Start it with `backline up`.")


def _handed(document: Mapping[str, Any]) -> Handed:
    """A document of a request."""
    forms: tuple[Form, ...] = ("html", "markdown", "text")
    form = next(form for form in forms if form in document)
    return Handed(
        body=str(document[form]).encode(),
        form=form,
        charset="utf-8",
        url=document["url"],
        title=document["title"],
        lang=document["lang"],
    )


def _arguments(task_id: str, payload: Mapping[str, Any]) -> list[str]:
    """The job's command line. Values stand behind their option in one word, so that none is taken for an option."""
    arguments = [f"--brand={payload['brand']}", f"--task-id={task_id}", f"--wait={TASK_WAIT_S:g}"]
    arguments += [f"--url={url}" for url in payload.get("urls") or ()]
    return [*arguments, "--full"] if payload.get("full") else arguments


class WriteWatch:
    """Asks a blocking probe at most every FRESH_S seconds, one call at a time, and waits WAIT_S for it at most."""

    def __init__(self, probe: Callable[[], str]) -> None:
        self._probe = probe
        self._running: asyncio.Task[str] | None = None
        self._started = 0.0

    async def reasons(self) -> Sequence[str]:
        """Why nothing can be written now; nothing when it can."""
        now = time.monotonic()
        if self._running is None or (self._running.done() and now - self._started >= WRITES_FRESH_S):
            self._running, self._started = asyncio.create_task(asyncio.to_thread(self._probe)), now
        await asyncio.wait({self._running}, timeout=WRITES_WAIT_S)
        if not self._running.done():
            return [f"A small write has taken {time.monotonic() - self._started:.1f} s so far."]
        problem = self._running.result()
        return [problem] if problem else []


class HealthDesk:
    """The API's HealthService."""

    def __init__(self, backend: Backend) -> None:
        self._backend = backend

    async def health(self) -> HealthReport:
        """Every check, run now."""
        checks: dict[str, Check] = {
            "database": self._database,
            "index": self._index,
            "vectors": self._vectors,
            "reranker": self._reranker,
            "llm": self._llm,
            "cache": self._cache,
            "disk": self._disk,
            "writes": self._writes,
        }
        return HealthReport(await run_checks(checks, CHECK_TIMEOUT_S), self._details())

    async def ready(self) -> tuple[bool, Sequence[str]]:
        """Models are loaded when this object exists; what remains is the database."""
        (check,) = await run_checks({"database": self._database}, CHECK_TIMEOUT_S)
        return check.state != "down", [check.reason] if check.state == "down" else []

    async def writes(self) -> Sequence[str]:
        """See api.ports.HealthService."""
        return await self._backend.writes.reasons()

    def _details(self) -> dict[str, Any]:
        reranker = self._backend.reading.reranker
        return {
            "version": __version__,
            "embedder": {"model": str(self._backend.embedder.model), **self._backend.embedder.describe()},
            "reranker": {"name": reranker.name, "kind": reranker.kind},
            "generator": generator_name(self._backend.settings),
        }

    async def _database(self) -> Finding:
        await asyncio.to_thread(self._backend.stores.catalog.pointers)
        return Finding()

    async def _index(self) -> Finding:
        return await asyncio.to_thread(self._look_at_index)

    def _look_at_index(self) -> Finding:
        brands = self._backend.reader.brands()
        if not brands:
            return Finding("degraded", "Nothing is published yet: backline ingest --brand NAME --url URL.")
        for brand in brands:
            with contextlib.suppress(NoGeneration, UnknownBrand):  # it was forgotten since
                self._backend.reader.get(brand)
        if damaged := self._backend.reader.damaged:
            return Finding("degraded", "; ".join(f"{brand}: {why}" for brand, why in damaged.items()))
        return Finding()

    async def _vectors(self) -> Finding:
        store = self._backend.vectors  # what questions met tells enough; asking would start its process
        if store is None or store.state() == "closed":
            return Finding()
        return Finding("degraded", "The vector store failed several times; large brands are searched exactly.")

    async def _reranker(self) -> Finding:
        fallback = self._backend.reading.fallback
        if not fallback:
            return Finding()
        return Finding("degraded", f"{fallback}; MaxSim over the embedder's token vectors reranks instead.")

    async def _llm(self) -> Finding:
        quotes = generator_name(self._backend.settings) == "extractive"
        return Finding("ok", "None is configured; answers quote their sources." if quotes else "")

    async def _cache(self) -> Finding:
        if url := self._backend.settings.redis_url:
            client = redis.asyncio.Redis.from_url(url, socket_timeout=1.0, socket_connect_timeout=1.0)
            try:
                await client.ping()
            except redis.RedisError as error:
                return Finding("degraded", f"Redis does not answer ({type(error).__name__}); answers are not cached.")
            finally:
                await client.aclose()
        return Finding()

    async def _writes(self) -> Finding:
        reasons = await self.writes()
        return Finding("down", " ".join(reasons)) if reasons else Finding()

    async def _disk(self) -> Finding:
        usage = await asyncio.to_thread(shutil.disk_usage, self._backend.settings.data_dir)
        share = usage.free / usage.total
        if share >= DISK_WARN:
            return Finding()
        return Finding("down" if share < DISK_DOWN else "degraded", f"{share:.0%} of the disk is free.")
