"""A whole crawl: Backline against Scrapy with trafilatura, on real documentation sites served from loopback.

python benchmarks/crawl.py SITES [--site csound --site python] [--latency-ms 0 --latency-ms 20] [--rounds 3]

SITES holds the sites as `get.sh` of the data unpacks them. The two sides alternate; each runs in processes of its
own, with the same number of connections, from the same server, and writes the same fields. Prints medians, their ratio,
and every page that only one side has fetched. Needs the extra `bench`.
"""

from __future__ import annotations

import argparse
import json
import shutil
import statistics
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from crawling.measure import Tree
from crawling.sites import ROOTS, Server, serving

HERE = Path(__file__).parent / "crawling"
CONCURRENCY = 16


@dataclass(frozen=True)
class Run:
    """One crawl by one side."""

    seconds: float
    cpu_s: float
    peak_mb: float
    requests: int
    urls: frozenset[str]  # of HTML pages, without the origin: each crawl has a server of its own
    served: dict[str, int]  # what the server counted

    @property
    def pages(self) -> int:
        return len(self.urls)


def scrapy(server: Server) -> Run:
    """One crawl by the peer."""
    with tempfile.NamedTemporaryFile(suffix=".jsonl") as out:
        script = str(HERE / "scrapy_site.py")
        command = [sys.executable, script, f"{server.origin}/index.html", out.name, str(CONCURRENCY)]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
        with Tree(process.pid) as tree:
            told = json.loads(process.communicate()[0])
        urls = frozenset(json.loads(line)["url"] for line in Path(out.name).read_text().splitlines())
    return _run(told, tree, urls, server)


def backline(server: Server, runs: int) -> list[Run]:
    """A first crawl and further ones of the unchanged site. Starting Ray is not part of them."""
    folder = tempfile.mkdtemp()
    command = [sys.executable, str(HERE / "our_site.py"), f"{server.origin}/index.html", folder, str(CONCURRENCY)]
    process = subprocess.Popen(
        [*command, str(runs)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
    )
    assert process.stdin and process.stdout
    found = []
    for _ in range(runs):
        assert process.stdout.readline() == "ready\n"
        with Tree(process.pid) as tree:
            process.stdin.write("\n")
            process.stdin.flush()
            told = json.loads(process.stdout.readline())
        found.append(_run(told, tree, frozenset(told["urls"]), server))
    process.communicate()
    shutil.rmtree(folder)
    return found


def _run(told: dict[str, Any], tree: Tree, urls: frozenset[str], server: Server) -> Run:
    html = frozenset(url.partition("#")[0].removeprefix(server.origin) for url in urls)
    return Run(told["seconds"], tree.cpu_s, tree.peak_bytes / 2**20, told["requests"], html, server.counts())


def compare(site: str, folder: Path, latency_ms: float, rounds: int) -> None:
    """Both sides by turns, then their medians."""
    theirs: list[Run] = []
    ours: list[Run] = []
    again: list[Run] = []
    for turn in range(rounds):
        for side in ("scrapy", "backline") if turn % 2 else ("backline", "scrapy"):
            with serving(folder, latency_ms) as server:
                if side == "scrapy":
                    theirs.append(scrapy(server))
                else:
                    first, second = backline(server, 2)
                    ours.append(first)
                    again.append(second)
    with serving(folder, latency_ms, sitemap=True) as server:
        mapped_first, mapped = backline(server, 2)
    print(f"\n{site}, {latency_ms:g} ms of latency, {rounds} rounds, {CONCURRENCY} connections")
    show("Scrapy + trafilatura", theirs)
    show("Backline", ours)
    show("Backline again, unchanged", again)
    show("Backline again, with a sitemap", [mapped])
    speed, cpu = _ratio(theirs, ours, "seconds"), _ratio(theirs, ours, "cpu_s")
    print(f"  ratio: {speed:.1f} times the pages a second, {cpu:.1f} times less CPU a page")
    print(f"  again: {_ratio(ours, again, 'seconds'):.1f} times as fast as the first", end="; ")
    print(f"with a sitemap {mapped_first.seconds / mapped.seconds:.1f} times")
    tell_difference(theirs[-1].urls, ours[-1].urls)


def show(name: str, runs: list[Run]) -> None:
    """Medians of one side."""
    seconds, cpu_s, peak = (_median(runs, field) for field in ("seconds", "cpu_s", "peak_mb"))
    pages, served = runs[-1].pages, runs[-1].served
    rate, cpu_ms, sent = pages / seconds, 1000 * cpu_s / pages, served["bytes"] / 1e6
    print(
        f"  {name:32} {pages:5} pages {seconds:7.2f} s {rate:7.0f} pages/s {cpu_ms:7.1f} CPU-ms a page {peak:6.0f} MB  "
        f"{served['200']} bodies, {served['304']} times 304, {sent:.1f} MB sent"
    )


def tell_difference(theirs: frozenset[str], ours: frozenset[str]) -> None:
    """Pages that one side alone has."""
    for name, urls in (("Scrapy", theirs - ours), ("Backline", ours - theirs)):
        print(f"  only {name}: {len(urls)} {sorted(urls)[:5] or ''}")


def _median(runs: list[Run], field: str) -> float:
    return statistics.median(getattr(run, field) for run in runs)


def _ratio(slow: list[Run], fast: list[Run], field: str) -> float:
    return _median(slow, field) / _median(fast, field)


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sites", type=Path)
    parser.add_argument("--site", action="append", choices=sorted(ROOTS))
    parser.add_argument("--latency-ms", action="append", type=float)
    parser.add_argument("--rounds", type=int, default=3)
    given = parser.parse_args()
    for site in given.site or ("csound", "python"):
        for latency_ms in given.latency_ms or (0.0, 20.0):
            compare(site, given.sites / ROOTS[site], latency_ms, given.rounds)


if __name__ == "__main__":
    main()
