from __future__ import annotations

import asyncio

import pytest

from ray_app.answer.flight import SingleFlight


class Work:
    def __init__(self) -> None:
        self.started = 0
        self.cancelled = 0
        self.gate = asyncio.Event()

    async def __call__(self) -> int:
        self.started += 1
        try:
            await self.gate.wait()
        except asyncio.CancelledError:
            self.cancelled += 1
            raise
        return 42


async def _turn() -> None:
    for _ in range(5):
        await asyncio.sleep(0)


async def test_a_thousand_askers_one_work() -> None:
    flights, work = SingleFlight[int](), Work()
    tasks = [asyncio.ensure_future(flights.run("k", work)) for _ in range(1000)]
    await _turn()
    work.gate.set()
    results = await asyncio.gather(*tasks)
    assert work.started == 1
    assert [own for _, own in results].count(True) == 1
    assert {value for value, _ in results} == {42}
    assert len(flights) == 0


async def test_the_first_may_hang_up_without_harm() -> None:
    flights, work = SingleFlight[int](), Work()
    first = asyncio.ensure_future(flights.run("k", work))
    await _turn()
    second = asyncio.ensure_future(flights.run("k", work))
    await _turn()
    first.cancel()
    await _turn()
    work.gate.set()
    assert await second == (42, False)
    assert work.cancelled == 0


async def test_when_the_last_hangs_up_the_work_ends() -> None:
    flights, work = SingleFlight[int](), Work()
    tasks = [asyncio.ensure_future(flights.run("k", work)) for _ in range(3)]
    await _turn()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)
    await _turn()
    assert work.cancelled == 1
    assert len(flights) == 0


async def test_everyone_sees_the_error_and_the_next_tries_again() -> None:
    flights = SingleFlight[int]()

    async def fail() -> int:
        await asyncio.sleep(0)
        raise ValueError("no")

    results = await asyncio.gather(*(flights.run("k", fail) for _ in range(3)), return_exceptions=True)
    assert [type(r) for r in results] == [ValueError] * 3
    with pytest.raises(ValueError, match="no"):
        await flights.run("k", fail)


async def test_other_keys_do_not_wait() -> None:
    flights, slow = SingleFlight[int](), Work()
    held = asyncio.ensure_future(flights.run("slow", slow))

    async def quick() -> int:
        return 1

    assert await flights.run("quick", quick) == (1, True)
    slow.gate.set()
    await held
