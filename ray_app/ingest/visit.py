"""One try at one URL: what is known so far, and the FetchResult it becomes."""

from __future__ import annotations

import random
from collections.abc import Callable
from dataclasses import dataclass, field
from time import monotonic
from typing import Any

from ray_app.ingest.body import BodyReader
from ray_app.records import FetchResult, FetchTask, UrlState

BACKOFF_S = 1.0  # before the second try, doubled with each further one
BACKOFF_CAP_S = 60.0
JITTER = 0.5  # of the backoff, either way, so that URLs that failed together do not return together

_UNTRIED = {
    "http_429": "The host asked to slow down; the URL waits without having been tried.",
    "host_down": "The host does not answer; the URL waits without having been tried.",
}


@dataclass(slots=True)
class Visit:
    """Collects what results share. ``clock`` gives POSIX seconds."""

    task: FetchTask
    max_attempts: int
    clock: Callable[[], float]
    started: float = field(default_factory=monotonic)
    sent: bool = False  # a request went out; without one the URL was not visited
    status: int = 0
    reader: BodyReader | None = None

    def begin(self) -> None:
        """The request goes out now: waiting for the host's turn is not part of ``seconds``."""
        self.started = monotonic()
        self.sent = True

    def result(self, state: UrlState, reason: str, **fields: Any) -> FetchResult:
        """The outcome; ``fields`` are further fields of FetchResult."""
        return FetchResult(
            task=self.task,
            state=state,
            reason=reason,
            status=self.status,
            fetched_at=self.clock() if self.sent else 0.0,
            seconds=monotonic() - self.started,
            bytes_received=self.reader.received if self.reader else 0,
            **fields,
        )

    def skipped(self, reason: str, **fields: Any) -> FetchResult:
        return self.result(UrlState.SKIPPED, reason, **fields)

    def blocked(self, detail: str) -> FetchResult:
        """Nothing was sent, for the address is not one to connect to: its turn had come when that was found out."""
        self.sent = False
        return self.skipped("blocked_address", detail=detail)

    def failed(self, reason: str, detail: str = "") -> FetchResult:
        return self.result(UrlState.FAILED, reason, detail=detail)

    def retry(self, reason: str, *, at_least_s: float = 0.0, detail: str = "") -> FetchResult:
        """Try again later with exponential backoff; FAILED when this was the last try."""
        if self.task.attempts + 1 >= self.max_attempts:
            return self.failed(reason, detail)
        wait = max(at_least_s, backoff(self.task.attempts))
        return self.result(UrlState.QUEUED, reason, retry_at=self.clock() + wait, detail=detail)

    def deferred(self, wait_s: float, reason: str = "http_429") -> FetchResult:
        """Nothing was sent, for the host is left alone for now; this does not use up a try."""
        self.sent = False
        return self.result(UrlState.QUEUED, reason, retry_at=self.clock() + max(wait_s, 0.0), detail=_UNTRIED[reason])


def backoff(attempts: int) -> float:
    """Seconds to wait after ``attempts`` + 1 failed tries."""
    wait = min(BACKOFF_S * 2.0 ** min(attempts, 16), BACKOFF_CAP_S)
    return wait * random.uniform(1 - JITTER, 1 + JITTER)
