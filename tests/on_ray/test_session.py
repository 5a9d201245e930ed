"""Finding the head, and what a cluster must not be used with. Starts no Ray."""

from __future__ import annotations

import os

import psutil
import pytest

from ray_app.config import Settings, load, with_changes
from ray_app.errors import ConfigError
from ray_app.on_ray.scrape_pool import pool_sizes
from ray_app.on_ray.session import Head, cluster_address, head_file, refuse_sqlite_on, running_head, write_head


def head(**changes: object) -> Head:
    fields = {"pid": os.getpid(), "started": psutil.Process().create_time(), "address": "a:1"}
    return Head(**{**fields, "dashboard": "http://d", "api": "http://x", **changes})  # type: ignore[arg-type]


def test_a_living_head_is_found_and_a_dead_one_is_not(settings: Settings) -> None:
    assert running_head(settings) is None
    write_head(settings, head(parts=("ray",)))
    assert running_head(settings) == head(parts=("ray",))
    write_head(settings, head(started=1.0))
    assert running_head(settings) is None, "another program got the number of the process"
    head_file(settings).write_text("{")
    assert running_head(settings) is None


def test_sqlite_is_refused_on_several_nodes(settings: Settings) -> None:
    refuse_sqlite_on(1, settings)
    with pytest.raises(ConfigError, match="3 nodes"):
        refuse_sqlite_on(3, settings)
    refuse_sqlite_on(3, with_changes(settings, store={"database_url": "postgresql://db/backline"}))


def test_an_http_address_is_that_of_the_jobs_api_only() -> None:
    assert cluster_address(load(ray={"address": "http://127.0.0.1:8265"})) == ""
    assert cluster_address(load(ray={"address": "10.0.0.1:6379"})) == "10.0.0.1:6379"


@pytest.mark.parametrize(("cpus", "sizes"), [(1, (1, 1)), (2, (1, 1)), (8, (4, 7)), (200, (16, 32))])
def test_pools_grow_with_the_cluster_up_to_a_limit(settings: Settings, cpus: float, sizes: tuple[int, int]) -> None:
    assert pool_sizes(settings.crawl, cpus) == sizes
