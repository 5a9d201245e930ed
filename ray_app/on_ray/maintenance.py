"""The housekeeping jobs: cleanup, health_check, retention, optimize."""

from __future__ import annotations

import shutil
import time
from pathlib import Path
from typing import Any

import httpx

from ray_app.config import Settings
from ray_app.errors import ClusterUnavailable, LeaseHeld
from ray_app.index.depot import open_depot
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_path
from ray_app.index.publish import align, collect
from ray_app.observe.log import get_logger
from ray_app.on_ray.custody import sweep
from ray_app.on_ray.vector_owner import vector_store
from ray_app.store.lease import Lease
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
        removed["generations"] += len(collect(opened.catalog, open_depot(settings), brand, kept, now))
        removed["staged"] += _remove_staged(settings, opened, brand, now)
    removed["forgotten"] = sweep(settings, opened)
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
    return max(path.stat().st_mtime for path in (folder, *folder.rglob("*")))


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


def optimize(settings: Settings, opened: Stores) -> dict[str, Any]:
    """Verify every live generation, bring Chroma into line with it, and compact the database.

    Raises ChecksumMismatch when a live generation is damaged.
    """
    brands = {}
    for brand, name in opened.catalog.pointers().items():
        generation = Generation.open(generation_path(opened.index_root, brand, name), verify=True)
        upserted = 0
        if settings.chroma.fill:
            done = align(vector_store(settings), brand, [generation])
            upserted = done.upserted
            log.info("chroma_synced", brand=brand, upserted=upserted, problem=done.problem)
        brands[brand] = {"generation": name, "chunks": len(generation), "vectors_upserted": upserted}
    opened.db.optimize()
    return {"optimized": brands}
