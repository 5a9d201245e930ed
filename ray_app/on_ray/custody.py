"""Backup, restore and forgetting with what they need of the cluster: the vector store's owner, and Redis."""

from __future__ import annotations

import argparse
import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from ray_app.answer.cache import RedisCache
from ray_app.config import Settings
from ray_app.errors import ClusterUnavailable, StoreUnavailable, VectorStoreDown, VectorStoreLocked
from ray_app.index.chroma import open_store
from ray_app.ingest.backup import Backup
from ray_app.ingest.forget import Forgetter, Reach
from ray_app.on_ray.session import cluster_address, connect, running_head
from ray_app.on_ray.vector_owner import vector_store
from ray_app.store.stores import Stores

# Somebody waits for the answer cache to be emptied, unlike for a question: a slow Redis is given this long.
REDIS_TIMEOUT_S = 10.0


@contextmanager
def reach(settings: Settings) -> Iterator[Reach]:
    """The stores outside of the data directory and SQL; one that cannot be reached is told of, not raised.

    Embedded Chroma is asked through its owner where a cluster of ours runs, else opened by this process.
    """
    clear = partial(clear_cache, settings) if settings.redis_url else None
    if settings.chroma.host:
        yield Reach(vector_store(settings), clear)
    elif not (settings.data_dir / "chroma").is_dir():
        yield Reach(None, clear)
    elif running_head(settings) or cluster_address(settings):
        try:
            session = connect(settings)
            session.__enter__()
        except ClusterUnavailable as error:
            yield Reach(None, clear, f"vectors: {error}")
            return
        try:
            yield Reach(vector_store(settings), clear)
        finally:
            session.__exit__(None, None, None)
    else:
        try:
            store = open_store(settings.chroma, settings.data_dir / "chroma")
        except (VectorStoreLocked, VectorStoreDown) as error:
            yield Reach(None, clear, f"vectors: {error}")
            return
        try:
            yield Reach(store, clear)
        finally:
            store.close()


def clear_cache(settings: Settings, brand: str) -> int:
    """Deletes the answers of a brand that Redis keeps; returns how many. Raises StoreUnavailable."""

    async def work() -> tuple[int, str]:
        cache = RedisCache(settings.redis_url, REDIS_TIMEOUT_S)
        try:
            return await cache.forget(brand), cache.down
        finally:
            await cache.close()

    gone, down = asyncio.run(work())
    if down:
        raise StoreUnavailable("Redis, which keeps answers, does not answer.")
    return gone


def sweep(settings: Settings, opened: Stores) -> int:
    """Removes what runs that were cut off by a forgetting have left behind. Needs a Ray session."""
    vectors = vector_store(settings) if settings.chroma.fill else None
    clear = partial(clear_cache, settings) if settings.redis_url else None
    return sum(Forgetter(settings, opened, Reach(vectors, clear)).sweep().values())


def backup_path(given: str, now: float) -> Path:
    """A path in which ``%Y``, ``%m``, ``%d`` and the like stand for the time (UTC), as a schedule needs it."""
    return Path(time.strftime(given, time.gmtime(now)) if "%" in given else given).expanduser().absolute()


def backup(settings: Settings, opened: Stores, arguments: argparse.Namespace) -> dict[str, Any]:
    """Write a backup of everything into one file."""
    target = backup_path(arguments.file, time.time())
    return Backup(settings, opened).write(target, every=arguments.all_generations).as_dict()
