"""Named kill points: every Python process that starts with this folder on its path can be told to kill itself.

The file ``armed`` in the folder ``CHAOS_DIR`` holds lines ``POINT COUNT``. The first process that comes to one of these
points for the COUNTth time takes the file away, leaves the point in its new name, and is gone without another
instruction. Nothing of the product knows of this: functions are wrapped when their module is imported.
"""

from __future__ import annotations

import functools
import importlib.abc
import importlib.machinery
import inspect
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from types import FrameType, ModuleType
from typing import Any

# point -> (module, attribute, before or after the call). What a module has from elsewhere kills only when it calls it.
POINTS = {
    "lease-taken": ("ray_app.store.ledger", "Ledger.acquire", "after"),
    "cycle-half-open": ("ray_app.store.url_rows", "begin", "after"),
    "cycle-open": ("ray_app.store.ledger", "Ledger.open_cycle", "after"),
    "sitemap-half-committed": ("ray_app.store.sitemap_rows", "settle", "after"),
    "sitemap-committed": ("ray_app.store.ledger", "Ledger.commit_sitemap", "after"),
    "batch-not-committed": ("ray_app.store.url_rows", "commit", "before"),
    "batch-half-committed": ("ray_app.store.url_rows", "commit", "after"),
    "batch-committed": ("ray_app.store.ledger", "Ledger.commit", "after"),
    "cycle-half-closed": ("ray_app.store.url_rows", "consolidate", "after"),
    "cycle-closed": ("ray_app.store.ledger", "Ledger.finish_cycle", "after"),
    "not-fetched": ("ray_app.ingest.fetch", "Fetcher.fetch_batch", "before"),
    "fetched": ("ray_app.ingest.fetch", "Fetcher.fetch_batch", "after"),
    "not-extracted": ("ray_app.ingest.worker", "PageWorker.process", "before"),
    "part-not-written": ("ray_app.store.pages", "PageStore._make_folder", "after"),
    "part-half-written": ("ray_app.store.pages", "pq.write_table", "after"),
    "part-named": ("ray_app.store.pages", "_sync", "before"),
    "part-stored": ("ray_app.store.pages", "PageStore.write_part", "after"),
    "extracted": ("ray_app.ingest.worker", "PageWorker.process", "after"),
}
# In the order in which one publication comes by.
INDEX_POINTS = {
    "run-half-begun": ("ray_app.index.staging", "Digests.save", "before"),
    "run-begun": ("ray_app.index.staging", "Staging.new_run", "after"),
    "staged-not-written": ("ray_app.index.staging", "Staging.write", "before"),
    "staged-half-written": ("ray_app.index.staging", "pq.write_table", "after"),
    "staged-not-named": ("ray_app.index.staging", "os.fsync", "after"),
    "staged-named": ("ray_app.index.staging", "sync_folder", "before"),
    "staged": ("ray_app.index.staging", "Staging.write", "after"),
    "build-begun": ("ray_app.index.build", "_write_files", "before"),
    "build-spooled": ("ray_app.index.build", "_Spool.settle", "before"),
    "build-keywords-merged": ("ray_app.index.build", "merge", "after"),
    "build-rows-written": ("ray_app.index.build", "_write_rows", "after"),
    "build-files-written": ("ray_app.index.build", "_write_files", "after"),
    "build-file-synced": ("ray_app.index.build", "sync_file", "after"),
    "build-folder-synced": ("ray_app.index.build", "sync_folder", "after"),
    "manifest-not-written": ("ray_app.index.build", "write_manifest", "before"),
    "manifest-not-named": ("ray_app.index.files", "Path.replace", "before"),
    "manifest-named": ("ray_app.index.files", "Path.replace", "after"),
    "manifest-written": ("ray_app.index.build", "write_manifest", "after"),
    "rejects-recorded": ("ray_app.store.rejects", "Rejects.replace", "after"),
    "row-not-added": ("ray_app.store.catalog", "Catalog.add_generation", "before"),
    "row-added": ("ray_app.store.catalog", "Catalog.add_generation", "after"),
    "upsert-not-asked": ("ray_app.on_ray.vector_owner", "RemoteVectorStore.upsert", "before"),
    "upsert-begun": ("ray_app.index.chroma", "ChromaStore.upsert", "before"),
    "upsert-done": ("ray_app.index.chroma", "ChromaStore.upsert", "after"),
    "upsert-answered": ("ray_app.on_ray.vector_owner", "RemoteVectorStore.upsert", "after"),
    "pointer-not-switched": ("ray_app.store.catalog", "Catalog.publish", "before"),
    "pointer-switched": ("ray_app.store.catalog", "Catalog.publish", "after"),
    "delete-not-asked": ("ray_app.on_ray.vector_owner", "RemoteVectorStore.delete", "before"),
    "delete-begun": ("ray_app.index.chroma", "ChromaStore.delete", "before"),
    "delete-done": ("ray_app.index.chroma", "ChromaStore.delete", "after"),
    "delete-answered": ("ray_app.on_ray.vector_owner", "RemoteVectorStore.delete", "after"),
    "old-not-removed": ("ray_app.index.depot", "Depot.remove", "before"),
    "old-half-removed": ("ray_app.index.layout", "shutil.rmtree", "before"),
    "old-removed": ("ray_app.index.depot", "Depot.remove", "after"),
    "old-row-dropped": ("ray_app.store.catalog", "Catalog.drop_generation", "after"),
    "staging-not-cleared": ("ray_app.index.staging", "Staging.clear", "before"),
    "staging-cleared": ("ray_app.index.staging", "Staging.clear", "after"),
}
ALL_POINTS = POINTS | INDEX_POINTS
FOLDER = os.environ.get("CHAOS_DIR", "")
_passed: Counter[str] = Counter()


def pass_by(point: str) -> None:
    """Die here, if that is what is wanted."""
    armed = Path(FOLDER) / "armed"
    try:
        wanted = dict(line.split() for line in armed.read_text().splitlines())
    except (OSError, ValueError):
        return
    if point not in wanted:
        return
    _passed[point] += 1
    if _passed[point] < int(wanted[point]):
        return
    try:
        armed.rename(armed.with_name(f"fired-{point}"))
    except FileNotFoundError:
        return  # another process was quicker
    os.kill(os.getpid(), signal.SIGKILL)


def wrap(function: Callable[..., Any], point: str, when: str, caller: str = "") -> Callable[..., Any]:
    """The function with a kill point before or after it, for calls from the module ``caller`` if one is named."""
    if inspect.iscoroutinefunction(function):

        @functools.wraps(function)
        async def slow(*args: Any, **kwargs: Any) -> Any:
            if when == "before":
                pass_by(point)
            result = await function(*args, **kwargs)
            if when == "after":
                pass_by(point)
            return result

        return slow

    @functools.wraps(function)
    def quick(*args: Any, **kwargs: Any) -> Any:
        here = not caller or _caller() == caller
        if when == "before" and here:
            pass_by(point)
        result = function(*args, **kwargs)
        if when == "after" and here:
            pass_by(point)
        return result

    return quick


def _caller() -> str:
    """The module that called what is wrapped, be it wrapped more than once."""
    frame: FrameType | None = sys._getframe(1)
    while frame is not None and frame.f_globals["__name__"] == __name__:
        frame = frame.f_back
    return frame.f_globals["__name__"] if frame is not None else ""


def place(module: ModuleType) -> None:
    """Put the kill points of a module in."""
    for point, (name, path, when) in ALL_POINTS.items():
        if name == module.__name__:
            *parents, leaf = path.split(".")
            holder: Any = functools.reduce(getattr, parents, module)
            function = getattr(holder, leaf)
            borrowed = function.__module__ != name
            setattr(holder, leaf, wrap(function, point, when, name if borrowed else ""))


class _Finder(importlib.abc.MetaPathFinder):
    """Loads the modules named in ALL_POINTS as ever, then places their kill points."""

    _names = frozenset(name for name, _, _ in ALL_POINTS.values())

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        if name not in self._names:
            return None
        spec = importlib.machinery.PathFinder.find_spec(name, path)
        if spec is not None and spec.loader is not None:
            load = spec.loader.exec_module

            def exec_module(module: ModuleType) -> None:
                load(module)
                place(module)

            spec.loader.exec_module = exec_module  # type: ignore[method-assign]
        return spec


if FOLDER:
    os.nice = lambda increment, /: 0  # embedding gives way to whatever else runs; here nothing but it is of interest
    sys.meta_path.insert(0, _Finder())
