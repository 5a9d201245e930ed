"""What a page says about other pages and about itself."""

from __future__ import annotations

import time

import pytest

from ray_app.ingest.page.dom import parse
from ray_app.ingest.page.links import MAX_ALTERNATES, Head, read_head, read_links

SITE = "https://help.example.com/"
URL = f"{SITE}docs/page.html"


def head(page: str, url: str = URL) -> Head:
    return read_head(parse(page)[0], url)


def links(page: str, limit: int = 5_000, url: str = URL) -> tuple[str, ...]:
    tree = parse(page)[0]
    return read_links(tree, read_head(tree, url), limit)


class TestLinks:
    def test_are_normalised_in_page_order_without_repeats(self) -> None:
        page = """<base href="/manual/"><a href="a.html#x">A</a><a href="a.html#y">A</a><map><area href="../b"></map>
            <iframe src=f.html></iframe><a href="mailto:x@y">m</a><a href="javascript:x()">j</a><a href="#top">t</a>
            <a href="http://[bad">b</a><a href="//other.org/?utm_source=x">o</a><a href=" ">e</a>"""
        assert links(page) == (f"{SITE}manual/a.html", f"{SITE}b", f"{SITE}manual/f.html", "https://other.org/")

    def test_frames_and_refreshes(self) -> None:
        assert links("<frameset><frame src=left.html></frameset>") == (f"{SITE}docs/left.html",)
        assert links("<meta http-equiv=Refresh content='0; URL=new.html'>") == (f"{SITE}docs/new.html",)
        assert links("""<meta http-equiv=refresh content="5, url='/x'">""") == (f"{SITE}x",)
        assert links("<meta http-equiv=refresh content=30>") == ()

    def test_translations_and_neighbours_are_followed_first(self) -> None:
        page = """<link rel="alternate" hreflang="de" href="/de/page.html"><link rel=NEXT href="two.html">
            <link rel="prev up" href=zero.html><link rel=stylesheet href=x.css>
            <link rel=alternate type=application/rss+xml href=feed.xml><p><a href=/last>x</a>"""
        assert links(page) == tuple(SITE + path for path in ("docs/two.html", "docs/zero.html", "de/page.html", "last"))

    @pytest.mark.parametrize("rel", ["nofollow", "nofollow noopener", "ugc sponsored"])
    def test_a_link_that_is_not_to_be_praised_is_followed_all_the_same(self, rel: str) -> None:
        assert links(f"<a rel='{rel}' href=/x>x</a>") == (f"{SITE}x",)

    @pytest.mark.parametrize("base", ["file:///srv/", "data:text/html,x", "http://[", ""])
    def test_an_unusable_base_is_none(self, base: str) -> None:
        assert links(f"<base href='{base}'><a href=b.html>b</a>") == (f"{SITE}docs/b.html",)

    def test_the_first_base_counts(self) -> None:
        assert links("<base href=/one/><base href=/two/><a href=b>b</a>") == (f"{SITE}one/b",)

    def test_what_is_too_long_to_be_an_address_is_none(self) -> None:
        assert links(f"<a href='/{'x' * 10_000}'>a</a><a href=/b>b</a>") == (f"{SITE}b",)

    def test_a_hundred_thousand_links_stay_cheap(self) -> None:
        page = "".join(f"<a href=/p{i}>x</a>" for i in range(100_000))
        started = time.process_time()
        assert len(links(page, 5_000)) == 5_000
        assert time.process_time() - started < 3.0  # about half a second


class TestHead:
    @pytest.mark.parametrize(
        ("href", "expected"),
        [
            ("/docs/clean", f"{SITE}docs/clean"),
            ("https://www.help.example.com/x", "https://www.help.example.com/x"),
            ("//elsewhere.com/x?utm_source=y", "https://elsewhere.com/x"),
            ("https://elsewhere.com/", "https://elsewhere.com/"),
            ("file:///usr/share/doc/x.html", ""),
            ("data:text/html,hello", ""),
            ("http://[", ""),
            ("mailto:x@example.com", ""),
        ],
    )
    def test_canonical(self, href: str, expected: str) -> None:
        assert head(f"<link rel='Canonical' href='{href}'><p>a").canonical == expected

    def test_a_canonical_address_is_a_link_only_on_the_same_site(self) -> None:
        page = "<link rel=canonical href={}><a href=/x>x</a>"
        assert links(page.format("https://www.help.example.com/c"))[0] == "https://www.help.example.com/c"
        assert links(page.format("https://elsewhere.com/")) == (f"{SITE}x",)

    def test_the_title_of_an_icon_is_not_the_pages(self) -> None:
        icon = "<svg><g><title>Search icon</title></g></svg>"
        assert head(f"{icon}<h1>Reset your device</h1>").title == ""
        assert head(f"<p>{icon}</p><title>Fan</title>").title == "Fan"
        assert head(f"<title>Fan</title>{icon}").title == "Fan"

    def test_alternates_are_translations(self) -> None:
        page = """<link rel=alternate hreflang=de href=/de/><link rel=alternate hreflang=x-default href=/>
            <link rel=alternate hreflang=fr href="javascript:x"><link rel=alternate media=print href=/print>"""
        assert head(page).alternates == (f"{SITE}de/", SITE)

    def test_alternates_are_bounded(self) -> None:
        page = "".join(f"<link rel=alternate hreflang=en href=/{i}>" for i in range(1_000))
        assert len(head(page).alternates) == MAX_ALTERNATES

    def test_wishes_to_robots(self) -> None:
        assert head("<meta name=Backline content='NOINDEX , follow'>").noindex
        assert head("<meta name=robots content=none>").nofollow
        assert not head("<meta name=googlebot content=noindex>").noindex
