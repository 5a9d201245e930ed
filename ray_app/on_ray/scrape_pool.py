"""Actors of the crawl: fetch actors that wait on many sockets, extraction processes that burn CPU.

Fetch actors are shared by all crawls of the cluster (``scraper:0`` ...): a host hashes to one of them, which alone
paces it. Extraction processes belong to one job and are shared by the brands it works on; a page that kills one is
tried again alone, and kills nothing else.
"""

from __future__ import annotations

import hashlib
import itertools
import os
import threading
import time
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass
from typing import Any

import ray
from ray.experimental.internal_kv import _internal_kv_get, _internal_kv_put

from ray_app.config import CrawlSettings, Settings
from ray_app.ingest.brands import BrandConfig
from ray_app.ingest.fetch import Fetcher, HostProfile
from ray_app.ingest.outcome import divide
from ray_app.ingest.render.resource import Resource, ResourceTask
from ray_app.ingest.urls import authority
from ray_app.ingest.worker import PageWorker, is_pdf
from ray_app.observe.log import configure
from ray_app.on_ray.named import named
from ray_app.records import FetchResult, FetchTask, PageOutcome
from ray_app.store.pages import PageStore

# Shares are small so that Serve, the scheduler, two crawls and an embedding fit on two cores; see docs/operations.md.
FETCH_CPUS = 0.05
EXTRACT_CPUS = 0.2
# Batches one fetch actor works on at once: far more than it has sockets, so that slow hosts never hold up the others.
FETCH_CONCURRENCY = 512
POOL_SIZE_KEY = "backline:fetch-actors"
# Batch work yields the CPU to replicas that answer people (added to the niceness Ray gives its workers).
NICENESS = 4


class FetchActor:
    """Ray's side of a Fetcher: started on first use, one per process.

    It outlives the job that made it, so settings come with each batch. Those that differ are taken over when nothing
    is under way; until then all crawls are fetched by the same ones, for it alone paces its hosts.
    """

    def __init__(self, settings: Settings) -> None:
        configure(settings.log, component="scraper")
        self._settings = settings.crawl
        self._fetcher = Fetcher(settings.crawl)
        self._started = False
        self._under_way = 0

    async def fetch(
        self, batch: Sequence[FetchTask], profile: HostProfile, settings: CrawlSettings
    ) -> tuple[list[FetchResult], tuple[int, frozenset[str], list[PageOutcome]]]:
        """The results with bodies, which go on to extraction; their number, the URLs of those that are PDFs, and the
        outcomes of all others.
        """
        if settings != self._settings and not self._under_way:
            self._settings, self._started = settings, False
            await self._fetcher.adopt(settings)
        async with self._working():
            bodies, settled = divide(await self._fetcher.fetch_batch(batch, profile))
        pdfs = frozenset(result.task.url for result in bodies if is_pdf(result))
        return bodies, (len(bodies), pdfs, settled)

    async def resource(self, task: ResourceTask, profile: HostProfile) -> Resource:
        """One hop for something that a page being rendered asks for."""
        async with self._working():
            return await self._fetcher.resource(task, profile)

    @asynccontextmanager
    async def _working(self) -> AsyncIterator[None]:
        self._under_way += 1
        try:
            if not self._started:
                self._started = True
                await self._fetcher.start()
            yield
        finally:
            self._under_way -= 1


class ExtractActor:
    """Ray's side of a PageWorker. Writes down what it works on, so that a crash is blamed on that alone."""

    def __init__(self, settings: Settings, name: str) -> None:
        configure(settings.log, component="extractor")
        os.nice(NICENESS)
        self._key = _work_key(name)
        self._worker = PageWorker(PageStore(settings.data_dir / "pages"), settings.crawl)

    def process(
        self, config: BrandConfig, results: Sequence[FetchResult], only: int | None, ticket: str
    ) -> list[PageOutcome]:
        """Outcomes of all results, or of the one at index ``only``."""
        _internal_kv_put(self._key, ticket, overwrite=True)
        return self._worker.process(config, results if only is None else results[only : only + 1])


def _work_key(name: str) -> str:
    """Where an extraction process writes down what it works on."""
    return f"backline:work:{name}"


def pool_sizes(settings: CrawlSettings, cpus: float) -> tuple[int, int]:
    """(fetch actors, extraction processes) for a cluster of so many CPUs."""
    fetchers = settings.fetch_workers or max(1, min(16, int(cpus) // 2))
    extractors = settings.extract_workers or max(1, min(32, int(cpus) - 1))
    return fetchers, extractors


def fetcher_of(url: str, fetchers: int) -> int:
    """The number of the fetch actor that paces the host of a normalised URL."""
    return int.from_bytes(hashlib.blake2b(authority(url).encode(), digest_size=4).digest()) % fetchers


def _agreed_fetchers(wanted: int) -> int:
    """The number of fetch actors that the cluster's first crawl chose; it holds while the cluster lives.

    A crawl that counted otherwise would hash a host to another actor, and the host would be paced twice.
    """
    _internal_kv_put(POOL_SIZE_KEY, str(wanted), overwrite=False)
    return int(_internal_kv_get(POOL_SIZE_KEY))


def fetch_actor(settings: Settings, index: int) -> Any:
    """The fetch actor of that number, made if it is not there."""
    options = named(settings, f"scraper:{index}", num_cpus=FETCH_CPUS, max_concurrency=FETCH_CONCURRENCY)
    return ray.remote(FetchActor).options(**options).remote(settings)


def fetch_actors(settings: Settings) -> list[Any]:
    """All the cluster's, in the order of their numbers."""
    wanted, _ = pool_sizes(settings.crawl, ray.cluster_resources().get("CPU", 1))
    return [fetch_actor(settings, index) for index in range(_agreed_fetchers(wanted))]


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work given to an extraction process."""

    worker: int
    ticket: str
    allowed_s: float  # from when the process comes to it; then it hangs


class ExtractPool:
    """The extraction processes of one job. Safe to use from the threads of several crawls."""

    def __init__(self, settings: Settings, size: int) -> None:
        job = ray.get_runtime_context().get_job_id()
        self.names = [f"extractor:{job}:{index}" for index in range(size)]
        made = ray.remote(num_cpus=EXTRACT_CPUS, max_restarts=-1)(ExtractActor)
        self._actors = [made.options(name=name).remote(settings, name) for name in self.names]
        self._tickets = itertools.count()
        self._given: list[list[Work]] = [[] for _ in range(size)]  # each does its own in this order
        self._since = [0.0] * size  # monotonic seconds: when it came to the first of them, or later
        self._lock = threading.Lock()

    def process(self, config: BrandConfig, bodies: Any, only: int | None, allowed_s: float) -> tuple[Any, Work]:
        """Give bodies to the process with the least to do: the reference of the outcomes, and the work."""
        with self._lock:
            worker = min(range(len(self._given)), key=lambda index: len(self._given[index]))
            work = Work(worker, str(next(self._tickets)), allowed_s)
            if not self._given[worker]:
                self._since[worker] = time.monotonic()
            self._given[worker].append(work)
            return self._actors[worker].process.remote(config, bodies, only, work.ticket), work

    def done(self, work: Work) -> None:
        """A piece of work has come back."""
        with self._lock:
            given = self._given[work.worker]
            if given[0] == work:
                self._since[work.worker] = time.monotonic()
            given.remove(work)

    def hangs(self, work: Work) -> bool:
        """Whether its process has had it for longer than allowed. Ask when all that came back is ``done``."""
        with self._lock:
            late = time.monotonic() > self._since[work.worker] + work.allowed_s
            return late and self._given[work.worker][0] == work

    def is_to_blame(self, work: Work) -> bool:
        """Whether its process died while it worked on this; what only waited there is innocent."""
        return bool(_internal_kv_get(_work_key(self.names[work.worker])) == work.ticket.encode())

    def kill(self, worker: int) -> None:
        """End a process that hangs; Ray starts it again, and its work comes back as crashed."""
        with self._lock:
            self._since[worker] = time.monotonic()  # once is enough
        ray.kill(self._actors[worker], no_restart=False)

    def close(self) -> None:
        """End the processes."""
        for actor in self._actors:
            ray.kill(actor)
        self._actors = []


def extract_pool(settings: Settings) -> ExtractPool:
    """A pool as large as the cluster bears."""
    return ExtractPool(settings, pool_sizes(settings.crawl, ray.cluster_resources().get("CPU", 1))[1])
