"""The one process that opens the embedded Chroma, and the VectorStore that talks to it.

Chroma's embedded client is not safe in two processes, so a named actor owns it. With ``chroma.host`` set,
a Chroma server is used instead and no actor is made.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import GetTimeoutError, RayActorError, RayError, RayTaskError

from ray_app.config import Settings
from ray_app.errors import BacklineError, VectorStoreDown, VectorStoreLocked
from ray_app.index.chroma import BATCH, LOOKUP_BATCH, ChromaStore
from ray_app.index.ports import VectorStore
from ray_app.observe.log import configure, get_logger
from ray_app.on_ray.named import named

NAME = "vector-owner"
RETRY_S = 5.0  # a directory that could not be opened is tried again after so long
ASK, ASKERS = "ask", 4  # questions have threads of their own and never stand behind whoever fills the store
ASK_TIMEOUT_S = 2.0  # a question that waits longer is better answered by an exact search
FILL_TIMEOUT_S = 60.0  # a batch takes half a second, and waits for those of others

log = get_logger(__name__)


class VectorOwner:
    """Ray's side of the ChromaStore.

    It is made even when the directory cannot be opened, for an actor that dies as it is made tells its callers
    nothing; every call says what is wrong, and the directory is tried again now and then.
    """

    def __init__(self, settings: Settings, path: Path, clock: Callable[[], float] = time.monotonic) -> None:
        configure(settings.log, component=NAME)
        self._path = path
        self._clock = clock
        self._opening = threading.Lock()
        self._store: ChromaStore | None = None
        self._problem: BacklineError | None = None
        self._retry_at = 0.0

    def call(self, method: str, *args: Any) -> Any:
        """One VectorStore method by name. Raises VectorStoreLocked or VectorStoreDown while there is no store."""
        return getattr(self._opened(), method)(*args)

    def _opened(self) -> ChromaStore:
        with self._opening:
            if self._store is None:
                if self._problem is not None and self._clock() < self._retry_at:
                    raise self._problem.with_traceback(None)
                self._store = self._open()
            return self._store

    def _open(self) -> ChromaStore:
        try:
            return ChromaStore(path=self._path)
        except (VectorStoreLocked, VectorStoreDown) as error:
            self._problem, self._retry_at = error, self._clock() + RETRY_S
            log.error("vector_store_not_opened", error=str(error))
            raise


class RemoteVectorStore:
    """A VectorStore whose calls run in the owner's process, which is started by the first call.

    Raises VectorStoreDown while it restarts and when it does not answer in time, VectorStoreLocked when another
    process has opened its directory. Safe in threads.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._owner: Any = None

    def _ask(self, method: str, *args: Any) -> Any:
        """For those who have no time."""
        return self._call(ASK, ASK_TIMEOUT_S, method, *args)

    def _fill(self, method: str, *args: Any) -> Any:
        return self._call(None, FILL_TIMEOUT_S, method, *args)

    def _call(self, group: str | None, timeout_s: float, method: str, *args: Any) -> Any:
        try:
            if self._owner is None:
                self._owner = _owner(self._settings)
            reference = self._owner.call.options(concurrency_group=group).remote(method, *args)
            return self._result(reference, timeout_s)
        except RayActorError as error:
            self._owner = None  # made anew by the next call, should Ray have given it up
            raise VectorStoreDown("The vector owner died.", hint="Ray restarts it; try again.") from error
        except RayTaskError as error:
            if isinstance(error.cause, BacklineError):
                raise error.cause from None  # as it was said there, without Ray's report around it
            raise
        except RayError as error:
            raise VectorStoreDown(f"The vector owner cannot be asked ({type(error).__name__}).") from error

    def _result(self, reference: Any, timeout_s: float) -> Any:
        try:
            return ray.get(reference, timeout=timeout_s)
        except GetTimeoutError as error:
            ray.cancel(reference)  # it may still wait in line
            raise VectorStoreDown(f"The vector owner did not answer in {timeout_s:g} s.") from error

    def upsert(self, collection: str, ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """See VectorStore."""
        if len(ids) != len(vectors):
            raise ValueError(f"{len(ids)} ids and {len(vectors)} vectors")
        for start in range(0, len(ids), BATCH):
            part = slice(start, start + BATCH)
            self._fill("upsert", collection, list(ids[part]), vectors[part])

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """See VectorStore."""
        for start in range(0, len(ids), BATCH):
            self._fill("delete", collection, list(ids[start : start + BATCH]))

    def query(self, collection: str, vector: NDArray[np.float32], k: int) -> list[tuple[str, float]]:
        """See VectorStore."""
        return list(self._ask("query", collection, vector, k))

    def count(self, collection: str) -> int:
        """See VectorStore."""
        return int(self._fill("count", collection))

    def ids(self, collection: str) -> set[str]:
        """See VectorStore."""
        found: set[str] = set()
        while page := self.page(collection, len(found), LOOKUP_BATCH):
            found.update(page)
        return found

    def page(self, collection: str, start: int, limit: int) -> list[str]:
        """See VectorStore."""
        return list(self._fill("page", collection, start, limit))

    def missing(self, collection: str, ids: Sequence[str]) -> set[str]:
        """See VectorStore."""
        batches = (list(ids[start : start + LOOKUP_BATCH]) for start in range(0, len(ids), LOOKUP_BATCH))
        return {one for batch in batches for one in self._fill("missing", collection, batch)}

    def vectors(self, collection: str, ids: Sequence[str]) -> tuple[list[str], NDArray[np.float32]]:
        """See VectorStore."""
        batches = (list(ids[start : start + BATCH]) for start in range(0, len(ids), BATCH))
        parts = [part for part in (self._fill("vectors", collection, batch) for batch in batches) if part[0]]
        if not parts:
            return [], np.empty((0, 0), np.float32)
        found = {one: row for names, rows in parts for one, row in zip(names, rows, strict=True)}
        return list(found), np.stack(list(found.values()))

    def drop(self, collection: str) -> None:
        """See VectorStore."""
        self._fill("drop", collection)

    def collections(self) -> list[str]:
        """See VectorStore."""
        return list(self._fill("collections"))

    def describe(self) -> dict[str, str | int | float | bool]:
        """See VectorStore."""
        return dict(self._ask("describe"))

    def close(self) -> None:
        """The owner stays: others may use it."""


def _owner(settings: Settings) -> Any:
    options = named(settings, NAME, max_task_retries=3)  # every call is safe to repeat
    made = ray.remote(concurrency_groups={ASK: ASKERS})(VectorOwner)
    return made.options(**options).remote(settings, settings.data_dir / "chroma")


def vector_store(settings: Settings) -> VectorStore:
    """The vector store of these settings. Its calls need a Ray session unless ``chroma.host`` is set."""
    if settings.chroma.host:
        return ChromaStore(host=settings.chroma.host, port=settings.chroma.port)
    return RemoteVectorStore(settings)
