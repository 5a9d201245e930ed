"""Forgetting a URL or a brand: out of everything that is stored, with a receipt, for good.

1. A tombstone is written, in a transaction of its own; from now on nobody stores anything of it again.
2. The brand's lease is taken over from whatever run has it, so that nothing is committed that was read before.
3. Each store gives up what it has. Every step may be repeated; a run that was cut short is finished by the next.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Collection, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby
from math import inf
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from ray_app.config import IndexSettings, Settings
from ray_app.errors import (
    ChecksumMismatch,
    LeaseHeld,
    LeaseLost,
    StoreError,
    StoreUnavailable,
    UnknownBrand,
    VectorStoreDown,
    VectorStoreLocked,
)
from ray_app.index.build import Recipe, Sources, write_generation
from ray_app.index.depot import Depot, open_depot
from ray_app.index.generation import Generation
from ray_app.index.layout import DOCUMENTS, brand_path, remove_generation, stale_names
from ray_app.index.manifest import Manifest
from ray_app.index.ports import VectorStore
from ray_app.index.publish import align
from ray_app.index.tokens import tokeniser_version
from ray_app.ingest.handed import spelled
from ray_app.observe.log import get_logger
from ray_app.store.forgetting import Forgetting
from ray_app.store.lease import Lease
from ray_app.store.pages import remove_aside, remove_tree
from ray_app.store.receipts import Receipt, Receipts, receipt_id
from ray_app.store.restoring import remove_left
from ray_app.store.settle import address
from ray_app.store.stores import Stores
from ray_app.store.tombstones import Tombstone, Tombstones

log = get_logger(__name__)

LABEL = "forget"
WAIT_S = 600.0  # for another forgetting of the same brand to end
TRIES = 3  # of the work, when a restore takes the brand away from it
Counts = dict[str, int]
Step = tuple[str, Callable[[], Counts]]

# What a step may fail with and be told of, while the others go on.
_OUT_OF_REACH = (VectorStoreDown, VectorStoreLocked, StoreError, OSError, pa.ArrowException)


@dataclass(frozen=True, slots=True)
class Reach:
    """Stores outside of the data directory and of SQL."""

    vectors: VectorStore | None = None
    clear_cache: Callable[[str], int] | None = None  # deletes the kept answers of a brand; returns how many
    trouble: str = ""  # why one of them cannot be reached at all


class Forgetter:
    """Forgets for one installation."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        reach: Reach | None = None,
        on_step: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``on_step`` is told the name of each step before it is done."""
        self._settings = settings
        self._stores = stores
        self._reach = reach or Reach()
        self._on_step = on_step
        self._clock = clock
        self._sql = Forgetting(stores.db)
        self._tombstones = Tombstones(stores.db)
        self._receipts = Receipts(settings.data_dir / "receipts")
        self._index = _Index(settings, stores, self._sql, open_depot(settings), clock)

    def brands_of(self, url: str) -> list[str]:
        """The brands that know a URL or have forgotten it."""
        key = key_of(url)
        known = {row.brand for row in self._stores.ledger.find(key)}
        return sorted(known | {stone.brand for stone in self._tombstones.all(url=key)})

    def forget(self, brand: str, url: str = "", on_start: Callable[[Receipt], None] = lambda _: None) -> Receipt:
        """Forget a URL of a brand, or with "" all of the brand. Run it again when it was cut short or incomplete.

        ``on_start`` is shown the receipt of earlier runs before anything is done.

        Raises UnknownBrand when nothing was ever known of the brand, BadUrl, StoreUnavailable; LeaseHeld when another
        forgetting of the brand goes on for long.
        """
        stone = self._bury(brand, key_of(url) if url else "")
        receipt = self._receipts.of(stone)
        on_start(receipt)
        receipt.runs, receipt.problems, receipt.finished_at = receipt.runs + 1, [], 0.0
        receipt.remains = self._remains()
        try:
            remove_left(self._settings.data_dir)
        except (StoreError, OSError) as error:  # a restore that runs looks for tombstones before it ends
            receipt.remains.append(f"restoring: files of a restore are unpacked there until it ends ({error})")
        self._receipts.save(receipt)
        for left in reversed(range(TRIES)):
            receipt.problems = []
            try:
                self._work(stone, receipt)
                break
            except LeaseLost:  # a restore replaced everything
                if not left:
                    raise
        if problem := self._stores.db.scrub():
            receipt.remains.append(f"database: {problem}")
        receipt.finished_at = self._clock()
        self._receipts.save(receipt)
        log.info("forgotten", brand=brand, receipt=receipt.receipt, complete=receipt.complete)
        return receipt

    def _work(self, stone: Tombstone, receipt: Receipt) -> None:
        self._on_step("lease")
        with self._lease(stone.brand, seize=True) as lease:
            if stone.url:
                receipt.same_text = receipt.same_text or self._sql.same_text(stone.brand, stone.url)
                self._run(self._url_steps(stone.brand, {stone.url}, lease), lease, receipt)
            else:
                self._run(self._brand_steps(stone.brand, lease), lease, receipt)

    def lift(self, brand: str, url: str = "") -> bool:
        """Let a URL or a brand in again, from the next crawl on; False when it was not forgotten."""
        key = key_of(url) if url else ""
        if key:  # first, or a page could be fetched whose text the page store still refuses
            self._stores.pages.graves(brand).remove(key)
        return self._tombstones.lift(brand, key)

    def sweep(self) -> Counts:
        """Remove what runs that lost their brand to a forgetting have left behind since. A brand at work is left."""
        total: Counts = {}
        for brand, stones in groupby(self._tombstones.all(), key=lambda stone: stone.brand):
            try:
                for name, count in self._sweep_brand(brand, list(stones)).items():
                    total[name] = total.get(name, 0) + count
            except (LeaseHeld, LeaseLost):
                log.info("sweep_postponed", brand=brand)
        if sum(total.values()):
            self._stores.db.scrub()
        return total

    def _sweep_brand(self, brand: str, stones: Sequence[Tombstone]) -> Counts:
        receipt = Receipt("", brand, "", 0.0)
        urls = {stone.url for stone in stones if stone.url}
        with self._lease(brand, seize=False) as lease:
            if len(urls) < len(stones) and brand not in self._stores.catalog.brands():
                self._run(self._brand_steps(brand, lease), lease, receipt)
            elif urls:
                self._run(self._url_steps(brand, urls, lease), lease, receipt)
        return receipt.removed

    def _lease(self, brand: str, *, seize: bool) -> Lease:
        wait_s = WAIT_S if seize else 0.0
        ttl_s = self._settings.crawl.lease_s
        return Lease(self._stores.ledger, brand, label=LABEL, ttl_s=ttl_s, wait_s=wait_s, seize=seize)

    def _bury(self, brand: str, url: str) -> Tombstone:
        held = self._tombstones.find(brand, url)
        if held is None and not self._knows(brand):
            raise UnknownBrand(f"No brand is called {brand!r}, and nothing of one is stored.")
        begun_anew = held is not None and not url and brand in self._stores.catalog.brands()
        now = self._clock()
        self._on_step("tombstone")
        return self._tombstones.bury(brand, url, now, receipt_id(now), anew=begun_anew)

    def _knows(self, brand: str) -> bool:
        stored = brand in self._stores.pages.brands() or brand_path(self._stores.index_root, brand).is_dir()
        return stored or not self._sql.empty(brand)

    def _run(self, steps: Sequence[Step], lease: Lease, receipt: Receipt) -> None:
        for name, work in steps:
            self._on_step(name)
            lease.check()
            try:
                receipt.count(work())
            except LeaseLost:
                raise
            except _OUT_OF_REACH as error:
                receipt.problems.append(f"{name}: {error}")
            if receipt.receipt:
                self._receipts.save(receipt)
        if self._reach.trouble:
            receipt.problems.append(self._reach.trouble)

    def _url_steps(self, brand: str, urls: Collection[str], lease: Lease) -> list[Step]:
        return [
            ("graves", partial(self._refuse_pages, brand, urls)),
            ("ledger", lambda: self._sql.urls(brand, urls, lease.fence, self._clock())),
            ("aliases", partial(self._consolidate, brand, lease)),
            ("index", lambda: self._index.without(brand, urls, lease)),
            ("vectors", lambda: self._vectors(brand)),
            ("cache", lambda: self._cache(brand)),
            ("pages", lambda: self._pages(brand, set(urls), lease)),
            ("staging", lambda: self._staging(brand)),
            ("tasks", lambda: {"tasks": self._sql.tasks(brand, urls)}),
        ]

    def _brand_steps(self, brand: str, lease: Lease) -> list[Step]:
        return [
            ("ledger", lambda: self._sql.brand(brand, lease.fence)),
            ("index", lambda: self._index.drop(brand)),
            ("vectors", lambda: self._vectors(brand)),
            ("cache", lambda: self._cache(brand)),
            ("pages", lambda: self._all_pages(brand)),
            ("staging", lambda: self._staging(brand)),
            ("tasks", lambda: {"tasks": self._sql.tasks(brand, ())}),
        ]

    def _refuse_pages(self, brand: str, urls: Collection[str]) -> Counts:
        self._stores.pages.graves(brand).add(urls)
        return {}

    def _consolidate(self, brand: str, lease: Lease) -> Counts:
        """Texts for which a forgotten URL stood have another that stands for them."""
        self._stores.ledger.consolidate(brand, lease.fence)
        return {}

    def _pages(self, brand: str, urls: set[str], lease: Lease) -> Counts:
        """Parts are never changed: one that holds other texts too is written again, and replaced in one transaction."""
        pages, removed = self._stores.pages, 0
        live = self._stores.ledger.parts(brand)
        holding = pages.holding(brand, urls)
        for part, rows in holding.rows.items():
            if part in live:
                new, moved = pages.without(brand, part, rows)
                self._sql.move(brand, part, new, moved, lease.fence)
            pages.remove(brand, part)
            removed += len(rows)
        for part in holding.unreadable:
            if part in live:
                raise StoreUnavailable(f"The page part {brand}/{part} is damaged: nobody can say what it holds.")
            pages.remove(brand, part)
        return {"page_texts": removed, "unfinished_parts": pages.remove_unfinished(brand)}

    def _all_pages(self, brand: str) -> Counts:
        pages = self._stores.pages
        left = remove_aside(self._settings.data_dir / "pages", [brand])
        removed = {"page_parts": pages.remove_brand(brand), "folders": left}
        if urls := [stone.url for stone in self._tombstones.all(brand) if stone.url]:
            pages.graves(brand).add(urls)
        return removed

    def _staging(self, brand: str) -> Counts:
        root = self._stores.staging_root
        left = remove_aside(root, [brand])
        folder = root / brand
        parts = sum(1 for _ in folder.rglob("*.parquet")) if folder.is_dir() else 0
        if folder.is_dir():
            remove_tree(folder)
        return {"staged_parts": parts, "folders": left}

    def _vectors(self, brand: str) -> Counts:
        if self._reach.vectors is None:
            return {}
        kept = self._index.opened(brand) if self._settings.chroma.fill else []
        done = align(self._reach.vectors, brand, kept)
        if done.problem:
            raise VectorStoreDown(done.problem)
        return {"vectors": done.deleted}

    def _cache(self, brand: str) -> Counts:
        return {} if self._reach.clear_cache is None else {"cached_answers": self._reach.clear_cache(brand)}

    def _remains(self) -> list[str]:
        """What stays whatever this does, for the person who asked."""
        hours = self._settings.cache.ttl_s / 3600
        chroma = (
            "Chroma's own files: they may keep the numbers of removed chunks, never texts, until they are made anew"
        )
        return [
            *([chroma] if self._reach.vectors is not None else []),
            f"answers in the memory of running replicas: nobody is given them any more; gone after {hours:g} h at most",
            "log files: they name URLs, never texts; they go with your own rotation",
            "backups made before: a restore leaves out what was forgotten, but the files themselves hold it",
        ]


def key_of(url: str) -> str:
    """A URL as a person writes it, as the ledger knows it. Raises BadUrl."""
    return address(spelled(url))


class _Index:
    """The generations of a brand, in the store of generations and on this node."""

    def __init__(
        self, settings: Settings, stores: Stores, sql: Forgetting, depot: Depot, clock: Callable[[], float]
    ) -> None:
        self._settings = settings
        self._catalog = stores.catalog
        self._root = stores.index_root
        self._sql = sql
        self._depot = depot
        self._clock = clock

    def without(self, brand: str, urls: Collection[str], lease: Lease) -> Counts:
        """A new live generation without the URLs; then every other one that holds them is removed."""
        live, built = self._catalog.live(brand), 0
        if live is not None and self._holds(brand, live, urls):
            live, built = self._switch(brand, live, urls, lease), 1
        removed = 0
        for name in sorted(self._names(brand) - {live}):
            complete = name in self._depot.names(brand)
            if not complete or self._holds(brand, name, urls):
                self._remove(brand, name)
                removed += 1
        return {"generations": removed, "folders": self._remove_copies_under_way(brand)} | (
            {"rebuilt": 1} if built else {}
        )

    def drop(self, brand: str) -> Counts:
        """Every generation, and what killed builds have left."""
        names = self._names(brand)
        self._depot.forget(brand)
        folder = brand_path(self._root, brand)
        left = remove_aside(self._root, [brand])
        if folder.is_dir():
            remove_tree(folder)
        return {"generations": len(names), "folders": left}

    def opened(self, brand: str) -> list[Generation]:
        """Those that are kept and can be read."""
        return list(self._open(brand, self._depot.names(brand)))

    def _open(self, brand: str, names: Sequence[str]) -> Iterator[Generation]:
        for name in names:
            try:
                yield Generation.open(self._depot.fetch(brand, name), verify=False)
            except ChecksumMismatch as error:
                log.error("generation_damaged", brand=brand, generation=name, error=str(error))

    def _names(self, brand: str) -> set[str]:
        """Whatever is there, recorded or not, complete or not."""
        recorded = {row.generation for row in self._catalog.generations(brand)}
        return recorded | set(self._depot.names(brand)) | set(stale_names(self._root, brand, frozenset(), inf))

    def _holds(self, brand: str, name: str, urls: Collection[str]) -> bool:
        """Whether a generation holds one of the URLs, or cannot say."""
        try:
            listed = pq.read_table(self._depot.fetch(brand, name) / DOCUMENTS, columns=["url"], partitioning=None)
        except (OSError, pa.ArrowException, ChecksumMismatch):
            return True
        return not set(urls).isdisjoint(listed.column("url").to_pylist())

    def _switch(self, brand: str, live: str, urls: Collection[str], lease: Lease) -> str | None:
        """Makes a generation of what else the live one holds, live; nothing is cut or embedded again."""
        try:
            base = Generation.open(self._depot.fetch(brand, live), verify=True)
        except ChecksumMismatch as error:
            log.error("generation_damaged", brand=brand, generation=live, error=str(error))
            self._sql.withdraw(brand, lease.fence)  # nothing of it can be trusted; the next embedding makes another
            return None
        manifest = copy_without(base, self._root, urls, self._settings.index, self._clock())
        if manifest is None:
            self._sql.withdraw(brand, lease.fence)
            return None
        self._depot.push(brand, manifest.generation)
        lease.check()
        self._catalog.add_generation(brand, manifest.generation, manifest.summary())
        held = self._catalog.held(brand)
        self._catalog.publish(brand, manifest.generation, self._clock(), lease.fence, hold=held)
        return manifest.generation

    def _remove(self, brand: str, name: str) -> None:
        self._depot.remove(brand, name)
        remove_generation(self._root, brand, name)
        self._catalog.drop_generation(brand, name)

    def _remove_copies_under_way(self, brand: str) -> int:
        """Of a node that was killed while it copied."""
        left = [path for path in brand_path(self._root, brand).glob(".*.part") if path.is_dir()]
        for path in left:
            remove_tree(path)
        return len(left)


def copy_without(
    base: Generation, root: Path, urls: Collection[str], settings: IndexSettings, now: float
) -> Manifest | None:
    """A generation under ``root`` of what ``base`` holds beside these URLs; None when that is nothing."""
    documents = [(url, text) for url, text in base.documents().items() if url not in urls]
    if not documents:
        return None
    made = base.manifest
    if tokeniser_version(settings.stemming) != made.tokeniser_version:  # the postings stay as they were made
        settings = settings.model_copy(update={"stemming": not settings.stemming})
    recipe = Recipe(made.model, settings, made.chunker_version, made.model_source)
    sources = Sources(documents, base=base, kept={url for url, _ in documents})
    return write_generation(root, made.brand, recipe, sources, parent=made.generation, now=now)
