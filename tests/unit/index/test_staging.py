"""Staged parts: durable, found by key, gone after publishing."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_app.index.staging import Staging, to_chunks, to_table
from ray_app.records import Chunk, ModelId

MODEL = ModelId("some/model", "abcdef0123456789", 4)


def chunk(number: int) -> Chunk:
    return Chunk(
        chunk_id=f"{number:032x}",
        brand="acme",
        url=f"http://a/{number}",
        title="Title",
        section=("One", "Two"),
        anchor="#x",
        text="Text",
        lang="en",
        kind="html",
        ordinal=number,
        embedding_key=f"{number + 100:032x}",
        doc_hash="d" * 32,
    )


def with_vectors(chunks: list[Chunk], known: set[int] = frozenset()) -> pa.Table:  # type: ignore[assignment]
    table = to_table(chunks)
    vectors = [None if c.ordinal in known else np.full(4, c.ordinal, "<f2").tobytes() for c in chunks]
    return table.set_column(table.schema.get_field_index("vector"), "vector", pa.array(vectors, pa.binary()))


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path, "acme", MODEL)


def test_chunks_come_back_as_they_were() -> None:
    chunks = [chunk(1), chunk(2)]
    assert to_chunks(to_table(chunks)) == chunks


def test_chunks_of_a_run_and_vectors_of_all_runs(staging: Staging) -> None:
    killed, run = staging.new_run([]), staging.new_run([])
    staging.write(killed, with_vectors([chunk(1)]))
    assert staging.write(run, with_vectors([chunk(1), chunk(2)], known={1})) == 2
    assert list(staging.chunks(run)) == [chunk(1), chunk(2)]
    vectors = staging.vectors()
    assert {key: list(vector) for key, vector in vectors.items()} == {
        chunk(1).embedding_key: [1.0] * 4,
        chunk(2).embedding_key: [2.0] * 4,
    }


def test_what_need_not_be_embedded_travels_with_the_run(staging: Staging) -> None:
    keys = [chunk(1).embedding_key, chunk(2).embedding_key]
    assert staging.known(staging.new_run(keys)) == keys
    assert staging.known(staging.new_run([])) == []


def test_another_model_finds_nothing_of_it(staging: Staging, tmp_path: Path) -> None:
    staging.write(staging.new_run([]), with_vectors([chunk(1)]))
    assert Staging(tmp_path, "acme", ModelId("some/model", "other", 4)).vectors() == {}


def test_half_written_parts_are_not_read_and_clear_removes_all(staging: Staging, tmp_path: Path) -> None:
    run = staging.new_run([])
    (next(tmp_path.rglob(run)) / "torn.part").write_bytes(b"PAR1")
    assert list(staging.chunks(run)) == []
    staging.clear()
    assert list(tmp_path.iterdir()) == []
    staging.clear()
