"""The breaker by its own clock."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_app.breaker import Breaker, Limits

LIMITS = Limits(failures=3, open_s=10.0, cap_s=25.0, probes=2)


def opened(at: float = 0.0) -> Breaker:
    breaker = Breaker(LIMITS)
    for _ in range(LIMITS.failures):
        assert breaker.admit(at) == 0.0
        breaker.failed(at)
    return breaker


def closed(breaker: Breaker, now: float) -> bool:
    """Whether it admits more than probes."""
    return not any(breaker.admit(now) for _ in range(LIMITS.probes + 1))


def test_it_opens_after_failures_in_a_row() -> None:
    breaker = Breaker(LIMITS)
    for _ in range(5):
        breaker.failed(0.0)
        breaker.failed(0.0)
        breaker.succeeded()
    assert closed(breaker, 0.0)
    assert opened().admit(0.0) == 10.0
    assert opened().admit(4.0) == 6.0


def test_it_says_how_it_is() -> None:
    breaker = opened()
    assert [Breaker(LIMITS).state(0.0), breaker.state(9.9), breaker.state(10.0)] == ["closed", "open", "half-open"]
    assert breaker.admit(10.0) == 0.0
    breaker.succeeded()
    assert breaker.state(10.0) == "closed"


def test_half_open_it_admits_so_many_probes_and_no_more() -> None:
    breaker = opened()
    assert [breaker.admit(10.0) for _ in range(3)] == [0.0, 0.0, LIMITS.open_s]
    breaker.succeeded()
    assert closed(breaker, 10.0)


def test_a_failed_probe_doubles_the_wait_up_to_the_cap() -> None:
    breaker, now, waits = opened(), 0.0, []
    for _ in range(4):
        now += breaker.admit(now)
        assert breaker.admit(now) == 0.0
        breaker.failed(now)
        waits.append(breaker.admit(now))
    assert waits == [20.0, 25.0, 25.0, 25.0]


def test_late_failures_of_calls_that_were_under_way_do_not_prolong_it() -> None:
    breaker = opened()
    for _ in range(20):
        breaker.failed(1.0)
    assert breaker.admit(1.0) == 9.0


def test_an_abandoned_probe_gives_its_place_back() -> None:
    breaker = opened()
    assert [breaker.admit(10.0), breaker.admit(10.0)] == [0.0, 0.0]
    breaker.abandoned()
    assert breaker.admit(10.0) == 0.0


def test_a_clock_that_goes_backwards_is_harmless() -> None:
    breaker = opened(at=1_000.0)
    assert breaker.admit(0.0) == 1_010.0
    assert breaker.admit(1_010.0) == 0.0


def end(breaker: Breaker, outcome: str, now: float) -> None:
    if outcome == "ok":
        breaker.succeeded()
    elif outcome == "bad":
        breaker.failed(now)
    else:
        breaker.abandoned()


@given(st.lists(st.tuples(st.sampled_from(["ok", "bad", "gone"]), st.floats(0, 50)), max_size=60))
def test_it_never_gets_stuck(events: list[tuple[str, float]]) -> None:
    breaker, now = Breaker(LIMITS), 0.0
    for outcome, passed in events:
        now += passed
        if breaker.admit(now) == 0.0:
            end(breaker, outcome, now)
    assert breaker.admit(now + LIMITS.cap_s) == 0.0
    breaker.succeeded()
    assert closed(breaker, now)


@pytest.mark.parametrize("failures", [1, 7])
def test_the_number_of_failures_is_the_limits(failures: int) -> None:
    breaker = Breaker(Limits(failures, 1.0, 1.0))
    for _ in range(failures - 1):
        breaker.failed(0.0)
    assert breaker.admit(0.0) == 0.0
    breaker.failed(0.0)
    assert breaker.admit(0.0) == 1.0
