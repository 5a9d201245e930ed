"""Actor pools of the crawl: fetch actors that wait on many sockets, extraction processes that burn CPU.

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
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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
# A fetch actor that died is restarted by Ray within seconds; a URL is sent again so often before it is given up, from
# the third time on alone.
FETCH_TRIES = 6
ALONE_FROM = 2
# A page is given up when the process died on it so often, first in company, then alone: twice may be bad luck.
EXTRACT_TRIES = 3
# Work that waited while its process died of something else is given away again so often; more is no bad luck.
MAX_SENT = 30
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


@dataclass(slots=True)
class _Batch:
    """One submitted batch; whole when every task has its outcome."""

    tasks: Sequence[FetchTask]
    outcomes: list[PageOutcome] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class _Fetching:
    """Tasks of a batch that are fetched together: all of it, or one alone."""

    batch: _Batch
    tasks: Sequence[FetchTask]
    bodies: Any  # ObjectRef of list[FetchResult]
    tries: int


@dataclass(frozen=True, slots=True)
class _Job:
    """Bodies to be read."""

    batch: _Batch
    bodies: Any  # ObjectRef of list[FetchResult]
    tasks: Sequence[FetchTask]  # whose bodies are read
    only: int | None = None  # index of the one body to read; None: all
    crashes: int = 0  # processes that died while they worked on it
    sent: int = 1  # times it was given to a process


def _work_key(name: str) -> str:
    """Where an extraction process writes down what it works on."""
    return f"backline:work:{name}"


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


@dataclass(frozen=True, slots=True)
class Work:
    """A piece of work given to an extraction process."""

    worker: int
    ticket: str
    allowed_s: float
    deadline: float  # monotonic seconds: later it hangs


class ExtractPool:
    """The extraction processes of one job. Safe to use from the threads of several crawls."""

    def __init__(self, settings: Settings, size: int) -> None:
        job = ray.get_runtime_context().get_job_id()
        self.names = [f"extractor:{job}:{index}" for index in range(size)]
        made = ray.remote(num_cpus=EXTRACT_CPUS, max_restarts=-1)(ExtractActor)
        self._actors = [made.options(name=name).remote(settings, name) for name in self.names]
        self._tickets = itertools.count()
        self._owed_s = [0.0] * size  # what the work given to each may take at most
        self._given = [0] * size
        self._lock = threading.Lock()

    def process(self, config: BrandConfig, bodies: Any, only: int | None, allowed_s: float) -> tuple[Any, Work]:
        """Give bodies to the process with the least to do: the reference of the outcomes, and the work."""
        with self._lock:
            worker = min(range(len(self._given)), key=self._given.__getitem__)
            self._given[worker] += 1
            self._owed_s[worker] += allowed_s
            deadline = time.monotonic() + self._owed_s[worker]  # what was given to it before comes first
        work = Work(worker, str(next(self._tickets)), allowed_s, deadline)
        return self._actors[worker].process.remote(config, bodies, only, work.ticket), work

    def done(self, work: Work) -> None:
        """A piece of work has come back."""
        with self._lock:
            self._given[work.worker] -= 1
            self._owed_s[work.worker] -= work.allowed_s

    def is_to_blame(self, work: Work) -> bool:
        """Whether its process died while it worked on this; what only waited there is innocent."""
        return bool(_internal_kv_get(_work_key(self.names[work.worker])) == work.ticket.encode())

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
        self._extracting: dict[Any, tuple[_Job, Work]] = {}

    def submit(self, batch: Sequence[FetchTask]) -> None:
        """Send a batch of one host to the fetch actor that paces it."""
        self._fetch(_Batch(batch), batch, tries=1)

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
        for _, work in self._extracting.values():
            self._pool.done(work)
        self._extracting.clear()

    def _fetch(self, batch: _Batch, tasks: Sequence[FetchTask], tries: int) -> None:
        host = authority(tasks[0].url).encode()
        actor = self._fetchers[int.from_bytes(hashlib.blake2b(host, digest_size=4).digest()) % len(self._fetchers)]
        bodies, ready = actor.fetch.options(num_returns=2).remote(list(tasks), self._profile)
        self._fetching[ready] = _Fetching(batch, tasks, bodies, tries)

    def _fetched(self, ready: Any) -> _Batch | None:
        """The batch with the outcomes that need no extraction; the rest goes on."""
        fetching = self._fetching.pop(ready)
        try:
            bodies, settled = ray.get(ready)
        except RayActorError:
            return self._fetch_again(fetching)
        fetching.batch.outcomes.extend(settled)
        if bodies:
            done = {outcome.task.url for outcome in settled}
            tasks = [task for task in fetching.tasks if task.url not in done]
            self._extract(_Job(fetching.batch, fetching.bodies, tasks))
        return fetching.batch

    def _fetch_again(self, fetching: _Fetching) -> _Batch | None:
        """Ray restarts the actor in about a second. From the third try on each URL goes alone, in case one kills it."""
        log.warning("fetch_actor_died", urls=len(fetching.tasks), tries=fetching.tries)
        if fetching.tries >= FETCH_TRIES:
            failed = [
                PageOutcome(task, UrlState.FAILED, "fetch_crashed", fetched_at=time.time()) for task in fetching.tasks
            ]
            fetching.batch.outcomes.extend(failed)
            return fetching.batch
        groups = [fetching.tasks] if fetching.tries < ALONE_FROM else [[task] for task in fetching.tasks]
        for tasks in groups:
            self._fetch(fetching.batch, tasks, fetching.tries + 1)
        return None

    def _extract(self, job: _Job) -> None:
        ref, work = self._pool.process(self._config, job.bodies, job.only, self._allowed_s(job.tasks))
        self._extracting[ref] = (job, work)

    def _allowed_s(self, tasks: Sequence[FetchTask]) -> float:
        pdfs = sum(urlsplit(task.url).path.lower().endswith(".pdf") for task in tasks)
        return HTML_BATCH_S + pdfs * (self._crawl.pdf_timeout_s + PDF_SLACK_S)

    def _extracted(self, ref: Any) -> _Batch | None:
        """The batch with these outcomes added; None when its bodies are read again."""
        job, work = self._extracting.pop(ref)
        self._pool.done(work)
        try:
            job.batch.outcomes.extend(ray.get(ref))
        except RayActorError:
            return self._after_crash(job, self._pool.is_to_blame(work))
        return job.batch

    def _after_crash(self, job: _Job, to_blame: bool) -> _Batch | None:
        """One bad page must not take its neighbours along: from the second try on, each is extracted alone."""
        log.warning("extract_actor_died", urls=len(job.tasks), crashes=job.crashes + to_blame, to_blame=to_blame)
        if not to_blame and job.sent < MAX_SENT:
            self._extract(replace(job, sent=job.sent + 1))
            return None
        if job.crashes + 1 < EXTRACT_TRIES:
            for index, task in enumerate(job.tasks) if job.only is None else [(job.only, job.tasks[0])]:
                self._extract(_Job(job.batch, job.bodies, [task], index, job.crashes + 1, job.sent + 1))
            return None
        failed = [PageOutcome(task, UrlState.FAILED, "extract_crashed", fetched_at=time.time()) for task in job.tasks]
        job.batch.outcomes.extend(failed)
        return job.batch

    def _kill_hanging(self) -> None:
        """End processes that are past their time; what only waited for them is given to others."""
        now = time.monotonic()
        for worker in {work.worker for _, work in self._extracting.values() if now > work.deadline}:
            log.warning("extract_actor_hangs", worker=worker)
            self._pool.kill(worker)
