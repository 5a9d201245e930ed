"""Bodies are read within bounds, whatever the chunks they come in."""

from __future__ import annotations

import gzip
import random
import subprocess
import sys
import zlib

import pytest

from ray_app.ingest.body import (
    MAX_GZIP_MEMBERS,
    MAX_RATIO,
    RATIO_FREE_BYTES,
    BodyLimits,
    BodyReader,
    BodyRefused,
    expansion_cap,
)

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


@pytest.mark.parametrize("size", [100, 65_536])
async def test_a_bomb_stops_at_its_ratio_though_its_kind_may_be_large(size: int) -> None:
    """A server says which kind a body is of, and PDFs may have 128 MiB."""
    limits = BodyLimits(max_bytes=128 * 2**20, min_bytes_per_s=0)
    with pytest.raises(BodyRefused, match="too_large"):
        await read("gzip", gzip.compress(bytes(2 * RATIO_FREE_BYTES)), size, limits)


async def test_what_compresses_well_without_being_a_bomb_is_read() -> None:
    limits = BodyLimits(max_bytes=128 * 2**20, min_bytes_per_s=0)
    row = b'<tr class="row"><td>' + b"</td><td></td><td></td><td>" * 8 + b"</td></tr>"
    draw = random.Random(1)
    table = b"".join(row + b"<td>%d</td>" % draw.randrange(100) for _ in range(2 * RATIO_FREE_BYTES // len(row)))
    packed = gzip.compress(table)
    assert 50 < len(table) / len(packed) < MAX_RATIO
    assert await read("gzip", packed, 65_536, limits) == table


async def test_truncating_a_bomb_keeps_what_its_ratio_allows() -> None:
    packed = gzip.compress(bytes(4 * RATIO_FREE_BYTES))
    limits = BodyLimits(max_bytes=128 * 2**20, min_bytes_per_s=0, truncate=True)
    assert len(await read("gzip", packed, 65_536, limits)) == expansion_cap(len(packed)) == RATIO_FREE_BYTES


GROWTH = """
import asyncio, gzip, resource, sys, zlib
from ray_app.ingest.body import BodyLimits, BodyReader, BodyRefused

class Chunks:
    def __init__(self, body): self.parts = [body[i:i + 65536] for i in range(0, len(body), 65536)]
    async def readany(self): return self.parts.pop(0) if self.parts else b""

def bomb(wbits):
    packer = zlib.compressobj(9, wbits=wbits)
    head, block = packer.compress(b"") + packer.flush(zlib.Z_FULL_FLUSH), bytes(2**24)
    return head + 64 * (packer.compress(block) + packer.flush(zlib.Z_FULL_FLUSH))  # each block stands by itself

async def grow(encoding, body, cap):
    try:
        await BodyReader(encoding, BodyLimits(cap, 0)).read(Chunks(body))
    except BodyRefused as error:
        assert error.message == "too_large", error
    else:
        raise AssertionError("the bomb was let through")

bombs = {"gzip": bomb(31), "deflate": bomb(15)}
assert all(len(body) < 2**30 / 1000 for body in bombs.values())
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
for cap in (16 * 2**20, 128 * 2**20):
    for encoding, body in bombs.items():
        asyncio.run(grow(encoding, body, cap))
print((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) // 1024)
"""


def test_a_bomb_of_a_gigabyte_does_not_grow_the_process() -> None:
    """1:1000, as a page and as a PDF: less than 64 MiB (bad inputs, 11)."""
    done = subprocess.run([sys.executable, "-c", GROWTH], capture_output=True, text=True, check=True, timeout=100)
    assert int(done.stdout) < 64


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
