from __future__ import annotations

from dataclasses import replace

from ray_app.records import UrlState
from ray_app.store.rows import SitemapRow, UrlRow
from ray_app.store.story import sitemap_story, story

ROW = UrlRow(
    url="https://a.example/x",
    brand="acme",
    state=UrlState.FETCHED,
    reason="ok",
    status=200,
    depth=2,
    hops=0,
    parent="https://a.example/",
    attempts=0,
    discovered_at=1.0,
    fetched_at=2.0,
    due_at=0.0,
    etag="",
    last_modified="",
    content_hash="abc",
    page_part="p",
    page_row=0,
    canonical_url="",
    media_type="text/html",
    title="X",
    bytes=1,
    seconds=0.1,
    detail="",
    cycle_done=1,
    cycle_due=0,
    misses=0,
    changed_at=2.0,
    revisit_at=0.0,
    sitemap="",
    lastmod=0.0,
    lang="en",
    extractor=1,
)
NO_TEXT = {"content_hash": "", "page_part": None, "page_row": None, "title": ""}


def told(indexed: bool | None = True, aliases: tuple[str, ...] = (), **changes: object) -> str:
    return " ".join(story(replace(ROW, **changes), aliases, indexed))  # type: ignore[arg-type]


def test_a_page_that_went_well() -> None:
    assert told() == (
        "It was found on https://a.example/, 2 links from the start, on 1970-01-01 00:00:01 UTC. "
        "Its state is fetched: it was fetched and its text stored. "
        "It was last asked for on 1970-01-01 00:00:02 UTC and answered 200. "
        "Its text is stored as abc (X, in en). It is in the live index."
    )


def test_how_it_was_found() -> None:
    assert "It is a start URL" in told(parent="", depth=0)
    assert "https://a.example/ redirects to it" in told(hops=1)
    listed = told(parent="https://a.example/s.xml", sitemap="https://a.example/s.xml", lastmod=86_400.0)
    assert "The sitemap https://a.example/s.xml lists it" in listed
    assert "last changed on 1970-01-02" in listed


def test_what_was_never_asked_for() -> None:
    sentences = told(state=UrlState.SKIPPED, reason="robots", status=0, fetched_at=0.0, **NO_TEXT)
    assert "robots.txt does not allow it" in sentences
    assert "It was never asked for." in sentences


def test_what_was_not_asked_for_this_time_is_not_said_to_be_silent() -> None:
    sentences = told(state=UrlState.SKIPPED, reason="robots_unreachable", status=0)
    assert "It was last asked for on 1970-01-01 00:00:02 UTC." in sentences
    assert "did not answer" not in sentences


def test_who_stands_for_whom() -> None:
    alias = told(reason="duplicate", canonical_url="https://a.example/y")
    assert "https://a.example/y stands for it." in alias
    assert "live index" not in alias
    assert "It stands for b, c." in told(aliases=("b", "c"))
    assert "and 3 more" in told(aliases=tuple("abcdefgh"))


def test_whether_it_is_indexed() -> None:
    assert "Nothing is published" in told(indexed=None)
    assert "the next embedding puts it there" in told(indexed=False)


def test_what_happens_next() -> None:
    assert "1 attempt failed; the next is due on 1970-01-01 00:00:09" in told(
        state=UrlState.QUEUED, reason="timeout", attempts=1, due_at=9.0, cycle_due=1
    )
    assert "waits for its turn" in told(state=UrlState.QUEUED, reason="discovered", fetched_at=0.0, cycle_due=1)
    assert "leave it alone until 1970-01-01 00:01:40" in told(revisit_at=100.0)
    assert "leaves when the next crawl hears the same" in told(state=UrlState.GONE, reason="http_404", misses=1)


def test_a_sitemap() -> None:
    row = SitemapRow(
        "https://a.example/s.xml", "acme", "sitemap", UrlState.FETCHED, "ok", 200, "https://a.example/robots.txt",
        1, 0, 7, 5.0, "2 of its entries lie outside the scope", 1,
    )  # fmt: skip
    assert " ".join(sitemap_story(row)) == (
        "It is a sitemap, found through https://a.example/robots.txt. It was last asked for on 1970-01-01 00:00:05 UTC "
        "and answered 200. Its state is fetched: it was read. It names 7 URLs. "
        "Detail: 2 of its entries lie outside the scope."
    )
    gone = " ".join(sitemap_story(replace(row, state=UrlState.GONE, reason="http_404", status=404)))
    assert "It named 7 URLs." in gone
    part = " ".join(sitemap_story(replace(row, reason="truncated")))
    assert "only a part of it could be read" in part


def test_a_text_that_was_handed_over() -> None:
    story = told(reason="handed", extractor=-1, cycle_done=-1, depth=1_000_000, parent="", status=0)
    assert "It was handed over; no crawl has found it." in story
    assert "It was last handed over on 1970-01-01 00:00:02 UTC." in story
    assert "asked for" not in story
    assert "only a text that a crawl reads at this address takes its place" in story
    assert "It is in the live index." in story


def test_what_a_crawl_met_at_the_address_of_a_text_that_was_handed_over() -> None:
    story = told(state=UrlState.GONE, reason="http_404", status=404, extractor=-1)
    assert "answered 404" in story
    assert "Its text was handed over" in story
