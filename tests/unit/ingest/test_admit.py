"""What of the URLs that are found becomes part of a crawl."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ray_app.config import CrawlSettings
from ray_app.ingest import admit, traps
from ray_app.ingest.admit import Admission
from ray_app.ingest.brands import make_brand
from ray_app.records import FetchTask, Fingerprint, Kind, Listed, PageOutcome, UrlState
from ray_app.store.db import Database
from ray_app.store.ledger import Cycle, Discovery, Ledger

SITE = "https://a.example"
CRAWL = CrawlSettings.model_validate({})
BRAND = make_brand("acme", {"start_urls": [SITE + "/"], "exclude": ["/forum/"]}, CRAWL)


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    db = Database(f"sqlite:///{tmp_path / 'b.db'}")
    yield Ledger(db)
    db.close()


@pytest.fixture
def admission(ledger: Ledger) -> Admission:
    return Admission(ledger, BRAND, CRAWL)


def page(path: str, depth: int = 1, hops: int = 0) -> Discovery:
    return Discovery(SITE + path, depth, SITE + "/", hops)


def told(found: list[Discovery]) -> dict[str, str]:
    return {one.url.removeprefix(SITE): "" if one.state is UrlState.QUEUED else one.reason for one in found}


def test_each_is_judged(admission: Admission) -> None:
    found = admission.admit([page("/a"), page("/forum/1"), page("/b.png"), page("/deep", 99), page("/x/x/x/x/y")])
    assert told(found) == {
        "/a": "",
        "/forum/1": "scope",
        "/b.png": "media_type",
        "/deep": "depth",
        "/x/x/x/x/y": "trap",
    }


def test_what_the_ledger_has_is_not_told_again_but_for_a_shorter_way(admission: Admission) -> None:
    first = admission.admit([page("/a", 3), page("/a", 5), page("/b", 3)])
    assert told(first) == {"/a": "", "/b": ""}
    assert [one.depth for one in first] == [3, 3]
    assert len(admission.admit([page("/a", 3)])) == 1, "not committed yet"
    admission.committed(first, ())
    assert admission.admit([page("/a", 3), page("/b", 4)]) == []
    assert [one.depth for one in admission.admit([page("/a", 2)])] == [2]


def test_the_memory_is_bounded(admission: Admission, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(admit, "MAX_REMEMBERED", 3)
    for number in range(10):
        admission.committed([page(f"/{number}")], ())
    assert len(admission.admit([page(f"/{number}") for number in range(10)])) >= 7


def months(start: int, count: int) -> list[Discovery]:
    return [page(f"/events?month={number}") for number in range(start, start + count)]


def visited(found: Discovery, shape: str) -> PageOutcome:
    task = FetchTask("acme", found.url, found.depth)
    return PageOutcome(task, UrlState.FETCHED, "ok", fingerprint=Fingerprint(found.url, "n", 0, shape))


def answered(found: Discovery, state: UrlState, reason: str, status: int = 200) -> PageOutcome:
    return PageOutcome(FetchTask("acme", found.url, found.depth), state, reason, status)


def crawl_all(
    admission: Admission, shape: str, total: int, answer: Callable[[Discovery], PageOutcome] | None = None
) -> int:
    """How many of ``total`` are admitted when each leads to the next few."""
    admitted = 0
    for start in range(0, total, 20):
        found = admission.admit(months(start, 20))
        queued = [one for one in found if one.state is UrlState.QUEUED]
        admitted += len(queued)
        outcomes = [answer(one) if answer else visited(one, shape.format(one.url)) for one in queued]
        admission.committed(found, outcomes)
    return admitted


def test_a_calendar_ends_and_a_catalogue_does_not(ledger: Ledger) -> None:
    calendar = crawl_all(Admission(ledger, BRAND, CRAWL), "nothing happens", 2_000)
    assert traps.ALLOWANCE <= calendar < 800
    assert crawl_all(Admission(ledger, BRAND, CRAWL), "{}", 2_000) == 2_000


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (UrlState.SKIPPED, "noindex"),
        (UrlState.FETCHED, "empty"),
        (UrlState.GONE, "soft_404"),
        (UrlState.GONE, "http_404"),
        (UrlState.SKIPPED, "login_wall"),
        (UrlState.SKIPPED, "js_shell"),
    ],
)
def test_a_calendar_without_any_text_ends_too(ledger: Ledger, state: UrlState, reason: str) -> None:
    admission = Admission(ledger, BRAND, CRAWL)
    assert crawl_all(admission, "", 2_000, lambda one: answered(one, state, reason)) <= traps.ALLOWANCE + 20


@pytest.mark.parametrize(
    ("state", "reason"),
    [(UrlState.FETCHED, "not_modified"), (UrlState.SKIPPED, "redirect"), (UrlState.FAILED, "http_5xx")],
)
def test_answers_that_say_nothing_about_a_text_close_nothing(ledger: Ledger, state: UrlState, reason: str) -> None:
    admission = Admission(ledger, BRAND, CRAWL)
    assert crawl_all(admission, "", 2_000, lambda one: answered(one, state, reason)) == 2_000


def test_a_catalogue_of_which_every_third_page_has_a_text_is_admitted_whole(ledger: Ledger) -> None:
    def answer(one: Discovery) -> PageOutcome:
        number = int(one.url.partition("=")[2])
        return answered(one, UrlState.SKIPPED, "noindex") if number % 3 else visited(one, one.url)

    assert crawl_all(Admission(ledger, BRAND, CRAWL), "", 2_000, answer) == 2_000


def test_dead_links_of_former_runs_close_nothing(ledger: Ledger, admission: Admission) -> None:
    assert crawl_all(admission, "{}", 1_000) == 1_000
    old = months(5_000, 2 * traps.MOST_TRUST)
    admission.committed((), [answered(one, UrlState.GONE, "http_404", 404) for one in old])
    assert set(told(admission.admit(months(1_000, 20))).values()) == {""}


def test_known_urls_need_no_budget(ledger: Ledger, admission: Admission) -> None:
    known = admission.admit(months(0, 5))
    ledger.discover("acme", Cycle(1, 0.0, None), known, 1.0)
    fresh = Admission(ledger, BRAND, CRAWL)
    assert crawl_all(fresh, "nothing happens", 1_000) < 1_000
    assert set(told(Admission(ledger, BRAND, CRAWL).admit(months(0, 5))).values()) == {""}


def test_a_pattern_that_was_closed_too_early_opens_again(admission: Admission) -> None:
    template = traps.template(months(0, 1)[0].url)
    assert crawl_all(admission, "nothing happens", 1_000) < 1_000
    assert admission.reopened() == []
    for number in range(60):
        admission.committed((), [visited(months(number, 1)[0], f"news {number}")])
    assert admission.reopened() == [template]
    assert admission.reopened() == []


class TestSitemaps:
    TASK = FetchTask("acme", SITE + "/sitemap.xml", 1, kind=Kind.SITEMAP)

    def listed(self, *urls: str, depth: int = 1, links: tuple[str, ...] = ()) -> PageOutcome:
        task = FetchTask("acme", self.TASK.url, depth, kind=Kind.SITEMAP)
        entries = tuple(Listed(url, 5.0) for url in urls)
        return PageOutcome(task, UrlState.FETCHED, "ok", listed=entries, links=links)

    def test_entries_are_pages_near_the_start(self, admission: Admission) -> None:
        ((found,), _) = admission.admit_listed(self.listed(SITE + "/a"))
        assert (found.depth, found.parent, found.sitemap, found.lastmod) == (1, self.TASK.url, self.TASK.url, 5.0)

    def test_entries_beyond_the_scope_are_counted_not_recorded(self, admission: Admission) -> None:
        found, outcome = admission.admit_listed(self.listed(SITE + "/a", "https://b.example/", SITE + "/forum/1"))
        assert told(found) == {"/a": ""}
        assert outcome.detail == "2 of its entries lie outside the scope"

    def test_what_a_sitemap_lists_needs_no_budget(self, admission: Admission) -> None:
        crawl_all(admission, "nothing happens", 1_000)
        assert set(told(admission.admit(months(5_000, 5))).values()) == {"trap"}
        found, _ = admission.admit_listed(self.listed(*(one.url for one in months(5_000, 5))))
        assert set(told(found).values()) == {""}

    def test_indexes_nest_only_so_deep(self, admission: Admission) -> None:
        nested = (SITE + "/s2.xml",)
        assert admission.admit_listed(self.listed(links=nested))[1].links == nested
        assert admission.admit_listed(self.listed(links=nested, depth=admit.SITEMAP_DEPTH))[1].links == ()
