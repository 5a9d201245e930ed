"""One gate per host: slots in order, places counted, pauses kept, nothing lost by a cancelled request."""

from __future__ import annotations

import asyncio
import itertools

import pytest

from ray_app.ingest import pacing
from ray_app.ingest.pacing import Gates, HostDown, HostGate, HostPaused, Pace

FREE = Pace(interval_s=0.0, connections=3)


def test_slots_follow_the_interval() -> None:
    gate = HostGate()
    assert gate.delay(100.0) <= 0
    gate.take(100.0, 0.5)
    assert gate.delay(100.0) == 0.5
    assert gate.delay(100.4) == pytest.approx(0.1)
    gate.take(107.0, 0.5)
    assert gate.delay(107.0) == 0.5, "time that went unused is not saved up"


def test_a_pause_holds_and_the_longer_one_wins() -> None:
    gate = HostGate()
    gate.slow_down(100.0, 7.0)
    gate.slow_down(101.0, 1.0)
    assert gate.pause_left(102.0) == 5.0
    assert gate.delay(102.0) == 5.0


def test_a_host_that_complained_is_asked_more_slowly_until_it_answers_well() -> None:
    gate = HostGate()
    gate.slow_down(0.0, 0.0)
    gate.slow_down(0.0, 0.0)
    gate.take(0.0, 0.0)
    assert gate.delay(0.0) == 0.5
    for _ in range(100):
        gate.recover()
    gate.take(0.0, 0.0)
    assert gate.delay(0.0) == 0.0


def test_the_slowdown_is_capped() -> None:
    gate = HostGate()
    for _ in range(50):
        gate.slow_down(0.0, 0.0)
    gate.take(0.0, 0.0)
    assert gate.delay(0.0) == pacing.SLOWDOWN_CAP_S


async def test_places_are_counted() -> None:
    gate, most, now_in = HostGate(), 0, 0
    clock = asyncio.get_running_loop().time

    async def request() -> None:
        nonlocal most, now_in
        async with gate.passing(FREE, clock):
            now_in += 1
            most = max(most, now_in)
            await asyncio.sleep(0.001)
            now_in -= 1

    await asyncio.gather(*(request() for _ in range(30)))
    assert most == 3
    assert gate.idle


async def test_two_profiles_share_one_pace() -> None:
    gate, clock = HostGate(), asyncio.get_running_loop().time
    starts: list[float] = []

    async def request(pace: Pace) -> None:
        async with gate.passing(pace, clock):
            starts.append(clock())

    paces = [Pace(0.02, 4), Pace(0.02, 16)]
    await asyncio.gather(*(request(paces[i % 2]) for i in range(8)))
    gaps = [b - a for a, b in itertools.pairwise(starts)]
    assert min(gaps) >= 0.019


async def test_a_long_pause_is_not_waited_for() -> None:
    gate, clock = HostGate(), asyncio.get_running_loop().time
    gate.slow_down(clock(), pacing.MAX_PAUSE_WAIT_S + 1)
    with pytest.raises(HostPaused):
        async with gate.passing(FREE, clock):
            pass
    assert gate.idle


async def test_who_waits_for_a_host_that_is_found_down_is_told_so() -> None:
    gate, clock = HostGate(), asyncio.get_running_loop().time
    gate.take(clock(), 0.05)
    gate.slow_down(clock(), pacing.MAX_PAUSE_WAIT_S + 1)
    for _ in range(pacing.SILENT.failures):
        gate.admit(clock())
        gate.breaker.failed(clock())
    with pytest.raises(HostDown):
        gate.admit(clock())
    waiting = gate._wait_for_slot(0.05, clock)
    with pytest.raises(HostDown):
        await waiting


async def test_cancelled_requests_give_their_places_back() -> None:
    gate, clock = HostGate(), asyncio.get_running_loop().time
    release = asyncio.Event()

    async def request() -> None:
        async with gate.passing(Pace(0.0, 1), clock):
            await release.wait()

    tasks = [asyncio.create_task(request()) for _ in range(5)]
    await asyncio.sleep(0)
    tasks[1].cancel()
    tasks[0].cancel()
    await asyncio.sleep(0)
    tasks[2].cancel()  # it may just have been given the place
    release.set()
    await asyncio.wait(tasks, timeout=1)
    assert [task.cancelled() for task in tasks] == [True, True, True, False, False]
    assert gate.idle


def test_idle_gates_are_forgotten_at_the_cap(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pacing, "MAX_GATES", 10)
    gates = Gates()
    first = gates.of("host-0")
    for number in range(1, 10):
        gates.of(f"host-{number}")
    assert gates.of("host-0") is first
    gates.of("host-10")
    assert gates.of("host-0") is first, "the least recently used one goes"
