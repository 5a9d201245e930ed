"""The chunks of a generation in an Arrow file: written batch by batch, read through the memory map."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from functools import cached_property
from itertools import accumulate
from pathlib import Path
from types import TracebackType

import numpy as np
import pyarrow as pa

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

    def append(self, chunks: Sequence[Chunk]) -> None:
        self._writer.write_batch(pa.RecordBatch.from_pylist([asdict(c) for c in chunks], schema=SCHEMA))

    def __enter__(self) -> ChunkWriter:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._writer.close()
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

    @cached_property
    def by_id(self) -> Lookup:
        return Lookup(self.column("chunk_id"))


class Lookup:
    """Positions of hex digests: 36 bytes each, where a dictionary takes over 150."""

    def __init__(self, digests: Sequence[str]) -> None:
        found = np.array([d.encode() for d in digests], "S32")
        self._rows = np.argsort(found, kind="stable").astype(np.int32)
        self._sorted = found[self._rows]

    def get(self, digest: str) -> int | None:
        """The first position of ``digest``, None when it is not held."""
        wanted = digest.encode(errors="replace")
        at = int(np.searchsorted(self._sorted, np.bytes_(wanted)))
        return int(self._rows[at]) if at < len(self._rows) and self._sorted[at] == wanted else None


def _chunk(row: dict[str, object]) -> Chunk:
    row["section"] = tuple(row["section"])  # type: ignore[arg-type]  # a list of str, by the schema
    return Chunk(**row)  # type: ignore[arg-type]  # the schema's columns are Chunk's fields
