"""Fetching robots.txt, through the same guard and at the same pace as the pages."""

from __future__ import annotations

import asyncio

import aiohttp

from ray_app.config import CrawlSettings
from ray_app.errors import BlockedAddress
from ray_app.ingest import headers, robots
from ray_app.ingest.body import SLOW_AFTER_S, BodyLimits, BodyReader, BodyRefused
from ray_app.ingest.lanes import Lane
from ray_app.ingest.pacing import HostDown, HostPaused
from ray_app.ingest.robots import Robots
from ray_app.ingest.transport import SILENT, Transport, reason_of

TRIES = 3  # a site that fails for a moment should not lose a whole crawl to it
FIRST_WAIT_S = 0.5  # before the second try, doubled before the third
TIMEOUT_S = 20.0  # every page of the site waits for this answer


class RobotsReader:
    """Reads the robots.txt of an origin and never raises: a failure is an answer too."""

    def __init__(self, transport: Transport, settings: CrawlSettings) -> None:
        self._transport = transport
        self._settings = settings
        self._timeout = aiohttp.ClientTimeout(
            total=min(TIMEOUT_S, settings.total_timeout_s), sock_connect=settings.connect_timeout_s
        )
        self._limits = BodyLimits(
            # One byte more than is parsed, so that parsing can tell a file that was cut.
            max_bytes=robots.MAX_PARSED_BYTES + 1,
            min_bytes_per_s=settings.min_bytes_per_s,
            slow_after_s=SLOW_AFTER_S,
            truncate=True,
        )

    async def read(self, lane: Lane, origin: str) -> Robots:
        """The rules of ``scheme://authority``, tried again while the server fails."""
        for attempt in range(TRIES):
            if attempt:
                await asyncio.sleep(FIRST_WAIT_S * 2 ** (attempt - 1))
            rules, try_again = await self._try(lane, origin)
            if not try_again:
                break
        return rules

    async def _try(self, lane: Lane, origin: str) -> tuple[Robots, bool]:
        """The rules, and whether another try may bring better ones."""
        try:
            rules = await self._follow(lane, f"{origin}/robots.txt")
            return rules, bool(rules.reason)
        except BlockedAddress:
            return Robots.unreachable("blocked_address"), False
        except HostDown:
            return Robots.unreachable("host_down"), False
        except HostPaused:
            return Robots.unreachable("http_429"), False
        except BodyRefused:
            return Robots.unreachable(), False
        except (aiohttp.ClientError, OSError) as error:
            return _after_error(reason_of(error))

    async def _follow(self, lane: Lane, url: str) -> Robots:
        for _ in range(robots.MAX_REDIRECTS + 1):
            pace = lane.pace(Robots.allow_all(), self._settings)
            async with self._transport.request(lane, url, pace, limits=self._timeout) as response:
                target = headers.location(response.headers.get("Location", ""), url)
                if not (300 <= response.status < 400 and target):
                    return await self._parse(response)
            url = target
        return Robots.allow_all()

    async def _parse(self, response: aiohttp.ClientResponse) -> Robots:
        body = b""
        if 200 <= response.status < 300:
            encoding = ", ".join(response.headers.getall("Content-Encoding", []))
            body = await BodyReader(encoding, self._limits).read(response.content)
        if len(body) > robots.PARSE_ASIDE_BYTES:
            return await asyncio.to_thread(robots.of_status, response.status, body)
        return robots.of_status(response.status, body)


def _after_error(reason: str) -> tuple[Robots, bool]:
    """A host that cannot be found or does not answer is reported as that; the rest is an unreadable robots.txt.

    The wait for another try at a silent host is the ledger's, so that it does not hold the batch up.
    """
    if reason in SILENT:
        return Robots.unreachable(reason), False
    return Robots.unreachable(), reason == "protocol"
