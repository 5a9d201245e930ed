"""Differences between what SQL, the page store, the generations and the vector store say, found and repaired.

Generations are checked first, since everything else is judged by what they hold: a live one that is damaged gives way
to an older good one at once, and is then built anew from the stored texts. Needs no Ray; whoever calls says where
embedding runs.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import partial
from itertools import groupby
from pathlib import Path

import numpy as np
import pyarrow as pa

from ray_app.config import Settings
from ray_app.errors import (
    BacklineError,
    ChecksumMismatch,
    LeaseLost,
    StoreError,
    StoreUnavailable,
    VectorStoreDown,
    VectorStoreLocked,
)
from ray_app.index.compare import Difference, differences
from ray_app.index.depot import PART, Depot, open_depot
from ray_app.index.digests import DigestRows, hexes
from ray_app.index.files import digest
from ray_app.index.generation import Generation
from ray_app.index.layout import KEYS, VECTORS, brand_path, stale_names
from ray_app.index.manifest import MANIFEST, read_manifest
from ray_app.index.ports import VectorStore
from ray_app.index.publish import STALE_AGE_S, Publisher
from ray_app.index.staging import SCHEMA, Staging
from ray_app.ingest.indexing import BrandIndexer
from ray_app.observe.log import get_logger
from ray_app.store.catalog import GenerationRow
from ray_app.store.lease import Lease
from ray_app.store.lost import StoredPage, fetch_anew, stored_pages
from ray_app.store.stores import Stores

log = get_logger(__name__)

KEY_ROWS = f"{Path(KEYS).stem}_rows.npy"  # which DigestRows writes beside the keys
SALVAGE_ROWS = 4_096  # vectors of a damaged generation copied at once

# What can be wrong, in words; stable names for programs.
KINDS = {
    "live_generation": "the generation that questions are asked of is damaged or missing",
    "kept_generation": "an older generation is damaged",
    "catalog_row": "SQL names a generation that is nowhere",
    "orphan_generation": "a directory of a generation that SQL does not know, or one without a manifest",
    "leftover": "a file that a killed run left behind",
    "page_part": "stored texts are missing or damaged",
    "orphan_page_part": "stored texts that no URL points to",
    "collection": "vectors of a model that no generation uses",
    "vector_missing": "the vector store lacks vectors",
    "vector_surplus": "the vector store holds vectors of no generation",
    "vector_altered": "vectors in the vector store are not those of the generation",
    "vector_store": "the vector store cannot be asked",
    "rebuild": "the index could not be built anew",
    "salvage": "vectors of a damaged generation could not be kept for the new one",
    "unfinished": "the check was cut short",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One difference and what was done about it."""

    brand: str
    kind: str  # a key of KINDS
    what: str
    repaired: bool = False
    how: str = ""

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


@dataclass(frozen=True, slots=True)
class _Parts:
    """What a check works with."""

    stores: Stores
    depot: Depot
    publisher: Publisher
    indexer: BrandIndexer
    vectors: VectorStore | None


class Verifier:
    """Checks one brand at a time. Every file is read once, every vector of the store compared."""

    def __init__(
        self, settings: Settings, stores: Stores, indexer: BrandIndexer, vectors: VectorStore | None = None
    ) -> None:
        """``indexer`` builds anew what is lost. Without ``vectors`` no vector store is looked at."""
        depot = open_depot(settings)
        publisher = Publisher(stores.catalog, depot, vectors, settings.index)
        self._parts = _Parts(stores, depot, publisher, indexer, vectors)

    def verify(self, brand: str, lease: Lease | None) -> list[Finding]:
        """Look, and repair under ``lease``; without one nothing is changed, and what a run may be making is left out.

        Raises nothing of this: whatever cannot be repaired is a finding that says why, and so is what ends the pass,
        a lost lease or a store that is out of reach.
        """
        found: list[Finding] = []
        try:
            for one in _Check(self._parts, brand, lease).findings():
                log.info("verify_found", **one.as_dict())
                found.append(one)
        except (BacklineError, OSError) as error:
            log.error("verify_unfinished", brand=brand, error=str(error))
            found.append(Finding(brand, "unfinished", "The check was cut short.", False, str(error)))
        return found


class _Check:
    """One pass over one brand."""

    def __init__(self, parts: _Parts, brand: str, lease: Lease | None) -> None:
        self._stores = parts.stores
        self._depot = parts.depot
        self._publisher = parts.publisher
        self._indexer = parts.indexer
        self._vectors = parts.vectors
        self._brand = brand
        self._lease = lease
        self._now = time.time()
        self._good: dict[str, Generation] = {}
        self._bad: dict[str, str] = {}  # why
        self._unread: set[str] = set()  # bad ones that the system refused to read, which may be whole

    def findings(self) -> Iterator[Finding]:
        catalog = self._stores.catalog
        self._seen = self._recorded()
        rows = catalog.generations(self._brand)
        live = catalog.live(self._brand)
        self._open({*(row.generation for row in rows), *([live] if live else [])})
        if live in self._bad:
            yield from self._replace_live(live, rows)
        yield from self._pages()
        yield from self._kept(live)
        yield from self._orphans()
        yield from self._leftovers()
        yield from self._vector_store()

    def _finding(self, kind: str, what: str, how: str, repair: Callable[[], object] | None = None) -> Finding:
        """A finding, repaired by ``repair`` when this pass may."""
        if self._lease is None or repair is None:
            return Finding(self._brand, kind, what)
        self._lease.check()
        try:
            repair()
        except (LeaseLost, StoreUnavailable):
            raise
        except (BacklineError, OSError) as error:
            return Finding(self._brand, kind, what, False, str(error))
        return Finding(self._brand, kind, what, True, how)

    # Generations

    def _open(self, names: set[str]) -> None:
        there = set(self._depot.names(self._brand))
        for name in names:
            if name not in there:
                self._bad[name] = f"Generation {name} is missing."
                continue
            try:
                self._good[name] = self._checked(name)
            except ChecksumMismatch as error:
                self._bad[name] = error.message
                if _refused(error):
                    self._unread.add(name)
            except OSError as error:
                self._bad[name] = f"Generation {name} cannot be read: {error}"
                self._unread.add(name)

    def _checked(self, name: str) -> Generation:
        """Read to its last byte. A node's copy that is damaged is copied again when this pass may repair."""
        try:
            return Generation.open(self._depot.fetch(self._brand, name), verify=True)
        except ChecksumMismatch:
            if not self._depot.shared or self._lease is None:
                raise
            return Generation.open(self._depot.pull(self._brand, name, again=True), verify=True)

    def _replace_live(self, live: str, rows: Sequence[GenerationRow]) -> Iterator[Finding]:
        """The newest good older one takes over at once, or a newer one; then the texts are indexed anew."""
        what = self._bad[live]
        if self._lease is None:
            yield Finding(self._brand, "live_generation", what)
            return
        lease, figures = self._lease, {row.generation: row.figures for row in rows}
        held = self._stores.catalog.held(self._brand)
        stand_in = self._stand_in(live, [row.generation for row in rows])
        how = "No other generation is good."
        if stand_in:
            self._publisher.publish(
                self._brand, stand_in, fence=lease.fence, now=self._now, figures=figures[stand_in], hold=held
            )
            how = f"Generation {stand_in} is live."
        yield from self._salvaged(live)
        trouble = ""
        try:
            report = self._indexer.index(self._brand, lease)
        except LeaseLost:
            raise
        except (BacklineError, OSError) as error:
            trouble = str(error)
        else:
            how = (
                f"Generation {report.generation} is live; {report.embedded} of {report.chunks} vectors were made anew."
            )
            if report.why == "held":
                how = f"Generation {report.generation} is live and held, so nothing was built."
            self._good[report.generation] = self._checked(report.generation)
        yield Finding(self._brand, "live_generation", what, bool(stand_in) or not trouble, how)
        if trouble:
            yield Finding(self._brand, "rebuild", "The index could not be built anew.", False, trouble)

    def _stand_in(self, live: str, newest_first: list[str]) -> str:
        """What a rollback has left behind is good as well, but is the last choice."""
        at = newest_first.index(live) if live in newest_first else -1
        return next((name for name in newest_first[at + 1 :] + newest_first[: max(at, 0)] if name in self._good), "")

    def _salvaged(self, name: str) -> Iterator[Finding]:
        """Best effort: what cannot be kept is made again."""
        try:
            self._salvage(name)
        except (StoreUnavailable, OSError) as error:
            what = f"Vectors of generation {name} could not be kept for the new one, which has them made again: {error}"
            yield Finding(self._brand, "salvage", what)

    def _salvage(self, name: str) -> None:
        """Stage the vectors of a damaged generation when just they are whole, so that nobody makes them again."""
        folder = self._depot.path(self._brand, name)
        try:
            manifest = read_manifest(folder)
            needed = (VECTORS, KEYS, KEY_ROWS)
            if any(digest(folder / file) != manifest.files[file].sha256 for file in needed):
                return
            keys = DigestRows.open(folder / KEYS)
            vectors = np.load(folder / VECTORS, mmap_mode="r", allow_pickle=False)
        except (OSError, ValueError, KeyError, ChecksumMismatch):
            return
        staging = Staging(self._stores.staging_root, self._brand, manifest.model)
        run = staging.new_run()
        for start in range(0, len(keys.rows), SALVAGE_ROWS):
            part = slice(start, start + SALVAGE_ROWS)
            names = hexes(keys.digests.words[:, part])
            rows = vectors[keys.rows[part]].astype("<f2")
            given = {"embedding_key": names, "vector": [row.tobytes() for row in rows]}
            blank = {field.name: pa.nulls(len(names), field.type) for field in SCHEMA}
            table = {**blank, **{column: pa.array(given[column], SCHEMA.field(column).type) for column in given}}
            staging.write(run, pa.table(table, schema=SCHEMA))

    def _kept(self, former_live: str | None) -> Iterator[Finding]:
        """Damaged ones go, from the disk and from SQL, and so do rows without a directory."""
        catalog = self._stores.catalog
        there = set(self._depot.names(self._brand))
        live = catalog.live(self._brand)
        for row in catalog.generations(self._brand):
            name = row.generation
            if name not in self._bad or name == live:
                continue

            def drop(name: str = name) -> None:
                self._depot.remove(self._brand, name)
                catalog.drop_generation(self._brand, name)

            if name in self._unread:
                how = "It was left alone, for the system refused to read it."
                yield Finding(self._brand, "kept_generation", self._bad[name], False, how)
            elif name == former_live:
                if self._lease is None:
                    continue  # a run has switched meanwhile
                told = self._finding("kept_generation", self._bad[name], "It was dropped.", drop)
                if not told.repaired:  # that it is damaged is told already
                    yield told
            elif name in there:
                yield self._finding("kept_generation", self._bad[name], "It was dropped.", drop)
            else:
                yield self._finding("catalog_row", self._bad[name], "The row was dropped.", drop)

    def _orphans(self) -> Iterator[Finding]:
        known = {row.generation for row in self._stores.catalog.generations(self._brand)}
        live = self._stores.catalog.live(self._brand)
        known |= {live} if live else set()
        # Whoever builds holds the lease: under ours nothing is being built.
        before = self._now + 1 if self._lease is not None else self._now - STALE_AGE_S
        names = set(stale_names(self._depot.root, self._brand, known, before))
        if self._depot.shared and self._lease is not None:
            names |= set(self._depot.names(self._brand)) - known
        for name in sorted(names):
            whole = (self._depot.path(self._brand, name) / MANIFEST).is_file()
            what = f"Nobody knows generation {name}." if whole else f"Directory {name} has no manifest."
            yield self._finding(
                "orphan_generation", what, "It was removed.", partial(self._depot.remove, self._brand, name)
            )

    # Files

    def _leftovers(self) -> Iterator[Finding]:
        for path in sorted({*self._stray(), *self._unfinished()}):
            what = f"{path.parent.name}/{path.name} belongs to nothing."
            yield self._finding("leftover", what, "It was removed.", partial(_remove, path))
        pages, live = self._stores.pages, self._stores.ledger.parts(self._brand)
        orphans = pages.orphans(self._brand, live, self._now, STALE_AGE_S)
        if orphans:
            yield self._finding(
                "orphan_page_part",
                f"{len(orphans)} files of stored texts, {orphans[0]} among them, are pointed to by no URL.",
                "They were removed.",
                lambda: pages.collect(self._brand, live, self._now, STALE_AGE_S),
            )

    def _stray(self) -> Iterator[Path]:
        """What lies in a good generation's directory without being in its manifest."""
        for generation in self._good.values():
            if generation.path.is_dir():
                files = (path for path in generation.path.rglob("*") if path.is_file())
                ours = {MANIFEST, *generation.manifest.files}
                yield from (path for path in files if path.relative_to(generation.path).as_posix() not in ours)

    def _unfinished(self) -> Iterator[Path]:
        """Halves of files: staged parts that nobody is writing any more, copies that were cut short."""
        before = self._now if self._lease is not None else self._now - STALE_AGE_S
        staged = (self._stores.staging_root / self._brand).rglob(f"*{PART}")
        yield from (path for path in staged if path.is_file() and path.stat().st_mtime < before)
        copies = brand_path(self._depot.root, self._brand).glob(f".*{PART}")
        yield from (path for path in copies if path.stat().st_mtime < self._now - STALE_AGE_S)

    def _pages(self) -> Iterator[Finding]:
        """Texts that URLs point to and that cannot be read."""
        every = stored_pages(self._stores.db, self._brand)
        for part, group in groupby(every, key=lambda page: page.page.part):
            pages = list(group)
            lost, why, sure = self._lost(pages)
            if not lost:
                continue
            if not sure:
                what = f"{len(lost)} texts in {part} cannot be read, that of {lost[0].url} among them: {why}"
                how = "Nothing was changed: the disk, its permissions or a mount may be at fault. Mend that."
                yield Finding(self._brand, "page_part", what, False, how)
                continue
            waiting = sum(not page.fetchable for page in lost)
            how = f"The next crawl fetches {len(lost) - waiting} of them anew."
            if waiting:
                how += f" {waiting} were handed over and wait for their owner to do so again."
            what = f"{len(lost)} texts in {part} are lost, that of {lost[0].url} among them: {why}"
            yield self._finding("page_part", what, how, partial(self._fetch_anew, lost))

    def _lost(self, pages: list[StoredPage]) -> tuple[list[StoredPage], str, bool]:
        """Those that cannot be read, why, and whether they are lost for good."""
        refs = [page.page for page in pages]
        try:
            documents = self._stores.pages.read(self._brand, refs)
        except StoreError as error:
            return pages, error.message, self._stores.pages.is_lost(self._brand, refs)
        pairs = zip(pages, documents, strict=True)
        lost = [page for page, document in pairs if document.content_hash != page.content_hash]
        return lost, "another text lies there.", True

    def _fetch_anew(self, lost: Sequence[StoredPage]) -> None:
        assert self._lease is not None  # noqa: S101  # _finding has looked
        live = self._stores.catalog.live(self._brand)
        generation = self._good.get(live) if live else None
        held = generation.documents() if generation is not None else {}
        kept = {page.url for page in lost if held.get(page.url) == page.content_hash}
        fetch_anew(self._stores.db, self._brand, self._lease.fence, lost, kept)

    # Vectors

    def _vector_store(self) -> Iterator[Finding]:
        if self._vectors is None:
            return
        catalog = self._stores.catalog
        names = {row.generation for row in catalog.generations(self._brand)}
        generations = [self._good[name] for name in sorted(names & self._good.keys(), reverse=True)]
        if self._lease is not None:
            self._lease.check()
        try:
            found = self._differences(self._vectors, generations)
        except (VectorStoreDown, VectorStoreLocked) as error:
            yield Finding(self._brand, "vector_store", error.message, False, error.hint)
            return
        if self._lease is None and self._recorded() != self._seen:
            log.info("vectors_not_compared", brand=self._brand, why="a run published meanwhile")
            return
        for one in found:
            if self._lease is None and self._bad and one.kind in _BEYOND:
                continue  # it may be what the damaged generation holds
            how = _MENDED[one.kind] if self._lease is not None else ""
            yield Finding(self._brand, one.kind, _told(one), self._lease is not None, how)

    def _recorded(self) -> tuple[str | None, frozenset[str]]:
        """The live generation and all that SQL knows."""
        names = frozenset(row.generation for row in self._stores.catalog.generations(self._brand))
        return self._stores.catalog.live(self._brand), names

    def _differences(self, store: VectorStore, generations: Sequence[Generation]) -> list[Difference]:
        repair = self._lease is not None
        try:
            return list(differences(store, self._brand, generations, repair=repair))
        except VectorStoreDown:
            if not repair:
                raise
            # A collection whose index was damaged is dropped by the call that meets it, and filled by the next.
            return list(differences(store, self._brand, generations, repair=repair))


_BEYOND = ("collection", "vector_surplus")
_MENDED = {
    "collection": "It was dropped.",
    "vector_missing": "They were written again.",
    "vector_surplus": "They were deleted.",
    "vector_altered": "They were written again.",
}


def _told(found: Difference) -> str:
    count = f"{found.count} vector{'s' if found.count != 1 else ''}"
    if found.kind == "collection":
        return f"Collection {found.collection} with {count} belongs to no generation."
    state = {"vector_missing": "missing", "vector_surplus": "of no generation", "vector_altered": "altered"}[found.kind]
    return f"In collection {found.collection} {count} are {state}, {found.example} among them."


def _refused(error: BaseException | None) -> bool:
    """Whether the system would not read what is there: permissions, too many open files, a broken disk."""
    while error is not None:
        if isinstance(error, OSError) and error.errno is not None and not isinstance(error, FileNotFoundError):
            return True
        error = error.__cause__
    return False


def _remove(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink(missing_ok=True)
