"""Every SQL test of this folder runs on SQLite, and on PostgreSQL where its server is installed."""

from __future__ import annotations

import os
import pwd
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path
from uuid import uuid4

import pytest
from sqlalchemy import create_engine, text

from ray_app.store.catalog import Catalog
from ray_app.store.db import Database
from ray_app.store.ledger import Ledger
from ray_app.store.schema import metadata


def _server_programs() -> Path | None:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    on_path = shutil.which("initdb")
    return found[-1].parent if found else Path(on_path).parent if on_path else None


def _other_user() -> str | None:
    """PostgreSQL refuses to run as root: whom to run it as, "" for ourselves, None when nobody is there."""
    if os.geteuid() != 0:
        return ""
    if shutil.which("runuser") is None:
        return None
    names = {entry.pw_name for entry in pwd.getpwall()}
    return next((name for name in ("postgres", "nobody") if name in names), None)


class _Cluster:
    def __init__(self, programs: Path, user: str) -> None:
        self._programs, self._user = programs, user
        self.folder = Path(tempfile.mkdtemp(prefix="backline-pg-"))
        if user:
            shutil.chown(self.folder, user)

    def run(self, program: str, *arguments: str) -> None:
        become = ["runuser", "-u", self._user, "--"] if self._user else []
        command = [*become, str(self._programs / program), "-D", str(self.folder / "data"), *arguments]
        subprocess.run(command, check=True, cwd=self.folder, timeout=60, stdout=subprocess.DEVNULL)

    def start(self) -> None:
        self.run("initdb", "-U", "postgres", "-A", "trust", "-E", "UTF8", "--no-sync", "--no-instructions")
        options = f"-c listen_addresses='' -c unix_socket_directories={self.folder} -c fsync=off"
        self.run("pg_ctl", "start", "-w", "-s", "-l", str(self.folder / "log"), "-o", options)

    def stop(self) -> None:
        self.run("pg_ctl", "stop", "-s", "-m", "immediate")


@pytest.fixture(scope="session")
def postgresql() -> Iterator[str]:
    """The URL of a private PostgreSQL."""
    programs, user = _server_programs(), _other_user()
    if programs is None or user is None:
        pytest.skip("no PostgreSQL server programs" if programs is None else "root, and no other user to run as")
    cluster = _Cluster(programs, user)
    try:
        cluster.start()
        yield f"postgresql://postgres@/postgres?host={cluster.folder}"
        cluster.stop()
    finally:
        shutil.rmtree(cluster.folder, ignore_errors=True)


def _schema(server: str) -> str:
    """The URL of a new, empty schema."""
    name = f"s{uuid4().hex}"
    engine = create_engine(server.replace("postgresql:", "postgresql+psycopg:"))
    with engine.begin() as conn:
        conn.execute(text(f"CREATE SCHEMA {name}"))
    engine.dispose()
    return f"{server}&options=-csearch_path%3D{name}"


@pytest.fixture(scope="session")
def postgresql_db(postgresql: str) -> Iterator[Database]:
    """Shared by all tests, for making tables takes a tenth of a second."""
    database = Database(_schema(postgresql))
    yield database
    database.close()


@pytest.fixture(params=["sqlite", "postgresql"])
def db_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """A database of its own without tables."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'store' / 'backline.db'}"
    return _schema(request.getfixturevalue("postgresql"))


@pytest.fixture
def db_url_2(request: pytest.FixtureRequest, db_url: str, tmp_path: Path) -> str:
    """Another database of the same kind without tables."""
    if db_url.startswith("sqlite"):
        return f"sqlite:///{tmp_path / 'second' / 'backline.db'}"
    return _schema(request.getfixturevalue("postgresql"))


@pytest.fixture(params=["sqlite", "postgresql"])
def db(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    """An empty database."""
    if request.param == "sqlite":
        database = Database(f"sqlite:///{tmp_path / 'backline.db'}")
        yield database
        database.close()
        return
    database = request.getfixturevalue("postgresql_db")
    with database.write() as conn:
        for table in reversed(metadata.sorted_tables):
            conn.execute(table.delete())
    yield database


@pytest.fixture
def ledger(db: Database) -> Ledger:
    return Ledger(db)


@pytest.fixture
def catalog(db: Database) -> Catalog:
    return Catalog(db)
