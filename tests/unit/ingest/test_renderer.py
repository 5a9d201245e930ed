"""The Renderer without a browser: the scripts it keeps, and what it refuses to start with."""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace
from pathlib import Path

import pytest

import ray_app.ingest.render
from ray_app.config import RenderSettings
from ray_app.errors import ConfigError
from ray_app.ingest.lanes import HostProfile
from ray_app.ingest.render.renderer import CACHE_S, Renderer, ScriptCache
from ray_app.ingest.render.resource import Resource, ResourceTask
from ray_app.records import FetchResult, FetchTask, UrlState

PAGE = "https://help.example.com/a"
PROFILE = HostProfile(1.0, "Backline/0.1")


class Getter:
    """Answers at once, or when it is let."""

    def __init__(self, **fields: object) -> None:
        self.fields = {"reason": "ok", "status": 200, "body": b"x", "bytes_received": 1} | fields
        self.asked: list[ResourceTask] = []
        self.let = asyncio.Event()
        self.let.set()

    async def get(self, task: ResourceTask, profile: HostProfile) -> Resource:
        self.asked.append(task)
        await self.let.wait()
        return Resource(task.url, **self.fields)  # type: ignore[arg-type]


SCRIPT = ResourceTask("https://help.example.com/x", PAGE, 1_000, shareable=True)


class TestScriptCache:
    async def test_one_question_for_many(self) -> None:
        getter = Getter()
        getter.let.clear()
        cache = ScriptCache(getter)
        asking = [asyncio.create_task(cache.get(SCRIPT, PROFILE)) for _ in range(5)]
        await asyncio.sleep(0)
        asking[0].cancel()  # whoever asked first must not take it from the others
        await asyncio.sleep(0)
        getter.let.set()
        assert [(await one).body for one in asking[1:]] == [b"x"] * 4
        assert len(getter.asked) == 1
        assert (await cache.get(SCRIPT, PROFILE)).bytes_received == 0

    async def test_data_is_always_asked_for(self) -> None:
        getter = Getter()
        cache = ScriptCache(getter)
        for _ in range(2):
            await cache.get(replace(SCRIPT, shareable=False), PROFILE)
        assert len(getter.asked) == 2

    async def test_sites_profiles_and_origins_do_not_share(self) -> None:
        getter = Getter()
        cache = ScriptCache(getter)
        for one in (SCRIPT, replace(SCRIPT, page="https://b.example/"), replace(SCRIPT, headers=(("origin", "x"),))):
            await cache.get(one, PROFILE)
        await cache.get(SCRIPT, replace(PROFILE, user_agent="other"))
        await cache.get(replace(SCRIPT, page=PAGE + "/other"), PROFILE)
        assert len(getter.asked) == 4

    @pytest.mark.parametrize(
        ("fields", "asked"),
        [
            ({}, 1),
            ({"status": 404}, 1),
            ({"reason": "robots", "status": 0}, 1),
            ({"status": 500}, 2),
            ({"status": 429}, 2),
            ({"reason": "timeout", "status": 0}, 2),
            ({"headers": (("cache-control", "private, no-store"),)}, 2),
        ],
    )
    async def test_what_lasts(self, fields: dict[str, object], asked: int) -> None:
        getter = Getter(**fields)
        cache = ScriptCache(getter)
        for _ in range(2):
            await cache.get(SCRIPT, PROFILE)
        assert len(getter.asked) == asked

    async def test_it_is_believed_for_a_while(self) -> None:
        now = [0.0]
        getter = Getter()
        cache = ScriptCache(getter, lambda: now[0])
        for at, asked in ((0.0, 1), (CACHE_S - 1, 1), (CACHE_S + 1, 2), (2 * CACHE_S, 2)):
            now[0] = at
            await cache.get(SCRIPT, PROFILE)
            assert len(getter.asked) == asked

    async def test_what_one_page_has_left_does_not_decide_for_the_next(self) -> None:
        getter = Getter(body=bytes(500))
        cache = ScriptCache(getter)
        assert (await cache.get(replace(SCRIPT, cap_bytes=10), PROFILE)).reason == "too_large"
        assert (await cache.get(SCRIPT, PROFILE)).reason == "ok"
        assert getter.asked[0].cap_bytes > SCRIPT.cap_bytes

    async def test_it_does_not_grow_without_end(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ray_app.ingest.render.renderer.CACHE_BYTES", 20_000)
        getter = Getter(body=bytes(900))
        cache = ScriptCache(getter)
        for n in range(50):
            await cache.get(replace(SCRIPT, url=f"https://help.example.com/{n}"), PROFILE)
        assert cache._bytes <= 20_000
        assert len(cache._kept) < 10
        await cache.get(replace(SCRIPT, url="https://help.example.com/49"), PROFILE)
        assert len(getter.asked) == 50, "the newest are kept"

    async def test_close_stops_what_is_under_way(self) -> None:
        getter = Getter()
        getter.let.clear()
        cache = ScriptCache(getter)
        asking = asyncio.create_task(cache.get(SCRIPT, PROFILE))
        await asyncio.sleep(0.01)
        await cache.close()
        with pytest.raises(asyncio.CancelledError):
            await asking


class TestRenderer:
    async def test_without_playwright_it_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delitem(sys.modules, "ray_app.ingest.render.browser", raising=False)
        monkeypatch.delattr(ray_app.ingest.render, "browser", raising=False)
        monkeypatch.setitem(sys.modules, "playwright.async_api", None)
        with pytest.raises(ConfigError, match=r"pip install 'backline\[js\]'"):
            await Renderer(RenderSettings(), Getter()).start()

    async def test_without_a_browser_it_says_what_to_do(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        pytest.importorskip("playwright")
        monkeypatch.setenv("PATH", str(tmp_path))
        with pytest.raises(ConfigError, match="apt-get install chromium"):
            await Renderer(RenderSettings(), Getter()).start()
        with pytest.raises(ConfigError, match="/nowhere/chrome"):
            await Renderer(RenderSettings(browser="/nowhere/chrome"), Getter()).start()

    @pytest.mark.parametrize(
        "result",
        [
            FetchResult(FetchTask("acme", PAGE), UrlState.FETCHED, "ok", body=b"%PDF-", media_type="application/pdf"),
            FetchResult(FetchTask("acme", PAGE), UrlState.FETCHED, "not_modified", media_type="text/html"),
            FetchResult(FetchTask("acme", PAGE), UrlState.SKIPPED, "robots"),
        ],
    )
    async def test_what_has_no_page_needs_no_browser(self, result: FetchResult) -> None:
        renderer = Renderer(RenderSettings(browser="/nowhere/chrome"), Getter())
        assert await renderer.render(result, PROFILE) is result
