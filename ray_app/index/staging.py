"""Staged chunks and vectors: what embedding workers have made, before a generation is built from it.

Each run of a pipeline has a folder of Parquet parts. A part is written under another name, made durable and renamed,
so a kill leaves whole parts only. The next run finds the vectors of earlier runs here and embeds only the rest.
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

from ray_app.errors import IndexingError, ModelMismatch
from ray_app.index.digests import Digests, Words, union, words
from ray_app.index.files import sync_folder
from ray_app.observe.log import get_logger
from ray_app.records import Chunk, ModelId

log = get_logger(__name__)

# The keys a run need not embed; a file, because workers on any node and after any restart must find them.
KNOWN = "known.npy"
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
        ("products", pa.list_(pa.string())),  # of the document
        ("vector", pa.binary()),  # float16 little-endian; null when the vector is already known elsewhere
        ("reject", pa.string()),  # a key of records.CHUNK_REASONS: the chunk gets no vector and into no index
        ("detail", pa.string()),  # of the reject, for a person
    ]
)
CHUNK_COLUMNS = tuple(name for name in SCHEMA.names if name not in ("products", "vector", "reject", "detail"))


def to_table(chunks: Sequence[Chunk], products: Sequence[Sequence[str]] | None = None) -> pa.Table:
    """Chunks as rows without vectors. ``products``: those of each chunk's document."""
    blank = {"vector": None, "reject": None, "detail": None}
    named = products if products is not None else [()] * len(chunks)
    rows = [{**asdict(chunk), "products": list(own), **blank} for chunk, own in zip(chunks, named, strict=True)]
    return pa.Table.from_pylist(rows, schema=SCHEMA)


def to_chunks(table: pa.Table) -> list[Chunk]:
    """The chunks of a table, without the rest."""
    return [Chunk(**{**row, "section": tuple(row["section"])}) for row in table.select(CHUNK_COLUMNS).to_pylist()]


class Staging:
    """The staged parts of one brand for one embedding model."""

    def __init__(self, root: Path, brand: str, model: ModelId) -> None:
        self._brand_dir = root / brand
        self._dir = self._brand_dir / f"{model.name.replace('/', '_')}-{model.revision[:12]}-{model.dim}"
        self._dim = model.dim

    def new_run(self, known: Sequence[Digests] = ()) -> str:
        """A fresh folder for one run's parts; returns its name.

        What earlier runs have staged need not be embedded again, nor do the keys in ``known``.
        """
        run = uuid.uuid4().hex
        staged = Digests.of(self._staged_keys())
        (self._dir / run).mkdir(parents=True)
        union([*known, staged]).save(self._dir / run / KNOWN)
        return run

    def known(self, run: str) -> Digests:
        """The embedding keys whose vectors existed when the run began, mapped."""
        return Digests.open(self._dir / run / KNOWN)

    def staged(self, run: str) -> Digests:
        """The embedding keys that need not be embedded again in this run: of its rows so far without a reject."""
        parts = [words(b"")]
        for batch in self._columns(["embedding_key", "reject"], run):
            fine = batch.filter(batch.column("reject").is_null())
            parts.append(words(fine.column("embedding_key").to_pylist()))
        return Digests.of(np.concatenate(parts, axis=1))

    def attempt(self, run: str, name: str) -> int:
        """Note that something begins which may kill the process; the how many-eth time it is since it ``survived``."""
        with self._tries(run, name).open("ab") as file:
            file.write(b".")
        return self._tries(run, name).stat().st_size

    def survived(self, run: str, name: str) -> None:
        """It came to its end."""
        self._tries(run, name).unlink(missing_ok=True)

    def write(self, run: str, table: pa.Table) -> int:
        """Write one part durably; returns its number of rows."""
        if table.num_rows == 0:
            return 0
        part = self._dir / run / f"{uuid.uuid4().hex}.part"
        try:
            with part.open("wb") as file:
                pq.write_table(table, file, compression="zstd", write_page_checksum=True)
                file.flush()
                os.fsync(file.fileno())
            part.rename(part.with_suffix(".parquet"))
            sync_folder(part.parent)
        except OSError:
            part.unlink(missing_ok=True)  # the disk may be full
            raise
        return int(table.num_rows)

    def tables(self, run: str) -> Iterator[pa.Table]:
        """Every row of one run, READ_ROWS at a time. A row that was written twice comes twice."""
        for file in sorted((self._dir / run).glob("*.parquet")):
            for batch in _batches(file):
                yield pa.Table.from_batches([batch])

    def find(self, wanted: Digests) -> Iterator[tuple[Words, NDArray[np.float16]]]:
        """Vectors (n, dim) of the ``wanted`` keys (2, n) that any run has staged, part by part."""
        for batch in self._columns(["embedding_key", "vector"]):
            held = batch.filter(batch.column("vector").is_valid())
            keys = words(held.column("embedding_key").to_pylist())
            take = np.flatnonzero(wanted.places(keys) >= 0)
            if len(take):
                yield keys[:, take], vectors_of(held.column("vector").take(pa.array(take)), self._dim)

    def unfinished(self) -> bool:
        """Whether some run of the brand began, and none came to its end since."""
        return self._brand_dir.is_dir()

    def clear(self, *, finished: bool = True) -> None:
        """Forget everything staged for the brand, of any model. Without ``finished`` it stays ``unfinished``."""
        shutil.rmtree(self._brand_dir, ignore_errors=True)
        if not finished:
            self._brand_dir.mkdir(parents=True, exist_ok=True)

    def _staged_keys(self) -> Words:
        parts = [words(b"")]
        for batch in self._columns(["embedding_key", "vector"]):
            held = batch.filter(batch.column("vector").is_valid())
            parts.append(words(held.column("embedding_key").to_pylist()))
        return np.concatenate(parts, axis=1)

    def _tries(self, run: str, name: str) -> Path:
        return self._dir / run / f"{name}.tries"

    def _columns(self, names: list[str], run: str = "*") -> Iterator[pa.RecordBatch]:
        """Of earlier runs. A part that was damaged since is left out: its texts are embedded again."""
        for file in sorted(self._dir.glob(f"{run}/*.parquet")):
            try:
                yield from _batches(file, names)
            except IndexingError as error:
                log.error("staged_part_damaged", part=file.name, error=str(error))


def _batches(file: Path, columns: list[str] | None = None) -> Iterator[pa.RecordBatch]:
    """READ_ROWS at a time. Raises IndexingError for a part that is damaged."""
    try:
        yield from pq.ParquetFile(file, page_checksum_verification=True).iter_batches(READ_ROWS, columns=columns)
    except (OSError, pa.ArrowException) as error:
        raise IndexingError(f"The staged part {file.name} cannot be read: {error}", hint="Run it again.") from error


def vectors_of(column: pa.BinaryArray, dim: int) -> NDArray[np.float16]:
    """Staged vectors as rows (n, dim). Raises ModelMismatch when one has another width."""
    rows = column.to_pylist()
    if wrong := next((len(row) for row in rows if len(row) != 2 * dim), 0):
        raise ModelMismatch(f"A staged vector has {wrong // 2} numbers; the model makes {dim}.")
    return np.frombuffer(b"".join(rows), "<f2").reshape(len(rows), dim)
