from __future__ import annotations

import numpy as np
import pytest
from structlog.testing import capture_logs

from ray_app.breaker import Breaker, Limits
from ray_app.errors import BacklineError, ModelMismatch, VectorStoreDown, VectorStoreLocked
from ray_app.index.guarded import SLOW_S, GuardedVectorStore, guarded
from ray_app.index.memory import MemoryVectorStore
from ray_app.index.ports import Vectors

VECTOR = np.array([1.0, 0.0], np.float32)


class Moody(MemoryVectorStore):
    """Fails with ``error`` when there is one, and takes ``seconds`` of the clock's time."""

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0
        self.seconds = 0.0
        self.calls = 0
        self.error: Exception | None = None

    def query(self, collection: str, vector: Vectors, k: int) -> list[tuple[str, float]]:
        self.calls += 1
        self.now += self.seconds
        if self.error is not None:
            raise self.error
        return super().query(collection, vector, k)


def behind(moody: Moody) -> GuardedVectorStore:
    limits = Limits(failures=3, open_s=10.0, cap_s=40.0)
    return GuardedVectorStore(moody, Breaker(limits), lambda: moody.now)


@pytest.mark.parametrize("error", [VectorStoreDown(), VectorStoreLocked()])
def test_a_store_that_fails_is_left_alone_and_then_tried_once(error: BacklineError) -> None:
    moody = Moody()
    store = behind(moody)
    moody.error = error
    with capture_logs() as events:
        for _ in range(3):
            assert store.state() == "closed"
            with pytest.raises(type(error)):
                store.query("c", VECTOR, 1)
        assert store.state() == "open"
        for call in (lambda: store.query("c", VECTOR, 1), store.collections):
            with pytest.raises(VectorStoreDown, match="asked again in 10 s"):
                call()
        assert moody.calls == 3
        moody.now = 10.0
        assert store.state() == "half-open"
        with pytest.raises(type(error)):
            store.query("c", VECTOR, 1)
        assert store.state() == "open"  # for twice as long
        moody.now, moody.error = 30.0, None
        assert store.query("c", VECTOR, 1) == []
        assert store.state() == "closed"
    changes = [e["state"] for e in events if e["event"] == "vector_store_breaker"]
    assert changes == ["open", "half-open", "open", "half-open", "closed"]


def test_half_open_lets_one_call_through() -> None:
    moody = Moody()
    store = behind(moody)
    moody.error = VectorStoreDown()
    for _ in range(3):
        with pytest.raises(VectorStoreDown):
            store.query("c", VECTOR, 1)
    moody.now, moody.error = 10.0, None
    within: list[BacklineError] = []

    def meanwhile(*_: object) -> list[tuple[str, float]]:
        with pytest.raises(VectorStoreDown, match="asked again") as caught:
            store.count("c")
        within.append(caught.value)
        return []

    moody.query = meanwhile  # type: ignore[method-assign]
    assert store.query("c", VECTOR, 1) == []
    assert len(within) == 1
    assert store.state() == "closed"


def test_slow_answers_are_handed_on_and_count_as_failures() -> None:
    moody = Moody()
    store = behind(moody)
    moody.seconds = SLOW_S + 0.1
    store.upsert("c", ["a"], VECTOR[None])
    for _ in range(3):
        assert store.query("c", VECTOR, 1)[0][0] == "a"
    assert store.state() == "open"


def test_one_that_refuses_a_wrong_width_is_well() -> None:
    moody = Moody()
    store = behind(moody)
    store.upsert("c", ["a"], VECTOR[None])
    for _ in range(5):
        with pytest.raises(ModelMismatch):
            store.query("c", np.ones(3, np.float32), 1)
    assert store.state() == "closed"


def test_a_fault_of_ours_does_not_hold_the_probe() -> None:
    moody = Moody()
    store = behind(moody)
    moody.error = VectorStoreDown()
    for _ in range(3):
        with pytest.raises(VectorStoreDown):
            store.query("c", VECTOR, 1)
    moody.now, moody.error = 10.0, ZeroDivisionError()
    for _ in range(2):
        with pytest.raises(ZeroDivisionError):
            store.query("c", VECTOR, 1)


def test_everything_else_passes_through() -> None:
    store = guarded(MemoryVectorStore(), lambda: 0.0)
    store.upsert("c", ["a", "b"], np.eye(2, dtype=np.float32))
    assert (store.count("c"), store.ids("c"), store.collections()) == (2, {"a", "b"}, ["c"])
    assert (store.page("c", 1, 5), store.missing("c", ["a", "z"])) == (["b"], {"z"})
    assert store.vectors("c", ["b"])[0] == ["b"]
    assert store.describe() == {"kind": "memory", "where": "this process", "breaker": "closed"}
    store.delete("c", ["a"])
    assert store.query("c", VECTOR, 5)[0][0] == "b"
    store.drop("c")
    assert store.collections() == []
    store.close()
