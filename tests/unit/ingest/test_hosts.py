from __future__ import annotations

from typing import Any

from ray_app.ingest.hosts import HostWatch
from ray_app.records import FetchTask, PageOutcome, UrlState

HOST = "a.example"


def outcome(state: UrlState, reason: str, **more: Any) -> PageOutcome:
    return PageOutcome(FetchTask("acme", f"http://{HOST}/"), state, reason, **more)


SILENT = outcome(UrlState.QUEUED, "timeout", retry_at=3.0)
ANSWER = outcome(UrlState.FAILED, "http_5xx", status=500)


def test_a_host_that_stays_silent_is_given_up_once_and_again_later() -> None:
    watch = HostWatch(give_up_s=100.0)
    watch.note(HOST, SILENT, 10.0)
    watch.note(HOST, SILENT, 60.0)
    assert watch.given_up(109.0) == []
    assert watch.given_up(110.0) == [HOST]
    assert watch.given_up(111.0) == []
    assert watch.given_up(210.0) == [HOST]


def test_any_answer_shows_that_it_lives() -> None:
    watch = HostWatch(give_up_s=100.0)
    watch.note(HOST, SILENT, 0.0)
    watch.note(HOST, ANSWER, 50.0)
    watch.note(HOST, SILENT, 60.0)
    assert watch.given_up(159.0) == []


def test_a_robots_txt_that_was_read_shows_that_it_lives() -> None:
    watch = HostWatch(give_up_s=100.0)
    watch.note(HOST, SILENT, 0.0)
    watch.note(HOST, outcome(UrlState.FETCHED, "ok"), 50.0)
    assert watch.given_up(101.0) == []


def test_reasons_of_our_own_say_nothing_about_it() -> None:
    watch = HostWatch(give_up_s=1.0)
    watch.note(HOST, outcome(UrlState.SKIPPED, "robots"), 0.0)
    watch.note(HOST, outcome(UrlState.SKIPPED, "blocked_address"), 0.0)
    assert watch.given_up(99.0) == []


def test_a_host_that_wants_a_pause_is_not_asked_before() -> None:
    watch = HostWatch(give_up_s=100.0)
    watch.note(HOST, outcome(UrlState.QUEUED, "http_429", retry_at=30.0), 0.0)
    assert not watch.may_ask(HOST, 29.0)
    assert watch.may_ask(HOST, 30.0)
    assert watch.may_ask("b.example", 0.0)
    watch.note(HOST, outcome(UrlState.QUEUED, "http_429", retry_at=90.0), 0.0)
    watch.note(HOST, ANSWER, 1.0)
    assert watch.may_ask(HOST, 2.0)


def test_a_url_that_was_tried_holds_up_only_itself() -> None:
    watch = HostWatch(give_up_s=100.0)
    watch.note(HOST, outcome(UrlState.QUEUED, "http_429", status=429, retry_at=30.0), 0.0)
    watch.note(HOST, SILENT, 0.0)
    assert watch.may_ask(HOST, 0.0)
