"""Asks every brand again and again, as a replica does, while publishers die. Ends with 1 when an answer is not whole.

Writes one line for each generation that it comes to serve: BRAND GENERATION CORPUS-HASH. Lives until standard input
ends, and then writes how many questions it has asked.
"""

from __future__ import annotations

import sys
import threading
import time

import numpy as np
from index_corpus import COMMON, QUERIES

from ray_app.config import load
from ray_app.index.depot import open_depot
from ray_app.index.generation import Generation
from ray_app.index.reader import IndexReader
from ray_app.index.tokens import tokenise
from ray_app.store.stores import stores

PAUSE_S = 0.05  # between rounds through the brands: the machine is small, and others work on it


def ask(generation: Generation) -> None:
    """Every kind of question. Raises AssertionError, and whatever a damaged file raises."""
    size = len(generation)
    for query in QUERIES:
        rows, _ = generation.keywords.search(tokenise(query), 10)
        assert all(generation.chunk(int(row)).brand == generation.manifest.brand for row in rows)
    rows, _ = generation.keywords.search(tokenise(COMMON), 10)
    assert all(generation.chunk(int(row)).text == COMMON for row in rows), "words lead to other texts"
    middle = size // 2
    found, cosines = generation.dense(generation.vectors[middle].astype(np.float32), 5)
    assert len(found) == 5 and abs(float(cosines[0]) - 1) < 0.01, "a vector does not find itself"
    chunk = generation.chunk(middle)
    assert generation.index_of(chunk.chunk_id) == middle
    assert generation.keys.row(chunk.embedding_key) is not None
    assert generation.documents()[chunk.url] == chunk.doc_hash


def main() -> None:
    """See the module."""
    ended = threading.Event()
    threading.Thread(target=lambda: (sys.stdin.read(), ended.set()), daemon=True).start()
    settings, asked, served = load(), 0, dict[str, str]()
    with stores(settings) as opened:
        reader = IndexReader(opened.catalog, open_depot(settings))
        while not ended.is_set():
            reader.refresh()
            assert not reader.damaged, reader.damaged
            for brand in reader.brands():
                generation = reader.get(brand)
                if served.get(brand) != generation.name:
                    served[brand] = generation.name
                    print(brand, generation.name, generation.manifest.corpus_hash, flush=True)
                    assert np.isfinite(generation.vectors).all() and len(list(generation.chunks())) == len(generation)
                ask(generation)
                asked += 1
            time.sleep(PAUSE_S)
    print("asked", asked, flush=True)


if __name__ == "__main__":
    main()
