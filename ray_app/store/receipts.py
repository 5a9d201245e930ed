"""Receipts of what was forgotten: one JSON file each under ``<data dir>/receipts``, which restoring leaves alone.

A receipt is written step by step, so one of a forgetting that was cut short says how far it came, and the next run of
the same command goes on with it.
"""

from __future__ import annotations

import json
import os
import re
import secrets
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from ray_app.errors import InputError, StoreUnavailable
from ray_app.store.tombstones import Tombstone

FORMAT = 1  # of the file
MAX_BYTES = 2**20  # a receipt has a few kB; a larger file is none

_ID = re.compile(r"forget-\d{8}T\d{6}Z-[0-9a-f]{6}")


@dataclass(slots=True)
class Receipt:
    """What was removed where. Times are POSIX seconds."""

    receipt: str
    brand: str
    url: str  # "": the whole brand
    forgotten_at: float
    finished_at: float = 0.0  # of the latest complete run; 0: it was cut short
    runs: int = 0
    removed: dict[str, int] = field(default_factory=dict)  # counts by store, of all runs together
    problems: list[str] = field(default_factory=list)  # of the latest run: what could not be reached
    remains: list[str] = field(default_factory=list)  # what no command reaches, or what goes by itself
    same_text: list[str] = field(default_factory=list)  # other URLs with the same words, which were not forgotten

    @property
    def complete(self) -> bool:
        """Whether a run came to its end and reached everything."""
        return self.finished_at > 0 and not self.problems

    def count(self, found: Mapping[str, int]) -> int:
        """Adds counts; returns their sum."""
        for name, number in found.items():
            self.removed[name] = self.removed.get(name, 0) + number
        return sum(found.values())

    def as_dict(self) -> dict[str, Any]:
        return {"format": FORMAT, **asdict(self), "complete": self.complete}

    def tombstone(self) -> Tombstone:
        """What the receipt stands for, wherever it is shown."""
        return Tombstone(self.brand, self.url, self.forgotten_at, self.receipt)


def receipt_id(now: float) -> str:
    """Sorts by time."""
    return f"forget-{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


class Receipts:
    """The receipts of one data directory."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def path(self, name: str) -> Path:
        """Where a receipt lies."""
        if not _ID.fullmatch(name):
            raise InputError(f"{name[:64]!r} is not the name of a receipt.")
        return self._root / f"{name}.json"

    def of(self, tombstone: Tombstone) -> Receipt:
        """The receipt of a tombstone; an empty one when there is no file, as after a restore elsewhere."""
        path = self.path(tombstone.receipt)
        if path.is_file():
            return read_receipt(path)
        return Receipt(tombstone.receipt, tombstone.brand, tombstone.url, tombstone.forgotten_at)

    def save(self, receipt: Receipt) -> Path:
        """Durable when it returns. Raises StoreUnavailable."""
        path = self.path(receipt.receipt)
        partial = path.with_suffix(".part")
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with partial.open("wb") as file:
                file.write(json.dumps(receipt.as_dict(), indent=1, ensure_ascii=False).encode(errors="replace"))
                file.flush()
                os.fsync(file.fileno())
            partial.replace(path)
        except OSError as error:
            raise StoreUnavailable(f"The receipt {path} cannot be written: {error.strerror}.") from None
        return path


def read_receipt(path: Path) -> Receipt:
    """Raises InputError when the file is no receipt."""
    try:
        if path.stat().st_size > MAX_BYTES:
            raise ValueError("it is too large")
        found = json.loads(path.read_bytes())
        if found.pop("format") != FORMAT:
            raise ValueError("another version of Backline made it")
        found.pop("complete", None)
        receipt = Receipt(**found)
        if not _ID.fullmatch(receipt.receipt) or not isinstance(receipt.url, str) or not receipt.brand:
            raise ValueError("a field is wrong")
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise InputError(f"{path} is not a receipt of something forgotten: {error}") from None
    return receipt
