"""Pages read through a browser on a real Ray, whose processes end with the actor's."""

from __future__ import annotations

import asyncio
import os
import shutil
import signal
import time
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
import ray

from ray_app.config import Settings, with_changes
from ray_app.errors import ConfigError
from ray_app.ingest.brands import make_brand
from ray_app.ingest.fetch import HostProfile
from ray_app.ingest.render.resource import ResourceTask
from ray_app.on_ray.pipeline import Pipeline, Steps
from ray_app.on_ray.render_pool import FetchActorGetter, RenderActor, render_actor
from ray_app.on_ray.scrape_pool import fetch_actor, fetcher_of
from ray_app.records import FetchResult, FetchTask, UrlState
from ray_app.store.stores import stores
from ray_app.testing.site import Page, Site, html, scripted

pytest.importorskip("playwright", reason="Playwright is not installed (pip install 'backline[js]')")
pytestmark = [
    pytest.mark.on_ray,
    pytest.mark.timeout(300),
    pytest.mark.skipif(not shutil.which("chromium"), reason="no Chromium is installed (apt-get install chromium)"),
]

NAMESPACE = "rendering"  # of its own, so that its fetch actors are those below


@pytest.fixture(scope="module")
def settings(cluster: Settings) -> Iterator[Settings]:
    made = with_changes(cluster, ray={"namespace": NAMESPACE}, render={"timeout_s": 30.0})
    actors = [fetch_actor(made, index) for index in range(2)]
    yield made
    for actor in (*actors, render_actor(made, 0, 2)):
        ray.kill(actor)


def fetched(site: Site, path: str, body: bytes) -> FetchResult:
    task = FetchTask("acme", site.url(path))
    return FetchResult(task, UrlState.FETCHED, "ok", 200, body, media_type="text/html", charset="utf-8")


def profile(site: Site) -> HostProfile:
    return HostProfile(0.0, "Backline/0.1", (site.authority,))


def family_of(actor: object) -> list[psutil.Process]:
    pid = ray.get(actor.__ray_call__.remote(lambda _: os.getpid()))  # type: ignore[attr-defined]
    process = psutil.Process(pid)
    return [process, *process.children(recursive=True)]


def is_there(process: psutil.Process) -> bool:
    return process.is_running() and process.status() != psutil.STATUS_ZOMBIE


def test_a_batch(settings: Settings, site: Site) -> None:
    site.pages["/shell"] = Page(scripted.page("", "<script src=/scripted/app.js></script>"))
    batch = [
        fetched(site, "/shell", site.pages["/shell"].body),
        fetched(site, "/leads", scripted.page("location.href = '/ok'")),
        fetched(site, "/plain", scripted.page("show()")),
    ]
    actor = render_actor(settings, 0, 2)
    ray.get(actor.start.remote(settings.render))
    bodies, ready = actor.render.options(num_returns=2).remote(batch, profile(site), settings.render)
    count, settled = ray.get(ready)
    results = ray.get(bodies)
    assert count == len(results) == 2
    assert [result.task.url for result in results] == [site.url("/shell"), site.url("/plain")]
    assert all(scripted.TEXT in result.body.decode().partition("<noscript>")[0] for result in results)
    assert [(one.reason, one.location, one.state) for one in settled] == [
        ("redirect", site.url("/ok"), UrlState.SKIPPED)
    ]
    assert site.paths() == ["/scripted/app.js", "/scripted/api/article"]
    (only,), (one, nothing) = ray.get(actor.render.remote(batch, profile(site), settings.render, 2))
    assert (only.task.url, one, nothing) == (site.url("/plain"), 1, [])


def test_settings_of_a_later_crawl_are_taken_over(settings: Settings, site: Site) -> None:
    actor = render_actor(settings, 0, 2)
    wrong = settings.render.model_copy(update={"browser": "no-such-browser"})
    with pytest.raises(ConfigError, match="no-such-browser"):
        ray.get(actor.start.remote(wrong))
    page = fetched(site, "/plain", scripted.page("show()"))
    for cap, told in ((100, "Not rendered"), (2**20, "Rendered")):
        other = settings.render.model_copy(update={"html_cap_bytes": cap})
        ray.get(actor.start.remote(other))
        ((result,), _) = ray.get(actor.render.remote([page], profile(site), other))
        assert result.detail.startswith(told)


def test_a_killed_actor_takes_its_browser_along_and_comes_back(settings: Settings, site: Site) -> None:
    actor = render_actor(settings, 0, 2)
    page = fetched(site, "/plain", scripted.page("show()"))
    ray.get(actor.render.remote([page], profile(site), settings.render))
    family = family_of(actor)
    assert len(family) > 5
    spinning = actor.render.remote(
        [fetched(site, "/spins", scripted.page("while (true) {}"))], profile(site), settings.render
    )
    time.sleep(1.5)
    family[0].send_signal(signal.SIGKILL)
    deadline = time.monotonic() + 15
    while any(map(is_there, family)):
        assert time.monotonic() < deadline, [process for process in family if is_there(process)]
        time.sleep(0.1)
    with pytest.raises(ray.exceptions.RayActorError):
        ray.get(spinning)
    while True:
        try:
            (result,), _ = ray.get(actor.render.remote([page], profile(site), settings.render))
            break
        except ray.exceptions.ActorUnavailableError:  # it is about to be there again
            assert time.monotonic() < deadline + 15
            time.sleep(0.2)
    assert result.detail.startswith("Rendered")


async def test_an_idle_browser_is_given_back(monkeypatch: pytest.MonkeyPatch, settings: Settings, site: Site) -> None:
    monkeypatch.setattr("ray_app.on_ray.render_pool.IDLE_S", 0.2)
    monkeypatch.setattr("os.nice", lambda _: 0)
    here = RenderActor(settings, 2)
    page = fetched(site, "/plain", scripted.page("show()"))
    for _ in range(2):
        await here.render([page], profile(site), settings.render)
        assert here._renderer.chromium
        await asyncio.sleep(1.5)
        assert here._renderer.chromium is None


async def test_a_getter_outlives_a_fetch_actor(settings: Settings, site: Site) -> None:
    actors = [ray.get_actor(f"scraper:{index}", namespace=NAMESPACE) for index in range(2)]
    getter = FetchActorGetter(actors)
    task = ResourceTask(site.url("/ok"), site.url("/"), 2**20)
    assert (await getter.get(task, profile(site))).status == 200
    family_of(actors[fetcher_of(site.url("/ok"), 2)])[0].send_signal(signal.SIGKILL)
    assert (await getter.get(task, profile(site))).status == 200
    assert (await getter.get(ResourceTask("file:///x", site.url("/"), 2**20), profile(site))).reason == "bad_url"


def test_a_host_has_the_same_fetch_actor_as_its_pages() -> None:
    urls = [f"https://h{number}.example/" for number in range(40)]
    assert {fetcher_of(url, 4) for url in urls} == {0, 1, 2, 3}
    assert fetcher_of("https://a.example/x?y", 7) == fetcher_of("https://a.example/z", 7)


@pytest.mark.parametrize("render", ["auto", "always", "off"])
def test_a_crawl_fills_pages_by_their_scripts(cluster: Settings, site: Site, render: str, tmp_path: Path) -> None:
    site.pages["/start"] = Page(html("Start", "Where it all begins.", links=["/scripted/shell"]))
    shell = site.url("/scripted/shell")
    fields = {"start_urls": (site.url("/start"),), "allow_hosts": (site.authority,), "rate": 0.0, "render": render}
    config = make_brand("rendered", fields, cluster.crawl)
    apart = cluster.model_copy(update={"data_dir": tmp_path})
    with stores(apart) as opened:
        (result,) = Pipeline(apart, opened).run([config], Steps(embed=False))
        assert not result.error
        rows = {row.url: (row.state, row.reason) for row in opened.ledger.urls("rendered")}
        texts = {document.url for document in opened.ledger.documents("rendered")}
    assert rows[site.url("/start")] == (UrlState.FETCHED, "ok")
    if render == "off":
        assert rows[shell] == (UrlState.SKIPPED, "js_shell")
    else:
        assert rows[shell] == (UrlState.FETCHED, "ok")
    assert (shell in texts) == (render != "off")
