"""The SQL database: SQLite on one machine, PostgreSQL on a cluster, transactions either way."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, Table, create_engine, event, make_url, text
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.engine import URL
from sqlalchemy.exc import ArgumentError, DatabaseError, InterfaceError, OperationalError
from sqlalchemy.exc import TimeoutError as PoolTimeout

from ray_app.errors import ConfigError, StoreError, StoreUnavailable
from ray_app.store.migrate import prepare

BUSY_S = 30.0  # a writer waits so long for another process; the longest transaction takes about a second
CONNECT_S = 10  # an unreachable PostgreSQL is reported after so long
SCRUB_S = 10.0  # how long emptying the write-ahead log waits for readers
RETRY_S = 0.02  # pause between tries to switch a new SQLite file to WAL
# Scheme -> the driver used, whichever one the URL names: a URL is often shared with programs of other drivers.
DRIVERS = {"sqlite": "sqlite", "postgresql": "postgresql+psycopg", "postgres": "postgresql+psycopg"}
SCHEMA_LOCK = 0x6261636B  # "back": any fixed number; it keeps two PostgreSQL clients from creating tables at once


def insert(conn: Connection, table: Table) -> sqlite.Insert | postgresql.Insert:
    """The dialect's own INSERT, which knows ``on_conflict_do_nothing`` and ``on_conflict_do_update``."""
    return postgresql.insert(table) if conn.dialect.name == "postgresql" else sqlite.insert(table)


class Database:
    """One database with its tables. Safe to share between threads; each process opens its own.

    ``url`` is an SQLAlchemy URL of SQLite (a file) or PostgreSQL. Raises ConfigError when it is neither,
    StoreUnavailable when the database cannot be reached. No error text holds the password.
    """

    def __init__(self, url: str) -> None:
        self._url = _parse(url)
        self.engine: Engine = _sqlite(self._url) if self._is_sqlite else _postgresql(self._url)
        self._writer = self.engine.execution_options(begin="BEGIN IMMEDIATE")
        with self._errors():
            if self._is_sqlite:
                _prepare_file(Path(str(self._url.database)))
        try:
            self._prepare_tables()
        except StoreError:
            self.close()
            raise

    @property
    def _is_sqlite(self) -> bool:
        return self._url.get_backend_name() == "sqlite"

    @contextmanager
    def write(self) -> Iterator[Connection]:
        """A transaction that commits at the end, or rolls back when the block raises.

        On SQLite it takes the write lock at once: one that reads first and writes later could find that
        its snapshot is old, and no waiting would help it.
        """
        with self._errors(), self._writer.begin() as conn:
            yield conn

    @contextmanager
    def read(self) -> Iterator[Connection]:
        """A transaction that only reads; on SQLite it sees one moment and waits for no writer."""
        with self._errors(), self.engine.begin() as conn:
            yield conn

    @contextmanager
    def snapshot(self) -> Iterator[Connection]:
        """A transaction that only reads and sees one moment, on PostgreSQL too; rows come as they are read."""
        level = {} if self._is_sqlite else {"isolation_level": "REPEATABLE READ"}
        with self._errors(), self.engine.execution_options(**level).begin() as conn:
            yield conn

    def optimize(self) -> None:
        """Brings the planner's statistics up to date and, on SQLite, gives free pages back to the disk."""
        with self.write() as conn:
            conn.execute(text("ANALYZE"))
        if self._is_sqlite:
            with self._alone() as alone:
                alone.execute("VACUUM")

    def scrub(self) -> str:
        """Takes what was deleted out of the database's files; returns why bytes of it may be left, "" when none are.

        SQLite is written anew, which takes some 30 s a GB on a busy laptop and makes writers wait as long.
        """
        if not self._is_sqlite:
            return (
                "PostgreSQL keeps deleted rows in its files until VACUUM FULL, and in its WAL and backups as you set up"
            )
        self.engine.dispose()  # an idle connection of ours may hold an old snapshot
        with self._alone() as alone:
            alone.execute("VACUUM")
            deadline = time.monotonic() + SCRUB_S
            while alone.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()[0]:  # 1: somebody reads an older state
                if time.monotonic() > deadline:
                    return (
                        "somebody reads an older state of the database; its write-ahead log is emptied by the next run"
                    )
                time.sleep(RETRY_S)
        return ""

    @contextmanager
    def _alone(self) -> Iterator[sqlite3.Connection]:
        """A connection outside of transactions, which every SQLAlchemy connection here begins."""
        with closing(sqlite3.connect(str(self._url.database), timeout=BUSY_S, isolation_level=None)) as alone:
            try:
                yield alone
            except sqlite3.OperationalError as error:
                raise StoreUnavailable(f"{self._where()} cannot be compacted now: {error}") from error

    def close(self) -> None:
        """Closes the pooled connections."""
        self.engine.dispose()

    def _prepare_tables(self) -> None:
        with self.write() as conn:
            if not self._is_sqlite:
                conn.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": SCHEMA_LOCK})
            prepare(conn)

    @contextmanager
    def _errors(self) -> Iterator[None]:
        try:
            yield
        except (OperationalError, InterfaceError, PoolTimeout, OSError) as error:
            raise StoreUnavailable(f"{self._where()} cannot be used: {self._plain(error)}") from None
        except DatabaseError as error:
            if type(error) is not DatabaseError:  # constraints and bad data are the caller's, and typed
                raise
            raise StoreError(f"{self._where()} is damaged: {self._plain(error)}") from None

    def _where(self) -> str:
        return f"The database {self._url.set(query={}).render_as_string(hide_password=True)}"

    def _plain(self, error: Exception) -> str:
        """The driver's own words on one line, without the statement and without the password."""
        words = " ".join(str(getattr(error, "orig", None) or error).split())
        password = str(self._url.password or "")
        return words.replace(password, "***") if password else words


def _parse(url: str) -> URL:
    try:
        parsed = make_url(url)
    except (ArgumentError, ValueError):
        raise ConfigError("DATABASE_URL is not a database URL.", hint="Use postgresql://... or sqlite:///...") from None
    backend = parsed.drivername.partition("+")[0]
    if backend not in DRIVERS:
        raise ConfigError(f"DATABASE_URL names {backend}; Backline knows sqlite and postgresql.")
    if backend == "sqlite" and parsed.database in (None, "", ":memory:"):
        raise ConfigError("DATABASE_URL names no file; several processes share the database, so it must be one.")
    return parsed.set(drivername=DRIVERS[backend])


def _postgresql(url: URL) -> Engine:
    connect = {"connect_timeout": CONNECT_S}
    return create_engine(url, pool_pre_ping=True, hide_parameters=True, connect_args=connect)


def _sqlite(url: URL) -> Engine:
    engine = create_engine(url, hide_parameters=True, connect_args={"timeout": BUSY_S})
    event.listen(engine, "connect", _configure)
    event.listen(engine, "begin", _begin)
    return engine


def _configure(connection: Any, _record: Any) -> None:
    # _begin alone begins transactions; the driver's own way of doing it knows no BEGIN IMMEDIATE.
    connection.isolation_level = None
    # In WAL mode NORMAL may lose the last commits on a power cut; a commit is our promise, so FULL.
    connection.execute("PRAGMA synchronous=FULL")
    connection.execute("PRAGMA foreign_keys=ON")


def _begin(conn: Connection) -> None:
    conn.exec_driver_sql(conn.get_execution_options().get("begin", "BEGIN"))


def _prepare_file(path: Path) -> None:
    """Creates the file in WAL mode, which stays with it. Raises StoreError where WAL does not work."""
    path.parent.mkdir(parents=True, exist_ok=True)
    try:
        mode = _enable_wal(path)
    except sqlite3.OperationalError as error:
        raise StoreUnavailable(f"The database {path} cannot be used: {error}") from None
    except sqlite3.DatabaseError as error:
        raise StoreError(f"The database {path} is damaged: {error}") from None
    if mode != "wal":
        raise StoreError(f"The database {path} cannot use WAL (it has {mode}).", hint="Put it on a local disk.")


def _enable_wal(path: Path) -> str:
    deadline = time.monotonic() + BUSY_S
    while True:
        connection = sqlite3.connect(path, timeout=BUSY_S)
        try:
            return str(connection.execute("PRAGMA journal_mode=WAL").fetchone()[0])
        except sqlite3.OperationalError as error:
            # Two processes that switch a new file at once would deadlock; SQLite refuses one without waiting.
            if error.sqlite_errorcode != sqlite3.SQLITE_BUSY or time.monotonic() > deadline:
                raise
        finally:
            connection.close()
        time.sleep(RETRY_S)
