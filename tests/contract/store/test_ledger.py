from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from ray_app.records import FetchTask, PageOutcome, PageRef, UrlState
from ray_app.store import ledger as ledger_module
from ray_app.store.ledger import Cycle, Discovery, Holder, Ledger
from ray_app.store.settle import URL_BYTES

BRAND = "acme"
SITE = "https://docs.example.com"


class Run:
    """A crawl of one brand, step by step."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.fence = ledger.acquire(BRAND, Holder.current("test"), 0.0, 1e9)
        self.cycle = ledger.open_cycle(BRAND, now=1.0)
        self.now = 10.0

    def discover(self, *found: Discovery) -> int:
        return self.ledger.discover(BRAND, self.cycle.number, found, self.now, self.fence)

    def seed(self, *paths: str, depth: int = 0) -> None:
        self.discover(*(Discovery(SITE + path, depth) for path in paths))

    def due(self, limit: int = 100, exclude: frozenset[str] = frozenset()) -> list[FetchTask]:
        return self.ledger.due(BRAND, self.cycle.number, limit, self.now, exclude)

    def commit(self, *outcomes: PageOutcome, found: tuple[Discovery, ...] = ()) -> None:
        self.ledger.commit(BRAND, self.cycle.number, self.fence, outcomes, found, self.now)

    def fetched(self, **texts: str) -> None:
        """Path without slash -> text."""
        tasks = {task.url: task for task in self.due()}
        self.commit(*(ok(tasks[f"{SITE}/{path}"], text) for path, text in texts.items()))

    def next_cycle(self) -> None:
        self.ledger.finish_cycle(BRAND, self.cycle.number, self.fence, self.now)
        self.cycle = self.ledger.open_cycle(BRAND, now=self.now)

    def row(self, path: str) -> ledger_module.UrlRow:
        row = self.ledger.url(BRAND, SITE + path)
        assert row is not None
        return row

    def documents(self) -> dict[str, str]:
        return {doc.url.removeprefix(SITE): doc.content_hash for doc in self.ledger.documents(BRAND)}


def ok(task: FetchTask, text: str, **more: object) -> PageOutcome:
    page = PageRef(f"part-of-{task.url[-9:]}", len(text))
    return outcome(task, UrlState.FETCHED, "ok", status=200, page=page, content_hash=text, title=text.upper(), **more)


def outcome(task: FetchTask, state: UrlState, reason: str, **more: object) -> PageOutcome:
    return PageOutcome(task, state, reason, **{"fetched_at": 20.0, **more})  # type: ignore[arg-type]


@pytest.fixture
def run(ledger: Ledger) -> Iterator[Run]:
    yield Run(ledger)


# -- cycles


def test_an_unfinished_cycle_is_resumed(run: Run) -> None:
    assert run.cycle == Cycle(1, 1.0, None, resumed=False)
    assert run.ledger.open_cycle(BRAND, now=2.0) == Cycle(1, 1.0, None, resumed=True)
    run.ledger.finish_cycle(BRAND, 1, run.fence, now=3.0)
    assert run.ledger.last_cycle(BRAND) == Cycle(1, 1.0, 3.0)
    assert run.ledger.open_cycle(BRAND, now=4.0) == Cycle(2, 4.0, None)
    assert run.ledger.last_cycle("other") is None


def test_a_new_cycle_makes_everything_due_but_what_its_address_rules_out(run: Run) -> None:
    run.seed("/ok", "/gone", "/failed", "/robots", "/image")
    run.discover(Discovery("https://elsewhere.example/", 1, state=UrlState.SKIPPED, reason="scope"))
    ok_, gone, failed, robots, image = (SITE + path for path in ("/ok", "/gone", "/failed", "/robots", "/image"))
    tasks = {task.url: task for task in run.due()}
    run.commit(
        ok(tasks[ok_], "text"),
        outcome(tasks[gone], UrlState.GONE, "http_404", status=404),
        outcome(tasks[failed], UrlState.FAILED, "timeout"),
        outcome(tasks[robots], UrlState.SKIPPED, "robots"),
        outcome(tasks[image], UrlState.SKIPPED, "media_type", status=200),
    )
    assert run.due() == []
    run.next_cycle()
    assert {task.url for task in run.due()} == {ok_, gone, failed, robots, image}
    assert all(task.attempts == 0 for task in run.due())
    run.next_cycle()  # nothing was done in between: still all of them
    assert len(run.due()) == 5


def test_the_end_of_a_cycle_names_what_it_did_not_come_to(run: Run) -> None:
    run.seed("/a", "/b", "/c")
    run.fetched(a="text")
    assert run.ledger.finish_cycle(BRAND, 1, run.fence, now=30.0) == 2
    assert run.ledger.counts(BRAND) == {("fetched", "ok"): 1, ("skipped", "page_cap"): 2}
    run.cycle = run.ledger.open_cycle(BRAND, now=31.0)
    assert len(run.due()) == 3
    # A page that was read before and not looked at this time keeps its state and its text.
    assert run.ledger.finish_cycle(BRAND, 2, run.fence, now=32.0) == 3
    assert run.row("/a").state is UrlState.FETCHED
    assert run.documents() == {"/a": "text"}


def test_the_page_budget_counts_fetches_only(run: Run) -> None:
    run.seed("/a", "/b", "/c")
    run.discover(Discovery(SITE + "/deep", 99, state=UrlState.SKIPPED, reason="depth"))
    run.fetched(a="text")
    assert run.ledger.done_in_cycle(BRAND, 1) == 1
    assert run.ledger.waiting(BRAND, 1) == 2
    run.next_cycle()
    assert run.ledger.done_in_cycle(BRAND, 2) == 0


# -- discoveries


def test_discoveries_are_counted_once(run: Run) -> None:
    assert run.discover(Discovery(SITE + "/a"), Discovery(SITE + "/a"), Discovery(SITE + "/b", 1, SITE + "/a")) == 2
    assert run.discover(Discovery(SITE + "/a"), Discovery(SITE + "/c")) == 1
    row = run.row("/b")
    assert (row.depth, row.parent, row.state, row.reason, row.discovered_at) == (
        1,
        SITE + "/a",
        UrlState.QUEUED,
        "discovered",
        10.0,
    )
    assert (row.page_part, row.cycle_done) == (None, 0)


def test_a_skipped_discovery_is_recorded_and_not_due(run: Run) -> None:
    run.discover(Discovery("https://elsewhere.example/", 1, SITE, state=UrlState.SKIPPED, reason="scope"))
    assert run.due() == []
    assert run.ledger.counts(BRAND) == {("skipped", "scope"): 1}


def test_a_discovery_never_takes_anything_back(run: Run) -> None:
    run.seed("/a")
    run.fetched(a="text")
    before = run.row("/a")
    run.discover(Discovery(SITE + "/a", 5), Discovery(SITE + "/a", 0, state=UrlState.SKIPPED, reason="scope"))
    assert run.row("/a") == before


def test_a_shorter_way_is_taken_at_any_time(run: Run) -> None:
    run.seed("/a", depth=5)
    run.fetched(a="text")
    run.discover(Discovery(SITE + "/a", 2, SITE + "/near"))
    row = run.row("/a")
    assert (row.depth, row.parent, row.reason, row.cycle_done) == (2, SITE + "/near", "ok", 1)


def test_what_was_too_deep_is_crawled_when_a_shorter_way_is_found(run: Run) -> None:
    run.discover(Discovery(SITE + "/a", 9, state=UrlState.SKIPPED, reason="depth"))
    run.discover(Discovery(SITE + "/a", 3))
    assert [(task.url, task.depth) for task in run.due()] == [(SITE + "/a", 3)]


def test_a_page_that_says_no_is_not_asked_again_by_every_link_to_it(run: Run) -> None:
    run.seed("/a", depth=3)
    (task,) = run.due()
    run.commit(outcome(task, UrlState.SKIPPED, "robots"), found=(Discovery(SITE + "/a", 1),))
    run.discover(Discovery(SITE + "/a", 0))
    assert run.due() == []


def test_a_url_longer_than_an_index_entry_is_recorded_and_found(run: Run) -> None:
    long = f"{SITE}/{'x' * 5_000}"
    run.discover(Discovery(long), Discovery(long + "y"), Discovery(f"{SITE}/{'z' * 1_950}"))
    assert run.ledger.counts(BRAND) == {("skipped", "url_too_long"): 2, ("queued", "discovered"): 1}
    row = run.ledger.url(BRAND, long)
    assert row is not None and len(row.url) <= URL_BYTES


# -- what is due


def test_due_is_best_first(run: Run) -> None:
    run.seed("/deep", depth=2)
    run.seed("/z")
    run.now = 11.0
    run.seed("/a")
    assert [task.url.removeprefix(SITE) for task in run.due()] == ["/z", "/a", "/deep"]
    assert [task.url.removeprefix(SITE) for task in run.due(1, frozenset({SITE + "/z"}))] == ["/a"]


def test_a_retry_waits_for_its_time(run: Run) -> None:
    run.seed("/a")
    (task,) = run.due()
    assert run.ledger.next_due(BRAND, 1) == 0.0
    run.commit(outcome(task, UrlState.QUEUED, "http_5xx", status=503, retry_at=50.0))
    assert run.due() == []
    assert run.ledger.next_due(BRAND, 1) == 50.0
    run.now = 50.0
    (again,) = run.due()
    assert again.attempts == 1
    run.commit(outcome(again, UrlState.FAILED, "http_5xx", status=503))
    assert (run.row("/a").attempts, run.row("/a").status) == (2, 503)
    assert run.ledger.next_due(BRAND, 1) is None


def test_a_task_carries_what_a_conditional_request_needs(run: Run) -> None:
    run.seed("/a")
    (task,) = run.due()
    run.commit(ok(task, "text", etag='"v1"', last_modified="Mon"))
    run.next_cycle()
    (task,) = run.due()
    assert (task.etag, task.last_modified, task.content_hash) == ('"v1"', "Mon", "text")
    run.commit(outcome(task, UrlState.FETCHED, "not_modified", status=304))
    assert run.documents() == {"/a": "text"}
    assert run.row("/a").reason == "not_modified"


# -- documents


def test_a_text_under_two_urls_is_one_document(run: Run) -> None:
    run.seed("/b", "/a")
    run.seed("/shallow", "/other", depth=0)
    run.discover(Discovery(SITE + "/deep", 4))
    run.fetched(b="same", a="same", deep="same", other="else")
    assert run.documents() == {"/a": "same", "/other": "else"}
    for path in ("/b", "/deep"):
        assert (run.row(path).state, run.row(path).reason) == (UrlState.FETCHED, "duplicate")
        assert run.row(path).canonical_url == SITE + "/a"
    assert run.row("/a").canonical_url == ""
    assert run.ledger.counts(BRAND)[UrlState.FETCHED, "duplicate"] == 2


def test_another_brand_has_documents_of_its_own(run: Run) -> None:
    run.seed("/a")
    run.fetched(a="same")
    fence = run.ledger.acquire("beta", Holder.current("test"), 0.0, 1e9)
    task = FetchTask("beta", SITE + "/b")
    run.ledger.commit("beta", 1, fence, [ok(task, "same")], [], 1.0)
    assert [doc.url for doc in run.ledger.documents("beta")] == [SITE + "/b"]
    assert [row.brand for row in run.ledger.find(SITE + "/b")] == ["beta"]


@pytest.mark.parametrize("change", ["gone", "text", "noindex", "depth"])
def test_a_duplicate_takes_over_when_the_owner_goes(run: Run, change: str) -> None:
    run.seed("/a", "/b")
    run.fetched(a="same", b="same")
    run.next_cycle()
    task = run.due()[0]
    assert task.url == SITE + "/a"
    if change == "gone":
        run.commit(outcome(task, UrlState.GONE, "http_404", status=404))
    elif change == "text":
        run.commit(ok(task, "new"))
    elif change == "noindex":
        run.commit(outcome(task, UrlState.SKIPPED, "noindex"))
    else:
        run.discover(Discovery(SITE + "/b", -1))
    assert run.documents() == {"/b": "same"} | ({"/a": "new"} if change == "text" else {})
    assert (run.row("/b").reason, run.row("/b").canonical_url) == ("ok", "")


def test_documents_point_to_their_own_page(run: Run) -> None:
    run.seed("/a", "/b")
    run.fetched(a="same", b="same")
    (document,) = run.ledger.documents(BRAND)
    assert (document.url, document.page, document.title) == (SITE + "/a", PageRef("part-of-ple.com/a", 4), "SAME")
    assert run.ledger.parts(BRAND) == {"part-of-ple.com/a", "part-of-ple.com/b"}


def test_a_bad_night_of_the_server_takes_no_text_away(run: Run) -> None:
    run.seed("/a", "/b", "/c")
    run.fetched(a="1", b="2", c="3")
    run.next_cycle()
    a, b, c = run.due()
    run.commit(
        outcome(a, UrlState.FAILED, "timeout"),
        outcome(b, UrlState.QUEUED, "http_5xx", status=500, retry_at=99.0),
        outcome(c, UrlState.SKIPPED, "robots_unreachable"),
    )
    assert run.documents() == {"/a": "1", "/b": "2", "/c": "3"}
    assert run.row("/a").state is UrlState.FAILED


def test_redirects_name_their_target(run: Run) -> None:
    run.seed("/a")
    (task,) = run.due()
    target = Discovery(SITE + "/b", 0, SITE + "/a", hops=1)
    run.commit(outcome(task, UrlState.SKIPPED, "redirect", status=301, location=target.url), found=(target,))
    assert run.row("/a").canonical_url == target.url
    assert [(task.url, task.hops) for task in run.due()] == [(target.url, 1)]


# -- commits


def test_a_commit_is_all_or_nothing(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    run.seed("/a")
    (task,) = run.due()
    before = run.row("/a")

    def fail(*_: object) -> None:
        raise RuntimeError

    monkeypatch.setattr(ledger_module, "_update", fail)
    with pytest.raises(RuntimeError):
        run.commit(ok(task, "text"), found=(Discovery(SITE + "/new", 1),))
    assert run.row("/a") == before
    assert run.ledger.url(BRAND, SITE + "/new") is None


def test_an_outcome_nobody_announced_is_kept(run: Run) -> None:
    run.commit(ok(FetchTask(BRAND, SITE + "/a", depth=3), "text"))
    assert (run.row("/a").depth, run.documents()) == (3, {"/a": "text"})


def test_a_page_and_links_to_it_in_one_commit(run: Run) -> None:
    run.seed("/a", depth=4)
    (task,) = run.due()
    run.commit(ok(task, "text"), found=(Discovery(SITE + "/a", 1, SITE + "/b"), Discovery(SITE + "/b", 1)))
    assert (run.row("/a").depth, run.row("/a").reason) == (1, "ok")
    assert [task.url for task in run.due()] == [SITE + "/b"]


def test_hostile_text_reaches_no_database_error(run: Run) -> None:
    run.seed("/a")
    (task,) = run.due()
    evil = "\0\ud800'; DROP TABLE urls; --" + "x" * 100_000
    run.commit(ok(task, "text", detail=evil, etag="\0", media_type=evil, location=SITE + evil))
    assert run.ledger.url(BRAND, SITE + evil) is None
    assert run.ledger.find(evil) == []
    assert run.documents() == {"/a": "text"}


# -- reading


def test_urls_are_read_in_slices(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ledger_module, "PAGE_ROWS", 3)
    paths = [f"/{n}" for n in range(8)]
    run.seed(*paths)
    run.fetched(**{"1": "text", "4": "text"})
    assert [row.url for row in run.ledger.urls(BRAND)] == [SITE + path for path in paths]
    assert [row.url for row in run.ledger.urls(BRAND, UrlState.FETCHED)] == [SITE + "/1", SITE + "/4"]
    assert list(run.ledger.urls("other")) == []


def test_find_looks_into_every_brand(run: Run) -> None:
    for brand in ("zeta", "beta", "ünï"):
        run.ledger.discover(brand, 1, [Discovery(SITE + "/a")], 1.0)
    run.seed("/a", "/b")
    assert [row.brand for row in run.ledger.find(SITE + "/a")] == ["acme", "beta", "zeta", "ünï"]
    assert [row.brand for row in run.ledger.find(SITE + "/b")] == ["acme"]


def test_urls_sort_byte_by_byte(run: Run) -> None:
    run.seed("/b", "/B", "/a-b", "/ab")
    assert [row.url.removeprefix(SITE) for row in run.ledger.urls(BRAND)] == ["/B", "/a-b", "/ab", "/b"]


def test_a_large_commit_is_quick(run: Run) -> None:
    """24 outcomes, 2,000 links, nearly all known: tens of milliseconds; the bound leaves room for a busy machine."""
    found = [Discovery(f"{SITE}/guides/a-page-of-a-usual-length-{n}", 1) for n in range(2_000)]
    run.discover(*found)
    fresh = tuple(Discovery(f"{SITE}/fresh/{n}", 2) for n in range(50))
    started = time.perf_counter()
    run.commit(*(ok(task, f"text {n}") for n, task in enumerate(run.due(24))), found=(*found, *fresh))
    assert time.perf_counter() - started < 1.0
    assert len(run.documents()) == 24
    assert run.ledger.waiting(BRAND, 1) == 2_026
