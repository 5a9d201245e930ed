"""Every request of a page in the browser is answered here.

Given are the page itself (the body that was already fetched), scripts, and what scripts ask for by GET; the latter two
come from a ``ResourceGetter``, which knows the guard, robots.txt and the pace. Style sheets are given as empty: some
loaders wait for them, and text needs none. All else is refused: images, fonts, media, frames, pop-ups, workers' own
requests, beacons, prefetches, event streams, forms, and every method but GET, for a crawler changes nothing where it
reads. What never comes here (WebSocket, WebRTC, whatever DevTools lets through) meets the walls of ``browser``.

Importing this module needs Playwright.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from time import monotonic
from typing import Final

from playwright.async_api import Error, Page, Request, Route

from ray_app.config import RenderSettings
from ray_app.ingest import headers
from ray_app.ingest.render.resource import RESOURCE_CAP_BYTES, Resource, ResourceTask
from ray_app.ingest.render.rules import RenderFailed, Settling, is_tracker, may_read, response_headers
from ray_app.ingest.urls import authority
from ray_app.records import FetchResult

MAX_SEEN = 3_000  # requests of any kind; refusing one costs about 2 ms here and in the driver
MAX_RELOADS = 2  # a page may set a marker and load itself again; more is a loop
MAX_HOPS = 5  # redirects of one script or answer

_GIVEN: Final = ("script", "xhr", "fetch")
_OF_ANY_SITE: Final = ("accept", "origin")  # headers that are sent on when a redirect leads to another site


class Requests:
    """The requests of one page load, and what they tell about it."""

    def __init__(
        self,
        result: FetchResult,
        settings: RenderSettings,
        get: Callable[[ResourceTask], Awaitable[Resource]],
        settling: Settling,
    ) -> None:
        """``result`` is the page as fetched, ``get`` brings one hop of a resource."""
        self._result = result
        self._settings = settings
        self._get = get
        self._settling = settling
        self._url = result.task.url
        self._page: Page | None = None
        self._tasks: set[asyncio.Task[None]] = set()
        self._seen = 0
        self._bytes = 0
        self._fault = ""  # why the page must be given up
        self._error: BaseException | None = None  # a defect of ours, or of the getter
        self._over = asyncio.Event()
        self.loads = 0  # of the page itself
        self.asked = 0  # scripts and data
        self.refused = 0  # of those
        self.bytes_received = 0
        self.location = ""  # where the page's scripts lead, normalised

    def serve(self, page: Page) -> None:
        """Answer the requests of this page; all others of its context are refused."""
        self._page = page

    async def on_request(self, route: Route) -> None:
        """Playwright's handler. It never waits, for requests are handed over one by one."""
        task = asyncio.create_task(self._answer(route))
        self._tasks.add(task)
        task.add_done_callback(self._answered)

    async def close(self) -> None:
        """Stop what is under way; its answers have nobody to go to."""
        tasks = list(self._tasks)
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def fail(self, why: str) -> None:
        """Give the page up; the first reason stands."""
        self._fault = self._fault or why
        self._over.set()

    async def given_up(self) -> None:
        """Wait until ``check`` has something to raise."""
        await self._over.wait()

    def check(self) -> None:
        """Raises RenderFailed when the page has to be given up, and whatever went wrong with us."""
        if self._error is not None:
            raise self._error
        if self._fault:
            raise RenderFailed(self._fault)

    def _answered(self, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        if not task.cancelled() and (error := task.exception()):
            self._error = self._error or error
            self._over.set()

    async def _answer(self, route: Route) -> None:
        self._seen += 1
        if self._seen > MAX_SEEN:
            self.fail(f"It made more than {MAX_SEEN} requests.")
        with contextlib.suppress(Error):  # whoever asked is gone
            request = route.request
            if self._fault or not self._is_of_page(request):
                await route.abort("blockedbyclient")
            elif request.is_navigation_request():
                await self._navigate(route, request)
            elif request.resource_type == "stylesheet":
                await route.fulfill(status=200, content_type="text/css", body="")
            elif self._is_given(request):
                await self._deliver(route, request)
            else:
                await route.abort("blockedbyclient")

    def _is_of_page(self, request: Request) -> bool:
        try:
            return self._page is not None and request.frame == self._page.main_frame
        except Error:  # no frame asks: a service worker, or a navigation that has none yet
            return request.is_navigation_request() and not self.loads

    def _is_given(self, request: Request) -> bool:
        if request.method != "GET" or request.resource_type not in _GIVEN or is_tracker(request.url):
            return False
        return self._settings.other_hosts or authority(request.url) == authority(self._url)

    async def _navigate(self, route: Route, request: Request) -> None:
        """The page gets its body; where else it wants to go is noted, and it stays where it is."""
        target = headers.location(request.url, self._url)
        again = target == headers.location(self._url, self._url)
        if not self.loads or (again and self.loads <= MAX_RELOADS):
            self.loads += 1
            self._settling.loaded(monotonic())
            charset = f"; charset={self._result.charset}" if self._result.charset else ""
            kind = (self._result.media_type or "text/html") + charset
            await route.fulfill(status=200, content_type=kind, body=self._result.body)
            return
        if target and not again and request.method == "GET":
            self.location = target
        await route.abort("aborted")

    async def _deliver(self, route: Route, request: Request) -> None:
        script = request.resource_type == "script"
        self.asked += 1
        if self.asked > self._settings.max_requests:
            self.fail(f"It asked for more than {self._settings.max_requests} scripts and data.")
        self._settling.began(monotonic(), script=script)
        try:
            found = None if self._fault else await self._follow(request, script=script)
            if found is None:
                self.refused += 1
                await route.abort("failed")
            else:
                await route.fulfill(status=found.status, headers=response_headers(found), body=found.body)
        finally:
            self._settling.ended(monotonic(), script=script)

    async def _follow(self, request: Request, *, script: bool) -> Resource | None:
        """The answer behind all redirects; None when there is none, or none for this page."""
        sent = tuple((name.lower(), value) for name, value in request.headers.items())
        url = request.url
        for _ in range(MAX_HOPS + 1):
            cap = max(1, min(RESOURCE_CAP_BYTES, self._settings.max_bytes - self._bytes))
            found = await self._get(ResourceTask(url, self._url, cap, sent, shareable=script))
            self.bytes_received += found.bytes_received
            if found.reason != "redirect":
                return self._accepted(found, script=script)
            if authority(found.location) != authority(url):
                sent = tuple(one for one in sent if one[0] in _OF_ANY_SITE)
            url = found.location
        return None

    def _accepted(self, found: Resource, *, script: bool) -> Resource | None:
        self._bytes += len(found.body)
        if self._bytes > self._settings.max_bytes or found.reason == "too_large":
            self.fail("Its scripts and data are larger than allowed.")
        answered = found.reason == "ok" and found.status >= 200
        return found if answered and may_read(found, self._url, script=script) else None
