"""Proves every citation of a draft against its passage, and drops those that do not hold."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from ray_app.answer.ports import Draft
from ray_app.answer.split import Unit, UnitKind, units
from ray_app.answer.understand import content_terms
from ray_app.errors import BadVector
from ray_app.index.ports import Embedder
from ray_app.index.tokens import tokenise
from ray_app.records import Citation, Hit

MAX_CITATIONS = 20  # of one answer: more cannot be read, and each costs an embedding
MAX_CLAIMS = 60  # sentences of one answer that are checked; later ones lose their markers
# A sentence is held up by a passage that has every number it names and either most of its words or a sentence
# that means the same. On researchers' claims about abstracts, which share few words with them, this keeps 57% of
# claims with their own abstract, 26% with the most similar other one, 5% with the sixteenth and none with a random
# one; what a model writes from the passage before it stays far closer to it.
WORDS_ALONE = 0.6
WORDS_WITH_MEANING, MEANING = 0.4, 0.5
MEANING_ALONE = 0.75

_MARKER = re.compile(r"\s*\[(\d{1,3}(?:\s*[,;]\s*\d{1,3})*)\]")
_LIST_MARK = re.compile(r"^\s*(?:\d{1,3}[.)]|[-*+•–])\s+")
_IMAGE = re.compile(r"!\[([^\]\n]{0,500})\]\([^)\n]{0,2000}\)")
_LINK = re.compile(r"\[([^\]\n]{1,500})\]\(\s*<?([^)\s>]{1,2000})[^)\n]{0,500}\)")
_URL = re.compile(r"<?\bhttps?://[^\s<>()\[\]\"']+>?", re.IGNORECASE)
_TAG = re.compile(r"</?[a-zA-Z][^<>\n]{0,500}>")


@dataclass(frozen=True, slots=True)
class Verified:
    """An answer whose every marker [n] is ``citations[n - 1]``."""

    text: str
    citations: tuple[Citation, ...]
    dropped: int  # markers that pointed nowhere or did not hold


@dataclass(frozen=True, slots=True)
class _Marker:
    """A marker of the draft, the sentence it stands behind, and the passage it points to."""

    start: int
    end: int
    claim: str
    n: int


def verify(draft: Draft, hits: Sequence[Hit], embedder: Embedder) -> Verified:
    """Check ``draft`` against the passages it was made from. Blocks: call it in a thread."""
    return _verify_quotes(draft, hits) if draft.quotes else _verify_claims(draft, hits, embedder)


def _verify_quotes(draft: Draft, hits: Sequence[Hit]) -> Verified:
    """A draft of quotes holds when each stands in its passage; one that does not spoils the whole draft."""
    citations = []
    for number, quote in enumerate(draft.quotes, start=1):
        if not 1 <= quote.n <= len(hits) or quote.text not in hits[quote.n - 1].chunk.text:
            return Verified("", (), len(draft.quotes))
        citations.append(_citation(number, hits[quote.n - 1], quote.text))
    return Verified(draft.text, tuple(citations), 0)


def _verify_claims(draft: Draft, hits: Sequence[Hit], embedder: Embedder) -> Verified:
    shown = hits[: draft.passages]
    text = harmless(draft.text, shown)
    markers = list(_markers(text))
    wanted = {m.n for m in markers if 1 <= m.n <= len(shown)}
    support = _Support({n: shown[n - 1] for n in wanted}, {m.claim for m in markers}, embedder)
    citations: dict[tuple[int, str], Citation] = {}
    kept: list[tuple[_Marker, int]] = []
    for marker in markers:
        quote = support.quote(marker.claim, marker.n) if marker.n in wanted else ""
        key = (marker.n, quote)
        if quote and key not in citations and len(citations) < MAX_CITATIONS:
            citations[key] = _citation(len(citations) + 1, shown[marker.n - 1], quote)
        if key in citations:
            kept.append((marker, citations[key].n))
    return Verified(_renumbered(text, markers, kept), tuple(citations.values()), len(markers) - len(kept))


def _citation(n: int, hit: Hit, quote: str) -> Citation:
    chunk = hit.chunk
    return Citation(n, chunk.chunk_id, chunk.link, chunk.title, " > ".join(chunk.section), quote)


def _markers(text: str) -> Iterator[_Marker]:
    """Each number of each marker with its sentence; a marker that stands alone belongs to the sentence before."""
    claim = ""
    for checked, unit in enumerate(u for u in units(text) if u.kind is not UnitKind.CODE):
        own = _bare(unit.text)
        claim = own or claim
        if checked >= MAX_CLAIMS:
            claim = ""
        for match in _MARKER.finditer(text, unit.start, unit.end):
            for number in re.findall(r"\d+", match.group(1)):
                yield _Marker(match.start(), match.end(), claim, int(number))


def _bare(sentence: str) -> str:
    """A sentence without markers and list mark, "" when nothing else is left."""
    bare = _LIST_MARK.sub("", _MARKER.sub("", sentence)).strip()
    return bare if re.search(r"\w", bare) else ""


def _renumbered(text: str, markers: Sequence[_Marker], kept: Sequence[tuple[_Marker, int]]) -> str:
    numbers: dict[int, list[int]] = {}
    for marker, n in kept:
        if n not in (known := numbers.setdefault(marker.start, [])):
            known.append(n)
    parts, at = [], 0
    for start, end in dict.fromkeys((m.start, m.end) for m in markers):
        marks = "".join(f"[{n}]" for n in numbers.get(start, []))
        space = " " if marks and start and not text[start - 1].isspace() else ""
        parts += [text[at:start], space, marks]
        at = end
    return "".join((*parts, text[at:])).strip()


def harmless(text: str, hits: Sequence[Hit]) -> str:
    """``text`` without images, tags, and links to anywhere but the passages' own pages.

    A model may have been talked into a link or an image that carries what was asked to somebody else.
    """
    known = " ".join((*(hit.chunk.url for hit in hits), *(hit.chunk.text for hit in hits)))
    text = _TAG.sub("", _IMAGE.sub(r"\1", text))
    text = _LINK.sub(lambda m: m.group() if m.group(2) in known else m.group(1), text)
    return _URL.sub(lambda m: m.group() if m.group().strip("<>").rstrip(".,;:!?") in known else "", text)


class _Support:
    """Which sentence of a passage holds up a claim. Embeds every text once, in one call."""

    def __init__(self, passages: dict[int, Hit], claims: set[str], embedder: Embedder) -> None:
        self._units = {n: _quotable(hit.chunk.text) for n, hit in passages.items()}
        self._words = {n: set(tokenise(hit.chunk.embedding_text)) for n, hit in passages.items()}
        texts = dict.fromkeys((*claims, *(u.text for us in self._units.values() for u in us)))
        self._vectors = _vectors(embedder, [t for t in texts if t]) if passages else {}

    def quote(self, claim: str, n: int) -> str:
        """The best supporting unit of passage ``n``, "" when the passage does not hold up the claim."""
        words = content_terms(tokenise(claim))
        if not words or not self._units[n]:
            return ""
        held = [w in self._words[n] for w in words]
        numbers = all(h for w, h in zip(words, held, strict=True) if any(c.isdigit() for c in w))
        scores = [(self._likeness(claim, u), _share(words, u)) for u in self._units[n]]
        best = max(range(len(scores)), key=lambda i: sum(scores[i]))
        if not numbers or not _holds(sum(held) / len(held), max(likeness for likeness, _ in scores)):
            return ""
        return self._units[n][best].text

    def _likeness(self, claim: str, unit: Unit) -> float:
        left, right = self._vectors.get(claim), self._vectors.get(unit.text)
        return 0.0 if left is None or right is None else float(left @ right)


def _holds(words: float, meaning: float) -> bool:
    together = words >= WORDS_WITH_MEANING and meaning >= MEANING
    return words >= WORDS_ALONE or together or meaning >= MEANING_ALONE


def _share(words: Sequence[str], unit: Unit) -> float:
    there = set(tokenise(unit.text))
    return sum(w in there for w in words) / len(words)


def _quotable(text: str) -> list[Unit]:
    return [u for u in units(text) if u.kind is not UnitKind.HEADING]


def _vectors(embedder: Embedder, texts: Sequence[str]) -> dict[str, NDArray[np.float32]]:
    try:
        return dict(zip(texts, embedder.encode(texts), strict=True))
    except BadVector:  # words alone decide then
        return {}
