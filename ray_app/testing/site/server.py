"""The server round the pages: it listens on loopback only and remembers what it was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import TracebackType
from typing import Self

from aiohttp import web
from aiohttp.typedefs import Handler

from ray_app.testing.site import misbehaving, walls
from ray_app.testing.site.expected import ELSEWHERE, FATES
from ray_app.testing.site.pages import Page, default_pages, html

DEFAULT_ROBOTS = "User-agent: *\nDisallow: /private/\nSitemap: /sitemap.xml\n"


@dataclass(frozen=True, slots=True)
class Request:
    """One request that reached the site."""

    path: str  # with the query
    headers: Mapping[str, str]


class Site:
    """``pages`` may be changed while it runs; they win over the misbehaving paths.

    ``/robots.txt`` is a page like any other, so a test can break it in any way.
    """

    def __init__(self, pages: Mapping[str, Page] | None = None, *, host: str = "127.0.0.1", log: bool = True) -> None:
        """``pages`` replaces the default ones; ``log=False`` keeps no requests, for measuring."""
        self.pages = dict(everything() if pages is None else pages)
        self.pages.setdefault("/robots.txt", Page(DEFAULT_ROBOTS.encode(), media_type="text/plain"))
        self.requests: list[Request] = []
        self._host = host
        self._log = log
        self._port = 0
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> Self:
        await self.start()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.stop()

    async def start(self, port: int = 0) -> None:
        """Listen on ``port``, or on a free one."""
        app = web.Application(middlewares=[self._serve_pages])
        app.add_routes(misbehaving.routes())
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=0.1)
        await self._runner.setup()
        await web.TCPSite(self._runner, self._host, port, backlog=1024).start()
        self._port = self._runner.addresses[0][1]

    async def stop(self) -> None:
        """Stop at once; answers under way are cut off."""
        if self._runner is not None:
            await self._runner.cleanup()
            self._runner = None

    @property
    def authority(self) -> str:
        """``host:port``, which is also the entry for ``allow_hosts``."""
        return f"{self._host}:{self._port}"

    def url(self, path: str = "/") -> str:
        """The absolute URL of a path."""
        return f"http://{self.authority}{path}"

    def paths(self) -> list[str]:
        """What was asked for, in order, without what a crawler asks of itself: robots.txt and /sitemap.xml."""
        return [request.path for request in self.requests if request.path not in ("/robots.txt", "/sitemap.xml")]

    def count(self, path: str) -> int:
        """How often a path (with its query) was asked for."""
        return sum(request.path == path for request in self.requests)

    @web.middleware
    async def _serve_pages(self, request: web.Request, handler: Handler) -> web.StreamResponse:
        if self._log:
            self.requests.append(Request(request.path_qs, dict(request.headers)))
        page = self.pages.get(request.path_qs) or self.pages.get(request.path)
        return await handler(request) if page is None else _answer(request, page)


def _answer(request: web.Request, page: Page) -> web.Response:
    headers = dict(page.headers)
    if page.etag:
        headers["ETag"] = page.etag
    if page.last_modified:
        headers["Last-Modified"] = page.last_modified
    if _unchanged(request, page):
        return web.Response(status=304, headers=headers)
    return web.Response(status=page.status, body=page.body, headers={**headers, "Content-Type": page.media_type})


def _unchanged(request: web.Request, page: Page) -> bool:
    if page.etag and request.headers.get("If-None-Match") == page.etag:
        return True
    return bool(page.last_modified) and request.headers.get("If-Modified-Since") == page.last_modified


def everything() -> dict[str, Page]:
    """All pages, and ``/everything``, which links to every path whose fate is known."""
    links = (*FATES, *ELSEWHERE)
    return {**default_pages(), **walls.pages(), "/everything": Page(html("Everything", "All there is.", links))}
