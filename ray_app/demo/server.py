"""The bundled support sites on loopback: one port for each brand, served from files."""

from __future__ import annotations

import hashlib
import mimetypes
import socket
import sys
from collections import deque
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from functools import partial
from http import HTTPStatus
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Lock, Thread
from types import TracebackType
from urllib.parse import unquote, urlsplit

from ray_app.errors import BacklineError, ConfigError

SITE = Path(__file__).with_name("site")
HOST = "127.0.0.1"
LOG_LENGTH = 10_000  # requests remembered; a whole crawl of both brands is about 100
IDLE_S = 30.0  # a kept-alive connection is closed after so long


@dataclass(frozen=True, slots=True)
class Served:
    """One answered request."""

    brand: str
    path: str
    status: int


class DemoSite:
    """Serves every brand folder below ``root`` from the start of the ``with`` block to its end.

    ``ports`` fixes the port of a brand; brands it leaves out get a free one. Edits below ``root`` show at once.
    """

    def __init__(self, root: Path = SITE, ports: Mapping[str, int] | None = None) -> None:
        self.root = root
        self.log: deque[Served] = deque(maxlen=LOG_LENGTH)
        self._ports = dict(ports or {})
        self._servers: dict[str, _Server] = {}

    def __enter__(self) -> DemoSite:
        self.start()
        return self

    def __exit__(self, *_: type[BaseException] | BaseException | TracebackType | None) -> None:
        self.stop()

    def start(self) -> None:
        """Listen on every port. Raises ConfigError when a port is taken, a brand is unknown or there is none."""
        brands = sorted(folder.name for folder in self.root.glob("*/") if (folder / "index.html").is_file())
        if unknown := set(self._ports) - set(brands):
            raise ConfigError(f"The demo site has no brand {min(unknown)!r}.")
        if not brands:
            raise ConfigError(f"There is no demo site in {self.root}.")
        self.stop()
        try:
            for brand in brands:
                self._servers[brand] = _Server(brand, self.root / brand, self._ports.get(brand, 0), self.log)
        except OSError as error:
            self.stop()
            raise ConfigError(f"The demo site cannot listen on {HOST}: {error.strerror}.") from error

    def stop(self) -> None:
        """Close every port and every open connection. Harmless when nothing runs."""
        while self._servers:
            self._servers.popitem()[1].close()

    def urls(self) -> dict[str, str]:
        """Brand -> start URL. Raises BacklineError when the site is not running."""
        if not self._servers:
            raise BacklineError("The demo site is not running.")
        return {brand: f"http://{HOST}:{server.server_port}/" for brand, server in self._servers.items()}


class _Server(ThreadingHTTPServer):
    """One brand's port, listening from construction to ``close``. Raises OSError when the port is taken."""

    daemon_threads = False  # so that server_close waits for them

    def __init__(self, brand: str, root: Path, port: int, log: deque[Served]) -> None:
        super().__init__((HOST, port), partial(_Handler, brand, root.resolve(), log))
        self._open: set[socket.socket] = set()
        self._lock = Lock()
        self._thread = Thread(target=self.serve_forever, args=(0.05,), name=f"demo-{brand}", daemon=True)
        self._thread.start()

    def server_bind(self) -> None:
        """Skips the look-up of the host's name that the base class does: it can take seconds and nobody reads it."""
        self.socket.bind(self.server_address)
        self.server_address = self.socket.getsockname()
        self.server_name, self.server_port = HOST, self.server_address[1]

    def process_request(self, request: socket.socket | tuple[bytes, socket.socket], client_address: object) -> None:
        if isinstance(request, socket.socket):
            with self._lock:
                self._open.add(request)
        super().process_request(request, client_address)

    def shutdown_request(self, request: socket.socket | tuple[bytes, socket.socket]) -> None:
        if isinstance(request, socket.socket):
            with self._lock:
                self._open.discard(request)
        super().shutdown_request(request)

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that hangs up is no news; anything else is a bug and belongs on stderr."""
        if not isinstance(sys.exception(), OSError):
            super().handle_error(request, client_address)  # type: ignore[arg-type]

    def close(self) -> None:
        """Idle kept-alive connections would hold their threads, so they are cut rather than waited for."""
        self.shutdown()
        self._thread.join()
        with self._lock:
            for connection in self._open:
                with suppress(OSError):  # the client was faster
                    connection.shutdown(socket.SHUT_RDWR)
        self.server_close()


class _Handler(BaseHTTPRequestHandler):
    """GET and HEAD for the files of one folder, with validators. No redirects and no directory listings."""

    protocol_version = "HTTP/1.1"
    server_version = "BacklineDemo"
    sys_version = ""
    timeout = IDLE_S
    disable_nagle_algorithm = True  # header and body leave in two writes

    def __init__(self, brand: str, root: Path, log: deque[Served], *args: object) -> None:
        self._brand = brand
        self._root = root
        self._log = log
        super().__init__(*args)  # type: ignore[arg-type]

    def do_GET(self) -> None:
        file = self._file()
        if file is None:
            self._answer(HTTPStatus.NOT_FOUND, b"<!DOCTYPE html><title>Not found</title><h1>Not found</h1>", {})
            return
        body = file.read_bytes()
        modified = int(file.stat().st_mtime)
        headers = {
            "ETag": f'"{hashlib.sha256(body).hexdigest()[:32]}"',
            "Last-Modified": formatdate(modified, usegmt=True),
            "Cache-Control": "no-cache",
        }
        if self._unchanged(headers["ETag"], modified):
            self._answer(HTTPStatus.NOT_MODIFIED, b"", headers)
        else:
            self._answer(HTTPStatus.OK, body, headers, _media_type(file))

    do_HEAD = do_GET

    def _file(self) -> Path | None:
        """The file that the request's path names, or None. Nothing outside the folder is ever named."""
        path = unquote(urlsplit(self.path).path)
        if "\0" in path or not path.startswith("/"):
            return None
        file = self._root / (path.lstrip("/") + ("index.html" if path.endswith("/") else ""))
        with suppress(OSError):  # such as a name longer than the file system allows
            file = file.resolve()
            return file if file.is_relative_to(self._root) and file.is_file() else None
        return None

    def _unchanged(self, etag: str, modified: int) -> bool:
        """RFC 9110, 13.2.2: If-Modified-Since counts only where no If-None-Match was sent."""
        if (known := self.headers.get("If-None-Match")) is not None:
            return known.strip() == "*" or etag in {tag.strip().removeprefix("W/") for tag in known.split(",")}
        try:
            return modified <= parsedate_to_datetime(self.headers.get("If-Modified-Since", "")).timestamp()
        except ValueError:
            return False

    def _answer(
        self, status: HTTPStatus, body: bytes, headers: Mapping[str, str], media_type: str = "text/html; charset=utf-8"
    ) -> None:
        self._log.append(Served(self._brand, self.path, int(status)))
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        if status is not HTTPStatus.NOT_MODIFIED:
            self.send_header("Content-Type", media_type)
            self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:
        """The base class writes to stderr; ``DemoSite.log`` keeps the requests instead."""


def _media_type(file: Path) -> str:
    kind = mimetypes.guess_type(file.name)[0] or "application/octet-stream"
    return f"{kind}; charset=utf-8" if kind.startswith("text/") else kind
