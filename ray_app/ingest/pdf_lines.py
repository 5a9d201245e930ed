"""Lines of text on PDF pages, with their place and size; running headers and footers taken out."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pypdfium2
import pypdfium2.raw as pdfium

from ray_app.ingest.clean import one_line

HYPHEN = "\ufffe"  # PDFium's mark for a hyphen at the end of a line
EDGE_LINES = 2  # lines at the top and at the bottom of a page that may be a running header or footer
MIN_REPEATS = 3  # pages on which the same line at the same height is a header or footer
SAME_HEIGHT = 3.0  # points
_LINE_END = re.compile(f"(\r\n|{HYPHEN})")
_DIGITS = re.compile(r"\d+")
_ROMAN = re.compile(r"[ivxlc]{1,7}")


@dataclass(frozen=True, slots=True)
class Line:
    """One physical line. Lengths are points; the page's origin is its lower left corner."""

    text: str
    size: float  # height of the font
    left: float
    right: float
    bottom: float
    hyphen: bool = False  # its last word goes on in the next line


def read_lines(page: Any) -> list[Line]:
    """The lines of a ``PdfPage`` in the order of its content. Raises PdfiumError when it cannot be read."""
    textpage = page.get_textpage()
    try:
        return _lines(textpage)
    finally:
        textpage.close()


def without_furniture(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """The pages without lines that stand at the same height of the page's edge on several pages."""
    edges = [{_signature(line): line for line in _edge_lines(page)} for page in pages]
    repeats = Counter(signature for page in edges for signature in page)
    result = []
    for page, edge in zip(pages, edges, strict=True):
        dropped = {id(line) for signature, line in edge.items() if repeats[signature] >= MIN_REPEATS}
        result.append([line for line in page if id(line) not in dropped])
    return result


def body_size(pages: Sequence[Sequence[Line]]) -> float:
    """Font height of most of the text; 0 without text."""
    weights: Counter[float] = Counter()
    for page in pages:
        for line in page:
            weights[round(line.size * 2) / 2] += len(line.text)
    return weights.most_common(1)[0][0] if weights else 0.0


def _lines(textpage: Any) -> list[Line]:
    lines: list[Line] = []
    start = 0
    pieces = _LINE_END.split(textpage.get_text_range())
    for text, end in zip(pieces[::2], [*pieces[1::2], ""], strict=True):
        if cleaned := one_line(text):
            first = start + len(text) - len(text.lstrip())
            last = start + len(text.rstrip()) - 1
            left, bottom, _, top = _box(textpage, first)
            right = _box(textpage, last)[2]
            lines.append(Line(cleaned, top - bottom, left, right, bottom, end == HYPHEN))
        start += len(text) + len(end)
    return lines


def _box(textpage: Any, text_index: int) -> tuple[float, float, float, float]:
    """Left, bottom, right and top of a character; zeros for one that PDFium made up."""
    index = pdfium.FPDFText_GetCharIndexFromTextIndex(textpage, text_index)
    if index < 0:
        return 0.0, 0.0, 0.0, 0.0
    try:
        left, bottom, right, top = textpage.get_charbox(index, loose=True)
    except pypdfium2.PdfiumError:
        return 0.0, 0.0, 0.0, 0.0
    return left, bottom, right, top


def _edge_lines(page: Sequence[Line]) -> list[Line]:
    ordered = sorted(page, key=lambda line: line.bottom)
    return [*ordered[:EDGE_LINES], *ordered[-EDGE_LINES:]]


def _signature(line: Line) -> tuple[str, int]:
    """Equal for the same header on two pages, whatever the page number in it."""
    text = line.text.casefold()
    pattern = "#" if _ROMAN.fullmatch(text) else _DIGITS.sub("#", text)
    return pattern, round(line.bottom / SAME_HEIGHT)
