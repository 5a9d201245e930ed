"""CPU time and memory of a process with all that it started."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import Self

import psutil

SAMPLE_S = 0.5  # reading the memory of twenty processes takes about 20 ms


class Tree:
    """Measures a process tree from the start of a ``with`` block to its end."""

    def __init__(self, pid: int) -> None:
        self._root = psutil.Process(pid)
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._sample, daemon=True)
        self._seen: dict[int, float] = {}
        self.cpu_s = 0.0  # user and system, of processes that lived when they were last looked at
        self.peak_bytes = 0  # proportional set size of all together

    def __enter__(self) -> Self:
        self._before = self._cpu()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._over.set()
        self._thread.join()
        self._look()
        self.cpu_s = sum(self._seen.values()) - sum(self._before.values())

    def _sample(self) -> None:
        while not self._over.wait(SAMPLE_S):
            self._look()

    def _look(self) -> None:
        self._seen.update(self._cpu())
        self.peak_bytes = max(self.peak_bytes, sum(map(_pss, self._processes())))

    def _cpu(self) -> dict[int, float]:
        return {process.pid: _cpu_s(process) for process in self._processes()}

    def _processes(self) -> list[psutil.Process]:
        try:
            return [self._root, *self._root.children(recursive=True)]
        except psutil.NoSuchProcess:
            return []


def _cpu_s(process: psutil.Process) -> float:
    try:
        times = process.cpu_times()
    except psutil.NoSuchProcess:
        return 0.0
    return float(times.user + times.system)


def _pss(process: psutil.Process) -> int:
    try:
        return int(process.memory_full_info().pss)
    except psutil.Error:
        return 0
