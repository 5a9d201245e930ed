from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest

from ray_app.errors import BadVector, ModelMismatch
from ray_app.index import build as module
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_names, generation_path
from ray_app.index.manifest import MANIFEST
from ray_app.records import Chunk

from .conftest import MODEL, NOW, Build, chunk, digest, vectors_of


def test_the_manifest_tells_what_was_built(root: Path, build: Build) -> None:
    manifest = build(["a", "b"], parent="earlier", chunker_version="7")
    assert manifest == Generation.open(generation_path(root, "acme", manifest.generation)).manifest
    assert (manifest.brand, manifest.chunks, manifest.documents, manifest.model) == ("acme", 2, 1, MODEL)
    assert (manifest.parent, manifest.chunker_version, manifest.created_at) == ("earlier", "7", NOW)
    assert build(["c"]).corpus_hash == manifest.corpus_hash
    assert build(["c"], documents=[]).corpus_hash != manifest.corpus_hash
    assert build(["c"], corpus_hash="given").corpus_hash == "given"


def test_a_chunk_that_comes_twice_is_kept_once(root: Path, build: Build) -> None:
    manifest = build(["a", "b", "a"])
    assert manifest.chunks == 2
    assert [c.text for c in Generation.open(generation_path(root, "acme", manifest.generation)).chunks()] == ["a", "b"]


def test_chunks_of_each_document_are_counted(root: Path, build: Build) -> None:
    one, two = "https://acme.example/1", "https://acme.example/2"
    chunks = [chunk("a", url=one), chunk("b", url=two), chunk("c", url=one)]
    documents = [(one, "x"), (two, "y"), ("https://acme.example/empty", "z", 99)]
    manifest = build([], chunks=chunks, documents=documents)
    path = generation_path(root, "acme", manifest.generation)
    assert pq.read_table(path / "documents.parquet").column("chunks").to_pylist() == [2, 1, 0]


@pytest.mark.parametrize("n", [0, 1, 5])
def test_batches_do_not_show(root: Path, build: Build, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    texts = [f"text {i}" for i in range(n)]
    opened = Generation.open(generation_path(root, "acme", build(texts, documents=[]).generation))
    assert [c.text for c in opened.chunks()] == texts
    assert [opened.index_of(chunk(t).chunk_id) for t in texts] == list(range(n))
    assert opened.dense(vectors_of([digest("text 0")])[0], 3)[0].size == min(n, 3)
    assert opened.keywords.search(["text"], 9)[0].size == n


def test_chunks_are_pulled_as_they_are_stored(build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    """Memory does not grow with the corpus: no more than a batch is ahead of what was stored."""
    monkeypatch.setattr(module, "BATCH", 10)
    pulled, ahead = 0, []

    def chunks() -> Iterator[Chunk]:
        nonlocal pulled
        for i in range(100):
            pulled += 1
            yield chunk(str(i))

    def vector_of(keys: Sequence[str]) -> Any:
        ahead.append(pulled)
        return vectors_of(keys)

    build([], chunks=chunks(), vector_of=vector_of)
    assert ahead == list(range(10, 101, 10))


@pytest.mark.parametrize(
    ("vector_of", "error"),
    [
        (lambda keys: vectors_of(keys, 9), ModelMismatch),
        (lambda keys: np.full((len(keys), 8), np.nan), BadVector),
        (lambda keys: np.zeros((len(keys), 8)), BadVector),
    ],
)
def test_bad_vectors_leave_nothing_behind(root: Path, build: Build, vector_of: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        build(["a"], vector_of=vector_of)
    assert list((root / "acme").iterdir()) == []


class Killed(BaseException):
    """Nothing of ours catches it."""


def test_a_build_killed_at_any_step_leaves_no_generation(
    root: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Steps are every fsync and the rename. A process that is killed does not clean up, either."""
    monkeypatch.setattr(module.shutil, "rmtree", lambda *_, **__: None)
    fsync, replace = os.fsync, Path.replace
    left = 0

    def step() -> None:
        nonlocal left
        left -= 1
        if left < 0:
            raise Killed

    def counted_fsync(fd: int) -> None:
        step()
        fsync(fd)

    def counted_replace(self: Path, target: Path) -> Path:
        step()
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", counted_fsync)
    monkeypatch.setattr(Path, "replace", counted_replace)
    for survived in range(100):
        left = survived
        before = generation_names(root, "acme")
        try:
            name = build(["a", "b"]).generation
        except Killed:
            new = set(generation_names(root, "acme")) - set(before)
            assert all(Generation.open(generation_path(root, "acme", n)) for n in new)
            continue
        assert generation_names(root, "acme")[-1:] == [name] or name in generation_names(root, "acme")
        break
    assert survived > 12  # ten files, the folders, the manifest


def test_every_file_is_durable_before_the_manifest_appears(
    root: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[str] = []
    fsync, replace = os.fsync, Path.replace

    def noted(fd: int) -> None:
        synced.append(str(Path(f"/proc/self/fd/{fd}").readlink()))
        fsync(fd)

    def checked(self: Path, target: Path) -> Path:
        folder = target.parent
        must = {str(p) for p in folder.rglob("*") if p.name != MANIFEST} | {
            str(p) for p in (folder, folder.parent, root)
        }
        assert target.name == MANIFEST
        assert must <= set(synced)
        synced.clear()
        return replace(self, target)

    monkeypatch.setattr(os, "fsync", noted)
    monkeypatch.setattr(Path, "replace", checked)
    name = build(["a"]).generation
    assert synced == [str(root / "acme" / name)]  # the rename itself
