"""The owner of the embedded Chroma as an actor: its death, its silence, and another owner before it."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from ray_app.config import Settings
from ray_app.errors import VectorStoreDown, VectorStoreLocked
from ray_app.index.chroma import ChromaStore
from ray_app.index.mending import LOCK_FILE
from ray_app.index.ports import VectorStore
from ray_app.index.vectors import unit_rows
from ray_app.on_ray import vector_owner
from ray_app.on_ray.vector_owner import NAME, RETRY_S, RemoteVectorStore, VectorOwner
from tests.contract.vector_store import VectorStoreContract

RESTART_S = 60  # Ray needs one second, a busy machine more
IDS = [f"{i:032x}" for i in range(600)]
VECTORS = unit_rows(np.random.default_rng(5).standard_normal((600, 16)))


def eventually(call: Callable[[], object]) -> object:
    """What ``call`` returns once the store is up."""
    deadline = time.monotonic() + RESTART_S
    while True:
        try:
            return call()
        except VectorStoreDown:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.1)


@pytest.fixture
def apart(cluster: Settings, tmp_path: Path) -> Iterator[Settings]:
    """Settings whose owner is no other test's."""
    import ray

    ray_settings = cluster.ray.model_copy(update={"namespace": tmp_path.name})
    settings = cluster.model_copy(update={"data_dir": tmp_path, "ray": ray_settings})
    yield settings
    ray.kill(ray.get_actor(NAME, namespace=tmp_path.name))


class TestRemoteVectorStore(VectorStoreContract):
    @pytest.fixture
    def store(self, cluster: Settings) -> VectorStore:
        """One owner for all of them, that of the cluster."""
        opened = RemoteVectorStore(cluster)
        for collection in opened.collections():
            opened.drop(collection)
        return opened


def owner_pid(settings: Settings) -> int:
    return int((settings.data_dir / "chroma" / LOCK_FILE).read_text())


def test_an_owner_that_is_killed_or_silent_costs_no_row_and_no_patience(
    apart: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    store = RemoteVectorStore(apart)
    store.upsert("acme.x", IDS, VECTORS)
    assert store.count("acme.x") == 600
    assert store.query("acme.x", VECTORS[7], 3)[0][0] == IDS[7]
    assert store.ids("acme.x") == set(IDS)
    assert store.page("acme.x", 590, 100) == store.page("acme.x", 590, 10)
    assert store.missing("acme.x", [*IDS, "z"]) == {"z"}
    names, rows = store.vectors("acme.x", [*IDS, "z"])
    np.testing.assert_allclose(rows[names.index(IDS[9])], VECTORS[9], atol=1e-6)
    assert store.describe() == {"kind": "chroma", "where": "embedded"}
    with pytest.raises(VectorStoreLocked, match=f"Process {owner_pid(apart)} owns"):
        ChromaStore(apart.data_dir / "chroma")

    first = owner_pid(apart)
    os.kill(first, signal.SIGKILL)
    assert eventually(lambda: store.ids("acme.x")) == set(IDS)
    assert owner_pid(apart) != first

    monkeypatch.setattr(vector_owner, "ASK_TIMEOUT_S", 0.3)
    os.kill(owner_pid(apart), signal.SIGSTOP)
    try:
        started = time.monotonic()
        with pytest.raises(VectorStoreDown, match=r"did not answer in 0\.3 s"):
            store.query("acme.x", VECTORS[7], 3)
        assert time.monotonic() - started < 5
    finally:
        os.kill(owner_pid(apart), signal.SIGCONT)
    assert eventually(lambda: store.query("acme.x", VECTORS[7], 1)[0][0]) == IDS[7]


def test_a_directory_that_another_process_owns_is_refused_in_its_words(apart: Settings) -> None:
    first = ChromaStore(apart.data_dir / "chroma")
    store = RemoteVectorStore(apart)
    for _ in range(2):
        with pytest.raises(VectorStoreLocked, match=rf"^Process {os.getpid()} owns") as caught:
            store.collections()
        assert type(caught.value) is VectorStoreLocked
    first.close()


def test_it_opens_the_directory_now_and_then_until_it_can(settings: Settings, tmp_path: Path) -> None:
    first = ChromaStore(tmp_path)
    now = 100.0
    owner = VectorOwner(settings, tmp_path, lambda: now)
    with pytest.raises(VectorStoreLocked):
        owner.call("collections")
    first.close()
    with pytest.raises(VectorStoreLocked):
        owner.call("collections")
    now += RETRY_S
    assert owner.call("collections") == []
    owner.call("close")
