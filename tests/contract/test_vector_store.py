"""What every VectorStore promises, held by Chroma embedded, by a Chroma server, and by the twin in memory."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from ray_app.config import ChromaSettings
from ray_app.errors import VectorStoreDown, VectorStoreLocked
from ray_app.index.chroma import QUERY_TIMEOUT_S, SERVER_TIMEOUT_S, ChromaStore, open_store
from ray_app.index.memory import MemoryVectorStore
from ray_app.index.mending import KEPT_ASIDE, LOCK_FILE, MAX_DEATHS, index_damaged, set_aside
from ray_app.index.ports import VectorStore
from tests.contract.vector_store import COLLECTION, VectorStoreContract, names, vectors

SERVER_START_S = 30  # on a busy machine; usually one


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


class TestVectorStore(VectorStoreContract):
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


def filled(folder: Path) -> ChromaStore:
    """A store whose first collection is large enough for Chroma to write an index of it."""
    store = ChromaStore(folder)
    store.upsert(COLLECTION, names(1_200), vectors(1_200))
    store.upsert("acme.other", names(3), vectors(3))
    return store


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

    @pytest.mark.parametrize(
        "damage", [lambda b: b"not a database" * 100, lambda b: b[:8192], lambda b: b[: len(b) // 2]]
    )
    def test_a_database_that_cannot_be_read_is_put_aside(
        self, tmp_path: Path, damage: Callable[[bytes], bytes]
    ) -> None:
        filled(tmp_path / "chroma").close()
        database = tmp_path / "chroma" / "chroma.sqlite3"
        database.write_bytes(damage(database.read_bytes()))
        store = ChromaStore(tmp_path / "chroma")
        assert store.collections() == []
        (aside,) = tmp_path.glob("chroma.damaged-*")
        assert (aside / "chroma.sqlite3").exists()
        assert aside.name in str(store.describe()["damaged"])
        with pytest.raises(VectorStoreLocked):  # the lock was held all the while
            ChromaStore(tmp_path / "chroma")
        store.upsert(COLLECTION, names(5), vectors(5))
        store.close()
        again = ChromaStore(tmp_path / "chroma")
        assert again.count(COLLECTION) == 5
        again.close()

    def test_only_so_many_damaged_directories_stay(self, tmp_path: Path) -> None:
        for n in range(KEPT_ASIDE + 2):
            (tmp_path / "chroma").mkdir(exist_ok=True)
            (tmp_path / "chroma" / "data").write_text(str(n))
            set_aside(tmp_path / "chroma", f"reason {n}")
        found = {path.read_text() for path in tmp_path.glob("chroma.damaged-*/data")}
        assert len(found) == KEPT_ASIDE
        assert str(KEPT_ASIDE + 1) in found

    def test_a_directory_without_rights_is_left_alone(self, tmp_path: Path) -> None:
        (tmp_path / "chroma" / "chroma.sqlite3").mkdir(parents=True)  # "unable to open database file"
        for _ in range(2):  # the second time not locked: the first gave the lock back
            with pytest.raises(VectorStoreDown):
                ChromaStore(tmp_path / "chroma")
        assert not list(tmp_path.glob("chroma.damaged-*"))

    @pytest.mark.parametrize("lost", ["index_metadata.pickle", "header.bin", ""])
    def test_a_collection_whose_index_is_lost_is_dropped_and_can_be_filled_again(
        self, tmp_path: Path, lost: str
    ) -> None:
        filled(tmp_path).close()
        index = max(tmp_path.glob("*/index_metadata.pickle"), key=lambda path: path.stat().st_size).parent
        if lost:
            (index / lost).write_bytes(b"")
        else:
            shutil.rmtree(index)
        store = ChromaStore(tmp_path)
        with pytest.raises(VectorStoreDown, match="is dropped"):
            store.query(COLLECTION, vectors(1)[0], 500)
        assert COLLECTION in str(store.describe()["damaged"])
        assert store.collections() == ["acme.other"]
        store.upsert(COLLECTION, names(5), vectors(5))
        assert store.query(COLLECTION, vectors(5)[3], 1)[0][0] == names(5)[3]
        assert store.count("acme.other") == 3
        store.close()

    def test_a_collection_that_kills_its_reader_is_dropped(self, tmp_path: Path) -> None:
        filled(tmp_path).close()
        script = (
            "import os, pathlib, signal, sys\nfrom ray_app.index import chroma\n"
            "chroma._nearest = lambda *_: os.kill(os.getpid(), signal.SIGKILL)\n"
            "chroma.ChromaStore(pathlib.Path(sys.argv[1])).query(sys.argv[2], [0.25] * 16, 5)"
        )
        for _ in range(MAX_DEATHS):
            died = subprocess.run([sys.executable, "-c", script, tmp_path, COLLECTION], check=False)
            assert died.returncode == -signal.SIGKILL
        store = ChromaStore(tmp_path)
        assert store.query("acme.other", vectors(3)[0], 1)[0][0] == names(1)[0]
        with pytest.raises(VectorStoreDown, match="query killed the process 3 times"):
            store.query(COLLECTION, vectors(1)[0], 5)
        assert store.query(COLLECTION, vectors(1)[0], 5) == []
        store.close()

    def test_a_disk_that_refuses_the_lock_is_told_and_nothing_stays_locked(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        with monkeypatch.context() as full:
            full.setattr(os, "pwrite", lambda *_: (_ for _ in ()).throw(OSError(28, "No space left on device")))
            with pytest.raises(VectorStoreDown, match="No space left"):
                ChromaStore(tmp_path)
        ChromaStore(tmp_path).close()

    def test_the_name_of_a_collection_is_no_damage(self, tmp_path: Path) -> None:
        assert not index_damaged("Collection pickle-shop.a timed out", tmp_path, "pickle-shop.a")
        assert index_damaged("Collection pickle-shop.a: bad pickle", tmp_path, "pickle-shop.a")

    def test_an_old_error_leaves_the_new_database_alone(self, tmp_path: Path) -> None:
        store = ChromaStore(tmp_path / "chroma")
        store._reopen(object(), "database disk image is malformed")
        assert not list(tmp_path.glob("chroma.damaged-*"))
        store.close()

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
        monkeypatch.setattr("ray_app.index.chroma.QUERY_TIMEOUT_S", 0.2)
        with socket.create_server(("127.0.0.1", 0)) as silent:
            store = ChromaStore(host="127.0.0.1", port=silent.getsockname()[1])
            with pytest.raises(VectorStoreDown):
                store.count(COLLECTION)

    def test_many_who_ask_a_silent_server_do_not_wait_in_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ray_app.index.chroma.QUERY_TIMEOUT_S", 0.2)

        def ask(store: ChromaStore) -> str:
            with pytest.raises(VectorStoreDown) as caught:
                store.count(COLLECTION)
            return str(caught.value)

        with socket.create_server(("127.0.0.1", 0), backlog=50) as silent, ThreadPoolExecutor(20) as pool:
            store = ChromaStore(host="127.0.0.1", port=silent.getsockname()[1])
            said = list(pool.map(ask, [store] * 20))
        assert any("somebody else" in words for words in said)

    def test_its_calls_have_a_timeout(self, server: int, monkeypatch: pytest.MonkeyPatch) -> None:
        store = ChromaStore(host="127.0.0.1", port=server)
        store.upsert(COLLECTION, names(1), vectors(1))
        waits: dict[str, float] = {}
        session = store._client._server._session
        session.event_hooks["request"].append(
            lambda request: waits.setdefault(request.url.path.rpartition("/")[2], request.extensions["timeout"]["read"])
        )
        store.query(COLLECTION, vectors(1)[0], 1)
        store.upsert(COLLECTION, names(1), vectors(1))
        assert (waits["query"], waits["upsert"]) == (QUERY_TIMEOUT_S, SERVER_TIMEOUT_S)
        store.drop(COLLECTION)
        store.close()

    @pytest.mark.parametrize("body", [b"<html>not Chroma</html>", b"[]", b'{"tenant": 1}', b"\xff\x00"])
    def test_what_answers_nonsense_is_down(self, body: bytes) -> None:
        class Nonsense(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                self.send_response(200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            do_POST = do_GET

            def log_message(self, format: str, *args: object) -> None:
                """Quiet."""

        with ThreadingHTTPServer(("127.0.0.1", 0), Nonsense) as listener:
            threading.Thread(target=listener.serve_forever, daemon=True).start()
            store = ChromaStore(host="127.0.0.1", port=listener.server_port)
            with pytest.raises(VectorStoreDown):
                store.query(COLLECTION, vectors(1)[0], 1)
            store.close()
            listener.shutdown()

    def test_nonsense_from_a_server_that_answered_before_is_down(
        self, server: int, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        store = ChromaStore(host="127.0.0.1", port=server)
        store.upsert(COLLECTION, names(1), vectors(1))
        nonsense = httpx.MockTransport(lambda _: httpx.Response(200, content=b'{"ids": 7}'))
        with monkeypatch.context() as patch:
            patch.setattr(store._client._server._session, "_transport", nonsense)
            for call in (lambda: store.query(COLLECTION, vectors(1)[0], 1), lambda: store.count(COLLECTION)):
                with pytest.raises(VectorStoreDown, match="no Chroma"):
                    call()
        store.drop(COLLECTION)
        store.close()
