"""What a backup file is: which files it holds, in what order, and the manifest at its end that vouches for them.

    sql/<table>/<number>.jsonl.gz    the rows of every table, see store.dump
    pages/<brand>/<part>             the page parts that rows point to
    index/<brand>/<generation>/...   the live generation of each brand, or all
    manifest.json                    sizes and checksums of all of it; last, so a file without one was cut short

The whole is a tar, compressed with zstd when its name ends in ``.zst``. Settings and secrets are not in it.
"""

from __future__ import annotations

import hashlib
import json
import re
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, BinaryIO, cast

import pyarrow as pa

from ray_app import __version__
from ray_app.errors import InputError, StoreError
from ray_app.index.files import sync_file
from ray_app.store.dump import TABLES
from ray_app.store.schema import VERSION
from ray_app.store.tarball import ArchiveReader, ArchiveWriter, Member

FORMAT = 1  # of the archive
OLDEST_SCHEMA = 4  # layout of the oldest database whose rows fit; the first backups were made from it
MANIFEST = "manifest.json"
MAX_MANIFEST_BYTES = 128 * 2**20  # 200 bytes a file, so some 600,000 files
# Of the disk, kept free by what a restore unpacks, so that the installation can still write.
FREE_BYTES = 256 * 2**20
ZSTD = b"\x28\xb5\x2f\xfd"  # begins every zstd stream

_BRAND = r"[a-z0-9][a-z0-9_-]{0,63}"
_ALLOWED = re.compile(
    rf"sql/(?:{'|'.join(TABLES)})/\d{{6}}\.jsonl\.gz"
    rf"|pages/{_BRAND}/[0-9a-f]{{32}}\.parquet"
    rf"|index/{_BRAND}/\d{{8}}T\d{{6}}Z-[0-9a-f]{{6}}/(?:[A-Za-z0-9_]+/)?[A-Za-z0-9_]+(?:\.[A-Za-z0-9_]+)*"
)


@dataclass(frozen=True, slots=True)
class Contents:
    """The manifest of a backup."""

    made_at: float  # POSIX seconds: of the moment that it shows
    schema: int  # layout of the tables
    backline: str  # the version that made it
    rows: dict[str, int]  # by table
    generations: dict[str, list[str]]  # by brand
    members: tuple[Member, ...]
    problems: tuple[str, ...] = ()  # what was damaged or missing already when it was made


@dataclass(slots=True)
class Draft:
    """A manifest while its backup is written."""

    made_at: float
    rows: dict[str, int] = field(default_factory=dict)
    generations: dict[str, list[str]] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def seal(self, archive: ArchiveWriter) -> Contents:
        """Writes the manifest of what is in the archive, and ends it."""
        members, problems = tuple(archive.members), tuple(self.problems)
        done = Contents(self.made_at, VERSION, __version__, self.rows, self.generations, members, problems)
        content: dict[str, Any] = {"format": FORMAT, **asdict(done)}
        document = {**content, "checksum": _checksum(content)}
        archive.add_bytes(MANIFEST, json.dumps(document, sort_keys=True).encode())
        archive.close()
        return done


@contextmanager
def written(path: Path) -> Iterator[ArchiveWriter]:
    """An archive to be written at ``path``, compressed if its name says so; durable when the block ends."""
    stream = pa.OSFile(str(path), "wb")
    if path.name.removesuffix(".part").endswith(".zst"):
        stream = pa.CompressedOutputStream(stream, "zstd")
    with stream:
        yield ArchiveWriter(cast(BinaryIO, stream))
    sync_file(path)


@contextmanager
def _read(path: Path) -> Iterator[ArchiveReader]:
    try:
        with path.open("rb") as file:
            packed = file.read(len(ZSTD)) == ZSTD
        stream = pa.OSFile(str(path), "rb")
        if packed:
            stream = pa.CompressedInputStream(stream, "zstd")
        with stream:
            yield ArchiveReader(cast(BinaryIO, stream))
    except FileNotFoundError:
        raise InputError(f"There is no file {path}.") from None
    except IsADirectoryError:
        raise InputError(f"{path} is a directory, not a backup.") from None


def unpack(path: Path, folder: Path) -> Contents:
    """Writes the files of a backup into the empty ``folder``; when it returns, every one is what the manifest says.

    Raises InputError for anything that is not a whole, undamaged backup that this version reads, StoreError when the
    disk has no room for it.
    """
    found: dict[str, Member] = {}
    document = b""
    with _read(path) as archive:
        for name, size in archive:
            if document or name in found:
                raise InputError(f"{path} holds {name!r} where a backup of Backline has nothing.")
            if name == MANIFEST:
                document = _take_manifest(archive, size)
                continue
            if not _ALLOWED.fullmatch(name):
                raise InputError(f"{path} holds {name!r}: it was not made by Backline.")
            if size > shutil.disk_usage(folder).free - FREE_BYTES:
                raise StoreError(f"The disk has no room for {name!r} of the backup ({size:,} bytes).")
            found[name] = _take(archive, name, folder)
    contents = _contents(document, path)
    if wrong := sorted(set(contents.members) ^ set(found.values()), key=lambda member: member.name):
        raise InputError(f"{path} is damaged: {wrong[0].name!r} is not what its manifest says.")
    return contents


def _take_manifest(archive: ArchiveReader, size: int) -> bytes:
    if size > MAX_MANIFEST_BYTES:
        raise InputError("The manifest of the backup is too large to be one.")
    parts = []
    while block := archive.read(size):
        parts.append(block)
    return b"".join(parts)


def _take(archive: ArchiveReader, name: str, folder: Path) -> Member:
    target, total, size = folder / name, hashlib.sha256(), 0
    target.parent.mkdir(parents=True, exist_ok=True)
    with target.open("xb") as file:
        while block := archive.read(2**20):
            file.write(block)
            total.update(block)
            size += len(block)
    sync_file(target)
    return Member(name, size, total.hexdigest())


def _contents(document: bytes, path: Path) -> Contents:
    if not document:
        raise InputError(f"{path} has no manifest: it is no backup of Backline, or was not written to its end.")
    try:
        content = json.loads(document)
        checksum = content.pop("checksum")
        if checksum != _checksum(content):
            raise InputError(f"{path} is damaged: its manifest was altered.")
        if content.pop("format") != FORMAT or content["schema"] > VERSION:
            raise InputError(
                f"{path} was made by a newer Backline ({content['backline']}).", hint="Restore it with that."
            )
        if content["schema"] < OLDEST_SCHEMA:
            raise InputError(f"{path} has the layout {content['schema']} of tables, which this Backline cannot read.")
        content["members"] = tuple(Member(**one) for one in content["members"])
        content["problems"] = tuple(content["problems"])
        return Contents(**content)
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"The manifest of {path} cannot be read: {error}") from None


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
