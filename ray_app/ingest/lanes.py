"""One connection pool per profile, so that what a brand may reach, says and knows stays with that brand."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Final

import aiohttp
from pydantic import SecretStr

from ray_app.config import CrawlSettings
from ray_app.ingest.brands import BrandConfig
from ray_app.ingest.guard import Guard, GuardedResolver
from ray_app.ingest.pacing import Pace
from ray_app.ingest.robots import Robots, RobotsCache
from ray_app.ingest.urls import origin

MAX_LANES = 64  # profiles with an open pool; idle ones over this are closed
DNS_TTL_S = 60  # names are looked up, and checked, again after this
KEEPALIVE_S = 15.0  # an idle connection is dropped before common servers drop it (20-75 s)

# Only what `ingest.body` can unpack is asked for.
_HEADERS: Final = {
    "Accept": "text/html,application/xhtml+xml,application/pdf;q=0.9,*/*;q=0.1",
    "Accept-Encoding": "gzip, deflate",
}


@dataclass(frozen=True, slots=True)
class HostProfile:
    """How one brand or task is fetched."""

    rate: float  # requests per second to one host; 0: no pause
    user_agent: str  # sent, and matched in robots.txt
    allow_hosts: tuple[str, ...] = ()  # private hosts the guard lets through
    headers: tuple[tuple[str, SecretStr], ...] = ()  # sent along, Cookie among them
    headers_to: frozenset[str] = frozenset()  # origins they go to: no secret leaves its site or its encryption


def profile_of(config: BrandConfig) -> HostProfile:
    """How a brand's hosts are asked. Raises ConfigError when a secret is not where its configuration says."""
    return HostProfile(
        rate=config.rate,
        user_agent=config.user_agent,
        allow_hosts=tuple(config.allow_hosts),
        headers=config.secret_headers(),
        headers_to=frozenset(map(origin, config.start_urls)),
    )


@dataclass(slots=True)
class Lane:
    """All that belongs to one profile."""

    profile: HostProfile
    guard: Guard
    session: aiohttp.ClientSession
    robots: RobotsCache
    users: int = field(default=0)  # batches under way

    def pace(self, rules: Robots, settings: CrawlSettings) -> Pace:
        """The slower of the profile's rate and the site's Crawl-delay."""
        rate = self.profile.rate
        asked = rules.crawl_delay(self.profile.user_agent, settings.crawl_delay_cap_s)
        return Pace(
            interval_s=max(1 / rate if rate else 0.0, asked),
            connections=settings.per_host_connections,
        )

    def headers_for(self, url: str) -> dict[str, str]:
        """The profile's own headers, if ``url`` is on a site that may see them."""
        if not self.profile.headers or origin(url) not in self.profile.headers_to:
            return {}
        return {name: value.get_secret_value() for name, value in self.profile.headers}

    async def close(self) -> None:
        await self.robots.close()
        await self.session.close()


class Lanes:
    """The lanes of one Fetcher. ``read_robots`` reads one origin's robots.txt on a lane and never raises."""

    def __init__(
        self,
        settings: CrawlSettings,
        clock: Callable[[], float],
        read_robots: Callable[[Lane, str], Awaitable[Robots]],
    ) -> None:
        self._settings = settings
        self._clock = clock
        self._read_robots = read_robots
        self._lanes: OrderedDict[HostProfile, Lane] = OrderedDict()

    async def of(self, profile: HostProfile) -> Lane:
        """The lane of a profile, opened on first use. Raises ConfigError for bad ``allow_hosts``."""
        lane = self._lanes.get(profile)
        if lane is None:
            lane = self._lanes[profile] = self._open(profile)
        self._lanes.move_to_end(profile)
        await self._close_idle(keep=lane)
        return lane

    async def close(self) -> None:
        """Close every pool."""
        lanes = list(self._lanes.values())
        self._lanes.clear()
        for lane in lanes:
            await lane.close()

    def _open(self, profile: HostProfile) -> Lane:
        guard = Guard((*self._settings.allow_hosts, *profile.allow_hosts))
        session = _open_session(profile, guard, self._settings)

        async def read(origin: str) -> Robots:
            return await self._read_robots(lane, origin)

        lane = Lane(profile, guard, session, RobotsCache(read, self._settings.robots_cache_s, self._clock))
        return lane

    async def _close_idle(self, keep: Lane) -> None:
        spare = len(self._lanes) - MAX_LANES
        idle = [lane for lane in self._lanes.values() if not lane.users and lane is not keep] if spare > 0 else []
        for lane in idle[:spare]:
            del self._lanes[lane.profile]
            await lane.close()


def _open_session(profile: HostProfile, guard: Guard, settings: CrawlSettings) -> aiohttp.ClientSession:
    connector = aiohttp.TCPConnector(
        resolver=GuardedResolver(guard, settings.connect_timeout_s),
        ttl_dns_cache=DNS_TTL_S,
        limit=0,  # the Fetcher counts its sockets itself, over all pools
        keepalive_timeout=KEEPALIVE_S,
    )
    return aiohttp.ClientSession(
        connector=connector,
        headers={**_HEADERS, "User-Agent": profile.user_agent},
        cookie_jar=aiohttp.DummyCookieJar(),  # a cookie would carry one page's visit into the next
        auto_decompress=False,  # ingest.body does it, within bounds
        timeout=aiohttp.ClientTimeout(total=settings.total_timeout_s, sock_connect=settings.connect_timeout_s),
        trust_env=False,  # a proxy would resolve names out of the guard's sight
    )
