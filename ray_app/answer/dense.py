"""The nearest chunks to a question by their vectors, each generation asked with the model that made its vectors."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ray_app.answer.evidence import foreignness
from ray_app.answer.understand import Ask
from ray_app.config import Settings
from ray_app.errors import BadVector, ModelMismatch, VectorStoreDown, VectorStoreLocked
from ray_app.index.embedders import Embedders
from ray_app.index.generation import Generation
from ray_app.index.ports import Embedder, Vectors, VectorStore
from ray_app.index.publish import collection_name
from ray_app.index.recall import RecallSampler
from ray_app.index.rows import Rows, size
from ray_app.observe.log import get_logger
from ray_app.records import ModelId

# The vector store knows no filter and holds what older generations held, too, so it is asked for more than ``k``: as
# many as the filter's share of the brand calls for, and so many times that, since what is near lies together.
SPARE = 1.5

log = get_logger(__name__)

Scores = dict[int, float]  # of one generation: row -> cosine

Afterwards = Callable[[], object]  # what is still to be done, by a thread, once the answer is out


@dataclass(frozen=True, slots=True)
class Opened:
    """The generations a question is asked of; they stay as they are whatever is published meanwhile."""

    generations: tuple[tuple[str, Generation], ...]  # (brand, generation), by brand
    embedders: Mapping[ModelId, Embedder] = field(default_factory=dict)  # of their models; held until it is answered

    @property
    def name(self) -> str:
        """``brand:generation`` of each, comma-separated."""
        return ",".join(f"{brand}:{generation.manifest.generation}" for brand, generation in self.generations)


@dataclass(frozen=True, slots=True)
class Dense:
    """What the vectors brought, by generation."""

    vectors: Sequence[Vectors | None]  # the question in that generation's model; None where there is none
    scores: Sequence[Scores]
    degraded: tuple[str, ...]
    foreign: float  # 0: the models know the question's words, 1: one of them does not
    embed_ms: float
    afterwards: tuple[Afterwards, ...] = ()

    def filled(self, g: int, generation: Generation, rows: Sequence[int]) -> Mapping[int, float]:
        """Cosines of all ``rows``: those that only the keywords found are computed. Empty without usable vectors."""
        vector, known = self.vectors[g], self.scores[g]
        missing = sorted(set(rows) - known.keys())
        if vector is None or not missing:
            return known
        cosines = generation.vectors[missing].astype(np.float32) @ vector
        return {**known, **dict(zip(missing, cosines.tolist(), strict=True))}


class DenseSearch:
    """Searches exactly unless a brand is large and a vector store works."""

    def __init__(
        self,
        embedders: Embedders,
        settings: Settings,
        in_store: Callable[[str, str], bool],
        vectors: VectorStore | None = None,
        sampler: RecallSampler | None = None,
    ) -> None:
        """``in_store``: whether the vector store holds that generation of a brand whole; see answer.ports.Index.

        ``sampler`` measures what the vector store misses.
        """
        self._in_store = in_store
        self._embedders = embedders
        self._sampler = sampler
        self._exact_max = settings.index.exact_max_chunks
        self._vectors = vectors

    def search(self, ask: Ask, opened: Opened, filters: Sequence[Rows | None], k: int) -> Dense:
        """The ``k`` nearest of all generations of one model, among the rows that ``filters`` let through."""
        started = perf_counter()
        degraded: dict[str, None] = {}
        used = self._models(opened, degraded)
        questions = _embed(ask.text, used, degraded)
        embed_ms = 1000 * (perf_counter() - started)
        scores: list[Scores] = []
        afterwards: list[Afterwards] = []
        for (brand, generation), rows in zip(opened.generations, filters, strict=True):
            vector = questions.get(generation.manifest.model)
            place = _Place(brand, generation, rows)
            scores.append({} if vector is None else self._nearest(place, vector, k, degraded, afterwards))
        models = [generation.manifest.model for _, generation in opened.generations]
        return Dense(
            vectors=[questions.get(model) for model in models],
            scores=_best_by_model(scores, models, k),
            degraded=tuple(degraded),
            foreign=max(foreignness(embedder, ask.text) for embedder in used or [self._embedders.main]),
            embed_ms=embed_ms,
            afterwards=tuple(afterwards),
        )

    def _models(self, opened: Opened, degraded: dict[str, None]) -> list[Embedder]:
        """Each model that some of the generations were made with, once, but for those that are not loaded."""
        found = []
        for model in dict.fromkeys(generation.manifest.model for _, generation in opened.generations):
            embedder = opened.embedders.get(model) or self._embedders.held(model)
            if embedder is None:
                log.warning("model_mismatch", index=str(model))
                degraded["embedder: the index was made with another model"] = None
            else:
                found.append(embedder)
        return found

    def _nearest(
        self, place: _Place, vector: Vectors, k: int, degraded: dict[str, None], afterwards: list[Afterwards]
    ) -> Scores:
        """Cosines by row. Notes what was degraded, and what is to be done when the answer is out."""
        if self._vectors is not None and place.size > self._exact_max:
            if not self._in_store(place.brand, place.generation.name):
                degraded["chroma"] = None
                return _exact(place, vector, k)
            try:
                found = self._approximate(self._vectors, place, vector, k)
            except (VectorStoreDown, VectorStoreLocked, ModelMismatch) as error:
                log.warning("vector_store_fallback", brand=place.brand, error=error.kind)
                degraded["chroma"] = None
                return _exact(place, vector, k)
            if len(found) >= min(k, place.size):
                if (sampler := self._sampler) is not None and sampler.due():
                    afterwards.append(lambda: sampler.measure(list(found), lambda: list(_exact(place, vector, k))))
                return found
            log.info("vector_store_short", brand=place.brand, found=len(found), wanted=k)
            if not found:  # not filled; otherwise only too much of other generations came first
                degraded["chroma"] = None
        return _exact(place, vector, k)

    def _approximate(self, store: VectorStore, place: _Place, vector: Vectors, k: int) -> Scores:
        """Ids that the generation does not hold are dropped: the store is a superset of it."""
        wide = math.ceil(SPARE * k * len(place.generation) / place.size)
        found = store.query(collection_name(place.brand, place.generation.manifest.model), vector, wide)
        rows = ((place.generation.index_of(chunk_id), cosine) for chunk_id, cosine in found)
        held = [(row, cosine) for row, cosine in rows if row is not None]
        allowed = _within(np.array([row for row, _ in held], np.int64), place.rows)
        return dict([pair for pair, fine in zip(held, allowed.tolist(), strict=True) if fine][:k])


@dataclass(frozen=True, slots=True)
class _Place:
    """Where is searched: the rows of a generation that a filter lets through, None for all."""

    brand: str
    generation: Generation
    rows: Rows | None

    @property
    def size(self) -> int:
        return len(self.generation) if self.rows is None else size(self.rows)


def _exact(place: _Place, vector: Vectors, k: int) -> Scores:
    found, cosines = place.generation.dense(vector, k, place.rows)
    return dict(zip(found.tolist(), cosines.tolist(), strict=True))


def _embed(text: str, embedders: Sequence[Embedder], degraded: dict[str, None]) -> dict[ModelId, Vectors]:
    """The question in each model, but for those that fail."""
    questions: dict[ModelId, Vectors] = {}
    for embedder in embedders:
        try:
            questions[embedder.model] = embedder.encode([text])[0]
        except BadVector as error:
            log.warning("query_embedding_failed", model=str(embedder.model), error=str(error))
            degraded["embedder"] = None
    return questions


def best(scores: Sequence[Scores], k: int) -> list[Scores]:
    """The ``k`` best over all generations, which stay apart."""
    if len(scores) <= 1:
        return list(scores)
    every = sorted((s for found in scores for s in found.values()), reverse=True)
    floor = every[k - 1] if len(every) > k else -math.inf
    return [{place: s for place, s in found.items() if s >= floor} for found in scores]


def _best_by_model(scores: Sequence[Scores], models: Sequence[ModelId], k: int) -> list[Scores]:
    """Cosines of different models say nothing to each other, so each model has its own ``k``."""
    chosen: list[Scores] = [{} for _ in scores]
    for model in dict.fromkeys(models):
        own = [g for g, other in enumerate(models) if other == model]
        for g, found in zip(own, best([scores[g] for g in own], k), strict=True):
            chosen[g] = found
    return chosen


def _within(places: NDArray[np.int64], rows: Rows | None) -> NDArray[np.bool_]:
    """Which of ``places`` lie in the ranges."""
    if rows is None:
        return np.ones(len(places), bool)
    at = np.searchsorted(rows[:, 0], places, side="right") - 1
    return np.asarray((at >= 0) & (places < rows[np.maximum(at, 0), 1]))
