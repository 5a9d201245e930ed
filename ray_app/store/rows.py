"""What the ledger takes and gives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass
from enum import StrEnum

import psutil

from ray_app.records import PageRef, UrlState

START_SLACK_S = 2.0  # the kernel's clock ticks and the boot time put this much doubt on a process's start


@dataclass(frozen=True, slots=True)
class Discovery:
    """A URL that was found. SKIPPED with its reason when its address alone rules it out."""

    url: str
    depth: int = 0
    parent: str = ""  # the page that links to it, "" for a start URL
    hops: int = 0  # redirects that led to it
    state: UrlState = UrlState.QUEUED
    reason: str = "discovered"
    template: str = ""  # see ingest.traps
    sitemap: str = ""  # that lists it
    lastmod: float = 0.0  # what that sitemap says
    forced: bool = False  # looked at in every crawl, whatever its next visit is: a start URL


@dataclass(frozen=True, slots=True)
class Holder:
    """A process that works on a brand."""

    host: str
    pid: int
    started: float  # when the process began; pids are used again
    label: str  # for a person: "crawl", "embed"...

    @classmethod
    def current(cls, label: str) -> Holder:
        """This very process."""
        return cls(socket.gethostname(), os.getpid(), psutil.Process().create_time(), label)

    def alive(self) -> bool:
        """Whether the process still runs. Only meaningful on its own host."""
        try:
            process = psutil.Process(self.pid)
            same = abs(process.create_time() - self.started) <= START_SLACK_S
            return same and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False
        except psutil.AccessDenied:
            return True

    def __str__(self) -> str:
        return f"{self.label} (process {self.pid} on {self.host})"


class Mode(StrEnum):
    """Which URLs a cycle is about."""

    FULL = "full"  # everything that links lead to, asked for anew
    DELTA = "delta"  # what may have changed since it was last looked at, and what is new
    RETRY = "retry"  # what failed


@dataclass(frozen=True, slots=True)
class Cycle:
    """One pass over a brand's URLs. Each URL is settled at most once in it."""

    number: int
    started_at: float
    finished_at: float | None  # None while it is unfinished
    resumed: bool = False  # an earlier run began it
    mode: Mode = Mode.DELTA
    dropped: int = 0  # links over the cap of known URLs, which were not recorded
    extractor: int = 0  # version of the extraction that reads its pages; 0: whichever made the stored texts


@dataclass(frozen=True, slots=True)
class Finished:
    """How a cycle ended."""

    left: int  # URLs it did not come to
    unlinked: int = 0  # texts that left because nothing links to them any more
    dropped: int = 0  # links over the cap of known URLs, which were not recorded


@dataclass(frozen=True, slots=True)
class StoredDocument:
    """A text of a brand, under the one URL that stands for it."""

    url: str
    content_hash: str
    page: PageRef
    title: str


@dataclass(frozen=True, slots=True)
class UrlRow:
    """Everything the ledger knows about one URL of one brand. Times: 0 means never."""

    url: str
    brand: str
    state: UrlState
    reason: str
    status: int
    depth: int
    hops: int
    parent: str
    attempts: int
    discovered_at: float
    fetched_at: float
    due_at: float  # not to be tried again before
    etag: str
    last_modified: str
    content_hash: str  # "" when no text is stored
    page_part: str | None
    page_row: int | None
    canonical_url: str  # of a duplicate, an alias or a redirect: the URL that stands for it
    media_type: str
    title: str
    bytes: int  # on the wire
    seconds: float
    detail: str
    cycle_done: int  # the last cycle in which it was settled
    cycle_due: int  # the cycle in which it waits; 0: in none
    misses: int  # cycles in a row in which the server said that the stored text is no longer there
    changed_at: float  # since when it is as it is
    revisit_at: float  # a delta crawl leaves it alone before; 0: looks at it
    sitemap: str  # that lists it
    lastmod: float  # what that sitemap says
    lang: str
    extractor: int  # version of the extraction that made the stored text; negative when it was handed over


@dataclass(frozen=True, slots=True)
class SitemapRow:
    """What the ledger knows about one robots.txt or sitemap of a brand."""

    url: str
    brand: str
    kind: str
    state: UrlState
    reason: str
    status: int
    parent: str
    depth: int
    attempts: int
    entries: int
    fetched_at: float
    detail: str
    cycle_done: int
