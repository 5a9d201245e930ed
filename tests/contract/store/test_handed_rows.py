"""Texts that were handed over, beside a crawl of the same brand."""

from __future__ import annotations

import pytest

from ray_app.errors import InputError
from ray_app.records import FetchTask, Fingerprint, Listed, PageOutcome, PageRef, UrlState
from ray_app.store.db import Database
from ray_app.store.ledger import Cycle, Discovery, Holder, Ledger, Mode, UrlRow
from ray_app.store.tombstones import Tombstones

BRAND = "acme"
SITE = "https://docs.example.com"
PAGE, LINKED = f"{SITE}/page", f"{SITE}/linked"
OWN = "document://acme/notes.md"


class Run:
    """A crawl of one brand that somebody hands documents to."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.fence = ledger.acquire(BRAND, Holder.current("test"), 0.0, 1e9)
        self.now = 10.0
        self.cycle = self.open(Mode.FULL)

    def open(self, mode: Mode) -> Cycle:
        self.now += 1_000_000.0  # past every next visit
        self.cycle = self.ledger.open_cycle(BRAND, self.now, mode=mode, extractor=7)
        return self.cycle

    def find(self, *urls: str) -> None:
        self.ledger.discover(BRAND, self.cycle, [Discovery(url, 1) for url in urls], self.now, self.fence)

    def due(self) -> list[str]:
        return [task.url for task in self.ledger.due(BRAND, self.cycle.number, "docs.example.com", 99, self.now)]

    def settle(self, url: str, text: str = "", reason: str = "ok", state: UrlState = UrlState.FETCHED) -> None:
        self.ledger.commit(BRAND, self.cycle, self.fence, [outcome(url, text, state, reason, status=200)], (), self.now)

    def crawl(self, mode: Mode, *linked: str) -> None:
        """A whole cycle over PAGE and what it links to."""
        self.finish()
        self.open(mode)
        self.find(PAGE, *linked)
        for url in self.due():
            self.settle(url, f"crawled {url}")
        self.finish()

    def finish(self) -> None:
        self.ledger.finish_cycle(BRAND, self.cycle, self.fence, self.now)

    def hand(self, url: str, text: str = "handed") -> None:
        self.ledger.hand_over(BRAND, outcome(url, text, UrlState.FETCHED, "handed", extractor=-7), self.now)

    def row(self, url: str) -> UrlRow:
        row = self.ledger.url(BRAND, url)
        assert row is not None
        return row

    def texts(self) -> dict[str, str]:
        return {document.url: document.content_hash for document in self.ledger.documents(BRAND)}


def outcome(url: str, text: str, state: UrlState, reason: str, *, status: int = 0, extractor: int = 7) -> PageOutcome:
    about = {
        "content_hash": text,
        "page": PageRef("part", 0),
        "title": "T",
        "fingerprint": Fingerprint(text, "", 0, ""),
    }
    return PageOutcome(FetchTask(BRAND, url), state, reason, status, extractor=extractor, **(about if text else {}))  # type: ignore[arg-type]


@pytest.mark.parametrize("url", [OWN, ""])
def test_what_was_forgotten_on_request_is_refused(db: Database, run: Run, url: str) -> None:
    Tombstones(db).bury(BRAND, url, run.now, "receipt")
    with pytest.raises(InputError, match="forgotten on request"):
        run.hand(OWN)
    assert run.texts() == {}


@pytest.fixture
def run(ledger: Ledger) -> Run:
    return Run(ledger)


@pytest.mark.parametrize("url", [OWN, PAGE])
def test_a_text_handed_over_is_a_document_of_the_brand(run: Run, url: str) -> None:
    run.hand(url)
    assert run.texts() == {url: "handed"}
    assert (run.row(url).state, run.row(url).reason) == (UrlState.FETCHED, "handed")
    run.hand(url, "changed")
    assert run.texts() == {url: "changed"}


def test_it_needs_no_lease(ledger: Ledger) -> None:
    ledger.hand_over("nobody-crawls", outcome(OWN, "handed", UrlState.FETCHED, "handed"), 5.0)
    assert [document.url for document in ledger.documents("nobody-crawls")] == [OWN]
    assert ledger.acquire("nobody-crawls", Holder.current("test"), 6.0, 60.0) == 1, "the fence is as it was"


@pytest.mark.parametrize("url", [OWN, PAGE])
def test_no_crawl_takes_away_what_nothing_links_to(run: Run, url: str) -> None:
    run.hand(url)
    for mode in (Mode.FULL, Mode.DELTA, Mode.RETRY, Mode.FULL):
        run.finish()
        run.open(mode)
        assert run.due() == [], "nothing is there to fetch"
    run.finish()
    assert run.texts() == {url: "handed"}


def test_what_it_stands_beside_still_leaves_when_nothing_links_to_it(run: Run) -> None:
    run.hand(OWN)
    run.crawl(Mode.FULL, LINKED)
    assert set(run.texts()) == {OWN, PAGE, LINKED}
    run.crawl(Mode.FULL)
    assert set(run.texts()) == {OWN, PAGE}


@pytest.mark.parametrize("mode", Mode)
def test_a_crawl_that_finds_its_address_reads_it_and_wins(run: Run, mode: Mode) -> None:
    run.hand(LINKED)
    run.crawl(mode, LINKED)
    assert run.texts()[LINKED] == f"crawled {LINKED}"
    assert (run.row(LINKED).reason, run.row(LINKED).depth) == ("ok", 1)
    run.crawl(Mode.FULL)
    assert LINKED not in run.texts(), "from then on it is a page like any other"


def test_a_sitemap_does_not_vouch_for_it(run: Run) -> None:
    sitemap = f"{SITE}/sitemap.xml"
    run.finish()
    run.open(Mode.DELTA)
    run.hand(PAGE)
    listed = Discovery(PAGE, 1, sitemap, sitemap=sitemap, lastmod=5.0)
    told = PageOutcome(FetchTask(BRAND, sitemap), UrlState.FETCHED, "ok", status=200, listed=(Listed(PAGE, 5.0),))
    run.ledger.commit_sitemap(BRAND, run.cycle, run.fence, told, [listed], run.now)
    assert run.due() == [PAGE]


@pytest.mark.parametrize(
    ("reason", "state"),
    [
        ("http_404", UrlState.GONE),
        ("robots", UrlState.SKIPPED),
        ("redirect", UrlState.SKIPPED),
        ("noindex", UrlState.SKIPPED),
        ("empty", UrlState.FETCHED),
        ("timeout", UrlState.FAILED),
    ],
)
def test_what_a_crawl_hears_instead_of_a_text_takes_nothing_away(run: Run, reason: str, state: UrlState) -> None:
    run.hand(LINKED)
    for _ in range(3):
        run.finish()
        run.open(Mode.FULL)
        run.find(LINKED)
        assert run.due() == [LINKED]
        run.settle(LINKED, reason=reason, state=state)
    assert run.texts() == {LINKED: "handed"}
    assert run.row(LINKED).reason == reason, "the story tells what the crawl met"
    assert run.row(LINKED).misses == 0


def test_an_address_that_holds_no_page_does_not_keep_other_texts(run: Run) -> None:
    """A full crawl that misses a page drops nothing; a handed text is no page that was missed."""
    run.crawl(Mode.FULL, PAGE, LINKED)
    run.hand(f"{SITE}/gone")
    run.open(Mode.FULL)
    run.find(PAGE, f"{SITE}/gone")
    run.settle(PAGE, "crawled")
    run.settle(f"{SITE}/gone", reason="http_404", state=UrlState.GONE)
    run.finish()
    assert set(run.texts()) == {PAGE, f"{SITE}/gone"}


def test_handed_over_in_place_of_a_crawled_text_the_crawl_goes_on_looking(run: Run) -> None:
    run.crawl(Mode.FULL)
    run.hand(PAGE)
    assert run.texts() == {PAGE: "handed"}
    run.open(Mode.DELTA)
    assert run.due() == [PAGE]
    run.settle(PAGE, "newer")
    assert run.texts() == {PAGE: "newer"}


def test_handed_over_while_it_waits_the_crawl_still_comes_to_it(run: Run) -> None:
    run.find(PAGE)
    run.hand(PAGE)
    assert run.due() == [PAGE]
    run.settle(PAGE, "crawled")
    run.hand(PAGE)
    run.settle(PAGE, "crawled once more")  # the same cycle again, as after a crash
    assert run.texts() == {PAGE: "handed"}


def test_what_was_out_of_scope_stays_out_of_the_crawl(run: Run) -> None:
    elsewhere = Discovery(PAGE, 1, state=UrlState.SKIPPED, reason="scope")
    run.ledger.discover(BRAND, run.cycle, [elsewhere], run.now, run.fence)
    run.hand(PAGE)
    run.finish()
    run.open(Mode.DELTA)
    assert run.due() == []
    run.ledger.discover(BRAND, run.cycle, [elsewhere], run.now, run.fence)
    assert run.due() == []
    assert run.texts() == {PAGE: "handed"}


def test_of_equal_texts_the_crawled_page_stands_for_both(run: Run) -> None:
    run.hand(OWN, "same")
    run.find(PAGE)
    run.settle(PAGE, "same")
    run.finish()
    assert run.texts() == {PAGE: "same"}
    assert run.row(OWN).canonical_url == PAGE
