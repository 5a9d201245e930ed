"""A whole crawl of a real loopback site: completeness, resumption, what the second run asks for."""

from __future__ import annotations

from collections.abc import AsyncIterator
from dataclasses import replace

import pytest
from crawling import brand, crawl
from local_workers import LocalWorkers
from sqlalchemy import update

from ray_app.config import Settings
from ray_app.errors import LeaseLost
from ray_app.ingest.crawl import CrawlReport
from ray_app.records import FetchTask, Kind, PageOutcome, UrlState
from ray_app.store.ledger import Holder, Mode
from ray_app.store.schema import urls
from ray_app.store.stores import Stores
from ray_app.store.story import story
from ray_app.testing.site import Page, Site, linked_pages

PAGES = 40


class Killed(BaseException):
    """Stands for the end of the process; nothing in the package catches it."""


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site(linked_pages(PAGES)) as running:
        yield running


async def test_every_page_that_links_reach_is_found_and_stored(fast: Settings, stores: Stores, site: Site) -> None:
    report = await crawl(fast, stores, brand(fast, site))
    assert report.complete
    assert {row.url for row in stores.ledger.urls("acme", UrlState.FETCHED)} == {
        site.url(f"/page/{number}") for number in range(PAGES)
    }
    texts = stores.pages.read("acme", [document.page for document in stores.ledger.documents("acme")])
    assert len(texts) == PAGES
    assert any("P-00039 has 40 screws" in section.text for text in texts for section in text.sections)


async def test_each_page_is_asked_for_once(fast: Settings, stores: Stores, site: Site) -> None:
    await crawl(fast, stores, brand(fast, site))
    assert sorted(site.paths()) == sorted(f"/page/{number}" for number in range(PAGES))


async def test_a_second_run_stores_nothing_new(fast: Settings, stores: Stores, site: Site) -> None:
    first = await crawl(fast, stores, brand(fast, site))
    second = await crawl(fast, stores, brand(fast, site))
    assert (first.stored, second.stored, second.handled) == (PAGES, 0, PAGES)
    assert second.reasons == {"fetched/unchanged": PAGES}
    assert second.cycle == first.cycle + 1


async def test_validators_are_sent_unless_a_full_crawl_is_asked_for(fast: Settings, stores: Stores, site: Site) -> None:
    site.pages["/page/0"] = Page(site.pages["/page/0"].body, etag='"a"')
    await crawl(fast, stores, brand(fast, site))
    again = await crawl(fast, stores, brand(fast, site))
    full = await crawl(fast, stores, brand(fast, site), mode=Mode.FULL)
    assert again.reasons["fetched/not_modified"] == 1
    assert "fetched/not_modified" not in full.reasons
    assert full.stored == PAGES, "texts that the page store lost are there again"
    assert len(stores.ledger.documents("acme")) == PAGES


async def test_a_changed_page_is_stored_again_and_a_gone_one_leaves(fast: Settings, stores: Stores, site: Site) -> None:
    await crawl(fast, stores, brand(fast, site))
    site.pages["/page/39"] = Page(b"<title>P-00039</title><p>It has a new and better text now.</p>")
    site.pages["/page/38"] = Page(b"", status=410)
    report = await crawl(fast, stores, brand(fast, site))
    assert report.stored == 1
    assert report.reasons["gone/http_410"] == 1
    assert len(stores.ledger.documents("acme")) == PAGES, "once may be a mistake"
    await crawl(fast, stores, brand(fast, site))
    documents = {document.url for document in stores.ledger.documents("acme")}
    assert site.url("/page/38") not in documents
    assert len(documents) == PAGES - 1


@pytest.mark.parametrize("batches", [0, 1, 2, 4, 8])
async def test_killed_and_run_again_it_gives_the_same_result(
    fast: Settings, stores: Stores, site: Site, batches: int
) -> None:
    class Dying(LocalWorkers):
        def wait(self, timeout_s: float) -> list[list[PageOutcome]]:
            self.left = getattr(self, "left", batches) - 1
            if self.left < 0:
                raise Killed
            return super().wait(timeout_s)

    with pytest.raises(Killed):
        await crawl(fast, stores, brand(fast, site), workers=Dying)
    report = await crawl(fast, stores, brand(fast, site))
    assert report.complete
    assert report.resumed
    assert report.handled < PAGES or batches <= 2, "the first two are robots.txt and the sitemap"
    assert len(stores.ledger.documents("acme")) == PAGES


async def test_links_out_of_scope_are_recorded_and_not_fetched(fast: Settings, stores: Stores, site: Site) -> None:
    links = ["https://elsewhere.example/", "/private/x", "/photo.jpg", "/page/39"]
    site.pages["/start"] = Page(_links(*links))
    report = await crawl(fast, stores, brand(fast, site, "/start"))
    assert report.complete
    found = {row.url: (row.state, row.reason) for row in stores.ledger.urls("acme")}
    assert found["https://elsewhere.example/"] == (UrlState.SKIPPED, "scope")
    assert found[site.url("/private/x")] == (UrlState.SKIPPED, "robots")
    assert found[site.url("/photo.jpg")] == (UrlState.SKIPPED, "media_type")
    assert sorted(site.paths()) == ["/page/39", "/start"]
    forbidden = stores.ledger.url("acme", site.url("/private/x"))
    assert forbidden is not None
    assert story(forbidden)[-1] == "It was never asked for."


async def test_a_redirect_leads_to_the_page_and_a_loop_ends(fast: Settings, stores: Stores, site: Site) -> None:
    for number in range(20):
        site.pages[f"/hop/{number}"] = Page(status=302, headers={"Location": f"/hop/{number + 1}"})
    site.pages["/moved"] = Page(status=301, headers={"Location": "/page/39"})
    site.pages["/start"] = Page(_links("/moved", "/hop/0"))
    await crawl(fast, stores, brand(fast, site, "/start"))
    moved = stores.ledger.url("acme", site.url("/moved"))
    assert moved is not None
    assert (moved.state, moved.reason, moved.canonical_url) == (UrlState.SKIPPED, "redirect", site.url("/page/39"))
    page = stores.ledger.url("acme", site.url("/page/39"))
    assert page is not None
    assert page.state is UrlState.FETCHED
    assert ("failed", "redirect_loop") in {(row.state, row.reason) for row in stores.ledger.urls("acme")}
    assert site.count("/hop/19") == 0


async def test_limits_on_depth_and_pages_hold_and_say_so(fast: Settings, stores: Stores, site: Site) -> None:
    shallow = await crawl(fast, stores, brand(fast, site, max_depth=2))
    assert shallow.handled == 7
    assert stores.ledger.counts("acme")[(UrlState.SKIPPED, "depth")] == 8
    capped = await crawl(fast, stores, brand(fast, site, max_pages=10))
    assert capped.handled == 10
    assert not capped.complete
    assert stores.ledger.counts("acme")[(UrlState.SKIPPED, "page_cap")] > 0


async def test_a_failing_page_is_tried_again_then_given_up(fast: Settings, stores: Stores, site: Site) -> None:
    site.pages["/start"] = Page(_links("/busy", "/page/39"))
    site.pages["/busy"] = Page(b"", status=503, headers={"Retry-After": "0"})
    report = await crawl(fast, stores, brand(fast, site, "/start"))
    assert report.complete
    assert site.count("/busy") == fast.crawl.max_attempts
    row = stores.ledger.url("acme", site.url("/busy"))
    assert row is not None
    assert (row.state, row.status) == (UrlState.FAILED, 503)


async def test_a_sitemap_that_is_missing_once_takes_no_text_away(fast: Settings, stores: Stores, site: Site) -> None:
    listed = Page(b"<urlset><url><loc>/page/37</loc></url><url><loc>/page/38</loc></url></urlset>")
    cut, stump, empty = Page(listed.body[:-45]), Page(b"<urlset>"), Page(b"<urlset/>")
    missing, maintenance = Page(b"", status=404), Page(b"<!doctype html><title>Soon</title>Back soon.")
    site.pages["/start"] = Page(_links("/page/39"))
    found = []
    for answer in (listed, missing, maintenance, listed, cut, stump, empty, empty):
        site.pages["/sitemap.xml"] = answer
        await crawl(fast, stores, brand(fast, site, "/start"), mode=Mode.FULL)
        found.append(site.url("/page/38") in {document.url for document in stores.ledger.documents("acme")})
    assert found == [True, True, False, True, True, True, True, False], "twice in a row it is believed"


async def test_a_sitemap_is_followed_to_where_it_has_moved(fast: Settings, stores: Stores, site: Site) -> None:
    site.pages["/start"] = Page(_links("/page/39"))
    site.pages["/sitemap.xml"] = Page(status=301, headers={"Location": "/maps/index.xml"})
    site.pages["/maps/index.xml"] = Page(b"<urlset><url><loc>/page/38</loc></url></urlset>")
    report = await crawl(fast, stores, brand(fast, site, "/start"))
    assert report.complete
    assert site.url("/page/38") in {document.url for document in stores.ledger.documents("acme")}


async def test_texts_of_an_older_extraction_are_read_anew(fast: Settings, stores: Stores, site: Site) -> None:
    listed = b"<urlset><url><loc>/page/38</loc><lastmod>2020-01-01</lastmod></url></urlset>"
    site.pages |= {"/start": Page(_links("/page/39")), "/sitemap.xml": Page(listed)}
    await crawl(fast, stores, brand(fast, site, "/start"))
    await crawl(fast, stores, brand(fast, site, "/start"))
    assert site.count("/page/38") == 1, "its sitemap says that it has not changed"
    with stores.db.write() as conn:
        conn.execute(update(urls).values(extractor=0))
    await crawl(fast, stores, brand(fast, site, "/start"))
    await crawl(fast, stores, brand(fast, site, "/start"))
    assert site.count("/page/38") == 2


async def test_a_run_that_lost_its_lease_writes_nothing_more(fast: Settings, stores: Stores, site: Site) -> None:
    class Robbed(LocalWorkers):
        def wait(self, timeout_s: float) -> list[list[PageOutcome]]:
            if done := super().wait(timeout_s):
                stores.ledger.acquire("acme", Holder("elsewhere", 1, 0.0, "thief"), 1e12, 60)
            return done

    with pytest.raises(LeaseLost):
        await crawl(fast, stores, brand(fast, site), workers=Robbed)
    assert stores.ledger.documents("acme") == []


def test_a_url_that_will_be_tried_again_does_not_count_as_handled() -> None:
    report = CrawlReport("acme")
    report.count(PageOutcome(FetchTask("acme", "http://a/"), UrlState.QUEUED, "timeout"))
    assert report.handled == 0


@pytest.mark.parametrize(
    ("reasons", "silent"),
    [
        ({}, False),
        ({"failed/connect": 1}, True),
        ({"failed/dns": 1, "skipped/host_down": 40}, True),
        ({"failed/connect": 1, "fetched/ok": 1}, False),
        ({"failed/http_5xx": 1}, False),
    ],
)
def test_a_site_that_never_answered_is_told(reasons: dict[str, int], silent: bool) -> None:
    assert bool(CrawlReport("acme", reasons=reasons).silence) == silent


SITEMAP = FetchTask("acme", "http://a/sitemap.xml", kind=Kind.SITEMAP)


@pytest.mark.parametrize(
    ("other", "silent"),
    [
        (PageOutcome(SITEMAP, UrlState.FETCHED, "not_modified", status=304), False),
        (PageOutcome(SITEMAP, UrlState.GONE, "http_404", status=404), False),
        (PageOutcome(replace(SITEMAP, kind=Kind.ROBOTS), UrlState.FETCHED, "ok"), False),
        (PageOutcome(FetchTask("acme", "http://a/b"), UrlState.QUEUED, "http_5xx", status=500), False),
        (PageOutcome(SITEMAP, UrlState.QUEUED, "timeout"), True),
    ],
)
def test_a_site_of_which_anything_answered_is_not_silent(other: PageOutcome, silent: bool) -> None:
    report = CrawlReport("acme")
    report.count(other)
    report.count(PageOutcome(FetchTask("acme", "http://a/"), UrlState.FAILED, "timeout"))
    assert bool(report.silence) == silent


def _links(*urls: str) -> bytes:
    body = "".join(f'<a href="{url}">{url}</a> ' for url in urls)
    return f"<title>Start</title><p>Where everything begins.</p>{body}".encode()
