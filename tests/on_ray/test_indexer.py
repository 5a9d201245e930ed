"""Documents handed over to the process that publishes them, in this process and without Ray."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from types import SimpleNamespace
from typing import Any

import pytest
from sqlalchemy import delete

from ray_app.config import Settings
from ray_app.errors import (
    BacklineError,
    ClusterUnavailable,
    ConfigError,
    InputError,
    LeaseLost,
    StoreUnavailable,
    VectorStoreDown,
    VectorStoreLocked,
)
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_path
from ray_app.ingest import indexing
from ray_app.ingest.handed import Handed, Receipt
from ray_app.ingest.indexing import BrandIndexer
from ray_app.ingest.stages import embed_here
from ray_app.on_ray import indexer as module
from ray_app.on_ray.indexer import Indexer
from ray_app.on_ray.targets import known
from ray_app.records import TaskState
from ray_app.store.lease import Lease
from ray_app.store.ledger import Holder
from ray_app.store.schema import tasks
from ray_app.store.stores import Stores, stores
from ray_app.store.tasks import Task
from ray_app.testing.fakes import HashEmbedder

WAIT_S = 20.0
TEXT = Handed(b"# Reset\n\nHold SHIFT while switching on.\n", "markdown", name="reset.md")


class Board:
    """Keeps what was submitted."""

    def __init__(self) -> None:
        self.jobs: list[tuple[str, str, list[str]]] = []
        self.refuses = False

    def submit(self, submission_id: str, job: str, args: Sequence[str]) -> bool:
        if self.refuses:
            raise ClusterUnavailable("Nothing there.")
        self.jobs.append((submission_id, job, list(args)))
        return True

    def state(self, submission_id: str) -> str | None:
        return "running"


class Desk:
    """An indexer and those who use it."""

    def __init__(self, settings: Settings, opened: Stores) -> None:
        self.settings = settings
        self.stores = opened
        self.board = Board()
        self.embedder = HashEmbedder()
        self.load: Callable[[], HashEmbedder] = lambda: self.embedder
        self.indexer = self.new()

    def new(self) -> Indexer:
        return Indexer(self.settings, self.stores, lambda: self.load(), board=self.board)  # noqa: PLW0108  # it may be changed

    def hand(self, brand: str = "acme", given: Handed = TEXT) -> str:
        """The id of the task."""
        receipt = self.indexer.hand_over(brand, given)
        return self.task(brand, receipt)

    def task(self, brand: str, receipt: Receipt | None = None) -> str:
        payload: dict[str, Any] = {"brand": brand} | ({"document": {"url": receipt.url}} if receipt else {})
        task_id = self.stores.tasks.create("embed", payload, time.time())
        self.indexer.publish(task_id)
        return task_id

    def get(self, task_id: str) -> Task:
        task = self.stores.tasks.get(task_id)
        assert task is not None
        return task

    def ended(self, task_id: str) -> Task:
        return self.until(task_id, lambda task: task.state in (TaskState.DONE, TaskState.FAILED))

    def until(self, task_id: str, holds: Callable[[Task], bool]) -> Task:
        deadline = time.monotonic() + WAIT_S
        while not holds(task := self.get(task_id)):
            assert time.monotonic() < deadline, task
            time.sleep(0.02)
        return task

    def live(self, brand: str = "acme") -> dict[str, str]:
        """The texts of the live generation by URL."""
        name = self.stores.catalog.live(brand)
        if name is None:
            return {}
        generation = Generation.open(generation_path(self.stores.index_root, brand, name))
        return {chunk.url: chunk.text for chunk in generation.chunks()}


@pytest.fixture
def desk(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> Iterator[Desk]:
    monkeypatch.setattr(indexing, "model_id", lambda _: HashEmbedder().model)
    with stores(settings) as opened:
        desk = Desk(settings, opened)
        yield desk
        desk.indexer.close()


def test_a_document_for_a_new_brand_is_live_when_its_task_is_done(desk: Desk) -> None:
    desk.indexer.start()
    task = desk.ended(desk.hand())
    assert task.state is TaskState.DONE
    assert task.result is not None
    assert task.result["generation"] == desk.stores.catalog.live("acme")
    assert (task.result["chunks"], task.result["published"], task.result["documents"]) == (1, True, 1)
    assert desk.live() == {"document://acme/reset.md": "Hold SHIFT while switching on."}
    assert known(desk.settings, desk.stores.catalog)["acme"].start_urls == ()


def test_the_same_document_again_makes_no_generation(desk: Desk) -> None:
    desk.indexer.start()
    first, second = (desk.ended(desk.hand()).result for _ in range(2))
    assert first is not None
    assert second is not None
    assert (second["generation"], second["published"], second["why"]) == (first["generation"], False, "unchanged")


def test_documents_that_wait_for_one_brand_are_published_together(desk: Desk) -> None:
    tasks = [desk.hand(given=Handed(f"Text {n}.".encode(), "text", name=f"{n}.txt")) for n in range(3)]
    desk.indexer.start()
    results = [desk.ended(task).result for task in tasks]
    assert len(desk.live()) == 3
    assert len({result["generation"] for result in results if result}) == 1
    assert len(desk.stores.catalog.generations("acme")) == 1


def test_while_another_run_holds_the_brand_the_task_says_so_and_waits(desk: Desk) -> None:
    desk.indexer.start()
    with Lease(desk.stores.ledger, "acme", label="ingest", ttl_s=60):
        task_id = desk.hand()
        task = desk.until(task_id, lambda task: task.result is not None)
        assert task.state is TaskState.QUEUED
        assert task.result is not None
        assert "held by ingest" in task.result["waiting"]
        assert len(desk.stores.ledger.documents("acme")) == 1, "it is stored all the same"
        other = desk.ended(desk.hand("other"))
        assert other.state is TaskState.DONE, "nobody waits for another brand"
    assert desk.ended(task_id).state is TaskState.DONE
    assert len(desk.live()) == 1


def test_the_run_that_holds_the_brand_may_publish_it(desk: Desk) -> None:
    desk.indexer.start()

    def embed(order: Any) -> Any:
        return embed_here(desk.settings, order, desk.embedder)

    with Lease(desk.stores.ledger, "acme", label="ingest", ttl_s=60) as lease:
        task_id = desk.hand()
        report = BrandIndexer(desk.settings, desk.stores, embed).index("acme", lease)
        assert list(desk.live()) == ["document://acme/reset.md"]
    result = desk.ended(task_id).result
    assert result is not None
    assert (result["generation"], result["published"]) == (report.generation, False)


def test_a_new_process_takes_up_what_the_last_one_left(desk: Desk) -> None:
    task_id = desk.hand()
    running = desk.hand("other")
    desk.stores.tasks.update(running, state=TaskState.RUNNING, now=time.time())
    jobs = desk.stores.tasks.create("embed", {"brand": "acme"}, time.time())
    desk.stores.tasks.update(jobs, submission_id="job", now=time.time())
    desk.indexer.close()
    desk.indexer = desk.new()
    desk.indexer.start()
    assert desk.ended(task_id).state is desk.ended(running).state is TaskState.DONE
    assert desk.get(jobs).state is TaskState.QUEUED, "a job sees to it"


def test_a_task_that_lost_its_brand_or_was_deleted_keeps_nobody_waiting(desk: Desk) -> None:
    nameless = desk.stores.tasks.create("embed", {}, time.time())
    deleted, waiting = desk.hand(), desk.hand()
    with desk.stores.db.write() as conn:
        conn.execute(delete(tasks).where(tasks.c.id == deleted))
    desk.indexer.start()
    assert desk.ended(nameless).state is TaskState.FAILED
    assert desk.ended(waiting).state is TaskState.DONE


def test_a_holder_that_died_is_followed_at_once(desk: Desk) -> None:
    dead = Holder(Holder.current("x").host, 2**22 + 1, 1.0, "indexer")
    desk.stores.ledger.acquire("acme", dead, time.time(), 3600.0)
    desk.indexer.start()
    assert desk.ended(desk.hand()).state is TaskState.DONE


def test_a_brand_lost_on_the_way_is_tried_again(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    real, calls = BrandIndexer.index, []

    def once(self: BrandIndexer, brand: str, lease: Lease, **options: bool) -> Any:
        calls.append(brand)
        if len(calls) == 1:
            raise LeaseLost
        return real(self, brand, lease, **options)

    monkeypatch.setattr(BrandIndexer, "index", once)
    desk.indexer.start()
    assert desk.ended(desk.hand()).state is TaskState.DONE
    assert calls == ["acme", "acme"]


def test_more_than_a_few_documents_become_a_job(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MAX_DOCUMENTS", 1)
    first, second = desk.hand(), desk.hand(given=Handed(b"Another.", "text", name="b.txt"))
    desk.indexer.start()
    task = desk.until(second, lambda task: task.submission_id is not None)
    assert task.state is not TaskState.DONE
    assert sorted(job[0] for job in desk.board.jobs) == sorted((f"task-{first}", f"task-{second}"))
    assert desk.board.jobs[0][1:] == ("embed", ["--brand=acme", f"--task-id={first}", "--wait=3600"])
    desk.board.refuses = True
    third = desk.ended(desk.task("acme"))
    assert third.state is TaskState.FAILED
    assert third.error is not None
    assert "Nothing there." in third.error


def test_what_goes_wrong_is_told_and_the_document_stays(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    errors: list[Exception] = [OSError(28, "No space left on device"), ValueError("odd"), ConfigError("No model.")]
    told = ["No space left on device", "ValueError", "No model."]

    def fail(*_: Any, **__: Any) -> None:
        raise errors.pop(0)

    with monkeypatch.context() as patch:
        patch.setattr(BrandIndexer, "index", fail)
        desk.indexer.start()
        for words in told:
            task = desk.ended(desk.hand())
            assert task.state is TaskState.FAILED
            assert task.error is not None
            assert words in task.error
    assert desk.ended(desk.task("acme")).state is TaskState.DONE
    assert len(desk.live()) == 1


def test_sql_that_goes_away_loses_no_task(desk: Desk, monkeypatch: pytest.MonkeyPatch) -> None:
    away = threading.Event()
    away.set()
    update, unfinished = desk.stores.tasks.update, desk.stores.tasks.unfinished

    def or_refuse(call: Callable[..., Any]) -> Callable[..., Any]:
        def called(*args: Any, **kwargs: Any) -> Any:
            if away.is_set():
                raise StoreUnavailable
            return call(*args, **kwargs)

        return called

    monkeypatch.setattr(type(desk.stores.tasks), "update", lambda _, *a, **k: or_refuse(update)(*a, **k))
    monkeypatch.setattr(type(desk.stores.tasks), "unfinished", lambda _, *a: or_refuse(unfinished)(*a))
    task_id = desk.hand()
    desk.indexer.start()
    time.sleep(0.6)
    assert desk.get(task_id).state is TaskState.QUEUED
    away.clear()
    assert desk.ended(task_id).state is TaskState.DONE


def test_a_model_that_cannot_be_loaded_fails_tasks_and_not_the_process(desk: Desk) -> None:
    def refuse() -> HashEmbedder:
        raise ConfigError("No such model.")

    desk.load = refuse
    desk.indexer.start()
    task = desk.ended(desk.hand())
    assert task.error is not None
    assert "No such model." in task.error
    desk.load = HashEmbedder
    assert desk.ended(desk.task("acme")).state is TaskState.DONE


def test_a_brand_needs_a_name_that_can_be_one(desk: Desk) -> None:
    with pytest.raises(InputError, match="name"):
        desk.indexer.hand_over("../etc", TEXT)
    with pytest.raises(InputError, match="no text"):
        desk.indexer.hand_over("fine", Handed(b"", "text"))
    assert desk.stores.catalog.brands() == [], "what is refused makes no brand"


@pytest.mark.parametrize("error", [VectorStoreLocked, VectorStoreDown])
def test_publishing_here_goes_on_without_a_vector_store_and_closes_the_one_it_has(
    settings: Settings, monkeypatch: pytest.MonkeyPatch, error: type[BacklineError]
) -> None:
    large = SimpleNamespace(chunks=settings.index.exact_max_chunks + 1)
    opened: Any = SimpleNamespace(catalog=SimpleNamespace(generations=lambda _: [large]))
    store = SimpleNamespace(closed=False)
    store.close = lambda: setattr(store, "closed", True)
    monkeypatch.setattr(module, "open_store", lambda *_: store)
    with module._vectors_here(settings, opened, "acme") as vectors:
        assert vectors is store
        assert not store.closed
    assert store.closed

    def refuse(*_: object) -> None:
        raise error("Not here.")

    monkeypatch.setattr(module, "open_store", refuse)
    with module._vectors_here(settings, opened, "acme") as vectors:
        assert vectors is None
