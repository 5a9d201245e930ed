"""The housekeeping jobs: cleanup, health_check, retention, optimize."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx

from ray_app.config import Settings
from ray_app.errors import BacklineError, ClusterUnavailable, LeaseHeld, StoreError, VectorStoreDown, VectorStoreLocked
from ray_app.index.depot import open_depot
from ray_app.index.embedder import model_id
from ray_app.index.ports import VectorStore
from ray_app.index.publish import collect
from ray_app.ingest.optimize import Optimized, bloated, optimize_brand, size_of
from ray_app.observe.log import get_logger
from ray_app.on_ray.custody import sweep
from ray_app.on_ray.vector_owner import vector_store
from ray_app.store.lease import Lease
from ray_app.store.restoring import remove_left
from ray_app.store.stores import Stores

log = get_logger(__name__)

# A page part or staged vector younger than this may belong to a run that has not committed yet.
ORPHAN_AGE_S = 6 * 3600.0
# Finished tasks and schedule runs are kept this long for people who ask what happened.
RETENTION_S = 30 * 86_400.0


def cleanup(settings: Settings, opened: Stores) -> dict[str, Any]:
    """Remove page parts, staged vectors and generations that nothing points to, and what came late of the forgotten."""
    now = time.time()
    removed = {"page_parts": 0, "staged": 0, "generations": 0}
    for brand in opened.catalog.brands():
        removed["page_parts"] += opened.pages.collect(brand, opened.ledger.parts(brand), now, ORPHAN_AGE_S)
        kept = {row.generation for row in opened.catalog.generations(brand)}
        removed["generations"] += len(collect(opened.catalog, open_depot(settings), brand, (), kept, now))
        removed["staged"] += _remove_staged(settings, opened, brand, now)
    removed["forgotten"] = sweep(settings, opened)
    with suppress(StoreError):  # a restore runs, and removes it itself
        remove_left(settings.data_dir)
    log.info("cleanup_done", **removed)
    return {"removed": removed}


def _remove_staged(settings: Settings, opened: Stores, brand: str, now: float) -> bool:
    """Whether the brand had staged vectors that nobody works on and nobody has added to for long."""
    staged = opened.staging_root / brand
    if not staged.exists():
        return False
    try:
        # A run that goes on where a killed one stopped uses what may be old.
        with Lease(opened.ledger, brand, label="cleanup", ttl_s=settings.crawl.lease_s):
            old = now - _last_change(staged) > ORPHAN_AGE_S
            if old:
                shutil.rmtree(staged)
    except LeaseHeld:
        return False
    return old


def _last_change(folder: Path) -> float:
    """When anything in it, however deep, was last written (POSIX seconds)."""
    latest = 0.0
    for path in (folder, *folder.rglob("*")):
        with suppress(FileNotFoundError):  # gone since the folder was read
            latest = max(latest, path.stat().st_mtime)
    return latest


def health_check(settings: Settings, opened: Stores) -> dict[str, Any]:
    """Ask the API how it is. Raises ClusterUnavailable when it does not answer."""
    opened.catalog.pointers()
    try:
        body = httpx.get(f"{settings.api_url}/health", timeout=15).json()
    except (httpx.HTTPError, ValueError) as error:
        raise ClusterUnavailable(f"The API at {settings.api_url} does not answer ({type(error).__name__}).") from error
    for check in body["checks"]:
        if check["state"] != "ok":
            log.warning("health_not_ok", check=check["name"], state=check["state"], reason=check["reason"])
    return {"status": body["status"], "checks": body["checks"]}


def retention(settings: Settings, opened: Stores) -> dict[str, Any]:
    """Delete tasks and schedule runs that ended longer ago than they are kept."""
    before = time.time() - RETENTION_S
    removed = {"tasks": opened.tasks.delete_before(before), "schedule_runs": opened.runs.delete_before(before)}
    log.info("retention_done", **removed)
    return {"removed": removed}


def optimize(settings: Settings, opened: Stores, brands: Sequence[str] | None = None) -> dict[str, Any]:
    """Give back space: old generations, vectors of none, stored texts that were replaced, free pages of the database.

    ``brands``: these, None for all. One that a run is at work on is passed over. Sizes are in bytes.
    """
    vectors = vector_store(settings) if settings.chroma.fill else None
    refill = vectors is not None and _bloated(settings, vectors)
    before = size_of(settings.data_dir)
    names = opened.catalog.brands() if brands is None else brands
    done = [_optimized(settings, opened, name, vectors, refill=refill) for name in names]
    opened.db.optimize()
    result = {"brands": done, "bytes_before": before, "bytes_after": size_of(settings.data_dir)}
    log.info("optimize_done", brands=len(done), bytes_before=before, bytes_after=result["bytes_after"])
    return result


def _optimized(
    settings: Settings, opened: Stores, brand: str, vectors: VectorStore | None, *, refill: bool
) -> dict[str, Any]:
    blank: dict[str, Any] = {**Optimized(brand, "", 0, 0).as_dict(), "error": None}
    try:
        with Lease(opened.ledger, brand, label="optimize", ttl_s=settings.crawl.lease_s) as lease:
            return blank | optimize_brand(settings, opened, brand, lease, vectors, refill=refill).as_dict()
    except LeaseHeld as error:
        return blank | {"problem": error.message}
    except (BacklineError, OSError) as error:
        log.error("brand_not_optimized", brand=brand, error=type(error).__name__, detail=str(error))
        return blank | {"error": str(error)}


def _bloated(settings: Settings, vectors: VectorStore) -> bool:
    """Never for a server, whose files are elsewhere."""
    folder = settings.data_dir / "chroma"
    try:
        return not settings.chroma.host and bloated(folder, vectors, model_id(settings.embedding).dim)
    except (VectorStoreDown, VectorStoreLocked) as error:
        log.warning("vector_store_not_measured", error=str(error))
        return False
