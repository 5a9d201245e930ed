"""What happens to fetched bodies: extraction, one Parquet part for all new texts, outcomes for the ledger.

Runs in a process of its own: parsing burns CPU, and a hostile PDF may end the process.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from pypdfium2 import PdfiumError

from ray_app.config import CrawlSettings
from ray_app.errors import ExtractError
from ray_app.ingest import extract_html, extract_pdf
from ray_app.ingest.brands import BrandConfig
from ray_app.ingest.extract_pdf import PdfLimits
from ray_app.observe.log import get_logger
from ray_app.records import Document, Extracted, FetchResult, PageOutcome, PageRef, UrlState
from ray_app.store.pages import PageStore

log = get_logger(__name__)

SNIFF_BYTES = 1024  # PDF readers look for the header this far
_MARKUP = re.compile(rb"<(?:!doctype\s+html|html|head|body|title|meta|div|p)\b", re.IGNORECASE)
# A page that trips a defect of ours or of a parser costs that page, not the batch it came in.
_DEFECTS = (PdfiumError, ValueError, TypeError, LookupError, AttributeError, AssertionError, RecursionError)


class PageWorker:
    """Extracts fetched pages and stores their text. Holds no state between calls: a call may be repeated."""

    def __init__(self, pages: PageStore, crawl: CrawlSettings) -> None:
        self._pages = pages
        self._crawl = crawl

    def process(self, brand: BrandConfig, results: Sequence[FetchResult]) -> list[PageOutcome]:
        """One outcome per result, in order. New texts are durable when this returns.

        Raises StoreUnavailable when they cannot be written.
        """
        return process(brand, results, self._pages, self._crawl)


def process(
    brand: BrandConfig, results: Sequence[FetchResult], pages: PageStore, crawl: CrawlSettings
) -> list[PageOutcome]:
    """See ``PageWorker.process``."""
    extracted = [_extract(brand, result, crawl) for result in results]
    documents = [_new_document(result, found) for result, found in zip(results, extracted, strict=True)]
    refs = _store(brand.name, documents, pages)
    return [_outcome(*row) for row in zip(results, extracted, refs, strict=True)]


def is_pdf(result: FetchResult) -> bool:
    """By what the body is, whatever its name and media type say; by the media type when it is neither."""
    head = result.body[:SNIFF_BYTES]
    if b"%PDF-" in head:
        return True
    return result.media_type == "application/pdf" and not _MARKUP.search(head)


def _extract(brand: BrandConfig, result: FetchResult, crawl: CrawlSettings) -> Extracted | None:
    """None when there is nothing to extract. Never raises for what a page holds."""
    if result.state is not UrlState.FETCHED or not result.body:
        return Extracted("empty") if result.state is UrlState.FETCHED and result.reason == "ok" else None
    try:
        found = _read(brand, result, crawl)
    except ExtractError as error:
        return Extracted(error.message)
    except _DEFECTS as error:
        log.warning("extraction_failed", url=result.task.url, error=type(error).__name__, exc_info=True)
        return Extracted("extract_failed", detail=type(error).__name__)
    links = () if result.nofollow else found.links
    if result.noindex:
        return Extracted("noindex", links=links)
    return replace(found, links=links)


def _read(brand: BrandConfig, result: FetchResult, crawl: CrawlSettings) -> Extracted:
    task = result.task
    if is_pdf(result):
        if result.noindex:
            return Extracted("noindex")
        limits = PdfLimits(crawl.pdf_max_pages, crawl.pdf_timeout_s)
        found = extract_pdf.extract(
            result.body, brand=brand.name, url=task.url, fetched_at=result.fetched_at, limits=limits
        )
    else:
        found = extract_html.extract(
            result.body,
            brand=brand.name,
            url=task.url,
            charset=result.charset,
            fetched_at=result.fetched_at,
            max_links=crawl.max_links,
        )
    document = found.document
    if document is not None and not document.lang and brand.lang:
        found = replace(found, document=replace(document, lang=brand.lang))
    return found


def _new_document(result: FetchResult, found: Extracted | None) -> Document | None:
    """The text to store: one that differs from what is stored already."""
    if found is None or found.document is None or found.document.content_hash == result.task.content_hash:
        return None
    return found.document


def _store(brand: str, documents: Sequence[Document | None], pages: PageStore) -> list[PageRef | None]:
    """One part for all new documents; where each lies in it."""
    new = [document for document in documents if document is not None]
    if not new:
        return [None] * len(documents)
    part = pages.write_part(brand, new)
    rows = iter(range(len(new)))
    return [None if document is None else PageRef(part, next(rows)) for document in documents]


def _outcome(result: FetchResult, found: Extracted | None, page: PageRef | None) -> PageOutcome:
    outcome = PageOutcome(
        task=result.task,
        state=result.state,
        reason=result.reason,
        status=result.status,
        etag=result.etag,
        last_modified=result.last_modified,
        location=result.location,
        retry_at=result.retry_at,
        fetched_at=result.fetched_at,
        seconds=result.seconds,
        bytes_received=result.bytes_received,
        detail=result.detail,
        media_type=result.media_type,
    )
    if found is None:
        return outcome
    document = found.document
    if document is None:
        return replace(outcome, state=_state(found.reason), reason=found.reason, detail=found.detail, links=found.links)
    return replace(
        outcome,
        reason="unchanged" if page is None else "ok",
        detail=found.detail,
        title=document.title,
        content_hash=document.content_hash,
        page=page,
        links=found.links,
    )


def _state(reason: str) -> UrlState:
    """Of a URL whose body gave no text."""
    if reason == "noindex":
        return UrlState.SKIPPED
    return UrlState.FETCHED if reason == "empty" else UrlState.FAILED
