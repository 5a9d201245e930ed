"""Bytes of a PDF to a Document whose sections open at their page.

PDFium is not thread-safe and may crash on hostile files: call this in a process of its own.
"""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Any
from urllib.parse import unquote, urlsplit

import pypdfium2
import pypdfium2.raw as pdfium

from ray_app.errors import ExtractError
from ray_app.ingest.clean import one_line
from ray_app.ingest.extract_html import content_hash
from ray_app.ingest.pdf_lines import Line, body_size, read_lines, without_furniture
from ray_app.ingest.pdf_text import Heading, guess_headings, locate, paragraphs
from ray_app.records import Document, Extracted, Section

MAX_OUTLINE = 10_000  # entries; longer outlines are generated noise
MAX_CHARS = 50_000_000  # of one document; more is a decompression bomb
MAX_TITLE_CHARS = 300
LARGE_TITLE = 1.2  # of the body's font height
_NO_TITLE = re.compile(
    r"microsoft word|untitled|\bslide \d|.*\.(docx?|pdf|indd|tex|dvi|qxd|fm|xlsx?|pptx?|ps)$", re.IGNORECASE
)
_WORD = re.compile(r"[^\W_]")
_LANG = re.compile(r"[a-z]{2,3}(?=$|[-_])")


@dataclass(frozen=True, slots=True)
class PdfLimits:
    """How much of one PDF is read, and for how long."""

    max_pages: int = 3_000
    timeout_s: float = 60.0


@dataclass(frozen=True, slots=True)
class _Read:
    """What was taken out of the file."""

    pages: list[list[Line]]
    outline: dict[int, list[Heading]]  # page index -> headings
    title: str
    lang: str
    detail: str


def extract(
    body: bytes,
    *,
    brand: str,
    url: str,
    fetched_at: float,
    limits: PdfLimits = PdfLimits(),
    clock: Callable[[], float] = time.monotonic,
) -> Extracted:
    """The text of a PDF, one or more sections a page, anchored ``#page=N``.

    Raises ExtractError: pdf_encrypted, pdf_broken, pdf_no_text, pdf_timeout.
    """
    read = _read(body, limits, clock)
    pages = without_furniture(read.pages)
    size = body_size(pages)
    guessed = guess_headings(pages, size) if not read.outline else []
    headings = [read.outline.get(index, []) for index in range(len(pages))] if read.outline else guessed
    sections = tuple(_sections(pages, headings))
    if not any(_WORD.search(section.text) for section in sections):
        raise ExtractError("pdf_no_text")
    title = read.title or _printed_title(pages, size) or _file_name(url)
    document = Document(
        brand=brand,
        url=url,
        title=title,
        lang=read.lang,
        kind="pdf",
        sections=sections,
        content_hash=content_hash(title, sections),
        fetched_at=fetched_at,
    )
    return Extracted("ok", document, detail=read.detail)


def _read(body: bytes, limits: PdfLimits, clock: Callable[[], float]) -> _Read:
    deadline = clock() + limits.timeout_s
    try:
        pdf = pypdfium2.PdfDocument(body)
    except pypdfium2.PdfiumError as error:
        locked = error.err_code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY)
        raise ExtractError("pdf_encrypted" if locked else "pdf_broken") from None
    try:
        total = len(pdf)
        pages, unread = _read_pages(pdf, min(total, limits.max_pages), deadline, clock)
        detail = _detail(total, len(pages), unread)
        return _Read(pages, _outline(pdf), _stated_title(pdf), _language(pdf), detail)
    finally:
        pdf.close()


def _read_pages(pdf: Any, count: int, deadline: float, clock: Callable[[], float]) -> tuple[list[list[Line]], int]:
    """Lines of each page, and how many pages could not be read."""
    pages: list[list[Line]] = []
    unread = chars = 0
    for index in range(count):
        if clock() > deadline:
            raise ExtractError("pdf_timeout")
        try:
            page = pdf[index]
            try:
                pages.append(read_lines(page))
            finally:
                page.close()
        except pypdfium2.PdfiumError:
            pages.append([])
            unread += 1
        chars += sum(len(line.text) for line in pages[-1])
        if chars > MAX_CHARS:
            break
    if unread == len(pages):
        raise ExtractError("pdf_broken")
    return pages, unread


def _detail(total: int, read: int, broken: int) -> str:
    notes = [f"only the first {read} of {total} pages were read"] if read < total else []
    notes += [f"{broken} pages could not be read"] if broken else []
    return "; ".join(notes)


def _outline(pdf: Any) -> dict[int, list[Heading]]:
    """Headings by page index. Entries without a page are left out."""
    found: dict[int, list[Heading]] = {}
    try:
        for bookmark in islice(pdf.get_toc(), MAX_OUTLINE):
            title = one_line(bookmark.get_title())[:MAX_TITLE_CHARS]
            target = bookmark.get_dest()
            page = target.get_index() if target else None
            if title and page is not None and page >= 0:
                found.setdefault(page, []).append(Heading(bookmark.level + 1, title, _height(target)))
    except pypdfium2.PdfiumError:
        return found
    return found


def _height(target: Any) -> float | None:
    """Where on the page the bookmark points, from the lower edge."""
    mode, position = target.get_view()
    if mode == pdfium.PDFDEST_VIEW_XYZ and len(position) > 1:
        return float(position[1]) or None
    if mode in (pdfium.PDFDEST_VIEW_FITH, pdfium.PDFDEST_VIEW_FITBH) and position:
        return float(position[0]) or None
    return None


def _stated_title(pdf: Any) -> str:
    """The title in the file's metadata, unless it is the name of a file."""
    title = one_line(pdf.get_metadata_value("Title"))[:MAX_TITLE_CHARS].strip()
    return "" if _NO_TITLE.match(title) or not _WORD.search(title) else title


def _language(pdf: Any) -> str:
    buffer = (ctypes.c_ushort * 16)()
    length = pdfium.FPDFCatalog_GetLanguage(pdf, buffer, ctypes.sizeof(buffer))
    if not 2 <= length <= ctypes.sizeof(buffer):
        return ""
    tag = bytes(memoryview(buffer).cast("B"))[: length - 2].decode("utf-16-le", "replace")
    match = _LANG.match(tag.strip().lower())
    return match[0] if match else ""


def _sections(pages: Sequence[Sequence[Line]], headings: Sequence[Sequence[Heading]]) -> Iterator[Section]:
    """Sections in reading order; headings hold until the next of their level, over pages too."""
    stack: list[Heading] = []
    for number, (lines, here) in enumerate(zip(pages, headings, strict=True), start=1):
        start = 0
        for heading, (first, last) in zip(here, locate(here, lines), strict=True):
            yield from _section(lines[start:first], stack, number)
            while stack and stack[-1].level >= heading.level:
                stack.pop()
            stack.append(heading)
            start = max(start, last)
        yield from _section(lines[start:], stack, number)


def _section(lines: Sequence[Line], stack: Sequence[Heading], number: int) -> Iterator[Section]:
    if text := paragraphs(lines):
        path = tuple(heading.title for heading in stack) or (f"Page {number}",)
        yield Section(path, f"#page={number}", text)


def _printed_title(pages: Sequence[Sequence[Line]], body: float) -> str:
    """The largest line of the first page, if it is clearly larger than the text."""
    largest = max(pages[0], key=lambda line: line.size, default=None) if pages else None
    if largest is None or largest.size < LARGE_TITLE * body or _NO_TITLE.match(largest.text):
        return ""
    return largest.text[:MAX_TITLE_CHARS]


def _file_name(url: str) -> str:
    parts = urlsplit(url)
    return one_line(unquote(parts.path.rpartition("/")[2])) or parts.netloc
