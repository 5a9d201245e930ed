"""The live generation of each brand, open, for the answer lane.

Questions take what is open and wait for nothing. A watcher beside them looks at the pointers, and opens, checks and
warms a new generation, with the model that made its vectors, before it is put in the old one's place.
"""

from __future__ import annotations

import copy
import threading
import time
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

from ray_app.errors import BacklineError, ChecksumMismatch, IndexingError, ModelMismatch, NoGeneration, StoreError
from ray_app.index.depot import Depot, check_folder
from ray_app.index.embedders import Embedders
from ray_app.index.generation import Generation
from ray_app.index.manifest import read_manifest
from ray_app.observe.log import get_logger
from ray_app.store.catalog import Catalog

log = get_logger(__name__)

LOOK_EVERY_S = 0.5  # a switch is to be seen within two seconds; one small query each time and process
RETRY_S = 20.0  # what may come back by itself, a store or a model, is tried again so often
RECHECK_S = 600.0  # and damaged files whose sizes and times stay as they are; each try reads all of them
OPENERS = 2  # brands opened at once: one that is copied for minutes does not hold the others up

Opener = Callable[[Path], Generation]


def open_checked(path: Path) -> Generation:
    """Open a generation with every checksum compared, ready to be asked. Raises ChecksumMismatch."""
    check_folder(path)
    generation = Generation.open(path, verify=False)
    generation.warm()
    return generation


@dataclass(frozen=True, slots=True)
class _Failure:
    """Why the live generation of a brand is not served, or not whole, and when it is worth another try."""

    name: str
    error: BacklineError
    files: tuple[tuple[str, int, int], ...]  # as they were: path, size, time of change
    retry_at: float  # seconds of the clock


class IndexReader:
    """Follows the generation pointers. Safe in threads; a generation once given stays usable."""

    def __init__(
        self,
        catalog: Catalog,
        depot: Depot,
        embedders: Embedders | None = None,
        *,
        opener: Opener = open_checked,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """With ``embedders`` a generation is served once its model is loaded. ``clock`` gives seconds, for retries."""
        self._catalog = catalog
        self._depot = depot
        self._embedders = embedders
        self._opener = opener
        self._clock = clock
        self._held: Mapping[str, Generation] = {}  # replaced whole, so that questions need no lock
        self._pointers: Mapping[str, str] | None = None  # as of the last look
        self._aligned: Mapping[str, str] = {}  # likewise: what the vector store holds whole
        self._failures: dict[str, _Failure] = {}
        self._changing = threading.Lock()
        self._opening: dict[str, threading.Lock] = {}  # by brand
        self._sql_down = False
        self._watcher: _Watcher | None = None
        self.on_gone: Callable[[str], None] = lambda brand: None  # told of a brand that is no longer published

    def get(self, brand: str) -> Generation:
        """The live generation of ``brand``, or the one before it while the live one is opened or when it is damaged.

        Opens it only when nothing is held of the brand. Raises UnknownBrand, NoGeneration, ChecksumMismatch when no
        good one is left, and StoreUnavailable; none of them while one is held.
        """
        return self._held.get(brand) or self._first(brand)

    def brands(self) -> list[str]:
        """Brands with a live generation, in order. Raises StoreUnavailable before the first look at the pointers."""
        if self._pointers is None:
            self._pointers = self._catalog.pointers()
        return sorted(self._pointers)

    def in_store(self, brand: str, generation: str) -> bool:
        """Whether the vector store is known to hold a generation whole. As of the last look."""
        return self._aligned.get(brand) == generation

    @property
    def damaged(self) -> dict[str, str]:
        """Why a brand is not served from its live generation, or not by its vectors."""
        return {brand: f"{failure.name}: {failure.error}" for brand, failure in sorted(dict(self._failures).items())}

    def refresh(self) -> None:
        """Look at the pointers and follow every one. Raises nothing that a later call may not mend."""
        for brand in self.look():
            self.follow(brand)
        self.tidy()

    def look(self) -> list[str]:
        """Read the pointers and let go of brands that have none any more; returns the brands to ``follow``."""
        try:
            pointers, self._aligned = self._catalog.pointers(), self._catalog.aligned()
        except StoreError as error:
            if not self._sql_down:
                log.warning("pointers_not_read", error=str(error))  # what was live a moment ago still answers
            self._sql_down = True
            return []
        self._sql_down = False
        self._pointers = pointers
        for brand in [brand for brand in {*self._held, *self._failures} if brand not in pointers]:
            self._let_go(brand)
        for brand in [brand for brand, failure in list(self._failures.items()) if failure.name != pointers.get(brand)]:
            self._failures.pop(brand, None)  # the pointer went on, or back to what is held
        return [brand for brand in sorted(pointers) if self._is_due(brand, pointers[brand])]

    def follow(self, brand: str) -> None:
        """Open the live generation of ``brand`` beside the one that is held, then serve it."""
        name = (self._pointers or {}).get(brand)
        if name is None:
            return
        with self._alone(brand):
            if not self._is_due(brand, name):  # a question opened it meanwhile
                return
            try:
                self._serve(brand, name)
            except BacklineError as error:
                self._failed(brand, name, error)
            except (OSError, MemoryError) as error:
                self._failed(brand, name, IndexingError(f"It cannot be opened: {type(error).__name__}: {error}"))

    def tidy(self) -> None:
        """Let go of models and of local copies that no open generation needs."""
        held = self._held
        if self._embedders is not None and held:
            self._embedders.keep({generation.manifest.model for generation in held.values()})
        for brand, generation in held.items():
            self._depot.trim(brand, generation.name)

    def start(self) -> None:
        """Refresh from now on by threads of its own, until ``close``."""
        if self._watcher is None:
            self._watcher = _Watcher(self)
            self._watcher.start()

    def close(self) -> None:
        """Stop refreshing. What was given stays usable; may be called twice."""
        if self._watcher is not None:
            self._watcher.stop()
            self._watcher = None

    def _is_due(self, brand: str, name: str) -> bool:
        """Whether there is something to do for a brand whose live generation is ``name``."""
        failure = self._failures.get(brand)
        if failure is not None and failure.name == name:
            return self._clock() >= failure.retry_at or failure.files != _files(self._depot.path(brand, name))
        held = self._held.get(brand)
        return held is None or held.name != name or not self._has_model(held)

    def _has_model(self, generation: Generation) -> bool:
        return self._embedders is None or self._embedders.held(generation.manifest.model) is not None

    def _first(self, brand: str) -> Generation:
        """Of a brand of which nothing is held: the question waits for it, once."""
        name = self._catalog.live(brand)
        if name is None:
            self._catalog.brand(brand)
            raise NoGeneration(f"Nothing is published for {brand!r} yet.", hint=f"backline ingest --brand {brand}")
        with self._alone(brand):
            if brand not in self._held:
                if not self._is_due(brand, name):
                    raise copy.copy(self._failures[brand].error)
                try:
                    self._serve(brand, name)
                except (ChecksumMismatch, StoreError) as error:
                    self._failed(brand, name, error)
                    self._hold(brand, self._stand_in(brand, name, error))
            return self._held[brand]

    def _serve(self, brand: str, name: str) -> None:
        """Put generation ``name`` in the place of what is held, once it is open and its model is there.

        Without its model it is served only where nothing is held: its keywords answer. Raises ChecksumMismatch,
        ModelMismatch, StoreError; then all is as it was.
        """
        held = self._held.get(brand)
        generation = held if held is not None and held.name == name else None
        missing = self._model_missing(brand, name, generation)
        if missing is not None and held is not None:
            raise missing
        if generation is None:
            generation = self._opened(brand, name)
            self._hold(brand, generation)
            log.info("generation_opened", brand=brand, generation=generation.name, chunks=len(generation))
        if missing is not None:
            self._failed(brand, generation.name, missing)
        else:
            self._failures.pop(brand, None)

    def _model_missing(self, brand: str, name: str, generation: Generation | None) -> ModelMismatch | None:
        """Load the model of a generation, before its own files are read; why not, when that fails."""
        if self._embedders is None:
            return None
        try:
            manifest = generation.manifest if generation else read_manifest(self._depot.fetch(brand, name))
            self._embedders.get(manifest)
        except ModelMismatch as error:
            return error
        except ChecksumMismatch:  # opening it says more
            return None
        return None

    def _opened(self, brand: str, name: str) -> Generation:
        """Open ``name``, or what is live by now when that was replaced and collected while we looked."""
        try:
            return self._opener(self._depot.fetch(brand, name))
        except ChecksumMismatch as error:
            newer = self._catalog.live(brand)
            if newer is not None and newer != name:
                return self._opener(self._depot.fetch(brand, newer))
            if not self._depot.shared:
                raise
            log.error("generation_damaged", brand=brand, generation=name, error=str(error))
            return self._opener(self._depot.pull(brand, name, again=True))  # the store's copy may be whole

    def _alone(self, brand: str) -> threading.Lock:
        """One opens a generation of the brand at a time."""
        with self._changing:
            return self._opening.setdefault(brand, threading.Lock())

    def _hold(self, brand: str, generation: Generation) -> None:
        with self._changing:
            self._held = {**self._held, brand: generation}

    def _let_go(self, brand: str) -> None:
        with self._changing:
            self._held = {name: generation for name, generation in self._held.items() if name != brand}
        self._failures.pop(brand, None)
        log.info("brand_gone", brand=brand)
        self.on_gone(brand)
        self._depot.drop_copies(brand)

    def _failed(self, brand: str, name: str, error: BacklineError) -> None:
        retry_at = self._clock() + (RECHECK_S if isinstance(error, ChecksumMismatch) else RETRY_S)
        files = _files(self._depot.path(brand, name))
        self._failures[brand] = _Failure(name, copy.copy(error), files, retry_at)  # a copy holds no stack
        log.error("generation_damaged", brand=brand, generation=name, error=str(error))

    def _stand_in(self, brand: str, damaged: str, error: BacklineError) -> Generation:
        """The next older good one that was published, else the next newer. Raises ``error`` when there is none."""
        there = set(self._depot.names(brand))
        names = [row.generation for row in self._catalog.generations(brand) if row.generation in there]
        older, newer = [n for n in names if n < damaged], [n for n in names if n > damaged]
        for name in (*older, *reversed(newer)):
            if name != damaged:
                try:
                    generation = self._opener(self._depot.fetch(brand, name))
                    if self._embedders is not None:
                        self._embedders.get(generation.manifest)
                    return generation
                except (ChecksumMismatch, ModelMismatch, StoreError) as other:
                    log.error("generation_damaged", brand=brand, generation=name, error=str(other))
        raise error


def _files(path: Path) -> tuple[tuple[str, int, int], ...]:
    """What tells that somebody repaired them, without reading them."""
    found = []
    for file in sorted(path.rglob("*")):
        try:
            stat = file.stat()
        except OSError:  # collected at this moment
            continue
        found.append((str(file), stat.st_size, stat.st_mtime_ns))
    return tuple(found)


class _Watcher:
    """The threads that keep a reader fresh: one looks, some open."""

    def __init__(self, reader: IndexReader) -> None:
        self._reader = reader
        self._stopping = threading.Event()
        self._openers = ThreadPoolExecutor(OPENERS, thread_name_prefix="index-open")
        self._thread = threading.Thread(target=self._run, name="index-watch", daemon=True)
        self._under_way: dict[str, Future[None]] = {}

    def start(self) -> None:
        self._thread.start()

    def stop(self) -> None:
        self._stopping.set()
        self._thread.join()
        self._openers.shutdown(wait=True, cancel_futures=True)

    def _run(self) -> None:
        while not self._stopping.wait(LOOK_EVERY_S):
            try:
                for brand in self._reader.look():
                    if brand not in self._under_way:
                        self._under_way[brand] = self._openers.submit(self._reader.follow, brand)
                self._collect()
            except (BacklineError, OSError) as error:  # the next look may go well
                log.error("index_watch_failed", error=str(error))

    def _collect(self) -> None:
        ended = [brand for brand, work in self._under_way.items() if work.done()]
        for brand in ended:
            if (error := self._under_way.pop(brand).exception()) is not None:
                log.error("generation_not_opened", brand=brand, error=f"{type(error).__name__}: {error}")
        if ended and not self._under_way:
            self._reader.tidy()
