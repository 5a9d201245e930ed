"""Headings without an outline: which lines are some, and how deep."""

from __future__ import annotations

from collections.abc import Sequence

from ray_app.ingest.pdf.headings import Heading, guess, locate, merged
from ray_app.ingest.pdf.lines import Line
from ray_app.ingest.pdf.tables import Table

PROSE = "This line of plain text goes on until it reaches the margin"


class Sheet:
    """A page in the making; each call writes further down."""

    def __init__(self) -> None:
        self.lines: list[Line] = []
        self._base = 720.0

    def text(self, count: int = 8) -> Sheet:
        for _ in range(count):
            self._put(PROSE, 10, 12)
        return self

    def head(self, text: str, size: float = 10, gap: float = 24, *, bold: bool = True) -> Sheet:
        self._put(text, size, gap, bold=bold)
        self._base -= 2
        return self

    def _put(self, text: str, size: float, gap: float, *, bold: bool = False) -> None:
        self._base -= gap
        self.lines.append(Line(text, size, 72, 72 + 0.5 * size * len(text), self._base, bold=bold))


def found(*sheets: Sheet, title: str = "") -> list[tuple[int, str]]:
    return [(h.level, h.title) for page in guess([sheet.lines for sheet in sheets], 10, title) for h in page]


def test_larger_lines_are_higher() -> None:
    sheet = Sheet().head("Setup", 18).text().head("Power", 14).text().head("Care", 18).text()
    assert found(sheet) == [(1, "Setup"), (2, "Power"), (1, "Care")]


def test_numbers_tell_the_depth_in_one_and_the_same_look() -> None:
    sheet = Sheet().head("1 Setup").text().head("1.1 Power").text().head("1.1.1 Fuse").text().head("2 Care").text()
    assert found(sheet) == [(1, "1 Setup"), (2, "1.1 Power"), (3, "1.1.1 Fuse"), (1, "2 Care")]


def test_bold_lines_in_the_size_of_the_text_come_below_larger_ones() -> None:
    sheet = Sheet().head("Setup", 18).text().head("Before you begin").text().head("IN SHORT", bold=False).text()
    assert found(sheet) == [(1, "Setup"), (2, "Before you begin"), (3, "IN SHORT")]


def test_a_number_in_a_piece_of_its_own() -> None:
    sheet = Sheet().head("Power", 14).text()
    sheet.lines.insert(0, Line("1.2", 14, 40, 60, sheet.lines[0].base, bold=True))
    assert found(sheet) == [(2, "1.2 Power")]


def test_a_heading_over_two_lines_is_one() -> None:
    sheet = Sheet().head("What to do when the fan", 14).head("does not start", 14, 16).text()
    assert found(sheet) == [(1, "What to do when the fan does not start")]


def test_not_every_bold_line_is_one() -> None:
    for text in ("Do not cover it.", "Note:", "and so it ends", "Figure 3 The fan", "• Plug it in", "12", "A" * 130):
        assert found(Sheet().text().head(text).text()) == [], text
    close = Sheet().text().head("Just emphasis", gap=12).text()
    assert found(close) == []
    paragraph = Sheet().text().head("This warning is", gap=24)
    for _ in range(4):
        paragraph.head("set in bold all over", gap=12)
    assert found(paragraph.text()) == []


def test_bold_says_nothing_where_all_is_bold() -> None:
    sheet = Sheet()
    for _ in range(6):
        sheet.text(1).head("Some bold words")
    assert found(sheet) == []


def test_a_row_of_cells_is_none() -> None:
    sheet = Sheet().text().head("Name").text()
    name = sheet.lines[8]
    sheet.lines.insert(9, Line("Value", 10, 200, 230, name.base, bold=True))
    assert found(sheet) == []


def test_the_title_of_the_document_is_none() -> None:
    cover = Sheet().head("Fan X100", 30).head("Owner's Manual", 30).text()
    inside = Sheet().head("Setup", 18).text()
    assert found(cover, inside, title="Fan X100 Owner's Manual") == [(1, "Setup")]


def test_too_many_are_none() -> None:
    sheet = Sheet()
    for _ in range(9):
        sheet.head("Large words", 14).text(1)
    assert found(sheet) == []


class TestLocate:
    def lines(self, *texts: str) -> list[Line]:
        return [Line(text, 10, 72, 72 + 5 * len(text), 700 - 14 * n) for n, text in enumerate(texts)]

    def test_by_words_whatever_number_and_line_breaks(self) -> None:
        lines = self.lines("Intro", "2.1 What to do when", "it rains", "Text.")
        assert locate([Heading(1, "What to do when it rains")], lines) == [(1, 3)]

    def test_a_single_letter_is_no_number(self) -> None:
        assert locate([Heading(1, "I know a place")], self.lines("3.2 I know a place")) == [(0, 1)]

    def test_in_order(self) -> None:
        lines = self.lines("Care", "Text.", "Care")
        assert locate([Heading(1, "Care"), Heading(1, "Care")], lines) == [(0, 1), (2, 3)]

    def test_never_within_a_table(self) -> None:
        (cell,) = self.lines("Care")
        items: Sequence[Line | Table] = [Table((cell,), [["Care", "1"]], False), Line("Care", 10, 72, 92, 600)]
        assert locate([Heading(1, "Care")], items) == [(1, 2)]

    def test_by_height_when_it_is_not_printed(self) -> None:
        assert locate([Heading(1, "Hidden", top=690)], self.lines("a", "b", "c")) == [(1, 1)]
        assert locate([Heading(1, "Hidden")], self.lines("a", "b")) == [(0, 0)]


def test_what_a_sparse_outline_leaves_out_stands_below_it() -> None:
    texts = ["Setup", "Power", "Plug it in."]
    items = [Line(text, 10, 72, 72 + 5 * len(text), 700 - 14 * n) for n, text in enumerate(texts)]
    found = merged([Heading(2, "Setup")], [Heading(1, "Setup"), Heading(1, "Power")], items, 2)
    assert [(heading.level, heading.title) for heading in found] == [(2, "Setup"), (3, "Power")]
