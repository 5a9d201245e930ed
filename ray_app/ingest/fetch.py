"""Getting the bytes, politely: a URL becomes a FetchResult.

One Fetcher holds the pace of every host it meets, so a host must always go to the same Fetcher. It never
raises for what a URL or a server does: each task comes back with a state and a reason.
"""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Callable, Sequence
from time import monotonic

import aiohttp

from ray_app.config import CrawlSettings
from ray_app.errors import BadUrl, BlockedAddress
from ray_app.ingest import headers
from ray_app.ingest.body import SLOW_AFTER_S, BodyLimits, BodyReader, BodyRefused
from ray_app.ingest.guard import Guard
from ray_app.ingest.lanes import HostProfile, Lane, Lanes
from ray_app.ingest.pacing import HostDown, HostPaused
from ray_app.ingest.page import walls
from ray_app.ingest.render.resource import Resource, ResourceReader, ResourceTask, profile_for
from ray_app.ingest.robots import Robots
from ray_app.ingest.robots_reader import RobotsReader
from ray_app.ingest.transport import SILENT, Transport, reason_of
from ray_app.ingest.urls import normalise, origin
from ray_app.ingest.visit import Visit, backoff
from ray_app.records import FetchResult, FetchTask, Kind, UrlState

__all__ = ["Fetcher", "HostProfile"]

_NO_CONTENT = (204, 205)
_WHOLE_BODY = (200, 203)
_SLOW_DOWN = (429, 503)
_MOMENTARY = (408, 425)  # of the 4xx, these may go well the next time
_GUARDED = (401, 403, 429, 503)  # what guards against robots answer with, and sites themselves too
WALL_HEAD_BYTES = 64 * 1024
SITEMAP_CAP_BYTES = 50 * 2**20  # by the protocol
MAX_NAMED_SITEMAPS = 200  # of one robots.txt


class Fetcher:
    """Fetches batches of URLs; several batches may be under way at once.

    ``clock`` gives POSIX seconds. ``slow_after_s`` is when the minimum rate of a body begins to count.
    """

    def __init__(
        self,
        settings: CrawlSettings,
        clock: Callable[[], float] = time.time,
        *,
        slow_after_s: float = SLOW_AFTER_S,
    ) -> None:
        self._clock = clock
        self._slow_after_s = slow_after_s
        self._transport = Transport()
        self._work_by(settings)

    def _work_by(self, settings: CrawlSettings) -> None:
        self._settings = settings
        self._lanes = Lanes(settings, self._clock, RobotsReader(self._transport, settings).read)
        self._resources = ResourceReader(self._transport, settings, self._slow_after_s)

    async def start(self) -> None:
        """Refuse settings that could never fetch, before any URL is handed in. Raises ConfigError."""
        Guard(self._settings.allow_hosts)

    async def adopt(self, settings: CrawlSettings) -> None:
        """Work by these from now on; each host keeps its pace. No batch may be under way."""
        before = self._lanes
        self._work_by(settings)
        await before.close()

    async def close(self) -> None:
        """Close every connection, which open on first use; no batch may be under way."""
        await self._lanes.close()

    async def fetch_batch(self, tasks: Sequence[FetchTask], profile: HostProfile) -> list[FetchResult]:
        """One result per task, in their order. Raises ConfigError when ``profile.allow_hosts`` is wrong."""
        lane = await self._lanes.of(profile)
        lane.users += 1
        try:
            return await asyncio.gather(*(self._fetch(lane, task) for task in tasks))
        finally:
            lane.users -= 1

    async def resource(self, task: ResourceTask, profile: HostProfile) -> Resource:
        """One hop for something that a page being rendered asks for, at the pace and past the gates of pages.

        Raises ConfigError when ``profile.allow_hosts`` is wrong.
        """
        lane = await self._lanes.of(profile_for(task, profile))
        lane.users += 1
        try:
            return await self._resources.read(lane, task, self._clock())
        finally:
            lane.users -= 1

    async def _fetch(self, lane: Lane, task: FetchTask) -> FetchResult:
        """Any error of the way becomes a result here."""
        visit = Visit(task, self._settings.max_attempts, self._clock)
        try:
            return await self._follow_rules(visit, lane, normalise(task.url))
        except BadUrl as error:
            return visit.skipped("bad_url", detail=error.message)
        except BlockedAddress as error:
            return visit.blocked(error.message)
        except HostPaused as error:
            wait = self._transport.gate(normalise(task.url)).pause_left(monotonic())
            return visit.deferred(wait, "host_down" if isinstance(error, HostDown) else "http_429")
        except BodyRefused as error:
            return self._refuse_body(visit, error)
        except (aiohttp.ClientError, OSError) as error:
            return visit.retry(reason_of(error), detail=type(error).__name__)

    async def _follow_rules(self, visit: Visit, lane: Lane, url: str) -> FetchResult:
        """Ask robots.txt first."""
        lane.guard.check_url(url)
        rules = await lane.robots.get(origin(url))
        if rules.reason:
            return self._without_rules(visit, url, rules.reason)
        if visit.task.kind is Kind.ROBOTS:
            visit.begin()
            return visit.result(UrlState.FETCHED, "ok", sitemaps=_sitemaps(rules, origin(url)))
        if not _invited(visit.task, rules) and not rules.allowed(url, lane.profile.user_agent):
            return visit.skipped("robots")
        return await self._request(visit, lane, url, rules)

    def _without_rules(self, visit: Visit, url: str, reason: str) -> FetchResult:
        """Nothing may be fetched while the rules are unknown."""
        if reason in ("http_429", "host_down"):
            return visit.deferred(self._transport.gate(url).pause_left(monotonic()), reason)
        if reason in SILENT:
            return visit.retry(reason, detail="robots.txt could not be read.")
        if visit.task.kind is Kind.ROBOTS:
            visit.begin()
            return visit.failed(reason)
        return visit.skipped(reason)

    async def _request(self, visit: Visit, lane: Lane, url: str, rules: Robots) -> FetchResult:
        pace = lane.pace(rules, self._settings)
        conditions = _conditions(visit.task)
        async with self._transport.request(lane, url, pace, extra_headers=conditions, on_turn=visit.begin) as response:
            visit.status = response.status
            if response.status in _GUARDED and await self._is_bot_wall(response):
                self._transport.gate(url).slow_down(monotonic(), 0.0)
                return visit.failed("bot_wall", "A guard against robots stands before the site.")
            if response.status in _SLOW_DOWN:
                return self._slow_down(visit, url, response)
            if response.status < 500:
                self._transport.gate(url).recover()
            result = await self._judge(visit, url, response)
        noindex, nofollow = headers.robots_tag(response.headers.getall("X-Robots-Tag", ()), lane.profile.user_agent)
        return dataclasses.replace(result, noindex=noindex, nofollow=nofollow) if noindex or nofollow else result

    async def _judge(self, visit: Visit, url: str, response: aiohttp.ClientResponse) -> FetchResult:
        """What the status says, and with it whether the body is wanted."""
        match response.status // 100:
            case 2:
                return await self._success(visit, url, response)
            case 3:
                return self._elsewhere(visit, url, response)
            case 4:
                return self._refused(visit)
            case 5:
                return visit.retry("http_5xx")
            case _:
                return visit.retry("protocol", detail="The status is not one of HTTP.")

    async def _success(self, visit: Visit, url: str, response: aiohttp.ClientResponse) -> FetchResult:
        if response.status in _NO_CONTENT:
            return visit.result(UrlState.FETCHED, "empty")
        if response.status not in _WHOLE_BODY:
            return visit.retry("protocol", detail="The body is not the whole page.")
        media_type, charset = headers.content_type(response.headers.get("Content-Type", ""))
        kind = "sitemap" if visit.task.kind is Kind.SITEMAP else headers.kind_of(media_type, url)
        if not kind:
            return visit.skipped("media_type", media_type=media_type)
        body = await self._read(visit, kind, response)
        if kind != "sitemap":  # a sitemap is known by what is in it
            media_type = {"pdf": headers.PDF, "html": media_type}.get(kind) or headers.sniff(body)
            if not media_type:
                return visit.skipped("media_type")
        return visit.result(
            UrlState.FETCHED,
            "ok",
            body=body,
            media_type=media_type,
            charset=charset,
            etag=headers.validator(response.headers.get("ETag", "")),
            last_modified=headers.validator(response.headers.get("Last-Modified", "")),
        )

    async def _read(self, visit: Visit, kind: str, response: aiohttp.ClientResponse) -> bytes:
        caps = {"pdf": self._settings.pdf_cap_bytes, "sitemap": SITEMAP_CAP_BYTES}
        cap = caps.get(kind, self._settings.html_cap_bytes)
        if (response.content_length or 0) > cap:
            raise BodyRefused("too_large", hint=f"The server announces more than {cap} bytes.")
        limits = BodyLimits(cap, self._settings.min_bytes_per_s, self._slow_after_s)
        encoding = ", ".join(response.headers.getall("Content-Encoding", ()))
        visit.reader = BodyReader(encoding, limits)
        return await visit.reader.read(response.content)

    def _elsewhere(self, visit: Visit, url: str, response: aiohttp.ClientResponse) -> FetchResult:
        """304, or a redirect: that is recorded, not followed, so its target passes every gate by itself."""
        if response.status == 304:
            return _not_modified(visit, response)
        target = headers.location(response.headers.get("Location", ""), url)
        if not target:
            return visit.failed("protocol", "The redirect names no URL that can be crawled.")
        if target == url:
            return visit.failed("redirect_loop", "The URL redirects to itself.")
        return visit.skipped("redirect", location=target)

    async def _is_bot_wall(self, response: aiohttp.ClientResponse) -> bool:
        """Told by headers and by the first bytes of the body, which is thrown away."""
        limits = BodyLimits(WALL_HEAD_BYTES, self._settings.min_bytes_per_s, self._slow_after_s, truncate=True)
        try:
            encoding = ", ".join(response.headers.getall("Content-Encoding", ()))
            head = await BodyReader(encoding, limits).read(response.content)
        except BodyRefused:
            head = b""
        return walls.bot_wall(response.status, response.headers, head)

    def _refused(self, visit: Visit) -> FetchResult:
        if visit.status == 401:
            return visit.skipped("login_wall")
        if visit.status in (404, 410):
            return visit.result(UrlState.GONE, f"http_{visit.status}")
        if visit.status in _MOMENTARY:
            return visit.retry("http_4xx")
        return visit.failed("http_4xx")

    def _slow_down(self, visit: Visit, url: str, response: aiohttp.ClientResponse) -> FetchResult:
        """429 and 503 speak for the whole host, not only for this URL."""
        cap = self._settings.retry_after_cap_s
        asked = headers.retry_after(response.headers.get("Retry-After", ""), self._clock(), cap)
        if asked is None:
            # A 503 without a wish may concern one broken page; a 429 never does.
            asked = backoff(visit.task.attempts) if response.status == 429 else 0.0
        self._transport.gate(url).slow_down(monotonic(), asked)
        return visit.retry("http_429" if response.status == 429 else "http_5xx", at_least_s=asked)

    def _refuse_body(self, visit: Visit, error: BodyRefused) -> FetchResult:
        if error.message == "slow_body":
            return visit.retry(error.message, detail=error.hint)
        return visit.failed(error.message, error.hint)


def _sitemaps(rules: Robots, site: str) -> tuple[str, ...]:
    """The sitemaps that a robots.txt names, else where one usually lies."""
    named = (headers.location(one, f"{site}/robots.txt") for one in rules.sitemaps)
    return tuple(dict.fromkeys(filter(None, named)))[:MAX_NAMED_SITEMAPS] or (f"{site}/sitemap.xml",)


def _invited(task: FetchTask, rules: Robots) -> bool:
    """Whether a site has itself named a sitemap, here or in an index, so that its rules for pages do not apply."""
    if task.kind is not Kind.SITEMAP:
        return False
    return task.invited or (bool(rules.sitemaps) and task.url in _sitemaps(rules, origin(task.url)))


def _not_modified(visit: Visit, response: aiohttp.ClientResponse) -> FetchResult:
    task = visit.task
    if not (task.etag or task.last_modified):
        return visit.retry("protocol", detail="304 without having been asked for changes.")
    return visit.result(
        UrlState.FETCHED,
        "not_modified",
        etag=headers.validator(response.headers.get("ETag", "")) or task.etag,
        last_modified=headers.validator(response.headers.get("Last-Modified", "")) or task.last_modified,
    )


def _conditions(task: FetchTask) -> dict[str, str]:
    """Ask for the body only if it differs from what is stored."""
    conditions = {}
    if etag := headers.validator(task.etag):
        conditions["If-None-Match"] = etag
    if last_modified := headers.validator(task.last_modified):
        conditions["If-Modified-Since"] = last_modified
    return conditions
