"""Where a restore unpacks its files, and the lock that says whether one runs. What a killed one left is removed."""

from __future__ import annotations

import fcntl
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ray_app.errors import StoreError

FOLDER = "restoring"  # under the data directory: unpacked files, and what a killed restore left
LOCK = "restore.lock"  # beside it; held by the process of a restore, so a kill frees it


@contextmanager
def alone(data_dir: Path) -> Iterator[Path]:
    """The folder to unpack into, for one restore at a time; it is removed when the block ends.

    Raises StoreError when another restore runs.
    """
    data_dir.mkdir(parents=True, exist_ok=True)
    with (data_dir / LOCK).open("ab") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise StoreError(
                f"Another restore into {data_dir} is under way.", hint="Wait until it has ended, then look at it."
            ) from None
        folder = data_dir / FOLDER
        try:
            yield folder
        finally:
            shutil.rmtree(folder, ignore_errors=True)


def remove_left(data_dir: Path) -> bool:
    """Removes what a killed restore has left; whether that was anything. Raises StoreError when a restore runs."""
    if not (data_dir / FOLDER).is_dir():
        return False
    with alone(data_dir) as folder:
        shutil.rmtree(folder)
    return True
