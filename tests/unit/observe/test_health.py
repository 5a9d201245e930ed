from __future__ import annotations

import asyncio

from structlog.testing import capture_logs

from ray_app.errors import StoreUnavailable
from ray_app.observe.health import Finding, HealthReport, run_checks, worst


async def fine():
    return None


async def slower():
    await asyncio.sleep(0.02)
    return Finding("degraded", "Answers are slow.")


async def unreachable():
    raise StoreUnavailable("No answer from postgresql://me:hush@db/x.")


async def crash():
    raise KeyError("internals")


async def hang():
    await asyncio.Event().wait()


async def test_checks_run_side_by_side_and_keep_their_order():
    checks = {"hang": hang, "slower": slower, "fine": fine, "crash": crash, "unreachable": unreachable}
    with capture_logs() as logs:
        found = await run_checks(checks, timeout_s=0.1)
    assert [(c.name, c.state) for c in found] == [
        ("hang", "down"),
        ("slower", "degraded"),
        ("fine", "ok"),
        ("crash", "down"),
        ("unreachable", "down"),
    ]
    by_name = {c.name: c for c in found}
    assert by_name["hang"].reason == "No answer within 0.1 s."
    assert by_name["hang"].latency_ms >= 90
    assert by_name["crash"].reason == "The check failed with KeyError."
    assert by_name["fine"].reason == ""
    assert "hush" not in by_name["unreachable"].reason
    assert [(e["event"], e["check"]) for e in logs] == [("health_check_crashed", "crash")]


async def test_the_whole_is_as_bad_as_its_worst_part():
    found = await run_checks({"fine": fine, "slower": slower}, timeout_s=1)
    assert HealthReport(found).state == "degraded"
    assert worst(()) == "ok"


async def test_a_hanging_check_is_cancelled():
    cancelled = []

    async def check():
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.append(True)

    await run_checks({"check": check}, timeout_s=0.01)
    assert cancelled == [True]
