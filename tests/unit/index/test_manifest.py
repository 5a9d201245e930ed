from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from ray_app.errors import ChecksumMismatch
from ray_app.index.manifest import MANIFEST, FileSum, Manifest, hash_documents, read_manifest, write_manifest

from .conftest import MODEL, NOW

EXAMPLE = Manifest(
    brand="acme",
    generation="20261123T190501Z-ab12cd",
    created_at=NOW,
    model=MODEL,
    chunker_version="1",
    tokeniser_version="1",
    chunks=2,
    documents=1,
    corpus_hash="00",
    parent="",
    files={"vectors.npy": FileSum("ff", 3)},
)


def test_it_comes_back_as_it_was_written(tmp_path: Path) -> None:
    write_manifest(tmp_path, EXAMPLE)
    assert read_manifest(tmp_path) == EXAMPLE
    assert [p.name for p in tmp_path.iterdir()] == [MANIFEST]


def test_altered_bytes_are_noticed(tmp_path: Path) -> None:
    write_manifest(tmp_path, EXAMPLE)
    whole = (tmp_path / MANIFEST).read_bytes()
    for at in range(0, len(whole), 5):
        altered = bytes((*whole[:at], whole[at] ^ 1, *whole[at + 1 :]))
        (tmp_path / MANIFEST).write_bytes(altered)
        if json.loads(whole) != _parsed(altered):
            with pytest.raises(ChecksumMismatch):
                read_manifest(tmp_path)


def _parsed(content: bytes) -> object:
    try:
        return json.loads(content)
    except ValueError:
        return None


@pytest.mark.parametrize("content", [b"", b"{", b"[]", b"null", b"{}", b'{"checksum": 1}', b"\xff\xfe"])
def test_a_torn_one_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / MANIFEST).write_bytes(content)
    with pytest.raises(ChecksumMismatch, match=tmp_path.name):
        read_manifest(tmp_path)


def test_truncations_are_noticed(tmp_path: Path) -> None:
    write_manifest(tmp_path, EXAMPLE)
    whole = (tmp_path / MANIFEST).read_bytes()
    for length in range(0, len(whole), 9):
        (tmp_path / MANIFEST).write_bytes(whole[:length])
        with pytest.raises(ChecksumMismatch):
            read_manifest(tmp_path)


def test_a_missing_one_is_refused(tmp_path: Path) -> None:
    with pytest.raises(ChecksumMismatch):
        read_manifest(tmp_path)


def test_the_corpus_hash_depends_on_documents_and_not_on_their_order() -> None:
    one, two = ("https://a/1", "x"), ("https://a/2", "y")
    assert hash_documents([one, two]) == hash_documents([two, one])
    assert hash_documents([one]) != hash_documents([one, two]) != hash_documents([one, ("https://a/2", "z")])


def test_the_summary_is_what_the_catalog_keeps() -> None:
    expected = {"chunks": 5, "documents": 1, "model": "toy@r1", "created_at": NOW}
    assert replace(EXAMPLE, chunks=5).summary() == expected
