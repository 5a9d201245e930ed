"""What an index costs as it grows: building, updating 1 % of it, memory, and searching.

python benchmarks/growth.py PASSAGES.jsonl.gz [--sizes 10000 100000 1000000] [--folder DIR]

Each size runs in a process of its own. Chunks are made of the passages: repeated as often as it takes, with shuffled
sentences and some words replaced, ten to a document. Their vectors are derived, not embedded: a direction for each
passage and some noise. Everything else is the product's: staged parts are read, tokenised, merged, written, hashed and
published by BrandIndexer with a real SQLite; searches run through the Retriever as questions do, both searches side by
side. Memory is what is anonymous: mapped files are left out, for the system drops them when it needs the room.
"""

from __future__ import annotations

import argparse
import asyncio
import gzip
import hashlib
import json
import random
import re
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray
from sqlalchemy import insert, update

from ray_app.answer.retrieve import Retriever
from ray_app.answer.understand import Ask, understand
from ray_app.config import load
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_path
from ray_app.index.reader import open_checked
from ray_app.index.staging import to_table
from ray_app.ingest import indexing
from ray_app.ingest.indexing import BrandIndexer
from ray_app.ingest.stages import EmbedOrder
from ray_app.records import Chunk, ModelId, Question
from ray_app.store.lease import Lease
from ray_app.store.schema import urls
from ray_app.store.stores import Stores, stores
from ray_app.testing.fakes import HashEmbedder

BRAND = "growth"
MODEL = ModelId("derived", "1", 384)
PER_DOCUMENT = 10
CHANGED = 0.01
ROWS = 4_096  # of a staged part
QUERIES = 200
NOISE = 0.6  # length of the noise beside the passage's own direction
SENTENCE = re.compile(r"(?<=[.!?])\s+")


class Corpus:
    """Chunks made of passages, the same for the same number every time."""

    def __init__(self, path: Path) -> None:
        with gzip.open(path, "rt", encoding="utf-8") as lines:
            passages = [json.loads(line) for line in lines]
        self._titles = [p["title"] for p in passages]
        self._texts = [p["text"] for p in passages]

    def text(self, number: int, version: int) -> tuple[str, str]:
        """Title and text of a chunk."""
        passage, turn = number % len(self._texts), number // len(self._texts)
        text = self._texts[passage]
        if turn or version:
            draw = random.Random(f"{number}/{version}")
            sentences = SENTENCE.split(text)
            draw.shuffle(sentences)
            words = " ".join(sentences).split()
            for at in draw.sample(range(len(words)), len(words) // 20):
                words[at] = f"{words[at]}{draw.randrange(50_000)}"
            text = " ".join(words)
        return self._titles[passage], text

    def vectors(self, numbers: Sequence[int], version: int) -> NDArray[np.float16]:
        """Rows (n, 384) of length 1."""
        rows = np.stack([self._vector(number, version) for number in numbers])
        return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float16)

    def _vector(self, number: int, version: int) -> NDArray[np.float32]:
        own = np.random.default_rng(number % len(self._texts)).standard_normal(MODEL.dim, np.float32)
        noise = np.random.default_rng((number, version, 1)).standard_normal(MODEL.dim, np.float32)
        return own + NOISE * noise

    def question(self, draw: random.Random) -> str:
        """Some words of a passage, in their order."""
        words = re.findall(r"[^\W\d_]{2,}", draw.choice(self._texts))
        start = draw.randrange(max(1, len(words) - 12))
        return " ".join(words[start : start + draw.randint(4, 12)]) or self.question(draw)

    def chunks(self, document: int, version: int) -> list[Chunk]:
        """Of one document."""
        found = []
        for ordinal in range(PER_DOCUMENT):
            number = document * PER_DOCUMENT + ordinal
            title, text = self.text(number, version)
            key = hashlib.blake2b(f"{number}/{version}".encode(), digest_size=16).hexdigest()
            place = {"url": url_of(document), "section": (title,), "anchor": f"#{ordinal}", "ordinal": ordinal}
            kind = {"brand": BRAND, "title": title, "lang": "en", "kind": "html", "doc_hash": ""}
            found.append(Chunk(chunk_id=key, text=text, embedding_key=key, **place, **kind))
        return found


def url_of(document: int) -> str:
    return f"https://growth.example/{document:07}"


class Runner:
    """Stages what embedding workers would stage. ``seconds`` is not counted as the index's time."""

    def __init__(self, corpus: Corpus) -> None:
        self._corpus = corpus
        self.version = 0
        self.seconds = 0.0

    def __call__(self, order: EmbedOrder) -> Mapping[str, int]:
        started = time.perf_counter()
        documents = [int(d.url.rpartition("/")[2]) for d in order.documents]
        step = ROWS // PER_DOCUMENT
        for start in range(0, len(documents), step):
            order.staging.write(order.run, self._table(documents[start : start + step]))
        self.seconds += time.perf_counter() - started
        return {}

    def _table(self, documents: Sequence[int]) -> pa.Table:
        table = to_table([chunk for d in documents for chunk in self._corpus.chunks(d, self.version)])
        numbers = [d * PER_DOCUMENT + i for d in documents for i in range(PER_DOCUMENT)]
        column = pa.array([row.tobytes() for row in self._corpus.vectors(numbers, self.version)], pa.binary())
        return table.set_column(table.schema.get_field_index("vector"), "vector", column)


class Memory:
    """The highest anonymous memory of this process while it runs, in MB, above what it was at the start."""

    def __enter__(self) -> Memory:
        self._base = self.peak = _anonymous()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._watch, daemon=True)
        self._thread.start()
        return self

    def _watch(self) -> None:
        while not self._over.wait(0.05):
            self.peak = max(self.peak, _anonymous())

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self._thread.join()
        self.peak = max(self.peak, _anonymous()) - self._base


def _anonymous() -> float:
    status = Path("/proc/self/status").read_text(encoding="ascii")
    return int(status.partition("RssAnon:")[2].split()[0]) / 1024


def record(opened: Stores, documents: int) -> None:
    """Rows of the ledger, as a crawl leaves them."""
    fields = {"brand": BRAND, "state": "fetched", "reason": "ok", "cycle_done": 1, "page_part": "p", "page_row": 0}
    with opened.db.write() as conn:
        for start in range(0, documents, 500):
            numbers = range(start, min(start + 500, documents))
            conn.execute(insert(urls), [{**fields, "url": url_of(n), "content_hash": f"{n}/0"} for n in numbers])


def change(opened: Stores, documents: int) -> int:
    """New texts for a share of the documents, spread over all."""
    numbers = range(0, documents, round(1 / CHANGED))
    with opened.db.write() as conn:
        for n in numbers:
            conn.execute(update(urls).where(urls.c.url == url_of(n)).values(content_hash=f"{n}/1"))
    return len(numbers)


def timed(work: Callable[[], Any], runner: Runner) -> float:
    """Seconds, without those of the runner."""
    before, started = runner.seconds, time.perf_counter()
    work()
    return time.perf_counter() - started - (runner.seconds - before)


def one_size(size: int, passages: Path, folder: Path) -> dict[str, float]:
    """All figures of one size."""
    settings = load(data_dir=folder)
    indexing.model_id = lambda _: MODEL  # type: ignore[assignment]
    corpus, documents = Corpus(passages), size // PER_DOCUMENT
    runner, found = Runner(corpus), {"chunks": float(size)}
    with stores(settings) as opened:
        opened.catalog.save_brand(BRAND, {})
        record(opened, documents)
        indexer = BrandIndexer(settings, opened, runner)
        with Lease(opened.ledger, BRAND, label="growth", ttl_s=600) as lease:
            with Memory() as memory:
                found["build_s"] = timed(lambda: indexer.index(BRAND, lease), runner)
            found["build_mb"] = memory.peak
            change(opened, documents)
            runner.version = 1
            with Memory() as memory:
                found["update_s"] = timed(lambda: indexer.index(BRAND, lease), runner)
            found["update_mb"] = memory.peak
        found["update_share"] = found["update_s"] / found["build_s"]
        live = opened.catalog.live(BRAND)
        assert live
        path = generation_path(opened.index_root, BRAND, live)
        found["files_mb"] = sum(p.stat().st_size for p in path.rglob("*") if p.is_file()) / 2**20
        found |= search(path, corpus)
    return found


class DerivedEmbedder(HashEmbedder):
    """Gives each question the vector of some chunk, a little off."""

    def __init__(self, corpus: Corpus) -> None:
        super().__init__(MODEL.dim)
        self.model = MODEL
        self._corpus = corpus

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        numbers = [random.Random(text).randrange(10**6) for text in texts]
        return self._corpus.vectors(numbers, 2).astype(np.float32)


@dataclass(frozen=True)
class OneBrand:
    """An index with one generation."""

    generation: Generation

    def get(self, brand: str) -> Generation:
        return self.generation

    def brands(self) -> list[str]:
        return [BRAND]

    def in_store(self, brand: str, generation: str) -> bool:
        return True


def search(path: Path, corpus: Corpus) -> dict[str, float]:
    """Opening, and questions one after the other; their vectors are not counted."""
    draw = random.Random(7)
    asked = [Question(corpus.question(draw), brand=BRAND) for _ in range(QUERIES)]
    questions = [understand(question, max_chars=4_000) for question in asked]
    with Memory() as memory:
        started = time.perf_counter()
        live = open_checked(path)
        opened_s = time.perf_counter() - started
        retriever = Retriever(OneBrand(live), DerivedEmbedder(corpus), load())
        times = asyncio.run(_ask(retriever, questions))
    return {
        "open_s": opened_s,
        "search_p50_ms": statistics.median(times),
        "search_p95_ms": sorted(times)[int(0.95 * len(times))],
        "replica_mb": memory.peak,
    }


async def _ask(retriever: Retriever, questions: Sequence[Ask]) -> list[float]:
    """Milliseconds of each question in both searches."""
    opened = retriever.open(BRAND)
    return [(await retriever.search(ask, opened)).timings_ms["retrieve"] for ask in questions]


def rows(sizes: Sequence[int], passages: Path, folder: Path) -> Iterator[dict[str, float]]:
    """The figures of each size, from a process of its own."""
    for size in sizes:
        with tempfile.TemporaryDirectory(dir=folder) as work:
            command = [sys.executable, __file__, str(passages), "--one", str(size), "--folder", work]
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True)
            yield json.loads(done.stdout.splitlines()[-1])


def main() -> None:
    """Print a table, one column per size."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("passages", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    parser.add_argument("--folder", type=Path, default=Path(tempfile.gettempdir()))
    parser.add_argument("--one", type=int, help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.one:
        print(json.dumps(one_size(arguments.one, arguments.passages, arguments.folder)))
        return
    free = shutil.disk_usage(arguments.folder).free / 2**30
    print(f"{free:.0f} GB free; soft limit of files {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}", file=sys.stderr)
    for found in rows(arguments.sizes, arguments.passages, arguments.folder):
        print(
            "  ".join(f"{name} {value:,.3f}" if value < 10 else f"{name} {value:,.0f}" for name, value in found.items())
        )


if __name__ == "__main__":
    main()
