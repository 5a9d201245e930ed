from __future__ import annotations

import random
from collections.abc import Iterable

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from ray_app.store.aliases import CANONICAL_BITS, SAME_PAGE_BITS, Alias, Held, aliases, page_key

A = "https://a.example"


def held(url: str, words: str = "", depth: int = 1, canonical: str = "", simhash: int = 0, numbers: str = "n") -> Held:
    return Held(A + url, depth, words or url, numbers, simhash or hash_of(words or url), canonical and A + canonical)


def hash_of(text: str) -> int:
    return random.Random(text).getrandbits(63)


def found(*rows: Held) -> dict[str, tuple[str, str]]:
    assert aliases(rows) == aliases(reversed(rows)), "the order must not matter"
    return {u.removeprefix(A): (alias.of.removeprefix(A), alias.reason) for u, alias in aliases(rows).items()}


def test_the_nearest_of_equal_texts_stands_for_all() -> None:
    assert found(held("/a", "same", 2), held("/b", "same", 1), held("/c", "else")) == {"/a": ("/b", "duplicate")}


def test_among_equal_texts_the_one_that_others_name_stands() -> None:
    rows = (held("/a", "same"), held("/b", "same", canonical="/b"), held("/z", "same", 5), held("/x", canonical="/z"))
    assert found(*rows)["/a"] == ("/z", "duplicate")


def test_a_query_is_the_worse_name() -> None:
    assert found(held("/?p=1", "same"), held("/zzz", "same")) == {"/?p=1": ("/zzz", "duplicate")}


def test_a_canonical_address_is_believed_when_the_texts_are_alike() -> None:
    near = hash_of("x") ^ 0b111
    assert found(held("/print", simhash=near, canonical="/page"), held("/page", simhash=hash_of("x"))) == {
        "/print": ("/page", "canonical")
    }


def test_a_canonical_address_is_believed_when_it_is_the_same_page() -> None:
    assert found(held("/page?print=1", canonical="/page"), held("/page")) == {"/page?print=1": ("/page", "canonical")}


def test_a_site_that_names_its_home_page_everywhere_is_not_believed() -> None:
    assert found(held("/", depth=0), held("/a", canonical="/"), held("/b", canonical="/")) == {}


def test_a_canonical_address_that_holds_no_text_stands_for_nothing() -> None:
    assert found(held("/page?print=1", canonical="/page")) == {}


@pytest.mark.parametrize("depths", [(1, 2), (2, 1), (1, 1)])
def test_two_pages_that_name_each_other_leave_one(depths: tuple[int, int]) -> None:
    rows = (held("/p?a", canonical="/p?b", depth=depths[0]), held("/p?b", canonical="/p?a", depth=depths[1]))
    assert len(found(*rows)) == 1


def test_a_chain_ends_at_one_owner() -> None:
    rows = (held("/p?a", canonical="/p?b"), held("/p?b", canonical="/p"), held("/p"), held("/q", "/p?a", 9))
    stand_ins = found(*rows)
    assert set(stand_ins) == {"/p?a", "/p?b", "/q"}
    assert {of for of, _ in stand_ins.values()} == {"/p"}


def test_spellings_of_one_url_with_nearly_the_same_words_are_one() -> None:
    near = hash_of("x") ^ 0b11
    assert found(held("/p/?from=mail", simhash=near), held("/p", simhash=hash_of("x"))) == {
        "/p/?from=mail": ("/p", "near_duplicate")
    }


def test_manuals_of_sister_products_are_never_joined() -> None:
    near = hash_of("x") ^ 0b1
    rows = (held("/m?id=1", simhash=near, numbers="707"), held("/m?id=2", simhash=hash_of("x"), numbers="101"))
    assert found(*rows) == {}
    assert found(held("/m-1", simhash=near), held("/m-2", simhash=hash_of("x"))) == {}


def test_whoever_stands_for_others_stands_for_itself() -> None:
    draw = random.Random(7)
    for _ in range(200):
        names = [f"/p{n}{q}" for n in range(3) for q in ("", "?a", "?b=1", "/")]
        rows = [
            held(name, draw.choice("uvw"), draw.randrange(3), draw.choice(["", *names]), draw.choice([1, 2, 3, 4]))
            for name in draw.sample(names, 8)
        ]
        stand_ins = aliases(rows)
        assert stand_ins == aliases(draw.sample(rows, 8))
        assert not {alias.of for alias in stand_ins.values()} & stand_ins.keys()
        assert len(stand_ins) < len(rows)


def by_the_rules(rows: Iterable[Held]) -> dict[str, Alias]:
    """The rules of ``aliases`` word for word, every text compared with every other."""
    held = {row.url: row for row in rows}
    named = {row.canonical for row in held.values() if row.canonical != row.url}
    owner: dict[str, str] = {url: url for url in held}
    why: dict[str, str] = {}

    def rank(row: Held) -> tuple[bool, bool, int, bool, str]:
        return row.missed, row.url not in named, row.depth, "?" in row.url, row.url

    def give(row: Held, to: str, reason: str) -> None:
        owner.update({url: to for url, of in owner.items() if of == row.url})
        why[row.url] = reason

    def apart(one: Held, other: Held) -> int:
        return ((one.simhash ^ other.simhash) & (2**64 - 1)).bit_count()

    best_first = sorted(held.values(), key=rank)
    for at, row in enumerate(best_first):
        equal = [one for one in best_first[:at] if row.words_hash and one.words_hash == row.words_hash]
        if equal:
            give(row, equal[0].url, "duplicate")
    for row in [one for one in best_first if one.url not in why]:
        target = held.get(row.canonical)
        if target is None or owner[target.url] == row.url:
            continue
        if page_key(row.url) == page_key(target.url) or apart(row, target) <= CANONICAL_BITS:
            give(row, owner[target.url], "canonical")
    left = [one for one in best_first if one.url not in why and one.numbers_hash]
    for at, row in enumerate(left):
        for one in left[:at]:
            same = page_key(one.url) == page_key(row.url) and one.numbers_hash == row.numbers_hash
            if one.url not in why and same and apart(one, row) <= SAME_PAGE_BITS:
                give(row, one.url, "near_duplicate")
                break
    return {url: Alias(owner[url], reason) for url, reason in why.items()}


NAMES = [f"{A}/p{n}{q}" for n in range(2) for q in ("", "/", "?a", "?b=1", "?c", "?d=2", "?e")]
TEXTS = st.builds(
    Held,
    url=st.sampled_from(NAMES),
    depth=st.integers(0, 2),
    words_hash=st.sampled_from(["", "u", "v", *map(str, range(20))]),
    numbers_hash=st.sampled_from(["", "n", "n", "m"]),
    simhash=st.builds(
        lambda flips: sum({1 << bit for bit in flips}) - (1 << 63), st.lists(st.integers(0, 63), max_size=5)
    ),
    canonical=st.sampled_from(["", "", *NAMES]),
    missed=st.booleans(),
)


@given(st.lists(TEXTS, max_size=14, unique_by=lambda row: row.url))
@example([Held(f"{A}/p?{n}", 0, str(n), "n", 0, f"{A}/p?{n + 1}") for n in range(9)])  # a chain
def test_the_quick_way_finds_what_the_rules_say(rows: list[Held]) -> None:
    assert aliases(rows) == by_the_rules(rows)


@pytest.mark.parametrize("apart", range(SAME_PAGE_BITS + 2))
def test_wherever_the_few_bits_differ_it_is_found(apart: int) -> None:
    draw = random.Random(apart)
    for _ in range(200):
        other = hash_of("x") ^ sum(1 << bit for bit in draw.sample(range(64), apart))
        rows = [held("/p?a", simhash=other - (other >> 63 << 64)), held("/p", simhash=hash_of("x"))]
        assert bool(found(*rows)) == (apart <= SAME_PAGE_BITS)


@pytest.mark.parametrize(
    "url",
    ["https://a.example/x", "http://www.a.example/x/", "https://a.example/x?y", "https://a.example/x/index.html"],
)
def test_page_key(url: str) -> None:
    assert page_key(url) == "a.example/x"


def test_an_alias_names_its_reason() -> None:
    rows = [held("/a", "same"), held("/b", "same")]
    assert aliases(rows) == {A + "/b": Alias(A + "/a", "duplicate")}
