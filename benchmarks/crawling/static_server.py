"""A static web server for benchmarks: files in memory, conditional requests, added latency, little CPU of its own.

python benchmarks/crawling/static_server.py FOLDER [--port 0] [--latency-ms 20] [--sitemap]

A number in place of FOLDER serves so many generated pages. With --sitemap it serves a sitemap of all HTML files with
their dates. Prints its port on the first line. Answers If-None-Match with 304, counts what it sent, and prints the
counts as JSON for each line it reads from standard input.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import mimetypes
import random
import sys
from datetime import UTC, datetime
from email.utils import formatdate
from pathlib import Path
from typing import cast
from urllib.parse import unquote
from xml.sax.saxutils import escape

import uvloop

Answer = tuple[bytes, bytes, bytes, str]  # 200, 304, ETag, date


class Generated:
    """``/index.html`` and so many pages in a tree, made as they are asked for; each has a text of its own."""

    def __init__(self, count: int) -> None:
        self._count = count
        self.answers = self

    def get(self, path: bytes) -> Answer | None:
        """The page at a path."""
        name = path.removeprefix(b"/page/").removesuffix(b".html")
        number = 0 if path == b"/index.html" else int(name) if name.isdigit() else self._count
        if number >= self._count:
            return None
        links = "".join(
            f'<li><a href="/page/{child}.html">Part {child}</a>'
            for child in (*range(8 * number + 1, 8 * number + 9), 1, 2, 3)
            if child < self._count
        )
        words = " ".join(random.Random(number).choices(WORDS, k=120))
        body = f"<title>Part {number}</title><main><h1 id=top>Part {number}</h1><p>{words}</p><ul>{links}</ul></main>"
        return _answer(body.encode(), "text/html; charset=utf-8", 0)


class Files:
    """Every file below a folder as ready answers, by URL path."""

    def __init__(self, root: Path) -> None:
        self.answers: dict[bytes, Answer] = {}
        for path in sorted(root.rglob("*")):
            if path.is_file():
                self._add(root, path)

    def add_sitemap(self, origin: str) -> None:
        """A sitemap of all HTML files, and the robots.txt that names it."""
        entries = (
            f"<url><loc>{origin}{escape(name.decode())}</loc><lastmod>{answer[3]}</lastmod></url>"
            for name, answer in self.answers.items()
            if name.endswith(b".html")
        )
        head = '<?xml version="1.0"?><urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">'
        self._keep("/sitemap.xml", f"{head}{''.join(entries)}</urlset>".encode(), "application/xml", 0)
        self._keep("/robots.txt", f"Sitemap: {origin}/sitemap.xml\n".encode(), "text/plain", 0)

    def _add(self, root: Path, path: Path) -> None:
        kind = mimetypes.guess_type(path.name)[0] or "application/octet-stream"
        name = "/" + path.relative_to(root).as_posix()
        self._keep(name, path.read_bytes(), kind, path.stat().st_mtime)
        if path.name == "index.html":
            self.answers[name.removesuffix("index.html").encode()] = self.answers[name.encode()]

    def _keep(self, name: str, body: bytes, kind: str, modified: float) -> None:
        self.answers[name.encode()] = _answer(body, kind, modified)


def _answer(body: bytes, kind: str, modified: float) -> Answer:
    etag = f'"{hashlib.md5(body, usedforsecurity=False).hexdigest()}"'
    head = f"Last-Modified: {formatdate(modified, usegmt=True)}\r\nETag: {etag}\r\n"
    full = f"HTTP/1.1 200 OK\r\nContent-Type: {kind}\r\nContent-Length: {len(body)}\r\n{head}\r\n".encode() + body
    unchanged = f"HTTP/1.1 304 Not Modified\r\n{head}\r\n".encode()
    date = datetime.fromtimestamp(modified, UTC).isoformat(timespec="seconds")
    return full, unchanged, etag.encode(), date


WORDS = tuple(f"{stem}{end}" for stem in ("pad", "knob", "cable", "filter", "tempo", "drum") for end in "abcdefghij")
MISSING = b"HTTP/1.1 404 Not Found\r\nContent-Type: text/plain\r\nContent-Length: 9\r\n\r\nnot found"


class Connection(asyncio.Protocol):
    """One keep-alive connection; requests have no body."""

    def __init__(self, files: Files | Generated, latency_s: float, counts: dict[str, int]) -> None:
        self._files, self._latency_s, self._counts = files, latency_s, counts
        self._buffer = b""
        self._transport: asyncio.Transport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)  # uvloop's is none of asyncio's own class

    def data_received(self, data: bytes) -> None:
        self._buffer += data
        while (end := self._buffer.find(b"\r\n\r\n")) >= 0:
            request, self._buffer = self._buffer[:end], self._buffer[end + 4 :]
            answer = self._answer(request)
            if self._latency_s:
                asyncio.get_running_loop().call_later(self._latency_s, self._send, answer)
            else:
                self._send(answer)

    def _answer(self, request: bytes) -> bytes:
        path = request.split(b" ", 2)[1].partition(b"?")[0]
        found = self._files.answers.get(path) or self._files.answers.get(unquote(path.decode("latin-1")).encode())
        if found is None:
            self._counts["404"] += 1
            return MISSING
        full, unchanged, etag, _ = found
        if b"if-none-match: " + etag in request.replace(b"If-None-Match", b"if-none-match"):
            self._counts["304"] += 1
            return unchanged
        self._counts["200"] += 1
        return full

    def _send(self, answer: bytes) -> None:
        self._counts["bytes"] += len(answer)
        if self._transport is not None and not self._transport.is_closing():
            self._transport.write(answer)


async def serve(files: Files | Generated, port: int, latency_s: float, sitemap: bool) -> None:
    """Serve until standard input ends."""
    counts = {"200": 0, "304": 0, "404": 0, "bytes": 0}
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Connection(files, latency_s, counts), "127.0.0.1", port, backlog=1024)
    port = server.sockets[0].getsockname()[1]
    if sitemap and isinstance(files, Files):
        files.add_sitemap(f"http://127.0.0.1:{port}")
    print(port, flush=True)
    while await loop.run_in_executor(None, sys.stdin.readline):
        print(json.dumps(counts), flush=True)
        counts.update(dict.fromkeys(counts, 0))


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--port", type=int, default=0)
    parser.add_argument("--latency-ms", type=float, default=0.0)
    parser.add_argument("--sitemap", action="store_true")
    given = parser.parse_args()
    files = Generated(int(given.folder.name)) if given.folder.name.isdigit() else Files(given.folder)
    uvloop.run(serve(files, given.port, given.latency_ms / 1000, given.sitemap))


if __name__ == "__main__":
    main()
