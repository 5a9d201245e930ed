"""What every VectorStore promises. A test class of each one gives the ``store`` to these."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from ray_app.errors import ModelMismatch
from ray_app.index.ports import Vectors, VectorStore
from ray_app.index.publish import collection_name
from ray_app.index.vectors import unit_rows
from ray_app.records import ModelId

DIM = 16
COLLECTION = collection_name("acme", ModelId("toy", "1", DIM))


def vectors(n: int, seed: int = 1, dim: int = DIM) -> Vectors:
    return unit_rows(np.random.default_rng(seed).standard_normal((n, dim)))


def names(n: int) -> list[str]:
    return [f"{i:032x}" for i in range(n)]


class VectorStoreContract:
    def test_nearest_first_with_cosines(self, store: VectorStore) -> None:
        held, query = vectors(50), vectors(1, seed=2)[0]
        store.upsert(COLLECTION, names(50), held)
        expected = np.argsort(-(held @ query))[:10]
        found = store.query(COLLECTION, query, 10)
        assert [i for i, _ in found] == [names(50)[j] for j in expected]
        np.testing.assert_allclose([c for _, c in found], (held @ query)[expected], atol=1e-5)

    def test_more_than_there_is(self, store: VectorStore) -> None:
        store.upsert(COLLECTION, names(3), vectors(3))
        assert len(store.query(COLLECTION, vectors(1)[0], 10)) == 3
        assert store.query(COLLECTION, vectors(1)[0], 0) == []

    def test_the_same_again_changes_nothing_and_another_vector_replaces(self, store: VectorStore) -> None:
        held = vectors(3)
        store.upsert(COLLECTION, names(3), held)
        store.upsert(COLLECTION, names(3), held)
        assert store.count(COLLECTION) == 3
        store.upsert(COLLECTION, names(1), held[1:2])
        assert {i for i, _ in store.query(COLLECTION, held[1], 2)} == set(names(2))

    def test_an_id_twice_in_one_call(self, store: VectorStore) -> None:
        store.upsert(COLLECTION, [*names(1), *names(1)], vectors(2))
        assert store.count(COLLECTION) == 1
        assert store.query(COLLECTION, vectors(2)[1], 1)[0][1] == pytest.approx(1, abs=1e-5)

    def test_delete(self, store: VectorStore) -> None:
        store.upsert(COLLECTION, names(5), vectors(5))
        store.delete(COLLECTION, [*names(2), "unknown"])
        store.delete(COLLECTION, [])
        assert store.ids(COLLECTION) == set(names(5)[2:])
        assert names(1)[0] not in {i for i, _ in store.query(COLLECTION, vectors(5)[0], 5)}

    def test_many(self, store: VectorStore) -> None:
        store.upsert(COLLECTION, names(1_203), vectors(1_203))
        assert store.count(COLLECTION) == 1_203
        assert store.ids(COLLECTION) == set(names(1_203))
        store.delete(COLLECTION, names(1_203)[:1_001])
        assert store.count(COLLECTION) == 202

    def test_pages(self, store: VectorStore) -> None:
        store.upsert(COLLECTION, names(1_203), vectors(1_203))
        pages = [store.page(COLLECTION, start, 500) for start in (0, 500, 1_000, 1_500)]
        assert [len(page) for page in pages] == [500, 500, 203, 0]
        assert {one for page in pages for one in page} == set(names(1_203))
        assert store.page(COLLECTION, 0, 0) == []

    def test_missing(self, store: VectorStore) -> None:
        store.upsert(COLLECTION, names(2_103)[3:], vectors(2_103)[3:])
        assert store.missing(COLLECTION, names(2_110)) == {*names(3), *names(2_110)[2_103:]}
        assert store.missing(COLLECTION, [*names(5)[4:], *names(5)[4:], *names(1)]) == set(names(1))
        assert store.missing(COLLECTION, []) == set()

    def test_vectors_are_as_they_were_given(self, store: VectorStore) -> None:
        held = vectors(703)
        store.upsert(COLLECTION, names(703), held)
        found, rows = store.vectors(COLLECTION, [*reversed(names(703)), "unknown", *names(1)])
        assert sorted(found) == names(703)
        np.testing.assert_allclose(rows, held[[names(703).index(one) for one in found]], atol=1e-6)
        assert rows.dtype == np.float32
        for nothing in ([], ["unknown"]):
            found, rows = store.vectors(COLLECTION, nothing)
            assert (found, len(rows)) == ([], 0)

    def test_it_says_what_it_is(self, store: VectorStore) -> None:
        assert store.describe()["kind"] in ("memory", "chroma")
        assert "damaged" not in store.describe()

    def test_collections_are_apart(self, store: VectorStore) -> None:
        other = collection_name("a" * 64, ModelId("toy", "1", 4))
        store.upsert(COLLECTION, names(2), vectors(2))
        store.upsert(other, names(3), vectors(3, dim=4))
        assert store.collections() == sorted([COLLECTION, other])
        store.drop(COLLECTION)
        assert store.collections() == [other]
        assert (store.count(COLLECTION), store.count(other)) == (0, 3)

    def test_a_collection_that_is_not_there(self, store: VectorStore) -> None:
        assert store.query("acme.none", vectors(1)[0], 5) == []
        assert store.count("acme.none") == 0
        assert store.ids("acme.none") == set()
        assert store.page("acme.none", 0, 5) == []
        assert store.missing("acme.none", names(2)) == set(names(2))
        assert store.vectors("acme.none", names(2))[0] == []
        store.delete("acme.none", names(1))
        store.drop("acme.none")
        assert store.collections() == []

    def test_vectors_of_another_width_are_refused(self, store: VectorStore) -> None:
        store.upsert(COLLECTION, names(2), vectors(2))
        with pytest.raises(ModelMismatch):
            store.upsert(COLLECTION, names(2), vectors(2, dim=4))
        with pytest.raises(ModelMismatch):
            store.query(COLLECTION, vectors(1, dim=4)[0], 2)
        assert store.count(COLLECTION) == 2

    def test_threads_may_share_it(self, store: VectorStore) -> None:
        held = vectors(40)
        with ThreadPoolExecutor(4) as pool:
            parts = [slice(i, i + 10) for i in range(0, 40, 10)]
            list(pool.map(lambda part: store.upsert(COLLECTION, names(40)[part], held[part]), parts))
            found = list(pool.map(lambda row: store.query(COLLECTION, held[row], 1)[0][0], range(40)))
        assert found == names(40)

    def test_close_twice(self, store: VectorStore) -> None:
        store.close()
        store.close()
