"""What keeps the browser in, each wall tried without the others; and that nothing of it is left when it ends."""

from __future__ import annotations

import asyncio
import os
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import psutil
import pytest
import pytest_asyncio
from traps import UA, Kit, Trap, make_kit, needs_browser

from ray_app.config import RenderSettings
from ray_app.errors import ConfigError
from ray_app.testing.site import Page, Site, scripted

pytest.importorskip("playwright", reason="Playwright is not installed (pip install 'backline[js]')")

from playwright.async_api import Route

from ray_app.ingest.render import browser
from ray_app.ingest.render.browser import BROWSER_UID, Chromium, Walls, find_walls

pytestmark = [needs_browser, pytest.mark.asyncio(loop_scope="module")]

SETTINGS = RenderSettings(script_s=5.0, timeout_s=20.0)
# Recent versions ask before a page reaches loopback. Our walls must hold without that.
NO_LOCAL_CHECKS = (
    "--disable-features=LocalNetworkAccessChecks,LocalNetworkAccessForWorkers,LocalNetworkAccessChecksWebSockets,"
    "LocalNetworkAccessChecksWebRTC"
)
OUTWARD_S = 4.0  # until everything has been tried; some of it waits for the page to be idle
# What a browser without walls does. Images, fonts and pop-ups are off anyway, the rest it does not do without a user.
REACHES = {
    "beacon", "css-import", "embed", "eventsource", "fetch", "fetch-keepalive", "fetch-no-cors", "fetch-post",
    "fetch-preflight", "form-frame", "frame", "icon", "import", "module", "modulepreload", "object", "ping",
    "prefetch", "preload", "quic", "script", "service-worker", "shared-worker", "speculation", "stun", "stylesheet",
    "turn", "video", "websocket", "worker-fetch", "worker-import", "xhr",
}  # fmt: skip


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def permitted() -> Walls:
    """The walls that this system permits."""
    return await find_walls(SETTINGS)


@pytest.fixture(autouse=True)
def without_local_checks(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(browser, "NO_NETWORK", (*browser.NO_NETWORK, NO_LOCAL_CHECKS))


def outward(trap: Trap) -> bytes:
    """A page that tries every way out."""
    tries = [f"try {{ {way} }} catch (e) {{}}" for way in scripted.ways_out(trap.tcp, trap.udp).values()]
    return scripted.page("\n".join((scripted.HELPERS, *tries, f"setTimeout(show, {OUTWARD_S * 1000 - 1500})")))


async def let_loose(walls: Walls) -> set[str]:
    """What reaches the trap when nothing but the page itself is intercepted."""
    async with Trap() as trap:
        chromium = await Chromium.start(SETTINGS, walls)

        async def give(route: Route) -> None:
            await route.fulfill(status=200, content_type="text/html", body=outward(trap))

        async with chromium.context(UA) as context:
            await context.route("http://localhost:8000/page", give)
            page = await context.new_page()
            await page.goto("http://localhost:8000/page")
            await asyncio.sleep(OUTWARD_S)
        await chromium.close()
        return trap.caught


class TestWalls:
    async def test_without_walls_everything_gets_out(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Else the tests below would prove nothing."""
        monkeypatch.setattr(browser, "NO_NETWORK", (NO_LOCAL_CHECKS,))
        assert REACHES - await let_loose(Walls()) == set()

    async def test_the_switches_alone_let_nothing_out(self) -> None:
        assert await let_loose(Walls()) == set()

    async def test_the_network_namespace_alone_lets_nothing_out(
        self, permitted: Walls, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        if not permitted.no_network:
            pytest.skip("this system permits no network namespaces")
        monkeypatch.setattr(browser, "NO_NETWORK", (NO_LOCAL_CHECKS,))
        assert await let_loose(Walls(no_network=True)) == set()

    async def test_interception_alone_has_gaps_and_these_are_all(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(browser, "NO_NETWORK", (NO_LOCAL_CHECKS,))
        async with Site() as site, Trap() as trap, make_kit(site, SETTINGS, Walls()) as kit:
            site.pages["/out"] = Page(outward(trap))
            assert (await kit.render("/out")).reason == "ok"
            assert trap.caught - {"connection"} <= {"quic", "shared-worker", "speculation", "stun", "turn", "websocket"}
            asked = {task.url for task in kit.getter.asked}
            assert {f"http://{trap.tcp}/{name}" for name in ("fetch", "xhr", "script", "module", "import")} <= asked
            assert set(kit.getter.reasons.values()) == {"blocked_address"}

    async def test_all_of_them_let_nothing_out(self, permitted: Walls) -> None:
        async with Site() as site, Trap() as trap, make_kit(site, SETTINGS, permitted) as kit:
            site.pages["/out"] = Page(outward(trap))
            result = await kit.render("/out")
            assert scripted.TEXT in result.body.decode()
            for name, markup in scripted.DEPARTURES.items():
                site.pages["/leaves"] = Page(
                    scripted.page("show()") + (markup % {"url": f"http://{trap.tcp}/x"}).encode()
                )
                assert (await kit.render("/leaves")).reason in ("redirect", "ok"), name
            assert trap.caught == set()

    async def test_no_file_is_read(self) -> None:
        marks = "<iframe src=file:///etc/passwd></iframe><object data=file:///etc/passwd></object>"
        script = "show(); fetch('file:///etc/passwd').then(a => a.text()).then(t => root.append(t)).catch(() => 0);"
        async with Site() as site, make_kit(site, SETTINGS) as kit:
            site.pages["/reads"] = Page(scripted.page(script) + marks.encode())
            result = await kit.render("/reads")
            assert result.detail.startswith("Rendered")
            assert "root:" not in result.body.decode()
            assert kit.getter.asked == []

    async def test_the_browser_has_no_rights(self, permitted: Walls) -> None:
        async with Site() as site, make_kit(site, SETTINGS, permitted) as kit:
            await kit.render("/scripted/shell")
            process = psutil.Process(chromium(kit).pid)
            family = [process, *process.children(recursive=True)]
            if permitted.uid:
                assert {one.uids().real for one in family} == {BROWSER_UID}
            if permitted.no_network:
                assert os.readlink(f"/proc/{process.pid}/ns/net") != os.readlink("/proc/self/ns/net")  # noqa: PTH115
            assert ("--no-sandbox" in process.cmdline()) != permitted.sandbox

    @pytest.mark.parametrize("user", [0, 1000])
    async def test_a_required_sandbox_that_cannot_be_had(self, monkeypatch: pytest.MonkeyPatch, user: int) -> None:
        async def nothing() -> dict[str, bool]:
            return {}

        monkeypatch.setattr(browser, "_probe", nothing)
        monkeypatch.setattr(os, "geteuid", lambda: user)
        assert await find_walls(SETTINGS) == Walls()
        with pytest.raises(ConfigError):
            await find_walls(SETTINGS.model_copy(update={"sandbox": "require"}))


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    async with Site() as site, make_kit(site, SETTINGS.model_copy(update={"recycle_pages": 3})) as made:
        yield made


@pytest.mark.asyncio(loop_scope="function")
class TestProcesses:
    async def test_nothing_is_left_after_close(self, kit: Kit) -> None:
        before = set(temporary())
        await kit.render("/scripted/shell")
        family = browser_family(kit)
        assert len(family) > 4
        assert set(temporary()) - before, "its profile, while it runs"
        await kit.renderer.close()
        await until(lambda: not any(map(is_there, family)))
        assert set(temporary()) <= before

    async def test_a_browser_that_was_killed_is_replaced(self, kit: Kit) -> None:
        before = set(temporary())
        await kit.render("/scripted/shell")
        for victim in ("pid", "_driver"):
            first = chromium(kit)
            os.kill(getattr(first, victim), signal.SIGKILL)
            result = await kit.render("/scripted/shell")
            assert result.detail.startswith("Rendered")
            assert chromium(kit).pid != first.pid
        await kit.renderer.close()
        assert set(temporary()) <= before

    @pytest.mark.parametrize("victim", ["pid", "_driver"])
    async def test_one_that_stands_still_between_two_pages_is_replaced(
        self, kit: Kit, monkeypatch: pytest.MonkeyPatch, victim: str
    ) -> None:
        monkeypatch.setattr(browser, "CONTEXT_S", 2.0)
        await kit.render("/scripted/shell")
        first = chromium(kit)
        os.kill(getattr(first, victim), signal.SIGSTOP)
        async with asyncio.timeout(20):
            result = await kit.render("/scripted/shell")
        assert result.detail.startswith("Rendered")
        assert not is_there(first.pid)

    @pytest.mark.parametrize("victim", ["pid", "_driver"])
    async def test_a_page_whose_browser_dies_is_tried_again(self, kit: Kit, victim: str) -> None:
        await kit.render("/scripted/shell")
        first = chromium(kit)
        pages = [asyncio.create_task(kit.render("/scripted/late")) for _ in range(2)]
        await asyncio.sleep(1.0)
        os.kill(getattr(first, victim), signal.SIGKILL)
        assert all(result.detail.startswith("Rendered") for result in await asyncio.gather(*pages))
        assert chromium(kit).pid != first.pid

    async def test_a_page_that_kills_every_browser_is_given_up(self, kit: Kit) -> None:
        async def murder() -> None:
            while True:
                await asyncio.sleep(0.2)
                if (running := kit.renderer.chromium) and running.alive:
                    os.kill(running.pid, signal.SIGKILL)

        plain = await kit.fetch("/scripted/late")
        killing = asyncio.create_task(murder())
        result = await kit.renderer.render(plain, kit.profile)
        killing.cancel()
        assert (result.body, result.detail.partition(":")[0]) == (plain.body, "Not rendered")

    async def test_an_old_browser_is_replaced_when_its_last_page_ends(self, kit: Kit) -> None:
        await kit.render("/scripted/shell")
        first = chromium(kit)
        late = asyncio.create_task(kit.render("/scripted/late"))
        for _ in range(3):
            await kit.render("/scripted/shell")
        assert chromium(kit).pid != first.pid
        assert (await late).detail.startswith("Rendered")
        await until(lambda: not is_there(first.pid))

    async def test_one_that_has_too_much_memory_is_ended(self, kit: Kit) -> None:
        await kit.render("/scripted/shell")
        first = chromium(kit)
        first._memory = 1
        await until(lambda: not is_there(first.pid))
        assert (await kit.render("/scripted/shell")).detail.startswith("Rendered")

    @pytest.mark.parametrize("victim", ["owner", "driver", "both"])
    async def test_it_dies_with_whoever_started_it(self, tmp_path: Path, victim: str) -> None:
        """Whatever is killed, and while a page's script runs without end."""
        before = set(temporary())
        script = tmp_path / "owner.py"
        script.write_text(OWNER.format(path=[str(Path(__file__).parent), *sys.path]), encoding="utf-8")
        with start([sys.executable, str(script)]) as owner:
            assert owner.stdout
            driver, pid = map(int, owner.stdout.readline().split())
            family = [one.pid for one in psutil.Process(driver).children(recursive=True)]
            assert pid in family
            assert len(family) > 4
            for one in {"owner": [owner.pid], "driver": [driver], "both": [driver, owner.pid]}[victim]:
                os.kill(one, signal.SIGKILL)
            await until(lambda: not any(map(is_there, family)))
            owner.kill()
            await until(lambda: not is_there(driver))
        if victim == "owner":  # else nobody is left to clean up
            await until(lambda: set(temporary()) <= before)


OWNER = """
import asyncio, sys
sys.path[:0] = {path}
from ray_app.config import RenderSettings
from ray_app.testing.site import Site
from traps import make_kit

async def main():
    async with Site() as site, make_kit(site, RenderSettings(script_s=60)) as kit:
        await kit.render("/scripted/shell")
        asyncio.create_task(kit.render("/scripted/spins"))
        await asyncio.sleep(1.5)
        running = kit.renderer.chromium
        print(running._driver, running.pid, flush=True)
        await asyncio.sleep(60)

asyncio.run(main())
"""


def chromium(kit: Kit) -> Chromium:
    assert kit.renderer.chromium
    return kit.renderer.chromium


def browser_family(kit: Kit) -> list[int]:
    """The driver, which is our child, and all that it has started."""
    driver = psutil.Process(chromium(kit)._driver)
    return [driver.pid, *(one.pid for one in driver.children(recursive=True))]


def is_there(pid: int) -> bool:
    try:
        return psutil.Process(pid).status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


def start(command: list[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def temporary() -> list[str]:
    """What a browser may leave in the folder for temporary files."""
    folder = Path(tempfile.gettempdir())
    return [one.name for pattern in ("playwright_*", "backline-browser-*") for one in folder.glob(pattern)]


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    deadline = time.monotonic() + seconds
    while not true():
        assert time.monotonic() < deadline, "it did not come about in time"
        await asyncio.sleep(0.05)
