"""Whether state can be written now: a small file and a small transaction say, for nothing else does.

Free space, permissions and flags of the file system each tell a part of it, and a disk that fails tells nothing
until it is written to.
"""

from __future__ import annotations

import os
from pathlib import Path
from uuid import uuid4

from sqlalchemy import update

from ray_app.errors import StoreError
from ray_app.store.db import Database
from ray_app.store.schema import layout

# Enough to need blocks of its own: on a full disk the last bytes of a block that is there can still be written.
PROBE_BYTES = 64 * 1024


class WriteProbe:
    """Writes to where the stores write. Safe in several threads and processes at once."""

    def __init__(self, db: Database, folder: Path) -> None:
        self._db = db
        self._folder = folder

    def problem(self) -> str:
        """Why nothing can be written, "" when it can. Blocks as long as disk and database do."""
        return self._problem_of_files() or self._problem_of_sql()

    def _problem_of_files(self) -> str:
        path = self._folder / f".probe-{uuid4().hex}"
        try:
            self._folder.mkdir(parents=True, exist_ok=True)
            try:
                with path.open("xb") as file:
                    file.write(bytes(PROBE_BYTES))
                    file.flush()
                    os.fsync(file.fileno())
            finally:
                path.unlink(missing_ok=True)
        except OSError as error:
            return f"The data directory cannot be written: {error.strerror or type(error).__name__}."
        return ""

    def _problem_of_sql(self) -> str:
        try:
            with self._db.write() as conn:
                conn.execute(update(layout).values(version=layout.c.version))
        except StoreError as error:
            return str(error)
        return ""
