"""What becomes of a crawl when pages kill the process that reads them, or keep it for ever."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
import ray

from ray_app.config import CrawlSettings, Settings, with_changes
from ray_app.ingest.brands import BrandConfig, make_brand
from ray_app.ingest.fetch import HostProfile
from ray_app.on_ray import page_workers, scrape_pool
from ray_app.on_ray.pipeline import Pipeline, Steps
from ray_app.records import FetchResult, FetchTask, PageOutcome, UrlState
from ray_app.store.stores import Stores
from ray_app.store.stores import stores as open_and_close
from ray_app.testing.site import Page, Site, html, pdf

pytestmark = [pytest.mark.on_ray, pytest.mark.timeout(300)]

ALLOWED_S = 6.0  # a process starts within that, also on a busy machine
INNOCENT = tuple(f"/pages/{number}" for number in range(8))
OK = (UrlState.FETCHED, "ok")


def fragile_actor() -> type:
    """An ExtractActor that some bodies kill, or keep busy. Made here, so that Ray sends its code along."""

    class Fragile(scrape_pool.ExtractActor):
        def process(
            self, config: BrandConfig, results: Sequence[FetchResult], only: int | None, ticket: str
        ) -> list[PageOutcome]:
            worker, process = self._worker, self._worker.process

            def suffer(brand: BrandConfig, read: Sequence[FetchResult]) -> list[PageOutcome]:
                for body in (result.body for result in read):
                    if b"I kill." in body:
                        os.kill(os.getpid(), signal.SIGKILL)
                    if b"I keep." in body:
                        time.sleep(3_600)
                    if b"I take long." in body:
                        time.sleep(ALLOWED_S * 1.5)
                return process(brand, read)

            worker.process = suffer  # type: ignore[method-assign]  # below what writes down who is to blame
            try:
                return super().process(config, results, only, ticket)
            finally:
                worker.process = process  # type: ignore[method-assign]

    return Fragile


def fragile_fetch_actor() -> type:
    """A FetchActor that one address kills. Made here, so that Ray sends its code along."""

    class FragileFetch(scrape_pool.FetchActor):
        async def fetch(self, batch: Sequence[FetchTask], profile: HostProfile, settings: CrawlSettings) -> Any:
            fetched = await super().fetch(batch, profile, settings)
            if any(task.url.endswith("/pages/kills") for task in batch):
                os.kill(os.getpid(), signal.SIGKILL)
            return fetched

    return FragileFetch


@pytest.fixture
def own(cluster: Settings, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Settings:
    """Settings with which processes are fragile and hang soon, and with stores of their own."""
    monkeypatch.setattr(scrape_pool, "ExtractActor", fragile_actor())
    monkeypatch.setattr(page_workers, "HTML_BATCH_S", ALLOWED_S)
    return with_changes(cluster, crawl={"extract_workers": 2}).model_copy(update={"data_dir": tmp_path})


def crawl(settings: Settings, opened: Stores, site: Site, pages: dict[str, Page], rate: float = 0.0) -> dict[str, Any]:
    """Crawl a start page that links to all these: what became of each."""
    site.pages.update(pages)
    site.pages["/start"] = Page(html("Start", "Where it all begins.", links=list(pages)))
    fields = {"start_urls": (site.url("/start"),), "allow_hosts": (site.authority,), "rate": rate, "sitemaps": False}
    (result,) = Pipeline(settings, opened).run([make_brand("fragile", fields, settings.crawl)], Steps(embed=False))
    assert not result.error
    assert result.crawl
    assert result.crawl.complete
    return {row.url.removeprefix(site.url("")): (row.state, row.reason) for row in opened.ledger.urls("fragile")}


def test_a_page_that_kills_and_one_that_hangs_take_nothing_along(own: Settings, site: Site) -> None:
    pages = {path: Page(html(path, f"There is nothing wrong with {path}.")) for path in INNOCENT}
    pages["/pages/dies"] = Page(html("Kills", "I kill."))
    pages["/pages/hangs"] = Page(html("Hangs", "I keep."))
    with open_and_close(own) as opened:
        fates = crawl(own, opened, site, pages)
        texts = {document.url.removeprefix(site.url("")) for document in opened.ledger.documents("fragile")}
    guilty = dict.fromkeys(("/pages/dies", "/pages/hangs"), (UrlState.FAILED, "extract_crashed"))
    assert fates == {**dict.fromkeys(("/start", *INNOCENT), OK), **guilty}
    assert texts == {"/start", *INNOCENT}


def test_a_page_that_kills_who_fetches_it_takes_nothing_along(
    own: Settings, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scrape_pool, "FetchActor", fragile_fetch_actor())
    apart = with_changes(own, ray={"namespace": "fragile"})
    pages = {path: Page(html(path, "There is nothing wrong.")) for path in ("/pages/kills", *INNOCENT)}
    try:
        with open_and_close(own) as opened:
            fates = crawl(apart, opened, site, pages, rate=3.0)
    finally:
        ray.kill(scrape_pool.fetch_actor(apart, 0))
    assert fates.pop("/pages/kills") == (UrlState.FAILED, "fetch_crashed")
    assert fates == dict.fromkeys(("/start", *INNOCENT), OK)


def test_a_pdf_has_its_time_whatever_its_address(own: Settings, site: Site) -> None:
    pages = {
        "/download?id=7": Page(
            pdf("Hold the power button. " * 20) + b"\n% I take long.\n", media_type="application/pdf"
        )
    }
    with open_and_close(own) as opened:
        assert crawl(own, opened, site, pages) == {"/start": OK, "/download?id=7": OK}


def test_what_a_worker_says_of_the_configuration_is_said_in_its_words(
    cluster: Settings, stores: Stores, site: Site
) -> None:
    fields = {"start_urls": (site.url("/ok"),), "rate": 0.0}
    config = make_brand("misled", fields, cluster.crawl).model_copy(update={"allow_hosts": ("no host/at all",)})
    (result,) = Pipeline(cluster, stores).run([config], Steps(embed=False))
    assert "no host/at all" in result.error
    assert "\n" not in result.error
    assert "ray::" not in result.error


def test_a_fetch_actor_takes_later_settings_over_when_it_is_idle_and_keeps_its_pace(
    cluster: Settings, site: Site
) -> None:
    actor = scrape_pool.fetch_actor(with_changes(cluster, ray={"namespace": "settings"}), 0)
    try:
        site.pages["/large"] = Page(html("Large", "It is large. " * 500))
        small = cluster.crawl.model_copy(update={"html_cap_bytes": 1_024})
        profile = HostProfile(2.0, "Backline/0.1", (site.authority,))

        def fetch(settings: CrawlSettings, *paths: str) -> Any:
            batch = [FetchTask("acme", site.url(path)) for path in paths]
            return actor.fetch.options(num_returns=2).remote(batch, profile, settings)[1]

        def whole(ref: Any) -> bool:
            count, _, settled = ray.get(ref)
            assert count or [one.reason for one in settled] == ["too_large"]
            return bool(count)

        assert whole(fetch(cluster.crawl, "/large"))
        began = time.monotonic()
        assert not whole(fetch(small, "/large"))  # /robots.txt is read again, and both wait for their turn
        assert time.monotonic() - began > 0.9
        busy = fetch(small, *INNOCENT)
        assert not whole(fetch(cluster.crawl, "/large")), "others' work was under way"
        ray.get(busy)
        assert whole(fetch(cluster.crawl, "/large"))
    finally:
        ray.kill(actor)
