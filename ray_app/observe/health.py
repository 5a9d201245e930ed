"""Health checks: each says ok, degraded or down, why, and how long it took to find out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from ray_app.errors import BacklineError
from ray_app.observe.log import get_logger, redact

State = Literal["ok", "degraded", "down"]
_SEVERITY: tuple[State, ...] = ("ok", "degraded", "down")

_log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Finding:
    """What a check found. ``reason`` is a sentence for a person, "" when all is well."""

    state: State = "ok"
    reason: str = ""


@dataclass(frozen=True, slots=True)
class HealthCheck:
    """A finding with the name of its check and the time it took."""

    name: str
    state: State
    reason: str
    latency_ms: float


@dataclass(frozen=True, slots=True)
class HealthReport:
    """Every check of a component, and what is good to know beside them (version, models, devices)."""

    checks: tuple[HealthCheck, ...]
    details: Mapping[str, Any] = field(default_factory=dict)

    @property
    def state(self) -> State:
        """The state of the whole."""
        return worst(self.checks)


Check = Callable[[], Awaitable[Finding | None]]


async def run_checks(checks: Mapping[str, Check], timeout_s: float) -> tuple[HealthCheck, ...]:
    """Run all checks side by side, in the order given; never raises for a check that fails.

    A check returns a Finding (None: ok). It counts as down when it raises or needs longer than
    ``timeout_s``. Checks must not block the event loop.
    """
    return tuple(await asyncio.gather(*(_run(name, check, timeout_s) for name, check in checks.items())))


def worst(checks: Iterable[HealthCheck]) -> State:
    """The most serious state among ``checks``; ok when there are none."""
    return max((check.state for check in checks), key=_SEVERITY.index, default="ok")


async def _run(name: str, check: Check, timeout_s: float) -> HealthCheck:
    started = time.perf_counter()
    result: Finding | BaseException | None
    try:
        async with asyncio.timeout(timeout_s):
            (result,) = await asyncio.gather(check(), return_exceptions=True)
    except TimeoutError:
        result = Finding("down", f"No answer within {timeout_s:g} s.")
    finding = _judge(name, result)
    return HealthCheck(name, finding.state, finding.reason, round(1000 * (time.perf_counter() - started), 1))


def _judge(name: str, result: Finding | BaseException | None) -> Finding:
    if result is None:
        return Finding()
    if isinstance(result, BacklineError):
        return Finding("down", redact(str(result)))
    if isinstance(result, BaseException):
        _log.error("health_check_crashed", check=name, exc_info=result)  # its text may hold internals
        return Finding("down", f"The check failed with {type(result).__name__}.")
    return result
