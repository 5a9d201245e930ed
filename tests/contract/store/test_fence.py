from __future__ import annotations

import threading
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

import pytest

from ray_app.errors import LeaseHeld, LeaseLost
from ray_app.store import fence
from ray_app.store.db import Database
from ray_app.store.ledger import Holder, Ledger

HERE = Holder.current("crawl")
DEAD = replace(HERE, started=1.0, label="dead crawl")  # our pid, but of a process that began long ago
ELSEWHERE = Holder("another-host", 7, 1.0, "crawl")


def test_a_living_holder_is_named_to_others(ledger: Ledger) -> None:
    ledger.acquire("acme", HERE, now=0.0, ttl_s=60.0)
    with pytest.raises(LeaseHeld, match=rf"acme .* crawl \(process {HERE.pid} on {HERE.host}\)"):
        ledger.acquire("acme", HERE, now=59.0, ttl_s=60.0)
    assert ledger.acquire("other", HERE, now=59.0, ttl_s=60.0) == 1


def test_a_dead_process_of_this_host_is_followed_at_once(ledger: Ledger) -> None:
    ledger.acquire("acme", DEAD, now=0.0, ttl_s=60.0)
    assert ledger.acquire("acme", HERE, now=0.0, ttl_s=60.0) == 2


def test_another_host_is_followed_after_expiry(ledger: Ledger) -> None:
    held = ledger.acquire("acme", ELSEWHERE, now=0.0, ttl_s=60.0)
    ledger.renew("acme", held, now=30.0, ttl_s=60.0)
    with pytest.raises(LeaseHeld):
        ledger.acquire("acme", HERE, now=89.0, ttl_s=60.0)
    assert ledger.acquire("acme", HERE, now=90.0, ttl_s=60.0) == 2


def test_the_fence_grows_over_releases(ledger: Ledger) -> None:
    fences = []
    for _ in range(3):
        fences.append(ledger.acquire("acme", HERE, now=0.0, ttl_s=60.0))
        ledger.release("acme", fences[-1])
    assert fences == [1, 2, 3]


def test_who_was_taken_over_can_neither_renew_nor_write_nor_free(ledger: Ledger) -> None:
    old = ledger.acquire("acme", DEAD, now=0.0, ttl_s=60.0)
    new = ledger.acquire("acme", HERE, now=0.0, ttl_s=60.0)
    for call in (
        lambda: ledger.renew("acme", old, now=1.0, ttl_s=60.0),
        lambda: ledger.commit("acme", 1, old, [], [], now=1.0),
        lambda: ledger.open_cycle("acme", now=1.0, fence=old),
        lambda: ledger.finish_cycle("acme", 1, old, now=1.0),
        lambda: ledger.discover("acme", 1, [], 1.0, fence=old),
    ):
        with pytest.raises(LeaseLost, match="crawl"):
            call()
    ledger.release("acme", old)
    ledger.renew("acme", new, now=1.0, ttl_s=60.0)


def test_nothing_is_held_without_acquiring_or_after_release(ledger: Ledger) -> None:
    with pytest.raises(LeaseLost):
        ledger.renew("acme", 1, now=0.0, ttl_s=60.0)
    fence = ledger.acquire("acme", HERE, now=0.0, ttl_s=60.0)
    ledger.release("acme", fence)
    with pytest.raises(LeaseLost):
        ledger.commit("acme", 1, fence, [], [], now=1.0)


def test_a_takeover_waits_for_a_commit_under_way(db: Database, ledger: Ledger) -> None:
    """Else a commit that passed the check could land after the new holder had begun to read."""
    old = ledger.acquire("acme", DEAD, now=0.0, ttl_s=60.0)
    with ThreadPoolExecutor(1) as pool:
        with db.write() as conn:
            fence.check(conn, "acme", old)
            takeover = pool.submit(ledger.acquire, "acme", HERE, 0.0, 60.0)
            with pytest.raises(TimeoutError):
                takeover.result(timeout=0.1)
        assert takeover.result(timeout=10.0) == old + 1


def test_of_many_at_once_one_gets_it(ledger: Ledger) -> None:
    start = threading.Barrier(5)

    def acquire(_: int) -> int | None:
        start.wait()
        try:
            return ledger.acquire("acme", HERE, now=0.0, ttl_s=60.0)
        except LeaseHeld:
            return None

    with ThreadPoolExecutor(5) as pool:
        won = [fence for fence in pool.map(acquire, range(5)) if fence is not None]
    assert won == [1]
