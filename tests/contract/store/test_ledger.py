from __future__ import annotations

import time
from collections.abc import Iterable, Iterator
from typing import Any

import pytest
from sqlalchemy import event

from ray_app.records import FetchTask, Fingerprint, Kind, Listed, PageOutcome, PageRef, UrlState
from ray_app.store import ledger as ledger_module
from ray_app.store import url_rows
from ray_app.store.aliases import Alias, Held, aliases
from ray_app.store.ledger import Cycle, Discovery, Holder, Ledger, Mode
from ray_app.store.rows import Finished
from ray_app.store.settle import REVISIT_CAP_S, URL_BYTES

BRAND = "acme"
HOST = "docs.example.com"
SITE = f"https://{HOST}"


class Run:
    """A crawl of one brand, step by step."""

    def __init__(self, ledger: Ledger) -> None:
        self.ledger = ledger
        self.fence = ledger.acquire(BRAND, Holder.current("test"), 0.0, 1e9)
        self.cycle = ledger.open_cycle(BRAND, now=1.0)
        self.now = 10.0

    def discover(self, *found: Discovery) -> int:
        return self.ledger.discover(BRAND, self.cycle, found, self.now, self.fence)

    def seed(self, *paths: str, depth: int = 0) -> None:
        self.discover(*(Discovery(SITE + path, depth) for path in paths))

    def due(self, limit: int = 100, exclude: frozenset[str] = frozenset()) -> list[FetchTask]:
        return self.ledger.due(BRAND, self.cycle.number, HOST, limit, self.now, exclude)

    def commit(self, *outcomes: PageOutcome, found: tuple[Discovery, ...] = ()) -> None:
        self.ledger.commit(BRAND, self.cycle, self.fence, outcomes, found, self.now)

    def fetched(self, **texts: str) -> None:
        """Path without slash -> text."""
        tasks = {task.url: task for task in self.due()}
        self.commit(*(ok(tasks[f"{SITE}/{path}"], text) for path, text in texts.items()))

    def finish(self) -> Finished:
        return self.ledger.finish_cycle(BRAND, self.cycle, self.fence, self.now)

    def next_cycle(self, mode: Mode = Mode.DELTA) -> None:
        self.finish()
        self.cycle = self.ledger.open_cycle(BRAND, now=self.now, mode=mode)

    def row(self, path: str) -> ledger_module.UrlRow:
        row = self.ledger.url(BRAND, SITE + path)
        assert row is not None
        return row

    def documents(self) -> dict[str, str]:
        self.ledger.consolidate(BRAND, self.fence)
        return {doc.url.removeprefix(SITE): doc.content_hash for doc in self.ledger.documents(BRAND)}


def ok(task: FetchTask, text: str, **more: object) -> PageOutcome:
    page = PageRef(f"part-of-{task.url[-9:]}", len(text))
    about = {"content_hash": text, "title": text.upper(), "fingerprint": fingerprint(text), **more}
    return outcome(task, UrlState.FETCHED, "ok", status=200, page=page, **about)


def fingerprint(text: str) -> Fingerprint:
    return Fingerprint(words=text, numbers="", simhash=0, shape=text)


def outcome(task: FetchTask, state: UrlState, reason: str, **more: object) -> PageOutcome:
    return PageOutcome(task, state, reason, **{"fetched_at": 20.0, **more})  # type: ignore[arg-type]


@pytest.fixture
def run(ledger: Ledger) -> Iterator[Run]:
    yield Run(ledger)


# -- cycles


def test_an_unfinished_cycle_is_resumed(run: Run) -> None:
    assert run.cycle == Cycle(1, 1.0, None, resumed=False)
    assert run.ledger.open_cycle(BRAND, now=2.0) == Cycle(1, 1.0, None, resumed=True)
    run.ledger.finish_cycle(BRAND, run.cycle, run.fence, now=3.0)
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
    assert {task.url for task in run.due()} == {ok_, gone, failed, robots}, "a picture waits for a week"
    assert all(task.attempts == 0 for task in run.due())
    run.next_cycle()  # nothing was done in between: still all of them
    assert len(run.due()) == 4
    run.now += REVISIT_CAP_S
    run.next_cycle()
    assert len(run.due()) == 5


def test_the_end_of_a_cycle_names_what_it_did_not_come_to(run: Run) -> None:
    run.seed("/a", "/b", "/c")
    run.fetched(a="text")
    assert run.finish() == Finished(left=2)
    assert run.ledger.counts(BRAND) == {("fetched", "ok"): 1, ("skipped", "page_cap"): 2}
    run.cycle = run.ledger.open_cycle(BRAND, now=31.0)
    assert len(run.due()) == 3
    # A page that was read before and not looked at this time keeps its state and its text.
    assert run.finish() == Finished(left=3)
    assert run.row("/a").state is UrlState.FETCHED
    assert run.documents() == {"/a": "text"}


def test_the_page_budget_counts_fetches_only(run: Run) -> None:
    run.seed("/a", "/b", "/c")
    run.discover(Discovery(SITE + "/deep", 99, state=UrlState.SKIPPED, reason="depth"))
    run.fetched(a="text")
    assert run.ledger.done_in_cycle(BRAND, 1) == 1
    assert run.ledger.waiting(BRAND, 1) == 2
    b, c = run.due()
    run.commit(outcome(b, UrlState.SKIPPED, "robots"), outcome(c, UrlState.SKIPPED, "redirect", status=301))
    assert run.ledger.done_in_cycle(BRAND, 1) == 2
    run.seed("/d")
    run.ledger.give_up_host(BRAND, run.cycle, run.fence, HOST)
    assert run.ledger.done_in_cycle(BRAND, 1) == 2
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


def test_what_waits_is_found_through_its_index(run: Run) -> None:
    """Else each batch would cost a look at every URL of the brand."""
    run.seed("/a")
    engine = run.ledger._db.engine
    asked: list[tuple[str, Any]] = []
    event.listen(engine, "before_cursor_execute", lambda _c, _k, query, values, *_: asked.append((query, values)))
    run.due()
    run.ledger.next_due(BRAND, 1)
    run.ledger.hosts(BRAND, 1)
    run.ledger.waiting(BRAND, 1)
    run.ledger.aliases_of(BRAND, SITE + "/a")
    queries = [(query, values) for query, values in asked if "FROM urls" in query]
    assert len(queries) == 5
    if engine.dialect.name == "sqlite":  # PostgreSQL reads a table so small from end to end
        with engine.begin() as conn:
            plans = [conn.exec_driver_sql(f"EXPLAIN QUERY PLAN {query}", values).all() for query, values in queries]
        *waiting, aliases = map(str, plans)
        assert all("urls_waiting" in plan and "SORT" not in plan for plan in waiting), plans
        assert "urls_alias" in aliases and "urls_redirect" in aliases, aliases


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
    assert run.ledger.aliases_of(BRAND, SITE + "/a") == [SITE + "/b", SITE + "/deep"]
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
    run.ledger.commit("beta", Cycle(1, 0.0, None), fence, [ok(task, "same")], [], 1.0)
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
        assert run.documents() == {"/b": "same"}, "it may be a mistake, but nobody should be sent there"
        assert run.row("/a").content_hash == "same"
        run.next_cycle()
        run.commit(outcome(run.due()[0], UrlState.GONE, "http_404", status=404))
        assert run.row("/a").content_hash == ""
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
    run.finish()
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
        outcome(c, UrlState.SKIPPED, "blocked_address"),
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

    monkeypatch.setattr(url_rows, "write", fail)
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


# -- modes


def test_a_full_cycle_begins_with_its_start_urls_and_follows_links(run: Run) -> None:
    run.discover(Discovery(SITE + "/", forced=True), Discovery(SITE + "/a", 1), Discovery(SITE + "/b", 1))
    run.fetched(a="1", b="2", **{"": "0"})
    run.next_cycle(Mode.FULL)
    assert run.due() == []
    run.discover(Discovery(SITE + "/", forced=True))
    (start,) = run.due()
    assert start.url == SITE + "/"
    run.commit(ok(start, "0"), found=(Discovery(SITE + "/b", 1, SITE + "/"),))
    assert [task.url for task in run.due()] == [SITE + "/b"]


def crawled_fully(run: Run, *outcomes: tuple[str, UrlState, str]) -> Finished:
    """Three pages are known; a full cycle finds the first two, and ``outcomes`` happen to them."""
    run.discover(Discovery(SITE + "/", forced=True), Discovery(SITE + "/a", 1), Discovery(SITE + "/b", 1))
    run.fetched(a="1", b="2", **{"": "0"})
    run.next_cycle(Mode.FULL)
    run.discover(Discovery(SITE + "/", forced=True), Discovery(SITE + "/a", 1))
    tasks = {task.url.removeprefix(SITE): task for task in run.due()}
    run.commit(*(outcome(tasks[path], state, reason, status=200) for path, state, reason in outcomes))
    return run.finish()


def test_what_a_complete_full_crawl_finds_no_link_to_leaves(run: Run) -> None:
    read = (("/", UrlState.FETCHED, "not_modified"), ("/a", UrlState.FETCHED, "not_modified"))
    assert crawled_fully(run, *read) == Finished(left=0, unlinked=1)
    assert (run.row("/b").state, run.row("/b").reason) == (UrlState.GONE, "unlinked")
    assert run.documents() == {"/": "0", "/a": "1"}


@pytest.mark.parametrize(
    "second",
    [
        ("/a", UrlState.FAILED, "timeout"),
        ("/a", UrlState.FAILED, "http_4xx"),
        ("/a", UrlState.SKIPPED, "robots_unreachable"),
        ("/a", UrlState.SKIPPED, "blocked_address"),
        ("/a", UrlState.GONE, "http_404"),
    ],
)
def test_a_crawl_that_could_not_read_everything_takes_nothing_away(run: Run, second: tuple[str, UrlState, str]) -> None:
    assert crawled_fully(run, ("/", UrlState.FETCHED, "not_modified"), second).unlinked == 0
    assert "/b" in run.documents()


def test_a_start_page_without_text_that_is_blocked_takes_nothing_away(run: Run) -> None:
    target = Discovery(SITE + "/a", 0, SITE + "/", hops=1)
    run.discover(Discovery(SITE + "/", forced=True), target)
    start, page = sorted(run.due(), key=lambda task: task.url)
    run.commit(outcome(start, UrlState.SKIPPED, "redirect", status=301, location=page.url), ok(page, "text"))
    run.next_cycle(Mode.FULL)
    run.discover(Discovery(SITE + "/", forced=True))
    run.commit(outcome(run.due()[0], UrlState.SKIPPED, "blocked_address"))
    assert run.finish() == Finished(left=0, unlinked=0)
    assert run.documents() == {"/a": "text"}


def test_an_unfinished_full_crawl_takes_nothing_away(run: Run) -> None:
    assert crawled_fully(run, ("/", UrlState.FETCHED, "not_modified")) == Finished(left=1)
    assert set(run.documents()) == {"/", "/a", "/b"}


def test_a_retry_is_about_failures_only(run: Run) -> None:
    run.seed("/ok", "/failed", "/late", "/blocked")
    tasks = {task.url.removeprefix(SITE): task for task in run.due()}
    run.commit(
        ok(tasks["/ok"], "text"),
        outcome(tasks["/failed"], UrlState.FAILED, "timeout"),
        outcome(tasks["/late"], UrlState.SKIPPED, "robots_unreachable"),
        outcome(tasks["/blocked"], UrlState.SKIPPED, "blocked_address"),
    )
    run.next_cycle(Mode.RETRY)
    run.discover(Discovery(SITE + "/ok", forced=True))
    assert {task.url for task in run.due()} == {SITE + "/failed", SITE + "/late", SITE + "/blocked"}


def test_a_page_is_left_alone_until_its_next_visit(run: Run) -> None:
    run.seed("/a")
    run.fetched(a="text")
    run.now = 40 * 86_400.0
    run.next_cycle()
    (task,) = run.due()
    run.commit(outcome(task, UrlState.FETCHED, "not_modified", status=304))
    run.now += 86_400.0
    run.next_cycle()
    assert run.due() == []
    assert run.row("/a").revisit_at == pytest.approx(44 * 86_400.0, rel=0.01)
    run.now += 4 * 86_400.0
    run.next_cycle()
    assert len(run.due()) == 1


def test_what_robots_txt_forbids_waits_though_its_sitemap_names_a_date(run: Run) -> None:
    run.discover(Discovery(SITE + "/a", 1, sitemap=SITE + "/map.xml", lastmod=5.0))
    run.now = 5.0
    run.commit(outcome(run.due()[0], UrlState.SKIPPED, "robots", fetched_at=0.0))
    run.now += 40 * 86_400.0
    run.next_cycle()
    run.commit(outcome(run.due()[0], UrlState.SKIPPED, "robots", fetched_at=0.0))
    run.now += 86_400.0
    run.next_cycle()
    assert run.due() == []
    assert (run.row("/a").fetched_at, run.row("/a").status) == (0.0, 0)


# -- caps and hosts


def test_links_over_the_cap_are_counted_and_known_ones_do_not_count(run: Run) -> None:
    run.seed("/a")
    (task,) = run.due()
    found = [Discovery(f"{SITE}/{n}", 1) for n in range(5)]
    args = (BRAND, run.cycle, run.fence, [ok(task, "text")], [*found, Discovery(SITE + "/a", 1)], run.now)
    assert run.ledger.commit(*args, 2) == 2
    assert run.ledger.known_urls(BRAND) == 3
    assert run.finish() == Finished(left=2, dropped=3)


def test_a_host_that_is_down_is_given_up_and_keeps_its_texts(run: Run) -> None:
    run.seed("/a", "/b")
    run.discover(Discovery("https://other.example/", 1))
    run.fetched(a="text")
    run.next_cycle()
    assert sorted(run.ledger.hosts(BRAND, run.cycle.number)) == [HOST, "other.example"]
    assert run.ledger.give_up_host(BRAND, run.cycle, run.fence, HOST) == 2
    assert {(run.row(path).state, run.row(path).reason) for path in ("/a", "/b")} == {(UrlState.FAILED, "host_down")}
    assert run.documents() == {"/a": "text"}
    assert run.ledger.hosts(BRAND, run.cycle.number) == ["other.example"]
    run.next_cycle()
    assert len(run.due()) == 2


def test_templates_tell_how_much_of_a_pattern_was_admitted(run: Run) -> None:
    found = [Discovery(f"{SITE}/c?m={n}", 1, template="t") for n in range(4)]
    run.discover(*found, Discovery(SITE + "/c?m=9", 1, template="t", state=UrlState.SKIPPED, reason="trap"))
    run.commit(*(ok(task, "same" if n else "other") for n, task in enumerate(run.due(3))))
    assert run.ledger.templates(BRAND) == [("t", 3, 2)], "the fourth was not looked at yet"
    run.commit(outcome(run.due()[0], UrlState.SKIPPED, "robots", fetched_at=0.0))
    assert run.ledger.templates(BRAND) == [("t", 4, 2)]
    assert run.ledger.not_admitted(BRAND, [SITE + "/c?m=1", SITE + "/c?m=9", SITE + "/new"]) == {
        SITE + "/c?m=9",
        SITE + "/new",
    }


def test_refused_urls_come_in_when_their_pattern_opens_again(run: Run) -> None:
    refused = [Discovery(f"{SITE}/c?m={n}", 1, template="t", state=UrlState.SKIPPED, reason="trap") for n in range(5)]
    run.discover(*refused, Discovery(SITE + "/d?m=1", 1, template="u", state=UrlState.SKIPPED, reason="trap"))
    assert run.ledger.reopen(BRAND, run.cycle, run.fence, "t", 3) == 3
    assert [task.url for task in run.due()] == [f"{SITE}/c?m={n}" for n in range(3)]
    assert run.ledger.reopen(BRAND, run.cycle, run.fence, "t", 3) == 2


# -- sitemaps


class Mapped:
    """A brand with a robots.txt that names one sitemap."""

    def __init__(self, run: Run) -> None:
        self.run = run
        self.add_robots()
        self.read(links=(SITE + "/map.xml",))

    def add_robots(self) -> None:
        robots = FetchTask(BRAND, SITE + "/robots.txt", kind=Kind.ROBOTS)
        self.run.ledger.add_sitemaps(BRAND, self.run.cycle, [robots], self.run.fence)

    def due(self) -> list[FetchTask]:
        return [task for task, _ in self.run.ledger.sitemaps_due(BRAND, self.run.cycle, 10)]

    def read(self, *listed: Listed, reason: str = "ok", **more: object) -> None:
        """The next sitemap that waits is read."""
        one = outcome(self.due()[0], UrlState.FETCHED, reason, status=200, listed=listed, **more)
        found = [Discovery(e.url, 1, one.task.url, sitemap=one.task.url, lastmod=e.lastmod) for e in listed]
        self.run.ledger.commit_sitemap(BRAND, self.run.cycle, self.run.fence, one, found, self.run.now)

    def meets(self, state: UrlState, reason: str, **more: object) -> None:
        """That happens to the next sitemap that waits."""
        one = outcome(self.due()[0], state, reason, **more)
        self.run.ledger.commit_sitemap(BRAND, self.run.cycle, self.run.fence, one, [], self.run.now)

    def next_cycle(self, mode: Mode = Mode.DELTA) -> None:
        self.run.next_cycle(mode)
        self.read(reason="not_modified")


def test_a_robots_txt_leads_to_sitemaps_and_those_to_pages(run: Run) -> None:
    mapped = Mapped(run)
    (task,) = mapped.due()
    assert (task.url, task.kind, task.depth) == (SITE + "/map.xml", Kind.SITEMAP, 1)
    mapped.read(Listed(SITE + "/a", 5.0), Listed(SITE + "/b"), etag='"m"')
    assert mapped.due() == []
    assert [(task.url, task.depth) for task in run.due()] == [(SITE + "/a", 1), (SITE + "/b", 1)]
    assert (run.row("/a").sitemap, run.row("/a").lastmod, run.row("/a").parent) == (
        SITE + "/map.xml",
        5.0,
        SITE + "/map.xml",
    )
    rows = {row.url: row for row in run.ledger.sitemaps(BRAND)}
    assert (rows[SITE + "/map.xml"].entries, rows[SITE + "/map.xml"].parent) == (2, SITE + "/robots.txt")


def test_what_the_sitemap_says_has_not_changed_is_not_asked_for(run: Run) -> None:
    mapped = Mapped(run)
    mapped.read(*(Listed(f"{SITE}/{n}", lastmod) for n, lastmod in (("a", 5.0), ("b", 0.0), ("c", 5.0))))
    run.fetched(a="1", b="2", c="3")
    mapped.next_cycle()
    mapped.read(Listed(SITE + "/a", 5.0), Listed(SITE + "/b"), Listed(SITE + "/c", 25.0), etag='"2"')
    assert {task.url for task in run.due()} == {SITE + "/b", SITE + "/c"}, "/c is newer than its visit at 20"
    assert (run.row("/a").state, run.row("/a").reason) == (UrlState.FETCHED, "lastmod")
    mapped.next_cycle()
    assert mapped.due()[0].etag == '"2"'
    mapped.read(reason="not_modified")
    assert {task.url for task in run.due()} == {SITE + "/b", SITE + "/c"}, "a 304 speaks for all it listed"
    mapped.next_cycle(Mode.FULL)
    mapped.read(Listed(SITE + "/a", 5.0))
    assert {task.url for task in run.due()} == {SITE + "/a"}, "a full crawl believes no sitemap"


def test_a_sitemap_that_fails_keeps_everything(run: Run) -> None:
    mapped = Mapped(run)
    mapped.read(Listed(SITE + "/a"))
    run.fetched(a="text")
    mapped.next_cycle(Mode.FULL)
    mapped.meets(UrlState.FAILED, "timeout")
    assert run.finish().unlinked == 0
    assert run.documents() == {"/a": "text"}


def test_texts_of_another_extraction_are_read_anew_whatever_visits_and_sitemaps_say(run: Run) -> None:
    mapped = Mapped(run)
    mapped.read(*(Listed(f"{SITE}/{name}", 5.0) for name in ("new", "old")), Listed(SITE + "/none", 5.0))
    versions = {"new": 2, "old": 1}
    for task in run.due():
        name = task.url.removeprefix(SITE + "/")
        gives_text = name in versions
        run.commit(ok(task, name, extractor=versions[name]) if gives_text else outcome(task, UrlState.FETCHED, "empty"))
    run.now = 40 * 86_400.0
    for extractor, wanted in ((2, {SITE + "/old"}), (0, set())):
        run.finish()
        run.cycle = run.ledger.open_cycle(BRAND, run.now, mode=Mode.DELTA, extractor=extractor)
        mapped.read(reason="not_modified")
        mapped.read(reason="not_modified")
        assert {task.url for task in run.due()} - {SITE + "/none"} == wanted
        for task in run.due():
            run.commit(outcome(task, UrlState.FETCHED, "not_modified"))
    run.now += 86_400.0  # a visit is not due for days
    run.finish()
    run.cycle = run.ledger.open_cycle(BRAND, run.now, mode=Mode.DELTA, extractor=2)
    again = run.ledger.open_cycle(BRAND, run.now, mode=Mode.DELTA, extractor=3)
    assert (again.resumed, again.extractor) == (True, 3)
    mapped.read(reason="not_modified")
    mapped.read(reason="not_modified")
    assert {task.url for task in run.due()} - {SITE + "/none"} == {SITE + "/old"}


DENIED = [
    (UrlState.GONE, "http_404"),
    (UrlState.SKIPPED, "media_type"),
    (UrlState.SKIPPED, "redirect"),
    (UrlState.FETCHED, "empty"),
]


@pytest.mark.parametrize(("state", "reason"), DENIED)
def test_a_sitemap_that_is_said_not_to_be_there_is_believed_the_second_time(
    run: Run, state: UrlState, reason: str
) -> None:
    mapped = Mapped(run)
    mapped.read(Listed(SITE + "/a"), etag='"m"')
    run.fetched(a="text")
    mapped.next_cycle(Mode.FULL)
    mapped.meets(state, reason, status=200)
    assert run.finish().unlinked == 0
    assert run.documents() == {"/a": "text"}
    run.cycle = run.ledger.open_cycle(BRAND, now=run.now, mode=Mode.FULL)
    mapped.read(reason="not_modified")
    assert mapped.due()[0].etag == "", "it is read anew when it is there again"
    mapped.meets(state, reason, status=200)
    assert run.finish().unlinked == 1
    assert run.documents() == {}


@pytest.mark.parametrize("reason", ["robots_unreachable", "blocked_address"])
def test_what_says_nothing_about_a_sitemap_is_never_believed(run: Run, reason: str) -> None:
    mapped = Mapped(run)
    mapped.read(Listed(SITE + "/a"))
    run.fetched(a="text")
    for _ in range(3):
        mapped.next_cycle(Mode.FULL)
        mapped.meets(UrlState.SKIPPED, reason)
    assert run.finish().unlinked == 0
    assert run.documents() == {"/a": "text"}


def test_a_sitemap_of_which_a_part_is_missing_keeps_what_the_rest_may_list(run: Run) -> None:
    mapped = Mapped(run)
    mapped.read(Listed(SITE + "/a"), Listed(SITE + "/b"))
    run.fetched(a="1", b="2")
    mapped.next_cycle(Mode.FULL)
    mapped.read(Listed(SITE + "/a"), reason="truncated", etag='"cut"')
    run.fetched(a="1")
    assert run.finish().unlinked == 0
    assert run.documents() == {"/a": "1", "/b": "2"}
    run.cycle = run.ledger.open_cycle(BRAND, now=run.now, mode=Mode.FULL)
    mapped.read(reason="not_modified")
    assert mapped.due()[0].etag == "", "a part is not worth confirming"
    mapped.read(Listed(SITE + "/a"))
    run.fetched(a="1")
    assert run.finish().unlinked == 1


def test_a_sitemap_that_never_listed_anything_may_be_missing(run: Run) -> None:
    run.seed("/", "/b")
    run.fetched(**{"": "0", "b": "1"})
    run.next_cycle(Mode.FULL)
    mapped = Mapped(run)
    mapped.meets(UrlState.GONE, "http_404", status=404)
    run.seed("/")
    run.fetched(**{"": "0"})
    assert run.finish().unlinked == 1


def test_a_sitemap_that_will_be_tried_again_waits(run: Run) -> None:
    mapped = Mapped(run)
    again = outcome(mapped.due()[0], UrlState.QUEUED, "timeout", retry_at=77.0)
    run.ledger.commit_sitemap(BRAND, run.cycle, run.fence, again, [], run.now)
    ((task, due_at),) = run.ledger.sitemaps_due(BRAND, run.cycle, 10)
    assert (task.attempts, due_at) == (1, 77.0)
    (row,) = (one for one in run.ledger.sitemaps(BRAND) if one.kind == "sitemap")
    mapped.meets(UrlState.QUEUED, "host_down", retry_at=88.0, fetched_at=0.0)
    ((task, due_at),) = run.ledger.sitemaps_due(BRAND, run.cycle, 10)
    assert (task.attempts, due_at) == (1, 88.0), "nothing was sent, so nothing failed"
    assert mapped.run.ledger.find_sitemap(row.url)[0].fetched_at == row.fetched_at


def test_the_sitemaps_of_a_host_that_is_down_are_given_up_with_it(run: Run) -> None:
    mapped = Mapped(run)
    mapped.meets(UrlState.QUEUED, "host_down", retry_at=88.0)
    elsewhere = FetchTask(BRAND, "https://other.example/map.xml", 1, kind=Kind.SITEMAP)
    run.ledger.add_sitemaps(BRAND, run.cycle, [elsewhere], run.fence)
    run.ledger.give_up_host(BRAND, run.cycle, run.fence, HOST)
    assert [task.url for task in mapped.due()] == [elsewhere.url]
    assert {(row.state, row.reason) for row in run.ledger.find_sitemap(SITE + "/map.xml")} == {
        (UrlState.FAILED, "host_down")
    }


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
        run.ledger.discover(brand, Cycle(1, 0.0, None), [Discovery(SITE + "/a")], 1.0)
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


def test_working_out_who_stands_for_whom_locks_nobody_out(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    worked_out = []

    def meanwhile(rows: Iterable[Held]) -> dict[str, Alias]:
        worked_out.append(run.ledger.acquire("another", Holder("elsewhere", 1, 0.0, "t"), 0.0, 0.0))  # a write
        return aliases(rows)

    monkeypatch.setattr(url_rows, "aliases", meanwhile)
    run.seed("/a", "/b")
    run.fetched(a="same", b="same")
    run.finish()
    assert run.row("/b").reason == "duplicate"
    assert len(worked_out) == 1
    run.ledger.consolidate(BRAND, run.fence)
    assert len(worked_out) == 2
