"""Filters as ranges of rows: a generation is ordered so that what people filter by lies together."""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np
from numpy.typing import NDArray

Rows = NDArray[np.int64]  # (n, 2): sorted, disjoint [start, stop)

NO_ROWS: Rows = np.empty((0, 2), np.int64)


def joined(ranges: Iterable[tuple[int, int]]) -> Rows:
    """Ranges in any order, touching and overlapping ones made one."""
    found: list[list[int]] = []
    for start, stop in sorted(r for r in ranges if r[0] < r[1]):
        if found and start <= found[-1][1]:
            found[-1][1] = max(found[-1][1], stop)
        else:
            found.append([start, stop])
    return np.array(found, np.int64).reshape(-1, 2)


def both(one: Rows | None, other: Rows | None) -> Rows | None:
    """The rows that lie in both; None stands for all rows."""
    if one is None or other is None:
        return other if one is None else one
    found: list[tuple[int, int]] = []
    i = j = 0
    while i < len(one) and j < len(other):
        found.append((max(one[i, 0], other[j, 0]), min(one[i, 1], other[j, 1])))
        if one[i, 1] <= other[j, 1]:
            i += 1
        else:
            j += 1
    return joined(found)


def size(rows: Rows) -> int:
    """How many rows the ranges hold."""
    return int((rows[:, 1] - rows[:, 0]).sum())
