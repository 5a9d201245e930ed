"""Backing up while everything goes on.

All SQL is read in one snapshot, then the files are copied that its rows point to. Files never change; one that was
collected since the snapshot was taken makes it old, and a newer one is taken.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from sqlalchemy import select

from ray_app.config import Settings
from ray_app.errors import ChecksumMismatch, InputError, StoreError
from ray_app.index.depot import check_folder, open_depot
from ray_app.index.files import sync_folder
from ray_app.index.manifest import MANIFEST
from ray_app.ingest.archive import Contents, Draft, written
from ray_app.observe.log import get_logger
from ray_app.store.dump import TABLES, chunks
from ray_app.store.schema import generations, pointers, urls
from ray_app.store.stores import Stores
from ray_app.store.tarball import ArchiveWriter

log = get_logger(__name__)

SNAPSHOTS = 5  # taken at most; each newer one is needed only when something was collected during the one before


@dataclass(frozen=True, slots=True)
class BackupReport:
    """What is in a backup."""

    file: str
    bytes: int
    seconds: float
    rows: dict[str, int]  # by table
    page_parts: int
    generations: dict[str, list[str]]  # by brand
    snapshots: int  # 1, or more when files were collected meanwhile
    problems: tuple[str, ...]  # what was damaged or missing already, and so is not in it

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Wanted:
    """The files that one snapshot of SQL needs."""

    parts: list[tuple[str, str]]  # brand, part
    generations: list[tuple[str, str]]  # brand, generation


class _Gone(Exception):
    """A file was collected since the snapshot."""


class Backup:
    """Backs one installation up."""

    def __init__(self, settings: Settings, stores: Stores, clock: Callable[[], float] = time.time) -> None:
        self._stores = stores
        self._pages = settings.data_dir / "pages"
        self._depot = open_depot(settings)
        self._clock = clock
        self._missing: set[tuple[str, str]] = set()  # in the snapshot before

    def write(self, path: Path, *, every: bool = False) -> BackupReport:
        """Write a backup at ``path``, in place of what is there; ``every``: with all kept generations.

        Raises InputError when there is no such folder, StoreError when the disk refuses or files are collected faster
        than they are copied; the file that was there stays then.
        """
        started = time.monotonic()
        if not path.parent.is_dir():
            raise InputError(f"There is no folder {path.parent}.")
        partial = path.with_name(f"{path.name}.part")
        try:
            for taken in range(1, SNAPSHOTS + 1):
                try:
                    contents = self._write(partial, every=every)
                except _Gone as gone:
                    log.info("backup_snapshot_old", missing=str(gone), taken=taken)
                    continue
                partial.replace(path)
                sync_folder(path.parent)
                return _report(path, contents, taken, time.monotonic() - started)
        except OSError as error:
            raise StoreError(f"The backup {path} cannot be written: {error.strerror or error}.") from error
        finally:
            partial.unlink(missing_ok=True)
        raise StoreError(
            f"Files were collected faster than they were copied, {SNAPSHOTS} times in a row.",
            hint="Back up when no cleanup, forgetting or restore runs.",
        )

    def _write(self, path: Path, *, every: bool) -> Contents:
        draft = Draft(self._clock())
        missing: dict[tuple[str, str], str] = {}
        with written(path) as archive:
            wanted = self._dump(archive, draft, every=every)
            for brand, part in wanted.parts:
                try:
                    archive.add_file(f"pages/{brand}/{part}", self._pages / brand / part)
                except FileNotFoundError:
                    missing[brand, part] = f"The page part {brand}/{part} is missing."
            for brand, name in wanted.generations:
                if words := self._add_generation(archive, draft, brand, name):
                    missing[brand, name] = f"The generation {name} of {brand} is left out. {words}"
            # What a newer snapshot still points to was not collected: it is lost.
            if new := missing.keys() - self._missing:
                self._missing |= missing.keys()
                raise _Gone(missing[min(new)])
            for words in missing.values():
                log.error("backup_incomplete", problem=words)
            draft.problems += missing.values()
            return draft.seal(archive)

    def _dump(self, archive: ArchiveWriter, draft: Draft, *, every: bool) -> _Wanted:
        """The rows of one moment, and which files they point to."""
        with self._stores.db.snapshot() as conn:
            for name, table in TABLES.items():
                draft.rows[name] = 0
                for number, (content, count) in enumerate(chunks(conn, table)):
                    archive.add_bytes(f"sql/{name}/{number:06}.jsonl.gz", content)
                    draft.rows[name] += count
            held = select(urls.c.brand, urls.c.page_part).where(urls.c.page_part.is_not(None)).distinct()
            rows = conn.execute(held.order_by(urls.c.brand, urls.c.page_part))
            # A text that is known to be lost has another word there; see store.lost.
            parts = [(row.brand, row.page_part) for row in rows if row.page_part.endswith(".parquet")]
            source = generations if every else pointers
            kept = conn.execute(select(source.c.brand, source.c.generation).order_by(source.c.brand)).all()
            return _Wanted(parts, [(brand, name) for brand, name in kept])

    def _add_generation(self, archive: ArchiveWriter, draft: Draft, brand: str, name: str) -> str:
        """Adds a whole and undamaged one; what is wrong with it, "" when nothing is."""
        try:
            folder = self._depot.fetch(brand, name)
            for file in (*check_folder(folder).files, MANIFEST):
                archive.add_file(f"index/{brand}/{name}/{file}", folder / file)
        except ChecksumMismatch as error:
            return error.message
        except FileNotFoundError:
            return "A file of it is missing."
        draft.generations.setdefault(brand, []).append(name)
        return ""


def _report(path: Path, contents: Contents, taken: int, seconds: float) -> BackupReport:
    parts = sum(member.name.startswith("pages/") for member in contents.members)
    log.info("backup_written", bytes=path.stat().st_size, page_parts=parts, snapshots=taken, seconds=round(seconds, 1))
    return BackupReport(
        str(path),
        path.stat().st_size,
        seconds,
        contents.rows,
        parts,
        contents.generations,
        taken,
        contents.problems,
    )
