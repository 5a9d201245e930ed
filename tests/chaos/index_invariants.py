"""What must hold of a brand's index after each publication, whatever was killed on the way."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from index_corpus import QUERIES
from numpy.typing import NDArray

from ray_app.index.depot import LOCK
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_names, generation_path
from ray_app.index.manifest import MANIFEST
from ray_app.index.publish import collection_name
from ray_app.index.tokens import tokenise
from ray_app.records import Chunk
from ray_app.store.rows import UrlRow
from ray_app.store.stores import Stores

# Vectors of length 1 in float16: what differs in the last bit only. Other texts in the same batch change the last bit.
ROUNDING = 2.0**-10
TOP = 20


@dataclass(frozen=True)
class IndexSnapshot:
    """All that a reader could see of the live generation."""

    chunks: list[Chunk]  # in row order
    vectors: NDArray[np.float16]
    documents: dict[str, str]  # content hash by URL
    found: dict[str, list[tuple[str, float]]]  # chunk ids and BM25 scores by query
    corpus_hash: str
    rejects: Mapping[str, int]


def ledger_rows(stores: Stores, brand: str) -> list[UrlRow]:
    """What indexing must leave alone."""
    return list(stores.ledger.urls(brand))


def index_snapshot(stores: Stores, brand: str) -> IndexSnapshot:
    """Read the live generation. Raises ChecksumMismatch, AssertionError."""
    live = stores.catalog.live(brand)
    assert live, "nothing is live"
    generation = Generation.open(generation_path(stores.index_root, brand, live), verify=True)
    ids = generation.chunk_ids()
    found = {}
    for query in QUERIES:
        rows, scores = generation.keywords.search(tokenise(query), TOP)
        found[query] = [(ids[row], round(float(score), 4)) for row, score in zip(rows, scores, strict=True)]
    return IndexSnapshot(
        list(generation.chunks()),
        np.array(generation.vectors),
        generation.documents(),
        found,
        generation.manifest.corpus_hash,
        stores.rejects.counts(brand),
    )


def index_difference(calm: IndexSnapshot, rough: IndexSnapshot) -> list[str]:
    """What an undisturbed run has otherwise, one line each."""
    lines = []
    if [one.chunk_id for one in calm.chunks] != [one.chunk_id for one in rough.chunks]:
        lines.append(f"other chunks or another order: {len(calm.chunks)} undisturbed, {len(rough.chunks)} killed")
    else:
        lines += [f"undisturbed {a}, killed {b}" for a, b in zip(calm.chunks, rough.chunks, strict=True) if a != b]
        apart = np.abs(calm.vectors.astype(np.float32) - rough.vectors.astype(np.float32)).max(axis=1, initial=0)
        lines += [
            f"vector of {calm.chunks[row].chunk_id} differs by {apart[row]}" for row in np.flatnonzero(apart > ROUNDING)
        ]
    for name in ("documents", "found", "corpus_hash", "rejects"):
        if getattr(calm, name) != getattr(rough, name):
            lines.append(f"{name}: undisturbed {getattr(calm, name)}, killed {getattr(rough, name)}"[:2_000])
    return lines


def check_state(stores: Stores, brand: str, held: Mapping[str, Sequence[str]], keep: int) -> None:
    """Whether catalog, directories, vector store and staging agree. ``held``: ids by collection. AssertionError."""
    rows = [row.generation for row in stores.catalog.generations(brand)]
    complete = generation_names(stores.index_root, brand)
    assert set(rows) <= set(complete), f"the catalog knows {set(rows) - set(complete)}, which are not there"
    assert len(rows) <= keep, f"{len(rows)} generations are kept"
    generations = [Generation.open(generation_path(stores.index_root, brand, name), verify=True) for name in rows]
    for one in generations:
        there = {path.relative_to(one.path).as_posix() for path in one.path.rglob("*") if path.is_file()}
        assert there == {*one.manifest.files, MANIFEST}, f"{one.name} has other files than its manifest says"
    wanted: dict[str, set[str]] = {}
    for one in generations:
        wanted.setdefault(collection_name(brand, one.manifest.model), set()).update(one.chunk_ids())
    for name in wanted.keys() | held.keys():
        lacking, surplus = (
            wanted.get(name, set()) - set(held.get(name, ())),
            set(held.get(name, ())) - wanted.get(name, set()),
        )
        assert not lacking and not surplus, (
            f"collection {name}: {len(lacking)} vectors lack, {len(surplus)} are too many"
        )
    left = [path for path in _tree(stores.staging_root / brand) if path.is_file()]
    assert not left, f"{len(left)} staged files are left, {left[0]} among them"


def strangers(stores: Stores, brand: str) -> set[str]:
    """Whatever lies beside the generations that the catalog knows."""
    rows = {row.generation for row in stores.catalog.generations(brand)}
    return {path.name for path in (stores.index_root / brand).iterdir()} - rows - {LOCK}


def _tree(folder: Path) -> list[Path]:
    return sorted(folder.rglob("*")) if folder.is_dir() else []
