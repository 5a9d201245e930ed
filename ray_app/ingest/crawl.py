"""One crawl of one brand: lease, cycle, loop, report. Knows no Ray; the workers stand behind a port."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field

from ray_app.config import CrawlSettings
from ray_app.ingest.brands import BrandConfig
from ray_app.ingest.frontier import Frontier
from ray_app.ingest.ports import PageWorkers
from ray_app.observe.log import get_logger
from ray_app.records import PageOutcome, UrlState
from ray_app.store.lease import Lease
from ray_app.store.ledger import Ledger

log = get_logger(__name__)

# How long the loop waits for a batch before it looks at the clock again.
WAIT_S = 0.5
# A person reads progress at most this often, and each report counts rows of the ledger.
REPORT_EVERY_S = 0.25


@dataclass(slots=True)
class CrawlReport:
    """What one crawl did. ``reasons`` counts URLs handled in this run by "state/reason"."""

    brand: str
    cycle: int = 0
    resumed: bool = False
    handled: int = 0  # URLs with an outcome in this run
    stored: int = 0  # new or changed texts
    bytes: int = 0  # received on the wire
    seconds: float = 0.0
    complete: bool = False  # nothing due was left
    reasons: dict[str, int] = field(default_factory=dict)

    def as_dict(self) -> dict[str, object]:
        return asdict(self)

    def count(self, outcome: PageOutcome) -> None:
        """Add one outcome; a URL that will be tried again is not handled yet."""
        if outcome.state is UrlState.QUEUED:
            return
        key = f"{outcome.state}/{outcome.reason}"
        self.reasons[key] = self.reasons.get(key, 0) + 1
        self.handled += 1
        self.stored += outcome.page is not None
        self.bytes += outcome.bytes_received


@dataclass(frozen=True, slots=True)
class Progress:
    """What a person or a log sees while a crawl runs."""

    brand: str
    handled: int
    stored: int
    under_way: int
    waiting: int
    failed: int
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

    def run(self, lease: Lease, *, full: bool = False) -> CrawlReport:
        """Crawl until nothing is due. ``full`` asks for every body again and stores its text anew.

        Raises LeaseLost when another run has taken the brand over.
        """
        started = self._clock()
        cycle = self._ledger.open_cycle(self._config.name, started, lease.fence)
        report = CrawlReport(self._config.name, cycle=cycle.number, resumed=cycle.resumed)
        log.info("crawl_started", brand=report.brand, cycle=cycle.number, resumed=cycle.resumed, full=full)
        frontier = Frontier(self._ledger, self._config, self._settings, cycle, lease.fence, full=full)
        frontier.seed(started)
        try:
            while self._step(frontier, lease, report):
                self._report(report, frontier, started)
        finally:
            self._workers.close()
        report.complete = not frontier.close(self._clock())
        self._report(report, frontier, started, done=True)
        log.info("crawl_finished", **report.as_dict())
        return report

    def _step(self, frontier: Frontier, lease: Lease, report: CrawlReport) -> bool:
        """Send what is due, take in what is done; False when nothing is left to do."""
        lease.check()
        for batch in frontier.batches(self._clock()):
            self._workers.submit(batch)
        if self._workers.idle():
            return self._wait_for_retries(frontier)
        if batches := self._workers.wait(WAIT_S):
            frontier.commit(batches, self._clock())
            for outcome in (one for done in batches for one in done):
                report.count(outcome)
        return True

    def _wait_for_retries(self, frontier: Frontier) -> bool:
        """Nothing is under way: sleep towards the next retry, if one is waiting."""
        due = frontier.next_due()
        if due is None:
            return False
        time.sleep(min(WAIT_S, max(0.0, due - self._clock())))
        return True

    def _report(self, report: CrawlReport, frontier: Frontier, started: float, done: bool = False) -> None:
        elapsed = self._clock() - started
        if not done and 0 <= elapsed - report.seconds < REPORT_EVERY_S:
            return
        report.seconds = elapsed
        rate = report.handled / report.seconds if report.seconds > 0 else 0.0
        waiting = 0 if done else frontier.waiting()
        failed = sum(n for key, n in report.reasons.items() if key.startswith(UrlState.FAILED))
        self._on_progress(
            Progress(
                brand=report.brand,
                handled=report.handled,
                stored=report.stored,
                under_way=frontier.under_way,
                waiting=waiting,
                failed=failed,
                pages_per_s=rate,
                eta_s=waiting / rate if rate else None,
                done=done,
            )
        )
