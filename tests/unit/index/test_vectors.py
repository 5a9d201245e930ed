from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from ray_app.errors import BadVector, ModelMismatch
from ray_app.index import vectors
from ray_app.index.files import finish
from ray_app.index.rows import NO_ROWS, Rows, joined
from ray_app.index.vectors import ExactSearch, VectorWriter, best, unit_rows


def rows(n: int, dim: int = 8) -> np.ndarray:
    return unit_rows(np.random.default_rng(7).standard_normal((n, dim)))


@pytest.mark.parametrize("bad", [0.0, np.nan, np.inf, -np.inf])
def test_unusable_vectors_are_refused(bad: float) -> None:
    with pytest.raises(BadVector, match="1 of 2"):
        unit_rows(np.array([[1.0, 0.0], [bad, 0.0]]))


def test_rows_get_length_one() -> None:
    np.testing.assert_allclose(np.linalg.norm(unit_rows(np.array([[3.0, 4.0], [1e10, 0.0]])), axis=1), 1)
    assert unit_rows(np.empty((0, 4))).shape == (0, 4)


def test_best_orders_and_breaks_ties_by_position() -> None:
    scores = np.array([1, 3, 2, 3, 0], np.float32)
    assert best(scores, 3)[0].tolist() == [1, 3, 2]
    assert best(scores, 99)[0].tolist() == [1, 3, 2, 0, 4]
    assert best(scores, 1, np.array([0, 2]))[0].tolist() == [2]
    assert best(scores, 0)[0].tolist() == []
    many = np.repeat(np.array([2, 1], np.float32), 500)
    assert best(many, 700)[0].tolist() == list(range(700))
    assert best(many, 5, np.array([900, 9, 700, 600, 800, 650, 8]))[0].tolist() == [8, 9, 600, 650, 700]


@pytest.mark.parametrize("sizes", [[], [0], [1], [3, 1, 700]])
def test_what_is_appended_can_be_mapped(tmp_path: Path, sizes: list[int]) -> None:
    parts = [rows(n) for n in sizes]
    with VectorWriter(tmp_path / "v.npy", 8) as writer:
        for part in parts:
            writer.append(part)
    opened = np.load(tmp_path / "v.npy", mmap_mode="r")
    assert opened.dtype == np.float16
    np.testing.assert_allclose(opened, np.concatenate([np.empty((0, 8)), *parts]), atol=1e-3)


def test_half_precision_rows_are_written_as_they_are(tmp_path: Path) -> None:
    half = rows(50).astype(np.float16)
    with VectorWriter(tmp_path / "v.npy", 8) as writer:
        writer.append(half)
    np.testing.assert_array_equal(np.load(tmp_path / "v.npy"), half)


def test_the_writer_refuses_what_is_no_vector_of_the_model(tmp_path: Path) -> None:
    with VectorWriter(tmp_path / "v.npy", 8) as writer:
        with pytest.raises(ModelMismatch):
            writer.append(rows(2, 9))
        for bad in (np.zeros((1, 8)), np.full((1, 8), np.nan), np.full((1, 8), np.inf), np.ones((1, 8))):
            with pytest.raises(BadVector):
                writer.append(bad)


DIM = 24


@pytest.fixture
def small_blocks(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several blocks, batches, threads and bridged gaps in a few hundred rows."""
    sizes = {"BLOCK_ROWS": 64, "CONVERT_ROWS": 50, "SPLIT_ROWS": 128, "GAP_ROWS": 3, "MAX_THREADS": 2}
    for name, value in sizes.items():
        monkeypatch.setattr(vectors, name, value)


def plain_search(held: np.ndarray, query: np.ndarray, k: int, allowed: np.ndarray) -> list[int]:
    """In float64, rows that are equal by their number."""
    cosines = held.astype(np.float64) @ query.astype(np.float64)
    order = np.lexsort((allowed, -cosines[allowed]))
    return [int(row) for row in allowed[order][:k]]


ranges = st.lists(st.tuples(st.integers(0, 400), st.integers(0, 40)), max_size=12).map(
    lambda drawn: joined((start, min(400, start + length)) for start, length in drawn)
)


@pytest.mark.usefixtures("small_blocks")
@settings(deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32 - 1), k=st.integers(0, 420), rows=st.none() | ranges)
def test_exact_search_finds_what_plain_arithmetic_finds(seed: int, k: int, rows: Rows | None) -> None:
    draw = np.random.default_rng(seed)
    held = unit_rows(draw.standard_normal((400, DIM))).astype(np.float16)
    query = unit_rows(draw.standard_normal((1, DIM)))[0]
    allowed = np.arange(400) if rows is None else np.concatenate([np.arange(0), *(np.arange(*r) for r in rows)])
    found, cosines = ExactSearch(held).search(query, k, rows)
    plain = held.astype(np.float64) @ query.astype(np.float64)
    expected = plain_search(held, query, k, allowed)
    assert len(set(found.tolist())) == len(expected)
    assert set(found.tolist()) <= set(allowed.tolist())
    np.testing.assert_allclose(plain[found], plain[expected], atol=1e-6)  # closer ones float32 cannot tell apart
    np.testing.assert_allclose(cosines, plain[found], atol=1e-6)


@pytest.mark.usefixtures("small_blocks")
@pytest.mark.parametrize("seed", range(20))
def test_rows_closer_together_than_the_scan_can_tell_are_told_apart(seed: int) -> None:
    draw = np.random.default_rng(seed)
    query = unit_rows(draw.standard_normal((1, DIM)))[0]
    around = draw.standard_normal((2_000, DIM))
    around = unit_rows(around - np.outer(around @ query, query))  # all at a right angle to the question
    held = unit_rows(2 * query + around).astype(np.float16)
    search = ExactSearch(held)
    found, cosines = search.search(query, 10)
    oracle, values = search.exhaustive(query, 10)
    assert found.tolist() == oracle.tolist()
    np.testing.assert_array_equal(cosines, values)


def test_equal_rows_come_by_their_number() -> None:
    held = np.repeat(rows(3, DIM), 500, axis=0).astype(np.float16)
    found, _ = ExactSearch(held).search(held[700].astype(np.float32), 7)
    assert found.tolist() == list(range(500, 507))


def test_a_kernel_that_is_off_is_found_out_and_left(monkeypatch: pytest.MonkeyPatch) -> None:
    held, query = rows(300, DIM).astype(np.float16), rows(301, DIM)[300]
    calls = []

    def rough(a: np.ndarray, b: np.ndarray, metric: str) -> np.ndarray:
        calls.append(metric)
        return np.asarray(a, np.float64) @ np.asarray(b[0], np.float64)[:, None] + 0.01

    monkeypatch.setattr(vectors.numkong, "cdist", rough)
    search = ExactSearch(held)
    expected = plain_search(held, query, 10, np.arange(300))
    assert search.search(query, 10)[0].tolist() == expected
    assert search.search(query, 10)[0].tolist() == expected
    assert len(calls) == 1


def test_small_gaps_are_read_and_their_rows_are_not_found() -> None:
    held = rows(300, DIM).astype(np.float16)
    allowed = joined((start, start + 2) for start in range(0, 300, 4))
    best_row = int(allowed[20, 1])  # lies in a gap, and is what the question asks for
    found, _ = ExactSearch(held).search(held[best_row].astype(np.float32), 300, allowed)
    assert sorted(found.tolist()) == [row for row in range(300) if row % 4 < 2]


def test_exact_search_of_nothing_and_of_another_width() -> None:
    search = ExactSearch(np.empty((0, 8), np.float16))
    search.warm()
    assert search.search(rows(1)[0], 5)[0].size == 0
    assert ExactSearch(rows(9).astype(np.float16)).search(rows(1)[0], 5, NO_ROWS)[0].size == 0
    with pytest.raises(ModelMismatch):
        search.search(np.ones(9, np.float32), 5)
    with pytest.raises(ModelMismatch):
        search.exhaustive(np.ones(9, np.float32), 5)


def test_a_file_is_closed_when_the_disk_is_full_and_the_first_error_is_told() -> None:
    with Path("/dev/full").open("wb") as file:
        file.write(b"header")
        with pytest.raises(OSError, match="No space"):
            finish(file, b"header", None)
        assert file.closed
    with Path("/dev/full").open("wb") as file:
        file.write(b"rows")
        finish(file, b"header", ValueError("the first"))
        assert file.closed
