"""Documents handed over, searchable within seconds: one named process that keeps a model loaded.

A document is stored when it is handed over, whoever works on its brand. To publish it, the brand's lease is needed:
while another run holds it the task waits, and is taken when the brand is free; that run may publish the document
itself meanwhile. Tasks lie in SQL, so a process that is killed takes up where it stopped.
"""

from __future__ import annotations

import ctypes
import os
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager
from functools import cache
from typing import Any

import ray

from ray_app.config import Settings
from ray_app.errors import (
    BacklineError,
    IndexingError,
    InputError,
    LeaseHeld,
    LeaseLost,
    StoreError,
    StoreUnavailable,
    VectorStoreDown,
    VectorStoreLocked,
)
from ray_app.index.chroma import open_store
from ray_app.index.embedder import load_embedder
from ray_app.index.ports import Embedder, Gate, VectorStore
from ray_app.ingest.brands import SLUG, make_brand
from ray_app.ingest.handed import Handed, Receipt, hand_over
from ray_app.ingest.indexing import BrandIndexer, EmbedReport
from ray_app.ingest.stages import EmbedOrder, embed_here
from ray_app.observe.log import configure, get_logger
from ray_app.on_ray.gates import publish_gate
from ray_app.on_ray.job_board import RemoteJobBoard
from ray_app.on_ray.named import ask, named
from ray_app.on_ray.pipeline import BrandResult, out_of_order
from ray_app.on_ray.scrape_pool import NICENESS
from ray_app.on_ray.targets import find
from ray_app.on_ray.vector_owner import vector_store
from ray_app.records import TaskState
from ray_app.schedule.runner import JobBoard
from ray_app.store.lease import Lease
from ray_app.store.stores import Stores, open_stores
from ray_app.store.tasks import Task

NAME = "indexer"
KIND = "embed"  # of the tasks it takes

# Documents that it embeds itself. More are the work of a job, whose workers embed side by side, where the cluster has
# room; one document of usual length takes this process a tenth of a second.
MAX_DOCUMENTS = 64
# Of the publish gate: some half second for both generations. Few, but what a handful of documents can break is plain.
QUESTIONS = 40
# How often it looks again whether a brand is free, or SQL back.
RETRY_S = 0.25
# A job waits so long for another run on its brand.
JOB_WAIT_S = 3600.0
# More threads than this gain little on the chunks of one document.
MAX_THREADS = 4
# Calls at once: extraction of documents handed over side by side.
CALLS = 8

log = get_logger(__name__)


class TooMany(IndexingError):
    """So many documents changed that a job must embed them."""

    kind = "too-many-documents"


class Indexer:
    """The work of the process, without Ray: a ``handed.DocumentDesk``."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        load: Callable[[], Embedder],
        vectors: VectorStore | None = None,
        board: JobBoard | None = None,
        gate: Callable[[Callable[[], Embedder]], Gate | None] = lambda model: None,
    ) -> None:
        """``load`` is called once, by ``start`` or the first brand that needs it. ``board`` takes what is too much.

        ``gate`` makes what judges generations from what gives the loaded model.
        """
        self._settings = settings
        self._stores = stores
        self._load = load
        self._embedder: Embedder | None = None
        self._vectors = vectors
        self._board = board
        self._gate = gate(self._model)
        self._wanted: dict[str, list[str]] = {}  # ids of tasks by brand
        self._changed = threading.Condition()
        self._over = threading.Event()
        self._worker = ThreadPoolExecutor(1, "indexing")
        self._thread = threading.Thread(target=self._loop, name="indexer", daemon=True)

    def start(self) -> None:
        """Load the model and take up unfinished tasks, in a thread."""
        self._thread.start()

    def close(self) -> None:
        """End the thread; unfinished tasks stay for the next process."""
        self._over.set()
        with self._changed:
            self._changed.notify()
        if self._thread.is_alive():
            self._thread.join()
        self._worker.shutdown()

    def hand_over(self, brand: str, given: Handed) -> Receipt:
        """See DocumentDesk. A brand that nobody knows is made."""
        return store_document(self._settings, self._stores, brand, given)

    def publish(self, task_id: str) -> None:
        """See DocumentDesk."""
        task = self._stores.tasks.get(task_id)
        if task is not None and _is_open(task):
            self._want(task)

    def _want(self, task: Task) -> None:
        brand = task.payload.get("brand")
        if not isinstance(brand, str) or not brand:
            self._note(task.task_id, state=TaskState.FAILED, error="The task names no brand any more.")
            return
        with self._changed:
            tasks = self._wanted.setdefault(brand, [])
            if task.task_id not in tasks:
                tasks.append(task.task_id)
            self._changed.notify()

    def _loop(self) -> None:
        self._worker.submit(self._model)
        resumed = False
        while not self._over.is_set():
            resumed = resumed or self._resume()
            with self._changed:
                self._changed.wait_for(lambda: self._wanted or self._over.is_set(), None if resumed else RETRY_S)
                brands = list(self._wanted)
            done = [self._turn(brand) for brand in brands]
            if not all(done):
                self._over.wait(RETRY_S)

    def _resume(self) -> bool:
        """Take up what an earlier process left; False when SQL does not answer."""
        try:
            tasks = self._stores.tasks.unfinished(KIND)
        except StoreError as error:
            log.warning("tasks_not_resumed", error=str(error))
            return False
        try:
            for task in filter(_is_open, tasks):
                self._want(task)
        except StoreError as error:
            log.warning("tasks_not_resumed", error=str(error))
            return False
        return True

    def _turn(self, brand: str) -> bool:
        """Publish one brand for all who wait for it; False when it must be tried again."""
        with self._changed:
            tasks = list(self._wanted[brand])
        run = self._worker.submit(self._index, brand, tasks)
        error = run.exception()
        try:
            if isinstance(error, LeaseHeld | LeaseLost):
                self._tell(tasks, str(error))
                return False
            self._conclude(brand, tasks, error, None if error else run.result())
        except StoreError as failure:  # what is not noted is not done with: publishing again changes nothing
            log.warning("tasks_not_noted", brand=brand, error=str(failure))
            return False
        _give_memory_back()
        with self._changed:
            left = [task for task in self._wanted.pop(brand) if task not in tasks]
            if left:
                self._wanted[brand] = left
        return True

    def _index(self, brand: str, tasks: Sequence[str]) -> EmbedReport:
        with Lease(self._stores.ledger, brand, label=NAME, ttl_s=self._settings.crawl.lease_s) as lease:
            for task_id in tasks:
                self._note(task_id, state=TaskState.RUNNING, result={})
            indexer = BrandIndexer(self._settings, self._stores, self._embed, self._vectors, self._gate)
            return indexer.index(brand, lease)

    def _embed(self, order: EmbedOrder) -> Mapping[str, int]:
        if self._board is not None and len(order.documents) > MAX_DOCUMENTS:
            raise TooMany
        return embed_here(self._settings, order, self._model())

    def _model(self) -> Embedder:
        if self._embedder is None:
            self._embedder = self._load()
            _give_memory_back()
        return self._embedder

    def _tell(self, tasks: Sequence[str], why: str) -> None:
        """Tasks that wait say for what."""
        told = {"waiting": why}
        for task_id in tasks:
            task = self._stores.tasks.get(task_id)
            if task is not None and (task.result != told or task.state is not TaskState.QUEUED):
                self._note(task_id, state=TaskState.QUEUED, result=told)

    def _conclude(
        self, brand: str, tasks: Sequence[str], error: BaseException | None, report: EmbedReport | None
    ) -> None:
        if isinstance(error, TooMany) and self._board is not None:
            for task_id in tasks:
                self._pass_on(self._board, brand, task_id)
            return
        why = _in_words(brand, error) if error else ""
        for task_id in tasks:
            task = self._stores.tasks.get(task_id)
            if task is None:  # deleted meanwhile
                continue
            if report is None:
                self._note(task_id, state=TaskState.FAILED, error=why)
            else:
                self._note(task_id, state=TaskState.DONE, result=_result(task, report))

    def _pass_on(self, board: JobBoard, brand: str, task_id: str) -> None:
        job = f"task-{task_id}"
        try:
            board.submit(job, KIND, [f"--brand={brand}", f"--task-id={task_id}", f"--wait={JOB_WAIT_S:g}"])
        except BacklineError as error:
            self._note(task_id, state=TaskState.FAILED, error=str(error))
            return
        self._note(task_id, submission_id=job)

    def _note(self, task_id: str, **fields: Any) -> None:
        try:
            self._stores.tasks.update(task_id, now=time.time(), **fields)
        except StoreUnavailable:
            raise
        except StoreError:  # deleted meanwhile, which must not keep the others waiting
            if self._stores.tasks.get(task_id) is not None:
                raise


def store_document(settings: Settings, stores: Stores, brand: str, given: Handed) -> Receipt:
    """Hand a document over to a brand, which is made if nobody knows it. See ``ingest.handed.hand_over``."""
    config = find(settings, stores.catalog, brand)
    if config is None:
        if not SLUG.fullmatch(brand):
            raise InputError(f"{brand!r} cannot be a brand's name.", hint="It is 1-64 of a-z, 0-9, _ and -.")
        config = make_brand(brand, {}, settings.crawl, site=False)
    receipt = hand_over(stores.pages, stores.ledger, config, given, settings.crawl, time.time())
    if brand not in stores.catalog.brands():
        stores.catalog.save_brand(brand, {}, receipt="")
    return receipt


def publish_here(settings: Settings, stores: Stores, brand: str, wait_s: float) -> EmbedReport:
    """Publish a brand of which a few documents changed in this process, without Ray; loads the model.

    ``wait_s``: how long to wait for another run on the brand. Raises TooMany, LeaseHeld, StoreError when the disk
    refuses, and what else BrandIndexer raises.
    """

    model = cache(lambda: load_embedder(settings.embedding))

    def embed(order: EmbedOrder) -> Mapping[str, int]:
        if len(order.documents) > MAX_DOCUMENTS:
            raise TooMany
        return embed_here(settings, order, model())

    gate = publish_gate(settings, model, QUESTIONS)
    try:
        with (
            _vectors_here(settings, stores, brand) as vectors,
            Lease(stores.ledger, brand, label="embed", ttl_s=settings.crawl.lease_s, wait_s=wait_s) as lease,
        ):
            return BrandIndexer(settings, stores, embed, vectors, gate).index(brand, lease)
    except OSError as error:
        raise out_of_order(error) from error


@contextmanager
def _vectors_here(settings: Settings, stores: Stores, brand: str) -> Iterator[VectorStore | None]:
    """The vector store, if the brand is searched through it; the next publish with Ray fills in the others.

    The embedded one may be opened here, for no Backline runs that would own it. None when it cannot be opened: a
    generation is searched without it, too.
    """
    sizes = [row.chunks for row in stores.catalog.generations(brand)]
    if not settings.chroma.fill or max(sizes, default=0) <= settings.index.exact_max_chunks:
        yield None
        return
    try:
        store = open_store(settings.chroma, settings.data_dir / "chroma")
    except (VectorStoreLocked, VectorStoreDown) as error:
        log.warning("vector_store_not_opened", brand=brand, error=str(error))
        yield None
        return
    with closing(store):
        yield store


def _give_memory_back() -> None:
    """This process is idle most of the time; glibc would keep what loading and building have freed (some 250 MB)."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)
    if trim is not None:
        trim(0)


def _is_open(task: Task) -> bool:
    """Whether this process is to see to it: a job sees to those that have one."""
    return task.kind == KIND and not task.submission_id and task.state in (TaskState.QUEUED, TaskState.RUNNING)


def _result(task: Task, report: EmbedReport) -> dict[str, Any]:
    """Of a document's task the report; of a brand's what its job would say."""
    if "document" in task.payload:
        return report.as_dict()
    return {"brands": [BrandResult(report.brand, embed=report).as_dict()]}


def _in_words(brand: str, error: BaseException) -> str:
    if isinstance(error, OSError):
        error = out_of_order(error)
    if isinstance(error, BacklineError):
        log.error("brand_failed", brand=brand, error=error.kind, detail=str(error))
        return str(error)
    log.error("brand_failed", brand=brand, error=type(error).__name__, exc_info=error)
    return f"A worker failed: {type(error).__name__}. The log of the indexer says more."


class IndexerActor:
    """Ray's side of an Indexer: works from the moment it is made, also after a restart."""

    def __init__(self, settings: Settings) -> None:
        configure(settings.log, component=NAME)
        os.nice(NICENESS)
        threads = min(MAX_THREADS, os.cpu_count() or 1)
        self._indexer = Indexer(
            settings,
            open_stores(settings),
            lambda: load_embedder(settings.embedding, threads),
            vector_store(settings) if settings.chroma.fill else None,
            RemoteJobBoard(settings),
            lambda model: publish_gate(settings, model, QUESTIONS),
        )
        self._indexer.start()

    def hand_over(self, brand: str, given: Handed) -> Receipt:
        """See DocumentDesk."""
        return self._indexer.hand_over(brand, given)

    def publish(self, task_id: str) -> None:
        """See DocumentDesk."""
        self._indexer.publish(task_id)


class RemoteIndexer:
    """The DocumentDesk of other processes; the first call makes the actor, if nobody has."""

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def hand_over(self, brand: str, given: Handed) -> Receipt:
        """See DocumentDesk."""
        receipt: Receipt = self._call("hand_over", brand, given)
        return receipt

    def publish(self, task_id: str) -> None:
        """See DocumentDesk."""
        self._call("publish", task_id)

    def _call(self, method: str, *args: Any) -> Any:
        return ask(self._settings, ensure_indexer(self._settings), method, *args, what="indexer")


def ensure_indexer(settings: Settings) -> Any:
    """The cluster's indexer, made if it is not there; returns before its model is loaded."""
    options = named(settings, NAME, max_task_retries=3, max_concurrency=CALLS)  # every call may be repeated
    return ray.remote(IndexerActor).options(**options).remote(settings)
