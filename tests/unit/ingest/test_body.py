"""Bodies are read within bounds, whatever the chunks they come in."""

from __future__ import annotations

import gzip
import zlib

import pytest

from ray_app.ingest.body import MAX_GZIP_MEMBERS, BodyLimits, BodyReader, BodyRefused

TEXT = b"It was the best of times, it was the worst of times. " * 200
LIMITS = BodyLimits(max_bytes=100_000, min_bytes_per_s=0)


class Chunks:
    """A StreamReader that has all its chunks already."""

    def __init__(self, *chunks: bytes) -> None:
        self._chunks = list(chunks)

    async def readany(self) -> bytes:
        return self._chunks.pop(0) if self._chunks else b""


def raw_deflate(data: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(data) + packer.flush()


async def read(encoding: str, body: bytes, size: int = 65_536, limits: BodyLimits = LIMITS) -> bytes:
    chunks = Chunks(*(body[i : i + size] for i in range(0, len(body), size)))
    return await BodyReader(encoding, limits).read(chunks)  # type: ignore[arg-type]


@pytest.mark.parametrize("size", [1, 2, 3, 17, 65_536])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("", TEXT),
        ("identity", TEXT),
        ("gzip", gzip.compress(TEXT)),
        ("X-GZIP", gzip.compress(TEXT)),
        ("deflate", zlib.compress(TEXT)),
        ("deflate", raw_deflate(TEXT)),
        ("gzip", gzip.compress(TEXT[:100]) + gzip.compress(TEXT[100:])),
        ("gzip", gzip.compress(TEXT) + bytes(20)),
        ("gzip", gzip.compress(TEXT) + b"\x1fgarbage"),
        ("deflate", zlib.compress(TEXT) + b"garbage"),
    ],
)
async def test_every_encoding_in_chunks_of_any_size(encoding: str, body: bytes, size: int) -> None:
    assert await read(encoding, body, size) == TEXT


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, gzip", "gzip, br", "compress", "\udcff"])
def test_encodings_that_were_not_asked_for(encoding: str) -> None:
    with pytest.raises(BodyRefused, match="bad_encoding"):
        BodyReader(encoding, LIMITS)


@pytest.mark.parametrize("size", [1, 65_536])
@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("gzip", b"plain text"),
        ("gzip", gzip.compress(TEXT)[:-1]),
        ("gzip", b"\x1f"),
        ("deflate", zlib.compress(TEXT)[:-5]),
        ("gzip", gzip.compress(TEXT)[:40] + bytes(40) + gzip.compress(TEXT)[80:]),
    ],
)
async def test_broken_compression(encoding: str, body: bytes, size: int) -> None:
    with pytest.raises(BodyRefused, match="bad_encoding"):
        await read(encoding, body, size)


async def test_an_empty_body_is_empty_whatever_its_encoding() -> None:
    assert await read("gzip", b"") == b""


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_bomb_stops_at_the_cap(encoding: str) -> None:
    bomb = (gzip.compress if encoding == "gzip" else zlib.compress)(bytes(20_000_000))
    with pytest.raises(BodyRefused, match="too_large"):
        await read(encoding, bomb)


async def test_exactly_the_cap_is_not_too_large() -> None:
    body = bytes(100_000)
    assert await read("", body) == body
    assert await read("gzip", gzip.compress(body), 7) == body
    for encoding, longer in (("", body + b"x"), ("gzip", gzip.compress(body + b"x"))):
        with pytest.raises(BodyRefused, match="too_large"):
            await read(encoding, longer)


async def test_many_tiny_members_are_cut_short() -> None:
    body = gzip.compress(b"x") * (MAX_GZIP_MEMBERS + 50)
    assert await read("gzip", body) == b"x" * MAX_GZIP_MEMBERS


@pytest.mark.parametrize("encoding", ["", "gzip"])
async def test_truncating_keeps_what_fits(encoding: str) -> None:
    body = gzip.compress(TEXT) if encoding else TEXT
    limits = BodyLimits(max_bytes=1000, min_bytes_per_s=0, truncate=True)
    assert await read(encoding, body, 64, limits) == TEXT[:1000]
