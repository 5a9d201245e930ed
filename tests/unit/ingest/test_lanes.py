"""One pool per profile, and not too many of them."""

from __future__ import annotations

import pytest

from ray_app.config import CrawlSettings
from ray_app.errors import BlockedAddress
from ray_app.ingest import lanes
from ray_app.ingest.lanes import HostProfile, Lane, Lanes
from ray_app.ingest.robots import Robots

SETTINGS = CrawlSettings(per_host_connections=3, crawl_delay_cap_s=10, allow_hosts=("10.0.0.1",))


async def no_robots(_: Lane, __: str) -> Robots:
    return Robots.allow_all()


@pytest.fixture
def opened() -> Lanes:
    return Lanes(SETTINGS, lambda: 0.0, no_robots)


async def test_a_profile_has_one_lane_with_its_own_guard(opened: Lanes) -> None:
    strict, lenient = HostProfile(1, "A"), HostProfile(1, "A", ("10.0.0.2",))
    assert await opened.of(strict) is await opened.of(HostProfile(1, "A"))
    for lane in (await opened.of(strict), await opened.of(lenient)):
        lane.guard.check_url("http://10.0.0.1/")
    (await opened.of(lenient)).guard.check_url("http://10.0.0.2/")
    with pytest.raises(BlockedAddress):
        (await opened.of(strict)).guard.check_url("http://10.0.0.2/")
    await opened.close()


async def test_idle_lanes_over_the_cap_are_closed_busy_ones_never(
    opened: Lanes, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lanes, "MAX_LANES", 2)
    busy = await opened.of(HostProfile(0, "busy"))
    busy.users = 1
    idle = await opened.of(HostProfile(1, "idle"))
    newest = await opened.of(HostProfile(2, "newest"))
    assert (busy.session.closed, idle.session.closed, newest.session.closed) == (False, True, False)
    assert await opened.of(HostProfile(0, "busy")) is busy
    await opened.close()
    assert busy.session.closed


async def test_the_slower_of_rate_and_crawl_delay_holds(opened: Lanes) -> None:
    slow_site, patient_site = (Robots.parse(f"User-agent: *\nCrawl-delay: {s}".encode()) for s in (2, 60))
    paced, free = await opened.of(HostProfile(2.0, "A")), await opened.of(HostProfile(0.0, "A"))
    assert (paced.pace(Robots.allow_all(), SETTINGS).interval_s, free.pace(slow_site, SETTINGS).interval_s) == (0.5, 2)
    assert (paced.pace(slow_site, SETTINGS).interval_s, paced.pace(patient_site, SETTINGS).interval_s) == (2, 10)
    assert paced.pace(slow_site, SETTINGS).connections == 3
    assert free.pace(slow_site, SETTINGS).connections == 3
    await opened.close()
