from __future__ import annotations

from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_app.index.table import ChunkTable, ChunkWriter
from ray_app.records import Chunk

from .conftest import chunk


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
    taken = pa.Table.from_batches(table.take(np.array([3, 4, 0, 1, 2, 2]))).column("text").to_pylist()
    assert taken == [chunks[i].text for i in (3, 4, 0, 1, 2, 2)]
    assert table.take(np.array([], np.int64)) == []


def test_positions_outside_are_refused(tmp_path: Path) -> None:
    table = write(tmp_path / "c.arrow", [chunk("one")])
    for at in (-1, 1):
        with pytest.raises(IndexError):
            table[at]


def test_no_chunks(tmp_path: Path) -> None:
    table = write(tmp_path / "c.arrow")
    assert (len(table), list(table)) == (0, [])


def test_other_columns_are_refused(tmp_path: Path) -> None:
    table = pa.table({"a": [1]})
    with pa.OSFile(str(tmp_path / "c.arrow"), "wb") as file, pa.ipc.new_file(file, table.schema) as writer:
        writer.write(table)
    with pytest.raises(ValueError, match="other columns"):
        ChunkTable(tmp_path / "c.arrow")
