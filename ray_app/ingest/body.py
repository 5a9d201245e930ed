"""Reading one response body within bounds: bytes on the wire, bytes after decompression, and patience.

gzip and deflate are asked for and read, nothing else. br and zstd would save some 15% of the bytes of text and cost two
more native decoders of hostile input. A server that sends them unasked breaks HTTP: its body is refused unread, as are
nested encodings.
"""

from __future__ import annotations

import asyncio
import zlib
from dataclasses import dataclass

from aiohttp import StreamReader

from ray_app.errors import BacklineError

SLOW_AFTER_S = 10.0  # the minimum rate counts from here on, so that a slow start is forgiven
MAX_RATIO = 200  # decompressed to compressed; tables of a million equal cells reach 100, deflate ends at 1,032
RATIO_FREE_BYTES = 8 * 2**20  # below this any ratio will do: what cannot fill the memory need not be suspected
MAX_GZIP_MEMBERS = 64  # concatenated parts of one body; more is made to burn CPU

_GZIP_MAGIC = 0x1F  # first byte of a member
GZIP = 16 + zlib.MAX_WBITS  # of an Inflater
_RAW_DEFLATE = -zlib.MAX_WBITS


class BodyRefused(BacklineError):
    """The body cannot be used. ``message`` is a reason code of ``records.REASONS``, ``hint`` says more."""

    kind = "body-refused"


@dataclass(frozen=True, slots=True)
class BodyLimits:
    max_bytes: int  # on the wire, and again after decompression
    min_bytes_per_s: float  # on the wire, from ``slow_after_s`` on
    slow_after_s: float = SLOW_AFTER_S
    truncate: bool = False  # keep what fits instead of refusing the body


class BodyReader:
    """Reads one body. ``received`` counts wire bytes even when reading fails."""

    def __init__(self, content_encoding: str, limits: BodyLimits) -> None:
        """Raises BodyRefused ``bad_encoding`` for encodings that were not asked for, nested ones included."""
        self.received = 0
        self._limits = limits
        self._inflate = _inflater(content_encoding)
        self._pieces: list[bytes] = []
        self._room = limits.max_bytes

    async def read(self, content: StreamReader) -> bytes:
        """The decompressed body. Raises BodyRefused with ``too_large``, ``slow_body`` or ``bad_encoding``."""
        started = asyncio.get_running_loop().time()
        try:
            async with asyncio.timeout_at(started + self._patience()) as patience:
                while (chunk := await content.readany()) and self._take(chunk):
                    patience.reschedule(started + self._patience())
        except TimeoutError:
            if patience.expired():
                raise BodyRefused("slow_body", hint=f"{self.received} bytes came in time.") from None
            raise
        return self._finish()

    def _patience(self) -> float:
        """Seconds from the start by which more must have come, for the rate so far not to fall below the minimum."""
        minimum = self._limits.min_bytes_per_s
        earned = self.received / minimum if minimum else float("inf")
        return min(max(self._limits.slow_after_s, earned), 1e9)  # a timer cannot be set to infinity

    def _take(self, chunk: bytes) -> bool:
        """Keep what is new of the body; False when no more is wanted."""
        self.received += len(chunk)
        if self.received > self._limits.max_bytes and not self._limits.truncate:
            raise BodyRefused("too_large", hint=f"More than {self._limits.max_bytes} bytes on the wire.")
        if not self._inflate:
            self._keep(chunk, self._room)
        else:
            for piece in self._inflate.feed(chunk, self._inflated_room() + 1):
                self._keep(piece, self._inflated_room())
        return self._room > 0 or not self._limits.truncate

    def _inflated_room(self) -> int:
        """Bytes that may still come out of those that have come in."""
        kept = self._limits.max_bytes - self._room
        return min(self._limits.max_bytes, expansion_cap(self.received)) - kept

    def _keep(self, piece: bytes, room: int) -> None:
        if len(piece) > room:
            if not self._limits.truncate:
                raise BodyRefused("too_large", hint=f"More than {self._limits.max_bytes - self._room + room} bytes.")
            piece, self._room = piece[:room], room
        self._pieces.append(piece)
        self._room -= len(piece)

    def _finish(self) -> bytes:
        if self._inflate and self.received and not self._inflate.complete and self._room > 0:
            raise BodyRefused("bad_encoding", hint="The compressed body is cut off.")
        return b"".join(self._pieces)


def expansion_cap(compressed: int) -> int:
    """Bytes that so many compressed ones may become: more is a bomb, whatever the size limit of its kind."""
    return max(RATIO_FREE_BYTES, MAX_RATIO * compressed)


def _inflater(content_encoding: str) -> Inflater | None:
    match content_encoding.strip().lower():
        case "" | "identity":
            return None
        case "gzip" | "x-gzip":
            return Inflater(GZIP)
        case "deflate":
            return Inflater(zlib.MAX_WBITS)
        case _:
            raise BodyRefused("bad_encoding", hint="It is encoded in a way that was not asked for.")


class Inflater:
    """Streaming gzip or deflate that never produces more than it is asked for."""

    def __init__(self, wbits: int) -> None:
        self._wbits = wbits
        self._stream: zlib._Decompress | None = None
        self._head = b""
        self._members = 0
        self._garbage = False

    @property
    def complete(self) -> bool:
        """Whether the compressed stream ended where it said it would."""
        return self._members > 0 and (self._stream is None or self._garbage)

    def feed(self, data: bytes, most: int) -> list[bytes]:
        """What ``data`` adds, at most ``most`` bytes; what lies beyond is lost, for the body is refused then."""
        pieces: list[bytes] = []
        data = self._begin(data)
        while data and most > 0 and not self._garbage:
            piece, data = self._step(data, most)
            if piece:
                pieces.append(piece)
                most -= len(piece)
        return pieces

    def _begin(self, data: bytes) -> bytes:
        """Hold the first byte back until the second one tells zlib's wrapping from bare deflate."""
        if self._stream or self._members:
            return data
        self._head += data
        if len(self._head) < 2:
            return b""
        if self._wbits == zlib.MAX_WBITS and not _has_zlib_header(self._head):
            self._wbits = _RAW_DEFLATE  # many servers send deflate without the wrapping that the standard asks for
        data, self._head = self._head, b""
        return data

    def _step(self, data: bytes, most: int) -> tuple[bytes, bytes]:
        if self._stream is None:
            if self._members and (data[0] != _GZIP_MAGIC or self._members >= MAX_GZIP_MEMBERS):
                self._garbage = True
                return b"", b""
            self._stream = zlib.decompressobj(self._wbits)
        try:
            piece = self._stream.decompress(data, most)
        except zlib.error:
            if not self._members:
                raise BodyRefused("bad_encoding", hint="It cannot be decompressed.") from None
            self._garbage = True  # padding behind a complete stream is common and harmless
            return b"", b""
        if not self._stream.eof:
            return piece, self._stream.unconsumed_tail
        rest, self._stream = self._stream.unused_data, None
        self._members += 1
        return piece, rest


def _has_zlib_header(data: bytes) -> bool:
    """RFC 1950: the low half of the first byte is 8, and both bytes together are a multiple of 31."""
    return data[0] & 0x0F == 8 and int.from_bytes(data[:2], "big") % 31 == 0
