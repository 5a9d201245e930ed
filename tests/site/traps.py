"""A listener that nobody may reach, and what the tests of rendering share."""

from __future__ import annotations

import asyncio
import re
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType
from typing import TYPE_CHECKING, Self

import pytest

from ray_app.config import CrawlSettings, RenderSettings
from ray_app.ingest.fetch import Fetcher, HostProfile
from ray_app.ingest.render.renderer import Renderer
from ray_app.ingest.render.resource import Resource, ResourceTask
from ray_app.records import FetchResult, FetchTask
from ray_app.testing.site import Site

if TYPE_CHECKING:
    from ray_app.ingest.render.browser import Walls

UA = "Backline/0.1"
BROWSERS = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
needs_browser = pytest.mark.skipif(
    not any(map(shutil.which, BROWSERS)), reason="no Chromium or Chrome is installed (apt-get install chromium)"
)

_PATH = re.compile(rb"[A-Z]+ \S*?/([\w-]+)[? ]")


class Trap(asyncio.DatagramProtocol):
    """Listens on loopback for TCP and UDP. ``caught`` names what came: the last part of the path, or what it was."""

    def __init__(self) -> None:
        self.caught: set[str] = set()

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._connected, "127.0.0.1", 0)
        self._datagrams, _ = await asyncio.get_running_loop().create_datagram_endpoint(
            lambda: self, local_addr=("127.0.0.1", 0)
        )
        self.tcp = f"127.0.0.1:{self._server.sockets[0].getsockname()[1]}"
        self.udp = "127.0.0.1:{}".format(self._datagrams.get_extra_info("sockname")[1])
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._server.close()
        self._datagrams.close()

    def datagram_received(self, data: bytes, addr: tuple[str, int]) -> None:
        self.caught.add("stun" if data[4:8] == b"\x21\x12\xa4\x42" else "quic")

    async def _connected(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            async with asyncio.timeout(2):
                data = await reader.read(2048)
        except (TimeoutError, ConnectionError):
            data = b""
        named = _PATH.match(data)
        is_turn = data[4:8] == b"\x21\x12\xa4\x42"
        self.caught.add(named[1].decode() if named else "turn" if is_turn else "connection")
        writer.write(
            b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\nAccess-Control-Allow-Origin: *\r\nConnection: close\r\n\r\n"
        )
        writer.close()


class LocalGetter:
    """A ResourceGetter beside the Fetcher. Remembers what it was asked for."""

    def __init__(self, fetcher: Fetcher) -> None:
        self._fetcher = fetcher
        self.forget()

    def forget(self) -> None:
        self.asked: list[ResourceTask] = []
        self.reasons: dict[str, str] = {}

    async def get(self, task: ResourceTask, profile: HostProfile) -> Resource:
        self.asked.append(task)
        found = await self._fetcher.resource(task, profile)
        self.reasons[task.url] = found.reason
        return found


class Kit:
    """A site, a fetcher and a renderer."""

    def __init__(self, site: Site, fetcher: Fetcher, renderer: Renderer, getter: LocalGetter) -> None:
        self.site, self.fetcher, self.renderer, self.getter = site, fetcher, renderer, getter

    @property
    def profile(self) -> HostProfile:
        return HostProfile(0.0, UA, (self.site.authority,))

    async def fetch(self, path: str, profile: HostProfile | None = None) -> FetchResult:
        task = FetchTask("acme", self.site.url(path))
        (result,) = await self.fetcher.fetch_batch([task], profile or self.profile)
        return result

    async def render(self, path: str, profile: HostProfile | None = None) -> FetchResult:
        return await self.renderer.render(await self.fetch(path, profile), profile or self.profile)

    async def resource(self, url: str, page: str = "") -> Resource:
        return await self.fetcher.resource(ResourceTask(url, page or self.site.url("/"), 2**20), self.profile)


@asynccontextmanager
async def make_kit(site: Site, settings: RenderSettings, walls: Walls | None = None) -> AsyncIterator[Kit]:
    """All of it; the browser starts with the first page."""
    fetcher = Fetcher(CrawlSettings())
    getter = LocalGetter(fetcher)
    renderer = Renderer(settings, getter, walls=walls)
    try:
        yield Kit(site, fetcher, renderer, getter)
    finally:
        await renderer.close()
        await fetcher.close()
