"""A circuit breaker: whoever has failed several times in a row is left alone for a while, then tried with a few calls.

closed -> open after ``failures`` in a row -> half-open when the wait is over, which admits ``probes`` calls at once ->
closed again after a success, or open for twice as long after a failure. Times are monotonic seconds, given by the
caller; a clock that goes backwards only makes the wait longer.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

State = Literal["closed", "open", "half-open"]


@dataclass(frozen=True, slots=True)
class Limits:
    """When a breaker opens, and for how long."""

    failures: int  # in a row
    open_s: float  # the first time; doubled with each probe that fails
    cap_s: float  # longest wait
    probes: int = 1  # calls admitted at once while half-open


class Breaker:
    """Every call that was admitted ends in exactly one of ``succeeded``, ``failed`` and ``abandoned``."""

    def __init__(self, limits: Limits) -> None:
        self._limits = limits
        self._failures = 0  # in a row
        self._opened = 0  # times in a row without a success in between
        self._open_until = 0.0
        self._probing = 0

    def admit(self, now: float) -> float:
        """0 when a call may be made now, else seconds after which it is worth asking again."""
        if not self._opened:
            return 0.0
        if now < self._open_until:
            return self._open_until - now
        if self._probing >= self._limits.probes:
            return self._limits.open_s
        self._probing += 1
        return 0.0

    def state(self, now: float) -> State:
        """For health pages and logs."""
        if not self._opened:
            return "closed"
        return "open" if now < self._open_until else "half-open"

    def succeeded(self) -> None:
        """An admitted call went well."""
        self._failures = self._opened = self._probing = 0

    def failed(self, now: float) -> None:
        """An admitted call failed in a way that speaks against the other side."""
        self._failures += 1
        self._probing = max(0, self._probing - 1)
        if self._failures >= self._limits.failures and now >= self._open_until:
            wait = self._limits.open_s * 2.0 ** min(self._opened, 32)
            self._open_until = now + min(wait, self._limits.cap_s)
            self._opened += 1

    def abandoned(self) -> None:
        """An admitted call was given up by the caller: it says nothing about the other side."""
        self._probing = max(0, self._probing - 1)
