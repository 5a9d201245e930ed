"""What happens to fetched bodies: extraction, one Parquet part for all new texts, outcomes for the ledger.

Runs in a process of its own, for parsing burns CPU; PDFs are read in yet another one (``extract_pdf``).
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import TypeVar

from ray_app.config import CrawlSettings
from ray_app.errors import ExtractError
from ray_app.ingest import extract_html, extract_pdf, sitemap
from ray_app.ingest.brands import BrandConfig
from ray_app.ingest.enrich import enriched
from ray_app.ingest.fingerprint import fingerprint
from ray_app.ingest.outcome import outcome_of
from ray_app.ingest.page.content import Rules
from ray_app.ingest.ports import EXTRACTOR_VERSION
from ray_app.observe.log import get_logger
from ray_app.records import Document, Extracted, FetchResult, Kind, PageOutcome, PageRef, UrlState
from ray_app.store.pages import PageStore

log = get_logger(__name__)

_T = TypeVar("_T")

SNIFF_BYTES = 1024  # PDF readers look for the header this far
_MARKUP = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|div|p)\b", re.IGNORECASE)
# A page that trips a defect of ours or of a parser costs that page, not the batch it came in.
_DEFECTS = (ValueError, TypeError, LookupError, AttributeError, AssertionError, RecursionError)
# States of a URL whose body gave no text; of those not named here it failed.
_STATES = {
    "empty": UrlState.FETCHED,
    "quarantined": UrlState.FETCHED,
    "noindex": UrlState.SKIPPED,
    "login_wall": UrlState.SKIPPED,
    "cookie_wall": UrlState.SKIPPED,
    "js_shell": UrlState.SKIPPED,
    "soft_404": UrlState.GONE,
}


class PageWorker:
    """Extracts fetched pages and stores their text. Holds no state between calls: a call may be repeated."""

    def __init__(self, pages: PageStore, crawl: CrawlSettings) -> None:
        self._pages = pages
        self._crawl = crawl

    def process(self, brand: BrandConfig, results: Sequence[FetchResult]) -> list[PageOutcome]:
        """One outcome per result, in order; each has a body. New texts are durable when this returns.

        Raises StoreUnavailable when they cannot be written.
        """
        extracted = [_extract(brand, result, self._crawl) for result in results]
        documents = [_new_document(result, found) for result, found in zip(results, extracted, strict=True)]
        refs = self._store(brand.name, documents)
        return [_outcome(*row) for row in zip(results, extracted, refs, strict=True)]

    def _store(self, brand: str, documents: Sequence[Document | None]) -> list[PageRef | None]:
        """One part for all new documents; where each lies in it."""
        new = [document for document in documents if document is not None]
        if not new:
            return [None] * len(documents)
        part = self._pages.write_part(brand, new)
        rows = iter(range(len(new)))
        return [None if document is None else PageRef(part, next(rows)) for document in documents]


def is_pdf(result: FetchResult) -> bool:
    """By what the body is, whatever its name and media type say; by the media type when it is neither."""
    head = result.body[:SNIFF_BYTES]
    if b"%PDF-" in head:
        return True
    return result.media_type == "application/pdf" and not _MARKUP.search(head)


def _extract(brand: BrandConfig, result: FetchResult, crawl: CrawlSettings) -> Extracted | sitemap.Sitemap:
    if result.task.kind is Kind.SITEMAP:
        return _guarded(result.task.url, lambda: sitemap.parse(result.body, result.task.url))
    return read_page(brand, result, crawl)


def read_page(brand: BrandConfig, result: FetchResult, crawl: CrawlSettings) -> Extracted:
    """What a page or PDF says. Never raises for what a body holds."""
    return _guarded(result.task.url, lambda: _read(brand, result, crawl))


def _guarded(url: str, read: Callable[[], _T]) -> _T | Extracted:
    try:
        return read()
    except ExtractError as error:
        return Extracted(error.message, detail=error.hint)
    except _DEFECTS as error:
        log.warning("extraction_failed", url=url, error=type(error).__name__, exc_info=True)
        return Extracted("extract_failed", detail=type(error).__name__)


def _read(brand: BrandConfig, result: FetchResult, crawl: CrawlSettings) -> Extracted:
    task = result.task
    if is_pdf(result):
        return Extracted("noindex") if result.noindex else _read_pdf(brand, result, crawl)
    found = extract_html.extract(
        result.body,
        brand=brand.name,
        url=task.url,
        charset=result.charset,
        fetched_at=result.fetched_at,
        rules=Rules(brand.content, brand.remove, crawl.max_links, brand.lang),
    )
    links = () if result.nofollow else found.links
    return Extracted("noindex", links=links) if result.noindex else replace(found, links=links)


def _read_pdf(brand: BrandConfig, result: FetchResult, crawl: CrawlSettings) -> Extracted:
    """A reader that dies is given one more chance: it may have been killed for want of memory elsewhere."""
    limits = extract_pdf.PdfLimits(crawl.pdf_max_pages, crawl.pdf_timeout_s, crawl.pdf_memory_mb)
    read = partial(extract_pdf.extract, result.body, brand=brand.name, url=result.task.url, limits=limits)
    try:
        found = read(fetched_at=result.fetched_at)
    except ExtractError as error:
        if error.message != "pdf_crashed":
            raise
        found = read(fetched_at=result.fetched_at)
    document = found.document
    if document is not None and not document.lang:
        found = replace(found, document=replace(document, lang=brand.lang))
    return enriched(found)


def _new_document(result: FetchResult, found: Extracted | sitemap.Sitemap) -> Document | None:
    """The text to store: one that differs from what is stored already."""
    document = found.document if isinstance(found, Extracted) else None
    return document if document is not None and document.content_hash != result.task.content_hash else None


def _outcome(result: FetchResult, found: Extracted | sitemap.Sitemap, page: PageRef | None) -> PageOutcome:
    outcome = outcome_of(result)
    if isinstance(found, sitemap.Sitemap):
        return _listed(outcome, found)
    outcome = replace(outcome, reason=found.reason, detail=found.detail or outcome.detail, links=found.links)
    document = found.document
    if document is None:
        return replace(outcome, state=_STATES.get(found.reason, UrlState.FAILED))
    return replace(
        outcome,
        reason="unchanged" if page is None else "ok",
        title=document.title,
        content_hash=document.content_hash,
        page=page,
        canonical="" if found.canonical == result.task.url else found.canonical,
        lang=document.lang,
        fingerprint=fingerprint(document.title, document.sections),
        extractor=EXTRACTOR_VERSION,
    )


def _listed(outcome: PageOutcome, found: sitemap.Sitemap) -> PageOutcome:
    """What a sitemap names; what is none is left alone."""
    if found.truncated and found.kind and not found.says_something:
        return replace(outcome, state=UrlState.FAILED, reason="truncated", detail=_told(found))
    if not found.says_something:
        return replace(outcome, state=UrlState.SKIPPED, reason="media_type", detail=_told(found))
    reason = "truncated" if found.truncated else outcome.reason
    nested = tuple(one.url for one in found.nested)
    return replace(outcome, reason=reason, listed=found.entries, links=nested, detail=_told(found))


def _told(found: sitemap.Sitemap) -> str:
    problems = [f"{reason}: {count}" for reason, count in sorted(found.problems.items())]
    return "; ".join([*problems, *(["a part of it is missing"] if found.truncated else [])])
