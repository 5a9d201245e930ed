"""One page in the browser, from its body as fetched to its tree as its scripts have made it.

Importing this module needs Playwright.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from time import monotonic
from typing import Any

from playwright.async_api import BrowserContext, CDPSession, Error, Page

from ray_app.config import RenderSettings
from ray_app.ingest.render.browser import first_line
from ray_app.ingest.render.requests import Requests
from ray_app.ingest.render.resource import Resource, ResourceTask
from ray_app.ingest.render.rules import RenderFailed, Settling
from ray_app.ingest.render.scripts import look, serialise
from ray_app.ingest.urls import origin
from ray_app.records import FetchResult

LOOK_S = 0.1  # between two looks at the page
SERIALISE_S = 5.0  # of the time for a page kept for writing its tree down; the largest take 1
CRASHED = "Its process ended: it crashed, or wanted more memory than allowed."

# A browser without an interface says that it is offline, and many applications then do not even try.
_ONLINE = "Object.defineProperty(Navigator.prototype, 'onLine', {get: () => true, configurable: true})"


@dataclass(frozen=True, slots=True)
class Rendered:
    """What became of a page: its HTML, or the address that its scripts lead to."""

    html: str = ""
    location: str = ""  # normalised
    settled: bool = True
    asked: int = 0  # scripts and data
    refused: int = 0  # of those
    bytes_received: int = 0


class PageLoad:
    """One load of one page in a context of its own."""

    def __init__(
        self,
        context: BrowserContext,
        result: FetchResult,
        settings: RenderSettings,
        get: Callable[[ResourceTask], Awaitable[Resource]],
    ) -> None:
        """``result`` is the page as fetched, ``get`` brings one hop of a resource."""
        self._context = context
        self._url = result.task.url
        self._settings = settings
        self._settling = Settling(monotonic())
        self._requests = Requests(result, settings, get, self._settling)
        self._deadline = monotonic() + settings.timeout_s - SERIALISE_S
        self._world = 0  # id of the world that our scripts run in; 0: none yet

    async def run(self) -> Rendered:
        """Raises RenderFailed, and playwright's Error when the browser is gone."""
        work = asyncio.create_task(self._work())
        given_up = asyncio.create_task(self._requests.given_up())
        try:
            await asyncio.wait((work, given_up), return_when=asyncio.FIRST_COMPLETED)
            self._requests.check()
            return await work
        finally:
            work.cancel()
            given_up.cancel()
            await asyncio.gather(work, given_up, return_exceptions=True)
            await self._requests.close()

    async def _work(self) -> Rendered:
        page, session = await self._prepare()
        await self._open(page)
        settled = await self._settle(session)
        seen = self._requests
        html = "" if seen.location else await self._serialise(session)
        return Rendered(html, seen.location, settled, seen.asked, seen.refused, seen.bytes_received)

    async def _prepare(self) -> tuple[Page, CDPSession]:
        await self._context.add_init_script(_ONLINE)
        await self._context.route("**/*", self._requests.on_request)
        page = await self._context.new_page()
        self._requests.serve(page)
        self._context.on("page", _close)  # pop-ups
        page.on("crash", lambda _: self._requests.fail(CRASHED))
        page.on("close", lambda _: self._requests.fail("It closed its own window."))  # or the browser has ended
        return page, await self._context.new_cdp_session(page)

    async def _open(self, page: Page) -> None:
        try:
            await page.goto(self._url, wait_until="commit", timeout=self._settings.script_s * 1000)
        except Error as error:
            # One that leads elsewhere or loads itself again at once does not count as opened for Playwright.
            if not self._requests.loads:
                raise RenderFailed("The browser did not open it.", hint=first_line(error)) from None

    async def _settle(self, session: CDPSession) -> bool:
        """Wait until nothing happens any more; False when it has to be taken as it is."""
        while not self._requests.location:
            await asyncio.sleep(LOOK_S)
            state, characters, address = await self._evaluate(session, look(), self._settings.script_s)
            if not address.startswith(f"{origin(self._url)}/"):
                raise RenderFailed("Its scripts put another document in its place.")
            now = monotonic()
            self._settling.saw(now, characters, loading=state == "loading")
            if self._settling.is_over(now):
                return True
            if self._settling.is_hopeless(now) or now > self._deadline:
                return False
        return True

    async def _serialise(self, session: CDPSession) -> str:
        cap = self._settings.html_cap_bytes
        html = await self._evaluate(session, serialise(cap, self._url), SERIALISE_S)
        if html is None or len(html.encode("utf-8", "replace")) > cap:
            raise RenderFailed(f"Its scripts made it larger than {cap} bytes.")
        return str(html)

    async def _evaluate(self, session: CDPSession, code: str, timeout_s: float) -> Any:
        """The value of ``code`` in a world of ours. Raises RenderFailed, also when the page's scripts never pause."""
        try:
            async with asyncio.timeout(timeout_s):
                while True:
                    with contextlib.suppress(_Replaced):
                        return await self._evaluate_once(session, code, timeout_s)
                    await asyncio.sleep(LOOK_S)
        except TimeoutError:
            raise RenderFailed(f"Its scripts ran for {timeout_s:g} seconds without a pause.") from None

    async def _evaluate_once(self, session: CDPSession, code: str, timeout_s: float) -> Any:
        try:
            self._world = self._world or await _new_world(session)
            order = {"expression": code, "contextId": self._world, "returnByValue": True, "timeout": timeout_s * 1000}
            answer = await session.send("Runtime.evaluate", order)
        except Error as error:
            self._world = 0
            if "crash" in str(error):
                raise RenderFailed(CRASHED) from None
            if "context" in str(error) or "frame" in str(error):
                raise _Replaced from None
            raise
        if "exceptionDetails" in answer:
            raise RenderFailed("Its tree cannot be read.")
        return answer["result"].get("value")


class _Replaced(Exception):
    """The document that was asked is gone: the page has been loaded again."""


async def _new_world(session: CDPSession) -> int:
    tree = await session.send("Page.getFrameTree")
    frame = {"frameId": tree["frameTree"]["frame"]["id"], "worldName": "backline"}
    return int((await session.send("Page.createIsolatedWorld", frame))["executionContextId"])


async def _close(page: Page) -> None:
    with contextlib.suppress(Error):  # it has closed itself
        await page.close()
