"""Crashes and repeats: whatever is killed, repeated or late, the ledger ends with the same documents."""

from __future__ import annotations

import random
import subprocess
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from sqlalchemy import event

from ray_app.records import FetchTask, Fingerprint, PageOutcome, PageRef, UrlState
from ray_app.store.db import Database
from ray_app.store.ledger import Cycle, Discovery, Holder, Ledger, UrlRow

BATCH = 3
_brand_number = count()  # each example is a brand of its own: making a database takes longer than an example
quick = settings(max_examples=25, deadline=None, derandomize=True, database=None)


@pytest.fixture(scope="module")
def ledger(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Ledger]:
    database = Database(f"sqlite:///{tmp_path_factory.mktemp('replay') / 'b.db'}")
    database.close()
    # These crashes lose a process, not the power, so the examples need not wait for the disk.
    event.listen(database.engine, "connect", lambda connection, _: connection.execute("PRAGMA synchronous=OFF"))
    yield Ledger(database)
    database.close()


@dataclass(frozen=True)
class Site:
    """Pages 0..n-1: text (None: 404) and links; page 0 is the start. ``flaky`` ones fail the first time."""

    texts: tuple[str | None, ...]
    links: tuple[tuple[int, ...], ...]
    flaky: frozenset[int]

    def answer(self, task: FetchTask) -> PageOutcome:
        number = int(task.url)
        text = self.texts[number]
        if number in self.flaky and task.attempts == 0:
            return PageOutcome(task, UrlState.QUEUED, "http_5xx", 503, retry_at=0.0)
        if text is None:
            return PageOutcome(task, UrlState.GONE, "http_404", 404)
        links = tuple(f"{link:02d}" for link in self.links[number])
        if text == task.content_hash:
            return PageOutcome(task, UrlState.FETCHED, "unchanged", 200, links=links)
        page, words = PageRef(f"p{number}", 0), Fingerprint(text, "", 0, text)
        return PageOutcome(
            task, UrlState.FETCHED, "ok", 200, page=page, content_hash=text, links=links, fingerprint=words
        )


@st.composite
def sites(draw: st.DrawFn, size: int = 8) -> Site:
    texts = draw(st.lists(st.sampled_from(["red", "green", "blue", None]), min_size=size, max_size=size))
    numbers = st.integers(0, size - 1)
    links = draw(st.lists(st.lists(numbers, max_size=3).map(tuple), min_size=size, max_size=size))
    return Site(tuple(texts), tuple(links), draw(st.frozensets(numbers, max_size=2)))


class Crawl:
    """Crawls a Site into the ledger in batches, with mishaps drawn from ``chance``."""

    def __init__(self, ledger: Ledger, chance: random.Random | None = None, shuffled: bool = False) -> None:
        self.ledger = ledger
        self.brand = f"b{next(_brand_number)}"
        self.chance = chance
        self.shuffled = shuffled
        self.sent: list[tuple[Cycle, Sequence[PageOutcome], Sequence[Discovery]]] = []

    def run(self, site: Site) -> None:
        while not self._attempt(site):
            pass

    def _attempt(self, site: Site) -> bool:
        """From taking the lease to the end of the cycle; False when it was "killed" on the way."""
        self.fence = self.ledger.acquire(self.brand, Holder("dead", 1, 1.0, "t"), now=0.0, ttl_s=0.0)
        cycle = self.ledger.open_cycle(self.brand, 1.0)
        self.ledger.discover(self.brand, cycle, [Discovery("00", forced=True)], 1.0)
        while tasks := self.ledger.due(self.brand, cycle.number, "", 2 * BATCH, 2.0):
            batches = [tasks[start : start + BATCH] for start in range(0, len(tasks), BATCH)]
            if not self.shuffled:
                batches = batches[:1]
            elif self.chance:
                self.chance.shuffle(batches)
            for batch in batches:
                if self._mishap():
                    return False
                self._commit(cycle, [site.answer(task) for task in batch])
                if self._mishap():
                    return False
        self.ledger.finish_cycle(self.brand, cycle, self.fence, 3.0)
        return True

    def _mishap(self) -> bool:
        return self.chance is not None and self.chance.random() < 0.1

    def _commit(self, cycle: Cycle, outcomes: list[PageOutcome]) -> None:
        found = [Discovery(link, one.task.depth + 1, one.task.url) for one in outcomes for link in one.links]
        self.sent.append((cycle, outcomes, found))
        self.ledger.commit(self.brand, cycle, self.fence, outcomes, found, 2.0)
        if self.chance:
            for sent in self.chance.choices(self.sent, k=self.chance.randrange(3)):
                self.repeat(*sent)

    def repeat(self, cycle: Cycle, outcomes: Sequence[PageOutcome], found: Sequence[Discovery]) -> None:
        self.ledger.commit(self.brand, cycle, self.fence, outcomes, found, 2.0)

    def rows(self) -> list[UrlRow]:
        return [replace(row, brand="") for row in self.ledger.urls(self.brand)]

    def documents(self) -> list[tuple[str, str, PageRef]]:
        return [(one.url, one.content_hash, one.page) for one in self.ledger.documents(self.brand)]


@quick
@given(site=sites(), later=sites(), seed=st.integers(0, 2**32))
def test_kills_and_repeats_leave_every_column_as_without_them(
    ledger: Ledger, site: Site, later: Site, seed: int
) -> None:
    calm, rough = Crawl(ledger), Crawl(ledger, random.Random(seed))
    for one in (site, later):
        for crawl in (calm, rough):
            crawl.run(one)
        assert rough.rows() == calm.rows()
        assert rough.documents() == calm.documents()


@quick
@given(site=sites(), seed=st.integers(0, 2**32))
def test_batches_in_any_order_leave_the_same_texts(ledger: Ledger, site: Site, seed: int) -> None:
    calm, rough = Crawl(ledger), Crawl(ledger, random.Random(seed), shuffled=True)
    for crawl in (calm, rough):
        crawl.run(site)
    assert {text for _, text, _ in rough.documents()} == {text for _, text, _ in calm.documents()}
    assert [(row.url, row.state) for row in rough.rows()] == [(row.url, row.state) for row in calm.rows()]


@quick
@given(site=sites(), later=sites())
def test_each_text_has_one_owner_the_nearest(ledger: Ledger, site: Site, later: Site) -> None:
    crawl = Crawl(ledger)
    for one in (site, later):
        crawl.run(one)
        holders = [row for row in crawl.rows() if row.page_part is not None]
        nearest: dict[str, UrlRow] = {}
        for row in sorted(holders, key=lambda row: (row.misses, row.depth, row.url)):
            nearest.setdefault(row.content_hash, row)
        assert crawl.documents() == sorted(
            (row.url, row.content_hash, PageRef(row.page_part or "", row.page_row or 0)) for row in nearest.values()
        )
        for row in holders:
            if row.state is not UrlState.FETCHED:  # it was missed once, and says so
                continue
            owner = nearest[row.content_hash].url
            assert (row.reason == "duplicate") == (row.url != owner)
            assert row.canonical_url == (owner if row.url != owner else "")


WRITER = """
import sys
from ray_app.records import FetchTask, Fingerprint, PageOutcome, PageRef, UrlState
from ray_app.store.db import Database
from ray_app.store.ledger import Discovery, Holder, Ledger
ledger = Ledger(Database(sys.argv[1]))
fence = ledger.acquire("acme", Holder.current("crawl"), now=0.0, ttl_s=1e9)
cycle = ledger.open_cycle("acme", 1.0)
ledger.discover("acme", cycle, [Discovery("0-0")], 1.0)
while True:
    tasks = ledger.due("acme", cycle.number, "", 5, 2.0)
    number = int(tasks[0].url.split("-")[0])
    outcomes = [
        PageOutcome(task, UrlState.FETCHED, "ok", 200, page=PageRef("p", 0), content_hash=task.url) for task in tasks
    ]
    found = [Discovery(f"{number + 1}-{n}", number + 1, tasks[0].url) for n in range(5)]
    ledger.commit("acme", cycle, fence, outcomes, found, 2.0)
    print(number, flush=True)
"""


def _check(ledger: Ledger) -> int:
    """Every batch is there as a whole; returns how many are."""
    batches: dict[int, int] = {}
    for document in ledger.documents("acme"):
        number = int(document.url.split("-")[0])
        batches[number] = batches.get(number, 0) + 1
    assert batches == {number: 1 if number == 0 else 5 for number in range(len(batches))}
    return len(batches)


def test_sigkill_between_and_within_commits(tmp_path: Path) -> None:
    """A real process is killed twice; the second follows the first at once and goes on where it stopped."""
    url = f"sqlite:///{tmp_path / 'b.db'}"
    database = Database(url)
    ledger, acknowledged = Ledger(database), -1
    for _ in range(2):
        with subprocess.Popen([sys.executable, "-c", WRITER, url], stdout=subprocess.PIPE, text=True) as writer:
            assert writer.stdout is not None
            for _ in range(10):
                acknowledged = int(writer.stdout.readline())
                assert _check(ledger) >= acknowledged + 1  # what a reader sees while it is written
            writer.kill()
            acknowledged = max([acknowledged, *(int(line) for line in writer.stdout if line.endswith("\n"))])
        assert _check(ledger) >= acknowledged + 1
    assert acknowledged >= 19
    holder = ledger.acquire("acme", Holder.current("test"), now=1.0, ttl_s=1.0)
    assert holder == 3
    database.close()
