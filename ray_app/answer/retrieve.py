"""Asks vectors and keywords side by side, in one brand or in all of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np

from ray_app.answer.dense import Afterwards, Dense, DenseSearch, Opened, Scores, best
from ray_app.answer.fuse import convex, levelled, ranked, rrf
from ray_app.answer.ports import Index
from ray_app.answer.understand import Ask
from ray_app.config import RetrievalSettings, Settings
from ray_app.errors import BacklineError, ChecksumMismatch, NoGeneration, StoreError, UnknownBrand
from ray_app.index.embedders import Embedders
from ray_app.index.generation import Generation
from ray_app.index.ports import Embedder, VectorStore
from ray_app.index.recall import RecallSampler
from ray_app.index.rows import Rows
from ray_app.observe.log import get_logger
from ray_app.records import Hit, ModelId

__all__ = ["Opened", "Retrieved", "Retriever", "fuse", "trusted"]

# How much of its weight the embedder loses where it knows none of the words: nDCG@10 of fusion then lies at BM25's or
# above it for Hebrew, Arabic and German questions to an English model (.891 -> .908, .828 -> .866, .938 -> .924).
BLIND = 0.8

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Hits of each retriever, best first; every hit knows its score in both as far as both work."""

    dense: tuple[Hit, ...]
    bm25: tuple[Hit, ...]
    weights: Mapping[str, float]  # inverse document frequency of the question's content words
    foreign: float  # 0: the embedder knows the question's words, 1: it does not
    degraded: tuple[str, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)  # embed, retrieve
    models: Mapping[str, ModelId] = field(default_factory=dict)  # that made the vectors, by brand
    afterwards: tuple[Afterwards, ...] = ()


class Retriever:
    """Two searches over the same generations."""

    def __init__(
        self,
        reader: Index,
        embedder: Embedder,
        settings: Settings,
        vectors: VectorStore | None = None,
        embedders: Embedders | None = None,
        sampler: RecallSampler | None = None,
    ) -> None:
        """``embedder`` is for what needs any model; ``embedders`` those of generations, by default it alone."""
        self.embedder = embedder
        self._reader = reader
        self._embedders = embedders or Embedders(embedder)
        self._dense = DenseSearch(self._embedders, settings, reader.in_store, vectors, sampler)
        self._k = settings.retrieval.candidates

    def open(self, brand: str) -> Opened:
        """What is live now for ``brand``, or for every brand when it is "". Blocks: it may read SQL and files.

        Raises UnknownBrand, and NoGeneration when nothing is published. Of every brand, those that cannot be opened
        are left out, unless that leaves none.
        """
        found = [(brand, *self._get(brand))] if brand else self._every()
        return Opened(
            generations=tuple((name, generation) for name, generation, _ in found),
            embedders={generation.manifest.model: embedder for _, generation, embedder in found if embedder},
        )

    async def search(self, ask: Ask, opened: Opened) -> Retrieved:
        """Up to ``retrieval.candidates`` hits of each retriever. Without vectors it degrades to keywords alone."""
        started = perf_counter()
        generations = [generation for _, generation in opened.generations]
        filters = await _filters(ask, generations)
        dense, bm25 = await asyncio.gather(
            asyncio.to_thread(self._dense.search, ask, opened, filters, self._k),
            asyncio.to_thread(_bm25, generations, ask.terms, filters, self._k),
        )
        hits = await asyncio.to_thread(_hits, ask, generations, dense, bm25)
        models = {brand: generation.manifest.model for brand, generation in opened.generations}
        return Retrieved(
            dense=tuple(_among_models(_ranked(hits, dense.scores, "dense"), models)[: self._k]),
            bm25=tuple(_ranked(hits, bm25, "bm25")[: self._k]),
            weights=_weights(generations, ask.content),
            foreign=dense.foreign,
            degraded=dense.degraded,
            timings_ms={"embed": dense.embed_ms, "retrieve": 1000 * (perf_counter() - started) - dense.embed_ms},
            models=models,
            afterwards=dense.afterwards,
        )

    def _get(self, brand: str) -> tuple[Generation, Embedder | None]:
        """The live generation and its model, None when that cannot be loaded."""
        generation = self._reader.get(brand)
        embedder = self._embedders.held(generation.manifest.model)
        if embedder is None:  # let go of, perhaps, after a switch to what the reader has by now
            generation = self._reader.get(brand)
            embedder = self._embedders.held(generation.manifest.model)
        return generation, embedder

    def _every(self) -> list[tuple[str, Generation, Embedder | None]]:
        found: list[tuple[str, Generation, Embedder | None]] = []
        trouble: BacklineError = NoGeneration()
        for name in sorted(self._reader.brands()):
            try:
                found.append((name, *self._get(name)))
            except (NoGeneration, UnknownBrand):  # forgotten since
                continue
            except (ChecksumMismatch, StoreError) as error:
                trouble = error
                log.error("brand_left_out", brand=name, error=str(error))
        if not found:
            raise trouble
        return found


def fuse(retrieved: Retrieved, settings: RetrievalSettings) -> list[Hit]:
    """Both lists as one, best first, each hit with its ``fused`` score."""
    hits = {hit.chunk.chunk_id: hit for hit in (*retrieved.dense, *retrieved.bm25)}
    if settings.fusion == "rrf":
        scores = rrf([[h.chunk.chunk_id for h in found] for found in (retrieved.dense, retrieved.bm25)], settings.rrf_k)
    else:
        dense, bm25 = ({i: h.scores[s] for i, h in hits.items() if s in h.scores} for s in ("dense", "bm25"))
        dense = levelled(dense, _models(hits.values(), retrieved.models))
        scores = convex(dense, bm25, trusted(settings.dense_weight, retrieved.foreign))
    order = ranked(scores, hits)
    return [Hit(hits[i].chunk, scores[i], {**hits[i].scores, "fused": scores[i]}) for i in order]


def trusted(weight: float, foreign: float) -> float:
    """``weight`` of a score that the embedder makes, less as it knows less of the question's words."""
    return weight * (1.0 - BLIND * foreign)


async def _filters(ask: Ask, generations: Sequence[Generation]) -> list[Rows | None]:
    """Which rows of each generation the question's language and product let through."""
    lang, product = ask.question.lang, ask.question.product
    if not lang and not product:
        return [None] * len(generations)
    return await asyncio.to_thread(lambda: [generation.rows(lang, product) for generation in generations])


def _bm25(
    generations: Sequence[Generation], terms: Sequence[str], filters: Sequence[Rows | None], k: int
) -> list[Scores]:
    scores = []
    for generation, rows in zip(generations, filters, strict=True):
        places, found = generation.keywords.search(terms, k, rows)
        scores.append(dict(zip(places.tolist(), found.tolist(), strict=True)))
    return best(scores, k)


Place = tuple[int, int]  # generation, row in it


def _hits(ask: Ask, generations: Sequence[Generation], dense: Dense, bm25: Sequence[Scores]) -> dict[Place, Hit]:
    """Every candidate with both scores."""
    hits: dict[Place, Hit] = {}
    for g, generation in enumerate(generations):
        places = list(dict.fromkeys((*dense.scores[g], *bm25[g])))
        cosines = dense.filled(g, generation, places)
        keywords = _filled_bm25(generation, ask.terms, bm25[g], places)
        for place in places:
            scores = {"bm25": keywords[place]}
            if place in cosines:
                scores["dense"] = cosines[place]
            hits[g, place] = Hit(generation.chunk(place), 0.0, scores)
    return hits


def _filled_bm25(generation: Generation, terms: Sequence[str], known: Scores, places: Sequence[int]) -> Scores:
    """Keyword scores of all ``places``: those that only the vectors found are computed."""
    missing = sorted(set(places) - known.keys())
    if not missing:
        return known
    scores = generation.keywords.scores_at(terms, np.array(missing, np.int64))
    return {**known, **dict(zip(missing, scores.tolist(), strict=True))}


def _ranked(hits: Mapping[Place, Hit], found: Sequence[Scores], stage: str) -> list[Hit]:
    """The hits that one retriever found, best first, with its score as theirs."""
    own = [hits[g, place] for g, scores in enumerate(found) for place in scores]
    return [Hit(h.chunk, h.scores[stage], h.scores) for h in sorted(own, key=lambda h: -h.scores[stage])]


def _among_models(hits: Sequence[Hit], models: Mapping[str, ModelId]) -> list[Hit]:
    """Hits of several models in one order; those of a single one stay as they are."""
    level = levelled({h.chunk.chunk_id: h.score for h in hits}, _models(hits, models))
    return sorted(hits, key=lambda h: -level[h.chunk.chunk_id])


def _models(hits: Iterable[Hit], models: Mapping[str, ModelId]) -> dict[str, ModelId | None]:
    """The model that made each chunk's vector, by chunk id."""
    return {h.chunk.chunk_id: models.get(h.chunk.brand) for h in hits}


def _weights(generations: Sequence[Generation], terms: Iterable[str]) -> dict[str, float]:
    """Inverse document frequency over all generations asked, in BM25's form that never falls under zero."""
    size = sum(generation.manifest.chunks for generation in generations)
    frequency = {term: sum(g.keywords.df(term) for g in generations) for term in terms}
    return {term: math.log(1 + (size - df + 0.5) / (df + 0.5)) for term, df in frequency.items()}
