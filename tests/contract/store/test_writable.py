from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest
from sqlalchemy import select

from ray_app.errors import StoreUnavailable
from ray_app.store.db import Database
from ray_app.store.schema import layout
from ray_app.store.writable import WriteProbe


def test_where_all_is_well_nothing_is_left_behind(db: Database, tmp_path: Path) -> None:
    with db.read() as conn:
        before = conn.execute(select(layout.c.version)).all()
    assert WriteProbe(db, tmp_path / "new" / "data").problem() == ""
    assert list((tmp_path / "new" / "data").iterdir()) == []
    with db.read() as conn:
        assert conn.execute(select(layout.c.version)).all() == before


@pytest.mark.parametrize("code", [errno.ENOSPC, errno.EROFS, errno.EIO])
def test_a_disk_that_refuses_says_why(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, code: int) -> None:
    def refuse(_: int) -> None:
        raise OSError(code, os.strerror(code))

    monkeypatch.setattr(os, "fsync", refuse)
    assert WriteProbe(db, tmp_path).problem() == f"The data directory cannot be written: {os.strerror(code)}."
    assert list(tmp_path.glob(".probe-*")) == []


def test_a_folder_that_is_none(db: Database, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    assert "File exists" in WriteProbe(db, tmp_path / "file").problem()


def test_sql_that_only_reads_is_found_out(db: Database, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse() -> None:
        raise StoreUnavailable("The database cannot be used: attempt to write a readonly database")

    monkeypatch.setattr(db, "write", refuse)
    assert "readonly" in WriteProbe(db, tmp_path).problem()
