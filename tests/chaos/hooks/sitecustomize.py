"""Named kill points: every Python process that starts with this folder on its path can be told to kill itself.

The file ``armed`` in the folder ``CHAOS_DIR`` holds ``POINT COUNT``. The first process that comes to that point for the
COUNTth time takes the file away, writes down that it did, and is gone without another instruction. Nothing of the
product knows of this: functions are wrapped when their module is imported.
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
from types import ModuleType
from typing import Any

# point -> (module, attribute, before or after the call)
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
FOLDER = os.environ.get("CHAOS_DIR", "")
_passed: Counter[str] = Counter()


def pass_by(point: str) -> None:
    """Die here, if that is what is wanted."""
    armed = Path(FOLDER) / "armed"
    try:
        wanted, count = armed.read_text().split()
    except (OSError, ValueError):
        return
    if wanted != point:
        return
    _passed[point] += 1
    if _passed[point] < int(count):
        return
    try:
        armed.rename(armed.with_name(f"fired-{os.getpid()}"))
    except FileNotFoundError:
        return  # another process was quicker
    os.kill(os.getpid(), signal.SIGKILL)


def wrap(function: Callable[..., Any], point: str, when: str) -> Callable[..., Any]:
    """The function with a kill point before or after it."""
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
        if when == "before":
            pass_by(point)
        result = function(*args, **kwargs)
        if when == "after":
            pass_by(point)
        return result

    return quick


def place(module: ModuleType) -> None:
    """Put the kill points of a module in."""
    for point, (name, path, when) in POINTS.items():
        if name == module.__name__:
            *parents, leaf = path.split(".")
            holder: Any = functools.reduce(getattr, parents, module)
            setattr(holder, leaf, wrap(getattr(holder, leaf), point, when))


class _Finder(importlib.abc.MetaPathFinder):
    """Loads the modules named in POINTS as ever, then places their kill points."""

    _names = frozenset(name for name, _, _ in POINTS.values())

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
    sys.meta_path.insert(0, _Finder())
