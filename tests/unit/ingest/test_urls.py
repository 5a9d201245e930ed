"""One spelling per URL, and no URL that two parsers would read differently."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st
from yarl import URL

from ray_app.errors import BadUrl
from ray_app.ingest.urls import authority, host_and_port, host_key, normalise, parse_host, path_of

BASE = "https://www.example.com/docs/a/page.html?x=1"


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("HTTP://Example.COM:80/a/../b", "http://example.com/b"),
        ("https://example.com:443", "https://example.com/"),
        ("https://example.com:8443/", "https://example.com:8443/"),
        ("http://example.com/a#frag", "http://example.com/a"),
        ("http://example.com/?", "http://example.com/"),
        ("http://example.com./a", "http://example.com/a"),
        ("http://example.com.:8080/a", "http://example.com:8080/a"),
        ("http://[::1]:8080/", "http://[::1]:8080/"),
        ("  http://example.com/a \n", "http://example.com/a"),
        ("http://example.com/a b", "http://example.com/a%20b"),
        ("http://example.com/ä?ö=ü", "http://example.com/%C3%A4?%C3%B6=%C3%BC"),
        ("http://bücher.example/", "http://xn--bcher-kva.example/"),
        ("http://example.com/?b=2&a=1", "http://example.com/?b=2&a=1"),
    ],
)
def test_spelling(url: str, expected: str) -> None:
    assert normalise(url) == expected


@pytest.mark.parametrize(
    ("url", "expected"),
    [
        ("next.html", "https://www.example.com/docs/a/next.html"),
        ("../b/", "https://www.example.com/docs/b/"),
        ("/root", "https://www.example.com/root"),
        ("//cdn.example.net/x", "https://cdn.example.net/x"),
        ("?page=2", "https://www.example.com/docs/a/page.html?page=2"),
        ("#top", "https://www.example.com/docs/a/page.html?x=1"),
        ("manual\\chapter.html", "https://www.example.com/docs/a/manual/chapter.html"),
        ("https:other.html", "https://www.example.com/docs/a/other.html"),
    ],
)
def test_resolves_against_the_base(url: str, expected: str) -> None:
    assert normalise(url, BASE) == expected


@pytest.mark.parametrize(
    ("query", "kept"),
    [
        ("utm_source=a&id=7&utm_campaign=b", "?id=7"),
        ("gclid=1&fbclid=2&mc_cid=3&mc_eid=4", ""),
        ("UTM_Source=a", ""),
        ("PHPSESSID=abc&page=2", "?page=2"),
        ("sid=0123456789abcdef0123", ""),
        ("sid=12", "?sid=12"),
        ("a=1&&b=2&", "?a=1&b=2"),
        ("reset=1&resid=2", "?reset=1&resid=2"),
        ("utm=keep", "?utm=keep"),
    ],
)
def test_drops_tracking_and_sessions(query: str, kept: str) -> None:
    assert normalise(f"https://example.com/p?{query}") == f"https://example.com/p{kept}"


def test_drops_session_ids_in_the_path() -> None:
    assert normalise("http://example.com/a;jsessionid=1F/b;v=2?q=1") == "http://example.com/a/b;v=2?q=1"
    assert normalise("http://example.com/a/..;sid=1/b") == "http://example.com/b"


@pytest.mark.parametrize(
    "url",
    [
        "",
        "   ",
        "file:///etc/passwd",
        "ftp://example.com/",
        "gopher://example.com/",
        "data:text/html,x",
        "javascript:alert(1)",
        "JaVaScRiPt:alert(1)",
        "mailto:a@example.com",
        "//example.com/no-base",
        "example.com/no-scheme",
        "http://",
        "http://user@example.com/",
        "http://user:secret@example.com/",
        "http://:secret@example.com/",
        "http://127.0.0.1:6666\\@1.1.1.1/",
        "http:\\\\example.com/",
        "http:/\\example.com/",
        "http://example.com\\.evil.example/",
        "http://exa\tmple.com/",
        "http://example.com/\r\nHost: evil.example",
        "http://example.com/\x00",
        "java\nscript:alert(1)",
        "http://example.com/\x7f",
        "http://example.com/\u202egnp.html",
        "http://example.com/\ud800",
        "http://exa mple.com/",
        "http://example.com:99999/",
        "http://example.com:port/",
        "http://256.1.1.1/",
        "http://[::1/",
        "http://[fe80::1%25eth0]/",
        "http://a%00b.example/",
        "http://a%2fb.example/",
        "http://./",
        "http://localhost../",
        "http://example.com/" + "a" * 40_000,
    ],
)
def test_refuses(url: str) -> None:
    with pytest.raises(BadUrl):
        normalise(url)


@pytest.mark.parametrize("url", ["//evil.example\\@www.example.com/", "/\\evil.example/", "\\\\evil.example/"])
def test_refuses_backslashes_beside_a_relative_host(url: str) -> None:
    with pytest.raises(BadUrl):
        normalise(url, BASE)


@pytest.mark.parametrize(
    "host",
    [
        "ex\u0430mple.com",  # Cyrillic a
        "www.g\u03bfogle.com",  # Greek omicron
        "xn--exmple-4nf.com",
        "\u0430\u0440\u0440\u04cf\u0435.com",  # "apple", all Cyrillic
        "xn--80ak6aa92e.com",
        "\u0430\u0440\u0440\u04cf\u0435-24.com",
        "\u0455\u0441\u043e\u0440\u0435.com",
        "m\u0585nday.com",  # Armenian o
        "b\u1e05\u0430nk.example",
        "\u05d0bc.example",
        "xn--",
        "xn--a",
        "xn--pokxncvks",
        "10.0.0.xn--pokxncvks",
        "xn--zzzzzz-.example",
    ],
)
def test_refuses_look_alikes_and_false_punycode(host: str) -> None:
    with pytest.raises(BadUrl):
        normalise(f"https://{host}/")


@pytest.mark.parametrize(
    ("host", "expected"),
    [
        ("b\u00fccher.example", "xn--bcher-kva.example"),
        ("\u043f\u043e\u0447\u0442\u0430.example", "xn--80a1acny.example"),
        ("\u0441\u043e\u0440.\u0440\u0444", "xn--n1aeb.xn--p1ai"),  # look-alike letters under a Cyrillic ending
        ("\u30bd\u30cb\u30fc\u5927sony.example", ""),
        ("samsung\uc804\uc790.example", ""),
        ("\u05e9\u05dc\u05d5\u05dd.example", ""),
        ("\u03b4\u03bf\u03ba\u03b9\u03bc\u03ae.example", ""),
    ],
)
def test_international_hosts_are_kept_in_ascii(host: str, expected: str) -> None:
    found = authority(normalise(f"https://{host}/"))
    assert found.isascii()
    assert not expected or found == expected


def test_errors_do_not_repeat_the_password() -> None:
    with pytest.raises(BadUrl) as caught:
        normalise("http://user:secret@example.com/")
    assert "secret" not in str(caught.value)


def test_parts_of_a_normalised_url() -> None:
    assert authority("https://example.com:8443/a/b") == host_key("https://example.com:8443/a/b") == "example.com:8443"
    assert host_and_port("https://example.com/a") == ("example.com", 443)
    assert host_and_port("http://example.com/a:7") == ("example.com", 80)
    assert host_and_port("http://[2001:db8::1]/") == ("2001:db8::1", 80)
    assert host_and_port("http://[2001:db8::1]:81/") == ("2001:db8::1", 81)
    assert path_of("https://example.com/a/b?c=/d") == "/a/b"


@pytest.mark.parametrize(
    ("entry", "expected"),
    [
        ("127.0.0.1:8080", ("127.0.0.1", 8080)),
        ("2130706433", ("127.0.0.1", None)),
        ("Intranet.Example.", ("intranet.example", None)),
        ("example.com:80", ("example.com", 80)),
        ("::1", ("[::1]", None)),
        ("[::1]:443", ("[::1]", 443)),
    ],
)
def test_configured_hosts(entry: str, expected: tuple[str, int | None]) -> None:
    assert parse_host(entry) == expected


@pytest.mark.parametrize("entry", ["", "http://a/", "a/b", "u@a", "a:0", "a:70000", "a:b", "a b", "[::1"])
def test_configured_hosts_that_are_none(entry: str) -> None:
    with pytest.raises(BadUrl):
        parse_host(entry)


HOSTILE = st.text(alphabet="ab.1x0:/\\@?#[]%2f;=&-_~!$'()*+,{}|^`\"<> \u3002\u00e9\u0430", max_size=40)


@given(
    st.builds(
        str.__add__, st.sampled_from(["", "http://", "https://a", "//", "http:"]), HOSTILE | st.text(max_size=60)
    ),
    st.sampled_from(["", BASE, "http://h/"]),
)
def test_normalising_twice_changes_nothing_and_both_parsers_agree(text: str, base: str) -> None:
    try:
        url = normalise(text, base)
    except BadUrl:
        return
    assert normalise(url) == url
    host, port = host_and_port(url)
    # yarl is what aiohttp connects by: it must read the same host the guard has checked.
    assert (URL(url, encoded=True).raw_host, URL(url, encoded=True).port) == (host, port)
