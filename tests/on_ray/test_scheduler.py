"""The scheduler actor: it submits real Ray jobs, and a kill does not stop it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable

import pytest
import ray
from ray.util.state import get_actor

from ray_app.config import Settings
from ray_app.on_ray.scheduler import ensure_scheduler, run_now, schedule
from ray_app.store.stores import Stores

pytestmark = [pytest.mark.on_ray, pytest.mark.timeout(200)]


def eventually(check: Callable[[], bool], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.3)


def test_the_seven_jobs_are_planned_and_none_runs_at_once(cluster: Settings, stores: Stores) -> None:
    assert len(schedule(cluster)) == 7
    assert ray.get(ensure_scheduler(cluster).alive.remote())
    eventually(lambda: len({run.job for run in stores.runs.history(limit=50)}) == 7)


def test_a_job_runs_as_a_ray_job_and_its_end_is_recorded(cluster: Settings, stores: Stores) -> None:
    run_id = run_now(cluster, "cache-cleanup")
    eventually(
        lambda: any(r.submission_id == run_id and r.state == "done" for r in stores.runs.history("cache-cleanup"))
    )


def test_after_a_kill_it_goes_on_where_it_was(cluster: Settings, stores: Stores) -> None:
    scheduler = ensure_scheduler(cluster)
    before = get_actor(scheduler._actor_id.hex())
    assert before
    os.kill(before.pid, signal.SIGKILL)
    eventually(lambda: (now := get_actor(scheduler._actor_id.hex())) is not None and now.pid not in (0, before.pid))
    run_id = run_now(cluster, "old-tasks")
    eventually(lambda: any(r.submission_id == run_id and r.state == "done" for r in stores.runs.history("old-tasks")))
    installed = [run for run in stores.runs.history("full-scrape") if run.state == "installed"]
    assert len(installed) == 1, "the restart must not count the jobs from now on anew"
