from __future__ import annotations

import pytest
from answer_parts import asked, hit

from ray_app.answer.evidence import QUOTABLE, coverage, foreignness, weigh
from ray_app.testing.fakes import HashEmbedder


class Pieces(HashEmbedder):
    """An embedder whose vocabulary breaks every word into so many pieces."""

    def __init__(self, per_word: float) -> None:
        super().__init__()
        self.per_word = per_word

    def count(self, text: str) -> int:
        return round(len(text.split()) * self.per_word)


def test_coverage_weighs_rare_words_more() -> None:
    ask = asked("reset the groovebox")
    ask = ask.weighted({"reset": 1.0, "groovebox": 3.0})
    assert coverage(ask, "reset it") == pytest.approx(0.25)
    assert coverage(ask, "the groovebox") == pytest.approx(0.75)
    assert coverage(ask, "something else") == 0.0


def test_evidence_rises_with_either_signal() -> None:
    ask = asked("reset the router")
    strong = weigh(ask, [hit("reset the router here", dense=0.8)], 0.0).score
    words = weigh(ask, [hit("reset the router here", dense=0.2)], 0.0).score
    meaning = weigh(ask, [hit("start again from scratch", dense=0.8)], 0.0).score
    nothing = weigh(ask, [hit("printer paper", dense=0.1)], 0.0).score
    assert nothing < QUOTABLE < meaning < strong
    assert nothing < words < strong


def test_where_the_embedder_is_blind_words_decide() -> None:
    ask = asked("איך מאפסים את הנתב")
    covered = "כדי לדעת איך מאפסים את הנתב"
    assert weigh(ask, [hit(covered, dense=0.1)], 1.0).score > 0.9
    assert weigh(ask, [hit("מדפסת צבעונית", dense=0.9)], 1.0).score < QUOTABLE
    without_dense = weigh(ask, [hit(covered)], 0.0)
    assert without_dense.foreign == 0.0


def test_without_dense_scores_words_decide() -> None:
    bare = hit("reset the router")
    bare.scores.pop("dense")
    got = weigh(asked("reset the router"), [bare], 0.0)
    assert (got.cosine, got.coverage, got.foreign) == (0.0, 1.0, 1.0)
    assert got.score > 0.9


def test_nothing_found_is_no_evidence() -> None:
    assert weigh(asked("reset"), [], 0.0).score == 0.0


@pytest.mark.parametrize(("per_word", "wanted"), [(1.0, 0.0), (1.5, 0.0), (1.85, 0.5), (2.2, 1.0), (4.0, 1.0)])
def test_foreignness_by_pieces_per_word(per_word: float, wanted: float) -> None:
    assert foreignness(Pieces(per_word), "word " * 200) == pytest.approx(wanted, abs=0.01)
