"""Memory of a crawl as its site grows: a generated site of so many pages, sampled on the way.

python benchmarks/crawl_memory.py [--pages 100000] [--every 10000]

Prints the memory of all processes of the crawl (proportional set size) each time so many more pages are stored.
"""

from __future__ import annotations

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import psutil

from ray_app.config import load
from ray_app.ingest.brands import make_brand
from ray_app.ingest.crawl import Progress
from ray_app.on_ray.pipeline import Pipeline, Steps
from ray_app.on_ray.session import connect
from ray_app.store.stores import stores

HERE = Path(__file__).parent / "crawling"


class Watch:
    """Prints a line each time ``every`` more URLs are handled."""

    def __init__(self, every: int) -> None:
        self._every = every
        self._next = every
        self._started = time.monotonic()

    def __call__(self, progress: Progress) -> None:
        if progress.handled < self._next and not progress.done:
            return
        self._next += self._every
        seconds = time.monotonic() - self._started
        sizes = {name: sum(map(_pss, group)) / 2**20 for name, group in _groups().items()}
        parts = ", ".join(f"{name} {size:.0f}" for name, size in sorted(sizes.items()))
        print(f"{progress.handled:8} URLs  {seconds:6.0f} s  {sum(sizes.values()):6.0f} MB  ({parts})", flush=True)


def _groups() -> dict[str, list[psutil.Process]]:
    """The processes of the crawl: this one, the actors, and Ray."""
    me = psutil.Process()
    groups: dict[str, list[psutil.Process]] = {"coordinator": [me], "scraper": [], "extractors": [], "Ray": []}
    for process in me.children(recursive=True):
        title = " ".join(process.cmdline())
        if "static_server" not in title:
            kind = "scraper" if "FetchActor" in title else "extractors" if "ExtractActor" in title else "Ray"
            groups[kind].append(process)
    return groups


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--pages", type=int, default=100_000)
    parser.add_argument("--every", type=int, default=10_000)
    given = parser.parse_args()
    command = [sys.executable, str(HERE / "static_server.py"), str(given.pages)]
    server = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
    assert server.stdout and server.stdin
    start = f"http://127.0.0.1:{server.stdout.readline().strip()}/index.html"
    with tempfile.TemporaryDirectory() as folder:
        settings = load(data_dir=Path(folder), crawl={"per_host_connections": 16})
        fields = {"start_urls": (start,), "allow_hosts": ("127.0.0.1",), "rate": 0.0, "max_pages": 2 * given.pages}
        config = make_brand("large", fields, settings.crawl)
        with stores(settings) as opened, connect(settings):
            (result,) = Pipeline(settings, opened, Watch(given.every)).run([config], Steps(embed=False))
        print(result.error or f"{result.crawl.stored if result.crawl else 0} texts stored")
    server.stdin.close()
    server.wait()


if __name__ == "__main__":
    main()
