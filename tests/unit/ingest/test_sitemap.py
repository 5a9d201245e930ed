"""Sitemaps as sites write them, and as attackers would."""

from __future__ import annotations

import gzip
import time
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
    assert paths(urlset(entry("/a", extra=link))) == ["/a", "/de/a"]


@pytest.mark.parametrize("mark", [b"", b"\xef\xbb\xbf", b"\n  "])
def test_plain_text(mark: bytes) -> None:
    assert paths(mark + b"https://a.example/a\r\n\r\nhttps://a.example/b\n") == ["/a", "/b"]


def test_feeds() -> None:
    rss = "<rss><channel><link>https://a.example/</link><item><link>https://a.example/a</link>"
    rss += "<pubDate>Wed, 01 Oct 2025 12:00:00 GMT</pubDate></item></channel></rss>"
    (item,) = parse(rss.encode(), URL).entries
    assert (item.url, item.lastmod) == ("https://a.example/a", datetime(2025, 10, 1, 12, tzinfo=UTC).timestamp())
    atom = (
        '<feed xmlns="http://www.w3.org/2005/Atom"><entry><link rel="self" href="/x"/><link href="/a"/></entry></feed>'
    )
    assert paths(atom.encode()) == ["/a"]


@pytest.mark.parametrize("coding", ["utf-16", "utf-8-sig", "iso-8859-1"])
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
    assert found.problems == {"bad_lastmod": 1, "bad_url": 1}


def test_xml_with_faults_is_read_as_far_as_it_goes() -> None:
    assert paths(urlset("<url><loc>https://a.example/a?x=1&y=2</loc></url>", entry("/b")))[1] == "/b"
    assert paths(urlset(entry("/a"), entry("/b"))[:-40]) == ["/a"]


@pytest.mark.parametrize(
    ("body", "problem"),
    [
        (b"<!DOCTYPE html><html><body>Not found</body></html>", "html"),
        (b"", "no_entries"),
        (b"<html><body>x</body></html>", "no_entries"),
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
