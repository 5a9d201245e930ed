"""How well the passages found speak to the question, and when to say that nothing was found.

Two signals: the best cosine of question and passage, and the share of the question's content words, weighted
by inverse document frequency, that one of the best passages holds. A logistic function joins them.

Fitted on English reading, manual and help-thread questions with the answering passage present, removed, and
with questions of another field, each set checked with a fit on the others. An embedder that does not know a
language breaks its words into many pieces and its cosines say nothing there (measured for Hebrew, Arabic and
German questions to an English model), so the second signal takes over as the pieces per word grow.
The score is used as the answer's confidence; it is not calibrated to a probability of being right.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass

from ray_app.answer.understand import Ask
from ray_app.index.ports import Embedder
from ray_app.index.tokens import tokenise
from ray_app.records import Hit

BEST = 3  # passages of which one must hold the question's words
# Weights of cosine and coverage and the constant; with the threshold of 0.3 about one answerable question in
# twenty is refused, and one in twenty of another field is answered.
COSINE, COVERAGE, BIAS = 7.5, 3.2, -5.5
COVERAGE_ALONE, BIAS_ALONE = 7.0, -2.6
QUOTABLE = 0.30  # evidence under which nothing is quoted
HOPELESS = 0.15  # evidence under which a language model is not asked either; it judges the rest itself
# Pieces per word: 98% of English questions stay under 1.75 with an English vocabulary, 90% of Hebrew and
# Arabic ones lie over 3 and German ones at 2.2.
FAMILIAR_PIECES, FOREIGN_PIECES = 1.5, 2.2

_WORDS = re.compile(r"\w+")
_MARKS = re.compile(r"[^\w\s]")


@dataclass(frozen=True, slots=True)
class Evidence:
    """``score`` in 0..1 and what it was made of."""

    score: float
    cosine: float  # best over the hits; 0 without dense retrieval
    coverage: float  # 0..1
    foreign: float  # 0: the embedder knows the words of this question, 1: it does not


def weigh(ask: Ask, hits: Sequence[Hit], foreign: float) -> Evidence:
    """Evidence of ``hits``, best first, for the question. Zero without hits."""
    if not hits:
        return Evidence(0.0, 0.0, 0.0, foreign)
    cosines = [hit.scores["dense"] for hit in hits if "dense" in hit.scores]
    if not cosines:
        foreign = 1.0
    cosine = max(cosines, default=0.0)
    covered = max(coverage(ask, hit.chunk.embedding_text) for hit in hits[:BEST])
    familiar = _logistic(COSINE * cosine + COVERAGE * covered + BIAS)
    alone = _logistic(COVERAGE_ALONE * covered + BIAS_ALONE)
    return Evidence((1.0 - foreign) * familiar + foreign * alone, cosine, covered, foreign)


def coverage(ask: Ask, text: str) -> float:
    """The share 0..1 of the weight of the question's content words that ``text`` holds."""
    words = set(tokenise(text))
    total = sum(ask.weights.get(term, 1.0) for term in ask.content)
    held = sum(ask.weights.get(term, 1.0) for term in ask.content if term in words)
    return held / total if total else 0.0


def foreignness(embedder: Embedder, text: str) -> float:
    """0..1: how far the embedder's vocabulary is from the words of ``text``."""
    words = len(_WORDS.findall(text))
    pieces = embedder.count(text) - len(_MARKS.findall(text))
    share = (pieces / max(1, words) - FAMILIAR_PIECES) / (FOREIGN_PIECES - FAMILIAR_PIECES)
    return min(1.0, max(0.0, share))


def _logistic(x: float) -> float:
    return 1.0 / (1.0 + math.exp(-x))
