"""Staged parts: durable, found by key, gone after publishing."""

from __future__ import annotations

from collections.abc import Set
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_app.index import staging as module
from ray_app.index.digests import Digests, hexes, words
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


def with_vectors(chunks: list[Chunk], known: Set[int] = frozenset()) -> pa.Table:
    table = to_table(chunks)
    vectors = [None if c.ordinal in known else np.full(4, c.ordinal, "<f2").tobytes() for c in chunks]
    return table.set_column(table.schema.get_field_index("vector"), "vector", pa.array(vectors, pa.binary()))


def found(staging: Staging, *numbers: int) -> dict[str, list[float]]:
    wanted = Digests.of(words([chunk(n).embedding_key for n in numbers]))
    return {
        key: list(vector)
        for keys, vectors in staging.find(wanted)
        for key, vector in zip(hexes(keys), vectors, strict=True)
    }


@pytest.fixture
def staging(tmp_path: Path) -> Staging:
    return Staging(tmp_path, "acme", MODEL)


def test_chunks_come_back_as_they_were_with_what_their_document_is_about() -> None:
    chunks = [chunk(1), chunk(2)]
    table = to_table(chunks, [("MC-707", "MC-101"), ()])
    assert to_chunks(table) == chunks
    assert table.column("products").to_pylist() == [["MC-707", "MC-101"], []]


def test_rows_of_a_run_and_vectors_of_all_runs(staging: Staging, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "READ_ROWS", 1)
    killed, run = staging.new_run(), staging.new_run()
    staging.write(killed, with_vectors([chunk(1)]))
    assert staging.write(run, with_vectors([chunk(1), chunk(2)], known={1})) == 2
    assert [row for table in staging.tables(run) for row in to_chunks(table)] == [chunk(1), chunk(2)]
    assert found(staging, 1, 2, 3) == {chunk(1).embedding_key: [1.0] * 4, chunk(2).embedding_key: [2.0] * 4}
    assert found(staging, 2) == {chunk(2).embedding_key: [2.0] * 4}


def test_a_run_knows_what_was_given_and_what_earlier_runs_have_staged(staging: Staging) -> None:
    staging.write(staging.new_run(), with_vectors([chunk(1), chunk(2)], known={2}))
    known = staging.known(staging.new_run([Digests.of(words([chunk(3).embedding_key]))]))
    assert known.missing([chunk(n).embedding_key for n in (1, 2, 3, 4)]).tolist() == [False, True, False, True]


def test_what_a_run_has_staged_itself_need_not_be_embedded_again_in_it(staging: Staging) -> None:
    run, other = staging.new_run(), staging.new_run()
    assert len(staging.staged(run)) == 0
    staging.write(run, with_vectors([chunk(1), chunk(2), chunk(3)], known={2}))
    staging.write(other, with_vectors([chunk(4)]))
    rejected = to_table([chunk(5)])
    place = rejected.schema.get_field_index("reject")
    staging.write(run, rejected.set_column(place, "reject", pa.array(["too_long"])))
    missing = staging.staged(run).missing([chunk(n).embedding_key for n in range(1, 6)])
    assert missing.tolist() == [False, False, False, True, True]


def test_attempts_are_counted_until_one_is_survived(staging: Staging) -> None:
    run = staging.new_run()
    assert [staging.attempt(run, "a"), staging.attempt(run, "b"), staging.attempt(run, "a")] == [1, 1, 2]
    assert list(staging.tables(run)) == []
    staging.survived(run, "a")
    assert [staging.attempt(run, "a"), staging.attempt(run, "b")] == [1, 2]


def test_another_model_finds_nothing_of_it(staging: Staging, tmp_path: Path) -> None:
    staging.write(staging.new_run(), with_vectors([chunk(1)]))
    other = Staging(tmp_path, "acme", ModelId("some/model", "other", 4))
    assert found(other, 1) == {}
    assert len(other.known(other.new_run())) == 0


def test_half_written_parts_are_not_read_and_clear_removes_all(staging: Staging, tmp_path: Path) -> None:
    run = staging.new_run()
    (next(tmp_path.rglob(run)) / "torn.part").write_bytes(b"PAR1")
    assert list(staging.tables(run)) == []
    staging.clear()
    assert list(tmp_path.iterdir()) == []
    staging.clear()
