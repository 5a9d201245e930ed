from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest

from ray_app.records import FetchTask, PageOutcome, PageRef, UrlState
from ray_app.store.rows import Discovery
from ray_app.store.settle import URL_BYTES, Known, address, best, plain, revives, settle, shortens

URL = "https://docs.example.com/a"
HASH = "a" * 32
FRESH = Known(URL, "queued", "discovered", 0, 2, 0, 0, 0.0, 0, "", None, None, "", "", "")
HELD = Known(URL, "fetched", "ok", 200, 2, 0, 0, 5.0, 0, HASH, "part", 3, "Title", '"v1"', "Mon")
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


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (UrlState.GONE, "http_404"),
        (UrlState.SKIPPED, "noindex"),
        (UrlState.SKIPPED, "robots"),
        (UrlState.SKIPPED, "redirect"),
        (UrlState.FETCHED, "empty"),
    ],
)
def test_what_takes_a_text_away(state: UrlState, reason: str) -> None:
    assert _has(_settled(HELD, state, reason), NO_TEXT)


@pytest.mark.parametrize(
    ("state", "reason"),
    [
        (UrlState.FAILED, "http_5xx"),
        (UrlState.QUEUED, "timeout"),
        (UrlState.SKIPPED, "robots_unreachable"),
        (UrlState.SKIPPED, "page_cap"),
    ],
)
def test_what_does_not(state: UrlState, reason: str) -> None:
    assert _has(_settled(HELD, state, reason), TEXT)


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


def test_only_what_the_address_alone_ruled_out_is_revived() -> None:
    queued = Discovery(URL, 1)
    judged = replace(FRESH, state="skipped", reason="depth")
    assert revives(judged, queued)
    assert not revives(judged, replace(queued, state=UrlState.SKIPPED))
    assert not revives(replace(judged, reason="robots"), queued)
    assert not revives(replace(judged, reason="media_type", status=200), queued)
    assert not revives(HELD, queued)


def test_shortens() -> None:
    assert shortens(FRESH, Discovery(URL, 1))
    assert not shortens(FRESH, Discovery(URL, 2))
    assert shortens(replace(FRESH, hops=1), Discovery(URL, 2))
    assert not shortens(FRESH, Discovery(URL, 1, state=UrlState.SKIPPED))
