"""Crawl, embed and publish brands: what the jobs and the command line run."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor, wait
from dataclasses import asdict, dataclass

import numpy as np
from numpy.typing import NDArray
from ray.exceptions import RayError

from ray_app.config import Settings
from ray_app.errors import BacklineError, ChecksumMismatch, IndexingError, Interrupted, StoreError
from ray_app.index.embedder import model_id
from ray_app.index.generation import Generation, build_generation
from ray_app.index.layout import generation_path
from ray_app.index.manifest import hash_documents
from ray_app.index.publish import publish
from ray_app.index.staging import Staging
from ray_app.index.tokens import TOKENISER_VERSION
from ray_app.ingest.brands import BrandConfig
from ray_app.ingest.chunk import CHUNKER_VERSION
from ray_app.ingest.crawl import Crawler, CrawlReport, Progress
from ray_app.observe.log import get_logger
from ray_app.on_ray.embed_data import embed_documents
from ray_app.on_ray.page_workers import RayPageWorkers
from ray_app.on_ray.scrape_pool import ExtractPool, extract_pool
from ray_app.on_ray.targets import Order, remember
from ray_app.on_ray.vector_owner import vector_store
from ray_app.records import Chunk, ModelId
from ray_app.store.lease import Lease
from ray_app.store.ledger import Mode, StoredDocument
from ray_app.store.stores import Stores

log = get_logger(__name__)

# Brands worked on at once by one job; each waits on its own hosts most of the time.
PARALLEL_BRANDS = 16
# How long ctrl-C waits for the crawls to write down what they have; what is under way is fetched again by the next run.
STOP_S = 3.0


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """What embedding and publishing one brand did."""

    brand: str
    generation: str
    published: bool  # False: the live generation already holds just these documents
    documents: int
    chunks: int
    embedded: int  # vectors computed
    reused: int  # chunks whose vector existed already
    seconds: float

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


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
    wait_s: float = 0.0  # how long to wait for another run on the same brand to end


class Pipeline:
    """Runs the ingest lane for brands. Needs a Ray session."""

    def __init__(
        self, settings: Settings, stores: Stores, on_progress: Callable[[Progress], None] = lambda _: None
    ) -> None:
        self._settings = settings
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
            return BrandResult(name, error=str(_out_of_order(error)))

    def _run_brand(self, order: Order, steps: Steps) -> BrandResult:
        """One brand under one lease. Raises BacklineError."""
        name, ttl_s = order.config.name, self._settings.crawl.lease_s
        with Lease(self._stores.ledger, name, label="ingest", ttl_s=ttl_s, wait_s=steps.wait_s) as lease:
            remember(self._stores.catalog, order)
            crawl = self._crawl(order, lease, steps) if steps.crawl else None
            embed = self.embed(name, lease) if steps.embed else None
        return BrandResult(name, crawl, embed, crawl.silence if crawl else "")

    def _crawl(self, order: Order, lease: Lease, steps: Steps) -> CrawlReport | None:
        config = order.config
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

    def embed(self, brand: str, lease: Lease) -> EmbedReport:
        """Embed what changed since the live generation, write a new one and switch to it."""
        started = time.monotonic()
        settings = self._settings.embedding
        self._stores.ledger.consolidate(brand, lease.fence)  # a crawl that was killed has not come to it
        build = _Build(
            brand,
            documents=self._stores.ledger.documents(brand),
            model=model_id(settings),
            recipe=f"{CHUNKER_VERSION}/{settings.chunk_tokens}/{settings.overlap_tokens}",
            live=self._live(brand),
        )
        if build.live and build.is_live():
            held = build.live.manifest
            seconds = time.monotonic() - started
            return EmbedReport(brand, held.generation, False, held.documents, held.chunks, 0, held.chunks, seconds)
        return self._publish(build, lease, started)

    def _live(self, brand: str) -> Generation | None:
        name = self._stores.catalog.live(brand)
        if name is None:
            return None
        try:
            return Generation.open(generation_path(self._stores.index_root, brand, name), verify=True)
        except ChecksumMismatch as error:
            log.error("generation_damaged", brand=brand, generation=name, error=str(error))
            return None  # nothing of it is trusted: everything is embedded again

    def _publish(self, build: _Build, lease: Lease, started: float) -> EmbedReport:
        staging = Staging(self._stores.staging_root, build.brand, build.model)
        vectors = _Vectors(build.live if build.same_model else None, staging)
        kept = build.kept()
        changed = [document for document in build.documents if document.url not in kept]
        run = self._embed(build, changed, staging, vectors) if changed else ""
        lease.check()
        manifest = build_generation(
            self._stores.index_root,
            build.brand,
            chunks=build.chunks(kept, staging, run),
            documents=[(document.url, document.content_hash) for document in build.documents],
            vector_of=vectors.get,
            model=build.model,
            settings=self._settings.index,
            chunker_version=build.recipe,
            parent=build.live.name if build.live else "",
            now=time.time(),
        )
        publish(
            self._stores.catalog,
            self._stores.index_root,
            build.brand,
            manifest.generation,
            vector_store(self._settings) if self._settings.chroma.fill else None,
            fence=lease.fence,
            keep=self._settings.index.keep_generations,
            now=time.time(),
        )
        staging.clear()
        seconds = time.monotonic() - started
        counts = (manifest.documents, manifest.chunks, vectors.new, manifest.chunks - vectors.new)
        return EmbedReport(build.brand, manifest.generation, True, *counts, seconds)

    def _embed(self, build: _Build, changed: Sequence[StoredDocument], staging: Staging, vectors: _Vectors) -> str:
        run = embed_documents(self._settings, build.brand, changed, build.model, staging, vectors.known())
        vectors.load_staged()
        return run


def _out_of_order(error: OSError) -> StoreError:
    """In words, with the file where the system names one."""
    where = f" ({error.filename})" if error.filename else ""
    return StoreError(
        f"The system refused: {error.strerror or error}{where}.",
        hint="Mend that, or set BACKLINE_DATA_DIR to another disk; the same command goes on where it stopped.",
    )


@dataclass(frozen=True, slots=True)
class _Build:
    """What the next generation is made from."""

    brand: str
    documents: Sequence[StoredDocument]
    model: ModelId
    recipe: str  # how documents are cut
    live: Generation | None

    def is_live(self) -> bool:
        """Whether the live generation already holds just these documents, cut, tokenised and embedded this way."""
        if self.live is None or not self.same_model:
            return False
        held = self.live.manifest
        corpus = hash_documents((document.url, document.content_hash) for document in self.documents)
        return (held.corpus_hash, held.chunker_version, held.tokeniser_version) == (
            corpus,
            self.recipe,
            TOKENISER_VERSION,
        )

    @property
    def same_model(self) -> bool:
        return self.live is not None and self.live.manifest.model == self.model

    def kept(self) -> set[str]:
        """URLs whose chunks the live generation already holds, cut and embedded the same way."""
        if self.live is None or not self.same_model or self.live.manifest.chunker_version != self.recipe:
            return set()
        held = self.live.documents()
        return {document.url for document in self.documents if held.get(document.url) == document.content_hash}

    def chunks(self, kept: set[str], staging: Staging, run: str) -> Iterator[Chunk]:
        """Every chunk of the next generation: those of unchanged documents, then the staged ones."""
        if self.live and kept:
            yield from (chunk for chunk in self.live.chunks() if chunk.url in kept)
        if run:
            yield from staging.chunks(run)


class _Vectors:
    """Vectors by embedding key, from the live generation and from staged parts."""

    def __init__(self, live: Generation | None, staging: Staging) -> None:
        self._live = live
        self._staging = staging
        self._rows = {key: row for row, key in enumerate(live.embedding_keys())} if live else {}
        self._staged = staging.vectors()
        self.new = 0  # made by this run

    def known(self) -> list[str]:
        """Keys that need no embedding."""
        return [*self._rows, *self._staged]

    def load_staged(self) -> None:
        """Take in what was staged since."""
        before = len(self._staged)
        self._staged = self._staging.vectors()
        self.new = len(self._staged) - before

    def get(self, keys: Sequence[str]) -> NDArray[np.float16]:
        """Vectors (len(keys), dim). Raises IndexingError naming a key that nobody embedded."""
        return np.stack([self._one(key) for key in keys])

    def _one(self, key: str) -> NDArray[np.float16]:
        if (staged := self._staged.get(key)) is not None:
            return staged
        if self._live is None or key not in self._rows:
            raise IndexingError(f"No vector was made for embedding key {key}.", hint="Run the embedding again.")
        return self._live.vectors[self._rows[key]]
