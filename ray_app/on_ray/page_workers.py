"""The crawl loop's PageWorkers on Ray: batches go from fetch to extraction, by way of a browser where a brand wants it.

Bodies move between actors and never pass through here. Whatever dies is given its work again; what it dies of is told
from what only waited.
"""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import ray
from ray.exceptions import RayActorError, RayTaskError

from ray_app.config import Settings
from ray_app.errors import BacklineError
from ray_app.ingest.brands import BrandConfig
from ray_app.ingest.lanes import profile_of
from ray_app.observe.log import get_logger
from ray_app.on_ray.render_pool import render_actor
from ray_app.on_ray.scrape_pool import ExtractPool, Work, fetch_actors, fetcher_of
from ray_app.records import FetchTask, PageOutcome, UrlState

log = get_logger(__name__)

# A fetch actor that died is restarted by Ray within seconds; a URL is sent again so often before it is given up. From
# the third time on it goes alone, and after those that have not: one that kills must not take the same ones along.
FETCH_TRIES = 6
ALONE_FROM = 2
# A page is given up when the process died on it so often, first in company, then alone: twice may be bad luck.
EXTRACT_TRIES = 3
# Work that waited while its process died of something else is given away again so often; more is no bad luck.
MAX_SENT = 30
# A page whose browser's actor died so often is taken as it was fetched.
RENDER_TRIES = 2
# Extraction of HTML is a matter of milliseconds; a batch that takes longer than this hangs.
HTML_BATCH_S = 60.0
# What starting and ending the process that reads a PDF may add to its time.
PDF_SLACK_S = 10.0
# Reasons of pages that scripts may fill.
UNFILLED = ("js_shell", "empty")


@dataclass(slots=True)
class _Batch:
    """One submitted batch; whole when every task has its outcome."""

    tasks: Sequence[FetchTask]
    outcomes: list[PageOutcome] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        return len(self.outcomes) == len(self.tasks)


@dataclass(frozen=True, slots=True)
class _Fetching:
    """Tasks of a batch that are fetched together: all of it, or one alone."""

    batch: _Batch
    tasks: Sequence[FetchTask]
    bodies: Any  # ObjectRef of list[FetchResult]
    tries: int
    then: Sequence[tuple[FetchTask, int]]  # those to be fetched afterwards, each alone, with their tries


@dataclass(frozen=True, slots=True)
class _Job:
    """Bodies to be read."""

    batch: _Batch
    bodies: Any  # ObjectRef of list[FetchResult]
    tasks: Sequence[FetchTask]  # whose bodies are read
    pdfs: frozenset[str]  # URLs whose bodies are PDFs
    only: int | None = None  # index of the one body to read; None: all
    crashes: int = 0  # processes that died while they worked on it
    sent: int = 1  # times it was given to a process
    rendered: bool = False  # a browser has had its turn


@dataclass(frozen=True, slots=True)
class _Rendering:
    """Bodies in a browser."""

    job: _Job  # what is read when that fails
    bodies: Any  # ObjectRef of list[FetchResult], rendered
    tries: int


class RayPageWorkers:
    """Satisfies ``ingest.ports.PageWorkers``. Raises ConfigError when the brand is to be rendered and cannot be."""

    def __init__(self, settings: Settings, config: BrandConfig, pool: ExtractPool) -> None:
        self._config = config
        self._settings = settings
        self._profile = profile_of(config)
        self._fetchers = fetch_actors(settings)
        self._pool = pool
        self._renderers = self._start_renderers() if config.render != "off" else []
        self._fetching: dict[Any, _Fetching] = {}
        self._rendering: dict[Any, _Rendering] = {}
        self._extracting: dict[Any, tuple[_Job, Work]] = {}

    def _start_renderers(self) -> list[Any]:
        settings = self._settings
        actors = [render_actor(settings, index, len(self._fetchers)) for index in range(settings.render.workers)]
        _get(actors[0].start.remote(settings.render), timeout_s=settings.ray.start_timeout_s)
        return actors

    def submit(self, batch: Sequence[FetchTask]) -> None:
        """Send a batch of one host to the fetch actor that paces it."""
        self._fetch(_Batch(batch), batch, tries=1)

    def idle(self) -> bool:
        """Whether nothing is under way."""
        return not (self._fetching or self._rendering or self._extracting)

    def wait(self, timeout_s: float) -> list[list[PageOutcome]]:
        """Move what is ready on to its next stage; return the batches that are whole."""
        under_way = [*self._fetching, *self._rendering, *self._extracting]
        ready, _ = ray.wait(under_way, num_returns=len(under_way), timeout=0, fetch_local=False)
        if not ready:
            ready, _ = ray.wait(under_way, num_returns=1, timeout=timeout_s, fetch_local=False)
        touched = [self._advance(ref) for ref in ready]
        self._kill_hanging()
        whole = {id(batch): batch.outcomes for batch in touched if batch is not None and batch.whole}
        return list(whole.values())

    def close(self) -> None:
        """Forget what is under way; the actors stay for others."""
        self._fetching.clear()
        self._rendering.clear()
        for _, work in self._extracting.values():
            self._pool.done(work)
        self._extracting.clear()

    def _advance(self, ref: Any) -> _Batch | None:
        """The batch that something has come back for; None when it only begins anew."""
        if ref in self._fetching:
            return self._fetched(ref)
        return self._rendered(ref) if ref in self._rendering else self._extracted(ref)

    # Fetching

    def _fetch(
        self, batch: _Batch, tasks: Sequence[FetchTask], tries: int, then: Sequence[tuple[FetchTask, int]] = ()
    ) -> None:
        actor = self._fetchers[fetcher_of(tasks[0].url, len(self._fetchers))]
        bodies, ready = actor.fetch.options(num_returns=2).remote(list(tasks), self._profile, self._settings.crawl)
        self._fetching[ready] = _Fetching(batch, tasks, bodies, tries, then)

    def _fetched(self, ref: Any) -> _Batch | None:
        """The outcomes that need no extraction are added; the rest goes on."""
        fetching = self._fetching.pop(ref)
        try:
            bodies, pdfs, settled = _get(ref)
        except RayActorError:
            return self._fetch_again(fetching)
        self._fetch_next(fetching.batch, fetching.then)
        fetching.batch.outcomes.extend(settled)
        if bodies:
            job = _Job(fetching.batch, fetching.bodies, _without(fetching.tasks, settled), pdfs)
            if self._config.render == "always":
                self._render(job, tries=1)
            else:
                self._extract(job)
        return fetching.batch

    def _fetch_again(self, fetching: _Fetching) -> _Batch | None:
        """Ray restarts the actor in about a second."""
        log.warning("fetch_actor_died", urls=len(fetching.tasks), tries=fetching.tries)
        if fetching.tries >= FETCH_TRIES:
            fetching.batch.outcomes.extend(_failed(fetching.tasks, "fetch_crashed"))
            self._fetch_next(fetching.batch, fetching.then)
            return fetching.batch
        if fetching.tries < ALONE_FROM:
            self._fetch(fetching.batch, fetching.tasks, fetching.tries + 1)
        else:
            again = [(task, fetching.tries + 1) for task in fetching.tasks]
            self._fetch_next(fetching.batch, [*fetching.then, *again])
        return None

    def _fetch_next(self, batch: _Batch, alone: Sequence[tuple[FetchTask, int]]) -> None:
        if alone:
            task, tries = alone[0]
            self._fetch(batch, [task], tries, alone[1:])

    # Rendering

    def _render(self, job: _Job, tries: int) -> None:
        actor = self._renderers[fetcher_of(job.tasks[0].url, len(self._renderers))]
        asked = (job.bodies, self._profile, self._settings.render, job.only)
        bodies, ready = actor.render.options(num_returns=2).remote(*asked)
        self._rendering[ready] = _Rendering(job, bodies, tries)

    def _rendered(self, ref: Any) -> _Batch | None:
        """What scripts led elsewhere has its outcome; the rest is extracted."""
        rendering = self._rendering.pop(ref)
        job = rendering.job
        try:
            bodies, settled = _get(ref)
        except RayActorError:
            log.warning("render_actor_died", urls=len(job.tasks), tries=rendering.tries)
            if rendering.tries < RENDER_TRIES:
                self._render(job, rendering.tries + 1)
            else:
                self._extract(replace(job, rendered=True))
            return None
        job.batch.outcomes.extend(settled)
        if bodies:
            self._extract(_Job(job.batch, rendering.bodies, _without(job.tasks, settled), job.pdfs, rendered=True))
        return job.batch

    # Extracting

    def _extract(self, job: _Job) -> None:
        ref, work = self._pool.process(self._config, job.bodies, job.only, self._allowed_s(job))
        self._extracting[ref] = (job, work)

    def _allowed_s(self, job: _Job) -> float:
        pdfs = sum(task.url in job.pdfs for task in job.tasks)
        return HTML_BATCH_S + pdfs * (self._settings.crawl.pdf_timeout_s + PDF_SLACK_S)

    def _extracted(self, ref: Any) -> _Batch | None:
        """These outcomes are added, but for pages that a browser is to fill; None when bodies are read again."""
        job, work = self._extracting.pop(ref)
        self._pool.done(work)
        try:
            outcomes = _get(ref)
        except RayActorError:
            return self._after_crash(job, self._pool.is_to_blame(work))
        for index, outcome in enumerate(outcomes):
            if self._config.render == "auto" and not job.rendered and outcome.reason in UNFILLED:
                only = index if job.only is None else job.only
                self._render(_Job(job.batch, job.bodies, [outcome.task], job.pdfs, only), tries=1)
            else:
                job.batch.outcomes.append(outcome)
        return job.batch

    def _after_crash(self, job: _Job, to_blame: bool) -> _Batch | None:
        """One bad page must not take its neighbours along: from the second try on, each is extracted alone."""
        log.warning("extract_actor_died", urls=len(job.tasks), crashes=job.crashes + to_blame, to_blame=to_blame)
        if not to_blame and job.sent < MAX_SENT:
            self._extract(replace(job, sent=job.sent + 1))
            return None
        if job.crashes + 1 < EXTRACT_TRIES:
            for index, task in enumerate(job.tasks) if job.only is None else [(job.only, job.tasks[0])]:
                self._extract(replace(job, tasks=[task], only=index, crashes=job.crashes + 1, sent=job.sent + 1))
            return None
        job.batch.outcomes.extend(_failed(job.tasks, "extract_crashed"))
        return job.batch

    def _kill_hanging(self) -> None:
        """End processes that are past their time; what only waited for them is given to others."""
        for worker in {work.worker for _, work in self._extracting.values() if self._pool.hangs(work)}:
            log.warning("extract_actor_hangs", worker=worker)
            self._pool.kill(worker)


def _get(ref: Any, timeout_s: float | None = None) -> Any:
    """What an actor answered, or its own error: Ray's says in its text where it was raised, over many lines."""
    try:
        return ray.get(ref, timeout=timeout_s)
    except RayTaskError as error:
        raise (error.cause if isinstance(error.cause, BacklineError) else error) from error


def _without(tasks: Sequence[FetchTask], settled: Sequence[PageOutcome]) -> list[FetchTask]:
    """The tasks whose bodies go on, in their order."""
    done = {outcome.task.url for outcome in settled}
    return [task for task in tasks if task.url not in done]


def _failed(tasks: Sequence[FetchTask], reason: str) -> list[PageOutcome]:
    return [PageOutcome(task, UrlState.FAILED, reason, fetched_at=time.time()) for task in tasks]
