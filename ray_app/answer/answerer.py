"""The answer lane: understand, cache, retrieve, fuse, rerank, generate, cite."""

from __future__ import annotations

import asyncio
import dataclasses
import uuid
from collections.abc import AsyncIterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from time import perf_counter
from typing import NamedTuple

from ray_app.answer.cache import LocalCache, RedisCache, cache_key, decode, encode, storable
from ray_app.answer.cite import Verified, verify
from ray_app.answer.dense import Afterwards
from ray_app.answer.evidence import HOPELESS, QUOTABLE, Evidence, weigh
from ray_app.answer.flight import SingleFlight
from ray_app.answer.generate import ExtractiveGenerator
from ray_app.answer.llm import LlmGenerator
from ray_app.answer.ports import Cache, Draft, Generator, Index, Reranker
from ray_app.answer.rerank import combine, load_reranker
from ray_app.answer.retrieve import Opened, Retrieved, Retriever, fuse, trusted
from ray_app.answer.understand import Ask, understand
from ray_app.config import Settings
from ray_app.errors import GeneratorDown, RerankerDown
from ray_app.index.embedders import Embedders
from ray_app.index.ports import Embedder, VectorStore
from ray_app.index.recall import RecallSampler
from ray_app.observe.log import get_logger
from ray_app.records import Answer, AnswerMode, Hit, Question

NOTHING_FOUND = "I could not find an answer to this in the indexed pages."

log = get_logger(__name__)


class SearchResult(NamedTuple):
    """What ``Answerer.search`` gives: hits best first, what was degraded, milliseconds per stage."""

    hits: list[Hit]
    degraded: tuple[str, ...]
    timings_ms: dict[str, float]


@dataclass(slots=True)
class _Trip:
    """One question on its way: what it met is noted here."""

    ask: Ask
    opened: Opened
    foreign: float = 0.0  # how far the question's words are from what the embedder knows
    degraded: dict[str, None] = field(default_factory=dict)  # in the order met, none twice
    timings_ms: dict[str, float] = field(default_factory=dict)
    afterwards: tuple[Afterwards, ...] = ()

    @asynccontextmanager
    async def timed(self, stage: str) -> AsyncIterator[None]:
        started = perf_counter()
        try:
            yield
        finally:
            self.timings_ms[stage] = self.timings_ms.get(stage, 0.0) + 1000 * (perf_counter() - started)


@dataclass(frozen=True, slots=True)
class Parts:
    """What an answerer is made of.

    ``degraded`` is what is missing from the start, such as the reranker configured. Every answer says so, yet
    may be cached: the cache key names the parts that made it.
    """

    retriever: Retriever
    extractive: ExtractiveGenerator
    reranker: Reranker | None = None
    llm: Generator | None = None
    cache: Cache | None = None
    degraded: tuple[str, ...] = ()


class Answerer:
    """Answers questions from what is published. Belongs to one event loop, which it never blocks."""

    def __init__(self, parts: Parts, settings: Settings) -> None:
        self._parts = parts
        self._settings = settings
        self._flights: SingleFlight[Answer] = SingleFlight()
        self._models = _model_names(parts, settings)
        self._afterwards = ThreadPoolExecutor(max_workers=1, thread_name_prefix="afterwards")

    async def answer(self, question: Question) -> Answer:
        """Raises BadQuestion, UnknownBrand, NoGeneration; anything else that fails degrades the answer."""
        started = perf_counter()
        ask = self._understand(question)
        opened = await asyncio.to_thread(self._parts.retriever.open, question.brand)
        key = cache_key(ask.question, generations=opened.name, models=self._models)
        if (kept := await self._cached(key)) is not None:
            return self._own(kept, started, cache="exact")
        answer, _ = await self._flights.run(key, lambda: self._fresh(_Trip(ask, opened), key))
        return self._own(answer, started, cache=None)

    async def search(self, question: Question) -> SearchResult:
        """Hits of every stage before generation, best first. Raises like ``answer``."""
        started = perf_counter()
        ask = self._understand(question)
        trip = _Trip(ask, await asyncio.to_thread(self._parts.retriever.open, question.brand))
        hits = await self._find(trip)
        self._after(trip)
        trip.timings_ms["total"] = 1000 * (perf_counter() - started)
        return SearchResult(hits, (*trip.degraded, *self._parts.degraded), trip.timings_ms)

    async def forget(self, brand: str) -> None:
        """Drop the answers that are kept of ``brand``."""
        if self._parts.cache is not None:
            await self._parts.cache.forget(brand)

    async def close(self) -> None:
        """Let go of connections."""
        self._afterwards.shutdown(wait=False, cancel_futures=True)
        for part in (self._parts.cache, self._parts.llm):
            if part is not None and hasattr(part, "close"):
                await part.close()

    def _after(self, trip: _Trip) -> None:
        """Have done what no question waits for."""
        for work in trip.afterwards:
            self._afterwards.submit(work).add_done_callback(_log_failure)

    def _understand(self, question: Question) -> Ask:
        return understand(question, max_chars=self._settings.serve.max_question_chars)

    async def _cached(self, key: str) -> Answer | None:
        cache = self._parts.cache
        return decode(await cache.get(key)) if cache is not None else None

    async def _fresh(self, trip: _Trip, key: str) -> Answer:
        hits = await self._find(trip)
        evidence = weigh(trip.ask, hits, trip.foreign)
        async with trip.timed("generate"):
            answer = await self._write(trip, hits[: trip.ask.question.k], evidence)
        await self._keep(key, answer)
        self._after(trip)
        return answer

    async def _find(self, trip: _Trip) -> list[Hit]:
        retrieved = await self._parts.retriever.search(trip.ask, trip.opened)
        self._note(trip, retrieved)
        fused = fuse(retrieved, self._settings.retrieval)
        async with trip.timed("rerank"):
            return await self._rerank(trip, fused)

    def _note(self, trip: _Trip, retrieved: Retrieved) -> None:
        trip.ask = trip.ask.weighted(retrieved.weights)
        trip.foreign = retrieved.foreign
        trip.afterwards = retrieved.afterwards
        trip.timings_ms.update(retrieved.timings_ms)
        trip.degraded.update(dict.fromkeys(retrieved.degraded))

    async def _rerank(self, trip: _Trip, fused: list[Hit]) -> list[Hit]:
        """The best of ``fused`` reordered, the rest behind them; ``fused`` as it is when the reranker is down."""
        reranker, settings = self._parts.reranker, self._settings.retrieval
        window = fused[: settings.rerank_top]
        if reranker is None or not window:
            return fused
        try:
            texts = [hit.chunk.embedding_text for hit in window]
            async with asyncio.timeout(settings.rerank_timeout_s):
                scores = await reranker.score(trip.ask.text, texts)
        except (RerankerDown, TimeoutError) as error:
            reason = "timeout" if isinstance(error, TimeoutError) else error.message
            trip.degraded[f"reranker: {reason}"] = None
            log.warning("rerank_failed", reranker=reranker.name, error=reason)
            return fused
        weight = trusted(settings.rerank_weight, trip.foreign)
        return [*combine(window, scores, reranker.kind, weight), *fused[len(window) :]]

    async def _write(self, trip: _Trip, hits: Sequence[Hit], evidence: Evidence) -> Answer:
        """By the language model when there is one, else in the pages' own words, else an honest no."""
        if not hits:
            return self._abstain(trip, evidence, "no passage was found")
        if evidence.score < HOPELESS:
            return self._abstain(trip, evidence, "nothing found speaks to the question")
        llm = self._parts.llm if trip.ask.question.use_llm else None
        written = await self._by_llm(trip, llm, hits, evidence) if llm is not None else None
        return written or await self._by_quotes(trip, hits, evidence)

    async def _by_llm(self, trip: _Trip, llm: Generator, hits: Sequence[Hit], evidence: Evidence) -> Answer | None:
        """None when the model is down or nothing that it cited holds."""
        try:
            draft = await llm.generate(trip.ask, hits)
        except GeneratorDown as error:
            trip.degraded[f"llm: {error.message}"] = None
            log.warning("generator_failed", error=error.message)
            return None
        if not draft.text:
            return self._abstain(trip, evidence, "the passages found do not answer the question")
        verified = await self._verify(draft, hits)
        if verified.dropped:
            trip.degraded[f"citations: {verified.dropped} dropped"] = None
        return self._answer(trip, verified, AnswerMode.LLM, evidence) if verified.citations else None

    async def _by_quotes(self, trip: _Trip, hits: Sequence[Hit], evidence: Evidence) -> Answer:
        if evidence.score < QUOTABLE:
            return self._abstain(trip, evidence, "nothing found speaks clearly enough to the question")
        draft = await self._parts.extractive.generate(trip.ask, hits)
        verified = await self._verify(draft, hits)
        if not verified.citations:
            return self._abstain(trip, evidence, "nothing found can be quoted")
        return self._answer(trip, verified, AnswerMode.EXTRACTIVE, evidence)

    async def _verify(self, draft: Draft, hits: Sequence[Hit]) -> Verified:
        return await asyncio.to_thread(verify, draft, hits, self._parts.retriever.embedder)

    def _answer(self, trip: _Trip, verified: Verified, mode: AnswerMode, evidence: Evidence) -> Answer:
        return Answer(
            answer_id="",  # every caller gets an own one
            answer=verified.text,
            mode=mode,
            citations=verified.citations,
            confidence=round(evidence.score, 4),
            generation=trip.opened.name,
            degraded=tuple(trip.degraded),
            timings_ms=trip.timings_ms,
        )

    def _abstain(self, trip: _Trip, evidence: Evidence, reason: str) -> Answer:
        nothing = Verified(NOTHING_FOUND, (), 0)
        answer = self._answer(trip, nothing, AnswerMode.ABSTAINED, evidence)
        return dataclasses.replace(answer, reason=reason)

    def _own(self, answer: Answer, started: float, *, cache: str | None) -> Answer:
        """The caller's own copy: its own id and time, and what is missing just now."""
        down = self._parts.cache.down if self._parts.cache is not None else ""
        degraded = dict.fromkeys((*answer.degraded, *self._parts.degraded, *filter(None, (down,))))
        timings = answer.timings_ms if cache is None else {}
        timings = {**timings, "total": 1000 * (perf_counter() - started)}
        return dataclasses.replace(
            answer,
            answer_id=uuid.uuid4().hex,
            cache=cache,
            degraded=tuple(degraded),
            timings_ms={stage: round(ms, 2) for stage, ms in timings.items()},
        )

    async def _keep(self, key: str, answer: Answer) -> None:
        cache = self._parts.cache
        if cache is not None and storable(answer):
            await cache.put(key, encode(answer), self._settings.cache.ttl_s)


def build_answerer(
    index: Index,
    embedder: Embedder,
    settings: Settings,
    *,
    vectors: VectorStore | None = None,
    reranker: tuple[Reranker, str | None] | None = None,
    embedders: Embedders | None = None,
    sampler: RecallSampler | None = None,
) -> Answerer:
    """The lane as configured. Without a ``reranker`` the configured one is loaded, which may take seconds.

    ``embedders`` are the models of generations, ``embedder`` alone by default.
    """
    if reranker is None and settings.retrieval.rerank_top:
        reranker = load_reranker(settings.retrieval, embedder)
    missing = reranker[1] if reranker is not None else None
    parts = Parts(
        retriever=Retriever(index, embedder, settings, vectors, embedders, sampler),
        extractive=ExtractiveGenerator(embedder),
        reranker=reranker[0] if reranker is not None else None,
        llm=_llm(settings),
        cache=_cache(settings),
        degraded=(f"reranker: {missing}",) if missing else (),
    )
    return Answerer(parts, settings)


def _log_failure(work: Future[object]) -> None:
    if not work.cancelled() and (error := work.exception()) is not None:
        log.error("afterwards_failed", error=f"{type(error).__name__}: {error}")


def _llm(settings: Settings) -> LlmGenerator | None:
    configured = settings.llm.api_key.get_secret_value() or settings.llm.ollama_base_url
    return LlmGenerator(settings.llm) if configured else None


def _cache(settings: Settings) -> Cache | None:
    if not settings.cache.ttl_s:
        return None
    if url := settings.redis_url:
        return RedisCache(url, settings.redis.timeout_s)
    return LocalCache(settings.cache.max_entries)


def _model_names(parts: Parts, settings: Settings) -> list[str]:
    """Everything beside question and index that an answer depends on, for the cache key."""
    llm = "" if parts.llm is None else getattr(parts.llm, "model", type(parts.llm).__name__)
    reranker = "" if parts.reranker is None else parts.reranker.name
    return [str(parts.retriever.embedder.model), reranker, llm, settings.retrieval.model_dump_json()]
