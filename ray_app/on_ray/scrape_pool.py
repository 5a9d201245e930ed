"""Actor pools of the crawl: fetch actors that wait on many sockets, extraction processes that burn CPU.

Fetch actors are shared by all crawls of the cluster (``scraper:0`` ...): a host hashes to one of them, which alone
paces it. Extraction processes belong to one job and are shared by the brands it works on; a page that kills one is
tried again alone, and kills nothing else.
"""

from __future__ import annotations

import hashlib
import os
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import ray
from ray.exceptions import RayActorError
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

from ray_app.config import CrawlSettings, Settings
from ray_app.ingest.brands import BrandConfig
from ray_app.ingest.fetch import Fetcher, HostProfile
from ray_app.ingest.lanes import profile_of
from ray_app.ingest.outcome import divide
from ray_app.ingest.urls import authority
from ray_app.ingest.worker import PageWorker
from ray_app.observe.log import configure, get_logger
from ray_app.records import FetchResult, FetchTask, PageOutcome, UrlState
from ray_app.store.pages import PageStore

log = get_logger(__name__)

# Shares are small so that Serve, the scheduler, two crawls and an embedding fit on two cores; see docs/operations.md.
FETCH_CPUS = 0.05
EXTRACT_CPUS = 0.2
# Batches one fetch actor works on at once: far more than it has sockets, so that slow hosts never hold up the others.
FETCH_CONCURRENCY = 512
# A fetch actor that died is restarted by Ray within seconds; a batch is sent again so often before it is given up.
FETCH_TRIES = 5
# A page is given up when the process died on it so often, first in company, then alone: twice may be bad luck.
EXTRACT_TRIES = 3
# Extraction of HTML is a matter of milliseconds; whatever takes longer than this per batch hangs.
HTML_BATCH_S = 60.0
# What starting and ending the process that reads a PDF may add to its time.
PDF_SLACK_S = 10.0
POOL_SIZE_KEY = "backline:fetch-actors"
# Batch work yields the CPU to replicas that answer people (added to the niceness Ray gives its workers).
NICENESS = 4


class FetchActor:
    """Ray's side of a Fetcher: started on first use, one per process."""

    def __init__(self, settings: Settings) -> None:
        configure(settings.log, component="scraper")
        self._fetcher = Fetcher(settings.crawl)
        self._started = False

    async def fetch(
        self, batch: Sequence[FetchTask], profile: HostProfile
    ) -> tuple[list[FetchResult], tuple[int, list[PageOutcome]]]:
        """The results with bodies, which go on to extraction; their number, and the outcomes of all others."""
        if not self._started:
            self._started = True
            await self._fetcher.start()
        bodies, settled = divide(await self._fetcher.fetch_batch(batch, profile))
        return bodies, (len(bodies), settled)


class ExtractActor:
    """Ray's side of a PageWorker."""

    def __init__(self, settings: Settings) -> None:
        configure(settings.log, component="extractor")
        os.nice(NICENESS)
        self._worker = PageWorker(PageStore(settings.data_dir / "pages"), settings.crawl)

    def process(self, config: BrandConfig, results: Sequence[FetchResult], only: int | None) -> list[PageOutcome]:
        """Outcomes of all results, or of the one at index ``only``."""
        return self._worker.process(config, results if only is None else results[only : only + 1])


@dataclass(slots=True)
class _Batch:
    """One submitted batch; whole when every task has its outcome."""

    tasks: Sequence[FetchTask]
    outcomes: list[PageOutcome] = field(default_factory=list)

    @property
    def open(self) -> list[FetchTask]:
        """Tasks whose bodies are being read."""
        done = {outcome.task.url for outcome in self.outcomes}
        return [task for task in self.tasks if task.url not in done]


@dataclass(frozen=True, slots=True)
class _Fetching:
    batch: _Batch
    bodies: Any  # ObjectRef of list[FetchResult]
    tries: int


@dataclass(frozen=True, slots=True)
class _Extracting:
    batch: _Batch
    bodies: Any
    tasks: Sequence[FetchTask]  # whose bodies are being read
    only: int | None  # index of the one body to read; None: all
    tries: int  # with this one
    worker: int
    allowed_s: float
    deadline: float  # monotonic seconds


def pool_sizes(settings: CrawlSettings, cpus: float) -> tuple[int, int]:
    """(fetch actors, extraction processes) for a cluster of so many CPUs."""
    fetchers = settings.fetch_workers or max(1, min(16, int(cpus) // 2))
    extractors = settings.extract_workers or max(1, min(32, int(cpus) - 1))
    return fetchers, extractors


def _agreed_fetchers(wanted: int) -> int:
    """The number of fetch actors that the cluster's first crawl chose; it holds while the cluster lives.

    A crawl that counted otherwise would hash a host to another actor, and the host would be paced twice.
    """
    _internal_kv_put(POOL_SIZE_KEY, str(wanted), overwrite=False)
    return int(_internal_kv_get(POOL_SIZE_KEY))


def fetch_actor(settings: Settings, index: int) -> Any:
    """The fetch actor of that number, made if it is not there."""
    options = {
        "name": f"scraper:{index}",
        "namespace": settings.ray.namespace,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": FETCH_CPUS,
        "max_concurrency": FETCH_CONCURRENCY,
        "max_restarts": -1,
    }
    return ray.remote(FetchActor).options(**options).remote(settings)


class ExtractPool:
    """The extraction processes of one job. Safe to use from the threads of several crawls."""

    def __init__(self, settings: Settings, size: int) -> None:
        job = ray.get_runtime_context().get_job_id()
        self.names = [f"extractor:{job}:{index}" for index in range(size)]
        made = ray.remote(num_cpus=EXTRACT_CPUS, max_restarts=-1)(ExtractActor)
        self._actors = [made.options(name=name).remote(settings) for name in self.names]
        self._owed_s = [0.0] * size  # what the work given to each may take at most
        self._given = [0] * size
        self._lock = threading.Lock()

    def process(self, config: BrandConfig, bodies: Any, only: int | None, allowed_s: float) -> tuple[int, Any, float]:
        """Give bodies to the process with the least to do.

        Returns its number, the reference of the outcomes, and when (monotonic seconds) it hangs: what was given to
        it before, by whichever crawl, comes first.
        """
        with self._lock:
            worker = min(range(len(self._given)), key=self._given.__getitem__)
            self._given[worker] += 1
            self._owed_s[worker] += allowed_s
            deadline = time.monotonic() + self._owed_s[worker]
        return worker, self._actors[worker].process.remote(config, bodies, only), deadline

    def done(self, worker: int, allowed_s: float) -> None:
        """A piece of work of this process has come back."""
        with self._lock:
            self._given[worker] -= 1
            self._owed_s[worker] -= allowed_s

    def kill(self, worker: int) -> None:
        """End a process that hangs; Ray starts it again, and its work comes back as crashed."""
        ray.kill(self._actors[worker], no_restart=False)

    def close(self) -> None:
        """End the processes."""
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []


def extract_pool(settings: Settings) -> ExtractPool:
    """A pool as large as the cluster bears."""
    return ExtractPool(settings, pool_sizes(settings.crawl, ray.cluster_resources().get("CPU", 1))[1])


class RayPageWorkers:
    """The crawl loop's PageWorkers on Ray actors. Bodies go from fetch to extraction without passing through here."""

    def __init__(self, settings: Settings, config: BrandConfig, pool: ExtractPool) -> None:
        self._config = config
        self._crawl = settings.crawl
        self._profile = profile_of(config)
        fetchers = pool_sizes(settings.crawl, ray.cluster_resources().get("CPU", 1))[0]
        self._fetchers = [fetch_actor(settings, index) for index in range(_agreed_fetchers(fetchers))]
        self._pool = pool
        self._fetching: dict[Any, _Fetching] = {}
        self._extracting: dict[Any, _Extracting] = {}

    def submit(self, batch: Sequence[FetchTask]) -> None:
        """Send a batch of one host to the fetch actor that paces it."""
        self._fetch(_Batch(batch), tries=1)

    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not self._fetching and not self._extracting

    def wait(self, timeout_s: float) -> list[list[PageOutcome]]:
        """Move fetched batches on to extraction; return the batches that are whole."""
        under_way = [*self._fetching, *self._extracting]
        ready, _ = ray.wait(under_way, num_returns=len(under_way), timeout=0, fetch_local=False)
        if not ready:
            ready, _ = ray.wait(under_way, num_returns=1, timeout=timeout_s, fetch_local=False)
        touched = [self._fetched(ref) if ref in self._fetching else self._extracted(ref) for ref in ready]
        self._kill_hanging()
        whole = {id(batch): batch.outcomes for batch in touched if batch and len(batch.outcomes) == len(batch.tasks)}
        return list(whole.values())

    def close(self) -> None:
        """Forget what is under way; the actors stay for others."""
        self._fetching.clear()
        for job in self._extracting.values():
            self._pool.done(job.worker, job.allowed_s)
        self._extracting.clear()

    def _fetch(self, batch: _Batch, tries: int) -> None:
        host = authority(batch.tasks[0].url).encode()
        actor = self._fetchers[int.from_bytes(hashlib.blake2b(host, digest_size=4).digest()) % len(self._fetchers)]
        bodies, ready = actor.fetch.options(num_returns=2).remote(list(batch.tasks), self._profile)
        self._fetching[ready] = _Fetching(batch, bodies, tries)

    def _fetched(self, ready: Any) -> _Batch | None:
        """The batch with the outcomes that need no extraction; the rest goes on."""
        fetching = self._fetching.pop(ready)
        batch = fetching.batch
        try:
            bodies, settled = ray.get(ready)
        except RayActorError:
            if fetching.tries >= FETCH_TRIES:
                raise
            log.warning("fetch_actor_died", urls=len(batch.tasks), tries=fetching.tries)
            time.sleep(fetching.tries)  # Ray restarts the actor in about a second
            self._fetch(batch, fetching.tries + 1)
            return None
        batch.outcomes.extend(settled)
        if bodies:
            self._extract(batch, fetching.bodies, batch.open, None, tries=1)
        return batch

    def _extract(self, batch: _Batch, bodies: Any, tasks: Sequence[FetchTask], only: int | None, tries: int) -> None:
        allowed_s = self._allowed_s(tasks)
        worker, ref, deadline = self._pool.process(self._config, bodies, only, allowed_s)
        self._extracting[ref] = _Extracting(batch, bodies, tasks, only, tries, worker, allowed_s, deadline)

    def _allowed_s(self, tasks: Sequence[FetchTask]) -> float:
        pdfs = sum(urlsplit(task.url).path.lower().endswith(".pdf") for task in tasks)
        return HTML_BATCH_S + pdfs * (self._crawl.pdf_timeout_s + PDF_SLACK_S)

    def _extracted(self, ref: Any) -> _Batch | None:
        """The batch with these outcomes added; None when its bodies are read again one by one."""
        job = self._extracting.pop(ref)
        self._pool.done(job.worker, job.allowed_s)
        try:
            job.batch.outcomes.extend(ray.get(ref))
        except RayActorError:
            return self._after_crash(job)
        return job.batch

    def _after_crash(self, job: _Extracting) -> _Batch | None:
        """One bad page must not take its neighbours along: from the second try on, each is extracted alone."""
        log.warning("extract_actor_died", urls=len(job.tasks), tries=job.tries)
        if job.tries < EXTRACT_TRIES:
            for index, task in enumerate(job.tasks) if job.only is None else [(job.only, job.tasks[0])]:
                self._extract(job.batch, job.bodies, [task], index, job.tries + 1)
            return None
        (task,) = job.tasks
        job.batch.outcomes.append(
            PageOutcome(task=task, state=UrlState.FAILED, reason="extract_crashed", fetched_at=time.time())
        )
        return job.batch

    def _kill_hanging(self) -> None:
        """End processes that are past their time; other work on them comes back as crashed too, and is repeated."""
        now = time.monotonic()
        for worker in {job.worker for job in self._extracting.values() if now > job.deadline}:
            log.warning("extract_actor_hangs", worker=worker)
            self._pool.kill(worker)
