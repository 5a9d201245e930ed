"""Joins ranked lists: reciprocal ranks, or a weighted sum of normalised scores."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Mapping, Sequence


def rrf(lists: Sequence[Sequence[str]], k: int) -> dict[str, float]:
    """Reciprocal rank fusion: the sum of 1 / (k + rank) over the lists that hold the id, ranks from 1.

    Cormack, Clarke and Buettcher (SIGIR 2009), where k = 60.
    """
    scores: dict[str, float] = {}
    for ids in lists:
        for rank, identity in enumerate(ids, start=1):
            scores[identity] = scores.get(identity, 0.0) + 1.0 / (k + rank)
    return scores


def convex(dense: Mapping[str, float], bm25: Mapping[str, float], weight: float) -> dict[str, float]:
    """``weight`` times the normalised dense score plus the rest times the normalised keyword score.

    An id that one list lacks gets 0 there, the score of that list's worst.
    """
    left, right = minmax(dense), minmax(bm25)
    ids = dict.fromkeys((*dense, *bm25))
    return {i: weight * left.get(i, 0.0) + (1.0 - weight) * right.get(i, 0.0) for i in ids}


def minmax(scores: Mapping[str, float]) -> dict[str, float]:
    """Scores moved to 0..1; all 1 when they are equal, so that a list of one still counts."""
    if not scores:
        return {}
    low, high = min(scores.values()), max(scores.values())
    if high <= low:
        return dict.fromkeys(scores, 1.0)
    return {i: (s - low) / (high - low) for i, s in scores.items()}


def levelled(scores: Mapping[str, float], groups: Mapping[str, Hashable]) -> dict[str, float]:
    """Scores moved to 0..1 in each group by itself, for those of different groups say nothing to each other."""
    names = dict.fromkeys(groups[i] for i in scores)
    if len(names) <= 1:
        return dict(scores)
    level: dict[str, float] = {}
    for name in names:
        level |= minmax({i: score for i, score in scores.items() if groups[i] == name})
    return level


def ranked(scores: Mapping[str, float], order: Iterable[str] = ()) -> list[str]:
    """Ids by score, best first; ties keep the order given, so that results repeat."""
    place = {identity: i for i, identity in enumerate(order)}
    return sorted(scores, key=lambda i: (-scores[i], place.get(i, len(place)), i))
