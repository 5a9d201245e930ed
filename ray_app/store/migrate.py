"""Brings a database that an earlier Backline made to the present layout, inside the transaction that opens it."""

from __future__ import annotations

from collections.abc import Callable

from sqlalchemy import Connection, Table, bindparam, func, inspect, select, text, update
from sqlalchemy.schema import CreateColumn

from ray_app.errors import StoreError
from ray_app.store.schema import VERSION, cycles, generations, layout, metadata, pointers, urls
from ray_app.store.settle import host_of

ROWS = 5_000  # per slice of a table that is rewritten


def prepare(conn: Connection) -> None:
    """Creates what is missing and migrates what is old. Raises StoreError when a newer Backline made it."""
    tables = set(inspect(conn).get_table_names())
    version = _version(conn, tables)
    if version > VERSION:
        raise StoreError(
            f"The database has layout {version}; this Backline knows {VERSION}.",
            hint="A newer Backline made it: use that one, or another BACKLINE_DATA_DIR.",
        )
    for step in range(version, VERSION):
        _STEPS[step](conn)
    if version != VERSION or not tables.issuperset(metadata.tables):
        metadata.create_all(conn)
    if layout.name not in tables or version != VERSION:
        conn.execute(layout.delete())
        conn.execute(layout.insert().values(version=VERSION))


def _version(conn: Connection, tables: set[str]) -> int:
    """The layout found; that of an empty database is the present one."""
    if layout.name in tables:
        return int(conn.scalar(select(func.max(layout.c.version))) or VERSION)
    return 1 if urls.name in tables else VERSION


def _to_2(conn: Connection) -> None:
    """Version 1 knew what waits by ``cycle_done`` alone, and duplicates by their hash at each reading."""
    _add_columns(conn, urls, cycles)
    for name in ("urls_due", "urls_text"):
        conn.execute(text(f"DROP INDEX IF EXISTS {name}"))
    _fill_hosts(conn)
    for brand, number in conn.execute(select(cycles.c.brand, cycles.c.number).where(cycles.c.finished_at.is_(None))):
        waiting = (urls.c.brand == brand) & (urls.c.cycle_done == number - 1)
        conn.execute(update(urls).where(waiting).values(cycle_due=number))


def _to_3(conn: Connection) -> None:
    """A database that had come from version 1 has not got the indexes of version 2; nobody has ``urls_redirect``."""
    for index in urls.indexes:
        index.create(conn, checkfirst=True)


def _to_4(conn: Connection) -> None:
    """Generations have figures, and a pointer may be held; the new tables are created with what else is missing."""
    _add_columns(conn, generations, pointers)


def _add_columns(conn: Connection, *tables: Table) -> None:
    there = set(inspect(conn).get_table_names())
    for table in tables:
        if table.name not in there:
            continue  # it is created whole
        held = {column["name"] for column in inspect(conn).get_columns(table.name)}
        for column in table.columns:
            if column.name not in held:
                spelled = CreateColumn(column).compile(dialect=conn.dialect)
                conn.execute(text(f"ALTER TABLE {table.name} ADD COLUMN {spelled}"))


def _fill_hosts(conn: Connection) -> None:
    this = (urls.c.brand == bindparam("key_brand")) & (urls.c.url == bindparam("key_url"))
    statement = update(urls).where(this).values(host=bindparam("new_host"))
    keys = conn.execute(select(urls.c.brand, urls.c.url)).all()
    for start in range(0, len(keys), ROWS):
        rows = [{"key_brand": b, "key_url": u, "new_host": host_of(u)} for b, u in keys[start : start + ROWS]]
        conn.execute(statement, rows)


_STEPS: dict[int, Callable[[Connection], None]] = {1: _to_2, 2: _to_3, 3: _to_4}
