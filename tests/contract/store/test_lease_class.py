"""The Lease context manager: renewal in the background, and the news of its loss."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from ray_app.errors import LeaseHeld, LeaseLost, StoreUnavailable
from ray_app.store.db import Database
from ray_app.store.lease import Lease
from ray_app.store.ledger import Holder, Ledger


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(Database(f"sqlite:///{tmp_path / 'x.db'}"))


def test_a_second_run_is_refused_with_the_holders_name(ledger: Ledger) -> None:
    with Lease(ledger, "acme", label="ingest", ttl_s=60), pytest.raises(LeaseHeld, match="ingest"):
        Lease(ledger, "acme", label="crawl", ttl_s=60).__enter__()


def test_it_is_free_again_after_the_block(ledger: Ledger) -> None:
    with Lease(ledger, "acme", label="ingest", ttl_s=60) as first:
        pass
    with Lease(ledger, "acme", label="ingest", ttl_s=60) as second:
        assert second.fence > first.fence


def test_it_outlives_its_time_while_the_block_runs(ledger: Ledger) -> None:
    with Lease(ledger, "acme", label="ingest", ttl_s=0.3) as lease:
        time.sleep(0.6)
        with pytest.raises(LeaseHeld):
            ledger.acquire("acme", Holder("elsewhere", 1, 0.0, "other"), time.time(), 60)
        lease.check()


def test_a_run_that_was_taken_over_is_told(ledger: Ledger) -> None:
    with Lease(ledger, "acme", label="ingest", ttl_s=0.3) as lease:
        ledger.acquire("acme", Holder("elsewhere", 1, 0.0, "other"), time.time() + 1_000, 60)
        time.sleep(0.3)
        with pytest.raises(LeaseLost):
            lease.check()


def test_what_the_block_raised_counts_also_when_the_lease_cannot_be_given_back(
    ledger: Ledger, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> None:
        raise StoreUnavailable("database or disk is full")

    monkeypatch.setattr(ledger, "release", refuse)
    with pytest.raises(ValueError, match="the cause"), Lease(ledger, "acme", label="ingest", ttl_s=0.2):
        raise ValueError("the cause")
    with Lease(ledger, "acme", label="ingest", ttl_s=0.2, wait_s=5.0):
        pass  # it was free again after its time
