"""Crawls under fire: coordinator, fetch actor, extraction processes and PDF readers are killed with SIGKILL.

python tests/chaos/crawl.py [--kills 200] [--seed N] [--points N]

First each named kill point (see hooks/sitecustomize.py) in turn, or N of them, then processes at random. Every round
crawls a brand of its own three times, the site changing in between; whoever dies is started again as an operator or Ray
would. After each crawl the result is compared with an undisturbed one: same URLs with the same fates, same texts,
nothing twice.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psutil

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "hooks"))

from invariants import Snapshot, difference, snapshot  # noqa: E402
from sitecustomize import POINTS  # noqa: E402

from ray_app.config import load  # noqa: E402
from ray_app.store.stores import Stores, stores  # noqa: E402

PHASES = (("1", "delta"), ("2", "delta"), ("1", "full"))  # version of the site, how it is crawled
CRAWL_S = 400.0  # a crawl that takes longer hangs
START_S = 7.0  # a driver takes so long to begin; killed sooner each time, it would never come to anything
USUAL_S = 12.0  # of an undisturbed crawl; on a machine where it takes longer, all the waits are longer
CALM_S = 3.0  # after a kill point: a page on which three processes die one after the other is given up, rightly
TARGETS = ("driver", "scraper", "scraper", "extractor", "extractor", "pdf")


class Fire:
    """Kills processes below ``roots`` and counts them by target."""

    def __init__(self, folder: Path, seed: int) -> None:
        self._folder = folder
        self.seed = seed
        self.pace = 1.0  # times as slow as usual
        self._draw = random.Random(seed)
        self.kills: Counter[str] = Counter()
        # Extractors that lost a PDF reader: none loses two, for a PDF on which two die is given up, rightly.
        self._bereft: set[int] = set()

    def arm(self, point: str, count: int) -> None:
        """Have the first process that comes to a point for the countth time kill itself."""
        (self._folder / "armed").write_text(f"{point} {count}")

    def fired(self, point: str) -> bool:
        """Whether it happened; counts it."""
        marks = list(self._folder.glob("fired-*"))
        for mark in marks:
            mark.unlink()
            self.kills[f"point {point}"] += 1
        return bool(marks)

    def disarm(self) -> None:
        (self._folder / "armed").unlink(missing_ok=True)

    def shoot(self, driver: psutil.Process, cluster: psutil.Process) -> None:
        """Kill one process at random, if any of the drawn kind lives."""
        target = self._draw.choice(TARGETS)
        found = [driver] if target == "driver" else [p for p in _below(cluster) if _kind(p) == target]
        if not found:
            return
        victim = self._draw.choice(found)
        try:
            parent = victim.ppid()
            if target == "pdf" and parent in self._bereft:
                return
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            return
        if target == "pdf":
            self._bereft.add(parent)
        self.kills[target] += 1


def _below(cluster: psutil.Process) -> list[psutil.Process]:
    try:
        return cluster.children(recursive=True)
    except psutil.NoSuchProcess:
        return []


def _kind(process: psutil.Process) -> str:
    try:
        title = " ".join(process.cmdline())
    except psutil.Error:
        return ""
    if "FetchActor" in title:
        return "scraper"
    if "ExtractActor" in title:
        return "extractor"
    return "pdf" if "ingest.pdf.child" in title else ""


class Battlefield:
    """The site, the cluster and the stores of one run."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._environment = {
            **os.environ,
            "BACKLINE_DATA_DIR": str(folder / "data"),
            "CHAOS_DIR": str(folder),
            "PYTHONPATH": os.pathsep.join((str(HERE / "hooks"), os.environ.get("PYTHONPATH", ""))),
        }
        self._site = self._start("target_site.py")
        self.start_url = f"http://{self._line(self._site)}/"
        self._head = self._start("head.py")
        self._environment["BACKLINE_RAY__ADDRESS"] = self._line(self._head)
        assert self._environment["BACKLINE_RAY__ADDRESS"], "the cluster did not start"
        self.cluster = psutil.Process(self._head.pid)

    def _start(self, script: str, *arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, str(HERE / script), *arguments]
        return subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=None, text=True, env=self._environment
        )

    @staticmethod
    def _line(process: subprocess.Popen[str]) -> str:
        assert process.stdout
        return process.stdout.readline().strip()

    def show(self, version: str) -> None:
        """Have the site serve a version."""
        assert self._site.stdin
        self._site.stdin.write(f"{version}\n")
        self._site.stdin.flush()
        assert self._line(self._site) == "ok"

    def crawl(self, brand: str, mode: str) -> subprocess.Popen[str]:
        """Start a driver."""
        return self._start("driver.py", brand, self.start_url, mode)

    @contextmanager
    def stores(self) -> Iterator[Stores]:
        """What the crawls have written."""
        with stores(load(data_dir=self.folder / "data")) as opened:
            yield opened

    def finished_cycles(self, brand: str) -> int:
        """How many crawls of a brand have come to their end."""
        with self.stores() as opened:
            cycle = opened.ledger.last_cycle(brand)
        return 0 if cycle is None else cycle.number - (cycle.finished_at is None)

    def close(self) -> None:
        for process in (self._head, self._site):
            assert process.stdin
            process.stdin.close()
            process.wait(timeout=60)


def crawl_calmly(field: Battlefield, fire: Fire, brand: str) -> list[Snapshot]:
    """What the crawls come to when nobody is killed. Tells ``fire`` how slow this machine is."""
    calm = []
    for version, mode in PHASES:
        field.show(version)
        started = time.monotonic()
        report = json.loads(field.crawl(brand, mode).communicate(timeout=CRAWL_S)[0])
        fire.pace = max(fire.pace, (time.monotonic() - started) / USUAL_S)
        assert not report["error"], report
        with field.stores() as opened:
            calm.append(snapshot(opened, brand))
    return calm


def crawl_under_fire(field: Battlefield, fire: Fire, brand: str, mode: str, points: list[str], gap_s: float) -> None:
    """One crawl to its end: ``points`` are armed one after the other, then processes are shot about every ``gap_s``."""
    draw = random.Random(f"{fire.seed}{brand}{mode}")  # of its own: how often Fire draws depends on the clock
    deadline = time.monotonic() + CRAWL_S
    before = field.finished_cycles(brand)
    driver, started = field.crawl(brand, mode), time.monotonic()
    armed, calm_until = "", 0.0
    shot_at = time.monotonic()
    while True:
        if time.monotonic() > deadline:
            raise TimeoutError(f"the crawl of {brand} ({mode}) hangs")
        if (code := driver.poll()) is not None:
            out = driver.communicate()[0]
            if code == 0:
                fire.disarm()
                if armed and not fire.fired(armed):
                    points.insert(0, armed)
                assert not json.loads(out)["error"], out
                return
            assert code == -signal.SIGKILL, f"the driver ended with {code}"
            if field.finished_cycles(brand) > before:  # it had just finished
                fire.fired(armed)
                fire.disarm()
                return
            driver, started = field.crawl(brand, mode), time.monotonic()
        if armed and fire.fired(armed):
            armed, calm_until = "", time.monotonic() + CALM_S * fire.pace
        if not armed and points and time.monotonic() > calm_until:
            armed = points.pop(0)
            fire.arm(armed, 1 if armed.startswith(("lease", "cycle", "sitemap")) else draw.randint(1, 3))
        working = time.monotonic() - started > START_S * fire.pace
        if working and not (points or armed) and time.monotonic() - shot_at > draw.expovariate(1 / gap_s) * fire.pace:
            fire.shoot(psutil.Process(driver.pid), field.cluster)
            shot_at = time.monotonic()
        time.sleep(0.05)


def run(kills: int, seed: int, points: list[str], folder: Path) -> Counter[str]:
    """Crawl until ``kills`` processes were killed. Raises AssertionError when a result differs."""
    fire = Fire(folder, seed)
    field = Battlefield(folder)
    try:
        calm = crawl_calmly(field, fire, "calm")
        rounds = 0
        while fire.kills.total() < kills:
            rounds += 1
            brand = f"rough-{rounds}"
            for (version, mode), expected in zip(PHASES, calm, strict=True):
                field.show(version)
                crawl_under_fire(field, fire, brand, mode, points, gap_s=1.0)
                with field.stores() as opened:
                    found = difference(expected, snapshot(opened, brand))
                assert not found, f"seed {seed}, {brand}, version {version}, {mode}:\n" + "\n".join(found[:20])
            print(f"round {rounds}: {fire.kills.total()} kills, all invariants hold", flush=True)
    finally:
        field.close()
    return fire.kills


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--points", type=int, default=len(POINTS))
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    every = list(POINTS)
    points = sorted(random.Random(given.seed).sample(every, given.points), key=every.index)
    folder = Path(tempfile.mkdtemp(prefix="backline-chaos-"))
    kills = run(given.kills, given.seed, points, folder)
    print(f"{kills.total()} kills: {dict(sorted(kills.items()))}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
