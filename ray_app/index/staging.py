"""Chunks and vectors on their way into a generation: durable Parquet parts that outlive a killed run.

``staging/<brand>/<model>/<run>/*.parquet``. A run that was killed leaves its parts; the next run finds the vectors
in them by embedding key and embeds only the rest. Publishing a generation makes all of them superfluous.
"""

from __future__ import annotations

import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import asdict
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from numpy.typing import NDArray

from ray_app.records import Chunk, ModelId

# The keys a run need not embed; a file, because workers on any node and after any restart must find them.
KNOWN = "known-keys"
# Rows read at once: about 2 MB of text and vectors each.
READ_ROWS = 1_024

SCHEMA = pa.schema(
    [
        ("chunk_id", pa.string()),
        ("brand", pa.string()),
        ("url", pa.string()),
        ("title", pa.string()),
        ("section", pa.list_(pa.string())),
        ("anchor", pa.string()),
        ("text", pa.string()),
        ("lang", pa.string()),
        ("kind", pa.string()),
        ("ordinal", pa.int32()),
        ("embedding_key", pa.string()),
        ("doc_hash", pa.string()),
        ("vector", pa.binary()),  # float16 little-endian; null when the vector is already known elsewhere
    ]
)


def to_table(chunks: list[Chunk]) -> pa.Table:
    """Chunks as rows without vectors."""
    rows = [{**asdict(chunk), "vector": None} for chunk in chunks]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def to_chunks(table: pa.Table) -> list[Chunk]:
    """The chunks of a table, without their vectors."""
    return [Chunk(**{**row, "section": tuple(row["section"])}) for row in table.drop_columns(["vector"]).to_pylist()]


class Staging:
    """The staged parts of one brand for one embedding model."""

    def __init__(self, root: Path, brand: str, model: ModelId) -> None:
        self._brand_dir = root / brand
        self._dir = self._brand_dir / f"{model.name.replace('/', '_')}-{model.revision[:12]}-{model.dim}"
        self._dim = model.dim

    def new_run(self, known: Sequence[str]) -> str:
        """A fresh folder for one run's parts; returns its name. ``known`` are the keys it need not embed."""
        run = uuid.uuid4().hex
        (self._dir / run).mkdir(parents=True)
        (self._dir / run / KNOWN).write_text("\n".join(known), encoding="ascii")
        return run

    def known(self, run: str) -> list[str]:
        """The embedding keys whose vectors existed when the run began."""
        return (self._dir / run / KNOWN).read_text(encoding="ascii").split()

    def write(self, run: str, table: pa.Table) -> int:
        """Write one part durably; returns its number of rows."""
        if table.num_rows == 0:
            return 0
        part = self._dir / run / f"{uuid.uuid4().hex}.part"
        with part.open("wb") as file:
            pq.write_table(table, file, compression="zstd")
            file.flush()
            os.fsync(file.fileno())
        part.rename(part.with_suffix(".parquet"))
        return int(table.num_rows)

    def chunks(self, run: str) -> Iterator[Chunk]:
        """Every chunk of one run."""
        for batch in self._batches(sorted((self._dir / run).glob("*.parquet"))):
            yield from to_chunks(batch)

    def vectors(self) -> dict[str, NDArray[np.float16]]:
        """Every vector of every run by embedding key."""
        found: dict[str, NDArray[np.float16]] = {}
        for batch in self._batches(sorted(self._dir.glob("*/*.parquet"))):
            keys, vectors = batch.column("embedding_key").to_pylist(), batch.column("vector").to_pylist()
            found.update(
                (key, np.frombuffer(vector, dtype="<f2"))
                for key, vector in zip(keys, vectors, strict=True)
                if vector is not None
            )
        return found

    def clear(self) -> None:
        """Forget everything staged for the brand, of any model."""
        shutil.rmtree(self._brand_dir, ignore_errors=True)

    @staticmethod
    def _batches(files: list[Path]) -> Iterator[pa.Table]:
        for file in files:
            for batch in pq.ParquetFile(file).iter_batches(READ_ROWS):
                yield pa.Table.from_batches([batch])
