"""The live generation of each brand, open, for the answer lane."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from pathlib import Path

from ray_app.errors import ChecksumMismatch, NoGeneration, StoreUnavailable
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_names, generation_path
from ray_app.observe.log import get_logger
from ray_app.store.catalog import Catalog

log = get_logger(__name__)

MAX_AGE_S = 1.0  # how late a reader may notice a switch; one small query a second and process at most


class IndexReader:
    """Follows the generation pointers. Safe in threads; a generation once given stays usable."""

    def __init__(
        self,
        catalog: Catalog,
        root: Path,
        max_age_s: float = MAX_AGE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """``clock`` gives seconds; it only measures how old the last look at the pointers is."""
        self._catalog = catalog
        self._root = root
        self._max_age_s = max_age_s
        self._clock = clock
        self._lock = threading.Lock()
        self._pointers: dict[str, str] = {}
        self._looked_at: float | None = None
        self._open: dict[str, Generation] = {}
        self.damaged: dict[str, str] = {}  # why a brand is served from another generation than the live one

    def get(self, brand: str) -> Generation:
        """The live generation of ``brand``.

        When its files are damaged, the one served before or the newest good one stands in, and ``damaged`` says
        why. Raises UnknownBrand, NoGeneration, ChecksumMismatch when no good one is left, and StoreUnavailable
        only before the first look at the pointers.
        """
        with self._lock:
            self._look()
            name = self._pointers.get(brand)
            if name is None:
                self._catalog.brand(brand)
                raise NoGeneration(f"Nothing is published for {brand!r} yet.", hint=f"backline ingest --brand {brand}")
            held = self._open.get(brand)
            if held is None or (held.name != name and self.damaged.get(brand, "").split(":")[0] != name):
                held = self._open[brand] = self._load(brand, name, held)
            return held

    def brands(self) -> list[str]:
        """Brands with a live generation, in order."""
        with self._lock:
            self._look()
            return sorted(self._pointers)

    def _look(self) -> None:
        now = self._clock()
        if self._looked_at is not None and now - self._looked_at < self._max_age_s:
            return
        try:
            self._pointers = self._catalog.pointers()
        except StoreUnavailable as error:
            if self._looked_at is None:
                raise
            log.warning("pointers_not_read", error=str(error))  # what was live a moment ago still answers
        self._looked_at = now
        self._open = {brand: held for brand, held in self._open.items() if brand in self._pointers}

    def _load(self, brand: str, name: str, held: Generation | None) -> Generation:
        try:
            opened = Generation.open(generation_path(self._root, brand, name), verify=True)
        except ChecksumMismatch as error:
            newer = self._catalog.live(brand)
            if newer not in (None, name):  # it was replaced and collected while we looked
                self._pointers[brand] = str(newer)
                return self._load(brand, str(newer), held)
            self.damaged[brand] = f"{name}: {error}"
            log.error("generation_damaged", brand=brand, generation=name, error=str(error))
            return held or self._stand_in(brand, name, error)
        self.damaged.pop(brand, None)
        log.info("generation_opened", brand=brand, generation=name, chunks=len(opened))
        return opened

    def _stand_in(self, brand: str, damaged: str, error: ChecksumMismatch) -> Generation:
        for name in reversed(generation_names(self._root, brand)):
            if name != damaged:
                try:
                    return Generation.open(generation_path(self._root, brand, name), verify=True)
                except ChecksumMismatch as other:
                    log.error("generation_damaged", brand=brand, generation=name, error=str(other))
        raise error
