from __future__ import annotations

from ray_app.records import UrlState
from ray_app.store.ledger import Discovery, Holder, Ledger
from ray_app.store.recent import KEPT_S, RecentCounts


def test_counts_are_read_once_a_minute_for_each_brand(ledger: Ledger) -> None:
    now = 1_000.0
    recent = RecentCounts(ledger, lambda: now)
    fence = ledger.acquire("acme", Holder("elsewhere", 1, 0.0, "t"), 0.0, 0.0)
    cycle = ledger.open_cycle("acme", 1.0, fence)
    ledger.discover("acme", cycle, [Discovery("https://a.example/")], 1.0, fence)
    waiting = (UrlState.QUEUED, "discovered")
    assert recent.counts("acme") == {waiting: 1}
    ledger.discover("acme", cycle, [Discovery("https://a.example/b")], 1.0, fence)
    assert recent.counts("zeta") == {}
    now += KEPT_S - 1
    assert recent.counts("acme") == {waiting: 1}
    now += 1
    assert recent.counts("acme") == {waiting: 2}
