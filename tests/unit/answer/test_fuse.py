from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_app.answer.fuse import convex, minmax, ranked, rrf

SCORES = st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-10, 10, allow_nan=False), max_size=8)


def test_rrf_is_the_published_formula() -> None:
    scores = rrf([["a", "b"], ["b", "c"]], 60)
    assert scores == pytest.approx({"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62})
    assert ranked(scores) == ["b", "a", "c"]


def test_convex_weighs_normalised_scores() -> None:
    scores = convex({"a": 0.9, "b": 0.1}, {"b": 20.0, "c": 10.0}, 0.25)
    assert scores == pytest.approx({"a": 0.25, "b": 0.75, "c": 0.0})


def test_equal_scores_count_alike() -> None:
    assert minmax({"a": 2.0, "b": 2.0}) == {"a": 1.0, "b": 1.0}
    assert minmax({}) == {}


@given(SCORES, SCORES)
def test_weights_at_the_ends_give_one_list(dense: dict[str, float], bm25: dict[str, float]) -> None:
    scores = convex(dense, bm25, 1.0)
    assert scores.keys() == dense.keys() | bm25.keys()
    assert all(0.0 <= s <= 1.0 for s in scores.values())
    if dense:
        best = ranked(scores, dense)[0]
        assert minmax(dense).get(best, 0.0) == pytest.approx(1.0)


def test_ties_keep_the_order_given() -> None:
    assert ranked({"x": 1.0, "a": 1.0, "m": 2.0}, ["x", "a", "m"]) == ["m", "x", "a"]
