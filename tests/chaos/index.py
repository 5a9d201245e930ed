"""Embedding and publishing under fire: drivers, embedding workers, the vector owner and the publisher are killed.

python tests/chaos/index.py [--kills 200] [--seed N] [--points N] [--rounds N]

First each named kill point of hooks/sitecustomize.py in turn, or N of them, then processes at random, all with SIGKILL.
Every round publishes a brand of its own four times, its documents changing in between, in every second round as a brand
that is searched through the vector store. Whoever dies is started again as an operator or Ray would. After each
publication the index equals one that was made in one process without Ray and without kills, and catalog, directories,
vector store and staging agree; all the while a reader asks every brand and is never let down.
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
import pyarrow as pa

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE / "hooks"))

from crawl import Fire, _below  # noqa: E402
from index_corpus import EMBEDDED, PHASES, make_model, put  # noqa: E402
from index_invariants import (  # noqa: E402
    IndexSnapshot,
    check_state,
    index_difference,
    index_snapshot,
    ledger_rows,
    strangers,
)
from sitecustomize import INDEX_POINTS  # noqa: E402

from ray_app.config import Settings, load  # noqa: E402
from ray_app.index.depot import open_depot  # noqa: E402
from ray_app.index.embedder import SentenceEmbedder, load_embedder  # noqa: E402
from ray_app.index.publish import STALE_AGE_S, collect  # noqa: E402
from ray_app.ingest.indexing import BrandIndexer  # noqa: E402
from ray_app.ingest.stages import ChunkStage, EmbedOrder, EmbedStage  # noqa: E402
from ray_app.store.lease import Lease  # noqa: E402
from ray_app.store.stores import Stores, stores  # noqa: E402

RUN_S = 240.0  # a driver that takes longer, and is not killed, hangs
POINTS_AT_ONCE = 8  # in one publication, so that they are come by in publications of every kind
ROUNDS_OF_POINTS = 4  # after which each was come by
# Of points that publications without embedding come by as well, which are much sooner over: so many in one with.
SHARED_POINTS = 2
START_S = 1.0  # a driver takes so long to begin; killed sooner each time, it would never come to anything
GAP_S = 0.8  # between shots, on average
KEEP = 2  # generations, so that from the third publication on there is something to remove
TARGETS = ("driver", "embedder", "embedder", "cutter", "owner")
TITLES = {"EmbedWorker": "embedder", "embedder:": "embedder", "ChunkTask": "cutter", "VectorOwner": "owner"}
# Those that one process comes by more than once.
OFTEN = {p for p in INDEX_POINTS if p.startswith(("staged", "upsert", "build-file-", "build-folder-"))}
# Kills of workers while one driver runs, of driver and owner in one publication. Five workers that die over one batch
# are no accident to the product, nor are three owners that die in the same call.
PER_RUN = {"driver": 3, "embedder": 3, "cutter": 3, "owner": 2}
VOLLEY = 0.3  # share of shots that hit several processes at once, as when a machine runs out of memory


class IndexFire(Fire):
    """Knows the processes that embed and publish."""

    def __init__(self, folder: Path, seed: int) -> None:
        super().__init__(folder, seed)
        self.degraded = 0  # publications that did without the vector store, and were therefore made again
        self.shot: Counter[str] = Counter()  # see PER_RUN

    def shoot(self, driver: psutil.Process, cluster: psutil.Process) -> None:
        """Kill one process or one of each kind, of those that live and have been spared so far."""
        drawn = self._draw.choice(TARGETS)
        for target in sorted(set(TARGETS)) if self._draw.random() < VOLLEY else [drawn]:
            found = [driver] if target == "driver" else [p for p in _below(cluster) if _kind(p) == target]
            if found and self.shot[target] < PER_RUN[target]:
                self._kill(self._draw.choice(found), target)

    def arm_all(self, points: dict[str, int]) -> None:
        """Have the next process that comes to one of the points for the given time kill itself."""
        if points:
            part = self._folder / "arming"
            part.write_text("".join(f"{point} {count}\n" for point, count in points.items()))
            part.rename(self._folder / "armed")
        else:
            self.disarm()

    def last_fired(self) -> str:
        """The point at which one did, "" if none has since the last call; counts it."""
        for mark in self._folder.glob("fired-*"):
            mark.unlink()
            point = mark.name.partition("-")[2]
            self.kills[f"point {point}"] += 1
            return point
        return ""

    def _kill(self, victim: psutil.Process, target: str) -> None:
        try:
            victim.send_signal(signal.SIGKILL)
        except psutil.NoSuchProcess:
            return
        self.shot[target] += 1
        self.kills[target] += 1


def _kind(process: psutil.Process) -> str:
    try:
        title = process.cmdline()[:1]
    except psutil.Error:
        return ""
    return next((kind for word, kind in TITLES.items() if title and word in title[0]), "")


class Battlefield:
    """The model, the cluster, the reader and the stores of one run."""

    def __init__(self, folder: Path, phases: tuple[str, ...] = PHASES) -> None:
        self.folder = folder
        self.phases = phases  # version of the documents in each publication of a round
        self.report = folder / "report.json"  # of the last driver that came to its end
        self._environment = {
            **os.environ,
            "BACKLINE_DATA_DIR": str(folder / "data"),
            "BACKLINE_EMBEDDING__MODEL": str(folder / "model"),
            "BACKLINE_EMBEDDING__PRECISION": "fp32",
            "BACKLINE_INDEX__KEEP_GENERATIONS": str(KEEP),
            "BACKLINE_LOG__LEVEL": "WARNING",
            "CHAOS_DIR": str(folder),
            "PYTHONPATH": os.pathsep.join((str(HERE / "hooks"), os.environ.get("PYTHONPATH", ""))),
        }
        self._head = self._start("head.py", log="head.log")
        make_model(folder / "model")  # while the cluster starts
        assert self._head.stdout
        self._environment["BACKLINE_RAY__ADDRESS"] = self._head.stdout.readline().strip()
        assert self._environment["BACKLINE_RAY__ADDRESS"], "the cluster did not start"
        self.cluster = psutil.Process(self._head.pid)
        self._served = (folder / "served.log").open("w+", encoding="utf-8")
        self._reader = self._start("index_reader.py", stdout=self._served, log="reader.log")
        self.corpora: set[str] = set()  # what may be served

    def _start(
        self, script: str, *arguments: str, stdout: object = subprocess.PIPE, log: str, **more: str
    ) -> subprocess.Popen[str]:
        command = [sys.executable, str(HERE / script), *arguments]
        environment = {**self._environment, **more}
        with (self.folder / log).open("a") as errors:
            return subprocess.Popen(
                command, stdin=subprocess.PIPE, stdout=stdout, stderr=errors, text=True, env=environment
            )  # type: ignore[call-overload]

    def settings(self, where: str = "data") -> Settings:
        """Those of the processes, or of the undisturbed run."""
        embedding = {"model": self._environment["BACKLINE_EMBEDDING__MODEL"], "precision": "fp32"}
        return load(data_dir=self.folder / where, embedding=embedding, index={"keep_generations": KEEP})

    def publish(self, brand: str, *, exact: bool) -> subprocess.Popen[str]:
        """Start a driver."""
        limit = "100000" if exact else "0"
        script, report = "index_driver.py", str(self.report)
        return self._start(script, brand, report, log="driver.log", BACKLINE_INDEX__EXACT_MAX_CHUNKS=limit)

    @contextmanager
    def stores(self, where: str = "data") -> Iterator[Stores]:
        """What the publications work on."""
        with stores(self.settings(where)) as opened:
            yield opened

    def served(self) -> list[list[str]]:
        """What the reader came to serve so far: brand, generation, hash of the corpus. AssertionError when it died."""
        lines = (self.folder / "served.log").read_text("utf-8").splitlines()
        assert self._reader.poll() in (None, 0), (self.folder / "reader.log").read_text("utf-8")[-3000:]
        return [line.split() for line in lines]

    def await_reader(self, brand: str, live: str) -> None:
        """Until the reader serves a generation. It serves nothing that was never whole."""
        deadline = time.monotonic() + 20
        while [brand, live] not in [line[:2] for line in self.served()]:
            assert time.monotonic() < deadline, f"the reader does not come to {live}"
            time.sleep(0.1)
        foreign = [line for line in self.served() if line[0] != "asked" and line[2] not in self.corpora]
        assert not foreign, f"served, and made of no version: {foreign}"

    def close(self) -> int:
        """End everything; returns how many questions the reader has asked."""
        for process in (self._reader, self._head):
            assert process.stdin
            process.stdin.close()
            process.wait(timeout=60)
        return int(self.served()[-1][1])


class Calm:
    """Makes in this process, in stores of its own, what an undisturbed run comes to."""

    def __init__(self, field: Battlefield) -> None:
        self._field = field
        self._settings = field.settings("calm")
        self._embedder: SentenceEmbedder = load_embedder(self._settings.embedding, threads=1)

    def index(self, brand: str) -> list[IndexSnapshot]:
        """Of each phase."""
        found = []
        with self._field.stores("calm") as opened:
            for version in self._field.phases:
                put(opened, brand, int(version))
                indexer = BrandIndexer(self._settings, opened, self._embed)
                with Lease(opened.ledger, brand, label="calm", ttl_s=60) as lease:
                    indexer.index(brand, lease)
                found.append(index_snapshot(opened, brand))
        return found

    def _embed(self, order: EmbedOrder) -> dict[str, int]:
        pages = self._settings.data_dir / "pages"
        cut = ChunkStage(pages, order.brand, self._embedder, self._settings.embedding, order.model)
        refs = [document.page for document in order.documents]
        table = cut(pa.table({"part": [ref.part for ref in refs], "row": [ref.row for ref in refs]}))
        order.staging.write(order.run, EmbedStage(self._embedder, order.staging.known(order.run))(table))
        return {}


def due(points: list[str], version: str, phase: int) -> list[str]:
    """The points to be armed in a publication: those it comes by, and first those that few come by."""
    rare, shared = [], []
    for point in points:
        kind = point.partition("-")[0]
        if kind in ("delete", "old"):
            rare += [point] if phase >= KEEP else []
        elif kind in ("staged", "upsert"):
            rare += [point] if version in EMBEDDED else []
        else:
            shared.append(point)
    return [*rare, *(shared[:SHARED_POINTS] if version in EMBEDDED else shared)][:POINTS_AT_ONCE]


def publish_under_fire(
    field: Battlefield, fire: IndexFire, brand: str, phase: int, points: list[str], *, exact: bool
) -> dict[str, object]:
    """One publication to its end; returns the report of the driver that came to it.

    Points that are due are armed; when none is left, processes are shot.
    """
    draw = random.Random(f"{fire.seed}{brand}{phase}")  # of its own: how often Fire draws depends on the clock
    driver, started = field.publish(brand, exact=exact), time.monotonic()
    armed = {point: draw.randint(1, 2) if point in OFTEN else 1 for point in due(points, field.phases[phase], phase)}
    random_only, shot_at = not points, time.monotonic()
    fire.shot.clear()
    fire.arm_all(armed)
    while True:
        if time.monotonic() > started + RUN_S:
            driver.kill()
            raise TimeoutError(f"the publication of {brand} (phase {phase}) hangs")
        code = driver.poll()
        if point := fire.last_fired():
            points.remove(point)
            armed.pop(point, None)  # one of the publication before may have come by after its end
            fire.arm_all(armed)
        if code is not None:
            assert code in (0, -signal.SIGKILL), f"the driver ended with {code}"
            report = json.loads(field.report.read_bytes()) if code == 0 else {}
            assert not report.get("error"), report
            if report and not report["embed"]["degraded"]:
                fire.disarm()  # what is left is due in a later publication
                return dict(report)
            fire.degraded += bool(report)
            driver, started = field.publish(brand, exact=exact), time.monotonic()
            fire.shot["embedder"] = fire.shot["cutter"] = 0
        begun, waited = time.monotonic() - started, time.monotonic() - shot_at
        if random_only and begun > START_S and waited > draw.expovariate(1 / GAP_S):
            fire.shoot(psutil.Process(driver.pid), field.cluster)
            shot_at = time.monotonic()
        time.sleep(0.02)


def one_round(field: Battlefield, calm: Calm, fire: IndexFire, number: int, points: list[str]) -> None:
    """Publish a brand of its own in every version. Raises AssertionError when a result differs."""
    brand, exact = f"rough-{number}", number % 2 == 0
    expected = calm.index(brand)
    field.corpora.update(one.corpus_hash for one in expected)
    with field.stores() as opened:
        for phase, version in enumerate(field.phases):
            where = f"seed {fire.seed}, {brand}, phase {phase}"
            put(opened, brand, int(version))
            started, kills = time.monotonic(), fire.kills.total()
            before = ledger_rows(opened, brand)
            report = publish_under_fire(field, fire, brand, phase, points, exact=exact)
            assert ledger_rows(opened, brand) == before, f"{where}: the ledger was touched"
            found = index_difference(expected[phase], index_snapshot(opened, brand))
            assert not found, f"{where}:\n" + "\n".join(found[:20])
            assert not report["found"], f"{where}: {report['found']}"
            try:
                check_state(opened, brand, report["held"], KEEP)
            except AssertionError as error:
                raise AssertionError(f"{where}: {error}") from None
            live = opened.catalog.live(brand)
            assert live
            field.await_reader(brand, live)
            seconds = time.monotonic() - started
            print(f"{brand}, phase {phase}: {fire.kills.total() - kills} kills in {seconds:.0f} s", flush=True)
        kept = {row.generation for row in opened.catalog.generations(brand)}
        collect(opened.catalog, open_depot(field.settings()), brand, (), kept, time.time() + STALE_AGE_S + 60)
        assert not strangers(opened, brand), f"{where}: {strangers(opened, brand)} are never collected"


def run(field: Battlefield, fire: IndexFire, points: list[str], kills: int, rounds: int = 0) -> Counter[str]:
    """Publish until ``kills`` processes were killed, or for so many ``rounds``. Raises AssertionError."""
    try:
        calm = Calm(field)
        number = 0
        while number < rounds if rounds else fire.kills.total() < kills:
            number += 1
            assert not points or number <= ROUNDS_OF_POINTS, f"nobody comes by {points}"
            one_round(field, calm, fire, number, points)
            print(f"round {number}: {fire.kills.total()} kills, all invariants hold", flush=True)
    finally:
        asked = field.close()
    if points and not rounds:
        raise AssertionError(f"nobody comes by {points}")
    if points:
        print(f"not come by: {points}")
    assert fire.kills.total() > 0, "nobody was killed, so nothing was tried"
    print(f"{fire.degraded} publications found no vector store and were made again")
    print(f"the reader asked {asked} times and was never let down")
    return fire.kills


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(10**6))
    parser.add_argument("--points", type=int, default=len(INDEX_POINTS))
    parser.add_argument("--rounds", type=int, default=0, help="instead of --kills")
    parser.add_argument("--phases", type=int, default=len(PHASES), help="publications of each round")
    given = parser.parse_args()
    print(f"seed {given.seed}", flush=True)
    every = list(INDEX_POINTS)
    points = sorted(random.Random(given.seed).sample(every, given.points), key=every.index)
    folder, started = Path(tempfile.mkdtemp(prefix="backline-chaos-")), time.monotonic()
    field = Battlefield(folder, PHASES[: given.phases])
    kills = run(field, IndexFire(folder, given.seed), points, given.kills, given.rounds)
    print(f"{kills.total()} kills in {time.monotonic() - started:.0f} s: {dict(sorted(kills.items()))}")
    shutil.rmtree(folder)


if __name__ == "__main__":
    main()
