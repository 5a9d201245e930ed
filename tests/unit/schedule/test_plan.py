"""The seven default jobs, the schedule file, and what is due."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_app.errors import ScheduleError
from ray_app.schedule.plan import CATCH_UP_S, DueRun, JobSpec, default_jobs, due, load_schedule, submission_id

DAILY = JobSpec("delta-scrape", "0 3 * * *", "UTC", "scrape", ("--all", "--delta"))
HEALTH = JobSpec("health-check", "*/5 * * * *", "UTC", "health_check")
WEEKLY = JobSpec("full-scrape", "0 2 * * 0", "UTC", "scrape", ("--all", "--full"))
DAY = 86_400.0


def at(text: str) -> float:
    return datetime.fromisoformat(text).replace(tzinfo=UTC).timestamp()


def iso(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).isoformat(timespec="minutes").removesuffix("+00:00")


MONDAY_NOON = at("2026-11-23T12:00")


def test_the_seven_default_jobs_and_their_next_slots() -> None:
    plan = {job.name: (iso(job.next_tick(MONDAY_NOON)), job.job, *job.args) for job in load_schedule(None)}
    assert plan == {
        "full-scrape": ("2026-11-29T02:00", "scrape", "--all", "--full"),
        "delta-scrape": ("2026-11-24T03:00", "scrape", "--all", "--delta"),
        "re-embed": ("2026-11-23T18:00", "embed", "--all"),
        "cache-cleanup": ("2026-11-23T12:15", "cleanup"),
        "health-check": ("2026-11-23T12:05", "health_check"),
        "old-tasks": ("2026-11-24T04:00", "retention"),
        "optimize": ("2026-11-30T01:00", "optimize"),
    }


def test_the_default_jobs_follow_the_zone_given() -> None:
    delta = load_schedule(None, "America/New_York")[1]
    assert iso(delta.next_tick(MONDAY_NOON)) == "2026-11-24T08:00"
    with pytest.raises(ScheduleError, match="no time zone"):
        load_schedule(None, "Mars/Olympus")


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "schedule.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def test_a_file_replaces_the_defaults(tmp_path: Path) -> None:
    path = write(
        tmp_path,
        """
jobs:
  - {name: night, cron: "30 1 * * *", job: ingest, args: ["--brand", "acme"], timezone: Europe/Berlin}
  - {name: ping, cron: "@hourly", job: health_check, enabled: false}
""",
    )
    assert load_schedule(path, "Asia/Tokyo") == [
        JobSpec("night", "30 1 * * *", "Europe/Berlin", "ingest", ("--brand", "acme"), True),
        JobSpec("ping", "@hourly", "Asia/Tokyo", "health_check", (), False),
    ]


GOOD = '{name: a, cron: "0 3 * * *", job: scrape}'


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("", "one list named jobs"),
        ("jobs: 3", "one list named jobs"),
        ("jobs: []\nzone: UTC", "one list named jobs"),
        ("jobs: [", "not valid YAML in line 1"),
        ("jobs: [3]", "job number 1: the job"),
        ("jobs: [{cron: '0 3 * * *', job: scrape}]", "job number 1: name: Field required"),
        ("jobs: [{name: 7, cron: '0 3 * * *', job: scrape}]", "job number 1: name: "),
        ("jobs: [{name: A b, cron: '0 3 * * *', job: scrape}]", "job 'A b': name: "),
        ("jobs: [{name: a, job: scrape}]", "job 'a': cron: Field required"),
        ("jobs: [{name: a, cron: '0 3 * *', job: scrape}]", "job 'a': cron: .*4 fields"),
        ("jobs: [{name: a, cron: '0 3 * * *', job: ../x}]", "job 'a': job: "),
        ("jobs: [{name: a, cron: '0 3 * * *', job: scrape, timezone: Nowhere}]", "job 'a': timezone: .*Nowhere"),
        ("jobs: [{name: a, cron: '0 3 * * *', job: scrape, args: [1]}]", "job 'a': args.0: "),
        ("jobs: [{name: a, cron: '0 3 * * *', job: scrape, corn: x}]", "job 'a': corn: Extra inputs"),
        (f"jobs: [{GOOD}, {GOOD}]", "job 'a': name: used more than once"),
    ],
)
def test_a_wrong_file_names_file_job_and_field(tmp_path: Path, text: str, complaint: str) -> None:
    with pytest.raises(ScheduleError, match=rf"schedule\.yaml.*{complaint}"):
        load_schedule(write(tmp_path, text))


def test_an_unreadable_file_is_a_schedule_error(tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match="cannot be read"):
        load_schedule(tmp_path / "absent.yaml")
    (tmp_path / "latin.yaml").write_bytes(b"jobs: [\xe9]")
    with pytest.raises(ScheduleError, match="cannot be read"):
        load_schedule(tmp_path / "latin.yaml")


def test_yaml_cannot_make_objects(tmp_path: Path) -> None:
    with pytest.raises(ScheduleError, match="not valid YAML"):
        load_schedule(write(tmp_path, "jobs: !!python/object/apply:os.getcwd []"))


def slots(runs: list[DueRun]) -> list[tuple[str, str]]:
    return [(run.job.name, iso(run.slot)) for run in runs]


def test_a_fresh_installation_runs_nothing_of_the_past() -> None:
    assert due(default_jobs(), {}, MONDAY_NOON, started_at=MONDAY_NOON) == []
    soon = due(default_jobs(), {}, MONDAY_NOON + 301, started_at=MONDAY_NOON)
    assert slots(soon) == [("health-check", "2026-11-23T12:05")]


def test_missed_slots_become_one_run_of_the_latest() -> None:
    last = {"health-check": MONDAY_NOON - 7_200, "delta-scrape": at("2026-11-20T03:00")}
    assert slots(due([DAILY, HEALTH], last, MONDAY_NOON + 10, started_at=MONDAY_NOON)) == [
        ("delta-scrape", "2026-11-23T03:00"),
        ("health-check", "2026-11-23T12:00"),
    ]


def test_a_slot_missed_by_more_than_the_window_waits_for_the_next() -> None:
    last, sunday = {"full-scrape": at("2026-11-15T02:00")}, at("2026-11-22T02:00")
    assert slots(due([WEEKLY], last, sunday + CATCH_UP_S - 1, 0.0)) == [("full-scrape", "2026-11-22T02:00")]
    assert due([WEEKLY], last, sunday + CATCH_UP_S, 0.0) == []
    assert due([WEEKLY], last, sunday + 60, 0.0, window_s=30) == []


def test_a_disabled_job_is_never_due() -> None:
    paused = JobSpec("health-check", "*/5 * * * *", "UTC", "health_check", enabled=False)
    assert due([paused], {}, MONDAY_NOON, started_at=0.0) == []


def test_a_clock_set_back_repeats_nothing() -> None:
    last = {"delta-scrape": at("2026-11-23T03:00")}
    for now in (at("2026-11-23T02:59"), at("2026-11-23T03:00"), at("2026-11-23T03:01")):
        assert due([DAILY], last, now, started_at=0.0) == []


def test_a_slot_recorded_by_a_clock_far_ahead_does_not_stop_the_job() -> None:
    last = {"delta-scrape": at("2036-01-01T03:00")}
    started = at("2026-11-22T12:00")
    assert slots(due([DAILY], last, at("2026-11-23T03:00"), started)) == [("delta-scrape", "2026-11-23T03:00")]


@given(
    steps=st.lists(st.floats(min_value=0.1, max_value=30_000.0), min_size=1, max_size=40),
    start=st.floats(min_value=1.7e9, max_value=1.9e9),
    zone=st.sampled_from(["UTC", "Europe/Berlin", "America/New_York"]),
)
@settings(max_examples=40, deadline=None, derandomize=True)
def test_each_slot_runs_at_most_once_and_the_newest_always(steps: list[float], start: float, zone: str) -> None:
    jobs, last, ran, now = default_jobs(zone), dict[str, float](), set[tuple[str, float]](), start
    for step in steps:
        now += step
        for run in due(jobs, last, now, start):
            assert (run.job.name, run.slot) not in ran
            assert start < run.slot <= now < run.job.next_tick(run.slot)
            ran.add((run.job.name, run.slot))
            last[run.job.name] = run.slot
        assert due(jobs, last, now, start) == []


def test_the_submission_id_is_stable_and_readable() -> None:
    run = DueRun(DAILY, at("2026-11-23T03:00"))
    assert run.submission_id == submission_id("delta-scrape", run.slot) == "sched-delta-scrape-20261123T030000Z"
