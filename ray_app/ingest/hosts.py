"""What a crawl learns about its hosts from the outcomes: who wants to be left alone, who is down."""

from __future__ import annotations

from ray_app.records import PageOutcome, UrlState
from ray_app.store.settle import untried

# Reasons that mean that a host did not answer at all.
SILENT = frozenset({"connect", "dns", "timeout", "host_down"})


class HostWatch:
    """Times are POSIX seconds. A host that has been silent for ``give_up_s`` is given up for the rest of the crawl."""

    def __init__(self, give_up_s: float) -> None:
        self._give_up_s = give_up_s
        self._not_before: dict[str, float] = {}
        self._silent_since: dict[str, float] = {}

    def note(self, host: str, outcome: PageOutcome, now: float) -> None:
        """Learn from one outcome."""
        if outcome.status or outcome.state is UrlState.FETCHED:  # robots.txt is read without a status of its own
            self._silent_since.pop(host, None)
            self._not_before.pop(host, None)
        elif outcome.reason in SILENT:
            self._silent_since.setdefault(host, now)
        if untried(outcome) and outcome.retry_at is not None:
            self._not_before[host] = outcome.retry_at

    def may_ask(self, host: str, now: float) -> bool:
        """Whether URLs of the host are worth sending now."""
        return self._not_before.get(host, 0.0) <= now

    def given_up(self, now: float) -> list[str]:
        """Hosts whose patience has run out just now."""
        lost = [host for host, since in self._silent_since.items() if now - since >= self._give_up_s]
        for host in lost:
            self._silent_since[host] = now  # what is found on it later is given up later
        return lost
