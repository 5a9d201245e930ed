"""Crawl, embed and publish brands: what the jobs and the command line run."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial

from ray.exceptions import RayError

from ray_app.config import Settings
from ray_app.errors import BacklineError, Interrupted, StoreError
from ray_app.index.ports import Gate, VectorStore
from ray_app.ingest.brands import BrandConfig
from ray_app.ingest.crawl import Crawler, CrawlReport, Progress
from ray_app.ingest.indexing import BrandIndexer, EmbedReport
from ray_app.observe.log import get_logger
from ray_app.on_ray.embed_data import embed_documents
from ray_app.on_ray.page_workers import RayPageWorkers
from ray_app.on_ray.scrape_pool import ExtractPool, extract_pool
from ray_app.on_ray.targets import Order, remember
from ray_app.on_ray.vector_owner import vector_store
from ray_app.store.lease import Lease
from ray_app.store.ledger import Mode
from ray_app.store.stores import Stores

log = get_logger(__name__)

WORKER_FAILED = RayError  # by a name for callers that know no Ray

# Brands worked on at once by one job; each waits on its own hosts most of the time.
PARALLEL_BRANDS = 16
# How long ctrl-C waits for the crawls to write down what they have; what is under way is fetched again by the next run.
STOP_S = 3.0


@dataclass(frozen=True, slots=True)
class BrandResult:
    """What one job did for one brand; ``error`` says why it stopped."""

    brand: str
    crawl: CrawlReport | None = None
    embed: EmbedReport | None = None
    error: str = ""

    def as_dict(self) -> dict[str, object]:
        return {
            "brand": self.brand,
            "crawl": self.crawl.as_dict() if self.crawl else None,
            "embed": self.embed.as_dict() if self.embed else None,
            "error": self.error or None,
        }


@dataclass(frozen=True, slots=True)
class Steps:
    """Which parts of the ingest lane to run."""

    crawl: bool = True
    embed: bool = True
    mode: Mode = Mode.DELTA
    resume_only: bool = False  # finish a crawl that was cut off, never begin a new one
    force: bool = False  # publish what the gate refuses, and end the hold of a rollback
    again: bool = False  # cut and tokenise every document anew
    embed_anew: bool = False  # and compute every vector
    wait_s: float = 0.0  # how long to wait for another run on the same brand to end


class Pipeline:
    """Runs the ingest lane for brands. Needs a Ray session."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        on_progress: Callable[[Progress], None] = lambda _: None,
        gate: Gate | None = None,
    ) -> None:
        """``gate`` judges what is built before it is published."""
        self._settings = settings
        self._gate = gate
        self._stores = stores
        self._on_progress = on_progress
        self._stop = threading.Event()
        self._pool: ExtractPool | None = None
        self._lock = threading.Lock()

    def run(self, brands: Sequence[BrandConfig | Order], steps: Steps) -> list[BrandResult]:
        """All brands, side by side; one that fails does not stop the others.

        Raises Interrupted on ctrl-C, once every crawl has stopped cleanly or STOP_S have passed.
        """
        orders = [one if isinstance(one, Order) else Order.of(one) for one in brands]
        threads = ThreadPoolExecutor(min(PARALLEL_BRANDS, max(1, len(orders))), "brand")
        runs = [threads.submit(self._guarded, order, steps) for order in orders]
        try:
            return [run.result() for run in runs]
        except KeyboardInterrupt:
            self._stop.set()
            wait(runs, timeout=STOP_S)
            raise Interrupted("Interrupted.", hint="The same command goes on where it stopped.") from None
        finally:
            threads.shutdown(wait=False, cancel_futures=True)
            self._close_pool()

    def _guarded(self, order: Order, steps: Steps) -> BrandResult:
        name = order.config.name
        try:
            return self._run_brand(order, steps)
        except Interrupted as error:
            return BrandResult(name, error=error.message)
        except BacklineError as error:
            log.error("brand_failed", brand=name, error=error.kind, detail=str(error))
            return BrandResult(name, error=str(error))
        except RayError as error:  # a worker's error, or a worker that Ray could not keep alive
            log.error("brand_failed", brand=name, error=type(error).__name__, exc_info=error)
            return BrandResult(name, error=f"A worker failed: {str(error).strip().splitlines()[-1]}")
        except OSError as error:  # a full disk most of all; that of a worker comes as RayError
            log.error("brand_failed", brand=name, error=type(error).__name__, exc_info=error)
            return BrandResult(name, error=str(out_of_order(error)))

    def _run_brand(self, order: Order, steps: Steps) -> BrandResult:
        """One brand under one lease. Raises BacklineError."""
        name, ttl_s = order.config.name, self._settings.crawl.lease_s
        with Lease(self._stores.ledger, name, label="ingest", ttl_s=ttl_s, wait_s=steps.wait_s) as lease:
            remember(self._stores.catalog, order, lease.fence)
            crawl = self._crawl(order, lease, steps) if steps.crawl else None
            embed = self.embed(name, lease, steps) if steps.embed else None
        return BrandResult(name, crawl, embed, crawl.silence if crawl else "")

    def _crawl(self, order: Order, lease: Lease, steps: Steps) -> CrawlReport | None:
        config = order.config
        if not config.start_urls:  # its documents are handed over
            return None
        last = self._stores.ledger.last_cycle(config.name)
        if steps.resume_only and (last is None or last.finished_at is not None):
            return None
        workers = RayPageWorkers(self._settings, config, self._extractors())
        crawler = Crawler(self._stores.ledger, config, self._settings.crawl, workers, self._on_progress)
        return crawler.run(lease, steps.mode, self._stop, order.also)

    def _extractors(self) -> ExtractPool:
        """The processes that all crawls of this job share, made for the first one."""
        with self._lock:
            if self._pool is None:
                self._pool = extract_pool(self._settings)
            return self._pool

    def _close_pool(self) -> None:
        with self._lock:
            if self._pool is not None:
                self._pool.close()
            self._pool = None

    def embed(self, brand: str, lease: Lease, steps: Steps) -> EmbedReport:
        """Embed what changed since the live generation, write a new one and switch to it."""
        vectors = vector_store(self._settings) if self._settings.chroma.fill else None
        built = indexer(self._settings, self._stores, vectors, self._gate)
        return built.index(brand, lease, force=steps.force, again=steps.again, embed_anew=steps.embed_anew)


def indexer(
    settings: Settings, stores: Stores, vectors: VectorStore | None = None, gate: Gate | None = None
) -> BrandIndexer:
    """What brings brands in line with their documents, embedding on Ray Data."""
    return BrandIndexer(settings, stores, partial(embed_documents, settings), vectors, gate)


def out_of_order(error: OSError) -> StoreError:
    """In words, with the file where the system names one."""
    where = f" ({error.filename})" if error.filename else ""
    return StoreError(
        f"The system refused: {error.strerror or error}{where}.",
        hint="Mend that, or set BACKLINE_DATA_DIR to another disk; the same command goes on where it stopped.",
    )
