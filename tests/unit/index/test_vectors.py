from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from ray_app.errors import BadVector, ModelMismatch
from ray_app.index import vectors
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


@pytest.mark.parametrize("cap", [0, 10**9])
def test_exact_search_misses_nothing(cap: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(vectors, "COPY_CAP_BYTES", cap)
    monkeypatch.setattr(vectors, "BLOCK_ROWS", 64)
    held, query = rows(500), rows(1)[0]
    found, cosines = ExactSearch(held.astype(np.float16)).search(query, 10)
    assert found.tolist() == np.argsort(-(held.astype(np.float16).astype(np.float32) @ query))[:10].tolist()
    np.testing.assert_allclose(cosines, held[found] @ query, atol=2e-3)


def test_exact_search_of_nothing_and_of_another_width() -> None:
    search = ExactSearch(np.empty((0, 8), np.float16))
    assert search.search(rows(1)[0], 5)[0].size == 0
    with pytest.raises(ModelMismatch):
        search.search(np.ones(9, np.float32), 5)
