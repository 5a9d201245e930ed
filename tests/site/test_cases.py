"""Bad inputs and faults as a whole crawl meets them, against the site that has one endpoint per misbehaviour."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator

import pytest
from crawling import brand, crawl

from ray_app.config import Settings, with_changes
from ray_app.ingest.urls import normalise
from ray_app.records import UrlState
from ray_app.store.ledger import Mode
from ray_app.store.stores import Stores
from ray_app.testing.site import Page, Site, html, linked_pages
from ray_app.testing.site.expected import ELSEWHERE, FATES, fits
from ray_app.testing.site.walls import CANARY, ORDER


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as running:
        yield running


@pytest.fixture
def small(fast: Settings) -> Settings:
    return with_changes(fast, crawl={"html_cap_bytes": 2**20, "min_bytes_per_s": 2_000.0, "total_timeout_s": 1.0})


def fates(stores: Stores) -> dict[str, tuple[UrlState, str]]:
    return {row.url: (row.state, row.reason) for row in stores.ledger.urls("acme")}


async def test_every_path_meets_the_fate_it_should(small: Settings, stores: Stores, site: Site) -> None:
    await crawl(small, stores, brand(small, site, "/everything"))
    found = fates(stores)
    expected = {normalise(site.url(path)): fate for path, fate in FATES.items()} | ELSEWHERE
    wrong = {
        url: (found.get(url), fate) for url, fate in expected.items() if url not in found or not fits(fate, *found[url])
    }
    assert not wrong
    assert not {UrlState.QUEUED} & {state for state, _ in found.values()}


async def test_hidden_text_and_orders_reach_no_document(small: Settings, stores: Stores, site: Site) -> None:
    await crawl(small, stores, brand(small, site, "/everything"))
    documents = stores.pages.read("acme", [one.page for one in stores.ledger.documents("acme")])
    texts = {document.url: " ".join(section.text for section in document.sections) for document in documents}
    assert "Hold the button for five seconds." in texts[site.url("/hidden")]
    assert "Hold SHIFT and press PLAY." in texts[site.url("/orders")]
    assert not any(CANARY in text or ORDER[:30] in text for text in texts.values())
    orders = next(document for document in documents if document.url == site.url("/orders"))
    assert any(ORDER[:30] in one.text for one in orders.quarantine)
    assert not [request for request in site.requests if "evil" in request.headers.get("Host", "")]


@pytest.mark.parametrize(
    ("start", "most"),
    [("/calendar", 450), ("/session", 900), ("/shop", 1_400), ("/relative/", 30), ("/circle/", 30)],
)
async def test_a_space_without_end_ends(fast: Settings, stores: Stores, site: Site, start: str, most: int) -> None:
    settings = with_changes(fast, crawl={"batch_size": 50, "max_depth": 10_000})
    report = await crawl(settings, stores, brand(settings, site, start))
    assert report.complete
    assert report.handled <= most
    reasons = {reason for state, reason in fates(stores).values() if state is UrlState.SKIPPED}
    assert reasons <= {"trap", "depth", "url_too_long"}
    assert reasons


async def test_a_catalogue_is_no_trap(fast: Settings, stores: Stores, site: Site) -> None:
    report = await crawl(fast, stores, brand(fast, site, "/catalogue"))
    assert report.reasons == {"fetched/ok": 400}


async def test_what_robots_txt_forbids_later_is_purged(fast: Settings, stores: Stores, site: Site) -> None:
    site.pages["/start"] = Page(html("Start", links=["/ok", "/etag"]))
    await crawl(fast, stores, brand(fast, site, "/start"))
    site.pages["/robots.txt"] = Page(b"User-agent: *\nDisallow: /ok\n", media_type="text/plain")
    asked = site.count("/ok")
    await crawl(fast, stores, brand(fast, site, "/start"))
    assert fates(stores)[site.url("/ok")] == (UrlState.SKIPPED, "robots")
    assert site.url("/ok") not in {document.url for document in stores.ledger.documents("acme")}
    assert site.count("/ok") == asked


async def test_one_document_under_many_urls(fast: Settings, stores: Stores, site: Site) -> None:
    body = html("Manual", "How to connect the pedals, one after the other.")
    for path in ("/manual", "/manual/", "/manual/index.html", "/copy"):
        site.pages[path] = Page(body)
    print_view = html(
        "Manual", "How to connect the pedals, one after the other. Printed.", head="<link rel=canonical href=/manual>"
    )
    site.pages["/manual?print=1"] = Page(print_view)
    links = ["/manual", "/manual/", "/manual/index.html", "/copy", "/manual?utm_source=x&gclid=1", "/manual?print=1"]
    site.pages["/start"] = Page(html("Start", "The way in.", links))
    await crawl(fast, stores, brand(fast, site, "/start"))
    documents = [document.url for document in stores.ledger.documents("acme")]
    assert documents == [site.url("/manual"), site.url("/start")]
    aliases = stores.ledger.aliases_of("acme", site.url("/manual"))
    assert sorted(aliases) == sorted(
        site.url(p) for p in ("/manual/", "/manual/index.html", "/copy", "/manual?print=1")
    )


class TestIncremental:
    async def test_an_unchanged_site_transfers_next_to_nothing(
        self, fast: Settings, stores: Stores, site: Site
    ) -> None:
        pages = linked_pages(60)
        site.pages = {path: Page(page.body, etag=f'"{path}"') for path, page in pages.items()}
        first = await crawl(fast, stores, brand(fast, site))
        again = await crawl(fast, stores, brand(fast, site))
        assert (first.stored, again.stored) == (60, 0)
        assert again.reasons == {"fetched/not_modified": 60}
        assert again.bytes == 0

    async def test_a_sitemap_spares_even_the_asking(self, fast: Settings, stores: Stores, site: Site) -> None:
        site.pages |= linked_pages(20)
        entries = "".join(
            f"<url><loc>{site.url(f'/page/{n}')}</loc><lastmod>2025-01-01T00:00:00Z</lastmod></url>" for n in range(20)
        )
        site.pages["/sitemap.xml"] = Page(f"<urlset>{entries}</urlset>".encode(), media_type="text/xml", etag='"1"')
        await crawl(fast, stores, brand(fast, site))
        site.requests.clear()
        again = await crawl(fast, stores, brand(fast, site))
        assert site.paths() == ["/page/0"], "only the start URL"
        assert again.complete
        assert fates(stores)[site.url("/page/7")] == (UrlState.FETCHED, "lastmod")
        later = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(time.time() + 60))
        changed = entries.replace("/page/7</loc><lastmod>2025-01-01T00:00:00Z", f"/page/7</loc><lastmod>{later}")
        site.pages["/sitemap.xml"] = Page(f"<urlset>{changed}</urlset>".encode(), media_type="text/xml", etag='"2"')
        site.requests.clear()
        await crawl(fast, stores, brand(fast, site))
        assert sorted(site.paths()) == ["/page/0", "/page/7"]

    async def test_pages_only_the_sitemap_knows_are_found(self, fast: Settings, stores: Stores, site: Site) -> None:
        nested = f"<sitemapindex><sitemap><loc>{site.url('/s2.txt')}</loc></sitemap></sitemapindex>"
        site.pages["/sitemap.xml"] = Page(nested.encode(), media_type="text/xml")
        site.pages["/s2.txt"] = Page(
            f"{site.url('/etag')}\nhttps://elsewhere.example/\n".encode(), media_type="text/plain"
        )
        await crawl(fast, stores, brand(fast, site, "/latin-1"))
        found = fates(stores)
        assert found[site.url("/etag")] == (UrlState.FETCHED, "ok")
        assert "https://elsewhere.example/" not in found, "entries beyond the scope are counted, not recorded"
        rows = {row.url: row for row in stores.ledger.sitemaps("acme")}
        assert rows[site.url("/s2.txt")].detail.endswith("1 of its entries lie outside the scope")

    async def test_what_nothing_links_to_leaves_after_a_full_crawl(
        self, fast: Settings, stores: Stores, site: Site
    ) -> None:
        site.pages = dict(linked_pages(20))
        await crawl(fast, stores, brand(fast, site))
        site.pages["/page/9"] = Page(html("Changed", "No longer linking to its children."))
        await crawl(fast, stores, brand(fast, site))
        assert len(stores.ledger.documents("acme")) == 20, "a delta crawl cannot know"
        report = await crawl(fast, stores, brand(fast, site), mode=Mode.FULL)
        assert report.unlinked == 1
        assert fates(stores)[site.url("/page/19")] == (UrlState.GONE, "unlinked")
        assert len(stores.ledger.documents("acme")) == 19

    async def test_failures_are_driven_again_alone(self, fast: Settings, stores: Stores, site: Site) -> None:
        site.pages["/start"] = Page(html("Start", links=["/ok", "/busy"]))
        site.pages["/busy"] = Page(status=500)
        await crawl(fast, stores, brand(fast, site, "/start"))
        site.pages["/busy"] = Page(html("Busy no more"))
        site.requests.clear()
        report = await crawl(fast, stores, brand(fast, site, "/start"), mode=Mode.RETRY)
        assert site.paths() == ["/busy"]
        assert report.reasons == {"fetched/ok": 1}


async def test_a_dead_host_delays_nobody(fast: Settings, stores: Stores, site: Site) -> None:
    """The dead host's URLs come first in the queue; the living one's are fetched meanwhile."""
    async with Site(linked_pages(30), host="127.0.0.2") as dead:
        gone = dead.authority
    links = [f"http://{gone}/page/{n}" for n in range(200)]
    site.pages["/start"] = Page(html("Start", links=[*links, "/page/0"]))
    site.pages |= linked_pages(100)
    settings = with_changes(fast, crawl={"host_give_up_s": 6.0, "max_attempts": 2})
    config = brand(settings, site, "/start", hosts=(gone,), allow_hosts=(site.authority, gone))
    seen: list[tuple[float, int]] = []
    began = time.monotonic()
    report = await crawl(
        settings, stores, config, lambda progress: seen.append((time.monotonic() - began, progress.stored))
    )
    assert next(seconds for seconds, stored in seen if stored >= 101) < 5
    assert report.complete
    reasons = {reason for url, (_, reason) in fates(stores).items() if gone in url}
    assert reasons <= {"host_down", "connect"}
    assert report.handled == len(fates(stores)), "what was given up is told"


async def test_secrets_go_to_the_start_urls_host_only(
    fast: Settings, stores: Stores, site: Site, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("ACME_TOKEN", "s3cret-token")
    async with Site({"/other": Page(html("Other"))}, host="127.0.0.2") as other:
        site.pages["/start"] = Page(html("Start", links=[other.url("/other"), "/ok"]))
        config = brand(
            fast,
            site,
            "/start",
            hosts=(other.authority,),
            allow_hosts=(site.authority, other.authority),
            headers={"Authorization": "env:ACME_TOKEN"},
            cookies={"session": "env:ACME_TOKEN"},
        )
        await crawl(fast, stores, config)
        sent = {request.path: request.headers for request in site.requests}
        assert sent["/ok"]["Authorization"] == "s3cret-token"
        assert sent["/ok"]["Cookie"] == "session=s3cret-token"
        (request,) = [one for one in other.requests if one.path == "/other"]
        assert not {"Authorization", "Cookie"} & set(request.headers)
    assert "s3cret" not in config.model_dump_json()
    assert "s3cret" not in repr(config.secret_headers())
