"""One headless Chromium without a network, without rights and with a bounded life, and how it is started and ended.

What a page asks for is intercepted and answered by our own fetcher (``render.page``): that is the first wall, and it
has gaps that only DevTools' authors know. So behind it stand others that hold without it. The second are the browser's
own switches: no name resolves, every connection goes to a proxy that cannot be found, WebRTC may use nothing but that
proxy. The third is the system's: the browser lives in a network namespace of its own that has no interface, as a user
of its own where we are root, and in Chromium's sandbox. Not every system permits the third; ``find_walls`` tells.

Importing this module needs Playwright.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import AsyncIterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import psutil
from playwright.async_api import Browser, BrowserContext, Error, Playwright, async_playwright

from ray_app.config import RenderSettings
from ray_app.errors import ConfigError
from ray_app.ingest.render.browser_child import BROWSER_UID
from ray_app.ingest.render.rules import BrowserGone
from ray_app.observe.log import get_logger

log = get_logger(__name__)

NAMES: Final = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
START_S = 30.0  # a cold start on a busy machine takes 5
CLOSE_S = 5.0  # then it is killed
CONTEXT_S = 15.0  # likewise, when it has not begun a page by then; a busy machine takes 1
PROBE_S = 10.0
WATCH_S = 0.25  # between two looks at its memory; a script writes about 1 GB in that time, which the kernel bounds
BLAME_SHARE = 0.1  # of the memory; when no page has that much, it is the browser that has grown
VIEWPORT = (1280, 3_000)  # tall, for what is shown only when it is scrolled into view

NO_NETWORK: Final = (
    "--host-resolver-rules=MAP * ~NOTFOUND",  # literal addresses too
    "--proxy-server=http://none.invalid:9",
    "--proxy-bypass-list=<-loopback>",  # the default spares loopback the proxy
    "--force-webrtc-ip-handling-policy=disable_non_proxied_udp",
    "--webrtc-ip-handling-policy=disable_non_proxied_udp",  # its name in headless builds
    "--disable-quic",
    "--dns-prefetch-disable",
    "--disable-domain-reliability",
    "--no-pings",
)
_LEAN: Final = (
    "--disable-gpu",
    "--disable-remote-fonts",
    "--deny-permission-prompts",
    "--disable-speech-api",
    # The first is ours: no image is even asked for. The others are Playwright's, which this switch replaces.
    "--blink-settings=imagesEnabled=false,primaryHoverType=2,availableHoverTypes=2,primaryPointerType=4,"
    "availablePointerTypes=4",
)
# What Playwright switches on for tests and pages should not have: pop-ups, floods of messages, software 3D.
_NOT_WANTED: Final = ("--disable-popup-blocking", "--disable-ipc-flooding-protection", "--enable-unsafe-swiftshader")


@dataclass(frozen=True, slots=True)
class Walls:
    """What keeps the browser in, besides the interception of its requests."""

    switches: bool = True  # the browser's own
    no_network: bool = False  # a network namespace
    uid: int = 0  # the user it becomes; 0: ours
    sandbox: bool = False  # Chromium's


@dataclass(frozen=True, slots=True)
class Order:
    """What ``browser_child`` is told."""

    browser: str
    pid_file: str
    memory_mb: int  # of each process
    no_network: bool
    uid: int
    sandbox: bool


class Chromium:
    """A running browser. Build it with ``start``."""

    def __init__(self, playwright: Playwright, browser: Browser, pid: int, memory_mb: int) -> None:
        self._playwright = playwright
        self._browser = browser
        self.pid = pid
        self._memory = memory_mb << 20
        self._driver = psutil.Process(pid).ppid()  # Playwright's, which started it and talks to it
        self._profile = _profile(pid)
        self._killed = False  # by us; it takes a moment to die
        self._watch = asyncio.create_task(self._watch_memory())

    @classmethod
    async def start(cls, settings: RenderSettings, walls: Walls) -> Chromium:
        """Raises BrowserGone when it does not start."""
        playwright = await async_playwright().start()
        try:
            browser, pid = await _launch(playwright, settings, walls)
        except (Error, OSError, ValueError) as error:
            await playwright.stop()
            hint = f"{first_line(error)} See BACKLINE_RENDER__BROWSER and BACKLINE_RENDER__SANDBOX."
            raise BrowserGone("The browser does not start.", hint=hint) from None
        return cls(playwright, browser, pid, settings.memory_mb)

    @property
    def alive(self) -> bool:
        return not self._killed and self._browser.is_connected() and _is_running(self._driver) and _is_running(self.pid)

    @contextlib.asynccontextmanager
    async def context(self, user_agent: str) -> AsyncIterator[BrowserContext]:
        """A fresh one for the block, that has nothing of any other. Playwright's errors become BrowserGone."""
        try:
            context = await self._begin(user_agent)
            try:
                yield context
            finally:
                await self._end(context)
        except Error as error:
            raise BrowserGone(hint=first_line(error)) from None

    async def _begin(self, user_agent: str) -> BrowserContext:
        """Open one; a browser that cannot is killed, for no page will get one from it. Raises BrowserGone, Error."""
        try:
            async with asyncio.timeout(CONTEXT_S):
                return await self._new_context(user_agent)
        except TimeoutError:
            log.warning("browser_hangs")
            self.kill()
            raise BrowserGone(hint=f"It stood still for {CONTEXT_S:g} seconds.") from None
        except Error:  # it is about to end, or has ended and Playwright has not noticed
            self.kill()
            raise

    async def _end(self, context: BrowserContext) -> None:
        """Close it; a browser that cannot even do that is killed, for it would go on with what it does."""
        try:
            async with asyncio.timeout(CLOSE_S):
                await context.close()
        except TimeoutError:
            log.warning("browser_hangs")
            self.kill()
        except Error:  # it is gone, and the browser with it
            return

    async def _new_context(self, user_agent: str) -> BrowserContext:
        return await self._browser.new_context(
            user_agent=f"{self._agent()} {user_agent}",
            accept_downloads=False,
            service_workers="block",
            permissions=[],
            viewport={"width": VIEWPORT[0], "height": VIEWPORT[1]},
            reduced_motion="reduce",
            locale="en-US",
            timezone_id="UTC",  # a date that a script writes must not differ from machine to machine
        )

    def memory(self) -> int:
        """Bytes that its processes and its driver have for themselves."""
        return sum(size for _, size in _sizes(self._driver))

    def kill(self) -> None:
        """End it and its driver at once, whatever state they are in."""
        self._killed = True
        for process in (*_tree(self.pid), *_tree(self._driver)):
            _kill(process)

    async def close(self) -> None:
        """End it, gently if that helps."""
        self._watch.cancel()
        try:
            async with asyncio.timeout(CLOSE_S):
                await self._browser.close()
                await self._playwright.stop()
        except (Error, TimeoutError):
            self.kill()
        if self._profile is not None:
            await asyncio.to_thread(shutil.rmtree, self._profile, ignore_errors=True)

    def _agent(self) -> str:
        """What the browser calls itself where it has a window; pages that find it headless or unknown show less."""
        return (
            f"Mozilla/5.0 (X11; Linux x86_64) AppleWebKit/537.36 (KHTML, like Gecko) "
            f"Chrome/{self._browser.version.partition('.')[0]}.0.0.0 Safari/537.36"
        )

    async def _watch_memory(self) -> None:
        """When its processes together have too much, end the page that has most, or else the browser."""
        while self.alive:
            await asyncio.sleep(WATCH_S)
            sizes = await asyncio.to_thread(_sizes, self._driver)
            if sum(size for _, size in sizes) > self._memory:
                process, size = await asyncio.to_thread(_largest_page, sizes)
                log.warning("browser_too_large", megabytes=size >> 20, is_page=process is not None)
                if process is None or size < self._memory * BLAME_SHARE:
                    self.kill()
                else:
                    _kill(process)


def find_browser(settings: RenderSettings) -> str:
    """The executable. Raises ConfigError when there is none."""
    found = next(filter(None, map(shutil.which, [settings.browser] if settings.browser else NAMES)), None)
    if found is None:
        raise ConfigError(
            f"No browser {settings.browser!r} is there." if settings.browser else "No Chromium or Chrome is installed.",
            hint="Install one (apt-get install chromium), name it in BACKLINE_RENDER__BROWSER, or set render: off.",
        )
    return found


async def find_walls(settings: RenderSettings) -> Walls:
    """The walls that this system permits. Raises ConfigError when the sandbox is required and cannot be had."""
    permits = await _probe() if sys.platform == "linux" else {}
    uid = BROWSER_UID if os.geteuid() == 0 and permits.get("uid") else 0
    if settings.sandbox == "require" and sys.platform == "linux" and not permits.get("sandbox"):
        raise ConfigError(
            "Chromium's sandbox cannot be had: it takes user namespaces, and a user who is not root.",
            hint="Run where they are permitted, or set BACKLINE_RENDER__SANDBOX=auto, or render: off for the brand.",
        )
    sandbox = settings.sandbox == "require" or (settings.sandbox == "auto" and bool(permits.get("sandbox")))
    walls = Walls(no_network=bool(permits.get("no_network")), uid=uid, sandbox=sandbox)
    if not (walls.no_network and walls.sandbox):
        log.warning("browser_walls_missing", no_network=walls.no_network, sandbox=walls.sandbox)
    return walls


async def _probe() -> dict[str, bool]:
    child = await asyncio.create_subprocess_exec(*_python("probe"), stdout=asyncio.subprocess.PIPE)
    try:
        async with asyncio.timeout(PROBE_S):
            answer, _ = await child.communicate()
        found: dict[str, bool] = json.loads(answer)
    except (TimeoutError, json.JSONDecodeError):
        if child.returncode is None:
            child.kill()
        return {}
    return found


async def _launch(playwright: Playwright, settings: RenderSettings, walls: Walls) -> tuple[Browser, int]:
    """The browser and its process id."""
    switches = [*_LEAN, f"--js-flags=--max-old-space-size={settings.memory_mb // 2}"]
    folder = Path(tempfile.mkdtemp(prefix="backline-browser-"))
    try:
        launcher = _write_launcher(folder, settings, walls)
        browser = await playwright.chromium.launch(
            executable_path=launcher,
            args=[*switches, *(NO_NETWORK if walls.switches else ())],
            ignore_default_args=list(_NOT_WANTED),
            env={},  # ours holds secrets
            timeout=START_S * 1000,
            handle_sigint=False,  # a signal is for our process, which then ends the browser
            handle_sigterm=False,
            handle_sighup=False,
        )
        return browser, int((folder / "pid").read_text(encoding="ascii"))
    finally:
        shutil.rmtree(folder, ignore_errors=True)


def _write_launcher(folder: Path, settings: RenderSettings, walls: Walls) -> Path:
    """A program for Playwright to start, which has only arguments of its own to give."""
    wanted: dict[str, Any] = {name: value for name, value in asdict(walls).items() if name != "switches"}
    order = Order(find_browser(settings), str(folder / "pid"), settings.memory_mb, **wanted)
    (folder / "order").write_text(json.dumps(asdict(order)), encoding="utf-8")
    launcher = folder / "launch"
    launcher.write_text(f'#!/bin/sh\nexec {shlex.join(_python(str(folder / "order")))} "$@"\n', encoding="utf-8")
    launcher.chmod(0o700)
    return launcher


def _python(*arguments: str) -> Sequence[str]:
    child = Path(__file__).with_name("browser_child.py")
    return (sys.executable, "-I", "-S", str(child), *arguments)


def _tree(pid: int) -> list[psutil.Process]:
    try:
        process = psutil.Process(pid)
        return [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return []


def _profile(pid: int) -> Path | None:
    """The folder that Playwright has made for it, and removes unless its driver was killed."""
    words = psutil.Process(pid).cmdline()
    found = next((word for word in words if word.startswith("--user-data-dir=")), "")
    return Path(found.partition("=")[2]) if found else None


def _is_running(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def _sizes(pid: int) -> list[tuple[psutil.Process, int]]:
    """Each process with what it has written to; the program's text, which all share, is not counted."""
    found = []
    for process in _tree(pid):
        with contextlib.suppress(psutil.Error, OSError):
            found.append((process, _written(process.pid) if sys.platform == "linux" else process.memory_info().rss))
    return found


def _largest_page(sizes: Sequence[tuple[psutil.Process, int]]) -> tuple[psutil.Process | None, int]:
    """The process of pages that has most, and how much; each page has one or more of its own."""
    for process, size in sorted(sizes, key=lambda one: one[1], reverse=True):
        with contextlib.suppress(psutil.Error):
            if "--type=renderer" in process.cmdline():
                return process, size
    return None, 0


def _kill(process: psutil.Process) -> None:
    with contextlib.suppress(psutil.NoSuchProcess):
        process.kill()


def _written(pid: int) -> int:
    lines = Path(f"/proc/{pid}/status").read_text(encoding="ascii", errors="replace").splitlines()
    return sum(int(line.split()[1]) << 10 for line in lines if line.startswith(("RssAnon:", "RssShmem:")))


def first_line(error: BaseException) -> str:
    """What an error of Playwright says, without its log of calls."""
    return str(error).strip().partition("\n")[0][:200]
