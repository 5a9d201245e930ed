"""What the owner of an embedded Chroma does about files that are damaged: put them aside, and say so.

Some damage kills the process that meets it (the index files are read by native code), so what is begun is written down
first: what was begun several times and never ended is taken for damage, too.
"""

from __future__ import annotations

import shutil
from datetime import UTC, datetime
from pathlib import Path

from ray_app.observe.log import get_logger

LOCK_FILE = "owner.lock"
ATTEMPTS = "attempts"
REASON = "reason.txt"
MAX_DEATHS = 3  # a kill from outside may come at any moment, three times at the same one is no accident
KEPT_ASIDE = 2  # damaged directories, for whoever wants to look at them; each is as large as the store was
MIN_FREE_BYTES = 64 << 20  # with less on the disk an error is taken for a lack of room, not for damage

# What Chroma 1.5 says of a database that cannot be read, and of a collection whose index cannot be.
_DATABASE_DAMAGE = ("malformed", "not a database")
_INDEX_DAMAGE = ("hnsw", "pickle")

log = get_logger(__name__)


class Attempts:
    """What was begun and has not ended, kept through the death of the process."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / ATTEMPTS

    def begin(self, name: str) -> int:
        """How often ``name`` was begun before without coming to an end."""
        path = self._folder / name
        before = len(path.read_bytes()) if path.exists() else 0
        self._folder.mkdir(exist_ok=True)
        path.write_bytes(b"." * (before + 1))
        return before

    def end(self, name: str) -> None:
        """Well or not, the process lives."""
        (self._folder / name).unlink(missing_ok=True)


def database_damaged(text: str) -> bool:
    """Whether an error's ``text`` says that nothing in the directory can be read."""
    return any(word in text for word in _DATABASE_DAMAGE)


def index_damaged(text: str, folder: Path, collection: str) -> bool:
    """Whether an error's ``text`` says that one collection cannot be read; its name, which may be any, says nothing."""
    said = text.replace(collection, "")
    return any(word in said for word in _INDEX_DAMAGE) and shutil.disk_usage(folder).free > MIN_FREE_BYTES


def set_aside(folder: Path, reason: str) -> None:
    """Move all that is in ``folder`` into a directory beside it; the lock stays where it is, and stays held."""
    aside = folder.with_name(f"{folder.name}.damaged-{datetime.now(UTC):%Y%m%dT%H%M%S.%fZ}")
    aside.mkdir()
    for path in folder.iterdir():
        if path.name != LOCK_FILE:
            path.rename(aside / path.name)
    (aside / REASON).write_text(reason + "\n", "utf-8")
    for old in _aside(folder)[:-KEPT_ASIDE]:
        shutil.rmtree(old)
    log.error("vector_store_set_aside", folder=aside.name, reason=reason)


def damage(folder: Path) -> str:
    """Which directories lie aside, and why; "" when there is none."""
    found = []
    for path in _aside(folder):
        reason = path / REASON
        found.append(f"{path.name}: {reason.read_text('utf-8').strip() if reason.exists() else 'unknown'}")
    return "; ".join(found)


def _aside(folder: Path) -> list[Path]:
    return sorted(folder.parent.glob(f"{folder.name}.damaged-*"))
