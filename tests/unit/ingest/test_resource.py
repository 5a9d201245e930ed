"""What is asked for on behalf of a page: which URL, with which headers, with whose secrets."""

from __future__ import annotations

from dataclasses import replace

import pytest
from pydantic import SecretStr

from ray_app.errors import BadUrl
from ray_app.ingest.lanes import HostProfile
from ray_app.ingest.render.resource import MAX_HEADERS, ResourceTask, exact, profile_for, request_headers

PAGE = "https://help.example.com/a"
PROFILE = HostProfile(1.0, "Backline/0.1")


def task(url: str = "https://help.example.com/x", *headers: tuple[str, str], page: str = PAGE) -> ResourceTask:
    return ResourceTask(url, page, 1_000, headers)


class TestUrls:
    @pytest.mark.parametrize(
        ("url", "kept"),
        [
            ("https://a.example/x?utm_source=1&sid=12345678901234567890&&y#z", None),
            ("https://a.example./x", "https://a.example/x"),
            ("https://a.example:443/x?a", "https://a.example/x?a"),
            ("HTTPS://A.example/x", "https://a.example/x"),
            ("https://a.example", "https://a.example/"),
            ("https://a.example/x y", "https://a.example/x%20y"),
        ],
    )
    def test_a_url_is_kept_as_it_is_unless_its_host_could_be_read_in_two_ways(self, url: str, kept: str | None) -> None:
        assert exact(url) in (kept or url.partition("#")[0], kept)

    @pytest.mark.parametrize(
        "url",
        [
            "file:///etc/passwd",
            "data:text/html,x",
            "http://a@b.example/",
            "http://a.example\\@b.example/",
            "http://a.example/\r\nX: y",
            "https://a.example/" + "x" * 9_000,
            "",
        ],
    )
    def test_what_is_no_url_is_refused(self, url: str) -> None:
        with pytest.raises(BadUrl):
            exact(url)


class TestHeaders:
    def test_what_scripts_have_set_is_sent_and_nothing_else(self) -> None:
        given = (
            ("accept", "application/json"),
            ("authorization", "Bearer x"),
            ("x-api-key", "k"),
            ("user-agent", "Mozilla"),
            ("cookie", "a=1"),
            ("host", "evil"),
            ("referer", PAGE),
            ("sec-fetch-mode", "cors"),
            ("x-forwarded-for", "1.2.3.4"),
            ("x-http-method-override", "DELETE"),
            ("proxy-authorization", "x"),
            ("range", "bytes=0-"),
            ("x bad", "x"),
            ("x-split", "a\r\nb: c"),
            ("x-empty", ""),
            ("x-long", "x" * 5_000),
        )
        assert request_headers(task("https://help.example.com/x", *given), {}) == {
            "Accept": "application/json",
            "authorization": "Bearer x",
            "x-api-key": "k",
        }

    def test_the_brands_own_headers_win(self) -> None:
        sent = request_headers(
            task("https://help.example.com/x", ("authorization", "page")), {"Authorization": "brand"}
        )
        assert sent == {}

    def test_the_origin_is_the_pages(self) -> None:
        sent = [
            request_headers(task("https://api.example/x", ("origin", o)), {})
            for o in ("https://help.example.com", "null")
        ]
        assert sent == [{"Origin": "https://help.example.com"}, {}]

    def test_there_are_not_too_many(self) -> None:
        given = [(f"x-{n}", "1") for n in range(100)]
        assert len(request_headers(task("https://help.example.com/x", *given), {})) == MAX_HEADERS

    def test_secrets_are_for_pages_of_their_site(self) -> None:
        secret = replace(
            PROFILE, headers=(("X-Key", SecretStr("x")),), headers_to=frozenset(("https://help.example.com",))
        )
        assert profile_for(task(), secret) is secret
        assert profile_for(task(page="https://forum.example.com/"), secret) == PROFILE
