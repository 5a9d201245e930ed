"""The named scheduler actor: one per cluster, restarted by Ray, with its state in SQL."""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import Any

import ray

from ray_app.config import Settings
from ray_app.errors import BacklineError
from ray_app.observe.log import configure, get_logger
from ray_app.on_ray.job_board import ON_HEAD, RayJobBoard
from ray_app.on_ray.named import named
from ray_app.schedule.plan import JobSpec, load_schedule
from ray_app.schedule.runner import ScheduleRunner
from ray_app.store.stores import open_stores

NAME = "scheduler"
log = get_logger(__name__)


class SchedulerActor:
    """Ray's side of a ScheduleRunner: ticks in a thread from the moment it is made, also after a restart."""

    def __init__(self, settings: Settings) -> None:
        configure(settings.log, component=NAME)
        self._tick_s = settings.schedule.tick_s
        self._runner = ScheduleRunner(schedule(settings), open_stores(settings).runs, RayJobBoard(settings))
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._loop, name="ticks", daemon=True)
        self._thread.start()

    def _loop(self) -> None:
        log.info("scheduler_started")
        while not self._stop.wait(self._tick_s):
            try:
                self._runner.tick(time.time())
            except BacklineError as error:
                # SQL away for a moment: nothing is lost, the next tick finds the same slots due.
                log.error("scheduler_tick_failed", error=error.kind, detail=str(error))

    def alive(self) -> bool:
        """Whether the ticking thread runs."""
        return self._thread.is_alive()

    def run_now(self, name: str, at: float) -> str:
        """Submit one job at once; returns the submission id, which is the same for the same moment."""
        return self._runner.run_now(name, at)


def schedule(settings: Settings) -> list[JobSpec]:
    """The recurring jobs in force. Raises ScheduleError."""
    path = Path(settings.schedule.file).expanduser() if settings.schedule.file else None
    return load_schedule(path, settings.schedule.timezone)


def ensure_scheduler(settings: Settings) -> Any:
    """The cluster's scheduler actor, made if it is not there."""
    schedule(settings)  # a wrong file is told to the caller, not to a log
    # Every call may be repeated.
    options = named(settings, NAME, max_task_retries=5, max_concurrency=4, resources=ON_HEAD)
    return ray.remote(SchedulerActor).options(**options).remote(settings)


def run_now(settings: Settings, name: str) -> str:
    """Have the scheduler submit one of its jobs at once; returns the submission id."""
    return str(ray.get(ensure_scheduler(settings).run_now.remote(name, time.time())))
