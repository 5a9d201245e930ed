"""The desks behind the API, in this process and without Ray."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import pytest

from ray_app.config import Settings
from ray_app.errors import ClusterUnavailable, InputError, UnknownBrand
from ray_app.ingest.handed import Handed, Receipt
from ray_app.on_ray import services
from ray_app.on_ray.services import Outside, TaskDesk, WriteWatch
from ray_app.records import TaskState
from ray_app.store.stores import Stores, stores

DOCUMENT: Mapping[str, Any] = {"url": "", "title": "Notes", "lang": "en", "markdown": "# Ä\n\nWords."}
RECEIPT = Receipt("document://acme/Notes", "Notes", "0" * 32, changed=True)


class Documents:
    """A desk that remembers what it was asked."""

    def __init__(self) -> None:
        self.handed: list[tuple[str, Handed]] = []
        self.published: list[str] = []
        self.away = False

    def hand_over(self, brand: str, given: Handed) -> Receipt:
        if not given.body:
            raise InputError("Nothing in it.")
        self.handed.append((brand, given))
        return RECEIPT

    def publish(self, task_id: str) -> None:
        if self.away:
            raise ClusterUnavailable
        self.published.append(task_id)


class Board:
    def __init__(self) -> None:
        self.jobs: list[str] = []

    def submit(self, submission_id: str, job: str, args: Sequence[str]) -> bool:
        self.jobs.append(job)
        return True

    def state(self, submission_id: str) -> str | None:
        return "running"


@pytest.fixture
def opened(settings: Settings) -> Iterator[Stores]:
    with stores(settings) as found:
        found.catalog.save_brand("acme", {"start_urls": ["https://acme.example/"]})
        yield found


@pytest.fixture
def documents() -> Documents:
    return Documents()


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def desk(settings: Settings, opened: Stores, documents: Documents, board: Board) -> TaskDesk:
    answerer: Any = None  # no question is asked
    return TaskDesk(settings, opened, answerer, Outside(board, documents=documents))


async def test_a_document_is_stored_before_its_task_is_there(desk: TaskDesk, documents: Documents) -> None:
    task = await desk.submit("embed", {"brand": "acme", "document": DOCUMENT})
    ((brand, given),) = documents.handed
    assert (brand, given) == ("acme", Handed("# Ä\n\nWords.".encode(), "markdown", "utf-8", "", "", "Notes", "en"))
    assert task.payload["document"]["url"] == RECEIPT.url
    assert "markdown" not in task.payload["document"], "a task keeps no texts"
    assert (task.state, documents.published) == (TaskState.QUEUED, [task.task_id])


async def test_of_a_document_that_is_refused_nothing_is_kept(desk: TaskDesk, opened: Stores) -> None:
    with pytest.raises(InputError, match="Nothing in it"):
        await desk.submit("embed", {"brand": "acme", "document": {**DOCUMENT, "markdown": ""}})
    assert opened.tasks.recent() == []


async def test_a_task_outlives_an_indexer_that_is_away(desk: TaskDesk, documents: Documents, opened: Stores) -> None:
    documents.away = True
    task = await desk.submit("embed", {"brand": "acme", "document": DOCUMENT})
    assert task.state is TaskState.QUEUED
    documents.away = False
    await desk.get(task.task_id)
    assert documents.published == [], "it has only just been asked"
    opened.tasks.update(task.task_id, now=time.time() - 60)
    again = await desk.get(task.task_id)
    assert again is not None
    assert (again.state, documents.published) == (TaskState.QUEUED, [task.task_id])


async def test_a_brand_is_embedded_at_once_but_not_before_a_crawl_that_was_asked_for(
    desk: TaskDesk, documents: Documents, board: Board, opened: Stores
) -> None:
    first = await desk.submit("embed", {"brand": "acme"})
    assert (documents.published, board.jobs) == ([first.task_id], [])
    crawl = await desk.submit("scrape", {"brand": "acme", "urls": [], "full": False})
    await desk.submit("embed", {"brand": "acme"})
    assert board.jobs == ["scrape", "embed"]
    opened.tasks.update(crawl.task_id, state=TaskState.DONE, now=time.time())
    last = await desk.submit("embed", {"brand": "acme"})
    assert documents.published == [first.task_id, last.task_id]


async def test_unknown_brands_and_no_cluster(settings: Settings, desk: TaskDesk, opened: Stores) -> None:
    with pytest.raises(UnknownBrand):
        await desk.submit("embed", {"brand": "nobody"})
    alone: Any = TaskDesk(settings, opened, None, Outside())  # type: ignore[arg-type]
    with pytest.raises(ClusterUnavailable, match="backline up"):
        await alone.submit("embed", {"brand": "acme", "document": DOCUMENT})
    assert opened.tasks.recent() == []


class Probe:
    def __init__(self) -> None:
        self.problem = ""
        self.calls = 0
        self.go = threading.Event()
        self.go.set()

    def __call__(self) -> str:
        self.calls += 1
        self.go.wait(10)
        return self.problem


async def test_what_is_known_of_writing_is_believed_for_a_moment(monkeypatch: pytest.MonkeyPatch) -> None:
    probe = Probe()
    watch = WriteWatch(probe)
    assert [await watch.reasons() for _ in range(3)] == [[], [], []]
    assert probe.calls == 1
    probe.problem = "No space left on device."
    monkeypatch.setattr(services, "WRITES_FRESH_S", 0.0)
    assert await watch.reasons() == ["No space left on device."]
    probe.problem = ""
    assert await watch.reasons() == []


async def test_a_disk_that_does_not_answer_keeps_nobody_waiting(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(services, "WRITES_WAIT_S", 0.02)
    monkeypatch.setattr(services, "WRITES_FRESH_S", 0.0)
    probe = Probe()
    probe.go.clear()
    watch = WriteWatch(probe)
    for _ in range(3):
        (reason,) = await watch.reasons()
        assert reason.startswith("A small write has taken")
    assert probe.calls == 1, "calls do not pile up"
    probe.go.set()
    monkeypatch.setattr(services, "WRITES_WAIT_S", 10.0)
    assert await watch.reasons() == []
