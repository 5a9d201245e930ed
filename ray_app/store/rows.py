"""What the ledger takes and gives."""

from __future__ import annotations

import os
import socket
from dataclasses import dataclass

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


@dataclass(frozen=True, slots=True)
class Cycle:
    """One pass over a brand's URLs. Each URL is settled at most once in it."""

    number: int
    started_at: float
    finished_at: float | None  # None while it is unfinished
    resumed: bool = False  # an earlier run began it


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
    canonical_url: str  # of a duplicate or a redirect: the URL that stands for it
    media_type: str
    title: str
    bytes: int  # on the wire
    seconds: float
    detail: str
    cycle_done: int  # the last cycle in which it was settled
