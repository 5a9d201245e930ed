"""The documentation sites that benchmarks crawl, and the server that shows them."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

HERE = Path(__file__).parent
ROOTS = {
    "csound": "csound/usr/share/doc/csound-doc/html",
    "solfege": "solfege/usr/share/doc/solfege/help",
    "snd": "snd/usr/share/doc/snd/HTML/manual",
    "apache2": "apache2/usr/share/doc/apache2-doc/manual",
    "python": "python/usr/share/doc/python3.11/html",
    "git": "git/usr/share/doc/git-doc",
}
STARTS = {"solfege": "C/index.html", "snd": "snd.html"}  # the others begin at index.html


class Server:
    """The static server in a process of its own."""

    def __init__(self, folder: Path, latency_ms: float, sitemap: bool) -> None:
        command = [sys.executable, str(HERE / "static_server.py"), str(folder), f"--latency-ms={latency_ms}"]
        command += ["--sitemap"] * sitemap
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.origin = f"http://127.0.0.1:{self._line()}"

    def counts(self) -> dict[str, int]:
        """Answers by status and bytes sent since the last call."""
        assert self._process.stdin
        self._process.stdin.write("\n")
        self._process.stdin.flush()
        counts: dict[str, int] = json.loads(self._line())
        return counts

    def close(self) -> None:
        assert self._process.stdin
        self._process.stdin.close()
        self._process.wait()

    def _line(self) -> str:
        assert self._process.stdout
        return self._process.stdout.readline().strip()


@contextmanager
def serving(folder: Path, latency_ms: float, sitemap: bool = False) -> Iterator[Server]:
    """A server for the length of a block."""
    server = Server(folder, latency_ms, sitemap)
    try:
        yield server
    finally:
        server.close()
