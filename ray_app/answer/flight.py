"""One computation for all who ask the same at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from typing import Any, Generic, TypeVar

T = TypeVar("T")


@dataclass(slots=True)
class _Flight(Generic[T]):
    task: asyncio.Task[T]
    waiting: int = 0


class SingleFlight(Generic[T]):
    """Runs one coroutine per key; those who come while it runs wait for its result.

    The work goes on as long as one of them waits: the first to ask may hang up without harm to the
    others, and when the last hangs up the work is cancelled. Belongs to one event loop.
    """

    def __init__(self) -> None:
        self._flights: dict[str, _Flight[T]] = {}

    def __len__(self) -> int:
        return len(self._flights)

    async def run(self, key: str, work: Callable[[], Coroutine[Any, Any, T]]) -> tuple[T, bool]:
        """The result, and whether it is this caller's own work. Every waiter sees the error of a failed work."""
        flight = self._flights.get(key)
        own = flight is None
        if flight is None:
            flight = self._flights[key] = _Flight(asyncio.ensure_future(work()))
            flight.task.add_done_callback(lambda _: self._forget(key, flight))
        return await self._wait(key, flight), own

    async def _wait(self, key: str, flight: _Flight[T]) -> T:
        flight.waiting += 1
        try:
            return await _shielded(flight.task)
        finally:
            flight.waiting -= 1
            if flight.waiting == 0 and not flight.task.done():
                self._forget(key, flight)  # at once: who comes now must not wait for a cancelled task
                flight.task.cancel()

    def _forget(self, key: str, flight: _Flight[T]) -> None:
        if self._flights.get(key) is flight:
            del self._flights[key]


async def _shielded(task: Awaitable[T]) -> T:
    return await asyncio.shield(task)
