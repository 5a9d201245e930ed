from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_app.config import IndexSettings
from ray_app.errors import BadVector, IndexingError, ModelMismatch
from ray_app.index import build as module
from ray_app.index.build import Recipe, Sources, write_generation
from ray_app.index.digests import Digests, hexes
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_names, generation_path
from ray_app.index.manifest import MANIFEST
from ray_app.index.staging import to_table
from ray_app.records import Chunk

from .conftest import MODEL, NOW, Build, chunk, digest, vectors_of


def test_the_manifest_tells_what_was_built(root: Path, build: Build) -> None:
    manifest = build(["a", "b"], parent="earlier", chunker_version="7")
    assert manifest == Generation.open(generation_path(root, "acme", manifest.generation)).manifest
    assert (manifest.brand, manifest.chunks, manifest.documents, manifest.model) == ("acme", 2, 1, MODEL)
    assert (manifest.parent, manifest.chunker_version, manifest.created_at) == ("earlier", "7", NOW)
    assert build(["c"]).corpus_hash == manifest.corpus_hash
    assert build([], documents=[]).corpus_hash != manifest.corpus_hash
    assert build(["c"], corpus_hash="given").corpus_hash == "given"


def test_a_chunk_that_comes_twice_is_kept_once(root: Path, build: Build) -> None:
    manifest = build(["a", "b", "a"])
    assert manifest.chunks == 2
    assert [c.text for c in Generation.open(generation_path(root, "acme", manifest.generation)).chunks()] == ["a", "b"]


def test_chunks_of_each_document_are_counted(root: Path, build: Build) -> None:
    one, two = "https://acme.example/1", "https://acme.example/2"
    chunks = [chunk("a", url=one), chunk("b", url=two), chunk("c", url=one)]
    documents = [(one, "x"), (two, "y"), ("https://acme.example/empty", "z")]
    manifest = build([], chunks=chunks, documents=documents)
    rows = Generation.open(generation_path(root, "acme", manifest.generation)).document_rows()
    assert {row.url: (row.first, row.chunks) for row in rows} == {
        "https://acme.example/empty": (0, 0),
        one: (0, 2),
        two: (2, 1),
    }


@pytest.mark.parametrize("n", [0, 1, 5])
def test_batches_do_not_show(root: Path, build: Build, monkeypatch: pytest.MonkeyPatch, n: int) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    texts = [f"text {i}" for i in range(n)]
    opened = Generation.open(generation_path(root, "acme", build(texts).generation))
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


def test_a_chunk_of_no_document_is_refused(root: Path, build: Build) -> None:
    with pytest.raises(IndexingError, match="none of the documents"):
        build(["a"], documents=[])


# Updates: what is new is merged with what the live generation holds.

Corpus = dict[str, list[str]]  # texts by URL


def rows_of(corpus: Corpus, lang: Callable[[str], str] = lambda _: "en") -> Iterator[pa.Table]:
    """Staged rows, one table per document, each with its vectors."""
    for url, texts in corpus.items():
        chunks = [replace(chunk(text, url=url), ordinal=i, lang=lang(url)) for i, text in enumerate(texts)]
        yield with_vectors(to_table(chunks), chunks)


def with_vectors(table: pa.Table, chunks: Sequence[Chunk]) -> pa.Table:
    rows = vectors_of([c.embedding_key for c in chunks]).astype("<f2")
    column = pa.array([row.tobytes() for row in rows], pa.binary())
    return table.set_column(table.schema.get_field_index("vector"), "vector", column)


def without_vectors(table: pa.Table) -> pa.Table:
    nothing = pa.nulls(table.num_rows, pa.binary())
    return table.set_column(table.schema.get_field_index("vector"), "vector", nothing)


def write(root: Path, sources: Sources) -> Generation:
    recipe = Recipe(MODEL, IndexSettings(), "1", "toy/model")
    manifest = write_generation(root, "acme", recipe, sources, parent="", now=NOW)
    return Generation.open(generation_path(root, "acme", manifest.generation))


def contents(generation: Generation) -> dict[str, bytes]:
    """Every file of arrays; what Arrow and Parquet write is compared by what is read."""
    files = generation.path.rglob("*.npy")
    return {p.relative_to(generation.path).as_posix(): p.read_bytes() for p in files}


words_of = st.lists(st.sampled_from(["reset", "power", "cable", "MC-707", "filter", "שלום"]), min_size=1, max_size=5)
corpora = st.dictionaries(
    st.sampled_from([f"https://acme.example/{i}" for i in range(6)]),
    st.lists(words_of.map(" ".join), max_size=4, unique=True),
)


@settings(max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(before=corpora, after=corpora, block=st.sampled_from([1, 2, 1_024]))
def test_an_update_comes_to_what_a_full_build_comes_to(
    tmp_path_factory: pytest.TempPathFactory, before: Corpus, after: Corpus, block: int
) -> None:
    """To the last bit, whatever is added, changed and removed, although what stays is copied as arrays."""
    root = tmp_path_factory.mktemp("update")
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(module, "BATCH", block)
        base = write(root, Sources([(url, "") for url in before], rows_of(before)))
        kept = {url for url in after if before.get(url) == after[url]}
        changed = {url: texts for url, texts in after.items() if url not in kept}
        documents = [(url, "") for url in after]
        full = write(root, Sources(documents, rows_of(after)))
        updated = write(root, Sources(documents, rows_of(changed), base, kept))
    assert contents(updated) == contents(full)
    assert list(updated.chunks()) == list(full.chunks())
    assert updated.document_rows() == full.document_rows()


def test_what_is_kept_is_neither_tokenised_nor_looked_up_again(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base = write(root, Sources([("a", ""), ("b", "")], rows_of({"a": ["one"], "b": ["two"]})))
    seen: list[str] = []
    tokenise = module.tokenise
    monkeypatch.setattr(module, "tokenise", lambda text: seen.append(text) or tokenise(text))
    updated = write(root, Sources([("a", ""), ("c", "")], rows_of({"c": ["three"]}), base, {"a"}))
    assert [c.text for c in updated.chunks()] == ["one", "three"]
    assert len(seen) == 1
    assert updated.keywords.search(["two"], 5)[0].size == 0


@pytest.mark.parametrize("first", ["with its vector", "without"])
def test_a_chunk_that_a_restarted_worker_staged_again_has_its_vector(root: Path, first: str) -> None:
    tables = list(rows_of({"a": ["one", "two"]}))
    again = [without_vectors(table) for table in tables]
    opened = write(root, Sources([("a", "")], tables + again if first == "with its vector" else again + tables))
    assert [c.text for c in opened.chunks()] == ["one", "two"]
    np.testing.assert_allclose(opened.vectors, vectors_of([digest("one"), digest("two")]), atol=1e-3)


def test_vectors_come_from_wherever_they_are(root: Path) -> None:
    """From the row, the base, another row of the same text, an earlier run; a key that is nowhere is named."""
    base = write(root, Sources([("a", "")], rows_of({"a": ["held", "gone"]})))
    tables = list(rows_of({"b": ["new"]})) + [
        without_vectors(table) for table in rows_of({"c": ["held", "new", "earlier"], "d": ["earlier"]})
    ]
    wanted: list[str] = []

    def find(keys: Digests) -> Iterator[tuple[Any, Any]]:
        wanted.extend(hexes(keys.words))
        yield keys.words, vectors_of(hexes(keys.words)).astype(np.float16)

    documents = [(url, "") for url in "bcd"]
    opened = write(root, Sources(documents, tables, base, find=find))
    assert wanted == [digest("earlier")]
    expected = vectors_of([c.embedding_key for c in opened.chunks()])
    np.testing.assert_allclose(opened.vectors, expected, atol=1e-3)
    with pytest.raises(IndexingError, match=digest("earlier")):
        write(root, Sources(documents, tables, base))
    assert len(list((root / "acme").iterdir())) == 2
