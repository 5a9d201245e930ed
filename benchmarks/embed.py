"""Our embedding against a plain sentence-transformers loop, and our pipeline against the bare model.

python benchmarks/embed.py SCIFACT [--texts 256] [--rounds 3] [--threads 2] [--documents 1000] [--ray]

SCIFACT is a folder in BEIR's layout. Its documents are cut as ours are, and the same texts given to all sides, which
alternate within one process: `fp32`, SentenceTransformer.encode(texts, batch_size=32); `autocast`, the same loop under
torch.autocast in bf16; `bare`, our embedder alone; `stages`, EmbedStage and staging as a worker runs them. Figures are
medians of the rounds, ratios are of CPU-seconds and of wall-clock time. With --ray the whole run of Ray Data once, its
start included.
The last part ranks --documents documents (0: all), the judged ones among them, in fp32 and in ours.
"""

from __future__ import annotations

import argparse
import json
import random
import statistics
import tempfile
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import torch
from sentence_transformers import SentenceTransformer

from ray_app.config import EmbeddingSettings, load
from ray_app.evaluate.measures import ndcg
from ray_app.index.embedder import SentenceEmbedder
from ray_app.index.models import find_model
from ray_app.index.staging import Staging, to_table
from ray_app.ingest.chunk import Chunker
from ray_app.ingest.stages import CHUNKS_PER_BATCH, EmbedOrder, EmbedStage, stage
from ray_app.records import Chunk, Document, PageRef, Section
from ray_app.store.ledger import StoredDocument
from ray_app.store.pages import PageStore

BATCH = 32  # of the plain loop, the default of sentence-transformers


def documents(folder: Path) -> list[Document]:
    lines = (folder / "corpus.jsonl").read_text(encoding="utf-8").splitlines()
    records = [json.loads(line) for line in lines]
    return [
        Document("scifact", f"https://scifact.example/{record['_id']}", record["title"], "en", "html",
                 (Section((), "", record["text"]),), record["_id"].rjust(32, "0"))
        for record in records
    ]  # fmt: skip


def speed(embedder: SentenceEmbedder, plain: SentenceTransformer, chunks: list[Chunk], rounds: int) -> None:
    texts = [chunk.embedding_text for chunk in chunks]

    def autocast() -> None:
        with torch.autocast("cpu", dtype=torch.bfloat16):
            plain.encode(texts, batch_size=BATCH)

    def bare() -> None:
        for start in range(0, len(texts), CHUNKS_PER_BATCH):
            embedder.encode(texts[start : start + CHUNKS_PER_BATCH])

    def stages() -> None:
        with tempfile.TemporaryDirectory() as folder:
            staging = Staging(Path(folder), "scifact", embedder.model)
            run = staging.new_run()
            embed, table = EmbedStage(embedder, staging.known(run)), to_table(chunks)
            for start in range(0, len(chunks), CHUNKS_PER_BATCH):
                stage(staging, run, embed(table.slice(start, CHUNKS_PER_BATCH)))

    sides: dict[str, Callable[[], object]] = {
        "fp32": lambda: plain.encode(texts, batch_size=BATCH),
        "autocast": autocast,
        "bare": bare,
        "stages": stages,
    }
    seen: dict[str, list[tuple[float, float]]] = defaultdict(list)
    for _ in range(rounds):
        for name, run in sides.items():
            wall, cpu = time.perf_counter(), time.process_time()
            run()
            seen[name].append((time.perf_counter() - wall, time.process_time() - cpu))
    tokens = sum(embedder.counts(texts)) / len(texts)
    print(f"{len(texts)} texts of {tokens:.0f} tokens, {torch.get_num_threads()} threads, {rounds} rounds")
    print("| side | texts/s | CPU-s | times fp32 by CPU | by the clock |\n|---|---|---|---|---|")
    base_wall, base_cpu = (statistics.median(column) for column in zip(*seen["fp32"], strict=True))
    for name, figures in seen.items():
        wall, cpu = (statistics.median(column) for column in zip(*figures, strict=True))
        print(f"| {name} | {len(texts) / wall:.1f} | {cpu:.1f} | {base_cpu / cpu:.2f} | {base_wall / wall:.2f} |")


def whole_run(made: list[Document]) -> None:
    """Everything on a local Ray, from the page store to staged vectors."""
    import ray_app.on_ray  # noqa: F401  # before ray is imported
    from ray_app.index.embedder import model_id
    from ray_app.on_ray.embed_data import embed_documents
    from ray_app.on_ray.session import start_local

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        settings = load(data_dir=Path(folder))
        part = PageStore(settings.data_dir / "pages").write_part("scifact", made)
        stored = [StoredDocument(one.url, one.content_hash, PageRef(part, n), one.title) for n, one in enumerate(made)]
        model = model_id(settings.embedding)
        staging = Staging(settings.data_dir / "staging", "scifact", model)
        start_local(settings, dashboard=False)
        start = time.perf_counter()
        embedded = embed_documents(settings, EmbedOrder("scifact", stored, model, staging, staging.new_run()))
        took, count = time.perf_counter() - start, sum(embedded.values())
        print(f"whole run on Ray: {count} chunks in {took:.1f} s, {count / took:.1f} texts/s, by {embedded}")


def quality(embedder: SentenceEmbedder, plain: SentenceTransformer, folder: Path, made: list[Document], n: int) -> None:
    qrels: dict[str, dict[str, int]] = defaultdict(dict)
    for line in (folder / "qrels.tsv").read_text(encoding="utf-8").splitlines()[1:]:
        query, document, grade = line.split("\t")
        qrels[query][document] = int(grade)
    judged = {document for grades in qrels.values() for document in grades}
    named = {one.url.rsplit("/", 1)[1]: f"{one.title}\n{one.sections[0].text}" for one in made}
    others = sorted(set(named) - judged)
    random.Random(7).shuffle(others)
    ids = sorted(judged & set(named)) + others
    ids = ids[: max(n, len(judged))] if n else ids
    lines = (folder / "queries.jsonl").read_text(encoding="utf-8").splitlines()
    queries = {record["_id"]: record["text"] for record in map(json.loads, lines) if record["_id"] in qrels}
    encoders: dict[str, Callable[[list[str]], Any]] = {
        "fp32": lambda texts: plain.encode(texts, normalize_embeddings=True),
        "ours": embedder.encode,
    }
    means = {}
    for name, encode in encoders.items():
        scores = encode(list(queries.values())) @ encode([named[i] for i in ids]).T
        best = np.argsort(-scores, axis=1)[:, :10]
        ranked = [[ids[place] for place in row] for row in best]
        means[name] = float(np.mean([ndcg(row, qrels[q], 10) for q, row in zip(queries, ranked, strict=True)]))
    print(
        f"nDCG@10, {len(ids)} documents, {len(queries)} questions: fp32 {means['fp32']:.4f}, ours {means['ours']:.4f}"
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--texts", type=int, default=256)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--threads", type=int, default=None)
    parser.add_argument("--documents", type=int, default=1000)
    parser.add_argument("--ray", action="store_true")
    given = parser.parse_args()
    settings = EmbeddingSettings()
    embedder = SentenceEmbedder(settings, given.threads)
    print({key: value for key, value in embedder.describe().items() if key.startswith("precision")})
    plain = SentenceTransformer(str(find_model(settings.model).folder), device="cpu")
    made = documents(given.folder)
    chunker = Chunker(embedder, settings.chunk_tokens, settings.overlap_tokens)
    chunks = [chunk for one in made[: given.texts] for chunk in chunker.chunks(one, embedder.model)][: given.texts]
    speed(embedder, plain, chunks, given.rounds)
    quality(embedder, plain, given.folder, made, given.documents)
    if given.ray:
        whole_run(made[: given.texts])


if __name__ == "__main__":
    main()
