"""Headers as servers really send them."""

from __future__ import annotations

import pytest

from ray_app.ingest import headers

NOW = 1_760_000_000.0  # Thu, 09 Oct 2025 08:53:20 GMT


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("text/html; charset=UTF-8", ("text/html", "utf-8")),
        ("TEXT/HTML;charset='latin-1'", ("text/html", "latin-1")),
        ('text/html; x=y; CHARSET = "windows-1252"', ("text/html", "windows-1252")),
        ("text/html", ("text/html", "")),
        ("", ("", "")),
        ("html", ("", "")),
        ("text/html<script>", ("", "")),
        ("text/html; charset=../../etc", ("text/html", "..")),
    ],
)
def test_content_type(value: str, expected: tuple[str, str]) -> None:
    assert headers.content_type(value) == expected


@pytest.mark.parametrize(
    ("media_type", "url", "kind"),
    [
        ("text/html", "http://a/x.pdf", "html"),
        ("application/xhtml+xml", "http://a/", "html"),
        ("application/pdf", "http://a/", "pdf"),
        ("application/octet-stream", "http://a/x.PDF?y=1", "pdf"),
        ("application/octet-stream", "http://a/x?y=.pdf", ""),
        ("text/plain", "http://a/", ""),
        ("image/png", "http://a/", ""),
        ("", "http://a/", "unknown"),
    ],
)
def test_kind(media_type: str, url: str, kind: str) -> None:
    assert headers.kind_of(media_type, url) == kind


@pytest.mark.parametrize(
    ("value", "seconds"),
    [
        ("7", 7.0),
        (" 7 ", 7.0),
        ("-7", 0.0),
        ("99999999", 300.0),
        ("Thu, 09 Oct 2025 08:53:30 GMT", 10.0),
        ("Thu, 09 Oct 2025 08:00:00 GMT", 0.0),
        ("Thu, 09 Oct 2099 08:00:00 GMT", 300.0),
        ("", None),
        ("soon", None),
        ("1.5", None),
        ("9" * 400, None),
        ("Thu, 99 Oct 2025 08:00:00 GMT", None),
    ],
)
def test_retry_after(value: str, seconds: float | None) -> None:
    assert headers.retry_after(value, NOW, 300.0) == seconds


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ([], (False, False)),
        (["noindex"], (True, False)),
        (["NoIndex, NoFollow"], (True, True)),
        (["nofollow", "noindex"], (True, True)),
        (["none"], (True, True)),
        (["all"], (False, False)),
        (["otherbot: noindex"], (False, False)),
        (["otherbot: noindex, nofollow"], (False, False)),
        (["backline: noindex, nofollow"], (True, True)),
        (["otherbot: noindex, backline: nofollow"], (False, True)),
        (["max-snippet: 10, noindex"], (True, False)),
        (["unavailable_after: 25 Jun 2010 15:00:00 PST, nofollow"], (False, True)),
    ],
)
def test_robots_tag(values: list[str], expected: tuple[bool, bool]) -> None:
    assert headers.robots_tag(values, "Backline/0.1") == expected


@pytest.mark.parametrize(
    "user_agent",
    [
        "Backline",
        "Backline (+https://example.com/bot)",
        "Backline/0.1 (+https://example.com/bot)",
        "Mozilla/5.0 (compatible; Backline/0.1; +https://example.com/bot)",
    ],
)
def test_robots_tag_knows_us_by_the_name_that_robots_txt_does(user_agent: str) -> None:
    assert headers.robots_tag(["backline: noindex"], user_agent) == (True, False)
    assert headers.robots_tag(["mozilla: noindex"], user_agent) == (False, False)


def test_validators_that_cannot_be_stored_are_dropped() -> None:
    assert headers.validator('W/"abc"') == 'W/"abc"'
    assert headers.validator("a" * 600) == ""
    assert headers.validator('"\udcff"') == ""
    assert headers.validator('"a\r\nb"') == ""


def test_location() -> None:
    assert headers.location("../b?utm_source=x", "http://a/x/y/") == "http://a/x/b"
    assert headers.location("", "http://a/") == ""
    assert headers.location("ftp://a/", "http://a/") == ""
