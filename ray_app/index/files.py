"""Durable writing: what these functions return from has reached the disk."""

from __future__ import annotations

import hashlib
import os
from contextlib import suppress
from pathlib import Path
from typing import IO


def sync_file(path: Path) -> None:
    with path.open("rb") as stream:
        os.fsync(stream.fileno())


def sync_folder(path: Path) -> None:
    """Make names created, renamed or removed in ``path`` durable."""
    folder = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)


def replace_file(path: Path, content: bytes) -> None:
    """Put ``content`` at ``path`` in one step: a reader sees the old file, or none, or all of the new one."""
    partial = path.with_name(path.name + ".part")
    partial.write_bytes(content)
    sync_file(partial)
    partial.replace(path)
    sync_folder(path.parent)


def finish(file: IO[bytes], header: bytes, error: BaseException | None) -> None:
    """Write ``header`` over the beginning and close; after an ``error`` only close. Closed it is in any case.

    A file that could not be written fails again as it is closed: what is raised is the first error.
    """
    try:
        if error is None:
            file.seek(0)
            file.write(header)
            file.flush()
    finally:
        with suppress(OSError):  # all is flushed, or there is an error already
            file.close()


def digest(path: Path) -> str:
    """SHA-256 in hex."""
    with path.open("rb") as stream:
        return hashlib.file_digest(stream, "sha256").hexdigest()
