"""``Fetcher.resource``: scripts and data go the way of pages, one hop at a time."""

from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from traps import Kit, make_kit

from ray_app.config import RenderSettings
from ray_app.testing.site import Page, Site
from ray_app.testing.site.pages import html


@pytest.fixture
async def kit() -> AsyncIterator[Kit]:
    """Without a browser, for none is needed."""
    async with Site() as site, make_kit(site, RenderSettings()) as made:
        yield made


async def test_a_public_page_does_not_reach_private_hosts(kit: Kit) -> None:
    for page, reason in ((kit.site.url("/ok"), "ok"), ("https://help.example.com/", "blocked_address")):
        found = await kit.resource(kit.site.url("/ok"), page=page)
        assert (found.reason, bool(found.body)) == (reason, reason == "ok")


@pytest.mark.parametrize(
    ("path", "reason"),
    [
        ("/ok", "ok"),
        ("/404", "ok"),
        ("/gzip", "ok"),
        ("/redirect", "redirect"),
        ("/redirect-nowhere", "protocol"),
        ("/redirect-ftp", "protocol"),
        ("/private/secret", "robots"),
        ("/gzip-bomb", "too_large"),
        ("/length-huge", "too_large"),
        ("/nested-encoding", "bad_encoding"),
        ("/hang-up", "protocol"),
        ("/" + "x" * 9000, "bad_url"),
    ],
)
async def test_outcome(kit: Kit, path: str, reason: str) -> None:
    assert (await kit.resource(kit.site.url(path))).reason == reason


async def test_every_parameter_is_kept(kit: Kit) -> None:
    await kit.resource(kit.site.url("/ok?utm_source=a&sessionid=1234567890abcdef&x=#frag"))
    assert kit.site.paths() == ["/ok?utm_source=a&sessionid=1234567890abcdef&x="]


async def test_429_slows_the_host_down(kit: Kit) -> None:
    assert (await kit.resource(kit.site.url("/429?after=30"))).status == 429
    assert (await kit.resource(kit.site.url("/ok"))).reason == "http_429"
    assert (await kit.fetch("/ok")).reason == "http_429"


async def test_cookies_are_not_shown_to_the_page(kit: Kit) -> None:
    kit.site.pages["/sets"] = Page(html("x"), headers={"Set-Cookie": "a=1", "X-Powered-By": "x", "Link": "<x>"})
    found = await kit.resource(kit.site.url("/sets"))
    assert dict(found.headers).keys() == {"content-type", "link"}
