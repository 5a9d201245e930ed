from __future__ import annotations

from ray_app.index.recall import RecallSampler, recall
from ray_app.observe.metrics import Metrics


def test_recall_is_the_share_of_the_exact_hits() -> None:
    assert recall([1, 2, 9], [1, 2, 3, 4]) == 0.5
    assert recall(["a"], ["a"]) == 1.0
    assert recall([], [1]) == 0.0
    assert recall([], []) == 1.0


def test_one_query_in_so_many_is_searched_exactly_and_reaches_prometheus() -> None:
    metrics = Metrics("1")
    sampler = RecallSampler(metrics.vector_recall, every=3)
    due = [sampler.due() for _ in range(7)]
    assert due == [True, False, False, True, False, False, True]
    assert sampler.measure([1, 2, 3, 5], lambda: [1, 2, 3, 4]) == 0.75
    text = metrics.render().decode()
    assert "backline_vector_recall_ratio_count 1.0" in text
    assert "backline_vector_recall_ratio_sum 0.75" in text
