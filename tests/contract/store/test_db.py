from __future__ import annotations

import os
import sqlite3
import threading
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from sqlalchemy import func, insert, select
from sqlalchemy.exc import IntegrityError

from ray_app.errors import ConfigError, StoreError, StoreUnavailable
from ray_app.store.db import Database
from ray_app.store.schema import brands, pointers


def _names(db: Database) -> list[str]:
    with db.read() as conn:
        return list(conn.scalars(select(brands.c.name).order_by(brands.c.name)))


def test_write_commits_at_the_end_and_rolls_back_on_error(db: Database) -> None:
    with db.write() as conn:
        conn.execute(insert(brands).values(name="kept", config={}))
    with pytest.raises(RuntimeError), db.write() as conn:
        conn.execute(insert(brands).values(name="lost", config={}))
        raise RuntimeError
    assert _names(db) == ["kept"]


def test_opening_again_keeps_what_is_there(db_url: str) -> None:
    db = Database(db_url)
    with db.write() as conn:
        conn.execute(insert(brands).values(name="kept", config={}))
    db.close()
    again = Database(db_url)
    assert _names(again) == ["kept"]
    again.close()


def test_foreign_keys_hold(db: Database) -> None:
    with pytest.raises(IntegrityError), db.write() as conn:
        conn.execute(insert(pointers).values(brand="acme", generation="never-made"))


def test_first_opening_by_many_at_once(db_url: str) -> None:
    start = threading.Barrier(6)

    def open_and_write(number: int) -> None:
        start.wait()
        database = Database(db_url)
        with database.write() as conn:
            conn.execute(insert(brands).values(name=f"b{number}", config={}))
        database.close()

    with ThreadPoolExecutor(6) as pool:
        list(pool.map(open_and_write, range(6)))
    database = Database(db_url)
    assert len(_names(database)) == 6
    database.close()


def test_writers_of_two_databases_wait_for_each_other(tmp_path: Path) -> None:
    db, other = (Database(f"sqlite:///{tmp_path / 'b.db'}") for _ in range(2))

    def bump(database: Database, times: int) -> None:
        for _ in range(times):
            with database.write() as conn:
                count = conn.scalar(select(func.count()).select_from(brands)) or 0
                conn.execute(insert(brands).values(name=f"{id(database)}-{count}", config={}))

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(bump, [db, other], [20, 20]))
    assert len(_names(db)) == 40
    db.close()
    other.close()


def test_a_reader_sees_one_moment_and_waits_for_no_writer(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'b.db'}")
    other = Database(f"sqlite:///{tmp_path / 'b.db'}")
    with db.read() as reading:
        assert reading.scalar(select(func.count()).select_from(brands)) == 0
        with other.write() as conn:
            conn.execute(insert(brands).values(name="new", config={}))
            assert _names(db) == []
        assert reading.scalar(select(func.count()).select_from(brands)) == 0
    assert _names(db) == ["new"]
    db.close()
    other.close()


def test_sqlite_is_durable_and_in_wal_mode(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'new' / 'folder' / 'b.db'}")
    with db.read() as conn:
        pragmas = {p: conn.exec_driver_sql(f"PRAGMA {p}").scalar() for p in ("journal_mode", "synchronous")}
        waits = conn.exec_driver_sql("PRAGMA busy_timeout").scalar()
    assert pragmas == {"journal_mode": "wal", "synchronous": 2}
    assert waits == 30_000
    db.close()


def test_an_unreachable_server_is_named_without_its_password() -> None:
    password = "-".join(["s3cret", "word"])  # put together, for a traceback shows this file's lines too
    with pytest.raises(StoreUnavailable) as caught:
        Database(f"postgresql://crawler:{password}@127.0.0.1:9/backline")
    assert "127.0.0.1:9" in str(caught.value)
    assert password not in "".join(traceback.format_exception(caught.value))
    assert caught.value.retryable


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(StoreUnavailable):
        Database(f"sqlite:///{tmp_path / 'file' / 'b.db'}")


def test_a_file_that_is_no_database(tmp_path: Path) -> None:
    (tmp_path / "b.db").write_bytes(b"not a database at all, but long enough to be looked at" * 20)
    with pytest.raises(StoreError, match="damaged"):
        Database(f"sqlite:///{tmp_path / 'b.db'}")


def test_a_full_disk_is_unavailable_and_loses_nothing(tmp_path: Path) -> None:
    db = Database(f"sqlite:///{tmp_path / 'b.db'}")
    with db.read() as conn:
        pages = conn.exec_driver_sql("PRAGMA page_count").scalar()
    with pytest.raises(StoreUnavailable, match="full"), db.write() as conn:
        conn.exec_driver_sql(f"PRAGMA max_page_count={pages}")
        conn.execute(insert(brands), [{"name": f"b{n}", "config": {"x": "y" * 500}} for n in range(200)])
    assert _names(db) == []
    db.close()


@pytest.mark.parametrize("url", ["", "nonsense", "mysql://u:hidden-word@h/d", "sqlite://", "sqlite:///:memory:"])
def test_other_urls_are_refused(url: str) -> None:
    with pytest.raises(ConfigError) as caught:
        Database(url)
    assert "hidden-word" not in str(caught.value)


def test_a_stuck_writer_is_reported_not_waited_for_without_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("ray_app.store.db.BUSY_S", 0.05)
    db = Database(f"sqlite:///{tmp_path / 'b.db'}")
    holder = sqlite3.connect(tmp_path / "b.db", isolation_level=None)
    holder.execute("BEGIN IMMEDIATE")
    with pytest.raises(StoreUnavailable, match="locked"), db.write():
        pass
    holder.close()
    db.close()


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write everywhere")
def test_a_read_only_folder(tmp_path: Path) -> None:
    tmp_path.chmod(0o500)
    with pytest.raises(StoreUnavailable):
        Database(f"sqlite:///{tmp_path / 'b.db'}")
