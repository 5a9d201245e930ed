"""Which jobs recur, and which of them are due. The scheduler actor asks; this module only computes.

A schedule file holds the whole plan:

    jobs:
      - name: delta-scrape
        cron: "0 3 * * *"
        job: scrape                  # jobs/scrape.py
        args: ["--all", "--delta"]
        timezone: Europe/Berlin      # optional
        enabled: true                # optional
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from ray_app.errors import ScheduleError
from ray_app.schedule import cron

# A run missed by less than this is made up for, once. A day: daily jobs survive a night without power or
# a laptop that sleeps at 03:00; a weekly crawl missed on Sunday does not start in Tuesday's rush hour.
CATCH_UP_S = 86_400.0


@dataclass(frozen=True, slots=True)
class JobSpec:
    """One recurring job. ``load_schedule`` makes only usable ones."""

    name: str  # unique; part of the submission id
    cron: str
    timezone: str  # IANA name
    job: str  # entry point: jobs/<job>.py
    args: tuple[str, ...] = ()
    enabled: bool = True

    def next_tick(self, after: float) -> float:
        """POSIX time of the first slot later than ``after``. Raises ScheduleError for a wrong expression."""
        return cron.parse(self.cron, self.timezone).next_tick(after)


@dataclass(frozen=True, slots=True)
class DueRun:
    """A job to be submitted now for one slot of its schedule."""

    job: JobSpec
    slot: float  # POSIX seconds, whole

    @property
    def submission_id(self) -> str:
        return submission_id(self.job.name, self.slot)


class _Entry(BaseModel):
    """One item of a schedule file."""

    model_config = ConfigDict(extra="forbid", strict=True)

    name: str = Field(pattern=r"^[a-z0-9][a-z0-9-]{0,63}$")
    cron: str
    job: str = Field(pattern=r"^[a-z][a-z0-9_]{0,63}$")  # becomes a file name
    args: list[str] = []
    timezone: str = ""
    enabled: bool = True


def default_jobs(timezone: str = "UTC") -> list[JobSpec]:
    """The seven recurring jobs of a fresh installation."""
    return [
        JobSpec("full-scrape", "0 2 * * 0", timezone, "scrape", ("--all", "--full")),
        JobSpec("delta-scrape", "0 3 * * *", timezone, "scrape", ("--all", "--delta")),
        JobSpec("re-embed", "0 */6 * * *", timezone, "embed", ("--all",)),
        JobSpec("cache-cleanup", "15 * * * *", timezone, "cleanup"),
        JobSpec("health-check", "*/5 * * * *", timezone, "health_check"),
        JobSpec("old-tasks", "0 4 * * *", timezone, "retention"),
        JobSpec("optimize", "0 1 * * 1", timezone, "optimize"),
    ]


def load_schedule(path: Path | None, timezone: str = "UTC") -> list[JobSpec]:
    """The jobs of a schedule file in its order, or the defaults without one.

    ``timezone`` holds for jobs that name none. Raises ScheduleError naming file, job and field.
    """
    if path is None:
        cron.zone(timezone)
        return default_jobs(timezone)
    jobs = [_job(path, number, item, timezone) for number, item in enumerate(_items(path), start=1)]
    names = [job.name for job in jobs]
    if twice := sorted({name for name in names if names.count(name) > 1}):
        raise ScheduleError(f"{path}: job {twice[0]!r}: name: used more than once.")
    return jobs


def due(
    jobs: Iterable[JobSpec],
    last_slot: Mapping[str, float],
    now: float,
    started_at: float,
    window_s: float = CATCH_UP_S,
) -> list[DueRun]:
    """The runs to submit at ``now``, in the order of ``jobs``, at most one per job.

    ``last_slot`` holds the latest slot each job ran for; a job without one counts from ``started_at``, so
    that a fresh installation does not run everything at once. Of several missed slots only the latest
    runs, and only when it was missed by less than ``window_s``.
    """
    runs = []
    for job in jobs:
        if not job.enabled:
            continue
        seen = last_slot.get(job.name, started_at)
        if seen > now + window_s:  # written while the clock was wrong; believing it would stop the job for good
            seen = started_at
        slot = cron.parse(job.cron, job.timezone).latest_tick(now)
        if slot > seen and now - slot < window_s:
            runs.append(DueRun(job, slot))
    return runs


def submission_id(job: str, slot: float) -> str:
    """The same id for the same slot on any machine: Ray refuses the second submission under it."""
    return f"sched-{job}-{datetime.fromtimestamp(slot, UTC):%Y%m%dT%H%M%SZ}"


def _items(path: Path) -> list[Any]:
    try:
        content = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError) as error:
        raise ScheduleError(f"The schedule file {path} cannot be read: {error}.") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        place = f" in line {mark.line + 1}" if mark else ""
        raise ScheduleError(f"The schedule file {path} is not valid YAML{place}.") from None
    if not isinstance(content, dict) or set(content) != {"jobs"} or not isinstance(content["jobs"], list):
        raise ScheduleError(f"{path}: must hold one list named jobs and nothing else.")
    return content["jobs"]


def _job(path: Path, number: int, item: Any, timezone: str) -> JobSpec:
    name = item.get("name") if isinstance(item, dict) else None
    where = f"{path}: job {name!r}" if isinstance(name, str) and name else f"{path}: job number {number}"
    try:
        entry = _Entry.model_validate(item)
    except ValidationError as error:
        problem = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in problem["loc"]) or "the job"
        raise ScheduleError(f"{where}: {field}: {problem['msg']}.") from None
    job = JobSpec(entry.name, entry.cron, entry.timezone or timezone, entry.job, tuple(entry.args), entry.enabled)
    field = "timezone"
    try:
        cron.zone(job.timezone)
        field = "cron"
        cron.parse(job.cron, job.timezone)
    except ScheduleError as error:
        raise ScheduleError(f"{where}: {field}: {error.message}", hint=error.hint) from None
    return job
