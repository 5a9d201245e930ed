"""What cleanup removes and what it keeps. Starts no Ray."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_app.config import Settings
from ray_app.index.layout import generation_name
from ray_app.on_ray.maintenance import ORPHAN_AGE_S, cleanup
from ray_app.records import ModelId
from ray_app.store.lease import Lease
from ray_app.store.stores import Stores, open_stores

LONG_AGO = time.time() - ORPHAN_AGE_S - 60


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    opened = open_stores(settings)
    opened.catalog.save_brand("acme", {})
    yield opened
    opened.close()


def aged(path: Path, at: float = LONG_AGO) -> Path:
    """With all that is in it, as if last written then."""
    for one in (*path.rglob("*"), path):
        os.utime(one, (at, at))
    return path


def staged(stores: Stores) -> Path:
    """Two levels below the brand's folder, where runs put what they embed (index/staging.py)."""
    model = ModelId("m", "r", 3)
    run = stores.staging_root / "acme" / f"{model.name}-{model.revision}-{model.dim}" / "run"
    run.mkdir(parents=True)
    (run / "0.parquet").write_bytes(b"x")
    aged(stores.staging_root / "acme")
    return run


def test_staged_vectors_that_nobody_adds_to_are_removed(settings: Settings, stores: Stores) -> None:
    staged(stores)
    assert cleanup(settings, stores)["removed"]["staged"] == 1
    assert not (stores.staging_root / "acme").exists()
    assert cleanup(settings, stores)["removed"]["staged"] == 0
    with Lease(stores.ledger, "acme", label="ingest", ttl_s=60):
        pass  # cleanup let go of the brand


def test_an_embedding_that_still_writes_keeps_what_it_staged(settings: Settings, stores: Stores) -> None:
    run = staged(stores)
    (run / "1.parquet").write_bytes(b"x")
    os.utime(run, (LONG_AGO, LONG_AGO))
    assert cleanup(settings, stores)["removed"]["staged"] == 0
    assert (run / "0.parquet").exists()


def test_an_embedding_that_goes_on_after_a_long_pause_keeps_what_it_staged(settings: Settings, stores: Stores) -> None:
    run = staged(stores)
    with Lease(stores.ledger, "acme", label="ingest", ttl_s=60):
        assert cleanup(settings, stores)["removed"]["staged"] == 0
    assert (run / "0.parquet").exists()


def test_parts_and_generations_that_nothing_points_to_are_removed_when_they_are_old(
    settings: Settings, stores: Stores
) -> None:
    parts, index = settings.data_dir / "pages" / "acme", stores.index_root / "acme"
    old, young = parts / f"{'a' * 32}.parquet", parts / f"{'b' * 32}.parquet"
    half, fresh = index / generation_name(LONG_AGO), index / generation_name(time.time())
    for path in (old, young, half / "vectors.npy", fresh / "vectors.npy"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(b"x")
    os.utime(old, (LONG_AGO, LONG_AGO))
    aged(half, time.time() - 8 * 86_400)
    assert cleanup(settings, stores)["removed"] == {
        "page_parts": 1,
        "staged": 0,
        "generations": 1,
        "forgotten": 0,
    }
    assert not old.exists()
    assert young.exists()
    assert not half.exists()
    assert fresh.exists()
