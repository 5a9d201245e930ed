from __future__ import annotations

import math

import pytest

from ray_app.evaluate.measures import measure, mrr, ndcg, recall


def test_by_hand() -> None:
    ranking, grades = ["a", "b", "c"], {"b": 1, "c": 2, "x": 1}
    ideal = 2 + 1 / math.log2(3) + 1 / math.log2(4)
    assert ndcg(ranking, grades, 10) == pytest.approx((1 / math.log2(3) + 2 / math.log2(4)) / ideal)
    assert ndcg(ranking, grades, 1) == 0.0
    assert recall(ranking, grades, 100) == pytest.approx(2 / 3)
    assert mrr(ranking, grades, 10) == 0.5
    assert (ndcg([], grades, 10), recall([], grades, 10), mrr([], grades, 10)) == (0.0, 0.0, 0.0)


def test_a_query_that_the_run_lacks_counts_as_zero() -> None:
    got = measure({"q1": ["a"]}, {"q1": {"a": 1}, "q2": {"b": 1}})
    assert got == {"ndcg@10": 0.5, "recall@100": 0.5, "mrr@10": 0.5}
