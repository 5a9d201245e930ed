"""Sitemaps as sites write them, and as attackers would."""

from __future__ import annotations

import gzip
import time
import tracemalloc
from datetime import UTC, datetime

import pytest

from ray_app.ingest import sitemap
from ray_app.ingest.sitemap import lastmod, parse

URL = "https://a.example/sitemap.xml"
NS = 'xmlns="http://www.sitemaps.org/schemas/sitemap/0.9" xmlns:xhtml="http://www.w3.org/1999/xhtml"'


def urlset(*entries: str, ns: str = NS) -> bytes:
    return f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset {ns}>{"".join(entries)}</urlset>'.encode()


def entry(path: str, date: str = "", extra: str = "") -> str:
    changed = f"<lastmod>{date}</lastmod>" if date else ""
    return f"<url><loc>https://a.example{path}</loc>{changed}{extra}</url>"


def paths(body: bytes) -> list[str]:
    return [one.url.removeprefix("https://a.example") for one in parse(body, URL).entries]


@pytest.mark.parametrize("ns", [NS, "", 'xmlns="http://www.google.com/schemas/sitemap/0.84"'])
def test_pages_whatever_the_namespace(ns: str) -> None:
    assert paths(urlset(entry("/a"), entry("/b?x=1&amp;y=2"), entry("/a"), ns=ns)) == ["/a", "/b?x=1&y=2"]


def test_an_index_names_sitemaps() -> None:
    body = f"<sitemapindex {NS}><sitemap><loc>/s1.xml.gz</loc><lastmod>2025-01-02</lastmod></sitemap></sitemapindex>"
    found = parse(body.encode(), URL)
    assert [one.url for one in found.nested] == ["https://a.example/s1.xml.gz"]
    assert found.entries == ()


def test_a_gzip_file_is_known_by_its_bytes() -> None:
    assert paths(gzip.compress(urlset(entry("/a")))) == ["/a"]


def test_alternates_in_other_languages_are_pages_too() -> None:
    link = '<xhtml:link rel="alternate" hreflang="de" href="https://a.example/de/a"/>'
    found = parse(urlset(entry("/a", "2025-01-01", extra=link)), URL)
    assert [(one.url[-5:], one.lastmod > 0) for one in found.entries] == [("ple/a", True), ("/de/a", False)]


def test_alternates_do_not_use_up_the_room_of_pages(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sitemap, "MAX_ENTRIES", 10)
    links = "".join(f'<xhtml:link rel="alternate" hreflang="x" href="/{n}"/>' for n in range(50))
    found = parse(urlset(*(entry(f"/p{n}", extra=links) for n in range(10))), URL)
    assert [one.url[-3:-1] for one in found.entries[:10]] == ["/p"] * 10
    assert (len(found.entries), found.truncated) == (20, False)


def test_only_the_entry_itself_gives_its_address() -> None:
    image = "<image:image><image:loc>https://a.example/x.png</image:loc></image:image>"
    video = "<video:video><video:player_loc>https://a.example/v</video:player_loc></video:video>"
    assert paths(urlset(entry("/a", extra=image + video))) == ["/a"]
    prefixed = "<sm:urlset xmlns:sm='x'><sm:url><sm:loc>/a</sm:loc></sm:url></sm:urlset>"
    assert paths(prefixed.encode()) == ["/a"]


def test_an_index_does_not_name_itself() -> None:
    body = f"<sitemapindex><sitemap><loc>{URL}</loc></sitemap><sitemap><loc>/b.xml</loc></sitemap></sitemapindex>"
    found = parse(body.encode(), URL)
    assert [one.url for one in found.nested] == ["https://a.example/b.xml"]
    assert found.kind == "index"
    mixed = "<sitemapindex><url><loc>/a</loc></url><sitemap><loc>/b.xml</loc></sitemap></sitemapindex>"
    assert paths(mixed.encode()) == ["/a"]


def test_the_same_page_twice_has_the_later_date() -> None:
    (one,) = parse(urlset(entry("/a", "2025-01-02T00:00:00Z"), entry("/a", "2024-01-02"), entry("/a")), URL).entries
    assert one.lastmod == datetime(2025, 1, 2, tzinfo=UTC).timestamp()


def test_other_hosts_are_named_too() -> None:
    """Whoever asked knows the scope."""
    body = urlset("<url><loc>https://b.example/</loc></url>", "<url><loc>//c.example/x</loc></url>")
    assert [one.url for one in parse(body, URL).entries] == ["https://b.example/", "https://c.example/x"]


@pytest.mark.parametrize(
    "before", ["\n\n ", "\ufeff", "\ufeff\n", "<br />\n<b>Warning</b>: x.php on line 3<br />\n", "Notice: x\n"]
)
def test_what_scripts_print_before_the_file(before: str) -> None:
    assert paths(before.encode() + urlset(entry("/a"))) == ["/a"]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\n  "])
def test_plain_text(mark: bytes) -> None:
    assert paths(mark + b"https://a.example/a\r\n\r\nhttps://a.example/b\n") == ["/a", "/b"]


def test_rss() -> None:
    """When an item came out says nothing of later changes, so it is no date of change."""
    rss = (
        "<rss><channel><link>https://a.example/</link><item><link>https://a.example/a</link>"
        "<pubDate>Wed, 01 Oct 2025 12:00:00 GMT</pubDate><guid isPermaLink='false'>https://a.example/no</guid></item>"
        "<item><guid>https://a.example/b</guid></item><item><guid isPermaLink='false'>7</guid></item></channel></rss>"
    )
    found = parse(rss.encode(), URL)
    assert [(one.url, one.lastmod) for one in found.entries] == [("https://a.example/a", 0), ("https://a.example/b", 0)]
    assert found.kind == "feed"


def test_older_rss_names_a_document_type_that_is_not_fetched() -> None:
    kind = '<!DOCTYPE rss PUBLIC "-//Netscape//DTD RSS 0.91//EN" "http://my.netscape.com/publish/formats/rss-0.91.dtd">'
    rss = f"<?xml version='1.0'?>{kind}<rss><channel><item><link>/a</link></item></channel></rss>"
    assert paths(rss.encode()) == ["/a"]
    rdf = f"<rdf:RDF {NS}><item rdf:about='/a'><link>/a</link></item></rdf:RDF>"
    assert paths(rdf.encode()) == ["/a"]


def test_atom() -> None:
    feed = (
        '<feed xmlns="http://www.w3.org/2005/Atom"><link href="/"/><entry><link rel="self" href="/x"/><link href="/a"/>'
        "<published>2020-01-01T00:00:00Z</published><updated>2025-10-01T12:00:00Z</updated></entry></feed>"
    )
    (one,) = parse(feed.encode(), URL).entries
    assert (one.url, one.lastmod) == ("https://a.example/a", datetime(2025, 10, 1, 12, tzinfo=UTC).timestamp())


@pytest.mark.parametrize("coding", ["utf-16", "utf-8-sig", "iso-8859-1", "windows-1252", "windows-1254"])
def test_encodings(coding: str) -> None:
    text = urlset(entry("/bücher")).decode().replace("UTF-8", coding.removesuffix("-sig"))
    assert paths(text.encode(coding)) == ["/b%C3%BCcher"]


@pytest.mark.parametrize(
    ("text", "moment"),
    [
        ("2025-03-04T05:06:07Z", datetime(2025, 3, 4, 5, 6, 7, tzinfo=UTC)),
        ("2025-03-04T05:06:07.123+02:00", datetime(2025, 3, 4, 3, 6, 7, tzinfo=UTC)),
        ("2025-03-04T05:06-0330", datetime(2025, 3, 4, 8, 36, 59, tzinfo=UTC)),
        (" 2025-03-04 05:06:07 ", datetime(2025, 3, 4, 17, 6, 7, tzinfo=UTC)),
        ("2025-03-04", datetime(2025, 3, 5, 11, 59, 59, tzinfo=UTC)),
        ("2024-02", datetime(2024, 3, 1, 11, 59, 59, tzinfo=UTC)),
        ("2025", datetime(2026, 1, 1, 11, 59, 59, tzinfo=UTC)),
        ("Wed, 01 Oct 2025 12:00:00 GMT", datetime(2025, 10, 1, 12, tzinfo=UTC)),
    ],
)
def test_a_date_is_the_last_moment_it_can_mean(text: str, moment: datetime) -> None:
    assert lastmod(text) == moment.timestamp()


@pytest.mark.parametrize(
    "text", ["", "yesterday", "2025-13-01", "2025-02-30", "0000-01-01", "99999", "2025-01-01T99:99Z"]
)
def test_a_date_that_is_none(text: str) -> None:
    assert lastmod(text) == 0.0


def test_a_bad_date_costs_the_date_and_a_bad_address_its_entry() -> None:
    found = parse(urlset(entry("/a", "soon"), "<url><loc>ftp://a.example/</loc></url>", "<url/>", entry("/b")), URL)
    assert [one.url[-2:] for one in found.entries] == ["/a", "/b"]
    assert found.problems == {"bad_lastmod": 1, "bad_url": 2}


@pytest.mark.parametrize("coding", ["shift_jis", "euc-kr", "gb18030"])
def test_encodings_that_expat_does_not_know(coding: str) -> None:
    text = f'<?xml version="1.0" encoding="{coding}"?><urlset><url><loc>https://a.example/日本</loc></url></urlset>'
    assert paths(text.encode(coding)) == ["/%E6%97%A5%E6%9C%AC"]


def test_faults_are_mended() -> None:
    bare = "<url><loc>https://a.example/a?x=1&y=2&amp;z=3&copy=4</loc></url>"
    data = "<url><loc><![CDATA[https://a.example/c?x=1&y=2]]></loc></url>"
    control = "<url><loc>https://a.example/d\x0b</loc><!-- a & b --></url>"
    found = parse(urlset(bare, data, control, entry("/b")), URL)
    assert [one.url.removeprefix("https://a.example") for one in found.entries] == [
        "/a?x=1&y=2&z=3&copy=4",
        "/c?x=1&y=2",
        "/d",
        "/b",
    ]
    assert (found.problems, found.truncated) == ({"broken_xml": 1}, False)


def test_broken_bytes_cost_one_address() -> None:
    body = urlset(entry("/a"), entry("/X"), entry("/b")).replace(b"/X", b"/\xff\xfe")
    assert paths(body)[::2] == ["/a", "/b"]


@pytest.mark.parametrize("missing", [1, 10, 21, 40])
def test_a_file_that_is_cut_off_is_read_as_far_as_it_goes(missing: int) -> None:
    whole = urlset(entry("/a"), entry("/b"))
    found = parse(whole[:-missing], URL)
    assert [one.url[-2:] for one in found.entries] == (["/a", "/b"] if missing < 21 else ["/a"])
    assert (found.truncated, found.problems) == (True, {"broken_xml": 1})


def test_what_follows_the_end_does_no_harm() -> None:
    found = parse(urlset(entry("/a")) + b"<!-- served in 3 ms --><script>x()</script>", URL)
    assert ([one.url[-2:] for one in found.entries], found.truncated) == (["/a"], False)


def test_a_gzip_file_that_is_cut_off_or_broken_is_read_as_far_as_it_goes() -> None:
    packed = gzip.compress(urlset(*(entry(f"/{n}", f"20{n % 25:02}-01-01") for n in range(40_000))))
    cut = parse(packed[: len(packed) // 2], URL)
    assert (cut.truncated, len(cut.entries) > 5_000) == (True, True)
    middle = 80_000
    bad = parse(packed[:middle] + b"\0" * 500 + packed[middle + 500 :], URL)
    assert (bad.problems["bad_gzip"], len(bad.entries) > 1_000, bad.truncated) == (1, True, True)


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "html"),
        (b"", "no_entries"),
        (b"<html><body>x</body></html>", "html"),
        (b"<?xml version='1.0'?><svg/>", "no_sitemap"),
        (b"Not found.\nGo home.", "bad_url"),
        (b"\x1f\x8bgarbage", "bad_gzip"),
        (bytes(range(256)), "bad_url"),
        (b"<urlset>" + b"<a>" * 5_000, "no_entries"),
    ],
)
def test_what_is_no_sitemap_says_so(body: bytes, problem: str) -> None:
    found = parse(body, URL)
    assert not found.says_something
    assert problem in found.problems or "broken_xml" in found.problems


class TestHostile:
    def test_entities_are_not_let_in(self) -> None:
        bomb = (
            '<!DOCTYPE u [<!ENTITY a "'
            + "x" * 100
            + '">'
            + "".join(f'<!ENTITY {chr(98 + n)} "{f"&{chr(97 + n)};" * 10}">' for n in range(9))
        )
        body = f"<?xml version='1.0'?>{bomb}]><urlset><url><loc>https://a.example/&j;</loc></url></urlset>".encode()
        began = time.perf_counter()
        assert parse(body, URL).problems == {"document_type": 1}
        assert time.perf_counter() - began < 0.5

    def test_external_entities_are_not_let_in(self) -> None:
        body = b'<!DOCTYPE u [<!ENTITY x SYSTEM "file:///etc/passwd">]><urlset><url><loc>/&x;</loc></url></urlset>'
        assert parse(body, URL).entries == ()

    def test_a_document_type_in_another_encoding_is_seen_too(self) -> None:
        body = '<?xml version="1.0"?><!DOCTYPE u [<!ENTITY x "y">]><urlset><url><loc>/&x;</loc></url></urlset>'
        assert parse(body.encode("utf-16"), URL).entries == ()

    def test_entries_over_the_limit_are_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sitemap, "MAX_ENTRIES", 10)
        found = parse(urlset(*(entry(f"/{n}") for n in range(20))), URL)
        assert (len(found.entries), found.truncated) == (10, True)

    def test_a_gzip_bomb_is_cut(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sitemap, "MAX_BYTES", 10_000)
        found = parse(gzip.compress(urlset(*(entry(f"/{n}") for n in range(100_000)))), URL)
        assert found.truncated
        assert 0 < len(found.entries) < 500

    def test_fifty_thousand_entries_are_read_quickly(self) -> None:
        body = urlset(*(entry(f"/products/item-{n}.html", "2025-01-01T00:00:00Z") for n in range(50_000)))
        began = time.perf_counter()
        assert len(parse(body, URL).entries) == 50_000
        assert time.perf_counter() - began < 3

    def test_a_huge_text_and_deep_nesting_end(self) -> None:
        deep = b"<urlset>" + b"<a>" * 100_000 + b"</a>" * 100_000 + b"</urlset>"
        huge = b"<urlset><url><loc>" + b"x" * 20_000_000 + b"</loc></url>" + entry("/b").encode() + b"</urlset>"
        for body in (deep, huge):
            assert len(parse(body, URL).entries) <= 1

    def test_a_long_text_costs_its_entry(self) -> None:
        long = "<url><loc>https://a.example/" + "x" * 100_000 + "</loc></url>"
        assert paths(urlset(entry("/a"), long, entry("/b"))) == ["/a", "/b"]

    @pytest.mark.parametrize(
        "body",
        [
            b"<urlset>" + b"<a/>" * 10_000_000 + b"</urlset>",
            b"<urlset><url>" + b"<a/>" * 10_000_000 + b"</url></urlset>",
            b"<urlset><url " + b" ".join(b"a%d=''" % i for i in range(3_000_000)) + b"/></urlset>",
            b"<urlset><url><loc>" + b"&" * 40_000_000,
            b"<urlset>" + b"&x;" * 10_000_000,
            b"http://a.example/\n" + b"\n" * 40_000_000,
            b"http://a.example/\n" + b"x\n" * 20_000_000,
            b"x\n" * 20_000_000,
        ],
        ids=["elements", "in an entry", "attributes", "ampersands", "references", "empty lines", "lines", "no url"],
    )
    def test_memory_and_time_are_bounded(self, body: bytes) -> None:
        began = time.process_time()
        tracemalloc.start()
        try:
            assert len(parse(body, URL).entries) <= 1
            assert tracemalloc.get_traced_memory()[1] < 2 * len(body) + 32 * 2**20
        finally:
            tracemalloc.stop()
        assert time.process_time() - began < 20  # tracing makes it many times slower than it is

    @pytest.mark.parametrize(
        "declaration",
        [
            "<!ENTITY x 'y'>",
            "<!ENTITY % p SYSTEM 'http://127.0.0.1/p.dtd'> %p;",
            "<!ELEMENT urlset ANY>",
            "<!ATTLIST link href CDATA 'https://a.example/x'>",
        ],
    )
    def test_no_declaration_is_let_in_however_late(self, declaration: str) -> None:
        padding = f"<!--{'x' * 10_000}-->"
        link = "<link rel='alternate' href='/&x;'/>"
        body = f"<?xml version='1.0'?>{padding}<!DOCTYPE urlset [{declaration}]><urlset><url>{link}</url></urlset>"
        found = parse(body.encode(), URL)
        assert (found.entries, found.problems) == ((), {"document_type": 1})

    def test_an_unknown_reference_is_no_address(self) -> None:
        """With an outer document type expat would leave the reference out, and make another address of the rest."""
        body = "<!DOCTYPE urlset SYSTEM 'x.dtd'><urlset><url><loc>https://a.example/a&x;b</loc></url></urlset>"
        assert parse(body.encode(), URL).entries == ()
