"""Measures retrieval stage by stage on a labelled set, through a throw-away generation and the real answer lane.

The judgements are used after the last ranking was made, and by nothing but the measures.
"""

from __future__ import annotations

import asyncio
import hashlib
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_app.answer.ports import Reranker
from ray_app.answer.rerank import combine, load_reranker
from ray_app.answer.retrieve import Opened, Retriever, fuse, trusted
from ray_app.answer.split import sentences
from ray_app.answer.understand import Ask, understand
from ray_app.config import RetrievalSettings, Settings, with_changes
from ray_app.errors import BadQuestion, ConfigError
from ray_app.evaluate.measures import measure
from ray_app.evaluate.sets import Record, load_beir
from ray_app.index.build import build_generation
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_path
from ray_app.index.ports import Embedder
from ray_app.records import Chunk, Hit, Question

STAGES = ("dense", "bm25", "rrf", "fused", "reranked")
DEPTH = 100  # documents ranked per query: what recall@100 needs
BATCH = 256  # texts embedded between two reports of progress
BRAND = "evaluation"
# Records up to so many characters per token that the model reads stay whole: about twice what it reads of English.
# Cutting all that it does not read to the end raises dense search on SciFact from .645 to .661 (nDCG@10), lowers
# BM25 from .671 to .656, and shreds languages that the model's vocabulary spells letter by letter; far beyond that
# length the end of a text is too much to lose.
CUT_FROM_CHARS = 12
SPECIAL_TOKENS = 4  # that a model puts round a text and between its parts, with one to spare
MAX_QUERY_CHARS = 100_000  # judged queries are taken as they are

Progress = Callable[[str, int, int], None]  # (what, done, of)
Ranking = list[tuple[str, float]]  # documents, best first, none twice


@dataclass(frozen=True, slots=True)
class EvalReport:
    """Measures of each stage and the rankings they were taken from."""

    set: str
    queries: int
    documents: int
    stages: dict[str, dict[str, float]]
    seconds: dict[str, float]  # index, and over all queries embed, retrieve, rerank
    runs: dict[str, dict[str, Ranking]]  # stage -> query -> ranking

    def as_dict(self) -> dict[str, Any]:
        """What ``backline eval --json`` prints."""
        return {
            "set": self.set,
            "queries": self.queries,
            "documents": self.documents,
            "stages": self.stages,
            "seconds": self.seconds,
        }


@dataclass(frozen=True, slots=True)
class _Fixed:
    """An index with one generation."""

    generation: Generation

    def get(self, brand: str) -> Generation:
        return self.generation

    def brands(self) -> list[str]:
        return [BRAND]

    def in_store(self, brand: str, generation: str) -> bool:
        return True


def evaluate_beir(
    folder: Path,
    settings: Settings,
    embedder: Embedder,
    *,
    limit: int | None = None,
    stages: Sequence[str] = STAGES,
    workdir: Path | None = None,
    progress: Progress = lambda what, done, of: None,
) -> EvalReport:
    """Index ``folder``'s corpus under ``workdir`` (removed afterwards) and measure ``stages`` on its queries.

    Raises ConfigError for a set that cannot be read or an unknown stage. Runs its own event loop.
    """
    if unknown := [stage for stage in stages if stage not in STAGES]:
        raise ConfigError(f"There is no stage {unknown[0]!r}.", hint=f"Stages: {', '.join(STAGES)}.")
    beir = load_beir(folder, limit=limit)
    if workdir is not None:
        workdir.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(prefix="eval-", dir=workdir) as root:
        started = time.perf_counter()
        generation = _build(Path(root), beir.corpus, settings, embedder, progress)
        seconds = {"index": time.perf_counter() - started}
        runs = asyncio.run(_Rankings(generation, embedder, settings, stages, seconds).all(beir.queries, progress))
    measured = {stage: measure(_documents_only(runs[stage]), beir.qrels) for stage in runs}
    return EvalReport(
        set=beir.name,
        queries=len(beir.queries),
        documents=len(beir.corpus),
        stages={s: {name: round(value, 4) for name, value in m.items()} for s, m in measured.items()},
        seconds={name: round(value, 3) for name, value in seconds.items()},
        runs=runs,
    )


def write_runs(report: EvalReport, path: Path) -> list[Path]:
    """A TREC run per stage beside ``path``: ``run.txt`` becomes ``run.dense.txt`` and so on."""
    written = []
    for stage, run in report.runs.items():
        target = path.with_name(f"{path.stem}.{stage}{path.suffix}")
        target.parent.mkdir(parents=True, exist_ok=True)
        with target.open("w", encoding="utf-8") as lines:
            for query, ranking in run.items():
                for rank, (document, score) in enumerate(ranking, start=1):
                    lines.write(f"{query} Q0 {document} {rank} {score:.6f} {stage}\n")
        written.append(target)
    return written


def _documents_only(run: Mapping[str, Ranking]) -> dict[str, list[str]]:
    return {query: [document for document, _ in ranking] for query, ranking in run.items()}


class _Rankings:
    """Rankings of each stage for each query."""

    def __init__(
        self,
        generation: Generation,
        embedder: Embedder,
        settings: Settings,
        stages: Sequence[str],
        seconds: dict[str, float],
    ) -> None:
        """``seconds`` gets the time of embedding, retrieving and reranking added."""
        chunks_per_document = generation.manifest.chunks / max(1, generation.manifest.documents)
        # Hits are collapsed to documents, so more of them are asked for where documents have several chunks.
        candidates = min(1000, max(settings.retrieval.candidates, round(DEPTH * chunks_per_document * 1.5)))
        self._settings = with_changes(settings, retrieval={"candidates": candidates})
        self._opened = Opened(((BRAND, generation),))
        self._retriever = Retriever(_Fixed(generation), embedder, self._settings)
        self._stages = stages
        self._seconds = seconds
        self._reranker: Reranker | None = None
        if "reranked" in stages:
            self._reranker, _ = load_reranker(settings.retrieval, embedder)

    async def all(self, queries: Mapping[str, str], progress: Progress) -> dict[str, dict[str, Ranking]]:
        runs: dict[str, dict[str, Ranking]] = {stage: {} for stage in self._stages}
        for done, (query, text) in enumerate(queries.items(), start=1):
            for stage, hits in (await self._rank(text)).items():
                runs[stage][query] = collapse(hits)
            progress("queries", done, len(queries))
        return runs

    async def _rank(self, text: str) -> dict[str, Sequence[Hit]]:
        try:
            ask = understand(Question(text), max_chars=MAX_QUERY_CHARS)
        except BadQuestion:  # a query without words finds nothing, and counts as that
            return {}
        retrieved = await self._retriever.search(ask, self._opened)
        self._spent(retrieved.timings_ms)
        found: dict[str, Sequence[Hit]] = {"dense": retrieved.dense, "bm25": retrieved.bm25}
        found["rrf"] = fuse(retrieved, _fused_by("rrf", self._settings.retrieval))
        found["fused"] = fuse(retrieved, self._settings.retrieval)
        if self._reranker is not None:
            started = time.perf_counter()
            found["reranked"] = await self._rerank(self._reranker, ask, retrieved.foreign, found["fused"])
            self._spent({"rerank": 1000 * (time.perf_counter() - started)})
        return {stage: found[stage] for stage in self._stages}

    async def _rerank(self, reranker: Reranker, ask: Ask, foreign: float, fused: Sequence[Hit]) -> list[Hit]:
        window = fused[: self._settings.retrieval.rerank_top]
        scores = await reranker.score(ask.text, [hit.chunk.embedding_text for hit in window])
        weight = trusted(self._settings.retrieval.rerank_weight, foreign)
        return [*combine(window, scores, reranker.kind, weight), *fused[len(window) :]]

    def _spent(self, timings_ms: Mapping[str, float]) -> None:
        for name, ms in timings_ms.items():
            self._seconds[name] = self._seconds.get(name, 0.0) + ms / 1000


def _fused_by(fusion: str, settings: RetrievalSettings) -> RetrievalSettings:
    return settings.model_copy(update={"fusion": fusion})


def collapse(hits: Sequence[Hit]) -> Ranking:
    """Documents by their best chunk, at most DEPTH of them."""
    best: dict[str, float] = {}
    for hit in hits:
        best.setdefault(hit.chunk.url, hit.score)
    return list(best.items())[:DEPTH]


def _build(
    root: Path, corpus: Sequence[Record], settings: Settings, embedder: Embedder, progress: Progress
) -> Generation:
    chunks = [chunk for record in corpus for chunk in chunks_of(record, embedder)]
    vectors = _embedded(chunks, embedder, progress)
    manifest = build_generation(
        root,
        BRAND,
        chunks=chunks,
        documents=[(record.id, "") for record in corpus],
        vector_of=lambda keys: np.stack([vectors[key] for key in keys]),
        model=embedder.model,
        settings=settings.index,
        chunker_version="records",
        parent="",
        now=time.time(),
    )
    return Generation.open(generation_path(root, BRAND, manifest.generation), verify=False)


def _embedded(chunks: Sequence[Chunk], embedder: Embedder, progress: Progress) -> dict[str, NDArray[np.float32]]:
    texts = {chunk.embedding_key: chunk.embedding_text for chunk in chunks}
    vectors: dict[str, NDArray[np.float32]] = {}
    keys = list(texts)
    for start in range(0, len(keys), BATCH):
        batch = keys[start : start + BATCH]
        vectors.update(zip(batch, embedder.encode([texts[key] for key in batch]), strict=True))
        progress("passages", len(vectors), len(keys))
    return vectors


def chunks_of(record: Record, embedder: Embedder) -> Iterator[Chunk]:
    """One chunk per record; a record much longer than the model reads is cut between sentences into several."""
    for ordinal, text in enumerate(_pieces(record, embedder)):
        identity = hashlib.blake2b(f"{record.id}\0{ordinal}".encode(), digest_size=16).hexdigest()
        yield Chunk(
            chunk_id=identity,
            brand=BRAND,
            url=record.id,
            title=record.title,
            section=(),
            anchor="",
            text=text,
            lang="",
            kind="html",
            ordinal=ordinal,
            embedding_key=hashlib.blake2b(f"{record.title}\0{text}".encode(), digest_size=16).hexdigest(),
            doc_hash="",
        )


def _pieces(record: Record, embedder: Embedder) -> list[str]:
    room = embedder.max_tokens - SPECIAL_TOKENS - embedder.count(record.title)
    if len(record.text) <= CUT_FROM_CHARS * embedder.max_tokens:
        return [record.text]
    pieces: list[str] = []
    start = end = 0
    for unit in sentences(record.text):
        if end > start and embedder.count(record.text[start : unit.end]) > room:
            pieces.append(record.text[start:end])
            start = unit.start
        end = unit.end
    return [*pieces, record.text[start:]]
