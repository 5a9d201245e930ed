from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ray_app.records import FetchTask, PageOutcome, PageRef, UrlState
from ray_app.store.rows import Cycle, Discovery, Mode
from ray_app.store.settle import (
    MISSED,
    REVISIT_CAP_S,
    REVISIT_FLOOR_S,
    URL_BYTES,
    Known,
    address,
    best,
    host_of,
    meet,
    next_visit,
    plain,
    settle,
)

URL = "https://docs.example.com/a"
HASH = "a" * 32
FRESH = Known(URL, "queued", "discovered", depth=2, cycle_due=1)
HELD = replace(
    FRESH,
    state="fetched",
    reason="ok",
    status=200,
    fetched_at=5.0,
    changed_at=5.0,
    content_hash=HASH,
    page_part="part",
    page_row=3,
    title="Title",
    etag='"v1"',
    last_modified="Mon",
)
FULL, DELTA, RETRY = (Cycle(1, 0.0, None, mode=mode) for mode in (Mode.FULL, Mode.DELTA, Mode.RETRY))
TEXT = {
    "content_hash": HASH,
    "page_part": "part",
    "page_row": 3,
    "title": "Title",
    "etag": '"v1"',
    "last_modified": "Mon",
}
NO_TEXT = {"content_hash": "", "page_part": None, "page_row": None, "etag": "", "last_modified": ""}


def _outcome(known: Known, state: UrlState, reason: str, **more: object) -> PageOutcome:
    task = FetchTask("acme", known.url, known.depth, attempts=known.attempts, content_hash=known.content_hash)
    return replace(PageOutcome(task, state, reason, fetched_at=9.0), **more)  # type: ignore[arg-type]


def _settled(known: Known, state: UrlState, reason: str, **more: object) -> dict[str, object]:
    values = settle(known, _outcome(known, state, reason, **more), cycle=1, now=10.0)
    assert values is not None
    return values


def _has(values: Mapping[str, object], expected: Mapping[str, object]) -> bool:
    return {name: values[name] for name in expected} == expected


def test_a_new_text_brings_its_pointer_and_validators() -> None:
    page = PageRef("new", 7)
    values = _settled(FRESH, UrlState.FETCHED, "ok", page=page, content_hash="b" * 32, title="T", etag='"v2"')
    assert _has(values, {"content_hash": "b" * 32, "page_part": "new", "page_row": 7, "etag": '"v2"', "title": "T"})
    assert _has(values, {"state": "fetched", "reason": "ok", "cycle_done": 1, "fetched_at": 9.0, "attempts": 0})


def test_304_keeps_text_and_validators() -> None:
    assert _has(_settled(HELD, UrlState.FETCHED, "not_modified", status=304), TEXT)


def test_304_with_a_new_validator_takes_it() -> None:
    values = _settled(HELD, UrlState.FETCHED, "not_modified", etag='"v2"')
    assert _has(values, TEXT | {"etag": '"v2"', "last_modified": ""})


def test_unchanged_keeps_the_text_and_takes_the_answers_validators() -> None:
    values = _settled(HELD, UrlState.FETCHED, "unchanged", etag='"v2"', content_hash=HASH)
    assert _has(values, TEXT | {"etag": '"v2"', "last_modified": ""})


@pytest.mark.parametrize("reason", ["not_modified", "unchanged"])
def test_nothing_stored_cannot_be_confirmed(reason: str) -> None:
    values = _settled(FRESH, UrlState.FETCHED, reason)
    assert _has(values, NO_TEXT | {"state": "failed", "reason": "protocol"})


def test_a_text_that_is_not_the_stored_one_cannot_be_confirmed() -> None:
    outcome = _outcome(replace(HELD, content_hash="c" * 32), UrlState.FETCHED, "not_modified")
    values = settle(HELD, outcome, cycle=1, now=10.0)
    # The validators go, so that the next fetch asks for the whole page.
    assert values is not None
    assert _has(values, TEXT | {"state": "failed", "reason": "protocol", "etag": "", "last_modified": ""})


@pytest.mark.parametrize("reason", ["noindex", "robots", "redirect", "media_type", "scope"])
def test_what_takes_a_text_away_at_once(reason: str) -> None:
    assert _has(_settled(HELD, UrlState.SKIPPED, reason), NO_TEXT)


@pytest.mark.parametrize("reason", sorted(MISSED))
def test_a_text_that_is_not_there_leaves_the_second_time(reason: str) -> None:
    state = UrlState.GONE if "4" in reason else UrlState.SKIPPED
    first = _settled(HELD, state, reason)
    assert _has(first, TEXT | {"state": state, "reason": reason, "misses": 1, "revisit_at": 0.0})
    second = _settled(replace(HELD, misses=1), state, reason)
    assert _has(second, NO_TEXT | {"misses": 2})


def test_between_two_misses_a_failure_says_nothing_and_an_answer_starts_anew() -> None:
    missed = replace(HELD, misses=1)
    assert _settled(missed, UrlState.FAILED, "http_5xx")["misses"] == 1
    assert _settled(missed, UrlState.FETCHED, "not_modified")["misses"] == 0


def test_a_page_that_never_held_a_text_is_gone_at_once() -> None:
    assert _has(_settled(FRESH, UrlState.GONE, "http_404"), NO_TEXT | {"misses": 0, "state": "gone"})


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (UrlState.FAILED, "http_5xx"),
        (UrlState.QUEUED, "timeout"),
        (UrlState.SKIPPED, "robots_unreachable"),
        (UrlState.SKIPPED, "blocked_address"),
        (UrlState.SKIPPED, "page_cap"),
    ],
)
def test_what_does_not_and_is_looked_at_again_by_the_next_crawl(state: UrlState, reason: str) -> None:
    old = replace(HELD, changed_at=1.0)
    values = settle(old, _outcome(old, state, reason, fetched_at=0.0), cycle=1, now=1e8)
    assert values is not None
    assert _has(values, TEXT | {"revisit_at": 0.0, "fetched_at": HELD.fetched_at})


def test_a_retry_waits_and_counts() -> None:
    values = _settled(FRESH, UrlState.QUEUED, "http_5xx", retry_at=60.0, fetched_at=0.0)
    assert _has(values, {"state": "queued", "due_at": 60.0, "attempts": 1, "cycle_done": 0, "fetched_at": 0.0})


def test_a_retry_without_a_time_is_due_now() -> None:
    assert _settled(FRESH, UrlState.QUEUED, "http_5xx")["due_at"] == 10.0


def test_a_settled_url_stays_settled_for_the_cycle() -> None:
    done = replace(HELD, cycle_done=1)
    assert settle(done, _outcome(HELD, UrlState.GONE, "http_404"), cycle=1, now=10.0) is None
    assert settle(done, _outcome(HELD, UrlState.GONE, "http_404"), cycle=2, now=10.0) is not None


def test_an_old_retry_does_not_count_twice() -> None:
    retry = _outcome(FRESH, UrlState.QUEUED, "timeout", retry_at=60.0)
    assert settle(replace(FRESH, attempts=1), retry, cycle=1, now=10.0) is None


def test_long_and_broken_values_are_made_fit() -> None:
    values = _settled(FRESH, UrlState.FAILED, "protocol", detail="\ud800\0" + "x" * 9_999, media_type="a\0b")
    assert values["media_type"] == "ab"
    detail = str(values["detail"])
    assert detail.startswith("?x") and len(detail) < 600
    page = PageRef("new", 0)
    assert _settled(FRESH, UrlState.FETCHED, "ok", page=page, content_hash="b", etag="e" * 5_000)["etag"] == ""


def test_every_outcome_writes_the_same_columns() -> None:
    values = [_settled(HELD, state, "ok") for state in UrlState]
    assert len({tuple(one) for one in values}) == 1


def test_address_is_short_and_keeps_urls_apart() -> None:
    assert address(URL) == URL
    long = [f"{URL}?{'q' * 3_000}{n}" for n in range(3)] + [f"{URL}?{'ü' * 2_000}"]
    keys = [address(url) for url in long]
    assert len(set(keys)) == 4
    assert all(len(key.encode()) <= URL_BYTES for key in keys)
    assert keys == [address(key) for key in keys]


def test_plain() -> None:
    assert plain("a\0b\ud800ü", 10) == "ab?ü"


def test_best_prefers_queued_then_depth_then_hops() -> None:
    skipped = Discovery(URL, 0, state=UrlState.SKIPPED, reason="scope")
    found = [skipped, Discovery(URL, 3), Discovery(URL, 2, hops=1), Discovery(URL, 2, "p"), Discovery(URL, 2, "q")]
    assert best(found) == {URL: found[3]}


def test_a_url_too_long_to_store_is_skipped() -> None:
    (one,) = best([Discovery(URL + "x" * URL_BYTES)]).values()
    assert (one.state, one.reason) == (UrlState.SKIPPED, "url_too_long")


def test_host_of() -> None:
    assert host_of("https://a.example:8443/x?y") == "a.example:8443"
    assert host_of("00") == ""


class TestMeet:
    """What finding a known URL changes."""

    def test_only_what_the_address_alone_ruled_out_is_revived(self) -> None:
        queued = Discovery(URL, 1)
        judged = replace(FRESH, state="skipped", reason="depth", cycle_done=1, cycle_due=0)
        assert _has(meet(judged, queued, DELTA), {"state": "queued", "cycle_due": 1, "cycle_done": 0, "depth": 1})
        assert meet(judged, replace(queued, state=UrlState.SKIPPED), DELTA) == {}
        assert "state" not in meet(replace(judged, reason="robots"), queued, DELTA)
        assert "state" not in meet(replace(judged, reason="media_type", status=200), queued, DELTA)

    def test_a_shorter_way_is_taken(self) -> None:
        assert meet(FRESH, Discovery(URL, 1, "p"), DELTA) == {"depth": 1, "hops": 0, "parent": "p"}
        assert meet(FRESH, Discovery(URL, 2), DELTA) == {}
        assert meet(replace(FRESH, hops=1), Discovery(URL, 2), DELTA)
        assert meet(FRESH, Discovery(URL, 1, state=UrlState.SKIPPED), DELTA) == {}

    def test_a_full_cycle_comes_to_whatever_it_meets_first_and_takes_the_way_it_found(self) -> None:
        idle = replace(HELD, cycle_due=0)
        changes = meet(idle, Discovery(URL, 7, "p"), FULL)
        assert _has(changes, {"cycle_due": 1, "depth": 7, "parent": "p", "cycle_seen": 1, "attempts": 0})
        assert meet(replace(idle, cycle_due=1), Discovery(URL, 7, "p"), FULL) == {}
        assert meet(replace(idle, cycle_done=1), Discovery(URL, 7, "p"), FULL) == {}
        assert meet(idle, Discovery(URL, 7, "p"), DELTA) == {}

    def test_start_urls_are_always_looked_at_but_not_when_only_failures_are_wanted(self) -> None:
        idle = replace(HELD, cycle_due=0)
        start = Discovery(URL, 2, forced=True)
        assert meet(idle, start, DELTA)["cycle_due"] == 1
        assert meet(idle, start, RETRY) == {}

    def test_a_sitemap_brings_what_is_newer_than_the_last_visit_and_is_remembered(self) -> None:
        idle = replace(HELD, cycle_due=0)
        listed = Discovery(URL, 2, sitemap="s", lastmod=4.0)
        assert meet(idle, listed, DELTA) == {"sitemap": "s", "lastmod": 4.0}
        newer = replace(listed, lastmod=6.0)
        assert meet(idle, newer, DELTA)["cycle_due"] == 1
        assert meet(replace(idle, sitemap="s", lastmod=4.0), listed, DELTA) == {}
        never_asked = replace(idle, state="skipped", reason="robots", status=0, fetched_at=0.0)
        assert "cycle_due" not in meet(never_asked, newer, DELTA), "else each crawl would come to it"


class TestNextVisit:
    def test_a_page_that_changed_lately_is_looked_at_by_every_crawl(self) -> None:
        assert next_visit("unchanged", 200, changed_at=0.0, now=9 * 3_600.0) == 0.0

    def test_a_page_waits_for_a_tenth_of_the_time_it_has_not_changed(self) -> None:
        day = 86_400.0
        assert next_visit("not_modified", 304, changed_at=0.0, now=10 * day) == 11 * day
        assert next_visit("not_modified", 304, changed_at=0.0, now=700 * day) == 700 * day + REVISIT_CAP_S
        assert next_visit("not_modified", 304, changed_at=0.0, now=10 * REVISIT_FLOOR_S) > 0

    def test_a_picture_waits_for_a_week(self) -> None:
        assert next_visit("media_type", 200, changed_at=5.0, now=5.0) == 5.0 + REVISIT_CAP_S
        assert next_visit("media_type", 0, changed_at=5.0, now=5.0) == 0.0

    def test_what_failed_does_not_wait(self) -> None:
        old = replace(HELD, changed_at=1.0)
        values = settle(old, _outcome(old, UrlState.FAILED, "timeout"), cycle=1, now=1e8)
        assert values is not None and values["revisit_at"] == 0.0

    def test_a_change_starts_the_clock_anew(self) -> None:
        old = replace(HELD, changed_at=1.0)
        same = settle(old, _outcome(old, UrlState.FETCHED, "not_modified"), cycle=1, now=1e8)
        assert same is not None and (same["changed_at"], same["revisit_at"]) == (1.0, 1e8 + REVISIT_CAP_S)
        page = PageRef("new", 0)
        new = settle(old, _outcome(old, UrlState.FETCHED, "ok", page=page, content_hash="b"), cycle=1, now=1e8)
        assert new is not None and (new["changed_at"], new["revisit_at"]) == (1e8, 0.0)
