"""The schedule runner: each slot is submitted once, whatever fails in between."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from ray_app.errors import ClusterError, ClusterUnavailable
from ray_app.schedule.plan import JobSpec
from ray_app.schedule.runner import ScheduleRunner
from ray_app.store.db import Database
from ray_app.store.tasks import ScheduleRuns

HOUR = 3600.0
NINE = 1_700_000_000.0 - 1_700_000_000.0 % HOUR  # a full hour
JOB = JobSpec("tidy", "0 * * * *", "UTC", "cleanup", ("--x",))


class Board:
    """A cluster in memory; ``error`` is raised by every call while it is set."""

    def __init__(self) -> None:
        self.jobs: dict[str, str] = {}
        self.submitted: list[tuple[str, str, tuple[str, ...]]] = []
        self.error: Exception | None = None

    def submit(self, submission_id: str, job: str, args: Sequence[str]) -> bool:
        if self.error:
            raise self.error
        if submission_id in self.jobs:
            return False
        self.jobs[submission_id] = "running"
        self.submitted.append((submission_id, job, tuple(args)))
        return True

    def state(self, submission_id: str) -> str | None:
        if self.error:
            raise self.error
        return self.jobs.get(submission_id)


@pytest.fixture
def runs(tmp_path: Path) -> ScheduleRuns:
    return ScheduleRuns(Database(f"sqlite:///{tmp_path / 'x.db'}"))


@pytest.fixture
def board() -> Board:
    return Board()


@pytest.fixture
def runner(runs: ScheduleRuns, board: Board) -> ScheduleRunner:
    ready = ScheduleRunner([JOB], runs, board)
    ready.tick(NINE + 1)  # installed just after nine
    return ready


def states(runs: ScheduleRuns) -> list[str]:
    return [run.state for run in runs.history("tidy")]


def test_a_fresh_installation_runs_nothing(runner: ScheduleRunner, board: Board, runs: ScheduleRuns) -> None:
    assert board.submitted == []
    assert states(runs) == ["installed"]


def test_a_due_slot_is_submitted_once(runner: ScheduleRunner, board: Board) -> None:
    for second in range(3):
        runner.tick(NINE + HOUR + second)
    assert [(job, args) for _, job, args in board.submitted] == [("cleanup", ("--x",))]


def test_a_restart_neither_repeats_nor_forgets(runs: ScheduleRuns, board: Board, runner: ScheduleRunner) -> None:
    runner.tick(NINE + HOUR)
    ScheduleRunner([JOB], runs, board).tick(NINE + HOUR + 5)
    assert len(board.submitted) == 1
    ScheduleRunner([JOB], runs, board).tick(NINE + 2 * HOUR)
    assert len(board.submitted) == 2


def test_a_restart_before_the_first_slot_keeps_its_turn(runs: ScheduleRuns, board: Board) -> None:
    ScheduleRunner([JOB], runs, board).tick(NINE + 1)
    ScheduleRunner([JOB], runs, board).tick(NINE + HOUR + 1)
    assert len(board.submitted) == 1


def test_a_claim_whose_submission_failed_is_submitted_by_the_next_tick(
    runner: ScheduleRunner, board: Board, runs: ScheduleRuns
) -> None:
    board.error = ClusterUnavailable()
    assert runner.tick(NINE + HOUR) == []
    assert states(runs)[0] == "claimed"
    board.error = None
    runner.tick(NINE + HOUR + 5)
    assert len(board.submitted) == 1
    assert states(runs)[0] == "submitted"


def test_a_submission_that_reached_the_cluster_before_a_kill_is_not_repeated(
    runner: ScheduleRunner, board: Board, runs: ScheduleRuns
) -> None:
    runner.tick(NINE + HOUR)
    runs.mark("tidy", NINE + HOUR, "claimed")  # as if the process had died before it wrote "submitted"
    runner.tick(NINE + HOUR + 5)
    assert len(board.submitted) == 1


def test_a_refused_job_is_recorded_as_failed(runner: ScheduleRunner, board: Board, runs: ScheduleRuns) -> None:
    board.error = ClusterError("no such entry point")
    runner.tick(NINE + HOUR)
    assert states(runs)[0] == "failed"
    assert "no such entry point" in runs.history("tidy")[0].detail


@pytest.mark.parametrize(("ends", "state"), [("done", "done"), ("failed", "failed"), (None, "lost")])
def test_how_a_run_ended_is_written_down(
    runner: ScheduleRunner, board: Board, runs: ScheduleRuns, ends: str | None, state: str
) -> None:
    runner.tick(NINE + HOUR)
    (run_id,) = board.jobs
    if ends is None:
        board.jobs.clear()
    else:
        board.jobs[run_id] = ends
    runner.tick(NINE + HOUR + 5)
    assert states(runs)[0] == state


def test_a_manual_run_is_submitted_and_recorded(runner: ScheduleRunner, board: Board, runs: ScheduleRuns) -> None:
    run_id = runner.run_now("tidy", NINE + 60)
    assert board.jobs[run_id] == "running"
    assert states(runs)[0] == "submitted"
    with pytest.raises(KeyError):
        runner.run_now("nothing", NINE + 60)
