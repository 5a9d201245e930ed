from __future__ import annotations

import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from ray_app.index.rows import NO_ROWS, both, joined, size

ranges = st.lists(st.tuples(st.integers(0, 30), st.integers(0, 30)))


def members(found: list[tuple[int, int]]) -> set[int]:
    return {row for start, stop in found for row in range(start, stop)}


@given(ranges, ranges)
def test_ranges_are_sets_of_rows(one: list[tuple[int, int]], other: list[tuple[int, int]]) -> None:
    first, second = joined(one), joined(other)
    assert members(first.tolist()) == members(one)
    assert (first[1:, 0] > first[:-1, 1]).all()  # sorted, and never touching
    common = both(first, second)
    assert common is not None
    assert members(common.tolist()) == members(one) & members(other)
    assert size(common) == len(members(one) & members(other))


def test_none_stands_for_all_rows() -> None:
    some = joined([(1, 3)])
    assert both(None, None) is None
    assert both(some, None) is some
    assert both(None, some) is some
    assert np.array_equal(joined([]), NO_ROWS)
