from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_app.index.digests import DigestRows, Digests, hexes, union, words

from .conftest import digest

# Few leading halves, so that they are often equal by chance.
few = st.tuples(st.sampled_from(("00" * 8, "7f" * 8, "ff" * 8)), st.integers(0, 7)).map(lambda p: f"{p[0]}{p[1]:016x}")


@given(st.lists(few), st.lists(few))
def test_it_holds_what_a_set_holds(held: list[str], asked: list[str]) -> None:
    table = Digests.of(words(held))
    assert hexes(table.words) == sorted(set(held))
    assert table.missing(asked).tolist() == [one not in held for one in asked]
    assert [table.find(one) is not None for one in asked] == [one in held for one in asked]
    assert hexes(union([table, Digests.of(words(asked))]).words) == sorted({*held, *asked})


@given(st.lists(few, min_size=1))
def test_each_digest_leads_to_its_first_row(held: list[str]) -> None:
    rows = DigestRows.of(words(held))
    assert [rows.row(one) for one in held] == [held.index(one) for one in held]
    assert rows.rows_of(words(held)).tolist() == [held.index(one) for one in held]


def test_it_is_read_where_it_lies(tmp_path: Path) -> None:
    held = [digest(str(i)) for i in range(200)]
    DigestRows.of(words(held)).save(tmp_path / "ids.npy")
    mapped = DigestRows.open(tmp_path / "ids.npy")
    assert [mapped.row(one) for one in held] == list(range(200))
    for unknown in (digest("other"), "", "z", held[0] + "0", held[0][:-1], "\ud800", "ü" * 32):
        assert mapped.row(unknown) is None


def test_nothing_is_found_in_nothing(tmp_path: Path) -> None:
    empty = DigestRows.of(words([]))
    empty.save(tmp_path / "ids.npy")
    assert DigestRows.open(tmp_path / "ids.npy").row(digest("x")) is None
    assert empty.rows_of(words([digest("x")])).tolist() == [-1]
    assert union([]).missing([digest("x")]).tolist() == [True]


def test_a_file_of_something_else_is_refused(tmp_path: Path) -> None:
    np.save(tmp_path / "ids.npy", np.zeros(4))
    with pytest.raises(ValueError, match="no digests"):
        Digests.open(tmp_path / "ids.npy")
