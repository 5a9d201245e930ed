"""Chroma, embedded with exactly one owner process or as a server.

The embedded library corrupts its files when two processes open them (or hangs the second for minutes), so a
lock file refuses the second one in words. Vectors are always ours: Chroma's default would download a model.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from queue import Empty, SimpleQueue
from typing import Any

import httpx
import numpy as np

from ray_app.config import ChromaSettings
from ray_app.errors import ModelMismatch, VectorStoreDown, VectorStoreLocked
from ray_app.index import mending
from ray_app.index.mending import LOCK_FILE
from ray_app.index.ports import Vectors
from ray_app.observe.log import get_logger

BATCH = 500  # rows per upsert: under Chroma's cap of 5,461, and some 2 MB on the wire
LOOKUP_BATCH = 2_000  # ids per look-up, and per page of them: 6 ms, under SQLite's cap of 32,766 variables
SERVER_TIMEOUT_S = 30.0  # an upsert of 500 takes half a second; Chroma's own client waits for ever
QUERY_TIMEOUT_S = 2.0  # a question that waits longer is better answered by an exact search

# For 100 candidates a search list of 200 finds .995 of the exact ones, the default of 100 finds .967, and
# costs 1.6 instead of 1.1 ms (5,183 abstracts of 384 numbers).
HNSW = {"space": "cosine", "ef_search": 200, "ef_construction": 200}

log = get_logger(__name__)


def open_store(settings: ChromaSettings, folder: Path) -> ChromaStore:
    """The server when one is configured, else embedded in ``folder``. Raises VectorStoreLocked."""
    if settings.host:
        return ChromaStore(host=settings.host, port=settings.port)
    return ChromaStore(folder)


class ChromaStore:
    """The ``VectorStore`` port over Chroma. Safe in threads; pass either ``path`` or ``host``.

    Embedded, it mends what it owns, since generations can fill it again: a database that cannot be read is put aside
    (see mending.py), a collection whose index cannot be read is dropped.
    """

    def __init__(self, path: Path | None = None, *, host: str = "", port: int = 8000) -> None:
        """Raises VectorStoreLocked, and VectorStoreDown when ``path`` cannot be opened for a lack of rights or room.

        A server is first contacted by the first call, and again after a failure.
        """
        if (path is None) == (not host):
            raise ValueError("pass either a path or a host")
        self._address = (host, port)
        self._path = path
        self._lock_fd = -1 if path is None else _own(path)
        self._attempts = None if path is None else mending.Attempts(path)
        self._tried: set[str] = set()  # collection and call that this process has tried
        self._dropped: dict[str, str] = {}  # collections, and why
        self._client: Any = None
        self._closed = False
        self._connecting = threading.Lock()
        self._trying = threading.Lock()
        if path is not None:
            try:
                with self._chroma():  # what cannot be opened shows at the start
                    pass
            except VectorStoreDown:
                self.close()
                raise

    def upsert(self, collection: str, ids: Sequence[str], vectors: Vectors) -> None:
        rows = dict(zip(ids, vectors, strict=True))  # Chroma refuses an id that comes twice in one call
        names = list(rows)
        with self._chroma() as chroma:
            chroma.get_or_create_collection(collection, embedding_function=None, configuration={"hnsw": dict(HNSW)})
        with self._collection(collection, "upsert") as held:
            if held is None:
                raise VectorStoreDown(f"Collection {collection!r} was dropped while it was filled.")
            for start in range(0, len(names), BATCH):
                part = names[start : start + BATCH]
                held.upsert(ids=part, embeddings=[rows[i] for i in part])

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        with self._collection(collection, "delete") as held:
            for start in range(0, len(ids) if held is not None else 0, BATCH):
                held.delete(ids=list(ids[start : start + BATCH]))

    def query(self, collection: str, vector: Vectors, k: int) -> list[tuple[str, float]]:
        with self._collection(collection, "query") as held:
            if held is None or k <= 0:
                return []
            found = _nearest(held, vector, k)
            # An index whose files are lost comes back empty, and nobody says so.
            if len(found) < k and len(found) < (there := held.count()):
                found = _nearest(held, vector, k)  # it may have been filled meanwhile
                if len(found) < min(k, there) // 2:
                    raise VectorStoreDown(f"The hnsw index of {collection!r} has lost most of its {there} vectors.")
        return found

    def count(self, collection: str) -> int:
        with self._collection(collection, "count") as held:
            return 0 if held is None else int(held.count())

    def ids(self, collection: str) -> set[str]:
        found: set[str] = set()
        while page := self.page(collection, len(found), LOOKUP_BATCH):
            found.update(page)
        return found

    def page(self, collection: str, start: int, limit: int) -> list[str]:
        with self._collection(collection, "get") as held:
            if held is None or limit <= 0:
                return []
            return list(held.get(include=[], limit=limit, offset=start)["ids"])

    def missing(self, collection: str, ids: Sequence[str]) -> set[str]:
        lacking = set(ids)
        with self._collection(collection, "get") as held:
            for start in range(0, len(ids) if held is not None else 0, LOOKUP_BATCH):
                lacking.difference_update(held.get(ids=list(set(ids[start : start + LOOKUP_BATCH])), include=[])["ids"])
        return lacking

    def vectors(self, collection: str, ids: Sequence[str]) -> tuple[list[str], Vectors]:
        names: list[str] = []
        rows: list[Any] = []
        with self._collection(collection, "get") as held:
            for start in range(0, len(ids) if held is not None else 0, BATCH):
                found = held.get(ids=list(dict.fromkeys(ids[start : start + BATCH])), include=["embeddings"])
                names.extend(found["ids"])
                rows.extend(found["embeddings"])
        return names, np.array(rows, np.float32) if names else np.empty((0, 0), np.float32)

    def drop(self, collection: str) -> None:
        with self._collection(collection) as held:
            if held is not None:
                self._client.delete_collection(collection)

    def collections(self) -> list[str]:
        with self._chroma() as chroma:
            return sorted(c.name for c in chroma.list_collections())

    def describe(self) -> dict[str, str | int | float | bool]:
        host, port = self._address
        found: dict[str, str | int | float | bool] = {
            "kind": "chroma",
            "where": f"{host}:{port}" if host else "embedded",
        }
        dropped = "; ".join(f"{name} was dropped: {why}" for name, why in self._dropped.items())
        aside = "" if self._path is None else mending.damage(self._path)
        if problem := "; ".join(filter(None, (aside, dropped))):
            found["damaged"] = problem
        return found

    def close(self) -> None:
        self._closed = True
        self._let_go()
        if self._lock_fd >= 0:
            os.close(self._lock_fd)  # which releases the lock
            self._lock_fd = -1

    def _let_go(self) -> None:
        client, self._client = self._client, None
        if client is not None:
            client.close()
            for session in _sessions(client) if self._path is None else ():
                session.close()  # which Chroma forgets

    @contextmanager
    def _collection(self, name: str, call: str = "") -> Iterator[Any]:
        """The collection, or None when there is none of that name. ``call``: what reads or writes its index."""
        from chromadb.errors import NotFoundError

        with self._chroma() as chroma, self._watched(chroma, name, call):
            try:
                held = chroma.get_collection(name, embedding_function=None)
            except NotFoundError:
                held = None
            yield held

    @contextmanager
    def _watched(self, chroma: Any, name: str, call: str) -> Iterator[None]:
        """Drop the collection when its index is damaged, or when this call of it has killed the process before."""
        from chromadb.errors import ChromaError

        first = f"{name}.{call}"
        if self._attempts is None or self._path is None or not call:
            yield
            return
        begun = self._begin(first)
        try:
            if begun and self._attempts.begin(first) >= mending.MAX_DEATHS:
                raise self._give_up(chroma, name, f"{call} killed the process {mending.MAX_DEATHS} times")
            yield
        except (ChromaError, VectorStoreDown) as error:
            if mending.index_damaged(str(error), self._path, name):
                raise self._give_up(chroma, name, str(error)) from error
            raise
        finally:
            if begun:
                self._attempts.end(first)

    def _begin(self, first: str) -> bool:
        """Whether this is the first such call of this process: it is what meets damage, and one is enough to note."""
        with self._trying:
            begun = first not in self._tried
            self._tried.add(first)
            return begun

    def _give_up(self, chroma: Any, name: str, why: str) -> VectorStoreDown:
        from chromadb.errors import NotFoundError

        with suppress(NotFoundError):  # another thread was here
            chroma.delete_collection(name)
        self._dropped[name] = why
        log.error("vector_collection_dropped", collection=name, reason=why)
        return VectorStoreDown(
            f"The index of {name!r} was damaged and is dropped ({why}).", hint="The next publication fills it again."
        )

    @contextmanager
    def _chroma(self) -> Iterator[Any]:
        """The client, with Chroma's errors translated into ours."""
        from chromadb.errors import ChromaError

        client = None
        try:
            client = self._connect()
            yield client
        except ChromaError as error:
            if "dimension" in str(error):
                raise ModelMismatch(f"Chroma refused the vectors: {error}") from error
            if self._path is not None and mending.database_damaged(str(error)):
                self._reopen(client, str(error))
            raise VectorStoreDown(f"Chroma failed: {error}") from error
        except (httpx.HTTPError, OSError) as error:
            raise VectorStoreDown(f"Chroma does not answer: {error}") from error
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            if self._path is not None:
                raise
            raise VectorStoreDown(f"What answers at {self._address[0]} is no Chroma: {error!r}"[:300]) from error

    def _connect(self) -> Any:
        if not self._connecting.acquire(timeout=QUERY_TIMEOUT_S):  # many at once do not wait one after the other
            raise VectorStoreDown("Chroma does not answer: somebody else still tries to connect.")
        try:
            if self._closed:
                raise VectorStoreDown("The vector store was closed.")
            if self._client is None:
                self._client = _mended(self._path) if self._path else _server(*self._address)
            return self._client
        finally:
            self._connecting.release()

    def _reopen(self, failed: Any, reason: str) -> None:
        """Begin again with an empty database, unless another thread has: ``failed`` is the client that met damage."""
        with self._connecting:
            if self._path is not None and failed is not None and self._client is failed:
                self._let_go()
                mending.set_aside(self._path, reason)


def _nearest(held: Any, vector: Vectors, k: int) -> list[tuple[str, float]]:
    found = held.query(query_embeddings=[vector], n_results=k, include=["distances"])
    return [(str(i), 1.0 - float(d)) for i, d in zip(found["ids"][0], found["distances"][0], strict=True)]


def _mended(folder: Path) -> Any:
    """The embedded client, with an empty database when the one that is there cannot be read."""
    from chromadb.errors import ChromaError

    attempts = mending.Attempts(folder)
    if attempts.begin("open") >= mending.MAX_DEATHS:
        mending.set_aside(folder, f"opening it killed the process {mending.MAX_DEATHS} times")
        attempts.begin("open")
    try:
        return _embedded(folder)
    except (ChromaError, VectorStoreDown) as error:
        if not mending.database_damaged(str(error)):
            raise
        mending.set_aside(folder, str(error))
        return _embedded(folder)
    finally:
        attempts.end("open")


def _embedded(folder: Path) -> Any:
    import chromadb
    from chromadb.api.shared_system_client import SharedSystemClient
    from chromadb.config import Settings
    from chromadb.errors import ChromaError

    try:
        return chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
    except (ChromaError, AttributeError) as error:
        # Chroma keeps what it could not start, and would hand it out to whoever opens the directory again.
        SharedSystemClient._identifier_to_system.pop(str(folder), None)
        if isinstance(error, ChromaError):
            raise
        # Chroma stumbles while it cleans up after the error that matters
        raise VectorStoreDown(f"Chroma cannot open its directory: {error.__context__ or error}") from error


def _server(host: str, port: int) -> Any:
    # Chroma's client has no timeout, not even while it connects: ask first, then give its session one.
    httpx.get(f"http://{host}:{port}/api/v2/heartbeat", timeout=QUERY_TIMEOUT_S).raise_for_status()
    made: SimpleQueue[Any] = SimpleQueue()
    threading.Thread(target=_make_client, args=(host, port, made), daemon=True).start()
    try:
        client = made.get(timeout=QUERY_TIMEOUT_S)
    except Empty:
        raise VectorStoreDown("Chroma does not answer: it took too long to connect.") from None
    if isinstance(client, Exception):
        raise VectorStoreDown(f"Chroma does not answer: {client}") from client
    for session in _sessions(client):
        session.timeout = httpx.Timeout(SERVER_TIMEOUT_S)
        session.event_hooks["request"].append(_hurry)
    return client


def _make_client(host: str, port: int, made: SimpleQueue[Any]) -> None:
    import chromadb
    from chromadb.config import Settings
    from chromadb.errors import ChromaError

    try:
        made.put(chromadb.HttpClient(host, port, settings=Settings(anonymized_telemetry=False)))
    except (ChromaError, httpx.HTTPError, OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        made.put(error)  # a refused connection is a ValueError, nonsense may be any of the rest


def _hurry(request: httpx.Request) -> None:
    """Questions wait less long than whoever fills the store."""
    if request.url.path.endswith("/query"):
        request.extensions["timeout"] = httpx.Timeout(QUERY_TIMEOUT_S).as_dict()


def _sessions(client: Any) -> tuple[httpx.Client, httpx.Client]:
    """Chroma's connection pools, one for its own administration; there is no public way to them."""
    return client._server._session, client._admin_client._server._session


def _own(folder: Path) -> int:
    """Take the lock of ``folder``; the kernel releases it when this process ends, however it ends.

    Raises VectorStoreLocked, and VectorStoreDown when the disk refuses; then nothing stays locked.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    except OSError as error:
        raise _refused(folder, error) from error
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        os.truncate(lock, 0)
        os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise VectorStoreLocked(
            f"Process {holder} owns the Chroma directory {folder.name!r}.",
            hint="Stop it, or run a Chroma server and set CHROMA_HOST.",
        ) from None
    except OSError as error:
        os.close(lock)
        raise _refused(folder, error) from error
    return lock


def _refused(folder: Path, error: OSError) -> VectorStoreDown:
    return VectorStoreDown(f"The Chroma directory {folder.name!r} cannot be used: {error.strerror or error}.")
