"""The one process that opens the embedded Chroma, and the VectorStore that talks to it.

Chroma's embedded client is not safe in two processes, so a named actor owns it. With ``chroma.host`` set,
a Chroma server is used instead and no actor is made.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import ray
from numpy.typing import NDArray
from ray.exceptions import RayActorError

from ray_app.config import Settings
from ray_app.errors import VectorStoreDown
from ray_app.index.chroma import ChromaStore
from ray_app.index.ports import VectorStore
from ray_app.observe.log import configure

NAME = "vector-owner"


class VectorOwner:
    """Ray's side of the ChromaStore."""

    def __init__(self, settings: Settings, path: Path) -> None:
        configure(settings.log, component=NAME)
        self._store = ChromaStore(path=path)

    def call(self, method: str, *args: Any) -> Any:
        """One VectorStore method by name."""
        return getattr(self._store, method)(*args)


class RemoteVectorStore:
    """A VectorStore whose calls run in the owner's process, which is started by the first call.

    Raises VectorStoreDown while it restarts.
    """

    def __init__(self, settings: Settings) -> None:
        self._settings = settings

    def _call(self, method: str, *args: Any) -> Any:
        try:
            return ray.get(_owner(self._settings).call.remote(method, *args))
        except RayActorError as error:
            raise VectorStoreDown("The vector owner died.", hint="Ray restarts it; try again.") from error

    def upsert(self, collection: str, ids: Sequence[str], vectors: NDArray[np.float32]) -> None:
        """See VectorStore."""
        self._call("upsert", collection, list(ids), vectors)

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """See VectorStore."""
        self._call("delete", collection, list(ids))

    def query(self, collection: str, vector: NDArray[np.float32], k: int) -> list[tuple[str, float]]:
        """See VectorStore."""
        return list(self._call("query", collection, vector, k))

    def count(self, collection: str) -> int:
        """See VectorStore."""
        return int(self._call("count", collection))

    def ids(self, collection: str) -> set[str]:
        """See VectorStore."""
        return set(self._call("ids", collection))

    def drop(self, collection: str) -> None:
        """See VectorStore."""
        self._call("drop", collection)

    def collections(self) -> list[str]:
        """See VectorStore."""
        return list(self._call("collections"))

    def close(self) -> None:
        """The owner stays: others may use it."""


def _owner(settings: Settings) -> Any:
    options = {
        "name": NAME,
        "namespace": settings.ray.namespace,
        "lifetime": "detached",
        "get_if_exists": True,
        "num_cpus": 0,
        "max_restarts": -1,
        "max_task_retries": 3,  # every call is safe to repeat
    }
    return ray.remote(VectorOwner).options(**options).remote(settings, settings.data_dir / "chroma")


def vector_store(settings: Settings) -> VectorStore:
    """The vector store of these settings. Its calls need a Ray session unless ``chroma.host`` is set."""
    if settings.chroma.host:
        return ChromaStore(host=settings.chroma.host, port=settings.chroma.port)
    return RemoteVectorStore(settings)
