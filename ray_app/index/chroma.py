"""Chroma, embedded with exactly one owner process or as a server.

The embedded library corrupts its files when two processes open them (or hangs the second for minutes), so a
lock file refuses the second one in words. Vectors are always ours: Chroma's default would download a model.
"""

from __future__ import annotations

import fcntl
import os
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx

from ray_app.config import ChromaSettings
from ray_app.errors import ModelMismatch, VectorStoreDown, VectorStoreLocked
from ray_app.index.ports import Vectors

BATCH = 500  # rows per upsert: under Chroma's cap of 5,461, and some 2 MB on the wire
SERVER_TIMEOUT_S = 10.0  # Chroma's own client waits for ever
LOCK_FILE = "owner.lock"

# For 100 candidates a search list of 200 finds .995 of the exact ones, the default of 100 finds .967, and
# costs 1.6 instead of 1.1 ms (5,183 abstracts of 384 numbers).
HNSW = {"space": "cosine", "ef_search": 200, "ef_construction": 200}


def open_store(settings: ChromaSettings, folder: Path) -> ChromaStore:
    """The server when one is configured, else embedded in ``folder``. Raises VectorStoreLocked."""
    if settings.host:
        return ChromaStore(host=settings.host, port=settings.port)
    return ChromaStore(folder)


class ChromaStore:
    """The ``VectorStore`` port over Chroma. Safe in threads; pass either ``path`` or ``host``."""

    def __init__(self, path: Path | None = None, *, host: str = "", port: int = 8000) -> None:
        """Raises VectorStoreLocked. A server is first contacted by the first call, and again after a failure."""
        if (path is None) == (not host):
            raise ValueError("pass either a path or a host")
        self._address = (host, port)
        self._path = path
        self._lock_fd = -1 if path is None else _own(path)
        self._client: Any = None
        self._closed = False
        self._connecting = threading.Lock()
        if path is not None:
            try:
                with self._chroma():  # damaged files show at the start
                    pass
            except VectorStoreDown:
                self.close()
                raise

    def upsert(self, collection: str, ids: Sequence[str], vectors: Vectors) -> None:
        rows = dict(zip(ids, vectors, strict=True))  # Chroma refuses an id that comes twice in one call
        names = list(rows)
        with self._chroma() as chroma:
            held = chroma.get_or_create_collection(
                collection, embedding_function=None, configuration={"hnsw": dict(HNSW)}
            )
            for start in range(0, len(names), BATCH):
                part = names[start : start + BATCH]
                held.upsert(ids=part, embeddings=[rows[i] for i in part])

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        with self._collection(collection) as held:
            for start in range(0, len(ids) if held is not None else 0, BATCH):
                held.delete(ids=list(ids[start : start + BATCH]))

    def query(self, collection: str, vector: Vectors, k: int) -> list[tuple[str, float]]:
        with self._collection(collection) as held:
            if held is None or k <= 0:
                return []
            found = held.query(query_embeddings=[vector], n_results=k, include=["distances"])
        return [(i, 1.0 - float(d)) for i, d in zip(found["ids"][0], found["distances"][0], strict=True)]

    def count(self, collection: str) -> int:
        with self._collection(collection) as held:
            return 0 if held is None else int(held.count())

    def ids(self, collection: str) -> set[str]:
        with self._collection(collection) as held:
            return set() if held is None else set(held.get(include=[])["ids"])

    def drop(self, collection: str) -> None:
        with self._collection(collection) as held:
            if held is not None:
                self._client.delete_collection(collection)

    def collections(self) -> list[str]:
        with self._chroma() as chroma:
            return sorted(c.name for c in chroma.list_collections())

    def close(self) -> None:
        self._closed = True
        client, self._client = self._client, None
        if client is not None:
            client.close()
            for session in _sessions(client) if self._path is None else ():
                session.close()  # which Chroma forgets
        if self._lock_fd >= 0:
            os.close(self._lock_fd)  # which releases the lock
            self._lock_fd = -1

    @contextmanager
    def _collection(self, name: str) -> Iterator[Any]:
        """The collection, or None when there is none of that name."""
        from chromadb.errors import NotFoundError

        with self._chroma() as chroma:
            try:
                held = chroma.get_collection(name, embedding_function=None)
            except NotFoundError:
                held = None
            yield held

    @contextmanager
    def _chroma(self) -> Iterator[Any]:
        """The client, with Chroma's errors translated into ours."""
        from chromadb.errors import ChromaError

        try:
            yield self._connect()
        except ChromaError as error:
            if "dimension" in str(error):
                raise ModelMismatch(f"Chroma refused the vectors: {error}") from error
            raise VectorStoreDown(f"Chroma failed: {error}") from error
        except (httpx.HTTPError, OSError) as error:
            raise VectorStoreDown(f"Chroma does not answer: {error}") from error

    def _connect(self) -> Any:
        with self._connecting:
            if self._closed:
                raise VectorStoreDown("The vector store was closed.")
            if self._client is None:
                self._client = _embedded(self._path) if self._path else _server(*self._address)
            return self._client


def _embedded(folder: Path) -> Any:
    import chromadb
    from chromadb.config import Settings

    try:
        return chromadb.PersistentClient(str(folder), settings=Settings(anonymized_telemetry=False))
    except AttributeError as error:  # Chroma stumbles while it cleans up after the error that matters
        raise VectorStoreDown(f"Chroma cannot open its directory: {error.__context__ or error}") from error


def _server(host: str, port: int) -> Any:
    import chromadb
    from chromadb.config import Settings

    # Chroma's client has no timeout, not even while it connects: ask first, then give its session one.
    httpx.get(f"http://{host}:{port}/api/v2/heartbeat", timeout=SERVER_TIMEOUT_S).raise_for_status()
    try:
        client = chromadb.HttpClient(host, port, settings=Settings(anonymized_telemetry=False))
    except ValueError as error:  # what Chroma makes of a refused connection
        raise VectorStoreDown(f"Chroma does not answer: {error}") from error
    for session in _sessions(client):
        session.timeout = httpx.Timeout(SERVER_TIMEOUT_S)
    return client


def _sessions(client: Any) -> tuple[httpx.Client, httpx.Client]:
    """Chroma's connection pools, one for its own administration; there is no public way to them."""
    return client._server._session, client._admin_client._server._session


def _own(folder: Path) -> int:
    """Take the lock of ``folder``; the kernel releases it when this process ends, however it ends."""
    folder.mkdir(parents=True, exist_ok=True)
    lock = os.open(folder / LOCK_FILE, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o644)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        holder = os.pread(lock, 32, 0).decode(errors="replace").strip() or "unknown"
        os.close(lock)
        raise VectorStoreLocked(
            f"Process {holder} owns the Chroma directory {folder.name!r}.",
            hint="Stop it, or run a Chroma server and set CHROMA_HOST.",
        ) from None
    os.truncate(lock, 0)
    os.pwrite(lock, f"{os.getpid()}\n".encode(), 0)
    return lock
