"""The publish gate: a new generation must find again what the live one finds.

Nobody labels anything. Questions are made from passages that both generations hold unchanged: the heading, and words
of a sentence that stands further down. A passage found is right when it holds that sentence, wherever it stands now,
so copies of a text and another way of cutting are no mistakes. Both generations are searched among those documents
alone: new pages are no competition. Which passages are asked for depends on their ids only, so results repeat.
"""

from __future__ import annotations

import re
import threading
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from math import log2, sqrt

import numpy as np
from numpy.typing import NDArray

from ray_app.answer.evidence import foreignness
from ray_app.answer.retrieve import Retrieved, fuse
from ray_app.answer.split import sentences
from ray_app.answer.understand import understand
from ray_app.config import RetrievalSettings, Settings
from ray_app.errors import BadQuestion, ModelMismatch
from ray_app.index.embedders import Embedders
from ray_app.index.generation import Generation
from ray_app.index.ports import Embedder, Verdict
from ray_app.index.rows import Rows, joined
from ray_app.observe.log import get_logger
from ray_app.records import Chunk, Hit, Question

log = get_logger(__name__)

QUESTIONS = 200  # a share of .9 is then known to +-.04; each costs some 5 ms of embedding and two searches
FEWEST = 10  # under so many a figure says nothing
LOOKED_AT = 20  # passages read per question wanted, so that a corpus of tables and code is not read to its end
DEPTH = 10  # of nDCG and recall
WORDS_SAID = 5  # of the sentence that a question repeats, stop words and all
SENTENCE_WORDS = 8  # a sentence of fewer says too little, or all of it would be said
PROBE_WORDS = 6  # of the sentence, by which a passage that holds it is known; the fewer, the rarer one is cut
MAX_CHARS = 10_000  # of a question
# Shares of its former nDCG@10 under which one retriever alone is broken, though the other may hide it. With a third of
# the vectors mixed up .67 to .76 is left; stemming leaves keywords .97, larger passages leave vectors .83.
BROKEN = 0.8
BROKEN_OTHERWISE = 0.5  # by vectors of another model, or of texts cut another way
SOUND = 0.2  # nDCG@10 over which a retriever's fall counts: what never found anything cannot break
HOPELESS = 0.05  # recall@10 of a first generation under which something is wrong with it
SURE = 2.0  # standard errors by which a fall must exceed chance

# Texts that are lost are asked about by nobody, so they are counted: under half of the live ones, of so many at least.
LEFT = 0.5
COUNTED = 20  # documents; a smaller brand is easily half of it replaced

RETRIEVERS = ("fused", "dense", "bm25")

_WORD = re.compile(r"\w+")


@dataclass(frozen=True, slots=True)
class Asked:
    """A question made from a passage."""

    text: str
    probe: str  # words of the sentence, which a right passage holds


@dataclass(frozen=True, slots=True)
class _Found:
    """Rank of the first right passage for each question by each retriever, 0 for none within DEPTH."""

    ranks: Mapping[str, NDArray[np.int64]]

    def gains(self, retriever: str) -> NDArray[np.float64]:
        """nDCG of each question: one passage is sought, so it is 1 / log2(rank + 1)."""
        return np.array([1 / log2(rank + 1) if rank else 0.0 for rank in self.ranks[retriever]])

    def ndcg(self, retriever: str) -> float:
        return float(self.gains(retriever).mean())

    def recall(self, retriever: str) -> float:
        return float((self.ranks[retriever] > 0).mean())


class RetrievalGate:
    """The ``Gate`` port. Safe in threads."""

    def __init__(self, settings: Settings, load: Callable[[], Embedders], questions: int = QUESTIONS) -> None:
        """``load`` is called when something is to be judged, and once: loading a model takes seconds.

        With fewer ``questions`` it is quicker, and only larger falls are told from chance.
        """
        self._settings = settings
        self._questions = questions
        self._load = load
        self._loading = threading.Lock()
        self._embedders: Embedders | None = None

    def judge(self, built: Generation, live: Generation | None) -> Verdict:
        """See Gate. Raises ConfigError when the model of ``built`` cannot be loaded."""
        if live is not None and (lost := _mass_loss(built, live)) is not None:
            return lost
        common = _common(built, live)
        asked = make_questions(live or built, common, self._questions)
        if len(asked) < FEWEST:
            why = f"not judged: {len(asked)} questions can be asked of it, and under {FEWEST} say nothing"
            log.warning("generation_not_judged", brand=built.manifest.brand, generation=built.name, why=why)
            return Verdict(True, {"questions": len(asked)}, why)
        now = self._ask(built, asked, common)
        before = self._ask_live(live, asked, common)
        figures = {"questions": len(asked), **_figures(now)}
        if before is None:
            return _alone(now, figures)
        figures |= {f"live_{name}": value for name, value in _figures(before).items()}
        if why := _fallen(now, before, alike=live is not None and _recipe(built) == _recipe(live)):
            return Verdict(False, figures, why)
        return _compared(now, before, figures, self._settings.index.gate_drop)

    def _ask_live(self, live: Generation | None, asked: Sequence[Asked], common: frozenset[str]) -> _Found | None:
        try:
            return self._ask(live, asked, common) if live is not None else None
        except ModelMismatch as error:  # its model is gone; the new generation is judged by itself
            log.warning("live_generation_not_asked", error=str(error))
            return None

    def _ask(self, generation: Generation, asked: Sequence[Asked], common: frozenset[str]) -> _Found:
        embedder = self._model(generation)
        search = _Search(generation, embedder, self._settings.retrieval, _rows_of(generation, common))
        vectors = embedder.encode([one.text for one in asked])
        ranks = [search.ranks(one, vector) for one, vector in zip(asked, vectors, strict=True)]
        return _Found({name: np.array([found[name] for found in ranks]) for name in RETRIEVERS})

    def _model(self, generation: Generation) -> Embedder:
        with self._loading:
            if self._embedders is None:
                self._embedders = self._load()
        return self._embedders.get(generation.manifest)


def make_questions(source: Generation, urls: frozenset[str], most: int = QUESTIONS) -> list[Asked]:
    """Questions about passages of these documents, in the order of their ids, which are as good as random."""
    documents = source.document_rows()
    firsts = np.array([document.first for document in documents], np.int64)
    found: list[Asked] = []
    for looked_at, row in enumerate(source.ids.rows.tolist()):
        if len(found) == most or looked_at == most * LOOKED_AT:
            break
        if documents[int(np.searchsorted(firsts, row, side="right")) - 1].url not in urls:
            continue
        if (asked := make_question(source.chunk(row))) is not None:
            found.append(asked)
    return found


def make_question(chunk: Chunk) -> Asked | None:
    """The last heading and the first words of the middle sentence; None for a passage without sentences."""
    said = [words for unit in sentences(chunk.text) if len(words := _words(unit.text)) >= SENTENCE_WORDS]
    if not said:
        return None
    words = said[len(said) // 2]
    heading = chunk.section[-1] if chunk.section else chunk.title
    try:
        text = understand(Question(f"{heading} {' '.join(words[1 : 1 + WORDS_SAID])}"), max_chars=MAX_CHARS).text
    except BadQuestion:
        return None
    return Asked(text, " ".join(words[:PROBE_WORDS]))


class _Search:
    """Hybrid retrieval over one generation as the answer lane does it, without reranker, among some rows."""

    def __init__(
        self, generation: Generation, embedder: Embedder, settings: RetrievalSettings, rows: Rows | None
    ) -> None:
        self._generation = generation
        self._embedder = embedder
        self._settings = settings
        self._rows = rows

    def ranks(self, asked: Asked, vector: NDArray[np.float32]) -> dict[str, int]:
        """The rank of the first right passage by each retriever, 0 for none."""
        retrieved = self._retrieved(asked, vector)
        found = {"dense": retrieved.dense, "bm25": retrieved.bm25, "fused": fuse(retrieved, self._settings)}
        return {name: _rank(asked, hits[:DEPTH]) for name, hits in found.items()}

    def _retrieved(self, asked: Asked, vector: NDArray[np.float32]) -> Retrieved:
        held, k = self._generation, self._settings.candidates
        terms = understand(Question(asked.text), max_chars=MAX_CHARS).terms
        near, _ = held.dense(vector, k, self._rows)
        worded, _ = held.keywords.search(terms, k, self._rows)
        places = np.array(sorted({*near.tolist(), *worded.tolist()}), np.int64)
        cosines = held.vectors[places].astype(np.float32) @ vector
        scores = zip(cosines.tolist(), held.keywords.scores_at(terms, places).tolist(), strict=True)
        hits = {
            place: Hit(held.chunk(place), 0.0, {"dense": cosine, "bm25": score})
            for place, (cosine, score) in zip(places.tolist(), scores, strict=True)
        }
        return Retrieved(
            dense=tuple(hits[place] for place in near.tolist()),
            bm25=tuple(hits[place] for place in worded.tolist()),
            weights={},
            foreign=foreignness(self._embedder, asked.text),
        )


def _rank(asked: Asked, hits: Sequence[Hit]) -> int:
    right = (rank for rank, hit in enumerate(hits, start=1) if asked.probe in " ".join(_words(hit.chunk.text)))
    return next(right, 0)


def _common(built: Generation, live: Generation | None) -> frozenset[str]:
    """URLs whose text both hold unchanged; without a live one all that are held."""
    now = built.documents()
    if live is None:
        return frozenset(now)
    return frozenset(url for url, text in live.documents().items() if now.get(url) == text)


def _mass_loss(built: Generation, live: Generation) -> Verdict | None:
    """The refusal of one that holds under half of what the live one does. Passages are alike only when cut alike."""
    now, before = built.manifest, live.manifest
    if before.documents < COUNTED:
        return None
    counts = {"documents": (now.documents, before.documents), "chunks": (now.chunks, before.chunks)}
    if now.chunker_version != before.chunker_version:
        del counts["chunks"]
    figures = {name: float(count) for name, (count, _) in counts.items()}
    figures |= {f"live_{name}": float(count) for name, (_, count) in counts.items()}
    for name, (count, former) in counts.items():
        if count < LEFT * former:
            return Verdict(False, figures, f"It holds {count} {name}, the live one {former}: under half.")
    return None


def _recipe(generation: Generation) -> tuple[object, str]:
    return generation.manifest.model, generation.manifest.chunker_version


def _rows_of(generation: Generation, urls: frozenset[str]) -> Rows | None:
    documents = generation.document_rows()
    if len(urls) == len(documents):
        return None
    return joined(document.rows for document in documents if document.url in urls)


def _words(text: str) -> list[str]:
    return _WORD.findall(text.casefold())


def _figures(found: _Found) -> dict[str, float]:
    return {
        "ndcg@10": round(found.ndcg("fused"), 4),
        "recall@10": round(found.recall("fused"), 4),
        "dense_ndcg@10": round(found.ndcg("dense"), 4),
        "bm25_ndcg@10": round(found.ndcg("bm25"), 4),
    }


def _alone(now: _Found, figures: Mapping[str, float]) -> Verdict:
    """Nothing to compare with: only what finds next to nothing is refused."""
    found = now.recall("fused")
    if found < HOPELESS:
        return Verdict(False, figures, f"Of its own passages it finds {found:.0%} when asked for them.")
    return Verdict(True, figures)


def _fallen(now: _Found, before: _Found, *, alike: bool) -> str:
    """Why one retriever counts as broken, "" when none does."""
    for name, told in (("dense", "vectors"), ("bm25", "keyword index")):
        former, present = before.ndcg(name), now.ndcg(name)
        share = BROKEN if alike or name == "bm25" else BROKEN_OTHERWISE
        if former >= SOUND and present < share * former and _is_sure(before.gains(name) - now.gains(name)):
            return f"nDCG@10 of its {told} fell from {former:.3f} to {present:.3f}."
    return ""


def _compared(now: _Found, before: _Found, figures: Mapping[str, float], drop: float) -> Verdict:
    fall = before.gains("fused") - now.gains("fused")
    if fall.mean() > drop and _is_sure(fall):
        why = f"nDCG@10 fell from {before.ndcg('fused'):.3f} to {now.ndcg('fused'):.3f}, more than {drop:g}."
        return Verdict(False, figures, why)
    return Verdict(True, figures)


def _is_sure(fall: NDArray[np.float64]) -> bool:
    """Whether a fall, question by question, is more than chance."""
    return bool(fall.mean() > SURE * fall.std() / sqrt(len(fall)))
