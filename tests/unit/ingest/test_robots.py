"""RFC 9309 outcomes, on files as they are found in the wild."""

from __future__ import annotations

import asyncio
import time

import pytest

from ray_app.ingest.robots import MAX_TTL_S, UNREACHABLE_TTL_S, Robots, RobotsCache, of_status, product_token

UA = "Backline/0.1 (+https://example.com/bot)"
SITE = "https://example.com"


def allowed(text: str | bytes, path: str, user_agent: str = UA) -> bool:
    body = text.encode() if isinstance(text, str) else text
    return Robots.parse(body).allowed(SITE + path, user_agent)


def test_longest_match_wins_and_allow_wins_a_tie() -> None:
    rules = "User-agent: *\nDisallow: /a\nAllow: /a/b\nDisallow: /x\nAllow: /x\n"
    assert not allowed(rules, "/a/c")
    assert allowed(rules, "/a/b/c")
    assert allowed(rules, "/x")


def test_wildcards_and_ends() -> None:
    rules = "User-agent: *\nDisallow: /*.cgi$\nDisallow: /*?print="
    assert not allowed(rules, "/a/b.cgi")
    assert allowed(rules, "/a/b.cgi/c")
    assert not allowed(rules, "/a?print=1")


def test_our_group_wins_over_everybodys() -> None:
    rules = "User-agent: *\nDisallow: /\n\nUser-agent: backline\nDisallow: /private\n"
    assert allowed(rules, "/a")
    assert not allowed(rules, "/private")
    assert not allowed(rules, "/a", "Other/1.0")


@pytest.mark.parametrize(
    ("user_agent", "token"),
    [
        (UA, "Backline"),
        ("Backline", "Backline"),
        ("Backline (+https://example.com/bot)", "Backline"),
        ("Mozilla/5.0 (compatible; Backline/0.1; +https://example.com/bot)", "Backline"),
        ("Mozilla/5.0 (X11; Linux x86_64) Backline/0.1", "Mozilla"),
        ("*", "*"),
        ("", ""),
    ],
)
def test_product_token(user_agent: str, token: str) -> None:
    assert product_token(user_agent) == token


@pytest.mark.parametrize(
    ("name", "is_ours"),
    [
        ("backline", True),
        ("BACKLINE", True),
        ("Backline/2.0", True),
        ("Backline/0.1 (+https://example.com/bot)", True),
        ("Backline # the support crawler", True),
        ("Backline*", True),
        ("back", True),  # the RFC asks for the whole name; in practice a short one means a family
        ("Backline (+https://example.com/bot)", True),
        ("Backline\tbot", True),
        ("bot", False),  # stands in the address of our header, not in our name
        ("example", False),
        ("https", False),
        ("0.1", False),
        ("line", False),
        ("mybackline", False),
        ("backlinebot", False),
    ],
)
def test_which_groups_are_ours(name: str, is_ours: bool) -> None:
    rules = f"User-agent: {name}\nDisallow: /\nCrawl-delay: 7\n\nUser-agent: *\nDisallow: /private\n"
    assert allowed(rules, "/a") is not is_ours
    assert Robots.parse(rules.encode()).crawl_delay(UA, 30) == (7 if is_ours else 0)


@pytest.mark.parametrize(
    ("rules", "path", "expected"),
    [
        # Groups for one name count as one; so do several names over one group.
        (
            "User-agent: backline\nDisallow: /a\n\nUser-agent: x\nDisallow: /\n\nUser-agent: Backline\nDisallow: /b",
            "/a",
            False,
        ),
        (
            "User-agent: backline\nDisallow: /a\n\nUser-agent: x\nDisallow: /\n\nUser-agent: Backline\nDisallow: /b",
            "/b",
            False,
        ),
        ("User-agent: *\nDisallow: /a\n\nUser-agent: *\nDisallow: /b", "/a", False),
        ("User-agent: *\nDisallow: /a\n\nUser-agent: *\nDisallow: /b", "/b", False),
        ("User-agent: x\nUser-agent: backline\nDisallow: /a", "/a", False),
        ("User-agent: x\n\n# a note\nUser-agent: backline\n\nDisallow: /a", "/a", False),
        ("User-agent: backline\nSitemap: /s.xml\nDisallow: /a", "/a", False),
        # A group of ours without rules allows all, whatever others may do.
        ("User-agent: *\nDisallow: /\n\nUser-agent: backline\nDisallow:\n", "/a", True),
        ("User-agent: *\nDisallow: /\n\nUser-agent: backline\n", "/a", True),
        # Rules before any group belong to nobody.
        ("Disallow: /\nUser-agent: *\nDisallow: /b", "/a", True),
        # The longest match counts, in octets, and Allow on a tie; wildcards count as what they are written as.
        ("User-agent: *\nAllow: /p\nDisallow: /", "/page", True),
        ("User-agent: *\nAllow: /folder\nDisallow: /folder", "/folder/page", True),
        ("User-agent: *\nDisallow: /folder\nAllow: /folder", "/folder/page", True),
        ("User-agent: *\nAllow: /page\nDisallow: /*.htm", "/page.htm", False),
        ("User-agent: *\nAllow: /$\nDisallow: /", "/", True),
        ("User-agent: *\nAllow: /$\nDisallow: /", "/page.htm", False),
        # "*" stands for anything, "$" for the end and nowhere else.
        ("User-agent: *\nDisallow: /fish*.php", "/fishheads/catfish.php?parameters", False),
        ("User-agent: *\nDisallow: /fish*.php", "/Fish.PHP", True),
        ("User-agent: *\nDisallow: /*.php$", "/filename.php?parameters", True),
        ("User-agent: *\nDisallow: /a$b", "/a$b", False),
        ("User-agent: *\nDisallow: /a**b", "/axxb", False),
        ("User-agent: *\nDisallow: *x", "/a/x", False),
        ("User-agent: *\nDisallow: /fish", "/fish.html", False),
        ("User-agent: *\nDisallow: /fish/", "/fish", True),
        # Both spellings of a character are one, but for those that mean something in a path.
        ("User-agent: *\nDisallow: /b%C3%BCcher", "/b%C3%BCcher/1", False),
        ("User-agent: *\nDisallow: /b%c3%bccher", "/b%C3%BCcher/1", False),
        ("User-agent: *\nDisallow: /bücher", "/b%C3%BCcher/1", False),
        ("User-agent: *\nDisallow: /%7Ejoe/", "/~joe/index.html", False),
        ("User-agent: *\nDisallow: /~joe/", "/%7Ejoe/index.html", False),
        ("User-agent: *\nDisallow: /a%3Cd", "/a%3cd.html", False),
        ("User-agent: *\nDisallow: /a%2Fb", "/a/b", True),
        ("User-agent: *\nDisallow: /a/b", "/a%2Fb", True),
        ("User-agent: *\nDisallow: /a%2Ab", "/axb", True),
        # The examples of the RFC, 2.2.2 and 2.2.3.
        ("User-agent: *\nDisallow: /foo/bar?baz=quz", "/foo/bar?baz=quz", False),
        ("User-agent: *\nDisallow: /foo/bar/ツ", "/foo/bar/%E3%83%84", False),
        ("User-agent: *\nDisallow: /foo/bar/%62%61%7A", "/foo/bar/baz", False),
        ("User-agent: *\nDisallow: /path/file-with-a-%2A.html", "/path/file-with-a-*.html", False),
        ("User-agent: *\nDisallow: /path/file-with-a-%2A.html", "/path/file-with-a-b.html", True),
        ("User-agent: *\nDisallow: /path/foo-%24", "/path/foo-$", False),
        ("User-agent: *\nDisallow: /path/foo-%24", "/path/foo-", True),
        ("User-agent: *\nAllow: /this/*/exactly\nDisallow: /", "/this/is/exactly", True),
        # Half an escape stands for itself.
        ("User-agent: *\nDisallow: /a%2", "/a%2", False),
        ("User-agent: *\nDisallow: /a%zz", "/a%zz", False),
        # Paths tell capitals apart, the words of the file do not.
        ("user-AGENT: *\nDISALLOW: /A", "/a", True),
        ("user-AGENT: *\nDISALLOW: /A", "/A", False),
        # Groups may stand in any order; lines that mean nothing end none and are in nobody's way.
        ("User-agent: backline\nDisallow: /\n\nUser-agent: *\nAllow: /", "/a", False),
        ("User-agent: x\nFoo: bar\nUser-agent: backline\nDisallow: /a", "/a", False),
        ("User-agent: backline\nDisallow: /a\nSitemap: /s.xml\nDisallow: /b", "/b", False),
        # Nothing that can be read forbids nothing; robots.txt itself is always allowed.
        ("", "/a", True),
        ("\n\n# nothing\n", "/a", True),
        ("User-agent: *\nDisallow: /", "/robots.txt", True),
    ],
)
def test_rules_of_the_rfc(rules: str, path: str, expected: bool) -> None:
    assert allowed(rules, path) is expected


@pytest.mark.parametrize(
    "body",
    [
        b"\xef\xbb\xbfUser-agent: *\r\nDisallow: /private\r\n",
        b"User-agent: *\rDisallow: /private\r",
        b"\xff\xfe\x80garbage\nUser-agent: *\nDisallow: /private\n",
        b"User-agent: *\nDisallow: /private\n" + b"\0" * 10,
        "\ufeffUser-agent: *\r\nDisallow: /private\r\n".encode("utf-16-le"),
        "\ufeffUser-agent: *\r\nDisallow: /private\r\n".encode("utf-16-be"),
        b"USER-AGENT:*\n  disallow :/private # secret\n",
        b"User-agent: *\nCrawl-delay: soon\nRequest-rate: x\nDisallow: /private\n",
    ],
)
def test_tolerates_what_is_found_in_the_wild(body: bytes) -> None:
    assert not allowed(body, "/private/a")
    assert allowed(body, "/public")


def test_html_in_its_place_allows_all() -> None:
    assert allowed("<!doctype html><html><body>Not found</body></html>", "/a")


def test_only_whole_lines_of_the_first_512_kib_count() -> None:
    body = b"User-agent: *\nDisallow: /first\n" + b"#" * (512 * 1024 - 41) + b"\nDisallow: /cut-here\nDisallow: /late\n"
    assert not allowed(body, "/first")
    assert allowed(body, "/cut")
    assert allowed(body, "/late")


def test_a_rule_at_the_end_of_500_kib_counts() -> None:
    """RFC 9309, 2.5."""
    head, rule = b"User-agent: *\n", b"\nDisallow: /last\n"
    body = head + b"#" * (500 * 1024 - len(head) - len(rule)) + rule
    assert len(body) == 500 * 1024
    assert not allowed(body, "/last")
    rules = head + b"".join(b"Allow: /%06d\n" % i for i in range(33_000)) + rule
    assert not allowed(rules, "/last")


def test_hostile_patterns_are_matched_in_no_time() -> None:
    assert allowed("User-agent: *\nDisallow: /" + "*a" * 200 + "*b$\n", "/" + "a" * 2000)


@pytest.mark.parametrize(
    "body",
    [
        b"User-agent: *\nDisallow: /x\n"
        + b"".join(b"User-agent: a%d\n" % i for i in range(15_000))
        + b"Disallow: /\n" * 20_000,
        b"User-agent: *\nDisallow: /x\n" + b"User-agent" + b" " * 500_000,
        b"User-agent: *\nDisallow: /x\n" + b"user-agent:" * 40_000,
        b"User-agent: *\nDisallow: /x\nAllow: /" + b"*a" * 250_000,
    ],
    ids=["names times rules", "spaces", "one line", "stars"],
)
def test_hostile_files_are_read_in_no_time(body: bytes) -> None:
    started = time.process_time()
    assert not allowed(body, "/x" + "a" * 1900)
    assert time.process_time() - started < 2.0


@pytest.mark.parametrize(
    ("status", "open_", "reason"),
    [
        (200, False, ""),
        (301, True, ""),
        (401, True, ""),
        (403, True, ""),
        (404, True, ""),
        (410, True, ""),
        (500, False, "robots_unreachable"),
        (503, False, "robots_unreachable"),
        (599, False, "robots_unreachable"),
        (0, False, "robots_unreachable"),
    ],
)
def test_status(status: int, open_: bool, reason: str) -> None:
    robots = of_status(status, b"User-agent: *\nDisallow: /\n")
    assert robots.allowed(f"{SITE}/a", UA) is open_
    assert robots.reason == reason


def test_crawl_delay_is_capped() -> None:
    rules = Robots.parse(b"User-agent: *\nCrawl-delay: 99999\n")
    assert rules.crawl_delay(UA, 30) == 30
    assert Robots.parse(b"User-agent: *\nCrawl-delay: 1.5\n").crawl_delay(UA, 30) == 1.5
    assert Robots.parse(b"User-agent: *\nRequest-rate: 1/4\n").crawl_delay(UA, 30) == 4
    for text in (b"-3", b"nan", b"inf", b"1e999", b""):
        assert Robots.parse(b"User-agent: *\nCrawl-delay: " + text).crawl_delay(UA, 30) == 0
    assert Robots.allow_all().crawl_delay(UA, 30) == 0


def test_sitemaps() -> None:
    assert Robots.parse(b"Sitemap: https://example.com/s.xml\nUser-agent: *\n").sitemaps == (
        "https://example.com/s.xml",
    )
    assert Robots.unreachable().sitemaps == ()
    assert len(Robots.parse(b"".join(b"Sitemap: /%d.xml\n" % (i % 3_000) for i in range(9_000))).sitemaps) == 1_000


class Source:
    """Answers what it is told, and counts."""

    def __init__(self, *answers: Robots) -> None:
        self.answers = list(answers)
        self.reads = 0

    async def read(self, _: str) -> Robots:
        self.reads += 1
        await asyncio.sleep(0)
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


async def test_cache_reads_once_for_many_and_again_when_old() -> None:
    now = 1000.0
    source = Source(Robots.allow_all())
    cache = RobotsCache(source.read, 60, lambda: now)
    await asyncio.gather(*(cache.get(SITE) for _ in range(20)))
    assert source.reads == 1
    now += 59
    await cache.get(SITE)
    assert source.reads == 1
    now += 2
    await cache.get(SITE)
    assert source.reads == 2
    await cache.get("http://example.com")
    assert source.reads == 3


async def test_no_answer_is_believed_for_more_than_a_day() -> None:
    now = 1000.0
    source = Source(Robots.allow_all())
    cache = RobotsCache(source.read, 30 * MAX_TTL_S, lambda: now)
    await cache.get(SITE)
    now += MAX_TTL_S + 1
    await cache.get(SITE)
    assert source.reads == 2


async def test_a_failure_is_not_believed_for_long() -> None:
    now = 1000.0
    source = Source(Robots.unreachable(), Robots.allow_all())
    cache = RobotsCache(source.read, 86_400, lambda: now)
    assert (await cache.get(SITE)).reason
    now += UNREACHABLE_TTL_S - 1
    assert (await cache.get(SITE)).reason
    now += 2
    assert not (await cache.get(SITE)).reason


async def test_one_caller_that_gives_up_does_not_take_the_answer_from_others() -> None:
    release = asyncio.Event()

    async def read(_: str) -> Robots:
        await release.wait()
        return Robots.allow_all()

    cache = RobotsCache(read, 60, lambda: 0.0)
    hasty, patient = asyncio.create_task(cache.get(SITE)), asyncio.create_task(cache.get(SITE))
    await asyncio.sleep(0)
    hasty.cancel()
    await asyncio.sleep(0)
    release.set()
    assert (await patient).allowed(f"{SITE}/a", UA)
    await cache.close()
