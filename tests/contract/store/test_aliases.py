from __future__ import annotations

import random

import pytest

from ray_app.store.aliases import Alias, Held, aliases, page_key

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


@pytest.mark.parametrize(
    "url",
    ["https://a.example/x", "http://www.a.example/x/", "https://a.example/x?y", "https://a.example/x/index.html"],
)
def test_page_key(url: str) -> None:
    assert page_key(url) == "a.example/x"


def test_an_alias_names_its_reason() -> None:
    rows = [held("/a", "same"), held("/b", "same")]
    assert aliases(rows) == {A + "/b": Alias(A + "/a", "duplicate")}
