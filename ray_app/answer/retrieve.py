"""Asks vectors and keywords side by side, in one brand or in all of them."""

from __future__ import annotations

import asyncio
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from time import perf_counter

import numpy as np
from numpy.typing import NDArray

from ray_app.answer.evidence import foreignness
from ray_app.answer.fuse import convex, ranked, rrf
from ray_app.answer.ports import Index
from ray_app.answer.understand import Ask
from ray_app.config import RetrievalSettings, Settings
from ray_app.errors import BadVector, ModelMismatch, NoGeneration, VectorStoreDown, VectorStoreLocked
from ray_app.index.generation import Generation
from ray_app.index.ports import Embedder, VectorStore
from ray_app.index.publish import collection_name
from ray_app.observe.log import get_logger
from ray_app.records import Chunk, Hit, ModelId

FILTERED = 4  # times as many candidates when a language is asked for, since hits of other languages are dropped
# How much of its weight the embedder loses where it knows none of the words: nDCG@10 of fusion then lies at BM25's or
# above it for Hebrew, Arabic and German questions to an English model (.891 -> .908, .828 -> .866, .938 -> .924).
BLIND = 0.8

log = get_logger(__name__)


@dataclass(frozen=True, slots=True)
class Opened:
    """The generations a question is asked of; they stay as they are whatever is published meanwhile."""

    generations: tuple[tuple[str, Generation], ...]  # (brand, generation), by brand

    @property
    def name(self) -> str:
        """``brand:generation`` of each, comma-separated."""
        return ",".join(f"{brand}:{generation.manifest.generation}" for brand, generation in self.generations)


@dataclass(frozen=True, slots=True)
class Retrieved:
    """Hits of each retriever, best first; every hit knows its score in both as far as both work."""

    dense: tuple[Hit, ...]
    bm25: tuple[Hit, ...]
    weights: Mapping[str, float]  # inverse document frequency of the question's content words
    foreign: float  # 0: the embedder knows the question's words, 1: it does not
    degraded: tuple[str, ...] = ()
    timings_ms: Mapping[str, float] = field(default_factory=dict)  # embed, retrieve


@dataclass(frozen=True, slots=True)
class _Dense:
    """What the vectors brought: the question's vector (None when there is none) and scores by generation."""

    vector: NDArray[np.float32] | None
    model: ModelId  # that made it
    scores: list[dict[int, float]]  # per generation: position -> cosine
    degraded: tuple[str, ...]
    foreign: float
    embed_ms: float


class Retriever:
    """Two searches over the same generations."""

    def __init__(
        self, reader: Index, embedder: Embedder, settings: Settings, vectors: VectorStore | None = None
    ) -> None:
        self.embedder = embedder
        self._reader = reader
        self._settings = settings
        self._vectors = vectors

    def open(self, brand: str) -> Opened:
        """What is live now for ``brand``, or for every brand when it is "". Blocks: it may read SQL and files.

        Raises UnknownBrand, and NoGeneration when nothing is published.
        """
        names = [brand] if brand else sorted(self._reader.brands())
        found = tuple((name, self._reader.get(name)) for name in names)
        if not found:
            raise NoGeneration
        return Opened(found)

    async def search(self, ask: Ask, opened: Opened) -> Retrieved:
        """Up to ``retrieval.candidates`` hits of each retriever. Without vectors it degrades to keywords alone."""
        started = perf_counter()
        generations = [generation for _, generation in opened.generations]
        k = self._settings.retrieval.candidates
        wide = k * FILTERED if ask.question.lang else k
        dense, bm25 = await asyncio.gather(
            asyncio.to_thread(self._dense, ask, opened, wide),
            asyncio.to_thread(_bm25, generations, ask.terms, wide),
        )
        hits = await asyncio.to_thread(_hits, ask, generations, dense, bm25)
        return Retrieved(
            dense=_ranked(hits, dense.scores, "dense", k),
            bm25=_ranked(hits, bm25, "bm25", k),
            weights=_weights(generations, ask.content),
            foreign=dense.foreign,
            degraded=dense.degraded,
            timings_ms={"embed": dense.embed_ms, "retrieve": 1000 * (perf_counter() - started) - dense.embed_ms},
        )

    def _dense(self, ask: Ask, opened: Opened, k: int) -> _Dense:
        started = perf_counter()
        foreign = foreignness(self.embedder, ask.text)
        try:
            vector: NDArray[np.float32] = self.embedder.encode([ask.text])[0]
        except BadVector as error:
            log.warning("query_embedding_failed", error=str(error))
            return _Dense(
                None, self.embedder.model, [{} for _ in opened.generations], ("embedder",), foreign, _since(started)
            )
        embed_ms = _since(started)
        degraded: dict[str, None] = {}
        scores = []
        for brand, generation in opened.generations:
            found, reason = self._nearest(brand, generation, vector, k)
            scores.append(found)
            if reason:
                degraded[reason] = None
        return _Dense(vector, self.embedder.model, _best(scores, k), tuple(degraded), foreign, embed_ms)

    def _nearest(
        self, brand: str, generation: Generation, vector: NDArray[np.float32], k: int
    ) -> tuple[dict[int, float], str]:
        """Cosines by position, and what was degraded. Exact unless the brand is large and a vector store works."""
        if generation.manifest.model != self.embedder.model:
            log.warning("model_mismatch", brand=brand, index=str(generation.manifest.model))
            return {}, "embedder: the index was made with another model"
        reason = ""
        if self._vectors is not None and generation.manifest.chunks > self._settings.index.exact_max_chunks:
            try:
                return self._approximate(self._vectors, brand, generation, vector, k), ""
            except (VectorStoreDown, VectorStoreLocked, ModelMismatch) as error:
                log.warning("vector_store_fallback", brand=brand, error=error.kind)
                reason = "chroma"
        indices, scores = generation.dense(vector, k)
        return dict(zip(indices.tolist(), scores.tolist(), strict=True)), reason

    def _approximate(
        self, store: VectorStore, brand: str, generation: Generation, vector: NDArray[np.float32], k: int
    ) -> dict[int, float]:
        """Ids that the generation does not hold are dropped: the store is a superset of it."""
        found = store.query(collection_name(brand, self.embedder.model), vector, k)
        places = ((generation.index_of(chunk_id), cosine) for chunk_id, cosine in found)
        return {place: cosine for place, cosine in places if place is not None}


def fuse(retrieved: Retrieved, settings: RetrievalSettings) -> list[Hit]:
    """Both lists as one, best first, each hit with its ``fused`` score."""
    hits = {hit.chunk.chunk_id: hit for hit in (*retrieved.dense, *retrieved.bm25)}
    if settings.fusion == "rrf":
        scores = rrf([[h.chunk.chunk_id for h in found] for found in (retrieved.dense, retrieved.bm25)], settings.rrf_k)
    else:
        dense, bm25 = ({i: h.scores[s] for i, h in hits.items() if s in h.scores} for s in ("dense", "bm25"))
        scores = convex(dense, bm25, trusted(settings.dense_weight, retrieved.foreign))
    order = ranked(scores, hits)
    return [Hit(hits[i].chunk, scores[i], {**hits[i].scores, "fused": scores[i]}) for i in order]


def trusted(weight: float, foreign: float) -> float:
    """``weight`` of a score that the embedder makes, less as it knows less of the question's words."""
    return weight * (1.0 - BLIND * foreign)


def _bm25(generations: Sequence[Generation], terms: Sequence[str], k: int) -> list[dict[int, float]]:
    scores = []
    for generation in generations:
        indices, found = generation.keywords.search(terms, k)
        scores.append(dict(zip(indices.tolist(), found.tolist(), strict=True)))
    return _best(scores, k)


def _best(scores: list[dict[int, float]], k: int) -> list[dict[int, float]]:
    """The ``k`` best over all generations, which stay apart."""
    if len(scores) <= 1:
        return scores
    every = sorted((s for found in scores for s in found.values()), reverse=True)
    floor = every[k - 1] if len(every) > k else -math.inf
    return [{place: s for place, s in found.items() if s >= floor} for found in scores]


Place = tuple[int, int]  # generation, position in it


def _hits(
    ask: Ask, generations: Sequence[Generation], dense: _Dense, bm25: Sequence[Mapping[int, float]]
) -> dict[Place, Hit]:
    """Every candidate with both scores; those of another language than the one asked for are left out."""
    hits: dict[Place, Hit] = {}
    for g, generation in enumerate(generations):
        places = list(dict.fromkeys((*dense.scores[g], *bm25[g])))
        cosines = _filled_dense(generation, dense, g, places)
        keywords = _filled_bm25(generation, ask.terms, bm25[g], places)
        for place in places:
            chunk = generation.chunk(place)
            if _speaks(chunk, ask.question.lang):
                scores = {"bm25": keywords[place]}
                if place in cosines:
                    scores["dense"] = cosines[place]
                hits[g, place] = Hit(chunk, 0.0, scores)
    return hits


def _filled_dense(generation: Generation, dense: _Dense, g: int, places: Sequence[int]) -> Mapping[int, float]:
    """Cosines of all ``places``: those that only the keywords found are computed. Empty without usable vectors."""
    known = dense.scores[g]
    missing = sorted(set(places) - known.keys())
    if dense.vector is None or generation.manifest.model != dense.model or not missing:
        return known
    cosines = generation.vectors[missing].astype(np.float32) @ dense.vector
    return {**known, **dict(zip(missing, cosines.tolist(), strict=True))}


def _filled_bm25(
    generation: Generation, terms: Sequence[str], known: Mapping[int, float], places: Sequence[int]
) -> Mapping[int, float]:
    missing = sorted(set(places) - known.keys())
    if not missing:
        return known
    scores = np.maximum(generation.keywords.scores(terms)[missing], 0.0)  # negative in tiny corpora only
    return {**known, **dict(zip(missing, scores.tolist(), strict=True))}


def _speaks(chunk: Chunk, lang: str) -> bool:
    return not lang or not chunk.lang or chunk.lang == lang


def _ranked(hits: Mapping[Place, Hit], found: Sequence[Mapping[int, float]], stage: str, k: int) -> tuple[Hit, ...]:
    """The hits that one retriever found, best first, with its score as theirs."""
    own = [hits[g, place] for g, scores in enumerate(found) for place in scores if (g, place) in hits]
    ordered = sorted(own, key=lambda h: -h.scores[stage])[:k]
    return tuple(Hit(h.chunk, h.scores[stage], h.scores) for h in ordered)


def _weights(generations: Sequence[Generation], terms: Iterable[str]) -> dict[str, float]:
    """Inverse document frequency over all generations asked, in BM25's form that never falls under zero."""
    size = sum(generation.manifest.chunks for generation in generations)
    frequency = {term: sum(g.keywords.df(term) for g in generations) for term in terms}
    return {term: math.log(1 + (size - df + 0.5) / (df + 0.5)) for term, df in frequency.items()}


def _since(started: float) -> float:
    return 1000 * (perf_counter() - started)
