"""What the site does when it misbehaves: one handler per misbehaviour."""

from __future__ import annotations

import asyncio
import gzip
import time
import zlib
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import suppress
from email.utils import formatdate

from aiohttp import web

from ray_app.testing.site import endless, scripted
from ray_app.testing.site.pages import HTML, html, pdf

DRIP_S = 0.02  # pause between the bytes of a slow body
FLOOD = b"<p>" + b"all work and no play " * 3_000
BOMB_BYTES = 64 * 2**20  # what the gzip bomb unpacks to, from about 64 KB

_TYPE = b"Content-Type: text/html\r\n"
_bombs: dict[int, bytes] = {}


def routes() -> list[web.RouteDef]:
    """Every misbehaving path."""
    flaky = Flaky()
    return [
        web.get("/flaky/{fails}", flaky.handle),
        web.get("/429", _too_many),
        web.get("/503", _unavailable),
        web.get("/slow-headers", _slow_headers),
        web.get("/slow-body", _slow_body),
        web.get("/stalled-body", _stalled_body),
        web.get("/endless", _endless),
        web.get("/gzip", _gzip),
        web.get("/gzip-members", _gzip_members),
        web.get("/deflate", _deflate),
        web.get("/deflate-raw", _deflate_raw),
        web.get("/gzip-bomb", _gzip_bomb),
        web.get("/gzip-cut", _gzip_cut),
        web.get("/gzip-garbage", _gzip_garbage),
        web.get("/nested-encoding", _nested_encoding),
        web.get("/unasked-encoding", _unasked_encoding),
        web.get("/length-too-long", _raw(_TYPE + b"Content-Length: 5000\r\n", b"<p>only this")),
        web.get("/length-huge", _raw(_TYPE + b"Content-Length: 99999999999\r\n", b"<p>only this")),
        web.get("/length-too-short", _raw(_TYPE + b"Content-Length: 4\r\n", b"<p>more than four bytes")),
        web.get("/header-bomb", _raw(_TYPE + b"X-Long: " + b"a" * 100_000 + b"\r\n", b"")),
        web.get("/typeless", _raw(b"", html("No Content-Type"))),
        web.get("/typeless-pdf", _raw(b"", pdf("No Content-Type"))),
        web.get("/typeless-binary", _raw(b"", bytes(64))),
        web.get("/not-http", _not_http),
        web.get("/hang-up", _hang_up),
        *endless.routes(),
        *scripted.routes(),
    ]


class Flaky:
    """``/flaky/3?key=x`` fails three times with 500, then answers; each URL counts by itself."""

    def __init__(self) -> None:
        self._seen: Counter[str] = Counter()

    async def handle(self, request: web.Request) -> web.Response:
        self._seen[request.path_qs] += 1
        if self._seen[request.path_qs] <= int(request.match_info["fails"]):
            return web.Response(status=500, text="not yet")
        return _page("Flaky")


def _page(title: str) -> web.Response:
    return web.Response(body=html(title), headers={"Content-Type": HTML})


def _encoded(body: bytes, encoding: str) -> web.Response:
    return web.Response(body=body, headers={"Content-Type": HTML, "Content-Encoding": encoding})


async def _too_many(request: web.Request) -> web.Response:
    """429; ``?after=7`` asks for seconds, ``?date=7`` for a date so many seconds ahead, nothing asks for nothing."""
    return web.Response(status=429, headers=_retry_after(request), text="slow down")


async def _unavailable(request: web.Request) -> web.Response:
    return web.Response(status=503, headers=_retry_after(request), text="later")


def _retry_after(request: web.Request) -> dict[str, str]:
    if "date" in request.query:
        return {"Retry-After": formatdate(time.time() + float(request.query["date"]), usegmt=True)}
    return {"Retry-After": request.query["after"]} if "after" in request.query else {}


async def _slow_headers(request: web.Request) -> web.Response:
    await asyncio.sleep(float(request.query.get("s", "30")))
    return _page("Slow headers")


async def _start(request: web.Request) -> web.StreamResponse:
    response = web.StreamResponse(headers={"Content-Type": HTML})
    await response.prepare(request)
    return response


async def _slow_body(request: web.Request) -> web.StreamResponse:
    """One byte at a time, for as long as anybody listens."""
    response = await _start(request)
    with suppress(ConnectionResetError):
        while True:
            await response.write(b"<")
            await asyncio.sleep(DRIP_S)
    return response


async def _stalled_body(request: web.Request) -> web.StreamResponse:
    response = await _start(request)
    await response.write(html("Stalled")[:40])
    await asyncio.sleep(float(request.query.get("s", "30")))
    return response


async def _endless(request: web.Request) -> web.StreamResponse:
    response = await _start(request)
    with suppress(ConnectionResetError):
        while True:
            await response.write(FLOOD)
    return response


async def _gzip(_: web.Request) -> web.Response:
    return _encoded(gzip.compress(html("Gzip")), "gzip")


async def _gzip_members(_: web.Request) -> web.Response:
    body = html("Members")
    return _encoded(gzip.compress(body[:50]) + gzip.compress(body[50:]) + bytes(8), "gzip")


async def _deflate(_: web.Request) -> web.Response:
    return _encoded(zlib.compress(html("Deflate")), "deflate")


async def _deflate_raw(_: web.Request) -> web.Response:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return _encoded(packer.compress(html("Raw deflate")) + packer.flush(), "deflate")


async def _gzip_bomb(request: web.Request) -> web.Response:
    """A body that unpacks to 64 MiB, or to ``?bytes=``."""
    size = int(request.query.get("bytes", BOMB_BYTES))
    if size not in _bombs:
        packer = zlib.compressobj(9, wbits=16 + zlib.MAX_WBITS)
        block = bytes(2**20)
        parts = [packer.compress(block) for _ in range(size // len(block))]
        _bombs[size] = b"".join(parts) + packer.flush()
    return _encoded(_bombs[size], "gzip")


async def _gzip_cut(_: web.Request) -> web.Response:
    return _encoded(gzip.compress(html("Cut"))[:-12], "gzip")


async def _gzip_garbage(_: web.Request) -> web.Response:
    return _encoded(b"this was never compressed", "gzip")


async def _nested_encoding(_: web.Request) -> web.Response:
    return _encoded(gzip.compress(gzip.compress(html("Nested"))), "gzip, gzip")


async def _unasked_encoding(_: web.Request) -> web.Response:
    return _encoded(b"\x0b\x02\x80br\x03", "br")


def _raw(head: bytes, body: bytes) -> Callable[[web.Request], Awaitable[web.StreamResponse]]:
    """A handler that writes these bytes past the server's own idea of HTTP, then hangs up."""

    async def handle(request: web.Request) -> web.StreamResponse:
        return _write_raw(request, b"HTTP/1.1 200 OK\r\nConnection: close\r\n" + head + b"\r\n" + body)

    return handle


async def _not_http(request: web.Request) -> web.StreamResponse:
    return _write_raw(request, b"220 mail.example ESMTP ready\r\n")


async def _hang_up(request: web.Request) -> web.StreamResponse:
    return _write_raw(request, b"")


def _write_raw(request: web.Request, data: bytes) -> web.StreamResponse:
    if request.transport is not None:
        request.transport.write(data)
        request.transport.close()
    return web.Response()  # goes nowhere: the connection is closed
