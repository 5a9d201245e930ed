"""What every VectorStore promises, held by Chroma embedded, by a Chroma server, and by the twin in memory."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ray_app.config import ChromaSettings
from ray_app.errors import ModelMismatch, VectorStoreDown, VectorStoreLocked
from ray_app.index.chroma import LOCK_FILE, ChromaStore, open_store
from ray_app.index.memory import MemoryVectorStore
from ray_app.index.ports import Vectors, VectorStore
from ray_app.index.publish import collection_name
from ray_app.index.vectors import unit_rows
from ray_app.records import ModelId

DIM = 16
COLLECTION = collection_name("acme", ModelId("toy", "1", DIM))
SERVER_START_S = 30  # on a busy machine; usually one


def vectors(n: int, seed: int = 1, dim: int = DIM) -> Vectors:
    return unit_rows(np.random.default_rng(seed).standard_normal((n, dim)))


def names(n: int) -> list[str]:
    return [f"{i:032x}" for i in range(n)]


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[int]:
    """The port of a real ``chroma run``."""
    program = shutil.which("chroma", path=Path(sys.executable).parent)
    assert program, "chromadb brings the program chroma"
    port, folder = free_port(), tmp_path_factory.mktemp("chroma")
    command = [program, "run", "--host", "127.0.0.1", "--port", str(port), "--path", str(folder)]
    with subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, cwd=folder) as process:
        try:
            deadline = time.monotonic() + SERVER_START_S
            while time.monotonic() < deadline and not _listens(port):
                time.sleep(0.05)
            yield port
        finally:
            process.send_signal(signal.SIGKILL)


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


class TestVectorStore:
    @pytest.fixture(params=["memory", "embedded", "server"])
    def store(self, request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[VectorStore]:
        opened: VectorStore
        if request.param == "memory":
            opened = MemoryVectorStore()
        elif request.param == "embedded":
            opened = ChromaStore(tmp_path / "chroma")
        else:
            opened = ChromaStore(host="127.0.0.1", port=request.getfixturevalue("server"))
            for collection in opened.collections():
                opened.drop(collection)
        yield opened
        opened.close()

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


class TestEmbeddedChroma:
    def test_what_was_stored_is_there_after_a_restart(self, tmp_path: Path) -> None:
        first = ChromaStore(tmp_path)
        first.upsert(COLLECTION, names(5), vectors(5))
        first.close()
        with pytest.raises(VectorStoreDown, match="closed"):
            first.count(COLLECTION)
        second = ChromaStore(tmp_path)
        assert second.ids(COLLECTION) == set(names(5))
        assert second.query(COLLECTION, vectors(5)[3], 1)[0][0] == names(5)[3]
        second.close()

    def test_a_second_opener_is_refused_by_name(self, tmp_path: Path) -> None:
        script = (
            "import sys, pathlib\nfrom ray_app.index.chroma import _own\n"
            "_own(pathlib.Path(sys.argv[1])); print('owned', flush=True); sys.stdin.read()"
        )
        command = [sys.executable, "-c", script, str(tmp_path)]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as owner:
            assert owner.stdout is not None
            assert owner.stdout.readline() == "owned\n"
            with pytest.raises(VectorStoreLocked, match=f"Process {owner.pid} owns"):
                ChromaStore(tmp_path)
            owner.kill()
        store = ChromaStore(tmp_path)  # the kernel released the lock of the dead owner
        assert (tmp_path / LOCK_FILE).read_text() == f"{os.getpid()}\n"
        with pytest.raises(VectorStoreLocked, match=f"Process {os.getpid()} owns"):
            ChromaStore(tmp_path)
        store.close()

    def test_a_damaged_directory_is_said_to_be_down(self, tmp_path: Path) -> None:
        (tmp_path / "chroma.sqlite3").write_bytes(b"not a database" * 100)
        for _ in range(2):  # the second time not locked: the first gave the lock back
            with pytest.raises(VectorStoreDown):
                ChromaStore(tmp_path)

    def test_it_is_opened_by_configuration(self, tmp_path: Path) -> None:
        store = open_store(ChromaSettings(), tmp_path / "chroma")
        assert (tmp_path / "chroma" / LOCK_FILE).exists()
        store.close()
        with pytest.raises(ValueError, match="either"):
            ChromaStore()


class TestChromaServer:
    def test_a_server_that_is_down_is_noticed_at_the_call(self, tmp_path: Path) -> None:
        store = open_store(ChromaSettings(host="127.0.0.1", port=free_port()), tmp_path / "unused")
        for _ in range(2):
            with pytest.raises(VectorStoreDown):
                store.query(COLLECTION, vectors(1)[0], 1)
        assert not (tmp_path / "unused").exists()
        store.close()

    def test_a_server_that_never_answers(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ray_app.index.chroma.SERVER_TIMEOUT_S", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            store = ChromaStore(host="127.0.0.1", port=silent.getsockname()[1])
            with pytest.raises(VectorStoreDown):
                store.count(COLLECTION)

    def test_its_calls_have_a_timeout(self, server: int, monkeypatch: pytest.MonkeyPatch) -> None:
        store = ChromaStore(host="127.0.0.1", port=server)
        store.collections()
        assert store._client._server._session.timeout.read == 10
        store.close()
