"""Bytes of a PDF to its text. PDFium is not thread-safe and may crash on hostile files: see ``extract_pdf``."""

from __future__ import annotations

import ctypes
import re
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, islice
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from ray_app.errors import ExtractError
from ray_app.ingest.clean import one_line
from ray_app.ingest.pdf.columns import in_reading_order
from ray_app.ingest.pdf.forms import filled_fields
from ray_app.ingest.pdf.furniture import without_furniture
from ray_app.ingest.pdf.headings import Heading, guess, locate, merged
from ray_app.ingest.pdf.lines import Line, Page, Rule, body_size, read_page, without_typewriter
from ray_app.ingest.pdf.records import PdfLimits, PdfText
from ray_app.ingest.pdf.tables import Table
from ray_app.ingest.pdf.text import Item, markdown, with_all_tables, with_tables
from ray_app.records import Section

MAX_OUTLINE = 10_000  # entries; longer outlines are generated noise
MAX_CHARS = 20_000_000  # of one document; more is a decompression bomb
MAX_TITLE_CHARS = 300
LARGE_TITLE = 1.2  # of the body's font height
SAME_TITLE = 0.97  # of the largest font's height, for further lines of the title
MAX_TITLE_LINES = 3
READING_SHARE = 0.6  # of the time; the rest is for putting in order what was read
SPARSE_OUTLINE = 8  # pages for each entry; what a sparser outline leaves out is guessed
_NO_TITLE = re.compile(
    r"microsoft word|untitled|\bslide \d|.*\.(docx?|pdf|indd|tex|dvi|qxd|fm|xlsx?|pptx?|ps|eps)$", re.IGNORECASE
)
_LETTERS = re.compile(r"[^\W\d_]{2}")
_WORD = re.compile(r"[^\W_]")
_LANG = re.compile(r"[a-z]{2,3}(?=$|[-_])")


@dataclass(frozen=True, slots=True)
class _File:
    """What was taken out of the file."""

    pages: list[Page]
    fields: list[str]  # filled-in form fields of each page
    outline: dict[int, list[Heading]]  # page index -> headings
    title: str
    lang: str
    detail: str


@dataclass(frozen=True, slots=True)
class _Sheet:
    """A page as it is read: in order, without furniture, drawn tables in place."""

    items: list[Item]
    rules: list[Rule]
    fields: str


def read(body: Any, limits: PdfLimits, clock: Callable[[], float] = time.monotonic) -> PdfText:
    """The text of a PDF given as bytes or as a ctypes array. When the time is up it ends with what it has, and says so.

    Raises ExtractError: pdf_encrypted, pdf_broken, pdf_no_text, pdf_timeout.
    """
    file = _open(body, limits, clock)
    pages = without_typewriter(file.pages)
    bare = without_furniture([page.lines for page in pages])
    size = body_size(bare)
    sheets = [_sheet(page, lines, fields) for page, lines, fields in zip(pages, bare, file.fields, strict=True)]
    title = file.title or _printed_title(bare, size)
    sections = tuple(_sections(sheets, _headings(file.outline, sheets, size, title)))
    if not any(_WORD.search(section.text) for section in sections):
        raise ExtractError("pdf_no_text")
    return PdfText(title, file.lang, sections, file.detail)


def _open(body: Any, limits: PdfLimits, clock: Callable[[], float]) -> _File:
    deadline = clock() + READING_SHARE * limits.timeout_s
    try:
        pdf = pypdfium2.PdfDocument(body)
    except pypdfium2.PdfiumError as error:
        locked = error.err_code in (pdfium.FPDF_ERR_PASSWORD, pdfium.FPDF_ERR_SECURITY)
        raise ExtractError("pdf_encrypted" if locked else "pdf_broken") from None
    try:
        return _read_file(pdf, limits.max_pages, lambda: clock() > deadline)
    finally:
        pdf.close()


def _read_file(pdf: Any, max_pages: int, is_late: Callable[[], bool]) -> _File:
    total = len(pdf)
    pages: list[Page] = []
    fields: list[str] = []
    unread = chars = 0
    for index in range(min(total, max_pages)):
        if is_late() or chars > MAX_CHARS:
            break
        try:
            page, filled = _read_page(pdf, index)
        except pypdfium2.PdfiumError:
            page, filled = Page([], []), ""
            unread += 1
        pages.append(page)
        fields.append(filled)
        chars += sum(len(line.text) for line in page.lines)
    if not pages:
        raise ExtractError("pdf_timeout" if total else "pdf_broken")
    if unread == len(pages):
        raise ExtractError("pdf_broken")
    detail = _detail(total, len(pages), unread, late=len(pages) < min(total, max_pages) and chars <= MAX_CHARS)
    return _File(pages, fields, _outline(pdf, pages), _stated_title(pdf), _language(pdf), detail)


def _read_page(pdf: Any, index: int) -> tuple[Page, str]:
    page = pdf[index]
    try:
        return read_page(page), filled_fields(page)
    finally:
        page.close()


def _detail(total: int, read: int, broken: int, *, late: bool) -> str:
    why = ": the time was up" if late else ""
    notes = [f"only the first {read} of {total} pages were read{why}"] if read < total else []
    notes += [f"{broken} pages could not be read"] if broken else []
    return "; ".join(notes)


def _outline(pdf: Any, pages: Sequence[Page]) -> dict[int, list[Heading]]:
    """Headings by page index. Entries without a page that was read are left out."""
    found: dict[int, list[Heading]] = {}
    try:
        for bookmark in islice(pdf.get_toc(), MAX_OUTLINE):
            title = one_line(bookmark.get_title())[:MAX_TITLE_CHARS]
            target = bookmark.get_dest()
            page = target.get_index() if target else None
            if title and page is not None and 0 <= page < len(pages):
                top = None if pages[page].turn else _height(target)
                found.setdefault(page, []).append(Heading(bookmark.level + 1, title, top))
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


def _sheet(page: Page, lines: list[Line], fields: str) -> _Sheet:
    return _Sheet(with_tables(in_reading_order(replace(page, lines=lines)), page.rules), page.rules, fields)


def _headings(
    outline: dict[int, list[Heading]], sheets: Sequence[_Sheet], size: float, title: str
) -> list[list[Heading]]:
    """Headings of each page: those of the outline, or guessed ones; both where the outline is sparse."""
    stated = [outline.get(index, []) for index in range(len(sheets))]
    if sum(map(len, stated)) * SPARSE_OUTLINE > len(sheets):
        return stated
    guessed = guess([with_all_tables(sheet.items, sheet.rules) for sheet in sheets], size, title)
    deepest = max((heading.level for page in stated for heading in page), default=0)
    return [merged(here, more, sheet.items, deepest) for here, more, sheet in zip(stated, guessed, sheets, strict=True)]


@dataclass(slots=True)
class _Open:
    """A heading that holds."""

    level: int
    title: str
    page: int
    told: bool  # in the path of a section; what is not printed need not be


class _Path:
    """The headings that hold. One that no text follows is itself text under those above it."""

    def __init__(self) -> None:
        self._open: list[_Open] = []

    def section(self, text: str, number: int) -> Iterator[Section]:
        """``text`` of a page under them."""
        if text:
            path = tuple(one.title for one in self._open) or (f"Page {number}",)
            for one in self._open:
                one.told = True
            yield Section(path, f"#page={number}", text)

    def enter(self, heading: Heading, number: int, *, printed: bool) -> Iterator[Section]:
        """Puts ``heading`` in the place of those of its level and below."""
        yield from self.leave(heading.level)
        self._open.append(_Open(heading.level, heading.title, number, told=not printed))

    def leave(self, level: int) -> Iterator[Section]:
        """Ends the headings of ``level`` and below."""
        while self._open and self._open[-1].level >= level:
            one = self._open.pop()
            if not one.told:
                yield from self.section(one.title, one.page)


def _sections(sheets: Sequence[_Sheet], headings: Sequence[Sequence[Heading]]) -> Iterator[Section]:
    """Sections in reading order; headings hold until the next of their level, over pages too."""
    found = groupby(_pieces(sheets, headings), lambda piece: (piece.path, piece.anchor))
    return (Section(*place, "\n\n".join(piece.text for piece in pieces)) for place, pieces in found)


def _pieces(sheets: Sequence[_Sheet], headings: Sequence[Sequence[Heading]]) -> Iterator[Section]:
    path = _Path()
    last: Item | None = None  # on the page before
    for number, (sheet, here) in enumerate(zip(sheets, headings, strict=True), start=1):
        start = 0
        items: list[Item] = []
        for heading, (first, end) in zip(here, locate(here, sheet.items), strict=True):
            items = _stretch(sheet, start, first, last)
            yield from path.section(markdown(items), number)
            yield from path.enter(heading, number, printed=end > first)
            start = max(start, end)
        items = _stretch(sheet, start, len(sheet.items), last)
        yield from path.section("\n\n".join(filter(None, (markdown(items), sheet.fields))), number)
        last = items[-1] if items else None
    yield from path.leave(0)


def _stretch(sheet: _Sheet, start: int, end: int, last: Item | None) -> list[Item]:
    """Items between two headings with all their tables; one that opens the page may go on from the page before."""
    items = with_all_tables(sheet.items[start:end], sheet.rules)
    if start == 0 and items and isinstance(items[0], Table) and isinstance(last, Table):
        items[0] = items[0].under(last)
    return items


def _printed_title(pages: Sequence[Sequence[Line]], body: float) -> str:
    """The largest lines of the first page, if they are clearly larger than the text."""
    lines = [line for line in (pages[0] if pages else ()) if _LETTERS.search(line.text) and not line.turned]
    size = max((line.size for line in lines), default=0.0)
    if size < LARGE_TITLE * body:
        return ""
    largest = [line.text for line in lines if line.size > SAME_TITLE * size][:MAX_TITLE_LINES]
    title = one_line(" ".join(largest))[:MAX_TITLE_CHARS]
    return "" if _NO_TITLE.match(title) else title
