"""One local Ray with its dashboard for all tests of this folder; each test works on brands of its own."""

from __future__ import annotations

import asyncio
import os
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

import ray_app.on_ray  # noqa: F401  # before any test imports ray, which reads the environment at once
from ray_app.config import Settings, load
from ray_app.store.stores import Stores, open_stores
from ray_app.testing.site import Site


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@pytest.fixture(scope="package")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Settings]:
    """The settings of a running local cluster of two CPUs."""
    import ray

    from ray_app.on_ray.session import start_local

    folder = tmp_path_factory.mktemp("cluster")
    before, here = dict(os.environ), Path.cwd()
    os.environ["BACKLINE_DATA_DIR"] = str(folder / "data")  # jobs load their settings from what they inherit
    os.environ["BACKLINE_RETRIEVAL__RERANKER"] = "maxsim"
    os.environ["BACKLINE_SCHEDULE__TICK_S"] = "0.5"
    ports = {"port": free_port(), "dashboard_port": free_port()}
    settings = load(serve=ports, ray={"num_cpus": 2, "object_store_mb": 200}, crawl={"rate": 0.0})
    os.environ["BACKLINE_SERVE__PORT"] = str(ports["port"])
    os.chdir(folder)
    start_local(settings, dashboard=True)
    try:
        yield settings
    finally:
        ray.shutdown()
        os.chdir(here)
        os.environ.clear()
        os.environ.update(before)


@pytest.fixture
def stores(cluster: Settings) -> Iterator[Stores]:
    opened = open_stores(cluster)
    yield opened
    opened.close()


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    """The misbehaving site, served by a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    running = Site()
    asyncio.run_coroutine_threadsafe(running.start(), loop).result()
    yield running
    asyncio.run_coroutine_threadsafe(running.stop(), loop).result()
    loop.call_soon_threadsafe(loop.stop)
    thread.join()
    loop.close()
