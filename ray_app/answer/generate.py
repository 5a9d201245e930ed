"""Answers in the pages' own words: the few sentences, steps, rows and code that speak to the question."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_app.answer.evidence import coverage
from ray_app.answer.ports import Draft, Quote
from ray_app.answer.split import Unit, UnitKind, units
from ray_app.answer.understand import Ask
from ray_app.errors import BadVector
from ray_app.index.ports import Embedder
from ray_app.index.tokens import tokenise
from ray_app.records import AnswerMode, Hit

READ = 6  # passages that are cut into units: their embedding is most of the cost of an answer
MAX_UNITS = 64  # embedded for one answer: about a tenth of a second on two idle cores
MAX_PASSAGES = 3  # that are quoted
MAX_CHOSEN = 4  # units chosen for themselves, before lists and code are completed
MAX_QUOTES = 5  # stretches of text in one answer
MAX_STEPS = 12  # items kept of one list
MAX_QUOTE_CHARS = 1_500  # of one stretch: half a printed page
MIN_WORDS = 3  # a shorter sentence ("Yes.") says nothing alone; a row or an item may be short
# A unit is worth its own likeness to the question, the share of the question's words it holds, and how well its
# passage stands: a step rarely repeats what its heading says the steps are for.
WORDS, PASSAGE, PLACE = 0.5, 0.5, 0.1
CLOSE = 0.85  # of the best unit's worth: what is weaker is about something else more often than not
ALIKE = 0.8  # share of common words from which two quotes say the same: pages repeat each other

# A page's own [5], a footnote or a key's name, must not be read as one of the answer's markers.
_OWN_MARKS = re.compile(r"\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]")


@dataclass(frozen=True, slots=True)
class _Candidate:
    passage: int
    at: int  # position among the passage's units
    unit: Unit


class ExtractiveGenerator:
    """Quotes word for word, so it cannot invent; needs no model but the embedder."""

    def __init__(self, embedder: Embedder) -> None:
        self._embedder = embedder

    async def generate(self, ask: Ask, passages: Sequence[Hit]) -> Draft:
        """A draft whose quotes stand word for word in the passages; empty when nothing can be quoted."""
        return await asyncio.to_thread(self.quote, ask, passages[:READ])

    def quote(self, ask: Ask, passages: Sequence[Hit]) -> Draft:
        """The same, in the caller's thread."""
        cut = [units(hit.chunk.text) for hit in passages]
        candidates = [c for c in _candidates(cut) if _worth_quoting(c.unit)][:MAX_UNITS]
        if not candidates:
            return Draft("", AnswerMode.EXTRACTIVE)
        worth = self._worth(ask, passages, candidates)
        chosen = _choose(candidates, worth)
        return _draft(passages, cut, chosen)

    def _worth(self, ask: Ask, passages: Sequence[Hit], candidates: Sequence[_Candidate]) -> NDArray[np.float64]:
        own = cosines(self._embedder, ask.text, [_shown(c.unit) for c in candidates])
        words = np.array([coverage(ask, _shown(c.unit)) for c in candidates])
        dense = np.array([passages[c.passage].scores.get("dense", 0.0) for c in candidates])
        place = np.array([1.0 / (1 + c.passage) for c in candidates])
        worth: NDArray[np.float64] = own + WORDS * words + PASSAGE * dense + PLACE * place
        return worth


def cosines(embedder: Embedder, question: str, texts: Sequence[str]) -> NDArray[np.float64]:
    """Cosine of each text to the question; zeros when the embedder fails, so that words alone decide."""
    try:
        vectors = embedder.encode([question, *texts]).astype(np.float64)
    except BadVector:
        return np.zeros(len(texts))
    likeness: NDArray[np.float64] = vectors[1:] @ vectors[0]
    return likeness


def _candidates(cut: Sequence[Sequence[Unit]]) -> Iterator[_Candidate]:
    for passage, found in enumerate(cut):
        yield from (_Candidate(passage, at, unit) for at, unit in enumerate(found))


def _worth_quoting(unit: Unit) -> bool:
    if unit.kind is UnitKind.HEADING or len(unit.text) > MAX_QUOTE_CHARS:
        return False
    return unit.kind is not UnitKind.SENTENCE or len(unit.text.split()) >= MIN_WORDS or not unit.text.isascii()


def _shown(unit: Unit) -> str:
    return f"{unit.header}\n{unit.text}" if unit.header else unit.text


def _choose(candidates: Sequence[_Candidate], worth: NDArray[np.float64]) -> list[_Candidate]:
    """Best first: close to the best, from few passages, nothing twice."""
    order = np.argsort(-worth, kind="stable")
    chosen: list[_Candidate] = []
    for i in order:
        if len(chosen) == MAX_CHOSEN or worth[i] < CLOSE * worth[order[0]]:
            break
        passages = {c.passage for c in chosen} | {candidates[i].passage}
        if len(passages) <= MAX_PASSAGES and not any(_alike(candidates[i].unit, c.unit) for c in chosen):
            chosen.append(candidates[i])
    return chosen


def _alike(one: Unit, other: Unit) -> bool:
    left, right = set(tokenise(one.text)), set(tokenise(other.text))
    return len(left & right) >= ALIKE * len(left | right)


def _draft(passages: Sequence[Hit], cut: Sequence[Sequence[Unit]], chosen: Sequence[_Candidate]) -> Draft:
    quotes: list[Quote] = []
    parts: list[str] = []
    for passage in dict.fromkeys(c.passage for c in chosen):
        text, found = passages[passage].chunk.text, cut[passage]
        wanted = _completed(found, [c.at for c in chosen if c.passage == passage])
        for stretch in _stretches(found, wanted):
            if len(quotes) == MAX_QUOTES:
                break
            quotes.append(Quote(passage + 1, text[stretch[0].start : stretch[-1].end]))
            parts.append(_rendered(stretch, quotes[-1].text, len(quotes)))
    return Draft("\n\n".join(parts), AnswerMode.EXTRACTIVE, tuple(quotes))


def _completed(found: Sequence[Unit], chosen: Iterable[int]) -> list[int]:
    """The chosen units and what they make no sense without: a lead-in's list or code, a step's fellow steps."""
    wanted: set[int] = set()
    for at in chosen:
        wanted.add(at)
        if found[at].kind is UnitKind.STEP:
            wanted.update(_list_around(found, at))
        elif found[at].kind is UnitKind.SENTENCE:
            wanted.update(_list_after(found, at))
    return sorted(wanted)


def _list_around(found: Sequence[Unit], at: int) -> Iterator[int]:
    block = [i for i, unit in enumerate(found) if unit.block == found[at].block]
    if len(block) > MAX_STEPS or sum(len(found[i].text) for i in block) > MAX_QUOTE_CHARS:
        return
    yield from block
    before = block[0] - 1
    if before >= 0 and found[before].kind is UnitKind.SENTENCE and found[before].text.endswith(":"):
        yield before


def _list_after(found: Sequence[Unit], at: int) -> Iterator[int]:
    """Steps that follow a sentence; items, rows and code only when the sentence ends in a colon."""
    if at + 1 == len(found) or found[at + 1].block == found[at].block:
        return
    kind = found[at + 1].kind
    leads = found[at].text.endswith((":", "："))
    if kind is UnitKind.STEP or (leads and kind not in (UnitKind.SENTENCE, UnitKind.HEADING)):
        block, room = found[at + 1].block, MAX_QUOTE_CHARS
        for i in range(at + 1, min(len(found), at + 1 + MAX_STEPS)):
            room -= len(found[i].text)
            if found[i].block != block or room < 0:
                break
            yield i


def _stretches(found: Sequence[Unit], wanted: Sequence[int]) -> Iterator[list[Unit]]:
    """Runs of neighbouring units, in the order of the passage, none longer than MAX_QUOTE_CHARS."""
    run: list[int] = []
    for at in wanted:
        too_long = run and found[at].end - found[run[0]].start > MAX_QUOTE_CHARS
        if run and (at != run[-1] + 1 or too_long):
            yield [found[i] for i in run]
            run = []
        run.append(at)
    if run:
        yield [found[i] for i in run]


def _rendered(stretch: Sequence[Unit], quote: str, n: int) -> str:
    """The quote as Markdown with its marker, under its header when it begins within a table."""
    first, last = stretch[0], stretch[-1]
    text = quote if any(u.kind is UnitKind.CODE for u in stretch) else _OWN_MARKS.sub(r"(\1)", quote)
    text = f"{first.header}\n{text}" if first.kind is UnitKind.ROW else text
    if last.kind in (UnitKind.CODE, UnitKind.ROW):
        return f"{text}\n\n[{n}]"
    return f"{text} [{n}]"
