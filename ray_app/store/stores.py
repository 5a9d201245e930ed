"""Everything kept in SQL and in the page store, opened together."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ray_app.config import Settings
from ray_app.store.catalog import Catalog
from ray_app.store.db import Database
from ray_app.store.ledger import Ledger
from ray_app.store.pages import PageStore
from ray_app.store.rejects import Rejects
from ray_app.store.tasks import ScheduleRuns, Tasks


@dataclass(frozen=True, slots=True)
class Stores:
    """The owners of durable state, one object each."""

    db: Database
    ledger: Ledger
    catalog: Catalog
    tasks: Tasks
    runs: ScheduleRuns
    rejects: Rejects
    pages: PageStore
    index_root: Path
    staging_root: Path

    def close(self) -> None:
        """Let go of the database."""
        self.db.close()


def open_stores(settings: Settings) -> Stores:
    """Open the stores, making them on first use. Raises StoreUnavailable."""
    db = Database(settings.database_url)
    return Stores(
        db=db,
        ledger=Ledger(db),
        catalog=Catalog(db),
        tasks=Tasks(db),
        runs=ScheduleRuns(db),
        rejects=Rejects(db),
        pages=PageStore(settings.data_dir / "pages"),
        index_root=settings.index_root,
        staging_root=settings.data_dir / "staging",
    )


@contextmanager
def stores(settings: Settings) -> Iterator[Stores]:
    """The stores for the length of a block."""
    opened = open_stores(settings)
    try:
        yield opened
    finally:
        opened.close()
