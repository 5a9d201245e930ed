"""Pages that are empty without scripts, read through a browser: a FetchResult becomes one with the HTML that the
page's scripts have made of it.

One browser serves several pages at once, each in a context of its own, is started on first use and replaced when it
died or has grown old. A page that cannot be rendered comes back as it was, and says why. Scripts are kept for a while,
so that a site's bundle is fetched once and not with each page.
"""

from __future__ import annotations

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable, Hashable
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, Final

from ray_app.config import RenderSettings
from ray_app.errors import ConfigError
from ray_app.ingest.lanes import HostProfile
from ray_app.ingest.render.resource import RESOURCE_CAP_BYTES, Resource, ResourceGetter, ResourceTask
from ray_app.ingest.render.rules import BrowserGone, RenderFailed
from ray_app.ingest.urls import origin
from ray_app.observe.log import get_logger
from ray_app.records import FetchResult, UrlState

if TYPE_CHECKING:
    from ray_app.ingest.render.browser import Chromium, Walls
    from ray_app.ingest.render.page import Rendered

log = get_logger(__name__)

HTML: Final = ("text/html", "application/xhtml+xml")
TRIES = 3  # a browser may end under a page because of another one, and the next try meet it before it is known dead
CACHE_S = 600.0  # how long a script is believed; a crawl renders hundreds of pages in that time
CACHE_BYTES = 64 * 2**20  # of scripts, of all sites; a bundle has 1-5 MB
ENTRY_BYTES = 2_048  # what an entry takes beside its body
# Outcomes that stay the same for a while: answers, and refusals by rule. What failed for a moment is asked for again.
_LASTING: Final = ("ok", "redirect", "robots", "blocked_address", "bad_url", "too_large", "bad_encoding")


class Renderer:
    """Renders pages; several may be under way at once, the others wait for a place."""

    def __init__(self, settings: RenderSettings, getter: ResourceGetter, *, walls: Walls | None = None) -> None:
        """``walls`` are those that the system permits, unless a test takes some away."""
        self._settings = settings
        self._getter = ScriptCache(getter)
        self._places = asyncio.Semaphore(settings.pages)
        self._starting = asyncio.Lock()
        self._walls = walls
        self._browser: _Serving | None = None
        self._has_started = False

    @property
    def chromium(self) -> Chromium | None:
        """The browser that serves now, if one was needed yet."""
        return self._browser.chromium if self._browser else None

    async def start(self) -> None:
        """Refuse what could never render, before any page is handed in. Raises ConfigError."""
        await self._find_walls()

    async def rest(self) -> None:
        """End the browser until the next page needs one; pages under way keep theirs."""
        async with self._starting:
            serving, self._browser = self._browser, None
            if serving is not None and not serving.users:
                await serving.chromium.close()

    async def close(self) -> None:
        """End the browser and what is being fetched; no page may be under way."""
        await self.rest()
        await self._getter.close()

    async def render(self, result: FetchResult, profile: HostProfile) -> FetchResult:
        """The result with the page's HTML after its scripts, or with reason ``redirect`` where they lead elsewhere.

        A page that cannot be rendered comes back with its body as fetched and a ``detail``; one that is no HTML comes
        back untouched. Raises ConfigError when Playwright or a browser is missing or does not start.
        """
        if result.state is not UrlState.FETCHED or not result.body or result.media_type not in HTML:
            return result
        async with self._places:
            began = time.monotonic()
            rendered = await self._try(result, profile)
            seconds = time.monotonic() - began
        if isinstance(rendered, str):
            log.info("page_not_rendered", url=result.task.url, why=rendered, seconds=round(seconds, 2))
            return replace(result, detail=f"Not rendered: {rendered}", seconds=result.seconds + seconds)
        return _result(result, rendered, seconds)

    async def _find_walls(self) -> Walls:
        """Raises ConfigError when there is nothing to render with."""
        try:
            from ray_app.ingest.render import browser
        except ImportError:
            raise ConfigError(
                "Pages cannot be rendered, for Playwright is not installed.",
                hint="Install it (pip install 'backline[js]'), or set render: off for the brand.",
            ) from None
        browser.find_browser(self._settings)
        if self._walls is None:
            self._walls = await browser.find_walls(self._settings)
        return self._walls

    async def _try(self, result: FetchResult, profile: HostProfile) -> Rendered | str:
        """What became of it, or why nothing did."""
        walls = await self._find_walls()
        why = ""
        for _ in range(TRIES):
            try:
                return await self._once(walls, result, profile)
            except RenderFailed as error:
                return str(error)
            except BrowserGone as error:
                why = str(error)
        return why

    async def _once(self, walls: Walls, result: FetchResult, profile: HostProfile) -> Rendered:
        """Raises RenderFailed, BrowserGone."""
        serving = await self._enter(walls)
        try:
            return await self._load(serving.chromium, result, profile)
        finally:
            await self._leave(serving)

    async def _load(self, chromium: Chromium, result: FetchResult, profile: HostProfile) -> Rendered:
        """Raises RenderFailed, BrowserGone."""
        from ray_app.ingest.render.page import PageLoad

        async def get(task: ResourceTask) -> Resource:
            return await self._getter.get(task, profile)

        try:
            async with chromium.context(profile.user_agent) as context, asyncio.timeout(self._settings.timeout_s):
                return await PageLoad(context, result, self._settings, get).run()
        except RenderFailed:
            if not chromium.alive:  # its pages seem to crash, each by itself
                raise BrowserGone from None
            raise
        except TimeoutError:
            raise RenderFailed(f"It took longer than {self._settings.timeout_s:g} seconds.") from None

    async def _enter(self, walls: Walls) -> _Serving:
        """The browser that serves now. Raises BrowserGone, ConfigError when none ever started."""
        async with self._starting:
            current = self._browser
            if current is None or not current.chromium.alive or current.pages >= self._settings.recycle_pages:
                current = await self._replace(current, walls)
            current.pages += 1
            current.users += 1
            return current

    async def _replace(self, old: _Serving | None, walls: Walls) -> _Serving:
        from ray_app.ingest.render.browser import Chromium

        self._browser = None
        if old is not None and not old.users:
            await old.chromium.close()
        try:
            self._browser = _Serving(await Chromium.start(self._settings, walls))
        except BrowserGone as error:
            if self._has_started:
                raise
            raise ConfigError(error.message, hint=error.hint) from None
        self._has_started = True
        return self._browser

    async def _leave(self, serving: _Serving) -> None:
        """The last page of a browser that has been replaced ends it."""
        serving.users -= 1
        if serving is not self._browser and not serving.users:
            await serving.chromium.close()


@dataclass(slots=True)
class _Serving:
    """A browser and what it does."""

    chromium: Chromium
    pages: int = 0  # so far
    users: int = 0  # pages under way


@dataclass(slots=True)
class _Kept:
    resource: asyncio.Future[Resource]
    until: float = float("inf")  # monotonic seconds; set when the answer is there


class ScriptCache:
    """A ResourceGetter before another: each script is asked for once, however many pages want it, and kept a while."""

    def __init__(self, getter: ResourceGetter, clock: Callable[[], float] = time.monotonic) -> None:
        """``clock`` gives monotonic seconds."""
        self._getter = getter
        self._clock = clock
        self._kept: OrderedDict[Hashable, _Kept] = OrderedDict()
        self._bytes = 0

    async def get(self, task: ResourceTask, profile: HostProfile) -> Resource:
        """As ResourceGetter; what comes from here has no ``bytes_received``."""
        if not task.shareable:
            return await self._getter.get(task, profile)
        # Whether a site may read it depends on the question having named the site.
        key = (profile, origin(task.page), task.url, any(name == "origin" for name, _ in task.headers))
        kept = self._kept.get(key)
        first = kept is None or kept.until <= self._clock()
        if kept is None or first:
            self._drop(key)
            kept = self._kept[key] = _Kept(asyncio.ensure_future(self._ask(key, task, profile)))
        self._kept.move_to_end(key)
        # Shielded: a page that is given up must not take the script from the others.
        found = await asyncio.shield(kept.resource)
        if len(found.body) > task.cap_bytes:
            return Resource(task.url, "too_large")
        return found if first else replace(found, bytes_received=0)

    async def close(self) -> None:
        """Stop what is being asked for."""
        pending = [kept.resource for kept in self._kept.values() if not kept.resource.done()]
        for future in pending:
            future.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    async def _ask(self, key: Hashable, task: ResourceTask, profile: HostProfile) -> Resource:
        # With the cap for all: what is left to this page must not decide what the next one gets.
        found = await self._getter.get(replace(task, cap_bytes=RESOURCE_CAP_BYTES), profile)
        lasting = found.reason in _LASTING and found.status < 500 and found.status != 429
        stored = lasting and "no-store" not in dict(found.headers).get("cache-control", "")
        if key in self._kept:
            self._kept[key].until = self._clock() + (CACHE_S if stored else 0.0)
            self._bytes += len(found.body) + ENTRY_BYTES
            self._shrink(key)
        return found

    def _shrink(self, newest: Hashable) -> None:
        while self._bytes > CACHE_BYTES:
            oldest = next(iter(self._kept))
            if oldest == newest or not self._kept[oldest].resource.done():
                return
            self._drop(oldest)

    def _drop(self, key: Hashable) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None and kept.resource.done() and not kept.resource.cancelled():
            self._bytes -= len(kept.resource.result().body) + ENTRY_BYTES


def _result(result: FetchResult, rendered: Rendered, seconds: float) -> FetchResult:
    common: dict[str, Any] = {
        "seconds": result.seconds + seconds,
        "bytes_received": result.bytes_received + rendered.bytes_received,
        # They vouch for the shell, which stays the same when what its scripts load changes.
        "etag": "",
        "last_modified": "",
    }
    if rendered.location:
        told = "Its scripts lead elsewhere."
        common |= {"state": UrlState.SKIPPED, "reason": "redirect", "location": rendered.location}
        return replace(result, body=b"", detail=told, **common)
    body = rendered.html.encode("utf-8", "replace")
    return replace(result, body=body, media_type="text/html", charset="utf-8", detail=_told(rendered), **common)


def _told(rendered: Rendered) -> str:
    parts = [f"Rendered with {rendered.asked} scripts and data"]
    if rendered.refused:
        parts.append(f"{rendered.refused} of them not to be had")
    if not rendered.settled:
        parts.append("taken before it came to rest")
    return ", ".join(parts) + "."
