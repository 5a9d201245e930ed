"""Measures of a ranking, as trec_eval computes them: the gain is the grade itself, not 2 to its power."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from math import log2

Qrels = Mapping[str, Mapping[str, int]]
Run = Mapping[str, Sequence[str]]  # query -> documents, best first, none twice


def ndcg(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """Normalised discounted cumulative gain of the first ``k``; 0 when nothing is relevant."""
    ideal = _dcg(sorted(grades.values(), reverse=True)[:k])
    return _dcg([grades.get(d, 0) for d in ranking[:k]]) / ideal if ideal else 0.0


def _dcg(grades: Sequence[int]) -> float:
    return sum(grade / log2(rank + 1) for rank, grade in enumerate(grades, start=1))


def recall(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """The share of relevant documents among the first ``k``; 0 when nothing is relevant."""
    relevant = {d for d, grade in grades.items() if grade > 0}
    return len(relevant.intersection(ranking[:k])) / len(relevant) if relevant else 0.0


def mrr(ranking: Sequence[str], grades: Mapping[str, int], k: int) -> float:
    """One over the rank of the first relevant document among the first ``k``, else 0."""
    return next((1.0 / rank for rank, d in enumerate(ranking[:k], start=1) if grades.get(d, 0) > 0), 0.0)


def measure(run: Run, qrels: Qrels) -> dict[str, float]:
    """Means over the judged queries; a query that the run lacks counts as 0."""
    total = max(1, len(qrels))
    return {
        "ndcg@10": sum(ndcg(run.get(q, ()), grades, 10) for q, grades in qrels.items()) / total,
        "recall@100": sum(recall(run.get(q, ()), grades, 100) for q, grades in qrels.items()) / total,
        "mrr@10": sum(mrr(run.get(q, ()), grades, 10) for q, grades in qrels.items()) / total,
    }
