"""Which URLs are fetched next, and what the ledger learns from each outcome."""

from __future__ import annotations

import dataclasses
from collections import Counter, deque
from collections.abc import Iterator, Mapping, Sequence

from ray_app.config import CrawlSettings
from ray_app.ingest.admit import Admission
from ray_app.ingest.brands import BrandConfig
from ray_app.ingest.hosts import HostWatch
from ray_app.ingest.ports import EXTRACTOR_VERSION
from ray_app.ingest.urls import authority, origin, path_of
from ray_app.records import FetchTask, Kind, PageOutcome, UrlState
from ray_app.store.ledger import Cycle, Discovery, Ledger, Mode
from ray_app.store.rows import Finished
from ray_app.store.settle import spent

# Batches under way per host: one is fetched while the next one's answer is extracted and committed.
BATCHES_PER_HOST = 3
# Batches read from the ledger at once for a host, so that one query serves several.
READ_AHEAD = 10
# A paced host's batch lasts about this long, so that outcomes are committed often and little is lost by a kill.
SECONDS_PER_BATCH = 4.0
PDFS_PER_BATCH = 2
# Pages asked for with validators go in batches so many times as large: most come back without a body.
CONDITIONAL_FACTOR = 4
# The ledger is not asked again for a host that had nothing more for so long, unless a commit may have changed that.
DRY_S = 0.5
# Sitemaps under way at once; each may hold 50,000 entries.
SITEMAPS_AT_ONCE = 4
# URLs of a pattern that was closed too early that come in at once; if they bring new texts, so many more follow.
REOPENED = 300


class Frontier:
    """What waits in one cycle of one brand, handed out in batches of one host, best first: sitemaps, then pages.

    The ledger holds the truth; this object only remembers what is under way, so losing it loses nothing.
    """

    def __init__(self, ledger: Ledger, config: BrandConfig, settings: CrawlSettings, cycle: Cycle, fence: int) -> None:
        self._ledger = ledger
        self._config = config
        self._settings = settings
        self._cycle = cycle
        self._fence = fence
        self._admission = Admission(ledger, config, settings)
        self._watch = HostWatch(settings.host_give_up_s)
        self.given_up = 0  # pages that waited for a host that did not answer
        self._under_way: set[str] = set()
        self._per_host: Counter[str] = Counter()
        self._queues: dict[str, deque[FetchTask]] = {}
        self._dry_until: dict[str, float] = {}
        self._sitemaps_under_way: set[str] = set()
        self._sitemaps_left = True
        self._sizes = _batch_sizes(settings.batch_size, config.rate)
        self._budget = config.max_pages - ledger.done_in_cycle(config.name, cycle.number)
        self._room = settings.max_urls - ledger.known_urls(config.name)

    @property
    def under_way(self) -> int:
        """Pages handed out and not yet committed."""
        return len(self._under_way)

    def seed(self, now: float, also: Sequence[str] = ()) -> None:
        """Put the start URLs and ``also`` in, and the robots.txt of each start URL's host, which may name sitemaps."""
        name = self._config.name
        if self._cycle.mode is not Mode.RETRY:
            starts = [Discovery(url, forced=True) for url in (*self._config.start_urls, *also)]
            self._ledger.discover(name, self._cycle, starts, now, self._fence)
            origins = dict.fromkeys(map(origin, self._config.start_urls)) if self._config.sitemaps else {}
            robots = [FetchTask(name, f"{one}/robots.txt", kind=Kind.ROBOTS) for one in origins]
            self._ledger.add_sitemaps(name, self._cycle, robots, self._fence)
        for host in (*self._ledger.hosts(name, self._cycle.number), *self._admission.sites):
            self._queues.setdefault(host, deque())

    def batches(self, now: float) -> Iterator[list[FetchTask]]:
        """Batches that may be sent now; each is remembered as under way until ``commit``."""
        self._give_up_hosts(now)
        if self._sitemaps_left:
            yield from self._sitemap_batches(now)
        if self._sitemaps_under_way:  # they may say which pages need no request
            return
        for host in self._queues:
            while self._per_host[host] < BATCHES_PER_HOST and self._watch.may_ask(host, now):
                batch = self._take(host, now)
                if not batch:
                    break
                self._per_host[host] += 1
                self._under_way.update(task.url for task in batch)
                yield batch

    def _sitemap_batches(self, now: float) -> Iterator[list[FetchTask]]:
        """One sitemap each. One that failed and waits for another try holds no page up."""
        waiting = self._ledger.sitemaps_due(self._config.name, self._cycle, 2 * SITEMAPS_AT_ONCE)
        self._sitemaps_left = bool(waiting)
        for task, due_at in waiting:
            if len(self._sitemaps_under_way) >= SITEMAPS_AT_ONCE:
                break
            if due_at <= now and task.url not in self._sitemaps_under_way:
                self._sitemaps_under_way.add(task.url)
                ours = task.depth > 1 and authority(task.url) in self._admission.sites
                yield [self._prepared(dataclasses.replace(task, invited=task.invited or ours))]

    def _take(self, host: str, now: float) -> list[FetchTask]:
        """The next batch of a host, at most as large as the page budget allows."""
        room, most = self._budget - len(self._under_way), max(self._sizes.values())
        queue = self._queues[host]
        if room > 0 and len(queue) < most and self._dry_until.get(host, 0.0) <= now:
            self._refill(host, most * READ_AHEAD, now)
        return _first(queue, self._sizes, room)

    def _refill(self, host: str, limit: int, now: float) -> None:
        queue = self._queues[host]
        held = self._under_way | {task.url for task in queue}
        due = self._ledger.due(self._config.name, self._cycle.number, host, limit, now, held)
        if len(due) < limit:
            self._dry_until[host] = now + DRY_S
        queue.extend(map(self._prepared, self._still_wanted(due, now)))

    def _still_wanted(self, due: Sequence[FetchTask], now: float) -> list[FetchTask]:
        """Without what the configuration has ruled out since it was found; that is settled at once."""
        judged = [(task, self._admission.judge(task.url, task.depth)) for task in due]
        if refused := [PageOutcome(task, UrlState.SKIPPED, reason) for task, reason in judged if reason]:
            self._ledger.commit(self._config.name, self._cycle, self._fence, refused, (), now)
        return [task for task, reason in judged if not reason]

    def _prepared(self, task: FetchTask) -> FetchTask:
        """A full crawl asks as if nothing were stored: that also brings back texts the page store has lost.

        So does the first crawl after extraction has changed, for an unchanged page may now give another text.
        """
        old = task.content_hash and task.extractor != EXTRACTOR_VERSION
        if self._cycle.mode is Mode.FULL or old:
            return dataclasses.replace(task, etag="", last_modified="", content_hash="")
        return task

    def commit(self, batches: Sequence[Sequence[PageOutcome]], now: float) -> list[PageOutcome]:
        """Write the outcomes of finished batches and the URLs they name, durably; returns them as they are written."""
        outcomes = [self._judge(outcome) for batch in batches for outcome in batch]
        pages = [outcome for outcome in outcomes if outcome.task.kind is Kind.PAGE]
        for outcome in outcomes:
            if outcome.task.kind is not Kind.PAGE:
                self._commit_sitemap(outcome, now)
        if pages:
            self._commit_pages(pages, now)
        self._per_host.subtract(authority(b[0].task.url) for b in batches if b and b[0].task.kind is Kind.PAGE)
        for outcome in outcomes:
            self._watch.note(authority(outcome.task.url), outcome, now)
        self._give_up_hosts(now)
        return outcomes

    def _commit_pages(self, pages: Sequence[PageOutcome], now: float) -> None:
        found = self._admission.admit(one for outcome in pages for one in self._found(outcome))
        room = max(0, self._room)
        self._room -= self._ledger.commit(self._config.name, self._cycle, self._fence, pages, found, now, room)
        self._admission.committed(found, pages)
        if found or any(outcome.state is UrlState.QUEUED for outcome in pages):
            self._dry_until.clear()
        self._under_way.difference_update(outcome.task.url for outcome in pages)
        self._budget -= sum(map(spent, pages))

    def _commit_sitemap(self, outcome: PageOutcome, now: float) -> None:
        found, outcome = self._admission.admit_listed(outcome)
        room = max(0, self._room)
        self._room -= self._ledger.commit_sitemap(
            self._config.name, self._cycle, self._fence, outcome, found, now, room
        )
        self._admission.committed(found, ())
        self._dry_until.clear()
        self._sitemaps_under_way.discard(outcome.task.url)

    def _give_up_hosts(self, now: float) -> None:
        """Time alone is enough: a host that does not answer gives no outcomes either."""
        for host in self._watch.given_up(now):
            self._queues.get(host, deque()).clear()
            self.given_up += self._ledger.give_up_host(self._config.name, self._cycle, self._fence, host)

    def next_due(self) -> float | None:
        """When the next waiting URL may be tried; None when the cycle has nothing left to fetch.

        Asked when nothing is under way, which is when refused URLs of patterns that have proved themselves come in.
        """
        self._dry_until.clear()
        for template in self._admission.reopened():
            came_in = self._ledger.reopen(self._config.name, self._cycle, self._fence, template, REOPENED)
            if came_in == REOPENED:
                self._admission.refused(template)
        sitemap = min((due for _, due in self._ledger.sitemaps_due(self._config.name, self._cycle, 1)), default=None)
        page = self._ledger.next_due(self._config.name, self._cycle.number) if self._budget > 0 else None
        return min((one for one in (sitemap, page) if one is not None), default=None)

    def waiting(self) -> int:
        """Pages of this cycle that are known and not handed out yet."""
        return self._ledger.waiting(self._config.name, self._cycle.number) - self.under_way

    def close(self, now: float) -> Finished:
        """End the cycle; URLs over the page limit are recorded as such."""
        return self._ledger.finish_cycle(self._config.name, self._cycle, self._fence, now)

    def _judge(self, outcome: PageOutcome) -> PageOutcome:
        """A page's redirect chain longer than the cap ends here, and so does one that leaves encryption."""
        if outcome.task.kind is not Kind.PAGE:
            return outcome
        if outcome.location and outcome.task.hops >= self._settings.max_hops:
            return dataclasses.replace(outcome, state=UrlState.FAILED, reason="redirect_loop", location="")
        if outcome.location.startswith("http://") and outcome.task.url.startswith("https://"):
            told = f"It leads to {outcome.location}."
            return dataclasses.replace(outcome, state=UrlState.FAILED, reason="downgrade", detail=told, location="")
        return outcome

    def _found(self, outcome: PageOutcome) -> Iterator[Discovery]:
        """What a page leads to, not yet judged."""
        task = outcome.task
        if outcome.location:
            yield Discovery(outcome.location, task.depth, task.url, task.hops + 1)
        if outcome.canonical:
            yield Discovery(outcome.canonical, task.depth, task.url)
        for link in outcome.links:
            yield Discovery(link, task.depth + 1, task.url)


def _batch_sizes(size: int, rate: float) -> dict[str, int]:
    """The most tasks in a batch of each kind (see ``_kind``). ``rate``: requests a second, 0 for as many as go."""
    paced = max(1, int(rate * SECONDS_PER_BATCH)) if rate else 0
    sizes = {"new": size, "conditional": size * CONDITIONAL_FACTOR, "pdf": min(PDFS_PER_BATCH, size)}
    return {kind: min(most, paced or most) for kind, most in sizes.items()}


def _first(queue: deque[FetchTask], sizes: Mapping[str, int], room: int) -> list[FetchTask]:
    """The next tasks of one kind, as many as a batch of that kind takes, at most ``room``."""
    taken: list[FetchTask] = []
    if queue:
        kind = _kind(queue[0])
        while queue and len(taken) < min(sizes[kind], room) and _kind(queue[0]) == kind:
            taken.append(queue.popleft())
    return taken


def _kind(task: FetchTask) -> str:
    """What it weighs: a manual a hundred pages, a page that has probably not changed next to nothing."""
    if path_of(task.url).lower().endswith(".pdf"):
        return "pdf"
    return "conditional" if task.etag or task.last_modified else "new"
