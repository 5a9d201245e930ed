"""Write the PDF manuals of the demo site from the Markdown beside this file.

Run it after a change to ``tools/demo_manuals/*.md``; the same source gives the same bytes. The source is a small part
of Markdown: ``# `` opens a page (a chapter that does not fit on one page is an error, so page numbers are those of
the source), ``## `` a section, and there are paragraphs, ``- `` and ``1. `` lists and ``| a | b |`` tables whose
first row is the header. ``key: value`` lines before the first chapter describe the manual.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any
from xml.sax.saxutils import escape

from reportlab.lib.colors import HexColor  # type: ignore[import-untyped]
from reportlab.lib.pagesizes import A5  # type: ignore[import-untyped]
from reportlab.lib.styles import ParagraphStyle  # type: ignore[import-untyped]
from reportlab.lib.units import mm  # type: ignore[import-untyped]
from reportlab.pdfbase.pdfmetrics import stringWidth  # type: ignore[import-untyped]
from reportlab.pdfgen.canvas import Canvas  # type: ignore[import-untyped]
from reportlab.platypus import Frame, Paragraph, Spacer, Table, TableStyle  # type: ignore[import-untyped]

SOURCES = Path(__file__).parent / "demo_manuals"
SITE = Path(__file__).parents[1] / "ray_app" / "demo" / "site"

WIDTH, HEIGHT = A5
MARGIN = 15 * mm
TEXT_WIDTH = WIDTH - 2 * MARGIN
GREY = HexColor("#666666")
LINE = HexColor("#c8c8c8")
BAND = HexColor("#f1efec")
CELL_PADDING = 4  # points
SHORT_CELL = 10  # characters

BODY = ParagraphStyle("body", fontName="Helvetica", fontSize=9, leading=12.5, spaceAfter=5)
CELL = ParagraphStyle("cell", parent=BODY, fontSize=8, leading=10, spaceAfter=0)
HEAD_CELL = ParagraphStyle("head-cell", parent=CELL, fontName="Helvetica-Bold")
ITEM = ParagraphStyle("item", parent=BODY, leftIndent=14, bulletIndent=2, spaceAfter=3)

NUMBERED = re.compile(r"(\d+\.) (.*)")


@dataclass(frozen=True, slots=True)
class Chapter:
    """One page: its heading and the lines below it."""

    heading: str
    lines: tuple[str, ...]

    @property
    def sections(self) -> list[str]:
        return [line[3:] for line in self.lines if line.startswith("## ")]


@dataclass(frozen=True, slots=True)
class Manual:
    title: str
    author: str
    file: str  # path below the site folder
    colour: str  # "#rrggbb" of headings and rules
    edition: str
    chapters: tuple[Chapter, ...]


def parse(source: str) -> Manual:
    """Read one manual. Raises ValueError or TypeError when the description at its top is incomplete."""
    top, *rest = re.split(r"^# ", source, flags=re.MULTILINE)
    described = dict(line.split(": ", 1) for line in top.splitlines() if line.strip())
    return Manual(**described, chapters=tuple(_chapter(text) for text in rest))


def _chapter(text: str) -> Chapter:
    heading, _, body = text.partition("\n")
    return Chapter(heading.strip(), tuple(line.strip() for line in body.splitlines()))


def _flowables(lines: Iterable[str], section: ParagraphStyle) -> Iterator[Any]:
    """What reportlab draws, in order. Neighbouring lines that are table rows become one table."""
    for is_table, group in groupby(lines, key=lambda line: line.startswith("|")):
        if is_table:
            yield _table([[cell.strip() for cell in row.strip("|").split("|")] for row in group])
            yield Spacer(0, 6)
        else:
            yield from (_paragraph(line, section) for line in group if line)


def _paragraph(line: str, section: ParagraphStyle) -> Any:
    if line.startswith("## "):
        return Paragraph(escape(line[3:]), section)
    if line.startswith("- "):
        return Paragraph(escape(line[2:]), ITEM, bulletText="•")
    if numbered := NUMBERED.fullmatch(line):
        return Paragraph(escape(numbered[2]), ITEM, bulletText=numbered[1])
    return Paragraph(escape(line), BODY)


def _table(rows: list[list[str]]) -> Any:
    cells = [[Paragraph(escape(text), CELL if n else HEAD_CELL) for text in row] for n, row in enumerate(rows)]
    style = TableStyle(
        [
            ("LINEBELOW", (0, 0), (-1, -1), 0.5, LINE),
            ("BACKGROUND", (0, 0), (-1, 0), BAND),
            ("VALIGN", (0, 0), (-1, -1), "TOP"),
            ("TOPPADDING", (0, 0), (-1, -1), 2.5),
            ("BOTTOMPADDING", (0, 0), (-1, -1), 3),
            ("LEFTPADDING", (0, 0), (-1, -1), CELL_PADDING),
            ("RIGHTPADDING", (0, 0), (-1, -1), CELL_PADDING),
        ]
    )
    return Table(cells, colWidths=_column_widths(rows), style=style)


def _column_widths(rows: list[list[str]]) -> list[float]:
    """Give every column the room its unbreakable text needs and share the rest by what is still missing."""
    columns = list(zip(*rows, strict=True))
    wanted = [max(_drawn(text) for text in column) for column in columns]
    needed = [max(_drawn(word) for text in column for word in _unbreakable(text)) for column in columns]
    missing = [full - least + 1 for full, least in zip(wanted, needed, strict=True)]
    spare = TEXT_WIDTH - sum(needed)
    return [least + spare * lack / sum(missing) for least, lack in zip(needed, missing, strict=True)]


def _drawn(text: str) -> float:
    return float(stringWidth(text, HEAD_CELL.fontName, HEAD_CELL.fontSize)) + 2 * CELL_PADDING + 0.5


def _unbreakable(text: str) -> list[str]:
    """Short cells such as ``ERR 73`` stay on one line; longer ones may break between words."""
    return [text] if len(text) <= SHORT_CELL else text.split()


def write(manual: Manual, target: Path) -> None:
    """Draw the manual. Raises ValueError when a chapter does not fit on its page."""
    # invariant: no creation date and no random id. No compression: zlib builds differ in their output, and the
    # files are small without it.
    canvas = Canvas(str(target), pagesize=A5, invariant=1, pageCompression=0)
    canvas.setTitle(manual.title)
    canvas.setAuthor(manual.author)
    canvas.showOutline()
    for number, chapter in enumerate(manual.chapters, start=1):
        _page(canvas, manual, chapter, number)
        canvas.showPage()
    canvas.save()


def _page(canvas: Any, manual: Manual, chapter: Chapter, number: int) -> None:
    colour = HexColor(manual.colour)
    _header_and_footer(canvas, manual, number)
    _outline(canvas, chapter, number)
    heading = ParagraphStyle("h1", fontName="Helvetica-Bold", fontSize=15, leading=19, spaceAfter=7, textColor=colour)
    section = ParagraphStyle("h2", parent=heading, fontSize=10.5, leading=13, spaceBefore=7, spaceAfter=4)
    story = [Paragraph(escape(chapter.heading), heading), *_flowables(chapter.lines, section)]
    if number == 1:
        story = [*_cover(manual, colour), *story]
    frame = Frame(MARGIN, 18 * mm, TEXT_WIDTH, HEIGHT - 38 * mm, 0, 0, 0, 0)
    frame.addFromList(story, canvas)
    if story:
        raise ValueError(f"{manual.title}: chapter {chapter.heading!r} does not fit on page {number}")


def _cover(manual: Manual, colour: HexColor) -> list[Any]:
    title = ParagraphStyle("title", fontName="Helvetica-Bold", fontSize=21, leading=26, textColor=colour)
    edition = ParagraphStyle("edition", parent=BODY, textColor=GREY, spaceAfter=16)
    return [
        Paragraph(escape(manual.title), title),
        Spacer(0, 4),
        Paragraph(escape(f"{manual.author} · {manual.edition}"), edition),
    ]


def _header_and_footer(canvas: Any, manual: Manual, number: int) -> None:
    canvas.setFont("Helvetica", 7.5)
    canvas.setFillColor(GREY)
    canvas.drawString(MARGIN, HEIGHT - 12 * mm, manual.author)
    canvas.drawRightString(WIDTH - MARGIN, HEIGHT - 12 * mm, manual.title)
    canvas.drawCentredString(WIDTH / 2, 9 * mm, f"Page {number} of {len(manual.chapters)}")
    canvas.setStrokeColor(HexColor(manual.colour))
    canvas.setLineWidth(0.8)
    canvas.line(MARGIN, HEIGHT - 14 * mm, WIDTH - MARGIN, HEIGHT - 14 * mm)


def _outline(canvas: Any, chapter: Chapter, number: int) -> None:
    for place, title in enumerate([chapter.heading, *chapter.sections]):
        key = f"page-{number}-{place}"  # reportlab keeps one title for each key
        canvas.bookmarkPage(key)
        canvas.addOutlineEntry(title, key, level=min(place, 1), closed=place == 0)


def make(site: Path) -> list[Path]:
    """Write every manual below ``site`` and return their paths, sorted by source name."""
    written = []
    for source in sorted(SOURCES.glob("*.md")):
        manual = parse(source.read_text(encoding="utf-8"))
        target = site / manual.file
        target.parent.mkdir(parents=True, exist_ok=True)
        write(manual, target)
        written.append(target)
    return written


def main() -> None:
    parser = argparse.ArgumentParser(description="Write the PDF manuals of the demo site.")
    parser.add_argument("--site", type=Path, default=SITE, help="folder that holds one folder for each brand")
    for path in make(parser.parse_args().site):
        print(f"{path.stat().st_size:>8} {path}")


if __name__ == "__main__":
    main()
