"""Sorted tables of 128-bit digests: looked up where they lie on the disk, not loaded into dictionaries.

A million digests are 16 MB, mapped and shared by every process that reads them; as a set of strings they took 90.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

Words = NDArray[np.uint64]
Places = NDArray[np.int64]

WIDTH = 16  # bytes of a digest; 32 hex digits


def words(digests: bytes | bytearray | Sequence[str]) -> Words:
    """Digests as two rows of 64-bit numbers (2, n), the leading halves first. Raises ValueError."""
    raw = bytes.fromhex("".join(digests)) if not isinstance(digests, bytes | bytearray) else digests
    halves = np.frombuffer(raw, ">u8").astype(np.uint64).reshape(-1, 2)
    return np.ascontiguousarray(halves.T)


def hexes(found: Words) -> list[str]:
    """The digests as hex, in order."""
    text = np.ascontiguousarray(found.T).astype(">u8").tobytes().hex()
    return [text[i : i + 2 * WIDTH] for i in range(0, len(text), 2 * WIDTH)]


def order_of(found: Words) -> Places:
    """The stable order that sorts the digests."""
    return np.lexsort((found[1], found[0]))


class Digests:
    """Sorted digests without repeats. ``words`` (2, n), usually memory-mapped."""

    def __init__(self, sorted_words: Words) -> None:
        self.words = sorted_words
        self._high = sorted_words[0]
        self._low = sorted_words[1]

    @classmethod
    def of(cls, found: Words) -> Digests:
        """Of digests in any order, perhaps with repeats."""
        arranged = found[:, order_of(found)]
        return cls(arranged[:, _firsts(arranged)])

    @classmethod
    def open(cls, path: Path) -> Digests:
        """Map a saved table. Raises OSError or ValueError."""
        mapped = np.asarray(np.load(path, mmap_mode="r", allow_pickle=False))
        if mapped.dtype != np.uint64 or mapped.ndim != 2 or len(mapped) != 2:
            raise ValueError(f"{path.name} holds no digests")
        return cls(mapped)

    def save(self, path: Path) -> None:
        with path.open("wb") as file:
            np.save(file, self.words, allow_pickle=False)

    def __len__(self) -> int:
        return len(self._high)

    def places(self, wanted: Words) -> Places:
        """The position of each of ``wanted`` (2, m), -1 where it is not held."""
        if not len(self):
            return np.full(wanted.shape[1], -1, np.int64)
        at = np.searchsorted(self._high, wanted[0])
        held = self._equal(at, wanted)
        for i in np.flatnonzero(~held & (self._high[np.minimum(at, len(self) - 1)] == wanted[0])):
            while at[i] < len(self) and self._high[at[i]] == wanted[0, i]:  # leading halves that are equal by chance
                if self._low[at[i]] == wanted[1, i]:
                    held[i] = True
                    break
                at[i] += 1
        return np.where(held, at, -1)

    def missing(self, digests: Sequence[str]) -> NDArray[np.bool_]:
        """Which of the hex ``digests`` are not held."""
        return self.places(words(digests)) < 0

    def find(self, digest: str) -> int | None:
        """The position of one hex digest, None when it is not held or is none."""
        try:
            place = int(self.places(words([digest]))[0])
        except (ValueError, IndexError):
            return None
        return None if place < 0 else place

    def _equal(self, at: Places, wanted: Words) -> NDArray[np.bool_]:
        near = np.minimum(at, len(self) - 1)
        return np.asarray((self._high[near] == wanted[0]) & (self._low[near] == wanted[1]))


class DigestRows:
    """Digests with the row of each; of a digest that several rows have, the first."""

    def __init__(self, digests: Digests, rows: NDArray[np.int32]) -> None:
        self.digests = digests
        self.rows = rows

    @classmethod
    def of(cls, found: Words) -> DigestRows:
        """``found`` (2, n): the digest of row 0, 1 and so on."""
        order = order_of(found)
        arranged = found[:, order]
        first = _firsts(arranged)
        return cls(Digests(arranged[:, first]), order[first].astype(np.int32))

    @classmethod
    def open(cls, path: Path) -> DigestRows:
        """Map a saved table. Raises OSError or ValueError."""
        rows = np.asarray(np.load(_rows_path(path), mmap_mode="r", allow_pickle=False))
        digests = Digests.open(path)
        if rows.shape != (len(digests),):
            raise ValueError(f"{path.name} and its rows do not belong together")
        return cls(digests, rows)

    def save(self, path: Path) -> None:
        """As ``path`` and a second file beside it."""
        self.digests.save(path)
        with _rows_path(path).open("wb") as file:
            np.save(file, self.rows, allow_pickle=False)

    def row(self, digest: str) -> int | None:
        """The row of a hex digest, None when it is not held."""
        place = self.digests.find(digest)
        return None if place is None else int(self.rows[place])

    def rows_of(self, wanted: Words) -> Places:
        """The row of each of ``wanted`` (2, m), -1 where it is not held."""
        places = self.digests.places(wanted)
        return np.where(places < 0, -1, self.rows[np.maximum(places, 0)] if len(self.rows) else -1)


def union(tables: Sequence[Digests]) -> Digests:
    """All digests that any of the tables holds."""
    return Digests.of(np.concatenate([t.words for t in tables], axis=1)) if tables else Digests.of(words(b""))


def _firsts(arranged: Words) -> NDArray[np.bool_]:
    """Where a sorted digest differs from the one before."""
    first = np.ones(arranged.shape[1], bool)
    first[1:] = np.any(arranged[:, 1:] != arranged[:, :-1], axis=0)
    return first


def _rows_path(path: Path) -> Path:
    return path.with_name(f"{path.stem}_rows.npy")
