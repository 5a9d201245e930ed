"""The one place that starts Ray or connects to it."""

from __future__ import annotations

import logging
import os
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import orjson
import psutil
import ray
from ray._private import worker

from ray_app.config import Settings, export, share_with_children
from ray_app.errors import ClusterUnavailable, ConfigError
from ray_app.observe.log import get_logger

log = get_logger(__name__)

# On a laptop nothing stands before Serve that would have to notice that a replica leaves: no waiting at the end.
LOCAL_ENVIRONMENT = {
    "RAY_SERVE_DIRECT_INGRESS_MIN_DRAINING_PERIOD_S": "1",
    "RAY_SERVE_PROXY_MIN_DRAINING_PERIOD_S": "1",
}


PARTS = ("ray", "serve", "scheduler")


@dataclass(frozen=True, slots=True)
class Head:
    """The local cluster that ``backline up`` keeps running."""

    pid: int
    started: float  # create time of the process: a pid alone may have been given to another program
    address: str  # host:port of the cluster
    dashboard: str  # http address of the dashboard and the Jobs API
    api: str  # http address of the Serve application
    parts: tuple[str, ...] = ()  # which of PARTS are up so far

    @property
    def complete(self) -> bool:
        """Whether all its parts are up."""
        return self.parts == PARTS

    @property
    def alive(self) -> bool:
        """Whether that very process still runs."""
        try:
            process = psutil.Process(self.pid)
            return process.create_time() == self.started and process.status() != psutil.STATUS_ZOMBIE
        except psutil.NoSuchProcess:
            return False


def head_file(settings: Settings) -> Path:
    """Where the running head is written down."""
    return settings.data_dir / "run" / "head.json"


def write_head(settings: Settings, head: Head) -> None:
    """Write the head down, whole or not at all."""
    path = head_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    part = path.with_suffix(".part")
    part.write_bytes(orjson.dumps(asdict(head)))
    part.replace(path)


def running_head(settings: Settings) -> Head | None:
    """The head that ``backline up`` started with these settings, if it lives."""
    try:
        fields = orjson.loads(head_file(settings).read_bytes())
    except (FileNotFoundError, orjson.JSONDecodeError):
        return None
    head = Head(**{**fields, "parts": tuple(fields["parts"])})
    return head if head.alive else None


@contextmanager
def connect(settings: Settings) -> Iterator[None]:
    """A Ray session for the block.

    Uses the session that is already there, else ``ray.address``, else the head that ``backline up`` keeps
    running, else a private cluster that ends with the block. Raises ClusterUnavailable.
    """
    if ray.is_initialized():
        yield
        return
    head = running_head(settings)
    address = cluster_address(settings) or (head.address if head else "")
    try:
        if address:
            _attach(settings, address)
            refuse_sqlite_on(sum(node["Alive"] for node in ray.nodes()), settings)
        else:
            start_local(settings, dashboard=False)
    except ConnectionError as error:
        raise ClusterUnavailable(
            f"No Ray cluster answers at {address}.", hint="Start one with `backline up`, or correct RAY_ADDRESS."
        ) from error
    try:
        yield
    finally:
        ray.shutdown()


def refuse_sqlite_on(nodes: int, settings: Settings) -> None:
    """Raises ConfigError when several nodes would write one SQLite file, which loses data on network file systems."""
    if nodes > 1 and settings.database_url.startswith("sqlite"):
        raise ConfigError(
            f"The cluster has {nodes} nodes, and SQLite serves one.", hint="Set DATABASE_URL to a PostgreSQL database."
        )


def cluster_address(settings: Settings) -> str:
    """The configured cluster address; an http address names the Jobs API only and does not count."""
    return "" if settings.ray.address.startswith("http") else settings.ray.address


def _cluster_messages_to_log() -> None:
    """Ray prints what its raylets have to say to standard output, which belongs to results; the log takes it.

    There is no setting for it in Ray 2.60; its worker module looks this function up by name.
    """

    def take(data: Mapping[str, Any], ignore_prefix: bool) -> None:
        log.info("cluster_message", source=data.get("pid"), lines=data.get("lines"))

    worker.print_to_stdstream = take


def _attach(settings: Settings, address: str) -> None:
    _cluster_messages_to_log()
    ray.init(address=address, namespace=settings.ray.namespace, log_to_driver=False, logging_level=logging.ERROR)


def start_local(settings: Settings, *, dashboard: bool) -> None:
    """Start a cluster of this machine that ends with this process."""
    share_with_children(settings)
    # Job entry points say `python`: it must be the one that has Backline.
    export(LOCAL_ENVIRONMENT, path_first=str(Path(sys.executable).parent))
    _cluster_messages_to_log()
    ray.init(
        address="local",
        namespace=settings.ray.namespace,
        num_cpus=settings.ray.num_cpus or None,
        object_store_memory=settings.ray.object_store_mb * 2**20,
        include_dashboard=dashboard,
        dashboard_host="127.0.0.1",
        dashboard_port=settings.serve.dashboard_port,
        log_to_driver=False,
        logging_level=logging.ERROR,
    )
    _end_with_this_process()
    log.info("ray_started", address=ray.get_runtime_context().gcs_address, dashboard=dashboard)


def _end_with_this_process() -> None:
    """See ``on_ray.reaper``: whatever way this process ends, soon after nothing that Ray started is left."""
    started = psutil.Process().children(recursive=True)
    processes = [f"{process.pid}:{process.create_time()}" for process in started]
    read_end, write_end = os.pipe()
    os.posix_spawn(
        sys.executable,
        [sys.executable, str(Path(__file__).with_name("reaper.py")), *processes],
        {},
        file_actions=[
            (os.POSIX_SPAWN_DUP2, read_end, 0),
            (os.POSIX_SPAWN_CLOSE, write_end),
            # It outlives this process: whoever reads our output must not have to wait for its end.
            *((os.POSIX_SPAWN_OPEN, stream, os.devnull, os.O_WRONLY, 0) for stream in (1, 2)),
        ],
    )
    os.close(read_end)  # write_end stays open, and is not inherited, until this process is gone
