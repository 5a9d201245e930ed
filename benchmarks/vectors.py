"""Chroma as we fill and ask it against our exact search over the same vectors: time, recall, and memory at a million.

python benchmarks/vectors.py [--sizes 10000,50000,100000,200000] [--exact 1000000]
                             [--passages FILE] [--vectors FILE.npy]

The vectors are those of --vectors (float16 or float32, rows of length 1, one row a passage; the last 200 rows become
questions), or else are made: 2,000 passages of --passages are embedded with the model of the settings, and each vector
is one of these moved by noise of its own length (cosine .7 to its source), which leaves clusters as the sections of one
manual do. Without --passages clusters are drawn at random. Questions are moved passages of their own, too.
Sides alternate question by question; times are medians and 95th percentiles, and the processor's time of the whole
process beside them, which says more on a machine that does other things, too.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import TypeVar

import numpy as np
import psutil
from numpy.typing import NDArray

from ray_app.config import load
from ray_app.index.chroma import ChromaStore
from ray_app.index.ports import Vectors
from ray_app.index.recall import recall
from ray_app.index.vectors import ExactSearch, VectorWriter, unit_rows

DIM = 384  # of drawn clusters
QUESTIONS = 200
K = 100  # candidates of a question, as retrieval.candidates
NOISE = 1.0  # length of the noise against that of the vector
BLOCK = 20_000
COLLECTION = "bench.vectors"
T = TypeVar("T")


@dataclass
class Side:
    """What one side took and found."""

    seconds: list[float] = field(default_factory=list)
    cpu_seconds: list[float] = field(default_factory=list)
    recall: dict[int, list[float]] = field(default_factory=lambda: {10: [], K: []})

    def times(self) -> str:
        milliseconds = 1000 * np.array(self.seconds)
        cpu = 1000 * np.median(self.cpu_seconds)
        return f"p50 {np.median(milliseconds):6.1f}  p95 {np.percentile(milliseconds, 95):6.1f}  cpu {cpu:5.1f} ms"


def sources(passages: str, n: int) -> Vectors:
    """Vectors of real passages, or random centres."""
    if not passages:
        return unit_rows(np.random.default_rng(1).standard_normal((n, DIM)))
    from ray_app.index.embedder import load_embedder

    with gzip.open(passages, "rt", encoding="utf-8") as lines:
        texts = [json.loads(line)["text"] for line in islice(lines, 0, n * 40, 40)]
    return load_embedder(load().embedding).encode(texts)


def moved(around: Vectors, n: int, seed: int) -> Vectors:
    """``n`` vectors, each one of ``around`` moved by noise."""
    draw = np.random.default_rng(seed)
    noise = unit_rows(draw.standard_normal((n, around.shape[1]), np.float32))
    return unit_rows(around[draw.integers(0, len(around), n)] + NOISE * noise)


def write(path: Path, n: int, around: Vectors) -> None:
    """The vector file of a generation of ``n`` chunks."""
    with VectorWriter(path, around.shape[1]) as writer:
        for start in range(0, n, BLOCK):
            writer.append(moved(around, min(BLOCK, n - start), seed=start + 2))


def mapped(path: Path) -> NDArray[np.float16]:
    return np.asarray(np.load(path, mmap_mode="r"))


def own_megabytes() -> float:
    """Memory of this process without mapped files."""
    memory = psutil.Process().memory_info()
    return (memory.rss - memory.shared) / 2**20


def timed(side: Side, call: Callable[[], T]) -> T:
    started, busy = time.perf_counter(), time.process_time()
    found = call()
    side.seconds.append(time.perf_counter() - started)
    side.cpu_seconds.append(time.process_time() - busy)
    return found


def compare(vectors: NDArray[np.float16], questions: Vectors, folder: Path) -> None:
    """Fill Chroma with ``vectors``, ask both sides every question."""
    size, names = len(vectors), [f"{i:032x}" for i in range(len(vectors))]
    store = ChromaStore(folder)
    started, busy = time.perf_counter(), time.process_time()
    for start in range(0, size, 500):  # as publishing does
        store.upsert(COLLECTION, names[start : start + 500], vectors[start : start + 500].astype(np.float32))
    filled, busy = time.perf_counter() - started, time.process_time() - busy
    search, chroma, exact = ExactSearch(vectors), Side(), Side()
    started = time.perf_counter()
    search.warm()
    warmed = time.perf_counter() - started
    store.query(COLLECTION, questions[0], K)  # opens its index
    for question in questions:
        found = [int(name, 16) for name, _ in timed(chroma, lambda q=question: store.query(COLLECTION, q, K))]
        right = timed(exact, lambda q=question: search.search(q, K))[0].tolist()
        for k, recalls in chroma.recall.items():
            recalls.append(recall(found[:k], right[:k]))
    store.close()
    recalls = "  ".join(f"recall@{k} {np.mean(v):.3f} (worst {min(v):.2f})" for k, v in chroma.recall.items())
    print(f"{size:>9,} chroma {chroma.times()}  {recalls}  filled in {filled:.0f} s, cpu {busy:.0f} s", flush=True)
    print(f"{size:>9,} exact  {exact.times()}  recall 1  ready in {warmed:.2f} s", flush=True)


def alone(vectors: NDArray[np.float16], questions: Vectors) -> None:
    """The exact search at a size that Chroma takes an hour to fill, with and without a filter, checked and weighed."""
    before = own_megabytes()
    search = ExactSearch(vectors)
    search.warm()
    tenth, step = len(vectors) // 10, len(vectors) // 1_000
    half = np.arange(0, 1_000 * step, step)
    filters = {
        "all rows": None,
        "a tenth": np.array([[tenth, 2 * tenth]]),
        "half, in 1,000 ranges": np.stack([half, half + step // 2], axis=1),
    }
    for name, rows in filters.items():
        side = Side()
        for question in questions:
            timed(side, lambda q=question, r=rows: search.search(q, K, r))
        print(f"{len(vectors):>9,} exact  {side.times()}  {name}", flush=True)
    for question in questions[:5]:
        assert search.search(question, K)[0].tolist() == search.exhaustive(question, K)[0].tolist()
    print(f"{len(vectors):>9,} exact  {own_megabytes() - before:.0f} MB beyond the mapped file", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sizes", default="10000,50000,100000,200000", help="where both sides are measured")
    parser.add_argument("--exact", type=int, default=1_000_000, help="where only the exact search is")
    parser.add_argument("--passages", default="", help="JSON lines, gzipped, each with a text")
    parser.add_argument("--sources", type=int, default=2_000, help="passages or centres that vectors are made from")
    parser.add_argument("--vectors", default="", help=".npy of real vectors, in place of made ones")
    given = parser.parse_args()
    print(f"{os.cpu_count()} CPUs, top {K}, {QUESTIONS} questions", flush=True)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        if given.vectors:
            real = np.load(given.vectors, mmap_mode="r")
            questions = unit_rows(real[-QUESTIONS:])
        else:
            around = sources(given.passages, given.sources)
            questions = moved(around, QUESTIONS, seed=1)
        if given.exact and not given.vectors:
            write(root / "v.npy", given.exact, around)
            alone(mapped(root / "v.npy"), questions)
        for size in (int(one) for one in given.sizes.split(",") if one):
            if given.vectors:
                with VectorWriter(root / "v.npy", real.shape[1]) as writer:
                    writer.append(unit_rows(real[: min(size, len(real) - QUESTIONS)]))
            else:
                write(root / "v.npy", size, around)
            compare(mapped(root / "v.npy"), questions, root / str(size))


if __name__ == "__main__":
    main()
