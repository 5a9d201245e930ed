"""What a page being rendered may read, and when it is ready."""

from __future__ import annotations

import pytest

from ray_app.ingest.render.resource import Resource
from ray_app.ingest.render.rules import (
    HOPELESS_S,
    PATIENCE_S,
    QUIET_S,
    Settling,
    is_tracker,
    may_read,
    response_headers,
)

PAGE = "https://help.example.com/a"
RICH, THIN = 1_000, 50


class TestReading:
    @pytest.mark.parametrize(
        ("url", "allows", "script", "readable"),
        [
            ("https://help.example.com/x", "", False, True),
            ("https://api.example/x", "", False, False),
            ("https://api.example/x", "*", False, True),
            ("https://api.example/x", "https://help.example.com", False, True),
            ("https://api.example/x", "https://other.example", False, False),
            ("http://help.example.com/x", "", False, False),
            ("https://cdn.example/x.js", "", True, True),
        ],
    )
    def test_who_may_read_an_answer(self, url: str, allows: str, script: bool, readable: bool) -> None:
        found = Resource(url, "ok", 200, (("access-control-allow-origin", allows),) if allows else ())
        assert may_read(found, PAGE, script=script) is readable
        told = response_headers(found)["access-control-allow-origin"]
        assert told == (allows or "https://none.invalid"), "without one Playwright would let anybody read it"

    def test_trackers(self) -> None:
        assert is_tracker("https://www.google-analytics.com/g")
        assert is_tracker("https://sentry.io:443/x")
        assert not is_tracker("https://notsentry.io/")
        assert not is_tracker("https://sentry.io.example.com/")
        assert not is_tracker("http://127.0.0.1:8000/")


class TestSettling:
    def test_a_rich_page_is_ready_when_it_has_been_quiet(self) -> None:
        settling = Settling(0.0)
        settling.loaded(0.0)
        settling.saw(0.1, RICH, loading=False)
        assert not settling.is_over(0.1 + QUIET_S - 0.01)
        assert settling.is_over(0.1 + QUIET_S)

    def test_a_thin_page_is_given_more_time(self) -> None:
        settling = Settling(0.0)
        settling.saw(0.1, THIN, loading=False)
        assert not settling.is_over(0.1 + QUIET_S)
        assert settling.is_over(0.1 + PATIENCE_S)

    def test_it_is_not_ready_while_it_loads_or_waits(self) -> None:
        settling = Settling(0.0)
        settling.saw(0.1, RICH, loading=True)
        assert not settling.is_over(5.0)
        settling.saw(5.0, RICH, loading=False)
        settling.began(5.1, script=False)
        settling.began(5.1, script=True)
        assert not settling.is_over(7.0)
        settling.ended(7.0, script=True)
        assert not settling.is_over(7.6)
        settling.ended(7.6, script=False)
        assert not settling.is_over(7.7)
        assert settling.is_over(7.6 + QUIET_S)

    def test_a_counter_is_not_a_change_and_a_slow_ticker_is_one_now_and_then(self) -> None:
        settling = Settling(0.0)
        settling.saw(0.0, RICH, loading=False)
        for tick in range(1, 5):
            settling.saw(tick / 10, RICH + tick % 2, loading=False)
        assert settling.is_over(QUIET_S)
        settling.saw(0.6, RICH + 15, loading=False)
        assert settling.is_over(0.6)
        settling.saw(0.7, RICH + 30, loading=False)
        assert not settling.is_over(0.7), "what adds up is a change"

    def test_one_that_never_rests_is_hopeless_once_it_stops_growing(self) -> None:
        settling = Settling(0.0)
        for second in range(1, 6):
            settling.saw(second, RICH * second, loading=False)
        assert not settling.is_hopeless(5 + HOPELESS_S - 0.1)
        settling.saw(9.0, RICH, loading=False)
        settling.saw(10.0, RICH * 5, loading=False)
        settling.began(10.0, script=False)
        assert settling.is_hopeless(5 + HOPELESS_S), "a long poll does not count"

    def test_what_is_waited_for_is_not_hopeless(self) -> None:
        settling = Settling(0.0)
        settling.saw(0.0, THIN, loading=False)
        settling.began(0.0, script=False)
        assert not settling.is_hopeless(HOPELESS_S + 1), "a thin page may wait for its data"
        settling.ended(9.0, script=False)
        settling.saw(9.0, RICH, loading=False)
        settling.began(9.0, script=True)
        assert not settling.is_hopeless(9 + HOPELESS_S + 1), "a script has its own time limit"
