"""One crawl of one brand: lease, cycle, loop, report. Knows no Ray; the workers stand behind a port."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field

from ray_app.config import CrawlSettings
from ray_app.errors import Interrupted
from ray_app.ingest.brands import BrandConfig
from ray_app.ingest.frontier import Frontier
from ray_app.ingest.hosts import SILENT
from ray_app.ingest.ports import EXTRACTOR_VERSION, PageWorkers
from ray_app.observe.log import get_logger
from ray_app.records import Kind, PageOutcome, UrlState
from ray_app.store.lease import Lease
from ray_app.store.ledger import Cycle, Ledger, Mode

log = get_logger(__name__)

# How long the loop waits for a batch before it looks at the clock, and whether it was asked to stop, again.
WAIT_S = 0.5
# The least pause when nothing is under way and what waits may not be sent yet.
IDLE_S = 0.05
# A person reads progress at most this often, and each report counts rows of the ledger.
REPORT_EVERY_S = 0.5


@dataclass(slots=True)
class CrawlReport:
    """What one crawl did. ``reasons`` counts URLs handled in this run by "state/reason"."""

    brand: str
    mode: str = Mode.DELTA.value
    cycle: int = 0
    resumed: bool = False
    handled: int = 0  # URLs with an outcome in this run
    stored: int = 0  # new or changed texts
    sitemaps: int = 0  # robots.txt files and sitemaps read
    unlinked: int = 0  # texts that left because nothing links to them any more
    dropped: int = 0  # links not recorded, over the cap of known URLs
    bytes: int = 0  # received on the wire
    seconds: float = 0.0
    complete: bool = False  # nothing due was left
    answered: bool = False  # a page, a sitemap or a robots.txt came, whatever its status
    reasons: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def count(self, outcome: PageOutcome) -> None:
        """Add one outcome; a URL that will be tried again is not handled yet."""
        self.answered |= bool(outcome.status) or outcome.state is UrlState.FETCHED
        if outcome.state is UrlState.QUEUED:
            return
        self.bytes += outcome.bytes_received
        if outcome.task.kind is not Kind.PAGE:
            self.sitemaps += outcome.state is UrlState.FETCHED
            return
        key = f"{outcome.state}/{outcome.reason}"
        self.reasons[key] = self.reasons.get(key, 0) + 1
        self.handled += 1
        self.stored += outcome.page is not None

    def give_up(self, pages: int) -> None:
        """So many pages were given up in this run, for their hosts did not answer."""
        key = f"{UrlState.FAILED}/host_down"
        self.handled += pages - self.reasons.get(key, 0)
        if pages:
            self.reasons[key] = pages

    @property
    def errors(self) -> dict[str, int]:
        """Failed URLs by reason."""
        failed = f"{UrlState.FAILED}/"
        return {k.removeprefix(failed): n for k, n in self.reasons.items() if k.startswith(failed)}

    @property
    def silence(self) -> str:
        """What is wrong when nothing answered at all, in words; empty when something did, or nothing was asked."""
        why = {key.partition("/")[2] for key in self.reasons}
        if self.answered or not why or why - SILENT:
            return ""
        return f"Nothing at the site answered ({', '.join(sorted(why))}). What was known of it is kept."


@dataclass(frozen=True, slots=True)
class Progress:
    """What a person or a log sees while a crawl runs."""

    brand: str
    handled: int
    stored: int
    under_way: int
    waiting: int
    failed: int
    errors: dict[str, int]  # by reason
    pages_per_s: float
    eta_s: float | None
    done: bool = False


class Crawler:
    """Crawls one brand completely. SIGKILL it at any moment and run it again: the result is the same."""

    def __init__(
        self,
        ledger: Ledger,
        config: BrandConfig,
        settings: CrawlSettings,
        workers: PageWorkers,
        on_progress: Callable[[Progress], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        self._ledger = ledger
        self._config = config
        self._settings = settings
        self._workers = workers
        self._on_progress = on_progress
        self._clock = clock
        self._stop = threading.Event()

    def run(
        self, lease: Lease, mode: Mode = Mode.DELTA, stop: threading.Event | None = None, also: Sequence[str] = ()
    ) -> CrawlReport:
        """Crawl until nothing is due; an unfinished cycle is ended first, and is enough if it covers ``mode``.

        ``also``: normalised URLs of the brand that are looked at beside its start URLs.

        Raises LeaseLost when another run has taken the brand over, Interrupted soon after ``stop`` is set: run
        it again and it goes on.
        """
        self._stop = stop or self._stop
        try:
            while True:
                cycle = self._ledger.open_cycle(self._config.name, self._clock(), lease.fence, mode, EXTRACTOR_VERSION)
                report = self._run_cycle(cycle, lease, also)
                if not cycle.resumed or cycle.mode in (mode, Mode.FULL):
                    return report
        finally:
            self._workers.close()

    def _run_cycle(self, cycle: Cycle, lease: Lease, also: Sequence[str]) -> CrawlReport:
        report = CrawlReport(self._config.name, cycle.mode.value, cycle.number, cycle.resumed)
        log.info("crawl_started", brand=report.brand, cycle=report.cycle, mode=report.mode, resumed=report.resumed)
        started = self._clock()
        frontier = Frontier(self._ledger, self._config, self._settings, cycle, lease.fence)
        frontier.seed(started, also)
        while self._step(frontier, lease, report):
            self._show(report, frontier, started)
        finished = frontier.close(self._clock())
        report.complete, report.unlinked, report.dropped = not finished.left, finished.unlinked, finished.dropped
        self._show(report, frontier, started, done=True)
        log.info("crawl_finished", **report.as_dict())
        return report

    def _step(self, frontier: Frontier, lease: Lease, report: CrawlReport) -> bool:
        """Send what is due, take in what is done; False when nothing is left to do."""
        lease.check()
        if self._stop.is_set():
            raise Interrupted(f"The crawl of {report.brand} was interrupted.")
        for batch in frontier.batches(self._clock()):
            self._workers.submit(batch)
        report.give_up(frontier.given_up)
        if self._workers.idle():
            return self._wait_for_turn(frontier)
        if batches := self._workers.wait(WAIT_S):
            for outcome in frontier.commit(batches, self._clock()):
                report.count(outcome)
        return True

    def _wait_for_turn(self, frontier: Frontier) -> bool:
        """Nothing is under way: sleep towards the next retry, if one is waiting."""
        due = frontier.next_due()
        if due is None:
            return False
        self._stop.wait(min(WAIT_S, max(IDLE_S, due - self._clock())))
        return True

    def _show(self, report: CrawlReport, frontier: Frontier, started: float, done: bool = False) -> None:
        elapsed = self._clock() - started
        if not done and 0 <= elapsed - report.seconds < REPORT_EVERY_S:
            return
        report.seconds = elapsed
        rate = report.handled / elapsed if elapsed > 0 else 0.0
        waiting = 0 if done else frontier.waiting()
        errors = report.errors
        self._on_progress(
            Progress(
                brand=report.brand,
                handled=report.handled,
                stored=report.stored,
                under_way=frontier.under_way,
                waiting=waiting,
                failed=sum(errors.values()),
                errors=errors,
                pages_per_s=rate,
                eta_s=waiting / rate if rate else None,
                done=done,
            )
        )
