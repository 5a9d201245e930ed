"""What became of all that is known of a brand, from discovered URLs to indexed documents, and of one URL of it."""

from __future__ import annotations

from collections import Counter
from dataclasses import asdict, dataclass, field
from typing import Any

import pyarrow as pa

from ray_app.errors import ChecksumMismatch
from ray_app.index.depot import Depot
from ray_app.index.files import digest
from ray_app.index.generation import Generation
from ray_app.index.layout import DOCUMENTS
from ray_app.records import CHUNK_REASONS, UrlState
from ray_app.store.catalog import Catalog
from ray_app.store.rejects import Reject
from ray_app.store.rows import SitemapRow, UrlRow
from ray_app.store.stores import Stores
from ray_app.store.story import sitemap_story, story


@dataclass(frozen=True, slots=True)
class Coverage:
    """Figures of one brand. ``reasons`` counts URLs by state and reason."""

    brand: str
    discovered: int  # URLs known
    waiting: int  # for the crawl that is under way
    fetched: int
    unchanged: int  # of the fetched, those that were confirmed without a new text
    texts: int  # URLs that hold a text
    documents: int  # texts, each counted once
    indexed: int  # documents that the live generation holds as they are
    generation: str | None  # the live one
    chunks: int
    dropped: int  # links that the last crawl did not record, over the cap of known URLs
    sitemaps: int
    crawled_at: float | None  # when the last crawl ended
    reasons: dict[str, dict[str, int]] = field(default_factory=dict)
    rejected: dict[str, int] = field(default_factory=dict)  # chunks that could not be embedded, by reason

    @property
    def share(self) -> float:
        """Of the documents, how many are indexed; 1 when there are none."""
        return self.indexed / self.documents if self.documents else 1.0


CONFIRMED = ("not_modified", "unchanged", "lastmod")


def coverage(stores: Stores, depot: Depot, brand: str) -> Coverage:
    """The figures as they are now."""
    ledger = stores.ledger
    counts = ledger.counts(brand)
    reasons: dict[str, dict[str, int]] = {}
    states: Counter[UrlState] = Counter()
    for (state, reason), count in sorted(counts.items()):
        reasons.setdefault(state.value, {})[reason] = count
        states[state] += count
    documents = {document.url: document.content_hash for document in ledger.documents(brand)}
    live, held = live_documents(stores.catalog, depot, brand)
    cycle = ledger.last_cycle(brand)
    return Coverage(
        brand=brand,
        discovered=states.total(),
        waiting=ledger.waiting(brand, cycle.number) if cycle and cycle.finished_at is None else 0,
        fetched=states[UrlState.FETCHED],
        unchanged=sum(counts.get((UrlState.FETCHED, reason), 0) for reason in CONFIRMED),
        texts=ledger.texts(brand),
        documents=len(documents),
        indexed=sum(held.get(url) == text for url, text in documents.items()),
        generation=live.name if live else None,
        chunks=len(live) if live else 0,
        dropped=cycle.dropped if cycle else 0,
        sitemaps=len(ledger.sitemaps(brand)),
        crawled_at=cycle.finished_at if cycle else None,
        reasons=reasons,
        rejected=stores.rejects.counts(brand),
    )


@dataclass(frozen=True, slots=True)
class Explained:
    """The story of one URL in one brand. ``fields`` is its whole row."""

    url: str
    brand: str
    state: str
    reason: str
    story: list[str]
    fields: dict[str, Any]


def explain(stores: Stores, depot: Depot, url: str, brand: str = "") -> list[Explained]:
    """What happened to a normalised URL, be it a page, a sitemap or a robots.txt, in ``brand`` or every brand."""
    ledger = stores.ledger
    told: list[tuple[UrlRow | SitemapRow, list[str]]] = []
    for row in ledger.find(url, brand):
        live, held = live_documents(stores.catalog, depot, row.brand)
        indexed = held.get(url) == row.content_hash if live else None
        lines = story(row, ledger.aliases_of(row.brand, url), indexed)
        told.append((row, lines + _left_out(stores.rejects.of_url(row.brand, url))))
    told += [(row, sitemap_story(row)) for row in ledger.find_sitemap(url, brand)]
    return [Explained(url, row.brand, row.state, row.reason, lines, asdict(row)) for row, lines in told]


def _left_out(rejects: list[Reject]) -> list[str]:
    counts = Counter(reject.reason for reject in rejects)
    return [
        f"{count} passage{'s' if count > 1 else ''} of it left out of the index: {CHUNK_REASONS[reason]} ({reason})."
        for reason, count in sorted(counts.items())
    ]


def live_documents(catalog: Catalog, depot: Depot, brand: str) -> tuple[Generation | None, dict[str, str]]:
    """The live generation and the content hash of each of its documents by URL.

    None when nothing is published, or it cannot be read. Of its files only that of the documents is read whole.
    """
    name = catalog.live(brand)
    if name is None:
        return None, {}
    try:
        live = Generation.open(depot.fetch(brand, name), verify=False)
        if digest(live.path / DOCUMENTS) != live.manifest.files[DOCUMENTS].sha256:
            return None, {}
        return live, live.documents()
    except (ChecksumMismatch, OSError, pa.ArrowException):  # altered, or collected meanwhile
        return None, {}
