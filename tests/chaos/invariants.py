"""What must hold of a brand after its crawl, whatever was killed while it ran."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from ray_app.ingest.fingerprint import content_hash
from ray_app.store.stores import Stores

Row = tuple[str, str, str, str, int]  # state, reason, content hash, canonical URL, misses


@dataclass(frozen=True)
class Snapshot:
    """All that a crawl is about: the fate of each URL, and the text of each document."""

    urls: dict[str, Row]
    texts: dict[str, str]  # content hash by URL


def snapshot(stores: Stores, brand: str) -> Snapshot:
    """Read it, and check what must hold of it by itself. Raises AssertionError."""
    rows = list(stores.ledger.urls(brand))
    urls = {row.url: (row.state.value, row.reason, row.content_hash, row.canonical_url, row.misses) for row in rows}
    assert len(urls) == len(rows), "a URL has two rows"
    waiting = [row.url for row in rows if row.cycle_due]
    assert not waiting, f"still waiting after the end: {waiting}"
    documents = stores.ledger.documents(brand)
    repeats = [url for url, count in Counter(one.url for one in documents).items() if count > 1]
    assert not repeats, f"documents stored twice: {repeats}"
    cycle = stores.ledger.last_cycle(brand)
    assert cycle and cycle.finished_at, "the cycle is open"
    texts = {}
    for document, stored in zip(stores.pages.read(brand, [one.page for one in documents]), documents, strict=True):
        assert document.url == stored.url, f"{stored.url} points to the text of {document.url}"
        assert document.content_hash == stored.content_hash == content_hash(document.title, document.sections)
        texts[document.url] = document.content_hash
    missing = stores.ledger.parts(brand) - set(stores.pages.parts(brand))
    assert not missing, f"page parts are missing: {missing}"
    return Snapshot(urls, texts)


def difference(calm: Snapshot, rough: Snapshot) -> list[str]:
    """What an undisturbed crawl has otherwise, one line each."""
    lines = []
    for url in sorted(calm.urls.keys() | rough.urls.keys()):
        if calm.urls.get(url) != rough.urls.get(url):
            lines.append(f"{url}: undisturbed {calm.urls.get(url)}, killed {rough.urls.get(url)}")
    for url in sorted(calm.texts.keys() | rough.texts.keys()):
        if calm.texts.get(url) != rough.texts.get(url):
            lines.append(f"text of {url}: undisturbed {calm.texts.get(url)}, killed {rough.texts.get(url)}")
    return lines
