"""RFC 9309 outcomes, on files as they are found in the wild."""

from __future__ import annotations

import asyncio

import pytest

from ray_app.ingest.robots import UNREACHABLE_TTL_S, Robots, RobotsCache, of_status

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
    "body",
    [
        b"\xef\xbb\xbfUser-agent: *\r\nDisallow: /private\r\n",
        b"User-agent: *\rDisallow: /private\r",
        b"\xff\xfe\x80garbage\nUser-agent: *\nDisallow: /private\n",
        b"User-agent: *\nDisallow: /private\n" + b"\0" * 10,
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


def test_hostile_patterns_are_matched_in_no_time() -> None:
    assert allowed("User-agent: *\nDisallow: /" + "*a" * 200 + "*b$\n", "/" + "a" * 2000)


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
