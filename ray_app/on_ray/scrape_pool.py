"""Actor pools of the crawl: fetch actors that wait on many sockets, extraction processes that burn CPU.

Fetch actors are shared by all crawls of the cluster (``scraper:0`` ...): a host hashes to one of them, which alone
paces it. Extraction processes belong to one crawl and end with it: a PDF that kills one kills nothing else.
"""

from __future__ import annotations

import dataclasses
import hashlib
import os
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
from ray_app.ingest.urls import authority
from ray_app.ingest.worker import PageWorker
from ray_app.observe.log import configure, get_logger
from ray_app.records import FetchResult, FetchTask, PageOutcome, UrlState
from ray_app.store.pages import PageStore

log = get_logger(__name__)

# Shares are small so that Serve, the scheduler, two crawls and an embedding fit on two cores; see docs/operations.md.
FETCH_CPUS = 0.05
EXTRACT_CPUS = 0.2
# Batches one fetch actor works on at once; each holds at most crawl.batch_size bodies.
FETCH_CONCURRENCY = 32
# A fetch actor that died is restarted by Ray within seconds; a batch is sent again so often before it is given up.
FETCH_TRIES = 5
# A page is given up when the process died on it so often, first in company, then alone: twice may be bad luck.
EXTRACT_TRIES = 3
# Extraction of HTML is a matter of milliseconds; whatever takes longer than this per batch hangs.
HTML_BATCH_S = 60.0
POOL_SIZE_KEY = "backline:fetch-actors"
# Batch work yields the CPU to replicas that answer people (added to the niceness Ray gives its workers).
NICENESS = 4


class FetchActor:
    """Ray's side of a Fetcher: started on first use, one per process."""

    def __init__(self, settings: Settings) -> None:
        configure(settings.log, component="scraper")
        self._fetcher = Fetcher(settings.crawl)
        self._started = False

    async def fetch(self, batch: Sequence[FetchTask], profile: HostProfile) -> tuple[list[FetchResult], int]:
        """The results, and their number as a second return value, which tells the crawl that they are ready."""
        if not self._started:
            self._started = True
            await self._fetcher.start()
        results = await self._fetcher.fetch_batch(batch, profile)
        return results, len(results)


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


@dataclass(frozen=True, slots=True)
class _Fetching:
    batch: _Batch
    bodies: Any  # ObjectRef of list[FetchResult]
    tries: int


@dataclass(frozen=True, slots=True)
class _Extracting:
    batch: _Batch
    bodies: Any
    only: int | None  # index of the one result to extract; None: all
    tries: int  # with this one
    worker: int
    deadline: float  # monotonic seconds

    @property
    def tasks(self) -> Sequence[FetchTask]:
        return self.batch.tasks if self.only is None else self.batch.tasks[self.only : self.only + 1]


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


class RayPageWorkers:
    """The crawl loop's PageWorkers on Ray actors. Bodies go from fetch to extraction without passing through here."""

    def __init__(self, settings: Settings, config: BrandConfig) -> None:
        self._config = config
        self._crawl = settings.crawl
        self._profile = HostProfile(
            rate=config.rate, user_agent=config.user_agent, allow_hosts=tuple(config.allow_hosts)
        )
        fetchers, extractors = pool_sizes(settings.crawl, ray.cluster_resources().get("CPU", 1))
        self._fetchers = [fetch_actor(settings, index) for index in range(_agreed_fetchers(fetchers))]
        self._extractors = [self._extract_actor(settings, index) for index in range(extractors)]
        self._load = [0] * extractors
        self._fetching: dict[Any, _Fetching] = {}
        self._extracting: dict[Any, _Extracting] = {}

    def _extract_actor(self, settings: Settings, index: int) -> Any:
        options = {"num_cpus": EXTRACT_CPUS, "max_restarts": -1, "name": f"extractor:{self._config.name}:{index}"}
        return ray.remote(ExtractActor).options(**options).remote(settings)

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
        whole = []
        for ref in ready:
            if fetching := self._fetching.pop(ref, None):
                self._fetched(ref, fetching)
            elif (batch := self._extracted(ref)) and len(batch.outcomes) == len(batch.tasks):
                whole.append(batch.outcomes)
        self._kill_hanging()
        return whole

    def close(self) -> None:
        """End this crawl's extraction processes; the fetch actors stay for others."""
        for actor in self._extractors:
            ray.kill(actor)
        self._extractors = []

    def _fetch(self, batch: _Batch, tries: int) -> None:
        host = authority(batch.tasks[0].url).encode()
        actor = self._fetchers[int.from_bytes(hashlib.blake2b(host, digest_size=4).digest()) % len(self._fetchers)]
        bodies, ready = actor.fetch.options(num_returns=2).remote(list(batch.tasks), self._profile)
        self._fetching[ready] = _Fetching(batch, bodies, tries)

    def _fetched(self, ready: Any, fetching: _Fetching) -> None:
        try:
            ray.get(ready)
        except RayActorError:
            if fetching.tries >= FETCH_TRIES:
                raise
            log.warning("fetch_actor_died", urls=len(fetching.batch.tasks), tries=fetching.tries)
            time.sleep(fetching.tries)  # Ray restarts the actor in about a second
            self._fetch(fetching.batch, fetching.tries + 1)
            return
        self._extract(fetching.batch, fetching.bodies, None, tries=1)

    def _extract(self, batch: _Batch, bodies: Any, only: int | None, tries: int) -> None:
        """Give the bodies to the process with the least to do."""
        worker = min(range(len(self._load)), key=self._load.__getitem__)
        self._load[worker] += 1
        ref = self._extractors[worker].process.remote(self._config, bodies, only)
        queued = [work.deadline for work in self._extracting.values() if work.worker == worker]
        job = _Extracting(batch, bodies, only, tries, worker, 0.0)
        deadline = max([time.monotonic(), *queued]) + self._allowed_s(job.tasks)
        self._extracting[ref] = dataclasses.replace(job, deadline=deadline)

    def _allowed_s(self, tasks: Sequence[FetchTask]) -> float:
        pdfs = sum(urlsplit(task.url).path.lower().endswith(".pdf") for task in tasks)
        return HTML_BATCH_S + pdfs * self._crawl.pdf_timeout_s

    def _extracted(self, ref: Any) -> _Batch | None:
        """The batch with these outcomes added; None when its results are extracted again one by one."""
        job = self._extracting.pop(ref)
        self._load[job.worker] -= 1
        try:
            job.batch.outcomes.extend(ray.get(ref))
        except RayActorError:
            return self._after_crash(job)
        return job.batch

    def _after_crash(self, job: _Extracting) -> _Batch | None:
        """One bad page must not take its neighbours along: from the second try on, each is extracted alone."""
        log.warning("extract_actor_died", urls=len(job.tasks), tries=job.tries)
        if job.tries < EXTRACT_TRIES:
            for index in range(len(job.batch.tasks)) if job.only is None else (job.only,):
                self._extract(job.batch, job.bodies, index, job.tries + 1)
            return None
        (task,) = job.tasks
        job.batch.outcomes.append(
            PageOutcome(task=task, state=UrlState.FAILED, reason="extract_crashed", fetched_at=time.time())
        )
        return job.batch

    def _kill_hanging(self) -> None:
        """End a process that is past its time; Ray starts it again and its work comes back as crashed."""
        now = time.monotonic()
        for worker in {job.worker for job in self._extracting.values() if now > job.deadline}:
            log.warning("extract_actor_hangs", worker=worker)
            ray.kill(self._extractors[worker], no_restart=False)
