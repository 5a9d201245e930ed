"""What the crawl loop needs from whoever fetches and extracts pages."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from ray_app.records import FetchTask, PageOutcome

# Raised whenever extraction makes another document of the same bytes: pages that have not changed are then read again.
EXTRACTOR_VERSION = 2


class PageWorkers(Protocol):
    """Fetches and extracts batches of URLs. Every submitted URL comes back exactly once from ``wait``."""

    def submit(self, batch: Sequence[FetchTask]) -> None:
        """Take one batch, all of one host; returns at once."""
        ...

    def wait(self, timeout_s: float) -> list[list[PageOutcome]]:
        """The outcomes of each finished batch, waiting up to ``timeout_s`` for the first; [] when none is."""
        ...

    def idle(self) -> bool:
        """Whether no batch is under way."""
        ...

    def close(self) -> None:
        """Give back what this crawl holds; batches under way are dropped."""
        ...
