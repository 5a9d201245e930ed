"""How fast one host is asked. All requests to a host pass its one gate, whatever brand or batch they belong to."""

from __future__ import annotations

import asyncio
from collections import OrderedDict, deque
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass

from ray_app.breaker import Breaker, Limits
from ray_app.errors import BacklineError

MAX_GATES = 20_000  # hosts remembered; about 1 KB each, and a crawl rarely meets more
FIRST_SLOWDOWN_S = 0.25  # pause added between requests after the first 429 or 503
SLOWDOWN_CAP_S = 30.0  # longest pause added; a host that needs more says so by Retry-After
RECOVERY = 0.8  # what is left of the added pause after each good answer
FORGET_BELOW_S = 0.01  # a shorter added pause is none
MAX_PAUSE_WAIT_S = 5.0  # a longer pause is not waited for: the URL goes back to the ledger until then


# A host that five requests in a row could not reach is left alone: ten seconds, then longer, at most two minutes.
SILENT = Limits(failures=5, open_s=10.0, cap_s=120.0)


class HostPaused(BacklineError):
    """The host has asked to be left alone for a while."""

    kind = "host-paused"
    retryable = True


class HostDown(HostPaused):
    """The host has not answered for a while and is left alone."""

    kind = "host-down"


@dataclass(frozen=True, slots=True)
class Pace:
    """What a request asks of the gate: the slower of its own pause and what the host has earned holds."""

    interval_s: float  # seconds from the start of one request to the start of the next
    connections: int  # requests in flight to the host


class HostGate:
    """Next-slot time and requests in flight of one host. Times are monotonic seconds."""

    def __init__(self) -> None:
        self._next_slot = 0.0
        self._paused_until = 0.0
        self._slowdown_s = 0.0
        self._in_flight = 0
        self._waiting: deque[asyncio.Future[None]] = deque()
        self._turn = asyncio.Lock()
        self.breaker = Breaker(SILENT)
        self._down_until = 0.0

    @property
    def idle(self) -> bool:
        """Whether nobody uses the gate or waits at it."""
        return not self._in_flight and not self._waiting and not self._turn.locked()

    def delay(self, now: float) -> float:
        """Seconds until the next request may start."""
        return max(self._next_slot, self._paused_until) - now

    def pause_left(self, now: float) -> float:
        """Seconds for which the host is left alone, by its wish or because it does not answer."""
        return max(self._paused_until, self._down_until) - now

    def take(self, now: float, interval_s: float) -> None:
        """Start a request now; the next one waits for ``interval_s`` or longer."""
        self._next_slot = now + max(interval_s, self._slowdown_s)

    def slow_down(self, now: float, pause_s: float) -> None:
        """The host answered 429 or 503: leave it alone for ``pause_s``, then go slower than before."""
        self._paused_until = max(self._paused_until, now + pause_s)
        self._slowdown_s = min(max(2 * self._slowdown_s, FIRST_SLOWDOWN_S), SLOWDOWN_CAP_S)

    def recover(self) -> None:
        """The host answered well: go back to its pace, step by step."""
        if self._slowdown_s:
            self._slowdown_s = self._slowdown_s * RECOVERY if self._slowdown_s > FORGET_BELOW_S else 0.0

    @asynccontextmanager
    async def passing(self, pace: Pace, clock: Callable[[], float]) -> AsyncIterator[None]:
        """Hold one place in flight, entered when the host's next slot has come. Raises HostPaused, HostDown."""
        if self._down_until > clock():
            raise HostDown
        await self._enter(pace.connections)
        try:
            await self._wait_for_slot(pace.interval_s, clock)
            yield
        finally:
            self._leave()

    def admit(self, now: float) -> None:
        """Ask the breaker right before a request goes out; its end is told to ``breaker``. Raises HostDown."""
        if wait := self.breaker.admit(now):
            self._down_until = now + wait
            raise HostDown

    async def _wait_for_slot(self, interval_s: float, clock: Callable[[], float]) -> None:
        # One at a time and in order: a pause that comes while many wait holds all of them, with no burst after it.
        async with self._turn:
            while (delay := self.delay(clock())) > 0:
                if self._down_until > clock():
                    raise HostDown
                if self.pause_left(clock()) > MAX_PAUSE_WAIT_S:
                    raise HostPaused
                await asyncio.sleep(delay)
            self.take(clock(), interval_s)

    async def _enter(self, connections: int) -> None:
        while self._in_flight >= connections:
            place: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            self._waiting.append(place)
            try:
                await place
            except asyncio.CancelledError:
                self._give_up(place)
                raise
        self._in_flight += 1

    def _give_up(self, place: asyncio.Future[None]) -> None:
        if place in self._waiting:
            self._waiting.remove(place)
        elif place.done() and not place.cancelled():
            self._wake_next()  # the place was already given to a request that no longer wants it

    def _leave(self) -> None:
        self._in_flight -= 1
        self._wake_next()

    def _wake_next(self) -> None:
        while self._waiting:
            place = self._waiting.popleft()
            if not place.done():
                place.set_result(None)
                return


class Gates:
    """The gates of every host, least recently used ones forgotten when there are too many and they are idle."""

    def __init__(self) -> None:
        self._gates: OrderedDict[str, HostGate] = OrderedDict()

    def of(self, host: str) -> HostGate:
        """The gate of a host key."""
        gate = self._gates.get(host)
        if gate is None:
            gate = self._gates[host] = HostGate()
            self._forget()
        self._gates.move_to_end(host)
        return gate

    def _forget(self) -> None:
        while len(self._gates) > MAX_GATES:
            host, oldest = next(iter(self._gates.items()))
            if not oldest.idle:
                return
            del self._gates[host]
