"""The rows of every table as JSON lines, the same from SQLite and PostgreSQL, and back into either."""

from __future__ import annotations

import gzip
import io
import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any

from sqlalchemy import Connection, Table, delete, select, text, update

from ray_app.errors import InputError
from ray_app.store.db import insert
from ray_app.store.schema import brands, generations, layout, leases, metadata, tasks, tombstones, urls

CHUNK_BYTES = 4 * 2**20  # of JSON in one file of a dump
MAX_CHUNK_BYTES = 256 * 2**20  # one row over CHUNK_BYTES makes a longer one; beyond this it is none of ours
ROWS = 1_000  # read from the database, or written to it, at once

# In the order in which they are written back: what others refer to first. ``layout`` is the database's own.
TABLES: Mapping[str, Table] = {str(table.name): table for table in metadata.sorted_tables if table is not layout}
Row = dict[str, Any]


def chunks(conn: Connection, table: Table) -> Iterator[tuple[bytes, int]]:
    """Every row of a table in files of gzipped JSON lines, each with its number of rows, in the order of its key."""
    query = select(table).order_by(*table.primary_key.columns).execution_options(yield_per=ROWS)
    lines: list[str] = []
    size = 0
    for row in conn.execute(query).mappings():
        lines.append(json.dumps(dict(row), ensure_ascii=False, separators=(",", ":")))
        size += len(lines[-1])
        if size >= CHUNK_BYTES:
            yield _packed(lines), len(lines)
            lines, size = [], 0
    if lines:
        yield _packed(lines), len(lines)


def _packed(lines: Sequence[str]) -> bytes:
    content = "".join(f"{line}\n" for line in lines).encode(errors="replace")
    return gzip.compress(content, compresslevel=3, mtime=0)


def rows(content: bytes, table: Table) -> list[Row]:
    """The rows of one such file. Raises InputError for what is none, or has columns that the table lacks."""
    try:
        with gzip.open(io.BytesIO(content)) as file:
            plain = file.read(MAX_CHUNK_BYTES + 1)
        if len(plain) > MAX_CHUNK_BYTES:
            raise ValueError("it is too large")
        found = [json.loads(line) for line in plain.splitlines()]
    except (OSError, EOFError, ValueError) as error:
        raise InputError(f"The rows of {table.name} in the backup cannot be read: {error}") from None
    known = set(table.columns.keys())
    if any(not isinstance(row, dict) or not row.keys() <= known for row in found):
        raise InputError(f"The backup has rows that do not fit the table {table.name}.")
    return found


def holds_data(conn: Connection) -> bool:
    """Whether anything was crawled, indexed or asked for here."""
    return any(conn.execute(select(table).limit(1)).first() is not None for table in (brands, urls, generations, tasks))


def lock(conn: Connection) -> None:
    """Until this transaction ends nobody commits work on a brand or forgets anything."""
    if conn.dialect.name == "postgresql":  # SQLite has one writer anyway
        conn.execute(text("LOCK TABLE leases, tombstones IN EXCLUSIVE MODE"))


def clear(conn: Connection) -> None:
    """Deletes every row but those of leases, whose fences must grow for ever, and of tombstones."""
    for table in reversed(list(TABLES.values())):
        if table not in (leases, tombstones):
            conn.execute(delete(table))


def add(conn: Connection, table: Table, found: Iterable[Row]) -> int:
    """Writes rows into an emptied table; returns how many. What a row lacks has its default."""
    count, batch = 0, list(found)
    alike: dict[tuple[str, ...], list[Row]] = {}
    for row in batch:
        alike.setdefault(tuple(sorted(row)), []).append(row)
    for some in alike.values():
        for start in range(0, len(some), ROWS):
            conn.execute(insert(conn, table), some[start : start + ROWS])
        count += len(some)
    return count


def outgrow(conn: Connection, fences: Mapping[str, int]) -> None:
    """Makes every lease free, with a fence greater than any here and in ``fences``: whoever held a brand loses it."""
    held = {row.brand: row.fence for row in conn.execute(select(leases.c.brand, leases.c.fence).with_for_update())}
    for brand in held.keys() | fences.keys():
        fence = max(held.get(brand, 0), fences.get(brand, 0)) + 1
        free = {"fence": fence, "host": "", "pid": 0, "expires_at": 0.0}
        if brand in held:
            conn.execute(update(leases).where(leases.c.brand == brand).values(**free))
        else:
            conn.execute(insert(conn, leases).values(brand=brand, **free))
