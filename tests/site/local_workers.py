"""A PageWorkers without Ray: one Fetcher in a thread's event loop, extraction in the same thread."""

from __future__ import annotations

import asyncio
import queue
import threading
from collections.abc import Sequence

from ray_app.config import Settings
from ray_app.ingest.brands import BrandConfig
from ray_app.ingest.fetch import Fetcher
from ray_app.ingest.lanes import profile_of
from ray_app.ingest.outcome import divide
from ray_app.ingest.worker import PageWorker
from ray_app.records import FetchTask, PageOutcome
from ray_app.store.pages import PageStore

SLOW_AFTER_S = 0.5  # so that slow bodies are given up within a test


class LocalWorkers:
    """Satisfies ingest.ports.PageWorkers."""

    def __init__(self, settings: Settings, config: BrandConfig) -> None:
        self._config = config
        self._profile = profile_of(config)
        self._worker = PageWorker(PageStore(settings.data_dir / "pages"), settings.crawl)
        self._fetcher = Fetcher(settings.crawl, slow_after_s=SLOW_AFTER_S)
        self._done: queue.Queue[list[PageOutcome] | BaseException] = queue.Queue()
        self._under_way = 0
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, daemon=True)
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._fetcher.start(), self._loop).result()

    def submit(self, batch: Sequence[FetchTask]) -> None:
        self._under_way += 1
        asyncio.run_coroutine_threadsafe(self._work(list(batch)), self._loop)

    async def _work(self, batch: list[FetchTask]) -> None:
        try:
            bodies, settled = divide(await self._fetcher.fetch_batch(batch, self._profile))
            self._done.put([*settled, *self._worker.process(self._config, bodies)])
        except BaseException as error:
            self._done.put(error)
            raise

    def wait(self, timeout_s: float) -> list[list[PageOutcome]]:
        try:
            done = self._done.get(timeout=timeout_s)
        except queue.Empty:
            return []
        self._under_way -= 1
        if isinstance(done, BaseException):
            raise done
        return [done]

    async def _end(self) -> None:
        """A crawl that was killed has left batches under way."""
        pending = asyncio.all_tasks() - {asyncio.current_task()}
        for task in pending:
            task.cancel()
        await asyncio.gather(*pending, return_exceptions=True)
        await self._fetcher.close()

    def idle(self) -> bool:
        return self._under_way == 0

    def close(self) -> None:
        asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()
