"""The Fetcher against a real server on loopback that misbehaves in every way it can."""

from __future__ import annotations

import asyncio
import socket
import time
from collections.abc import AsyncIterator
from typing import Any

import pytest

from ray_app.breaker import Breaker, Limits
from ray_app.config import CrawlSettings
from ray_app.errors import ConfigError
from ray_app.ingest.fetch import Fetcher, HostProfile
from ray_app.records import FetchResult, FetchTask, Kind, UrlState
from ray_app.testing.site import Page, Site, linked_pages
from ray_app.testing.site.pages import LAST_MODIFIED

UA = "Backline/0.1"
SLOW_AFTER_S = 0.3
SETTINGS = CrawlSettings(total_timeout_s=0.8, connect_timeout_s=0.5, html_cap_bytes=2**20, min_bytes_per_s=2_000)

OK = (UrlState.FETCHED, "ok")


@pytest.fixture
async def site() -> AsyncIterator[Site]:
    async with Site() as running:
        yield running


@pytest.fixture
async def fetcher() -> AsyncIterator[Fetcher]:
    running = Fetcher(SETTINGS, slow_after_s=SLOW_AFTER_S)
    await running.start()
    yield running
    await running.close()


def profile(site: Site, rate: float = 0.0) -> HostProfile:
    return HostProfile(rate, UA, (site.authority,))


async def fetch(fetcher: Fetcher, site: Site, path: str, **task: Any) -> FetchResult:
    (result,) = await fetcher.fetch_batch([FetchTask("acme", site.url(path), **task)], profile(site))
    return result


@pytest.mark.parametrize(
    ("path", "state", "reason"),
    [
        ("/ok", UrlState.FETCHED, "ok"),
        ("/manual.pdf", UrlState.FETCHED, "ok"),
        ("/download.pdf", UrlState.FETCHED, "ok"),
        ("/gzip", UrlState.FETCHED, "ok"),
        ("/gzip-members", UrlState.FETCHED, "ok"),
        ("/deflate", UrlState.FETCHED, "ok"),
        ("/deflate-raw", UrlState.FETCHED, "ok"),
        ("/typeless", UrlState.FETCHED, "ok"),
        ("/typeless-pdf", UrlState.FETCHED, "ok"),
        ("/empty", UrlState.FETCHED, "ok"),
        ("/204", UrlState.FETCHED, "empty"),
        ("/private/secret", UrlState.SKIPPED, "robots"),
        ("/image.png", UrlState.SKIPPED, "media_type"),
        ("/binary", UrlState.SKIPPED, "media_type"),
        ("/typeless-binary", UrlState.SKIPPED, "media_type"),
        ("/redirect", UrlState.SKIPPED, "redirect"),
        ("/redirect-metadata", UrlState.SKIPPED, "redirect"),
        ("/redirect-self", UrlState.FAILED, "redirect_loop"),
        ("/redirect-nowhere", UrlState.FAILED, "protocol"),
        ("/redirect-ftp", UrlState.FAILED, "protocol"),
        ("/404", UrlState.GONE, "http_404"),
        ("/410", UrlState.GONE, "http_410"),
        ("/403", UrlState.FAILED, "http_4xx"),
        ("/gzip-bomb", UrlState.FAILED, "too_large"),
        ("/endless", UrlState.FAILED, "too_large"),
        ("/length-huge", UrlState.FAILED, "too_large"),
        ("/gzip-cut", UrlState.FAILED, "bad_encoding"),
        ("/gzip-garbage", UrlState.FAILED, "bad_encoding"),
        ("/nested-encoding", UrlState.FAILED, "bad_encoding"),
        ("/unasked-encoding", UrlState.FAILED, "bad_encoding"),
        ("/500", UrlState.QUEUED, "http_5xx"),
        ("/503", UrlState.QUEUED, "http_5xx"),
        ("/429", UrlState.QUEUED, "http_429"),
        ("/slow-headers", UrlState.QUEUED, "timeout"),
        ("/slow-body", UrlState.QUEUED, "slow_body"),
        ("/stalled-body", UrlState.QUEUED, "slow_body"),
        ("/length-too-long", UrlState.QUEUED, "protocol"),
        ("/length-too-short", UrlState.QUEUED, "protocol"),
        ("/header-bomb", UrlState.QUEUED, "protocol"),
        ("/not-http", UrlState.QUEUED, "protocol"),
        ("/hang-up", UrlState.QUEUED, "protocol"),
    ],
)
async def test_outcome(fetcher: Fetcher, site: Site, path: str, state: UrlState, reason: str) -> None:
    began = time.time()
    result = await fetch(fetcher, site, path)
    assert (result.state, result.reason) == (state, reason)
    assert bool(result.body) == (state is UrlState.FETCHED and path not in ("/empty", "/204"))
    assert (result.retry_at is not None) == (state is UrlState.QUEUED)
    assert result.retry_at is None or began < result.retry_at < began + 10
    assert (result.fetched_at >= began) == (path in site.paths()), "what was not asked for was not visited"
    assert result.fetched_at == 0.0 or path in site.paths()
    assert "\n" not in result.detail


async def test_what_a_page_brings(fetcher: Fetcher, site: Site) -> None:
    result = await fetch(fetcher, site, "/latin-1")
    assert (result.status, result.media_type, result.charset) == (200, "text/html", "latin-1")
    assert "Für Müller" in result.body.decode("latin-1")
    assert result.bytes_received == len(result.body)
    assert 0 < result.seconds < 1
    (request,) = [r for r in site.requests if r.path == "/latin-1"]
    assert request.headers["User-Agent"] == UA
    assert request.headers["Accept-Encoding"] == "gzip, deflate"
    assert not {"Cookie", "Authorization", "Referer"} & set(request.headers)


async def test_pdf_is_recognised_whatever_it_is_called(fetcher: Fetcher, site: Site) -> None:
    for path in ("/manual.pdf", "/download.pdf", "/typeless-pdf"):
        result = await fetch(fetcher, site, path)
        assert (result.media_type, result.body[:5]) == ("application/pdf", b"%PDF-")


async def test_results_keep_the_order_of_the_tasks(fetcher: Fetcher, site: Site) -> None:
    site.pages.update(linked_pages(40))
    tasks = [FetchTask("acme", site.url(f"/page/{n}")) for n in range(40)]
    results = await fetcher.fetch_batch(tasks, profile(site))
    assert [r.task for r in results] == tasks
    assert {(r.state, r.reason) for r in results} == {OK}


@pytest.mark.parametrize(
    ("path", "task", "sent"),
    [
        ("/etag", {"etag": '"v1"'}, ("If-None-Match", '"v1"')),
        ("/last-modified", {"last_modified": LAST_MODIFIED}, ("If-Modified-Since", LAST_MODIFIED)),
    ],
)
async def test_not_modified(
    fetcher: Fetcher, site: Site, path: str, task: dict[str, str], sent: tuple[str, str]
) -> None:
    first = await fetch(fetcher, site, path)
    assert {first.etag, first.last_modified} == {*task.values(), ""}
    second = await fetch(fetcher, site, path, **task)
    assert (second.state, second.reason, second.status) == (UrlState.FETCHED, "not_modified", 304)
    assert (second.etag, second.last_modified) == (first.etag, first.last_modified)
    assert site.requests[-1].headers[sent[0]] == sent[1]


async def test_304_that_nobody_asked_for_is_an_error(fetcher: Fetcher, site: Site) -> None:
    site.pages["/odd"] = Page(status=304)
    assert (await fetch(fetcher, site, "/odd")).reason == "protocol"


async def test_redirects_are_reported_not_followed(fetcher: Fetcher, site: Site) -> None:
    result = await fetch(fetcher, site, "/redirect")
    assert result.location == site.url("/ok")
    assert site.paths() == ["/redirect"]
    metadata = await fetch(fetcher, site, "/redirect-metadata")
    assert metadata.location == "http://169.254.169.254/latest/meta-data/"
    (followed,) = await fetcher.fetch_batch([FetchTask("acme", metadata.location, hops=1)], profile(site))
    assert (followed.state, followed.reason) == (UrlState.SKIPPED, "blocked_address")


async def test_noindex_header(fetcher: Fetcher, site: Site) -> None:
    result = await fetch(fetcher, site, "/noindex-header")
    assert (result.noindex, result.nofollow, result.reason) == (True, True, "ok")
    assert not (await fetch(fetcher, site, "/ok")).noindex


async def test_the_last_try_fails_for_good(fetcher: Fetcher, site: Site) -> None:
    for path, reason in (("/500", "http_5xx"), ("/hang-up", "protocol"), ("/429", "http_429")):
        result = await fetch(fetcher, site, path, attempts=SETTINGS.max_attempts - 1)
        assert (result.state, result.reason, result.retry_at) == (UrlState.FAILED, reason, None)


async def test_flaky_page_comes_back(fetcher: Fetcher, site: Site) -> None:
    states = [(await fetch(fetcher, site, "/flaky/2", attempts=n)).state for n in range(3)]
    assert states == [UrlState.QUEUED, UrlState.QUEUED, UrlState.FETCHED]


@pytest.mark.parametrize("query", ["after=30", "date=30", "after=999999"])
async def test_retry_after_is_honoured_for_the_whole_host(fetcher: Fetcher, site: Site, query: str) -> None:
    told = await fetch(fetcher, site, f"/429?{query}")
    expected = SETTINGS.retry_after_cap_s if query == "after=999999" else 30
    assert told.retry_at is not None
    assert told.retry_at - time.time() == pytest.approx(expected, abs=2)
    other = await fetch(fetcher, site, "/ok", attempts=2)
    assert (other.state, other.status) == (UrlState.QUEUED, 0), "it waits without having been tried"
    assert other.fetched_at == 0.0
    assert other.retry_at == pytest.approx(told.retry_at, abs=1)
    assert site.paths() == [f"/429?{query}"]


async def test_a_slow_host_does_not_hold_up_another(fetcher: Fetcher, site: Site) -> None:
    async with Site(host="127.0.0.2") as other:
        both = HostProfile(0, UA, (site.authority, other.authority))
        slow = asyncio.create_task(
            fetcher.fetch_batch([FetchTask("acme", site.url(f"/slow-body?{n}")) for n in range(20)], both)
        )
        await asyncio.sleep(0.05)
        results = await fetcher.fetch_batch([FetchTask("acme", other.url("/ok"))] * 10, both)
        assert not slow.done()
        assert {r.reason for r in results} == {"ok"}
        assert {r.reason for r in await slow} == {"slow_body"}


class TestPace:
    async def test_rate_holds_over_batches_and_profiles(self, fetcher: Fetcher, site: Site) -> None:
        one, two = profile(site, rate=50), HostProfile(50, "Other/1", (site.authority,))
        await fetcher.fetch_batch([FetchTask("acme", site.url("/ok"))], one)
        await fetcher.fetch_batch([FetchTask("acme", site.url("/ok"))], two)
        began = time.perf_counter()
        await asyncio.gather(
            *(fetcher.fetch_batch([FetchTask("acme", site.url("/ok"))] * 4, p) for p in (one, two, one))
        )
        assert time.perf_counter() - began >= 11 / 50

    async def test_crawl_delay_is_honoured_even_without_a_rate(self, fetcher: Fetcher, site: Site) -> None:
        site.pages["/robots.txt"] = Page(b"User-agent: *\nCrawl-delay: 0.1\n", media_type="text/plain")
        began = time.perf_counter()
        await fetcher.fetch_batch([FetchTask("acme", site.url("/ok"))] * 4, profile(site))
        assert time.perf_counter() - began >= 0.3

    async def test_connections_to_one_host_are_capped(self, site: Site) -> None:
        fetcher = Fetcher(SETTINGS.model_copy(update={"per_host_connections": 2, "total_timeout_s": 5.0}))
        await fetcher.start()
        tasks = [FetchTask("acme", site.url(f"/slow-headers?s=0.2&n={n}")) for n in range(6)]
        began = time.perf_counter()
        results = await fetcher.fetch_batch(tasks, profile(site))
        assert {r.reason for r in results} == {"ok"}
        assert time.perf_counter() - began >= 0.6, "two at once: three rounds of 0.2 s"
        await fetcher.close()


class TestRobots:
    async def test_it_is_read_once(self, fetcher: Fetcher, site: Site) -> None:
        await asyncio.gather(*(fetch(fetcher, site, "/ok") for _ in range(10)))
        assert site.count("/robots.txt") == 1

    @pytest.mark.parametrize(
        ("page", "reason"),
        [
            (Page(status=404), "ok"),
            (Page(status=403), "ok"),
            (Page(b"<html>User-agent: *</html>"), "ok"),
            (Page(b"\xef\xbb\xbfUser-agent: *\r\nDisallow: /ok\r\n"), "robots"),
            (Page(b"\xff\xfe\nUser-agent: *\nDisallow: /ok\n"), "robots"),
            (Page(b"User-agent: *\nDisallow: /ok\n" + b"# long\n" * 1_500_000), "robots"),
            (Page(b"User-agent: backline\nDisallow: /ok\n"), "robots"),
            (Page(b"User-agent: other\nDisallow: /\n"), "ok"),
            (Page(status=302, headers={"Location": "/robots.txt"}), "ok"),
            (Page(status=302, headers={"Location": "/moved-robots"}), "robots"),
            (Page(status=302, headers={"Location": "http://169.254.169.254/robots.txt"}), "blocked_address"),
        ],
    )
    async def test_outcome(self, fetcher: Fetcher, site: Site, page: Page, reason: str) -> None:
        site.pages["/robots.txt"] = page
        site.pages["/moved-robots"] = Page(b"User-agent: *\nDisallow: /ok\n")
        assert (await fetch(fetcher, site, "/ok")).reason == reason

    @pytest.mark.parametrize(("redirects", "reason"), [(5, "robots"), (6, "ok")])
    async def test_five_redirects_are_followed_the_sixth_allows_all(
        self, fetcher: Fetcher, site: Site, redirects: int, reason: str
    ) -> None:
        for hop in range(1, redirects):
            site.pages[f"/hop{hop}"] = Page(status=301, headers={"Location": f"/hop{hop + 1}"})
        site.pages[f"/hop{redirects}"] = Page(b"User-agent: *\nDisallow: /\n")
        site.pages["/robots.txt"] = Page(status=301, headers={"Location": "/hop1"})
        assert (await fetch(fetcher, site, "/ok")).reason == reason

    async def test_a_broken_one_forbids_all(
        self, fetcher: Fetcher, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("ray_app.ingest.robots_reader.FIRST_WAIT_S", 0.01)
        site.pages["/robots.txt"] = Page(status=500)
        result = await fetch(fetcher, site, "/ok")
        assert (result.state, result.reason) == (UrlState.SKIPPED, "robots_unreachable")
        assert result.fetched_at == 0.0
        assert site.count("/robots.txt") == 3
        assert site.paths() == []

    @pytest.mark.parametrize("kind", [Kind.PAGE, Kind.ROBOTS])
    async def test_one_that_never_comes_forbids_all_for_now(self, fetcher: Fetcher, site: Site, kind: Kind) -> None:
        site.pages["/robots.txt"] = Page(status=301, headers={"Location": "/slow-headers"})
        path = "/robots.txt" if kind is Kind.ROBOTS else "/ok"
        first = await fetch(fetcher, site, path, kind=kind)
        assert (first.state, first.reason, first.status, first.fetched_at) == (UrlState.QUEUED, "timeout", 0, 0.0)
        last = await fetch(fetcher, site, path, kind=kind, attempts=SETTINGS.max_attempts - 1)
        assert (last.state, last.reason) == (UrlState.FAILED, "timeout")
        assert "/ok" not in site.paths()


class TestGuard:
    @pytest.mark.parametrize(
        ("url", "reason"),
        [
            ("http://[::1]/", "blocked_address"),
            ("http://2130706433/", "blocked_address"),
            ("http://localhost./", "blocked_address"),
            ("http://10.0.0.1:22/", "blocked_address"),
            ("http://user@127.0.0.1/", "bad_url"),
            ("http://127.0.0.1:6666\\@1.1.1.1/", "bad_url"),
            ("http://127.0.0.1/\r\nX: y", "bad_url"),
            ("file:///etc/passwd", "bad_url"),
            ("", "bad_url"),
        ],
    )
    async def test_never_leaves(self, fetcher: Fetcher, site: Site, url: str, reason: str) -> None:
        (result,) = await fetcher.fetch_batch([FetchTask("acme", url)], profile(site))
        assert (result.state, result.reason, result.status) == (UrlState.SKIPPED, reason, 0)

    async def test_private_sites_need_to_be_allowed(self, fetcher: Fetcher, site: Site) -> None:
        assert (await fetch(fetcher, site, "/ok")).reason == "ok"
        # The allowed profile's connection is still open; a profile without the host must not profit from it.
        (result,) = await fetcher.fetch_batch([FetchTask("acme", site.url("/ok"))], HostProfile(0, UA, ()))
        assert (result.state, result.reason) == (UrlState.SKIPPED, "blocked_address")
        assert site.paths() == ["/ok"]

    async def test_names_are_judged_by_what_they_resolve_to(
        self, fetcher: Fetcher, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        port = int(site.authority.rpartition(":")[2])

        async def getaddrinfo(host: str, to_port: int, **_: Any) -> list[tuple[Any, ...]]:
            return [(socket.AF_INET, socket.SOCK_STREAM, 6, "", ("127.0.0.1", to_port))]

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        evil, intranet = FetchTask("acme", "http://evil.example/ok"), f"intranet.example:{port}"
        (refused,) = await fetcher.fetch_batch([evil], profile(site))
        assert (refused.reason, refused.retry_at, refused.fetched_at) == ("blocked_address", None, 0.0)
        assert "127.0.0.1" not in refused.detail
        task = FetchTask("acme", f"http://{intranet}/ok")
        (allowed,) = await fetcher.fetch_batch([task], HostProfile(0, UA, (intranet,)))
        assert allowed.reason == "ok"
        assert site.requests[-1].headers["Host"] == intranet

    async def test_a_bad_allow_list_is_the_callers_mistake(self, fetcher: Fetcher) -> None:
        with pytest.raises(ConfigError):
            await fetcher.fetch_batch([], HostProfile(0, UA, ("http://x/",)))


class TestUnreachable:
    async def test_nobody_listens(self, fetcher: Fetcher, site: Site) -> None:
        await site.stop()
        result = await fetch(fetcher, site, "/ok")
        assert (result.state, result.reason) == (UrlState.QUEUED, "connect")
        last = await fetch(fetcher, site, "/ok", attempts=2)
        assert (last.state, last.reason) == (UrlState.FAILED, "connect")

    async def test_no_such_name(self, fetcher: Fetcher, site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
        async def getaddrinfo(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
            raise socket.gaierror(socket.EAI_NONAME, "unknown")

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        (result,) = await fetcher.fetch_batch([FetchTask("acme", "http://nowhere.example/")], profile(site))
        assert (result.state, result.reason) == (UrlState.QUEUED, "dns")

    async def test_it_speaks_no_tls(self, fetcher: Fetcher, site: Site) -> None:
        task = FetchTask("acme", site.url("/ok").replace("http://", "https://"))
        (result,) = await fetcher.fetch_batch([task], profile(site))
        assert (result.state, result.reason) == (UrlState.QUEUED, "connect")

    async def test_a_tls_handshake_that_never_ends(self, fetcher: Fetcher) -> None:
        with socket.create_server(("127.0.0.1", 0)) as server:  # connections are made, and nobody speaks
            name = f"127.0.0.1:{server.getsockname()[1]}"
            task = FetchTask("acme", f"https://{name}/")
            began = time.monotonic()
            (result,) = await fetcher.fetch_batch([task], HostProfile(0.0, UA, (name,)))
        assert (result.state, result.reason) in ((UrlState.QUEUED, "connect"), (UrlState.QUEUED, "timeout"))
        assert time.monotonic() - began < 10


class TestBreaker:
    async def test_a_host_that_does_not_answer_is_left_alone_then_probed(
        self, fetcher: Fetcher, site: Site, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        gate = fetcher._transport.gate(site.url("/"))
        gate.breaker = Breaker(Limits(failures=5, open_s=0.5, cap_s=1.0))
        assert (await fetch(fetcher, site, "/ok")).reason == "ok"
        slow = [FetchTask("acme", site.url(f"/slow-headers?n={n}")) for n in range(5)]
        assert {r.reason for r in await fetcher.fetch_batch(slow, profile(site))} == {"timeout"}
        site.requests.clear()
        waiting = await fetcher.fetch_batch([FetchTask("acme", site.url("/ok"), attempts=2)] * 10, profile(site))
        assert {(r.state, r.reason, r.status) for r in waiting} == {(UrlState.QUEUED, "host_down", 0)}
        assert {r.fetched_at for r in waiting} == {0.0}
        assert all(r.retry_at and r.retry_at > time.time() for r in waiting)
        assert site.requests == [], "nobody was sent"
        await asyncio.sleep(0.6)
        assert (await fetch(fetcher, site, "/ok")).reason == "ok"
        assert {r.reason for r in await fetcher.fetch_batch(slow[:1], profile(site))} == {"timeout"}
        assert (await fetch(fetcher, site, "/ok")).reason == "ok", "a single failure opens nothing"


class TestWalls:
    async def test_a_guard_before_the_site_is_told_from_the_site(self, fetcher: Fetcher, site: Site) -> None:
        site.pages["/guarded"] = Page(
            b"<title>Just a moment...</title>", status=503, headers={"cf-mitigated": "challenge"}
        )
        result = await fetch(fetcher, site, "/guarded")
        assert (result.state, result.reason, result.status) == (UrlState.FAILED, "bot_wall", 503)
        assert (await fetch(fetcher, site, "/403")).reason == "http_4xx"

    async def test_401_is_a_login_wall(self, fetcher: Fetcher, site: Site) -> None:
        site.pages["/members"] = Page(b"Members only", status=401)
        result = await fetch(fetcher, site, "/members")
        assert (result.state, result.reason) == (UrlState.SKIPPED, "login_wall")


class TestSitemapTasks:
    async def test_a_robots_task_names_the_sitemaps_without_another_request(self, fetcher: Fetcher, site: Site) -> None:
        site.pages["/robots.txt"] = Page(
            b"Sitemap: /a.xml\nSitemap: https://b.example/b.xml\n", media_type="text/plain"
        )
        result = await fetch(fetcher, site, "/robots.txt", kind=Kind.ROBOTS)
        assert result.sitemaps == (site.url("/a.xml"), "https://b.example/b.xml")
        assert site.count("/robots.txt") == 1

    async def test_without_one_the_usual_place_is_looked_at(self, fetcher: Fetcher, site: Site) -> None:
        site.pages["/robots.txt"] = Page(status=404)
        assert (await fetch(fetcher, site, "/robots.txt", kind=Kind.ROBOTS)).sitemaps == (site.url("/sitemap.xml"),)

    async def test_what_robots_txt_names_it_cannot_forbid(self, fetcher: Fetcher, site: Site) -> None:
        rules = b"User-agent: *\nDisallow: /\nSitemap: /named.xml\n"
        site.pages |= {"/robots.txt": Page(rules, media_type="text/plain"), "/named.xml": Page(b"<urlset/>")}
        site.pages["/sitemap.xml"] = Page(b"<urlset/>", media_type="application/x-gzip")
        named = await fetch(fetcher, site, "/named.xml", kind=Kind.SITEMAP, depth=1)
        guessed = await fetch(fetcher, site, "/sitemap.xml", kind=Kind.SITEMAP, depth=1)
        nested = await fetch(fetcher, site, "/sitemap.xml", kind=Kind.SITEMAP, depth=2)
        invited = await fetch(fetcher, site, "/sitemap.xml", kind=Kind.SITEMAP, depth=2, invited=True)
        assert (named.reason, named.body) == ("ok", b"<urlset/>")
        assert guessed.reason == nested.reason == "robots"
        assert invited.reason == "ok"
