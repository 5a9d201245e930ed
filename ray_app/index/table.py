"""The chunks of a generation in an Arrow file: written batch by batch, read through the memory map."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from itertools import accumulate
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from ray_app.records import Chunk

_TEXT = pa.string()
SCHEMA = pa.schema(
    [
        pa.field("chunk_id", _TEXT),
        pa.field("brand", _TEXT),
        pa.field("url", _TEXT),
        pa.field("title", _TEXT),
        pa.field("section", pa.list_(_TEXT)),
        pa.field("anchor", _TEXT),
        pa.field("text", _TEXT),
        pa.field("lang", _TEXT),
        pa.field("kind", _TEXT),
        pa.field("ordinal", pa.int32()),
        pa.field("embedding_key", _TEXT),
        pa.field("doc_hash", _TEXT),
    ]
)


class ChunkWriter:
    """Writes an Arrow IPC file; each ``append`` becomes one record batch."""

    def __init__(self, path: Path) -> None:
        self._file = pa.OSFile(str(path), "wb")
        self._writer = pa.ipc.new_file(self._file, SCHEMA)

    def append(self, rows: pa.Table | Sequence[Chunk]) -> None:
        """Rows with the columns of SCHEMA, others are left out; or chunks."""
        if not isinstance(rows, pa.Table):
            rows = pa.Table.from_pylist([asdict(c) for c in rows], schema=SCHEMA)
        for batch in rows.select(SCHEMA.names).combine_chunks().to_batches():
            # Arrow writes a slice with the texts of the rows that follow it, which may have been forgotten on request.
            self._writer.write_batch(batch.take(pa.array(np.arange(batch.num_rows))))

    def __enter__(self) -> ChunkWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            self._writer.close()
        finally:
            self._file.close()


class ChunkTable:
    """Chunks by position. Safe in threads."""

    def __init__(self, path: Path) -> None:
        """Raises OSError or ValueError (Arrow's own is one) when the file is not what it should be."""
        reader = pa.ipc.open_file(pa.memory_map(str(path)))
        if not reader.schema.equals(SCHEMA):
            raise ValueError(f"{path.name} has other columns")
        self._batches = [reader.get_batch(i) for i in range(reader.num_record_batches)]
        self._ends = list(accumulate(b.num_rows for b in self._batches))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, at: int) -> Chunk:
        """Raises IndexError."""
        if not 0 <= at < len(self):
            raise IndexError(at)
        batch = bisect_right(self._ends, at)
        row = at - (self._ends[batch] - self._batches[batch].num_rows)
        return _chunk(self._batches[batch].slice(row, 1).to_pylist()[0])

    def __iter__(self) -> Iterator[Chunk]:
        for batch in self._batches:
            for row in batch.to_pylist():
                yield _chunk(row)

    def column(self, name: str) -> list[str]:
        """All values of a text column, in order."""
        return [value for batch in self._batches for value in batch.column(name).to_pylist()]

    def batches(self, columns: Sequence[str]) -> Iterator[pa.RecordBatch]:
        """All rows in order, in the batches they were written in."""
        for batch in self._batches:
            yield batch.select(list(columns))

    def slices(self, start: int, stop: int) -> Iterator[pa.RecordBatch]:
        """The rows of one range, uncopied."""
        at = bisect_right(self._ends, start)
        while start < stop:
            batch, end = self._batches[at], self._ends[at]
            first = start - (end - batch.num_rows)
            yield batch.slice(first, min(stop, end) - start)
            start, at = min(stop, end), at + 1

    def take(self, rows: NDArray[np.int64]) -> list[pa.RecordBatch]:
        """Those rows in that order, uncopied; consecutive ones come in one piece."""
        breaks = np.flatnonzero(np.diff(rows) != 1) + 1
        starts = rows[np.concatenate(([0], breaks))] if len(rows) else rows
        lengths = np.diff(np.concatenate(([0], breaks, [len(rows)]))) if len(rows) else rows
        return [
            piece
            for start, length in zip(starts.tolist(), lengths.tolist(), strict=True)
            for piece in self.slices(start, start + length)
        ]


def _chunk(row: dict[str, object]) -> Chunk:
    row["section"] = tuple(row["section"])  # type: ignore[arg-type]  # a list of str, by the schema
    return Chunk(**row)  # type: ignore[arg-type]  # the schema's columns are Chunk's fields
