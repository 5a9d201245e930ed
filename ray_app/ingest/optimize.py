"""Gives back the space of one brand that nothing needs any more."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import asdict, dataclass
from itertools import groupby
from pathlib import Path

import pyarrow as pa

from ray_app.config import Settings
from ray_app.errors import StoreError, VectorStoreDown, VectorStoreLocked
from ray_app.index.depot import open_depot
from ray_app.index.layout import brand_path
from ray_app.index.ports import VectorStore
from ray_app.index.publish import STALE_AGE_S, Publisher
from ray_app.observe.log import get_logger
from ray_app.store.forgetting import Forgetting
from ray_app.store.lease import Lease
from ray_app.store.lost import StoredPage, stored_pages
from ray_app.store.stores import Stores

log = get_logger(__name__)

# A page part is written anew when so much of it is texts that were replaced or have left: half the reading for nothing.
DEAD_SHARE = 0.5
# So many times the bytes that its vectors need, and a collection is filled anew: HNSW keeps what is deleted.
BLOATED = 2.0


@dataclass(frozen=True, slots=True)
class Optimized:
    """What optimizing one brand did. Sizes are of its generations and stored texts on this machine."""

    brand: str
    generation: str  # live; "" for none
    bytes_before: int
    bytes_after: int
    generations_removed: int = 0
    vectors_upserted: int = 0
    vectors_deleted: int = 0
    collections_refilled: int = 0
    parts_rewritten: int = 0
    parts_removed: int = 0
    problem: str = ""  # what could not be done, and why
    note: str = ""  # what was left as it is on purpose

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def optimize_brand(
    settings: Settings, stores: Stores, brand: str, lease: Lease, vectors: VectorStore | None, *, refill: bool = False
) -> Optimized:
    """Under ``lease``. ``refill``: the vector store holds many deleted vectors, see ``bloated``.

    Raises LeaseLost, StoreUnavailable, OSError.
    """
    now = time.time()
    folders = (brand_path(settings.index_root, brand), settings.data_dir / "pages" / brand)
    before = size_of(*folders)
    rewritten = sum(1 for _ in _rewrite(stores, brand, lease))
    removed = stores.pages.collect(brand, stores.ledger.parts(brand), now, STALE_AGE_S)
    dropped, problem, note = 0, "", ""
    if refill and vectors is not None and _searched(settings, stores, brand):
        note = "Deleted vectors stay in the store, for the brand is searched through it."
    elif refill and vectors is not None:
        dropped, problem = _drop(brand, vectors)
    done = Publisher(stores.catalog, open_depot(settings), vectors, settings.index).tidy(brand, now)
    return Optimized(
        brand,
        generation=done.generation if done else "",
        bytes_before=before,
        bytes_after=size_of(*folders),
        generations_removed=len(done.removed) if done else 0,
        vectors_upserted=done.upserted if done else 0,
        vectors_deleted=done.deleted if done else 0,
        collections_refilled=dropped,
        parts_rewritten=rewritten,
        parts_removed=removed,
        problem="; ".join(filter(None, (problem, done.degraded if done else ""))),
        note=note,
    )


def bloated(folder: Path, vectors: VectorStore, dim: int) -> bool:
    """Whether an embedded Chroma's files are far larger than what it holds needs. Raises VectorStoreDown.

    Chroma has no way to ask how much of an index is deleted; its vectors lie in files of a fixed size for each.
    """
    held = sum(vectors.count(name) for name in vectors.collections())
    return size_of(*folder.rglob("data_level0.bin")) > BLOATED * max(held, _SPARE) * (4 * dim + _LINKS)


_LINKS = 140  # bytes of one vector's neighbours and label, with hnswlib's M of 16
_SPARE = 10_000  # vectors for which nobody begins anew


def _searched(settings: Settings, stores: Stores, brand: str) -> bool:
    """Whether questions are searched through the brand's collections, which then must stay filled."""
    return max((row.chunks for row in stores.catalog.generations(brand)), default=0) > settings.index.exact_max_chunks


def _drop(brand: str, vectors: VectorStore) -> tuple[int, str]:
    """Drop the brand's collections, for they are filled again next."""
    try:
        own = [name for name in vectors.collections() if name.partition(".")[0] == brand]
        for name in own:
            vectors.drop(name)
    except (VectorStoreDown, VectorStoreLocked) as error:
        return 0, error.message
    return len(own), ""


def _rewrite(stores: Stores, brand: str, lease: Lease) -> Iterator[str]:
    """Write parts anew that are mostly dead; the old ones are collected when nobody can be reading them any more."""
    forgetting = Forgetting(stores.db)
    for part, group in groupby(stored_pages(stores.db, brand), key=_part):
        live = {page.page.row for page in group}
        try:
            size = stores.pages.rows(brand, part)
            if len(live) > (1 - DEAD_SHARE) * size:
                continue
            lease.check()
            new, moved = stores.pages.without(brand, part, set(range(size)) - live)
        except (StoreError, OSError, pa.ArrowException) as error:  # verify tells what is lost with it
            log.error("page_part_not_rewritten", brand=brand, part=part, error=str(error))
            continue
        forgetting.move(brand, part, new, moved, lease.fence)
        yield part


def _part(page: StoredPage) -> str:
    return page.page.part


def size_of(*places: Path) -> int:
    """Bytes of these files and of all files in these folders, in which others may be writing and deleting."""
    walked = (Path(at, name) for place in places for at, _, names in os.walk(place) for name in names)
    total = 0
    for path in (*(place for place in places if place.is_file()), *walked):
        with suppress(FileNotFoundError):
            total += path.stat().st_size
    return total
