"""Figures that many ask for, no older than a minute: to count the URLs of a brand is to read all of its rows."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping

from ray_app.records import UrlState
from ray_app.store.ledger import Ledger

KEPT_S = 60.0

Counts = Mapping[tuple[UrlState, str], int]


class RecentCounts:
    """``Ledger.counts`` for monitors and lists, which ask every few seconds. Safe to share between threads.

    ``clock`` gives seconds that never go back.
    """

    def __init__(self, ledger: Ledger, clock: Callable[[], float] = time.monotonic) -> None:
        self._ledger = ledger
        self._clock = clock
        self._held: dict[str, tuple[float, Counts]] = {}
        self._lock = threading.Lock()  # so that two who ask at once count once

    def counts(self, brand: str) -> Counts:
        """URLs by (state, reason), as they were at most ``KEPT_S`` ago."""
        with self._lock:
            held = self._held.get(brand)
            if held is None or self._clock() - held[0] >= KEPT_S:
                held = self._held[brand] = (self._clock(), self._ledger.counts(brand))
            return held[1]
