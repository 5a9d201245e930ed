"""The process that ``backline up`` keeps running: a local head, the Serve application, the scheduler.

Ray's own processes are children of this one and end with it, also when it is killed. ``ray stop`` would end every
cluster of the same user; this ends only its own (docs/adr/0003).
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from types import FrameType

import psutil
import ray

from ray_app.config import Settings, load
from ray_app.errors import ClusterError
from ray_app.observe.log import configure, get_logger
from ray_app.on_ray.indexer import NAME as INDEXER
from ray_app.on_ray.indexer import ensure_indexer
from ray_app.on_ray.scheduler import NAME as SCHEDULER
from ray_app.on_ray.scheduler import ensure_scheduler
from ray_app.on_ray.serve_app import deploy, undeploy
from ray_app.on_ray.session import PARTS, Head, connect, head_file, running_head, start_local, write_head

# A head that was asked to stop drains its replicas first; then it is killed.
STOP_GRACE_S = 30.0
POLL_S = 0.2

log = get_logger(__name__)


def run(settings: Settings) -> None:
    """Start everything, wait for SIGTERM or SIGINT, stop everything."""
    stop = threading.Event()

    def on_signal(_: int, __: FrameType | None) -> None:
        stop.set()

    start_local(settings, dashboard=True)
    # ray.init takes SIGTERM for itself; it is ours again from here on.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, on_signal)
    head = Head(
        pid=os.getpid(),
        started=psutil.Process().create_time(),
        address=ray.get_runtime_context().gcs_address,
        dashboard=f"http://127.0.0.1:{settings.serve.dashboard_port}",
        api=settings.api_url,
    )
    try:
        write_head(settings, replace(head, parts=PARTS[:1]))
        deploy(settings)
        write_head(settings, replace(head, parts=PARTS[:2]))
        ensure_scheduler(settings)
        ensure_indexer(settings)  # its model loads in the background
        write_head(settings, replace(head, parts=PARTS))
        log.info("head_ready", api=head.api, dashboard=head.dashboard)
        stop.wait()
    finally:
        log.info("head_stopping")
        head_file(settings).unlink(missing_ok=True)
        undeploy()
        ray.shutdown()


def raise_on_cluster(settings: Settings) -> None:
    """Deploy the application and the scheduler to the cluster of ``ray.address``."""
    with connect(settings):
        deploy(settings)
        ensure_scheduler(settings)
        ensure_indexer(settings)


def lower_on_cluster(settings: Settings) -> None:
    """Take the application and the scheduler off the cluster of ``ray.address``."""
    with connect(settings):
        undeploy()
        for name in (SCHEDULER, INDEXER):
            with contextlib.suppress(ValueError):  # there is none
                ray.kill(ray.get_actor(name, namespace=settings.ray.namespace))


def log_file(settings: Settings) -> Path:
    """Where the head writes its log."""
    return settings.data_dir / "logs" / "head.log"


def launch(settings: Settings) -> Head:
    """Start a head in a process of its own and wait until all its parts are up.

    Returns the one that runs already, if there is one. Raises ClusterError with the end of its log.
    """
    if (head := running_head(settings)) and head.complete:
        return head
    path = log_file(settings)
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("ab") as output:
        process = subprocess.Popen(
            [sys.executable, "-m", "ray_app.on_ray.head"],
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            start_new_session=True,
        )
    deadline = time.monotonic() + settings.ray.start_timeout_s
    while time.monotonic() < deadline:
        if (head := running_head(settings)) and head.pid == process.pid and head.complete:
            return head
        if process.poll() is not None:
            break
        time.sleep(POLL_S)
    stop_tree(process.pid)
    raise ClusterError("The head did not come up.", hint=f"The end of {path} says why:\n{_tail(path)}")


def stop(settings: Settings) -> bool:
    """End the running head and everything it started; False when none runs."""
    head = running_head(settings)
    if head is None:
        return False
    stop_tree(head.pid)
    head_file(settings).unlink(missing_ok=True)
    return True


def stop_tree(pid: int) -> None:
    """SIGTERM to the process, then SIGKILL to whatever of its tree is left."""
    try:
        process = psutil.Process(pid)
        tree = [process, *process.children(recursive=True)]
        process.terminate()
    except psutil.NoSuchProcess:
        return
    psutil.wait_procs([process], timeout=STOP_GRACE_S)
    _, alive = psutil.wait_procs(tree, timeout=3)
    for left in alive:
        left.kill()
    psutil.wait_procs(alive, timeout=5)


def memory_pss(pid: int) -> dict[str, int]:
    """Proportional set size in bytes of each process of the head's tree, by readable name."""
    found: dict[str, int] = {}
    for process in (root := psutil.Process(pid), *root.children(recursive=True)):
        try:
            name = _readable(process)
            found[name] = found.get(name, 0) + process.memory_full_info().pss
        except psutil.NoSuchProcess:
            continue  # ended while we counted
    return found


def _readable(process: psutil.Process) -> str:
    line = process.cmdline()
    first = line[0] if line else process.name()
    if first.startswith("ray::"):
        return first.split(".")[0]
    return process.name() if "python" not in process.name() else _module(line)


def _module(line: list[str]) -> str:
    for part in line[1:]:
        if part.endswith(".py"):
            return Path(part).name
        if part.startswith("ray"):
            return part
    return "python"


def _tail(path: Path, lines: int = 15) -> str:
    return "\n".join(path.read_text(errors="replace").splitlines()[-lines:])


if __name__ == "__main__":
    configured = load()
    configure(configured.log, component="head")
    run(configured)
