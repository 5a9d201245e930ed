"""Submits what is due and keeps account of it. One of these runs, inside the scheduler actor."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ray_app.errors import BacklineError
from ray_app.observe.log import get_logger
from ray_app.schedule.plan import DueRun, JobSpec, due, submission_id
from ray_app.store.tasks import ScheduleRuns

log = get_logger(__name__)

# States of a run in SQL: claimed (its slot is taken), submitted (the cluster has the job), then how it ended.
CLAIMED, SUBMITTED, DONE, FAILED, LOST = "claimed", "submitted", "done", "failed", "lost"
INSTALLED = "installed"  # no run: from this moment on the job's slots count, also after a restart


class JobBoard(Protocol):
    """Where jobs are submitted. Both calls raise a retryable BacklineError when it cannot be reached."""

    def submit(self, submission_id: str, job: str, args: Sequence[str]) -> bool:
        """Have ``jobs/<job>.py`` run under that id; False when a job of that id is there already."""
        ...

    def state(self, submission_id: str) -> str | None:
        """``running``, ``done``, ``failed``, or None when no job of that id is known."""
        ...


class ScheduleRunner:
    """Each slot of each job is submitted once, whatever is killed in between.

    The slot is claimed in SQL first, then submitted under an id made from job and slot; a claim whose submission
    a kill prevented is submitted again by the next tick, and the cluster refuses a second job of the same id.
    """

    def __init__(self, jobs: Sequence[JobSpec], runs: ScheduleRuns, board: JobBoard) -> None:
        self._jobs = {job.name: job for job in jobs}
        self._runs = runs
        self._board = board

    def tick(self, now: float) -> list[str]:
        """Take in what has ended, submit what is due; returns the submission ids sent now."""
        self._follow_up(now)
        last = {name: self._last_slot(name, now) for name in self._jobs}
        return [sent for run in due(self._jobs.values(), last, now, now) if (sent := self._start(run, now))]

    def _last_slot(self, name: str, now: float) -> float:
        """The latest slot of a job; one never seen before counts from now."""
        slot = self._runs.last_slot(name)
        if slot is not None:
            return slot
        if self._runs.claim(name, now, "", now):
            self._runs.finish(name, now, INSTALLED, "", now)
        return now

    def run_now(self, name: str, now: float) -> str:
        """Submit a job outside its schedule; returns the submission id. KeyError for an unknown job."""
        job = self._jobs[name]
        run_id = f"manual-{submission_id(name, now).removeprefix('sched-')}"
        self._board.submit(run_id, job.job, job.args)
        if self._runs.claim(name, now, run_id, now):
            self._runs.mark(name, now, SUBMITTED)
        log.info("schedule_run_submitted", job=name, submission_id=run_id, manual=True)
        return run_id

    def _start(self, run: DueRun, now: float) -> str | None:
        if not self._runs.claim(run.job.name, run.slot, run.submission_id, now):
            return None
        return self._submit(run.job, run.slot, run.submission_id, now)

    def _submit(self, job: JobSpec, slot: float, run_id: str, now: float) -> str | None:
        try:
            self._board.submit(run_id, job.job, job.args)
        except BacklineError as error:
            if error.retryable:
                log.warning("schedule_submit_delayed", job=job.name, submission_id=run_id, detail=str(error))
                return None  # the claim stands; the next tick submits it
            self._runs.finish(job.name, slot, FAILED, str(error), now)
            log.error("schedule_submit_failed", job=job.name, submission_id=run_id, detail=str(error))
            return None
        self._runs.mark(job.name, slot, SUBMITTED)
        log.info("schedule_run_submitted", job=job.name, submission_id=run_id, manual=False)
        return run_id

    def _follow_up(self, now: float) -> None:
        for run in self._runs.unfinished():
            try:
                state = self._board.state(run.submission_id)
            except BacklineError as error:
                log.warning("schedule_board_unreachable", detail=str(error))
                return
            if state in (DONE, FAILED):
                self._runs.finish(run.job, run.slot, state, "", now)
            elif state is None and run.state == CLAIMED and run.job in self._jobs:
                self._submit(self._jobs[run.job], run.slot, run.submission_id, now)
            elif state is None:
                self._runs.finish(run.job, run.slot, LOST, "the cluster no longer knows this job", now)
