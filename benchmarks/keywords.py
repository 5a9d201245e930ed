"""Our keyword index against bm25s and rank-bm25: build and query, the same tokens given to all.

python benchmarks/keywords.py PASSAGES.jsonl.gz [--sizes 10000 50000 200000] [--queries 200] [--k 100]

Needs the extra `bench`. PASSAGES has one {"title", "text"} per line; for sizes beyond it, passages are taken again with
their halves exchanged and every twentieth word changed. Queries are three to eight words that follow one another in a
passage. bm25s has its method "robertson", whose scores are those of rank-bm25 but for a constant and for words of over
half of the documents; queries with such words are left out. Its filter is a weight mask. Ours and each of its two
backends alternate query by query.
"""

from __future__ import annotations

import argparse
import gzip
import json
import random
import shutil
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import bm25s
import numpy as np
from rank_bm25 import BM25Okapi

from ray_app.index.keywords import KeywordIndex
from ray_app.index.postings import Run, RunWriter, merge
from ray_app.index.tokens import tokenise

K1, B = 1.2, 0.75
RANK_BM25_UP_TO = 50_000  # documents; at more it takes minutes and gigabytes
RANK_BM25_QUERIES = 5

Corpus = list[list[str]]
Runs = list[tuple[Run, np.ndarray]]


def corpus(path: Path, size: int) -> Corpus:
    """Tokens of ``size`` documents."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        records = [json.loads(line) for line in lines]
    chance = random.Random(7)
    if size <= len(records):
        records = chance.sample(records, size)
    documents = [tokenise(f"{record['title']}\n{record['text']}") for record in records]
    return documents + [changed(chance.choice(documents), i, chance) for i in range(size - len(documents))]


def changed(tokens: list[str], number: int, chance: random.Random) -> list[str]:
    """Another passage about the same."""
    middle = chance.randrange(len(tokens) + 1)
    tokens = tokens[middle:] + tokens[:middle]
    for at in range(chance.randrange(20), len(tokens), 20):
        tokens[at] += f"x{number % 50}"
    return tokens


def queries(documents: Corpus, count: int, index: KeywordIndex) -> list[list[str]]:
    """Each word once, none in half of the documents."""
    chance, found = random.Random(7), []
    while len(found) < count:
        tokens, words = chance.choice(documents), chance.randint(3, 8)
        start = chance.randrange(max(1, len(tokens) - words))
        query = list(dict.fromkeys(tokens[start : start + words]))
        if len(query) > 2 and all(index.df(word) < len(documents) // 2 for word in query):
            found.append(query)
    return found


def placed(runs: list[Run], first: int) -> Runs:
    """Runs whose rows follow one another from ``first``."""
    maps = []
    for run in runs:
        maps.append((run, np.arange(first, first + len(run), dtype=np.int32)))
        first += len(run)
    return maps


def ours(documents: Corpus, folder: Path) -> KeywordIndex:
    """Build through files, as a generation does."""
    (folder / "runs").mkdir(parents=True)
    writer = RunWriter(folder / "runs")
    writer.add(documents)
    merge(placed(writer.close(), 0), len(documents), folder, K1, B)
    return KeywordIndex.open(folder)


def updated(index: KeywordIndex, documents: Corpus, folder: Path) -> None:
    """The first per cent of the documents goes, as many others come."""
    (folder / "runs").mkdir(parents=True)
    changes = len(documents) // 100
    kept = np.arange(-changes, len(documents) - changes, dtype=np.int32)
    kept[:changes] = -1
    writer = RunWriter(folder / "runs")
    writer.add(documents[:changes])
    merge([(index.as_run(), kept), *placed(writer.close(), len(documents) - changes)], len(documents), folder, K1, B)


def peer(documents: Corpus) -> bm25s.BM25:
    """Build."""
    model = bm25s.BM25(k1=K1, b=B, method="robertson")
    model.index(documents, show_progress=False)
    return model


def with_numba(model: bm25s.BM25) -> bm25s.BM25:
    """The same index, searched with its other backend."""
    other = bm25s.BM25(k1=K1, b=B, method="robertson", backend="numba")
    other.scores, other.vocab_dict = model.scores, model.vocab_dict
    other.unique_token_ids_set, other.nonoccurrence_array = model.unique_token_ids_set, None
    return other


def timed(work: Callable[[], object]) -> tuple[float, object]:
    """Seconds, and what came out."""
    started = time.perf_counter()
    result = work()
    return time.perf_counter() - started, result


def check(query: list[str], found: tuple[np.ndarray, np.ndarray], theirs: bm25s.Results) -> None:
    """The same scores at the same places; documents may be exchanged only where scores are the same."""
    scores = theirs.scores[0][theirs.scores[0] > 0] * (K1 + 1)
    np.testing.assert_allclose(found[1], scores, atol=1e-4, err_msg=" ".join(query))
    sure = scores > (scores[-1] if len(scores) else 0) + 1e-4
    assert set(theirs.documents[0][: len(scores)][sure].tolist()) <= set(found[0].tolist()), query


def report(what: str, times: dict[str, list[float]], unit: float, name: str) -> None:
    """Medians, and how many times faster ours is."""
    medians = {side: statistics.median(values) * unit for side, values in times.items() if values}
    own = medians.pop("ours")
    others = "".join(f", {side} {median:.3f} ({median / own:.1f} times)" for side, median in medians.items())
    print(f"  {what}: ours {own:.3f} {name}{others}", flush=True)


def build(documents: Corpus, rounds: int, root: Path) -> tuple[KeywordIndex, bm25s.BM25]:
    """Alternate builds of both sides."""
    times: dict[str, list[float]] = {"ours": [], "bm25s": []}
    update: list[float] = []
    for number in range(rounds):
        folder = root / str(number)
        seconds, index = timed(lambda folder=folder: ours(documents, folder))
        times["ours"].append(seconds)
        update.append(timed(lambda index=index, to=folder / "updated": updated(index, documents, to))[0])
        seconds, model = timed(lambda: peer(documents))
        times["bm25s"].append(seconds)
    report("build", times, 1, "s")
    print(f"  1 % of it exchanged: ours {statistics.median(update):.3f} s")
    return index, model


def query(index: KeywordIndex, model: bm25s.BM25, asked: list[list[str]], k: int) -> None:
    """Alternate both sides query by query; a mask or two ranges of rows for the filter."""
    numba, size = with_numba(model), len(index)
    rows = np.array([[0, size // 4], [size // 2, 3 * size // 4]], np.int64)
    mask = np.zeros(size, np.float32)
    for start, stop in rows:
        mask[start:stop] = 1
    for what, ranges, weights in (("query", None, None), ("query half of the rows", rows, mask)):
        for name, other in (("numpy", model), ("numba", numba)):
            times: dict[str, list[float]] = {"ours": [], f"bm25s {name}": []}
            for words in [asked[0], *asked]:  # the first compiles and maps pages
                seconds, found = timed(lambda q=words, r=ranges: index.search(q, k, r))
                times["ours"].append(seconds)
                seconds, theirs = timed(
                    lambda q=words, w=weights, m=other: m.retrieve([q], k=k, show_progress=False, weight_mask=w)
                )
                times[f"bm25s {name}"].append(seconds)
                check(words, found, theirs)
            report(what, {side: spent[1:] for side, spent in times.items()}, 1000, "ms")


def oracle(documents: Corpus, index: KeywordIndex, asked: list[list[str]], k: int) -> None:
    """rank-bm25 itself: build, scores, and the best of them."""
    seconds, model = timed(lambda: BM25Okapi(documents, k1=K1, b=B))
    times: list[float] = []
    for words in asked[:RANK_BM25_QUERIES]:
        spent, scores = timed(lambda words=words: model.get_scores(words))
        times.append(spent)
        np.testing.assert_allclose(index.scores(words), scores, atol=1e-5, rtol=0)
        np.testing.assert_allclose(index.search(words, k)[1], np.sort(scores[scores > 0])[::-1][:k], atol=1e-5, rtol=0)
    print(f"  rank-bm25: build {seconds:.3f} s, query {1000 * statistics.median(times):.1f} ms, scores equal to 1e-5")


def sizes() -> Iterator[tuple[argparse.Namespace, int]]:
    """The command line."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("passages", type=Path)
    parser.add_argument("--sizes", type=int, nargs="+", default=[10_000, 50_000, 200_000])
    parser.add_argument("--queries", type=int, default=200)
    parser.add_argument("--rounds", type=int, default=3, help="builds of each side")
    parser.add_argument("--k", type=int, default=100)
    arguments = parser.parse_args()
    for size in arguments.sizes:
        yield arguments, size


def main() -> None:
    """Print medians and ratios of each size."""
    for arguments, size in sizes():
        documents = corpus(arguments.passages, size)
        print(f"{size} documents, {sum(map(len, documents))} tokens, k {arguments.k}", flush=True)
        root = Path(tempfile.mkdtemp())
        try:
            index, model = build(documents, arguments.rounds, root)
            asked = queries(documents, arguments.queries, index)
            query(index, model, asked, arguments.k)
            if size <= RANK_BM25_UP_TO:
                oracle(documents, index, asked, arguments.k)
        finally:
            shutil.rmtree(root)


if __name__ == "__main__":
    main()
