"""Endless spaces of URLs end, large real ones do not: told on sites that are made up, crawled in several orders."""

from __future__ import annotations

import random
import re
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from itertools import product

import pytest

from ray_app.ingest.traps import (
    AHEAD,
    ALLOWANCE,
    FIRST_TRUST,
    HOST_ALLOWANCE,
    MAX_PARAMETERS,
    MAX_PATTERNS,
    MAX_SEGMENTS,
    MOST_TRUST,
    PER_NEW_TEXT,
    TRAP,
    Budget,
    is_trap,
    template,
)
from ray_app.ingest.urls import normalise

SITE = "https://example.com/"
ENDLESS = 25_000  # pages after which a simulated crawl is given up


@pytest.mark.parametrize(
    "path",
    [
        "a/a/a",
        "a/a/a/page.html",
        "start/a/b/a/b/a/b/",
        "x/a/b/c/a/b/c/a/b/c",
        "docs//////x",
        "1/1/1/1/1/1",
        "/".join(f"n{i}" for i in range(MAX_SEGMENTS + 1)),
        "p?" + "&".join(f"k{i}=1" for i in range(MAX_PARAMETERS + 1)),
        "p?page=1&page=2",
        "p?f[]=red&f[]=blue",
    ],
)
def test_urls_that_give_themselves_away(path: str) -> None:
    assert is_trap(SITE + path)


@pytest.mark.parametrize(
    "path",
    [
        "",
        "a/a/b",
        "serde_json/latest/serde_json/",
        "org/apache/commons/lang/org/apache/index.html",
        "bible/1/1/1",
        "2011/11/11/",
        "a/b/a/b/c",
        "/".join(f"n{i}" for i in range(MAX_SEGMENTS)),
        "p?a=1&b=1&c=1",
        "index.php?option=com_content&view=article&id=5&Itemid=12&lang=en",
    ],
)
def test_urls_of_real_sites(path: str) -> None:
    assert not is_trap(SITE + path)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("", ""),
        ("page/12345", ""),
        ("page/20241", ""),
        ("docs/v2.4/1/index.html", ""),
        ("library/2to3.html", ""),
        ("a/b/c/d/e/f/g/h", ""),
        ("p?id=17", "p?id"),
        ("p/17?b=2&a=1", "p/<n>?a&b"),
        ("p?f[0]=x&f[1]=y", "p?f[<n>]"),
        ("index.php?/topic/17-how-to/", "index.php?*"),
        ("p?print", "p?print"),
        ("calendar/2024/05/", "calendar/<date>"),
        ("calendar/2024-05-12", "calendar/<date>"),
        ("calendar/day-12.05.2024", "calendar/day-<date>"),
        ("cal20240512.html", "cal<date>*"),
        ("blog/2024/May/how-to-reset", "blog/<date>*"),
        ("(S(lit3py55t21z5v55vlm25s55))/a", "(S(<id>))/a"),
        ("n/0123abcd-0123-4567-89ab-0123456789ab/x7", "n/<id>/x<n>"),
        ("filter/color=red;size=xl", "filter/color=;size="),
        ("about/help/about/", "**"),
        ("a/b/c/d/e/f/g/h/i", "**"),
        ("about/help/about/?x=1", "**?x"),
    ],
)
def test_template(path: str, expected: str) -> None:
    assert template(SITE + path) == (f"example.com/{expected}" if expected else "")


def test_a_template_is_bounded_and_says_whose_it_is() -> None:
    assert template("http://h:8080/?x=1") == "h:8080/?x"
    assert len(template(SITE + "p?" + "n" * 1900 + "=1")) == 300


Page = tuple[Iterable[str], str]


@dataclass
class Crawl:
    """A crawl of a simulated site, as the frontier does it: URLs are judged when found, and again if refused."""

    site: Callable[[str], Page]
    budget: Budget = field(default_factory=Budget)
    shuffle: random.Random | None = None
    fetched: set[str] = field(default_factory=set)
    refused: set[str] = field(default_factory=set)

    def run(self, start: str = SITE) -> Crawl:
        queue = deque([start])
        known = {start}
        while queue and len(self.fetched) < ENDLESS:
            url = queue.popleft()
            self.fetched.add(url)
            links, text = self.site(url.removeprefix(SITE))
            if text:
                self.budget.seen(template(url), shape(text))
            found = list(dict.fromkeys(normalise(link, url) for link in links))
            if self.shuffle:
                self.shuffle.shuffle(found)
            for link in found:
                if link in known:
                    continue
                if is_trap(link) or self.budget.admit(link, template(link)):
                    self.refused.add(link)
                    continue
                self.refused.discard(link)
                known.add(link)
                queue.append(link)
        return self


def shape(text: str) -> str:
    """Of the words without digits, like ``ingest.fingerprint``."""
    return str(zlib.crc32(" ".join(re.findall(r"[a-z]+", text.lower())).encode()))


def words(seed: object, count: int = 40) -> str:
    draw = random.Random(str(seed))
    return " ".join(draw.choice(WORDS) for _ in range(count))


WORDS = ["lamp", "fan", "drill", "saw", "pump", "valve", "hose", "filter", "motor", "blade", "switch", "cable", "red"]
START = "Welcome to the shop"


class TestEndlessSpaces:
    @pytest.mark.parametrize("pattern", ["cal?month={y}-{m:02}", "cal?y={y}&m={m}", "cal/{y}/{m:02}/", "cal/{y}-{m}"])
    def test_a_calendar_ends(self, pattern: str) -> None:
        def site(path: str) -> Page:
            numbers = [int(n) for n in re.findall(r"\d+", path)] or [2024, 5]
            month = numbers[0] * 12 + numbers[1] - 1
            around = [month - 1, month + 1, month + 12]
            links = ["/" + pattern.format(y=m // 12, m=m % 12 + 1) for m in around]
            return links, f"Events of {numbers}: none"

        assert len(Crawl(site).run().fetched) <= ALLOWANCE + 1

    def test_a_calendar_of_days_ends(self) -> None:
        def site(path: str) -> Page:
            month = int((re.findall(r"\d+", path) or [0])[0])
            days = [f"/cal?month={month}&day={d}" for d in range(1, 29)]
            return [f"/cal?month={month + 1}", f"/cal?month={month - 1}", *days], "No events"

        assert len(Crawl(site).run().fetched) <= 2 * ALLOWANCE + 1

    def test_session_ids_end(self) -> None:
        """Each link carries a new session; there are 40 real pages."""
        draw = random.Random(1)

        def site(path: str) -> Page:
            page = int((re.findall(r"page=(\d+)", path) or [0])[0])
            links = [f"/p?page={draw.randrange(40)}&session={draw.getrandbits(64):x}" for _ in range(30)]
            return links, words(page)

        assert len(Crawl(site).run().fetched) < 5_000  # what waits when the evidence is in is fetched all the same

    def test_session_ids_in_the_path_end(self) -> None:
        draw = random.Random(1)

        def site(path: str) -> Page:
            name = path.rpartition("/")[2] or "home"
            return [f"/s/{draw.getrandbits(96):024x}/{WORDS[draw.randrange(9)]}" for _ in range(20)], words(name)

        assert len(Crawl(site).run().fetched) < 6_000

    def test_filters_end_though_each_selection_is_a_new_text(self) -> None:
        """Six filters of eight values make half a million pages out of 200 products."""
        names = ["brand", "color", "size", "price", "rating", "sort"]
        products = [words(i, 3) for i in range(200)]

        def site(path: str) -> Page:
            chosen = dict(part.split("=") for part in path.partition("?")[2].split("&")) if "?" in path else {}
            listed = random.Random(str(sorted(chosen.items()))).sample(products, 12)
            found = ({**chosen, name: str(v)} for name in names if name not in chosen for v in range(8))
            links = ["/shop?" + "&".join(f"{k}={v}" for k, v in sorted(one.items())) for one in found]
            return links, " ".join(listed)

        crawl = Crawl(site).run()
        assert len(crawl.fetched) < 1_500
        assert all(f"{SITE}shop?{name}={v}" in crawl.fetched for name in names for v in range(8))

    def test_sort_orders_end(self) -> None:
        def site(path: str) -> Page:
            orders = [
                f"/list?sort={s}&dir={d}&view={v}&n={n}" for s, d, v, n in product("abcde", "ud", "xyz", "123456")
            ]
            return orders, "the same things in another order"

        assert len(Crawl(site).run().fetched) <= ALLOWANCE + 1

    def test_pages_of_nothing_end(self) -> None:
        def site(path: str) -> Page:
            page = int((re.findall(r"\d+", path) or [0])[0])
            return [f"/list?page={page + 1}"], f"Page {page}: no more results"

        assert len(Crawl(site).run().fetched) == ALLOWANCE + 1

    def test_an_endless_tail_behind_real_pages_ends(self) -> None:
        def site(path: str) -> Page:
            page = int((re.findall(r"\d+", path) or [0])[0])
            return [f"/list?page={page + 1}"], words(page) if page < 2_000 else "nothing"

        assert 2_000 < len(Crawl(site).run().fetched) <= 2_000 + MOST_TRUST + 2

    def test_a_link_into_itself_ends(self) -> None:
        crawl = Crawl(lambda _: (["a/"], "the page")).run()
        assert crawl.fetched == {SITE, f"{SITE}a/", f"{SITE}a/a/"}

    def test_a_relative_menu_ends(self) -> None:
        """Every page has the same links, each relative to where one is."""
        menu = ["about/", "help/", "shop/", "contact/"]
        assert len(Crawl(lambda _: (menu, "the page")).run().fetched) < 500

    def test_redirects_to_ever_new_addresses_end_with_the_page_that_starts_them(self) -> None:
        """A redirect brings no text, so it is no evidence; the crawl's limit of hops ends each chain."""
        budget = Budget()
        for i in range(HOST_ALLOWANCE):
            assert budget.admit(f"{SITE}go?to={i}", f"{SITE}go?to") == ""

    def test_patterns_made_up_for_each_link_end(self) -> None:
        draw = random.Random(1)

        def site(_: str) -> Page:
            return [f"/x?{draw.getrandbits(40):x}={i}" for i in range(20)], "the page"

        assert len(Crawl(site).run().fetched) <= HOST_ALLOWANCE + 1


class TestRealSites:
    @pytest.mark.parametrize("order", [None, 1, 2])
    def test_a_shop_that_lists_all_on_one_page(self, order: int | None) -> None:
        def site(path: str) -> Page:
            return ([f"/product?id={i}" for i in range(5_000)], START) if not path else ((), words(path))

        shuffle = random.Random(order) if order else None
        assert len(Crawl(site, shuffle=shuffle).run().fetched) == 5_001

    def test_a_shop_with_three_duplicates_in_five(self) -> None:
        def site(path: str) -> Page:
            number = int((re.findall(r"\d+", path) or [-1])[0])
            if number < 0:
                return [f"/list?page={n}" for n in range(100)], START
            if path.startswith("list"):
                return [f"/product?id={number * 50 + i}" for i in range(50)], words(path)
            return (), words(number % 2_000)

        assert len(Crawl(site).run().fetched) == 1 + 100 + 5_000

    def test_pagination_with_different_content(self) -> None:
        def site(path: str) -> Page:
            page = int((re.findall(r"\d+", path) or [0])[0])
            return [f"/list?page={page + 1}"] if page < 2_000 else (), words(page)

        assert len(Crawl(site).run().fetched) == 2_001

    @pytest.mark.parametrize("order", [None, 1])
    def test_a_forum(self, order: int | None) -> None:
        """20 boards of 500 topics, some with several pages: 11,000 addresses with up to three parameters."""

        def site(path: str) -> Page:
            numbers = [int(n) for n in re.findall(r"\d+", path)]
            if not path:
                return [f"/viewforum.php?f={f}&start={s}" for f, s in product(range(20), range(0, 500, 50))], START
            if path.startswith("viewforum"):
                board, first = numbers
                return [f"/viewtopic.php?f={board}&t={board * 500 + first + i}" for i in range(50)], words(path)
            more = [f"/{path}&start={s}" for s in (10, 20)] if numbers[1] % 20 == 0 and len(numbers) == 2 else ()
            return more, words(path)

        crawl = Crawl(site, shuffle=random.Random(order) if order else None).run()
        assert not crawl.refused
        assert len(crawl.fetched) == 1 + 200 + 10_000 + 1_000

    def test_a_blog_by_date(self) -> None:
        days = [f"/blog/{y}/{m:02}/{d:02}/post" for y, m, d in product(range(2010, 2024), range(1, 13), range(1, 29))]

        def site(path: str) -> Page:
            return ((), words(path)) if path else (days, START)

        assert len(Crawl(site).run().fetched) == 1 + len(days)

    def test_code_documentation_that_is_deep_and_repeats_names(self) -> None:
        pages = [f"/org/acme/core/acme/util/x/y/z/Class{i}.html" for i in range(3_000)]

        def site(path: str) -> Page:
            return ((), words(path)) if path else (pages, START)

        assert len(Crawl(site).run().fetched) == 3_001

    def test_numbered_pages_need_no_budget_at_all(self) -> None:
        assert not any(is_trap(url) or template(url) for url in (f"{SITE}page/{i}" for i in range(100_000)))


class TestBudget:
    def test_plain_urls_cost_nothing(self) -> None:
        budget = Budget()
        assert not any(budget.admit(f"{SITE}page/{i}", "") for i in range(AHEAD + 1))

    def test_the_allowance_is_free_and_the_rest_needs_news(self) -> None:
        budget = Budget()
        for i in range(ALLOWANCE):
            assert budget.admit(f"{SITE}?i={i}", "example.com/?i") == ""
            budget.seen("example.com/?i", "same")
        assert budget.admit(f"{SITE}?i=x", "example.com/?i") == TRAP

    def test_no_evidence_is_no_trap(self) -> None:
        budget = Budget()
        assert not any(budget.admit(f"{SITE}?i={i}", "example.com/?i") for i in range(3 * ALLOWANCE))

    def test_a_closed_pattern_opens_again_when_its_pages_are_new(self) -> None:
        budget = Budget([("example.com/?i", 1_000, 1)])
        assert budget.admit(f"{SITE}?i=a", "example.com/?i") == TRAP
        budget.seen("example.com/?i", "news")
        assert [budget.admit(f"{SITE}?i={i}", "example.com/?i") for i in range(2)] == ["", ""]

    def test_a_text_that_another_pattern_has_is_no_news(self) -> None:
        names = ("example.com/?a", "example.com/?b")
        budget = Budget([(name, ALLOWANCE, 0) for name in names])
        budget.seen("", "text")
        for name in names:
            budget.seen(name, "text")
            budget.seen(name, "")
        assert not any(map(budget.is_open, names))
        budget.seen(names[0], "another text")
        assert [budget.is_open(name) for name in names] == [True, False]

    def test_it_goes_on_from_its_counts(self) -> None:
        rows = [("example.com/?i", 1_000, 1), ("example.com/?p", 5_000, 4_000)]
        for order in (rows, rows[::-1]):
            budget = Budget(order)
            assert budget.admit(f"{SITE}?i=1", "example.com/?i") == TRAP
            assert budget.admit(f"{SITE}?p=1", "example.com/?p") == ""

    def test_filters_from_a_former_run_get_little_more(self) -> None:
        budget = Budget([("example.com/?a&b&c", 400, 390)])
        urls = [f"{SITE}?a={a}&b={b}&c={c}" for a, b, c in product(range(6), repeat=3)]
        assert sum(budget.admit(url, "example.com/?a&b&c") == "" for url in urls) < 80

    def test_memory_is_bounded(self) -> None:
        budget = Budget()
        for i in range(MAX_PATTERNS + 500):
            budget.admit(f"{SITE}?k{i:x}z=1", f"example.com/?k{i:x}z")
            budget.seen(f"example.com/?k{i:x}z", "same")
        assert len(budget._patterns) <= MAX_PATTERNS + 1

    def test_constants_fit_together(self) -> None:
        assert FIRST_TRUST < ALLOWANCE <= MOST_TRUST
        assert PER_NEW_TEXT > 1
