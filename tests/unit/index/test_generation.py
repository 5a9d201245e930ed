from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_app.config import IndexSettings
from ray_app.errors import ChecksumMismatch, ModelMismatch
from ray_app.index.build import Recipe, Sources, write_generation
from ray_app.index.digests import words
from ray_app.index.generation import Generation
from ray_app.index.keywords import tokenise
from ray_app.index.layout import generation_path, remove_generation
from ray_app.index.manifest import MANIFEST
from ray_app.index.rows import Rows
from ray_app.index.staging import to_table
from ray_app.records import Chunk

from .conftest import MODEL, NOW, Build, chunk, digest, vectors_of

TEXTS = ["Reset the MC-707", "Clean the filter", "Export a report", "Pay a refund", "Connect port 2"]


@pytest.fixture
def path(root: Path, build: Build) -> Path:
    return generation_path(root, "acme", build(TEXTS).generation)


def test_what_was_built_is_what_is_read(path: Path) -> None:
    opened = Generation.open(path)
    expected = [chunk(text) for text in TEXTS]
    assert len(opened) == 5
    assert opened.name == path.name
    assert list(opened.chunks()) == expected
    assert [opened.chunk(i) for i in range(5)] == expected
    assert opened.chunk_ids() == [c.chunk_id for c in expected]
    assert opened.keys.rows_of(words([c.embedding_key for c in expected])).tolist() == [0, 1, 2, 3, 4]
    assert opened.documents() == {"https://acme.example/a": digest("doc")}
    assert [opened.index_of(c.chunk_id) for c in expected] == [0, 1, 2, 3, 4]
    assert opened.index_of(digest("unknown")) is None
    np.testing.assert_allclose(opened.vectors, vectors_of([digest(t) for t in TEXTS]), atol=1e-3)


def test_both_searches_find_the_same_rows(path: Path) -> None:
    opened = Generation.open(path, verify=False)
    for row, text in enumerate(TEXTS):
        found, cosines = opened.dense(vectors_of([digest(text)])[0], 2)
        assert found[0] == row
        assert cosines[0] == pytest.approx(1, abs=2e-3)
        assert opened.keywords.search(tokenise(text), 1)[0].tolist() == [row]
    assert opened.keywords.search(tokenise("manual"), 9)[0].size == 5  # headings are searched, too


def test_a_vector_of_another_model_is_refused(path: Path) -> None:
    with pytest.raises(ModelMismatch):
        Generation.open(path).dense(np.ones(9, np.float32), 1)


def test_it_stays_readable_when_its_files_are_collected(root: Path, path: Path) -> None:
    opened = Generation.open(path)
    remove_generation(root, "acme", path.name)
    assert opened.chunk(4).text == "Connect port 2"
    assert opened.dense(vectors_of([digest(TEXTS[1])])[0], 1)[0].tolist() == [1]
    assert opened.keywords.search(["mc-707"], 1)[0].tolist() == [0]


def files_of(path: Path) -> list[Path]:
    return sorted(p for p in path.rglob("*") if p.is_file() and p.name != MANIFEST)


def test_one_flipped_bit_in_any_file_is_noticed(path: Path) -> None:
    assert len(files_of(path)) == 17
    for file in files_of(path):
        whole = file.read_bytes()
        altered = bytearray(whole)
        altered[len(whole) // 2] ^= 1
        file.write_bytes(altered)
        with pytest.raises(ChecksumMismatch, match=file.name):
            Generation.open(path, verify=True)
        file.write_bytes(whole)
    Generation.open(path, verify=True)


@pytest.mark.parametrize("verify", [True, False])
def test_truncated_and_missing_files_are_noticed_in_any_case(path: Path, verify: bool) -> None:
    for file in files_of(path):
        whole = file.read_bytes()
        file.write_bytes(whole[:-1])
        with pytest.raises(ChecksumMismatch, match=file.name):
            Generation.open(path, verify=verify)
        file.unlink()
        with pytest.raises(ChecksumMismatch, match=r"is missing"):
            Generation.open(path, verify=verify)
        file.write_bytes(whole)


@pytest.mark.parametrize("name", ["vectors.npy", "chunks.arrow", "keywords/idf.npy"])
def test_unreadable_files_of_the_right_size_are_noticed_without_checksums(path: Path, name: str) -> None:
    file = path / name
    file.write_bytes(b"\xff" * file.stat().st_size)
    with pytest.raises(ChecksumMismatch):
        Generation.open(path, verify=False)


def test_a_torn_manifest_is_noticed(path: Path) -> None:
    manifest = path / MANIFEST
    manifest.write_bytes(manifest.read_bytes()[:-20])
    with pytest.raises(ChecksumMismatch):
        Generation.open(path)


def test_a_directory_that_is_not_there(root: Path) -> None:
    with pytest.raises(ChecksumMismatch):
        Generation.open(root / "acme" / "20261123T190501Z-ab12cd")


def test_filters_are_ranges_of_rows(root: Path, build: Build) -> None:
    def documents() -> list[Chunk]:
        langs = {"b": "de", "a": "en", "d": "", "c": "de"}
        return [replace(chunk(f"{url} {i}", url=url), lang=lang) for i in range(2) for url, lang in langs.items()]

    manifest = build([], chunks=documents(), documents=[(url, "") for url in "abcd"])
    opened = Generation.open(generation_path(root, "acme", manifest.generation))
    assert [(c.url, c.text) for c in opened.chunks()] == [(u, f"{u} {i}") for u in "dbca" for i in range(2)]
    assert rows_of(opened.rows()) is None
    assert rows_of(opened.rows(lang="de")) == [[0, 6]]  # with the text whose language nobody knows
    assert rows_of(opened.rows(lang="en")) == [[0, 2], [6, 8]]
    assert rows_of(opened.rows(lang="fr")) == [[0, 2]]


def test_a_product_is_named_as_documents_spell_it(root: Path) -> None:
    tables = []
    for url, products in (("a", ["MC-707", "MC-101"]), ("b", []), ("c", ["Mc-101 "])):
        table = to_table([chunk("one", url=url), chunk("two", url=url)], [products] * 2)
        vectors = pa.array([vectors_of([digest(url)])[0].astype("<f2").tobytes()] * 2, pa.binary())
        tables.append(table.set_column(table.schema.get_field_index("vector"), "vector", vectors))
    sources = Sources([(url, "") for url in "abc"], tables)
    manifest = write_generation(root, "acme", Recipe(MODEL, IndexSettings(), "1"), sources, parent="", now=NOW)
    opened = Generation.open(generation_path(root, "acme", manifest.generation))
    assert [opened.chunk(row).url for row in (0, 2, 4)] == ["b", "c", "a"]  # by the first product
    assert rows_of(opened.rows(product="mc-707")) == [[4, 6]]
    assert rows_of(opened.rows(product="MC-101")) == [[2, 6]]
    assert rows_of(opened.rows(lang="en", product="MC-101")) == [[2, 6]]
    assert rows_of(opened.rows(product="MC-808")) == []


def rows_of(rows: Rows | None) -> list[list[int]] | None:
    return None if rows is None else rows.tolist()
