"""Cron ticks: equal to croniter's away from clock changes, and as documented at them."""

from __future__ import annotations

import time
from datetime import UTC, datetime, timedelta
from itertools import pairwise
from zoneinfo import ZoneInfo

import pytest
from croniter import croniter
from hypothesis import given, settings
from hypothesis import strategies as st

from ray_app.errors import ScheduleError
from ray_app.schedule.cron import Cron, parse

BERLIN, NEW_YORK, HAVANA, LORD_HOWE = "Europe/Berlin", "America/New_York", "America/Havana", "Australia/Lord_Howe"
EXPRESSIONS = [
    "0 2 * * 0",
    "0 3 * * *",
    "0 */6 * * *",
    "15 * * * *",
    "*/5 * * * *",
    "0 4 * * *",
    "0 1 * * 1",
    "30 2 * * *",
    "0,30 1-3 * * *",
    "59 23 31 12 *",
    "0 12 29 2 *",
    "0 9 1-7 * mon",
    "@weekly",
]
EXAMPLES = settings(max_examples=120, deadline=None, derandomize=True)
moments = st.floats(min_value=1.0e9, max_value=2.5e9, allow_nan=False)  # 2001 to 2049


def at(text: str, zone: str = "UTC") -> float:
    """POSIX seconds of an ISO time; without an offset it is taken in ``zone``."""
    moment = datetime.fromisoformat(text)
    return (moment if moment.tzinfo else moment.replace(tzinfo=ZoneInfo(zone))).timestamp()


def shown(ticks: list[float], zone: str) -> list[str]:
    return [datetime.fromtimestamp(t, ZoneInfo(zone)).isoformat() for t in ticks]


def between(cron: Cron, after: str, until: str) -> list[str]:
    zone = str(cron.zone)
    return shown(list(cron.ticks(at(after, zone), at(until, zone))), zone)


@given(expression=st.sampled_from(EXPRESSIONS), moment=moments)
@EXAMPLES
def test_ticks_in_utc_equal_croniter(expression: str, moment: float) -> None:
    cron = parse(expression, "UTC")
    assert cron.next_tick(moment) == croniter(expression, moment).get_next(float)
    assert cron.latest_tick(moment) == croniter(expression, int(moment) + 1).get_prev(float)


@given(expression=st.sampled_from(EXPRESSIONS), moment=moments, zone=st.sampled_from([BERLIN, NEW_YORK]))
@EXAMPLES
def test_ticks_in_a_zone_equal_croniter_unless_the_clocks_change(expression: str, moment: float, zone: str) -> None:
    start = datetime.fromtimestamp(moment, ZoneInfo(zone))
    ours = parse(expression, zone).next_tick(moment)
    theirs = croniter(expression, start).get_next(datetime)
    days = [start + timedelta(days=d) for d in range(-2, (theirs - start).days + 3)]
    if len({day.utcoffset() for day in days}) == 1:
        assert shown([ours], zone) == [theirs.isoformat()]


@given(
    expression=st.sampled_from(EXPRESSIONS),
    moment=moments,
    zone=st.sampled_from(["UTC", BERLIN, NEW_YORK, HAVANA, LORD_HOWE]),
)
@EXAMPLES
def test_next_and_latest_agree(expression: str, moment: float, zone: str) -> None:
    cron = parse(expression, zone)
    before, after = cron.latest_tick(moment), cron.next_tick(moment)
    assert before <= moment < after
    assert cron.next_tick(before) == after
    assert cron.latest_tick(after) == after
    assert cron.latest_tick(after - 0.5) == before


def expected(expression: str, zone: str, first: datetime, *, every_hour: bool) -> list[float]:
    """The documented rule by brute force: each minute of a day is asked whether its wall-clock time matches."""
    ticks: set[float] = set()
    minutes = [first + timedelta(minutes=m) for m in range(24 * 60)]
    walls = [(m, m.astimezone(ZoneInfo(zone))) for m in minutes]
    for (_, before), (instant, local) in pairwise(walls):
        wall = local.replace(tzinfo=None)
        if (every_hour or not local.fold) and croniter.match(expression, wall):
            ticks.add(instant.timestamp())
        gap = wall - before.replace(tzinfo=None) - timedelta(minutes=1)
        skipped = (wall - timedelta(minutes=m) for m in range(1, int(gap.total_seconds() // 60) + 1))
        if not every_hour and any(croniter.match(expression, s) for s in skipped):
            ticks.add(instant.timestamp())
    return sorted(ticks)


@pytest.mark.parametrize(
    ("zone", "day"),
    [
        (BERLIN, "2026-03-29"),
        (BERLIN, "2026-10-25"),
        (NEW_YORK, "2026-03-08"),
        (NEW_YORK, "2026-11-01"),
        (HAVANA, "2026-11-01"),  # at midnight, so the repeated hour reaches into the day before
        (LORD_HOWE, "2026-04-05"),  # by half an hour
    ],
)
@pytest.mark.parametrize("expression", ["30 2 * * *", "*/20 * * * *", "10,50 0-3 * * *"])
def test_every_tick_round_a_clock_change(zone: str, day: str, expression: str) -> None:
    cron = parse(expression, zone)
    first = datetime.fromisoformat(f"{day}T00:00+00:00") - timedelta(hours=12)
    want = expected(expression, zone, first, every_hour=cron.every_hour)
    until = (first + timedelta(days=1, minutes=-1)).timestamp()
    assert list(cron.ticks(first.timestamp(), until)) == want
    back = [cron.latest_tick(until)]
    while back[-1] > want[0]:
        back.append(cron.latest_tick(back[-1] - 1))
    assert back[::-1] == want


def test_a_slot_in_the_gap_runs_at_the_first_instant_after_it() -> None:
    cron = parse("30 2 * * *", BERLIN)
    assert between(cron, "2026-03-28T12:00", "2026-03-30T12:00") == [
        "2026-03-29T03:00:00+02:00",
        "2026-03-30T02:30:00+02:00",
    ]


def test_several_slots_in_the_gap_are_one_run() -> None:
    cron = parse("*/15 2,3 * * *", NEW_YORK)
    assert between(cron, "2026-03-08T00:00", "2026-03-08T03:15") == [
        "2026-03-08T03:00:00-04:00",
        "2026-03-08T03:15:00-04:00",
    ]


def test_a_slot_in_the_repeated_hour_runs_once() -> None:
    assert between(parse("30 2 * * *", BERLIN), "2026-10-25T00:00", "2026-10-26T02:00") == ["2026-10-25T02:30:00+02:00"]
    assert between(parse("30 1 * * *", NEW_YORK), "2026-11-01T00:00", "2026-11-02T01:00") == [
        "2026-11-01T01:30:00-04:00"
    ]


def test_an_hourly_job_keeps_its_pace_through_both_changes() -> None:
    for day, hours in (("2026-03-29", 23), ("2026-10-25", 25)):
        start = at(f"{day}T00:00", BERLIN)
        ticks = list(parse("15 * * * *", BERLIN).ticks(start, start + hours * 3600))
        assert [b - a for a, b in pairwise(ticks)] == [3600.0] * (hours - 1)


def test_ticks_lie_after_the_start_and_include_the_end() -> None:
    cron = parse("*/5 * * * *", "UTC")
    assert list(cron.ticks(0.0, 600.0)) == [300.0, 600.0]
    assert list(cron.ticks(0.5, 0.6)) == []


def test_february_29() -> None:
    assert shown([parse("0 12 29 2 *", "UTC").next_tick(at("2026-01-01"))], "UTC") == ["2028-02-29T12:00:00+00:00"]


def test_a_year_of_ticks_is_quick() -> None:
    started = time.perf_counter()
    assert len(list(parse("0 3 * * *", BERLIN).ticks(at("2026-01-01"), at("2027-01-01")))) == 365
    assert time.perf_counter() - started < 5.0


@pytest.mark.parametrize(
    ("expression", "complaint"),
    [
        ("", "0 fields"),
        ("* * * *", "4 fields"),
        ("* * * * * *", "6 fields"),
        ("61 * * * *", "out of range"),
        ("*/0 * * * *", "step"),
        ("0 0 30 2 *", "failed to find"),
        ("a b c d e", "not acceptable"),
        ("H * * * *", "cannot be used"),
        ("R * * * *", "random"),
        ("R(0-5) 3 * * *", "random"),
        ("@reboot", "cannot be used"),
        ("0 " * 200, "longer than"),
    ],
)
def test_a_wrong_expression_is_refused_in_words(expression: str, complaint: str) -> None:
    with pytest.raises(ScheduleError, match=complaint):
        parse(expression, "UTC")


@pytest.mark.parametrize("name", ["", "Mars/Olympus", "Europe", "../../etc/passwd", "/etc/localtime", "a\x00b"])
def test_a_wrong_zone_is_refused(name: str) -> None:
    with pytest.raises(ScheduleError, match="no time zone"):
        parse("0 3 * * *", name)


@given(text=st.text(max_size=30))
@EXAMPLES
def test_no_expression_breaks_the_parser(text: str) -> None:
    try:
        tick = parse(text, "UTC").next_tick(at("2026-11-23"))
    except ScheduleError:
        return
    assert datetime.fromtimestamp(tick, UTC).second == 0
