"""Back to an earlier generation of a brand, at once and without building anything."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass

from ray_app.config import Settings
from ray_app.errors import ChecksumMismatch, NoGeneration
from ray_app.index.depot import open_depot
from ray_app.index.ports import VectorStore
from ray_app.index.publish import Publisher
from ray_app.store.lease import Lease
from ray_app.store.stores import Stores


@dataclass(frozen=True, slots=True)
class RolledBack:
    """What a rollback did."""

    brand: str
    generation: str  # live now
    former: str  # live before
    held: bool  # nothing is published until that is lifted
    documents: int
    chunks: int
    degraded: str = ""  # why the vector store is not in line

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


def roll_back(
    settings: Settings,
    stores: Stores,
    lease: Lease,
    brand: str,
    *,
    to: str = "",
    hold: bool = False,
    vectors: VectorStore | None = None,
) -> RolledBack:
    """Make ``to``, or the newest generation older than the live one, the live one under ``lease``.

    Its checksums are compared first. A hold that is in force stays, with or without ``hold``.

    Raises NoGeneration, ChecksumMismatch, LeaseLost.
    """
    live = stores.catalog.live(brand)
    if live is None:
        raise NoGeneration(f"Nothing of {brand} is published yet.")
    rows = {row.generation: row for row in stores.catalog.generations(brand)}  # newest first
    earlier = list(rows)[list(rows).index(live) + 1 :] if live in rows else list(rows)
    name = to or next(iter(earlier), "")
    if not name:
        raise NoGeneration(f"No generation of {brand} older than {live} is kept.")
    if name not in rows:
        raise NoGeneration(f"{brand} has no generation {name!r}.", hint=f"backline index list --brand {brand}")
    hold = hold or stores.catalog.held(brand)
    publisher = Publisher(stores.catalog, open_depot(settings), vectors, settings.index)
    try:
        done = publisher.publish(brand, name, fence=lease.fence, now=time.time(), hold=hold)
    except ChecksumMismatch as error:
        hint = f"{live} stays live. Drop what is damaged with `backline index verify --brand {brand}`."
        raise ChecksumMismatch(f"{name} cannot be gone back to: {error.message}", hint=hint) from error
    row = rows[name]
    return RolledBack(brand, name, live, hold, row.documents, row.chunks, done.degraded)
