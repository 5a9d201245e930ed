"""A VectorStore behind a breaker: one that fails or is slow is left alone for a while, so no question waits for it."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from threading import Lock
from typing import Any, TypeVar

from ray_app.breaker import Breaker, Limits, State
from ray_app.errors import ModelMismatch, VectorStoreDown, VectorStoreLocked
from ray_app.index.ports import Vectors, VectorStore
from ray_app.observe.log import get_logger

# A restarted owner or server is back within seconds; one that stays away is asked once a minute.
LIMITS = Limits(failures=3, open_s=5.0, cap_s=60.0)
SLOW_S = 1.0  # an exact search of a million vectors takes a twentieth of that

T = TypeVar("T")

log = get_logger(__name__)


def guarded(store: VectorStore, clock: Callable[[], float] = time.monotonic) -> GuardedVectorStore:
    """``store`` behind a breaker of its own, as the answer lane uses it."""
    return GuardedVectorStore(store, Breaker(LIMITS), clock)


class GuardedVectorStore:
    """The ``VectorStore`` port over another one. Safe in threads when that is.

    Raises VectorStoreDown at once while the breaker is open. VectorStoreDown, VectorStoreLocked and queries of more
    than ``slow_s`` count as failures; what ``query`` found late is handed on all the same.
    """

    def __init__(
        self, store: VectorStore, breaker: Breaker, clock: Callable[[], float], *, slow_s: float = SLOW_S
    ) -> None:
        """``clock`` tells monotonic seconds."""
        self._store = store
        self._breaker = breaker
        self._clock = clock
        self._slow_s = slow_s
        self._lock = Lock()
        self._logged: State = "closed"

    def state(self) -> State:
        """Whether calls are let through: closed (yes), open (no), half-open (one at a time)."""
        with self._lock:
            return self._breaker.state(self._clock())

    def upsert(self, collection: str, ids: Sequence[str], vectors: Vectors) -> None:
        self._through(self._store.upsert, collection, ids, vectors)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        self._through(self._store.delete, collection, ids)

    def query(self, collection: str, vector: Vectors, k: int) -> list[tuple[str, float]]:
        return self._through(self._store.query, collection, vector, k, slow_s=self._slow_s)

    def count(self, collection: str) -> int:
        return self._through(self._store.count, collection)

    def ids(self, collection: str) -> set[str]:
        return self._through(self._store.ids, collection)

    def page(self, collection: str, start: int, limit: int) -> list[str]:
        return self._through(self._store.page, collection, start, limit)

    def missing(self, collection: str, ids: Sequence[str]) -> set[str]:
        return self._through(self._store.missing, collection, ids)

    def vectors(self, collection: str, ids: Sequence[str]) -> tuple[list[str], Vectors]:
        return self._through(self._store.vectors, collection, ids)

    def drop(self, collection: str) -> None:
        self._through(self._store.drop, collection)

    def collections(self) -> list[str]:
        return self._through(self._store.collections)

    def describe(self) -> dict[str, str | int | float | bool]:
        """See VectorStore; with the ``breaker``'s state, and only that while it is open."""
        if self.state() == "open":
            return {"kind": "unknown", "breaker": "open"}
        return {**self._through(self._store.describe), "breaker": self.state()}

    def close(self) -> None:
        self._store.close()

    def _through(self, call: Callable[..., T], *arguments: Any, slow_s: float = float("inf")) -> T:
        started = self._admit()
        try:
            found = call(*arguments)
        except (VectorStoreDown, VectorStoreLocked) as error:
            self._settle(self._fail, type(error).__name__)
            raise
        except ModelMismatch:
            self._settle(self._breaker.succeeded)  # it was there to refuse
            raise
        except BaseException:
            self._settle(self._breaker.abandoned)
            raise
        if self._clock() - started > slow_s:
            self._settle(self._fail, "slow")
        else:
            self._settle(self._breaker.succeeded)
        return found

    def _admit(self) -> float:
        """The time. Raises VectorStoreDown when no call may be made now."""
        with self._lock:
            now = self._clock()
            wait = self._breaker.admit(now)
            self._log(now)
        if wait > 0:
            raise VectorStoreDown(f"The vector store failed several times and is asked again in {wait:.0f} s.")
        return now

    def _fail(self) -> None:
        self._breaker.failed(self._clock())

    def _settle(self, how: Callable[[], None], reason: str = "") -> None:
        with self._lock:
            how()
            self._log(self._clock(), reason)

    def _log(self, now: float, reason: str = "") -> None:
        state = self._breaker.state(now)
        if state != self._logged:
            level = log.warning if state == "open" else log.info
            level("vector_store_breaker", state=state, before=self._logged, reason=reason)
            self._logged = state
