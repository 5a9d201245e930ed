"""Work that was asked for, and the runs of the schedule."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from uuid import uuid4

from sqlalchemy import Select, and_, delete, func, select, update

from ray_app.errors import StoreError
from ray_app.records import TaskState
from ray_app.store.db import Database, insert
from ray_app.store.schema import schedule_runs, tasks
from ray_app.store.settle import plain

ERROR_CHARS = 2_000  # of an error's text; the whole of it is in the log
DETAIL_CHARS = 2_000  # of a run's detail, likewise


@dataclass(frozen=True, slots=True)
class Task:
    """One piece of work. Times are POSIX seconds."""

    task_id: str
    kind: str
    state: TaskState
    payload: dict[str, Any]
    result: dict[str, Any] | None
    error: str | None
    submission_id: str | None  # of the Ray job that does it
    created_at: float
    updated_at: float


class Tasks:
    """Methods raise StoreUnavailable when SQL cannot be reached."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def create(self, kind: str, payload: Mapping[str, Any], now: float) -> str:
        """Records a queued task; ``payload`` must be JSON. Returns its id, 32 hex digits."""
        task_id = uuid4().hex
        row = {"id": task_id, "kind": kind, "state": TaskState.QUEUED.value, "payload": dict(payload)}
        with self._db.write() as conn:
            conn.execute(insert(conn, tasks).values(**row, created_at=now, updated_at=now))
        return task_id

    def get(self, task_id: str) -> Task | None:
        """The task, or None when there is none of that id."""
        found = self._tasks(select(tasks).where(tasks.c.id == plain(task_id, 64)))
        return found[0] if found else None

    def update(
        self,
        task_id: str,
        *,
        state: TaskState | None = None,
        result: Mapping[str, Any] | None = None,
        error: str | None = None,
        submission_id: str | None = None,
        now: float,
    ) -> None:
        """Changes what is not None. Raises StoreError when there is no such task."""
        changes: dict[str, Any] = {
            "state": None if state is None else state.value,
            "result": None if result is None else dict(result),
            "error": None if error is None else plain(error, ERROR_CHARS),
            "submission_id": submission_id,
        }
        changes = {name: value for name, value in changes.items() if value is not None}
        with self._db.write() as conn:
            done = conn.execute(update(tasks).where(tasks.c.id == task_id).values(**changes, updated_at=now))
            if done.rowcount == 0:
                raise StoreError(f"There is no task {task_id}.")

    def recent(self, limit: int = 50) -> list[Task]:
        """The newest tasks, newest first."""
        return self._tasks(select(tasks).order_by(tasks.c.created_at.desc(), tasks.c.id.desc()).limit(limit))

    def unfinished(self, kind: str) -> list[Task]:
        """The queued and running tasks of a kind, oldest first."""
        open_ = tasks.c.state.in_([TaskState.QUEUED.value, TaskState.RUNNING.value])
        return self._tasks(select(tasks).where(tasks.c.kind == kind, open_).order_by(tasks.c.created_at, tasks.c.id))

    def counts(self) -> dict[tuple[str, TaskState], int]:
        """Tasks by (kind, state)."""
        query = select(tasks.c.kind, tasks.c.state, func.count()).group_by(tasks.c.kind, tasks.c.state)
        with self._db.read() as conn:
            return {(kind, TaskState(state)): count for kind, state, count in conn.execute(query)}

    def delete_before(self, before: float) -> int:
        """Forgets tasks that ended before; returns how many."""
        ended = tasks.c.state.in_([TaskState.DONE.value, TaskState.FAILED.value, TaskState.CANCELLED.value])
        with self._db.write() as conn:
            return conn.execute(delete(tasks).where(ended, tasks.c.updated_at < before)).rowcount

    def _tasks(self, query: Select[Any]) -> list[Task]:
        with self._db.read() as conn:
            return [
                Task(
                    task_id=row["id"],
                    kind=row["kind"],
                    state=TaskState(row["state"]),
                    payload=row["payload"],
                    result=row["result"],
                    error=row["error"] or None,
                    submission_id=row["submission_id"] or None,
                    created_at=row["created_at"],
                    updated_at=row["updated_at"],
                )
                for row in conn.execute(query).mappings()
            ]


@dataclass(frozen=True, slots=True)
class ScheduleRun:
    """One slot of a recurring job. Times are POSIX seconds."""

    job: str
    slot: float  # the tick it stands for
    submission_id: str
    state: str  # "claimed" at first, then what the scheduler makes of it
    detail: str
    claimed_at: float
    finished_at: float | None


class ScheduleRuns:
    """Methods raise StoreUnavailable when SQL cannot be reached."""

    def __init__(self, db: Database) -> None:
        self._db = db

    def claim(self, job: str, slot: float, submission_id: str, now: float) -> bool:
        """Takes a slot; False when it is taken already, by whomever."""
        row = {"job": job, "slot": slot, "submission_id": submission_id, "state": "claimed", "claimed_at": now}
        with self._db.write() as conn:
            # Not by rowcount: the PostgreSQL driver does not tell it for an INSERT.
            claim = insert(conn, schedule_runs).values(row).on_conflict_do_nothing()
            return conn.execute(claim.returning(schedule_runs.c.slot)).one_or_none() is not None

    def mark(self, job: str, slot: float, state: str) -> None:
        """How an unfinished run stands; a finished one stays as it is."""
        self._change(job, slot, {"state": state})

    def finish(self, job: str, slot: float, state: str, detail: str, now: float) -> None:
        """How a run ended; the first word stands."""
        self._change(job, slot, {"state": state, "detail": plain(detail, DETAIL_CHARS), "finished_at": now})

    def history(self, job: str | None = None, limit: int = 50) -> list[ScheduleRun]:
        """The newest runs of one job or of all, newest first."""
        query = select(schedule_runs).order_by(schedule_runs.c.slot.desc(), schedule_runs.c.job).limit(limit)
        return self._runs(query if job is None else query.where(schedule_runs.c.job == job))

    def last_slot(self, job: str) -> float | None:
        """The latest slot that was claimed for a job."""
        with self._db.read() as conn:
            slot: float | None = conn.scalar(select(func.max(schedule_runs.c.slot)).where(schedule_runs.c.job == job))
        return slot

    def unfinished(self) -> list[ScheduleRun]:
        """Runs that have not ended as far as is known, oldest first."""
        query = select(schedule_runs).where(schedule_runs.c.finished_at.is_(None))
        return self._runs(query.order_by(schedule_runs.c.slot, schedule_runs.c.job))

    def delete_before(self, before: float) -> int:
        """Forgets runs that ended before, but for the latest of each job; returns how many."""
        latest = select(func.max(schedule_runs.c.slot)).group_by(schedule_runs.c.job)
        old = and_(schedule_runs.c.finished_at < before, schedule_runs.c.slot.not_in(latest))
        with self._db.write() as conn:
            return conn.execute(delete(schedule_runs).where(old)).rowcount

    def _change(self, job: str, slot: float, values: Mapping[str, Any]) -> None:
        this = and_(schedule_runs.c.job == job, schedule_runs.c.slot == slot, schedule_runs.c.finished_at.is_(None))
        with self._db.write() as conn:
            conn.execute(update(schedule_runs).where(this).values(**values))

    def _runs(self, query: Select[Any]) -> list[ScheduleRun]:
        with self._db.read() as conn:
            return [ScheduleRun(**row) for row in conn.execute(query).mappings()]
