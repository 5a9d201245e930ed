"""Which URLs are fetched next, and what the ledger learns from each outcome."""

from __future__ import annotations

import dataclasses
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence

from ray_app.config import CrawlSettings
from ray_app.ingest.brands import BrandConfig, Scope
from ray_app.ingest.urls import authority
from ray_app.records import FetchTask, PageOutcome, UrlState
from ray_app.store.ledger import Cycle, Discovery, Ledger

# Batches under way per host: one is fetched while the next one's answer is extracted and committed.
BATCHES_PER_HOST = 3
# Due URLs looked at in one go; bounds memory and leaves room for several hosts.
LOOK_AHEAD = 1_000
# A paced host's batch lasts about this long, so that outcomes are committed often and little is lost by a kill.
SECONDS_PER_BATCH = 4.0


class Frontier:
    """The due URLs of one brand in one cycle, handed out in batches of one host, best first.

    The ledger holds the truth; this object only remembers what is under way, so losing it loses nothing.
    """

    def __init__(
        self,
        ledger: Ledger,
        config: BrandConfig,
        settings: CrawlSettings,
        cycle: Cycle,
        fence: int,
        *,
        full: bool = False,
    ) -> None:
        self._ledger = ledger
        self._config = config
        self._scope = Scope(config, settings)
        self._settings = settings
        self._cycle = cycle
        self._fence = fence
        self._full = full
        self._under_way: set[str] = set()
        self._per_host: Counter[str] = Counter()
        self._budget = config.max_pages - ledger.done_in_cycle(config.name, cycle.number)

    @property
    def under_way(self) -> int:
        """URLs handed out and not yet committed."""
        return len(self._under_way)

    def seed(self, now: float) -> None:
        """Put the start URLs in."""
        found = [Discovery(url=url, depth=0, parent="", hops=0) for url in self._config.start_urls]
        self._ledger.discover(self._config.name, self._cycle.number, found, now, self._fence)

    def batches(self, now: float) -> Iterator[list[FetchTask]]:
        """Batches that may be sent now; each is remembered as under way until ``commit``."""
        room = min(self._budget, LOOK_AHEAD) - len(self._under_way)
        if room <= 0:
            return
        due = self._ledger.due(self._config.name, self._cycle.number, room, now, self._under_way)
        by_host: dict[str, list[FetchTask]] = defaultdict(list)
        for task in due:
            by_host[authority(task.url)].append(self._prepared(task))
        for host, tasks in by_host.items():
            yield from self._host_batches(host, tasks)

    def _host_batches(self, host: str, tasks: list[FetchTask]) -> Iterator[list[FetchTask]]:
        size = self._batch_size()
        for start in range(0, len(tasks), size):
            if self._per_host[host] >= BATCHES_PER_HOST:
                return
            batch = tasks[start : start + size]
            self._per_host[host] += 1
            self._under_way.update(task.url for task in batch)
            yield batch

    def _prepared(self, task: FetchTask) -> FetchTask:
        """A full crawl asks as if nothing were stored: that also brings back texts the page store has lost."""
        return dataclasses.replace(task, etag="", last_modified="", content_hash="") if self._full else task

    def _batch_size(self) -> int:
        if self._config.rate == 0:
            return self._settings.batch_size
        return max(1, min(self._settings.batch_size, int(self._config.rate * SECONDS_PER_BATCH)))

    def commit(self, batches: Sequence[Sequence[PageOutcome]], now: float) -> None:
        """Write the outcomes of finished batches and the URLs they name; one transaction."""
        outcomes = [outcome for batch in batches for outcome in batch]
        judged = [self._judge(outcome) for outcome in outcomes]
        found = (one for outcome in judged for one in self._found(outcome))
        self._ledger.commit(self._config.name, self._cycle.number, self._fence, judged, found, now)
        self._under_way.difference_update(outcome.task.url for outcome in outcomes)
        self._per_host.subtract(authority(batch[0].task.url) for batch in batches if batch)
        self._budget -= sum(outcome.state is not UrlState.QUEUED for outcome in outcomes)

    def next_due(self) -> float | None:
        """When the next waiting URL may be tried again; None when the cycle has nothing left to fetch."""
        if self._budget <= 0:
            return None
        return self._ledger.next_due(self._config.name, self._cycle.number)

    def waiting(self) -> int:
        """URLs of this cycle that are known and not handed out yet."""
        return self._ledger.waiting(self._config.name, self._cycle.number) - self.under_way

    def close(self, now: float) -> int:
        """End the cycle; URLs over the page limit are recorded as such and counted in the answer."""
        return self._ledger.finish_cycle(self._config.name, self._cycle.number, self._fence, now)

    def _judge(self, outcome: PageOutcome) -> PageOutcome:
        """A redirect chain longer than the cap ends here."""
        if outcome.location and outcome.task.hops >= self._settings.max_hops:
            return dataclasses.replace(outcome, state=UrlState.FAILED, reason="redirect_loop", location="")
        return outcome

    def _found(self, outcome: PageOutcome) -> Iterator[Discovery]:
        task = outcome.task
        if outcome.location:
            yield self._discovery(outcome.location, task.depth, task.url, task.hops + 1)
        for link in outcome.links:
            yield self._discovery(link, task.depth + 1, task.url, 0)

    def _discovery(self, url: str, depth: int, parent: str, hops: int) -> Discovery:
        if reason := self._scope.judge(url, depth):
            return Discovery(url=url, depth=depth, parent=parent, hops=hops, state=UrlState.SKIPPED, reason=reason)
        return Discovery(url=url, depth=depth, parent=parent, hops=hops)
