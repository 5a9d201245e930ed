"""Our keyword index against rank-bm25 itself: the same scores, how many times faster.

python benchmarks/keywords.py [--documents 20000] [--queries 30]
"""

from __future__ import annotations

import argparse
import random
import statistics
import time

import numpy as np
from rank_bm25 import BM25Okapi

from ray_app.index.keywords import KeywordIndex

WORDS = 20_000  # vocabulary; frequencies fall as in natural language
LENGTH = 80  # tokens of a document, as of a chunk


def corpus(documents: int, seed: int) -> list[list[str]]:
    """Documents of words drawn by Zipf's law."""
    draw = np.random.default_rng(seed).zipf(1.3, size=(documents, LENGTH)) % WORDS
    return [[f"w{word}" for word in row] for row in draw]


def main() -> None:
    """Alternate the two sides, print medians and their ratio."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--documents", type=int, default=20_000)
    parser.add_argument("--queries", type=int, default=30)
    arguments = parser.parse_args()
    texts = corpus(arguments.documents, seed=7)
    peer = BM25Okapi(texts, k1=1.2, b=0.75)
    ours = KeywordIndex.build(texts, 1.2, 0.75)
    choose = random.Random(7)
    times: dict[str, list[float]] = {"rank-bm25": [], "ours": []}
    for _ in range(arguments.queries):
        query = choose.sample(choose.choice(texts), 6)
        started = time.perf_counter()
        expected = peer.get_scores(query)
        middle = time.perf_counter()
        scores = ours.scores(query)
        ended = time.perf_counter()
        np.testing.assert_allclose(scores, expected, atol=1e-4)
        times["rank-bm25"].append(1000 * (middle - started))
        times["ours"].append(1000 * (ended - middle))
    medians = {side: statistics.median(values) for side, values in times.items()}
    print(f"{arguments.documents} documents, {arguments.queries} queries of 6 words, equal scores")
    for side, median in medians.items():
        print(f"{side:10} {median:8.3f} ms a query (median)")
    print(f"ratio      {medians['rank-bm25'] / medians['ours']:8.1f}")


if __name__ == "__main__":
    main()
