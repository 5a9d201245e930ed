from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pytest

from ray_app.index.table import ChunkTable, ChunkWriter, Lookup
from ray_app.records import Chunk

from .conftest import chunk, digest


def write(path: Path, *batches: list[Chunk]) -> ChunkTable:
    with ChunkWriter(path) as writer:
        for batch in batches:
            writer.append(batch)
    return ChunkTable(path)


def test_chunks_come_back_whole_and_in_order(tmp_path: Path) -> None:
    chunks = [chunk(text) for text in ("one", "שלום 電源 \0", "", "four", "five")]
    table = write(tmp_path / "c.arrow", chunks[:2], chunks[2:3], chunks[3:])
    assert len(table) == 5
    assert list(table) == chunks
    assert [table[i] for i in range(5)] == chunks
    assert table.column("chunk_id") == [c.chunk_id for c in chunks]
    assert [table.by_id.get(c.chunk_id) for c in chunks] == list(range(5))


def test_positions_outside_are_refused(tmp_path: Path) -> None:
    table = write(tmp_path / "c.arrow", [chunk("one")])
    for at in (-1, 1):
        with pytest.raises(IndexError):
            table[at]


def test_no_chunks(tmp_path: Path) -> None:
    table = write(tmp_path / "c.arrow")
    assert (len(table), list(table), table.by_id.get(digest("x"))) == (0, [], None)


def test_other_columns_are_refused(tmp_path: Path) -> None:
    table = pa.table({"a": [1]})
    with pa.OSFile(str(tmp_path / "c.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write(table)
    with pytest.raises(ValueError, match="other columns"):
        ChunkTable(tmp_path / "c.arrow")


def test_lookup_finds_the_first_of_equals_and_nothing_else() -> None:
    digests = [digest(str(i)) for i in range(200)]
    lookup = Lookup([*digests, digests[7]])
    assert [lookup.get(d) for d in digests] == list(range(200))
    for unknown in (digest("other"), "", "z", digests[0] + "0", digests[0][:-1], "\ud800"):
        assert lookup.get(unknown) is None
