"""What the housekeeping jobs ask of the store."""

from __future__ import annotations

from pathlib import Path

from ray_app.records import TaskState
from ray_app.store.db import Database
from ray_app.store.tasks import ScheduleRuns, Tasks


def test_old_tasks_go_and_unfinished_ones_stay(tmp_path: Path) -> None:
    tasks = Tasks(Database(f"sqlite:///{tmp_path / 'x.db'}"))
    old, young, open_ = (tasks.create("embed", {}, 1.0) for _ in range(3))
    tasks.update(old, state=TaskState.DONE, now=10.0)
    tasks.update(young, state=TaskState.FAILED, error="no", now=100.0)
    assert tasks.delete_before(50.0) == 1
    assert tasks.get(old) is None
    assert tasks.get(young) is not None
    assert tasks.get(open_) is not None


def test_the_latest_run_of_a_job_is_kept_however_old(tmp_path: Path) -> None:
    runs = ScheduleRuns(Database(f"sqlite:///{tmp_path / 'x.db'}"))
    for job, slot in (("a", 1.0), ("a", 2.0), ("b", 3.0)):
        runs.claim(job, slot, f"{job}{slot}", slot)
        runs.finish(job, slot, "done", "", slot)
    assert runs.delete_before(50.0) == 1
    assert (runs.last_slot("a"), runs.last_slot("b")) == (2.0, 3.0)


def test_optimize_gives_pages_back(tmp_path: Path) -> None:
    file = tmp_path / "x.db"
    db = Database(f"sqlite:///{file}")
    tasks = Tasks(db)
    for _ in range(200):
        tasks.update(tasks.create("embed", {"x": "y" * 2_000}, 1.0), state=TaskState.DONE, now=1.0)
    tasks.delete_before(2.0)
    db.optimize()
    db.close()
    assert file.stat().st_size < 200_000
