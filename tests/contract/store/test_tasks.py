from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from ray_app.errors import StoreError
from ray_app.records import TaskState
from ray_app.store.db import Database
from ray_app.store.tasks import ScheduleRun, ScheduleRuns, Task, Tasks


@pytest.fixture
def tasks(db: Database) -> Tasks:
    return Tasks(db)


@pytest.fixture
def runs(db: Database) -> ScheduleRuns:
    return ScheduleRuns(db)


def test_a_task_from_birth_to_end(tasks: Tasks) -> None:
    task_id = tasks.create("embed", {"brand": "acme", "odd": "\0ü\ud800"}, now=1.0)
    payload = {"brand": "acme", "odd": "\0ü\ud800"}
    assert tasks.get(task_id) == Task(task_id, "embed", TaskState.QUEUED, payload, None, None, None, 1.0, 1.0)
    tasks.update(task_id, state=TaskState.RUNNING, submission_id="job-1", now=2.0)
    tasks.update(task_id, state=TaskState.DONE, result={"chunks": 3}, now=3.0)
    done = tasks.get(task_id)
    assert done is not None
    assert (done.state, done.result, done.submission_id, done.updated_at) == ("done", {"chunks": 3}, "job-1", 3.0)


def test_an_error_is_kept_within_bounds(tasks: Tasks) -> None:
    task_id = tasks.create("embed", {}, now=1.0)
    tasks.update(task_id, state=TaskState.FAILED, error="bad\0 " + "x" * 10_000, now=2.0)
    failed = tasks.get(task_id)
    assert failed is not None and failed.error is not None
    assert failed.error.startswith("bad xx") and len(failed.error) <= 2_000


@pytest.mark.parametrize("task_id", ["", "nope", "a\0b", "\ud800", "x" * 10_000])
def test_no_such_task(tasks: Tasks, task_id: str) -> None:
    assert tasks.get(task_id) is None


def test_a_task_that_is_not_there_cannot_change(tasks: Tasks) -> None:
    with pytest.raises(StoreError, match="nope"):
        tasks.update("nope", state=TaskState.DONE, now=1.0)


def test_recent_and_counts(tasks: Tasks) -> None:
    ids = [tasks.create("scrape" if n % 2 else "embed", {}, now=float(n)) for n in range(4)]
    tasks.update(ids[0], state=TaskState.DONE, now=9.0)
    assert [task.task_id for task in tasks.recent(3)] == ids[:0:-1]
    assert tasks.counts() == {("embed", "done"): 1, ("embed", "queued"): 1, ("scrape", "queued"): 2}


def test_a_slot_is_claimed_once(runs: ScheduleRuns) -> None:
    start = threading.Barrier(4)

    def claim(number: int) -> bool:
        start.wait()
        return runs.claim("delta", 1_800_000_000.0, f"s{number}", now=1.0)

    with ThreadPoolExecutor(4) as pool:
        won = list(pool.map(claim, range(4)))
    assert sorted(won) == [False, False, False, True]
    (run,) = runs.history("delta")
    assert run.submission_id == f"s{won.index(True)}"


def test_a_run_from_claim_to_end(runs: ScheduleRuns) -> None:
    assert runs.last_slot("delta") is None
    for slot in (100.0, 200.0):
        assert runs.claim("delta", slot, f"s{slot:.0f}", now=slot)
    runs.claim("full", 150.0, "f", now=150.0)
    runs.mark("delta", 100.0, "submitted")
    assert [(run.job, run.slot, run.state) for run in runs.unfinished()] == [
        ("delta", 100.0, "submitted"),
        ("full", 150.0, "claimed"),
        ("delta", 200.0, "claimed"),
    ]
    runs.finish("delta", 100.0, "done", "", now=300.0)
    runs.finish("delta", 100.0, "failed", "too late", now=400.0)
    runs.mark("delta", 100.0, "submitted")
    assert runs.last_slot("delta") == 200.0
    assert runs.history("delta")[-1] == ScheduleRun("delta", 100.0, "s100", "done", "", 100.0, 300.0)
    assert [run.slot for run in runs.history(limit=2)] == [200.0, 150.0]
    assert len(runs.unfinished()) == 2
