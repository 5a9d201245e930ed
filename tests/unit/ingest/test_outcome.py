from __future__ import annotations

from dataclasses import replace

from ray_app.ingest.outcome import divide, needs_reading
from ray_app.records import FetchResult, FetchTask, Kind, UrlState

NEXT = "https://x.org/next"
BASE = FetchResult(FetchTask("b", "https://x.org/a"), UrlState.FETCHED, "ok", status=200, etag='"1"', fetched_at=7.0)


def test_only_bodies_go_on_to_extraction() -> None:
    whole = replace(BASE, body=b"<p>x")
    results = [
        whole,
        replace(BASE, reason="not_modified", status=304),
        replace(BASE, state=UrlState.SKIPPED, reason="redirect", location=NEXT),
        replace(BASE, state=UrlState.QUEUED, reason="timeout", retry_at=99.0, detail="slow"),
        replace(BASE, state=UrlState.GONE, reason="http_404"),
    ]
    bodies, settled = divide(results)
    assert bodies == [whole]
    assert needs_reading(whole)
    assert [(o.state, o.reason) for o in settled] == [(r.state, r.reason) for r in results[1:]]
    assert (settled[1].location, settled[2].retry_at, settled[2].detail) == (NEXT, 99.0, "slow")
    assert (settled[0].etag, settled[0].status, settled[0].fetched_at) == ('"1"', 304, 7.0)


def test_an_answer_without_a_body_is_empty() -> None:
    _, (outcome,) = divide([BASE])
    assert (outcome.state, outcome.reason) == (UrlState.FETCHED, "empty")


def test_a_sitemap_that_has_moved_names_its_new_place() -> None:
    task = FetchTask("b", "https://x.org/s.xml", kind=Kind.SITEMAP)
    moved = replace(BASE, task=task, state=UrlState.SKIPPED, reason="redirect", location=NEXT)
    page = replace(moved, task=replace(task, kind=Kind.PAGE))
    results = [moved, replace(moved, location="http://x.org/next"), replace(moved, location=""), page]
    _, settled = divide(results)
    assert [outcome.links for outcome in settled] == [(NEXT,), (), (), ()]


def test_a_robots_txt_names_sitemaps() -> None:
    task = FetchTask("b", "https://x.org/robots.txt", kind=Kind.ROBOTS)
    _, (outcome,) = divide([replace(BASE, task=task, sitemaps=("https://x.org/s.xml",))])
    assert (outcome.reason, outcome.links) == ("ok", ("https://x.org/s.xml",))
