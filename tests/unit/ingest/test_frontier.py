"""What the frontier hands out and what it makes of outcomes, over a real ledger and no network."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from ray_app.config import CrawlSettings
from ray_app.ingest.brands import make_brand
from ray_app.ingest.frontier import (
    BATCHES_PER_HOST,
    CONDITIONAL_FACTOR,
    PDFS_PER_BATCH,
    SECONDS_PER_BATCH,
    Frontier,
)
from ray_app.ingest.ports import EXTRACTOR_VERSION
from ray_app.records import FetchTask, Fingerprint, Kind, PageOutcome, PageRef, UrlState
from ray_app.store.db import Database
from ray_app.store.ledger import Cycle, Holder, Ledger, Mode

SITE = "https://a.example"
CRAWL = CrawlSettings(batch_size=4, host_give_up_s=50.0)
TEXT = {"page": PageRef("p", 0), "content_hash": "h", "fingerprint": Fingerprint("w", "n", 0, "s")}


@pytest.fixture
def ledger(tmp_path: Path) -> Iterator[Ledger]:
    db = Database(f"sqlite:///{tmp_path / 'b.db'}")
    yield Ledger(db)
    db.close()


class Crawl:
    """A frontier, step by step."""

    def __init__(self, ledger: Ledger, mode: Mode = Mode.DELTA, **fields: Any) -> None:
        self.ledger = ledger
        brand = {"start_urls": [SITE + "/"], "rate": 0.0, "sitemaps": False, **fields}
        self.fence = ledger.acquire("acme", Holder("elsewhere", 1, 0.0, "t"), 0.0, 0.0)
        self.cycle: Cycle = ledger.open_cycle("acme", 1.0, self.fence, mode)
        self.frontier = Frontier(ledger, make_brand("acme", brand, CRAWL), CRAWL, self.cycle, self.fence)
        self.frontier.seed(1.0)

    def take(self, now: float = 10.0) -> list[list[FetchTask]]:
        return list(self.frontier.batches(now))

    def page(self, task: FetchTask, *links: str, now: float = 10.0, **more: Any) -> None:
        outcome = PageOutcome(task, UrlState.FETCHED, "ok", 200, links=tuple(SITE + link for link in links))
        self.frontier.commit([[replace(outcome, fetched_at=now, **more)]], now)

    def fate(self, path: str) -> tuple[UrlState, str]:
        row = self.ledger.url("acme", SITE + path)
        assert row
        return row.state, row.reason


def test_batches_are_of_one_host_and_not_too_many(ledger: Ledger) -> None:
    crawl = Crawl(ledger, hosts=["b.example"])
    ((start,),) = crawl.take()
    crawl.page(start, *(f"/{n}" for n in range(40)))
    ((other, *_),) = [crawl.take()[0]]
    assert other.url.startswith(SITE)
    crawl = Crawl(ledger, hosts=["b.example"])
    batches = crawl.take()
    assert [len(batch) for batch in batches] == [4] * BATCHES_PER_HOST
    assert crawl.take() == [], "what is under way is not handed out again"
    assert crawl.frontier.under_way == 4 * BATCHES_PER_HOST


def test_pages_that_are_probably_unchanged_go_in_large_batches(ledger: Ledger) -> None:
    crawl = Crawl(ledger)
    ((start,),) = crawl.take()
    paths = [f"/{n}" for n in range(40)]
    crawl.page(start, *paths)
    while batches := crawl.take():
        for task in (task for batch in batches for task in batch):
            crawl.page(task, etag='"1"', extractor=EXTRACTOR_VERSION, **TEXT)
    crawl.frontier.close(20.0)
    again = Crawl(ledger)
    (again_start,), *unchanged = again.take(30.0)
    assert again_start.url == start.url
    assert [len(batch) for batch in unchanged] == [4 * CONDITIONAL_FACTOR] * (BATCHES_PER_HOST - 1)
    paced = Crawl(ledger, rate=1.0)
    assert {len(batch) for batch in paced.take(30.0)} == {1, int(SECONDS_PER_BATCH)}, "as many as go in a few seconds"


def test_manuals_go_in_small_batches(ledger: Ledger) -> None:
    crawl = Crawl(ledger)
    ((start,),) = crawl.take()
    crawl.page(start, "/a", "/b.pdf", "/c.pdf", "/d.pdf", "/e")
    batches = [[task.url.removeprefix(SITE) for task in batch] for batch in crawl.take()]
    assert batches == [["/a"], ["/b.pdf", "/c.pdf"], ["/d.pdf"]]
    assert PDFS_PER_BATCH == 2


def test_sitemaps_come_before_pages_but_one_that_fails_holds_nobody_up(ledger: Ledger) -> None:
    crawl = Crawl(ledger, sitemaps=True)
    ((robots,),) = crawl.take()
    assert (robots.url, robots.kind) == (SITE + "/robots.txt", Kind.ROBOTS)
    assert crawl.take() == []
    crawl.frontier.commit([[PageOutcome(robots, UrlState.FETCHED, "ok", links=(SITE + "/s.xml",))]], 10.0)
    ((sitemap,),) = crawl.take()
    assert (sitemap.url, sitemap.kind, sitemap.depth) == (SITE + "/s.xml", Kind.SITEMAP, 1)
    late = PageOutcome(sitemap, UrlState.QUEUED, "timeout", retry_at=39.0)
    crawl.frontier.commit([[late]], 10.0)
    assert [task.url for batch in crawl.take() for task in batch] == [SITE + "/"]
    assert [batch[0].kind for batch in crawl.take(now=40.0)] == [Kind.SITEMAP]


def test_an_index_invites_to_sitemaps_of_its_own_host_and_of_the_brand(ledger: Ledger) -> None:
    crawl = Crawl(ledger, sitemaps=True, hosts=["b.example"])
    ((robots,),) = crawl.take()
    named = [SITE + "/index.xml", "https://c.example/index.xml"]
    crawl.frontier.commit([[PageOutcome(robots, UrlState.FETCHED, "ok", links=tuple(named))]], 10.0)
    indexes = crawl.take()
    assert {task.url: task.invited for (task,) in indexes} == dict.fromkeys(named, False)
    nested = [one + "/s.xml" for one in (SITE, "https://b.example", "https://c.example", "https://victim.example")]
    ours, theirs = (indexes[0], indexes[1]) if indexes[0][0].url == named[0] else (indexes[1], indexes[0])
    crawl.frontier.commit([[PageOutcome(ours[0], UrlState.FETCHED, "ok", links=(*nested[:2], nested[3]))]], 10.0)
    crawl.frontier.commit([[PageOutcome(theirs[0], UrlState.FETCHED, "ok", links=(nested[2],))]], 10.0)
    assert {task.url: task.invited for (task,) in crawl.take()} == dict(zip(nested, [True] * 3 + [False], strict=True))


def test_a_host_that_wants_a_pause_is_left_alone(ledger: Ledger) -> None:
    crawl = Crawl(ledger)
    ((start,),) = crawl.take()
    crawl.page(start, "/a", "/b")
    (batch,) = crawl.take()
    paused = [PageOutcome(task, UrlState.QUEUED, "http_429", retry_at=60.0) for task in batch]
    crawl.frontier.commit([paused], 10.0)
    assert crawl.take(now=59.0) == []
    assert len(crawl.take(now=61.0)[0]) == 2


def test_a_silent_host_is_given_up(ledger: Ledger) -> None:
    crawl = Crawl(ledger)
    ((start,),) = crawl.take()
    crawl.page(start, *(f"/{n}" for n in range(9)))
    silent = [[PageOutcome(t, UrlState.QUEUED, "timeout", retry_at=20.0) for t in batch] for batch in crawl.take()]
    crawl.frontier.commit(silent[:1], 10.0)
    crawl.frontier.commit(silent[1:], 61.0)
    assert crawl.fate("/8") == (UrlState.FAILED, "host_down")
    assert crawl.frontier.next_due() is None


def test_a_silent_host_is_given_up_though_no_further_outcome_comes(ledger: Ledger) -> None:
    crawl = Crawl(ledger)
    ((start,),) = crawl.take()
    crawl.page(start, *(f"/{n}" for n in range(9)))
    silent = [PageOutcome(t, UrlState.QUEUED, "timeout", retry_at=500.0) for batch in crawl.take() for t in batch]
    crawl.frontier.commit([silent], 10.0)
    assert crawl.take(59.0) == []
    assert crawl.fate("/8") == (UrlState.QUEUED, "timeout")
    assert crawl.take(60.0) == []
    assert crawl.fate("/8") == (UrlState.FAILED, "host_down")
    assert crawl.frontier.given_up == 9


def test_a_silent_host_of_sitemaps_alone_is_given_up_too(ledger: Ledger) -> None:
    crawl = Crawl(ledger, sitemaps=True)
    ((robots,),) = crawl.take()
    named = tuple(f"https://maps.example/{n}.xml" for n in range(9))
    crawl.frontier.commit([[PageOutcome(robots, UrlState.FETCHED, "ok", links=named)]], 10.0)
    silent = [[PageOutcome(t, UrlState.QUEUED, "timeout", retry_at=20.0) for t in batch] for batch in crawl.take()]
    crawl.frontier.commit(silent[:1], 10.0)
    crawl.frontier.commit(silent[1:], 61.0)
    assert [row.reason for row in ledger.sitemaps("acme") if row.kind == "sitemap"] == ["host_down"] * 9
    ((start,),) = crawl.take(now=62.0)
    crawl.page(start, now=62.0)
    assert crawl.frontier.next_due() is None


def test_redirects_end_at_the_cap_and_never_leave_encryption(ledger: Ledger) -> None:
    crawl = Crawl(ledger)
    ((start,),) = crawl.take()
    crawl.page(start, "/down", "/far")
    ((down, far),) = crawl.take()
    moved = PageOutcome(down, UrlState.SKIPPED, "redirect", 301, location="http://a.example/down")
    on = PageOutcome(replace(far, hops=5), UrlState.SKIPPED, "redirect", 301, location=SITE + "/further")
    judged = crawl.frontier.commit([[moved, on]], 10.0)
    assert [(one.state, one.reason) for one in judged] == [
        (UrlState.FAILED, "downgrade"),
        (UrlState.FAILED, "redirect_loop"),
    ]
    assert crawl.fate("/down") == (UrlState.FAILED, "downgrade")
    assert crawl.fate("/far") == (UrlState.FAILED, "redirect_loop")
    assert ledger.url("acme", "http://a.example/down") is None
    assert crawl.take() == []


def test_what_the_configuration_rules_out_now_is_settled_unasked(ledger: Ledger) -> None:
    crawl = Crawl(ledger)
    ((start,),) = crawl.take()
    crawl.page(start, "/forum/1", "/a")
    narrower = Crawl(ledger, exclude=["/forum/"])
    assert [[task.url for task in batch] for batch in narrower.take()] == [[SITE + "/a"]]
    assert narrower.fate("/forum/1") == (UrlState.SKIPPED, "scope")


@pytest.mark.parametrize(
    ("mode", "extractor", "sent"),
    [
        (Mode.DELTA, EXTRACTOR_VERSION, '"1"'),
        (Mode.DELTA, EXTRACTOR_VERSION - 1, ""),
        (Mode.FULL, EXTRACTOR_VERSION, ""),
    ],
)
def test_validators_are_sent_for_texts_of_this_extraction(
    ledger: Ledger, mode: Mode, extractor: int, sent: str
) -> None:
    crawl = Crawl(ledger)
    ((start,),) = crawl.take()
    crawl.page(start, etag='"1"', extractor=extractor, **TEXT)
    crawl.frontier.close(11.0)
    ((again,),) = Crawl(ledger, mode).take()
    assert (again.etag, again.content_hash) == (sent, "h" if sent else "")


def test_only_what_was_asked_for_uses_up_the_page_budget(ledger: Ledger) -> None:
    crawl = Crawl(ledger, max_pages=8)
    ((start,),) = crawl.take()
    crawl.page(start, *(f"/{n}" for n in range(20)))
    fates = [
        (UrlState.SKIPPED, "robots", 0),
        (UrlState.SKIPPED, "blocked_address", 0),
        (UrlState.FAILED, "timeout", 0),
        (UrlState.SKIPPED, "redirect", 301),
        (UrlState.GONE, "http_404", 404),
        (UrlState.QUEUED, "http_5xx", 503),
    ]
    tasks = [task for batch in crawl.take() for task in batch]
    outcomes = [PageOutcome(task, *fate, fetched_at=10.0) for task, fate in zip(tasks, fates, strict=False)]
    crawl.frontier.commit([outcomes, []], 10.0)
    later = Crawl(ledger, max_pages=8)
    assert sum(map(len, later.take())) == 8 - 1 - 3, "and so it is for a run that goes on"
    assert crawl.frontier.under_way + sum(map(len, crawl.take())) == 8 - 1 - 3


def test_the_page_budget_holds_over_runs(ledger: Ledger) -> None:
    crawl = Crawl(ledger, max_pages=3)
    ((start,),) = crawl.take()
    crawl.page(start, *(f"/{n}" for n in range(9)))
    assert sum(map(len, crawl.take())) == 2
    again = Crawl(ledger, max_pages=3)
    assert sum(map(len, again.take())) == 2, "one was fetched by the run before"
    assert again.frontier.close(11.0).left == 9
