"""Archives: plain tar (POSIX ustar) of regular files, written and read as streams; any ``tar`` lists and unpacks them.

Our own reader, because an archive may come from anywhere: it knows regular files with plain relative names and nothing
else, so links, devices, sparse files, absolute names and extended headers, which tell a general reader to write
elsewhere or to take memory without end, are refused before anything is done.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from ray_app.errors import InputError

BLOCK = 512
COPY_BYTES = 2**20
_NAME_BYTES, _PREFIX_BYTES = 100, 155  # of the two fields of a header
_OCTAL_MAX = 8**11  # sizes from here on are written in binary, as GNU tar does
_STEP = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"  # of a name: no hidden files, no way up
_NAME = re.compile(rf"{_STEP}(?:/{_STEP})*")


@dataclass(frozen=True, slots=True)
class Member:
    """One file of an archive."""

    name: str
    bytes: int
    sha256: str


class ArchiveWriter:
    """Appends files to ``stream``; ``members`` are those so far."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self.members: list[Member] = []

    def add_bytes(self, name: str, content: bytes) -> None:
        """One file from memory."""
        self._stream.write(_header(name, len(content)))
        self._stream.write(content)
        self._pad(len(content))
        self.members.append(Member(name, len(content), hashlib.sha256(content).hexdigest()))

    def add_file(self, name: str, path: Path) -> Member:
        """One file from the disk. Raises FileNotFoundError before anything is written, OSError when it shrinks."""
        total, left = hashlib.sha256(), 0
        with path.open("rb") as file:
            size = left = os.fstat(file.fileno()).st_size
            self._stream.write(_header(name, size))
            while left and (block := file.read(min(COPY_BYTES, left))):
                self._stream.write(block)
                total.update(block)
                left -= len(block)
        if left:
            raise OSError(f"{path} became shorter while it was read")
        self._pad(size)
        self.members.append(Member(name, size, total.hexdigest()))
        return self.members[-1]

    def close(self) -> None:
        """Writes the end mark; the stream stays open."""
        self._stream.write(bytes(2 * BLOCK))

    def _pad(self, size: int) -> None:
        self._stream.write(bytes(-size % BLOCK))


class ArchiveReader:
    """The files of a stream, one after the other. Raises InputError for anything but a whole archive of ours."""

    def __init__(self, stream: BinaryIO) -> None:
        self._stream = stream
        self._left = 0  # of the member under way
        self._pad = 0

    def __iter__(self) -> Iterator[tuple[str, int]]:
        """(name, size) of each file; ``read`` gives its bytes, what is not read is passed over."""
        while True:
            while self._left:
                self.read(COPY_BYTES)
            self._exactly(self._pad)
            header = self._exactly(BLOCK)
            if not any(header):
                return
            name, size = _parse(header)
            self._left, self._pad = size, -size % BLOCK
            yield name, size

    def read(self, size: int) -> bytes:
        """The next bytes of the file under way; b"" at its end."""
        block = self._exactly(min(size, self._left, COPY_BYTES))
        self._left -= len(block)
        return block

    def _exactly(self, size: int) -> bytes:
        try:
            block = self._stream.read(size) if size else b""
        except (OSError, ValueError) as error:  # a compressed stream that is damaged, or a disk
            raise InputError(f"The backup cannot be read: {error}") from None
        if len(block) != size:
            raise InputError("The backup ends in the middle: it was not written or copied to its end.")
        return block


def _header(name: str, size: int) -> bytes:
    prefix, short = _split(name)
    header = bytearray(BLOCK)
    header[0 : len(short)] = short
    header[100:124] = b"0000644\0" + b"0000000\0" + b"0000000\0"  # mode, owner, group
    header[124:136] = b"%011o\0" % size if size < _OCTAL_MAX else b"\x80" + size.to_bytes(11, "big")
    header[136:148] = b"00000000000\0"  # no time: the same state makes the same archive
    header[148:156] = b" " * 8
    header[156:157] = b"0"
    header[257:265] = b"ustar\00000"
    header[345 : 345 + len(prefix)] = prefix
    header[148:156] = b"%06o\0 " % sum(header)
    return bytes(header)


def _split(name: str) -> tuple[bytes, bytes]:
    if not _NAME.fullmatch(name):
        raise ValueError(f"{name!r} is not a name for a file in an archive")
    raw = name.encode()
    if len(raw) <= _NAME_BYTES:
        return b"", raw
    at = raw.find(b"/", len(raw) - _NAME_BYTES - 1)
    if not 0 < at <= _PREFIX_BYTES:
        raise ValueError(f"{name!r} is too long for an archive")
    return raw[:at], raw[at + 1 :]


def _parse(header: bytes) -> tuple[str, int]:
    try:
        checksum = int(header[148:156].strip(b" \0"), 8)
        name = b"/".join(filter(None, (_text(header[345:500]), _text(header[0:100])))).decode("ascii")
        field = header[124:136]
        size = int.from_bytes(field[1:], "big") if field[0] == 0x80 else int(field.strip(b" \0") or b"0", 8)
    except (ValueError, UnicodeDecodeError):
        raise InputError("This is not a backup of Backline.") from None
    if checksum != sum(header) - sum(header[148:156]) + 8 * ord(" ") or header[257:262] != b"ustar":
        raise InputError("This is not a backup of Backline, or it is damaged.")
    if header[156:157] not in (b"0", b"\0") or not _NAME.fullmatch(name):
        raise InputError(f"The backup holds {name[:200]!r}, which is no plain file: it was not made by Backline.")
    return name, size


def _text(field: bytes) -> bytes:
    return field.split(b"\0", 1)[0]
