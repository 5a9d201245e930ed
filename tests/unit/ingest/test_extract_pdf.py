"""PDFs made by reportlab: pages, outline, running headers, broken words, and the files that cannot be read."""

from __future__ import annotations

import io
from collections.abc import Sequence

import pytest
from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

from ray_app.errors import ExtractError
from ray_app.ingest.extract_pdf import PdfLimits, extract
from ray_app.ingest.pdf_lines import Line
from ray_app.ingest.pdf_text import paragraphs
from ray_app.records import Document

URL = "https://help.example.com/manuals/fan%20x100.pdf"
LEADING = 14
LEFT, TOP = 72, 720


class Manual:
    """A PDF under construction: Letter pages, 11 point text."""

    def __init__(self, password: str = "", title: str = "", lang: str = "") -> None:
        self._file = io.BytesIO()
        encryption = StandardEncryption(password) if password else None
        self._canvas = Canvas(self._file, encrypt=encryption, lang=lang or None)
        self._canvas.setTitle(title)

    def page(
        self, lines: Sequence[str] = (), header: str = "", headings: Sequence[tuple[str, int, int]] = ()
    ) -> Manual:
        """``lines`` from the top, "" for an empty one; ``headings`` are outline entries (title, level, line)."""
        canvas = self._canvas
        if header:
            canvas.drawString(LEFT, 770, header)
        for title, level, line in headings:
            key = f"{title}{canvas.getPageNumber()}"
            canvas.bookmarkPage(key, fit="XYZ", left=0, top=TOP - LEADING * line + LEADING)
            canvas.addOutlineEntry(title, key, level)
        for number, text in enumerate(lines):
            canvas.setFont("Helvetica", 18 if text.startswith("# ") else 11)
            canvas.drawString(LEFT, TOP - LEADING * number, text.removeprefix("# "))
        canvas.showPage()
        return self

    def bytes(self) -> bytes:
        self._canvas.save()
        return self._file.getvalue()


def read(body: bytes, limits: PdfLimits | None = None) -> Document:
    found = extract(body, brand="b", url=URL, fetched_at=5.0, limits=limits or PdfLimits())
    assert found.document is not None
    return found.document


def refusal(body: bytes) -> str:
    with pytest.raises(ExtractError) as caught:
        extract(body, brand="b", url=URL, fetched_at=5.0)
    return caught.value.message


PARAGRAPH = [
    "The fan must stand on a level floor, at least one metre away from the",
    "wall, so that the air can circulate without being held up by any obsta-",
    "cle. Do not cover it.",
]
JOINED = (
    "The fan must stand on a level floor, at least one metre away from the wall, so that the air can circulate "
    "without being held up by any obstacle. Do not cover it."
)


def test_pages_are_sections_with_page_anchors() -> None:
    document = read(Manual(title="Fan X100 Manual", lang="en-US").page(PARAGRAPH).page(["Second page."]).bytes())
    assert (document.title, document.lang, document.kind, document.url) == ("Fan X100 Manual", "en", "pdf", URL)
    first, second = document.sections
    assert (first.path, first.anchor, first.text) == (("Page 1",), "#page=1", JOINED)
    assert (second.path, second.anchor, second.text) == (("Page 2",), "#page=2", "Second page.")


def test_paragraphs_and_lists_stay_apart() -> None:
    lines = [*PARAGRAPH, "", "• Plug it in.", "• Press the button.", "1. Wait."]
    text = read(Manual().page(lines).bytes()).sections[0].text
    assert text == f"{JOINED}\n\n- Plug it in.\n\n- Press the button.\n\n1. Wait."


def test_short_lines_are_not_joined() -> None:
    rows = ["Weight 2 kg", "Height 30 cm", "A last line that is much longer than all the rows above it"]
    assert read(Manual().page(rows).bytes()).sections[0].text == "\n".join(rows)


def test_the_outline_gives_paths_and_cuts_pages() -> None:
    manual = Manual()
    manual.page(["Preface."])
    manual.page(["1 Setup", "Unpack it.", "", "1.1 Power", "Plug it in."], headings=[("Setup", 0, 0), ("Power", 1, 3)])
    manual.page(["Use a fuse.", "", "2 Care", "Dust it."], headings=[("2 Care", 0, 2)])
    found = [(section.path, section.anchor, section.text) for section in read(manual.bytes()).sections]
    assert found == [
        (("Page 1",), "#page=1", "Preface."),
        (("Setup",), "#page=2", "Unpack it."),
        (("Setup", "Power"), "#page=2", "Plug it in."),
        (("Setup", "Power"), "#page=3", "Use a fuse."),
        (("2 Care",), "#page=3", "Dust it."),
    ]


def test_an_outline_entry_that_is_not_printed_cuts_by_its_height() -> None:
    manual = Manual().page(["Before.", "", "After."], headings=[("Hidden name", 0, 2)])
    assert [(s.path, s.text) for s in read(manual.bytes()).sections] == [
        (("Page 1",), "Before."),
        (("Hidden name",), "After."),
    ]


def test_without_outline_large_lines_are_headings() -> None:
    body = ["Plain text of the manual."] * 6
    document = read(Manual().page(["# Setup", "", *body]).page(["More."]).page(["# Care", "", *body]).bytes())
    assert [(s.path, s.anchor) for s in document.sections] == [
        (("Setup",), "#page=1"),
        (("Setup",), "#page=2"),
        (("Care",), "#page=3"),
    ]
    assert document.title == "Setup"


def test_running_headers_go_and_the_file_name_is_the_last_title() -> None:
    manual = Manual(title="fan.docx")
    for number in range(1, 6):
        manual.page([f"Text of page {'abcde'[number - 1]}."], header=f"Fan X100 - {number}")
    document = read(manual.bytes())
    assert [section.text for section in document.sections] == [f"Text of page {c}." for c in "abcde"]
    assert document.title == "fan x100.pdf"


def test_only_so_many_pages_are_read_and_it_says_so() -> None:
    body = Manual().page(["One."]).page(["Two."]).page(["Three."]).bytes()
    found = extract(body, brand="b", url=URL, fetched_at=0.0, limits=PdfLimits(max_pages=2))
    assert found.document is not None and len(found.document.sections) == 2
    assert found.detail == "only the first 2 of 3 pages were read"


def test_time_is_limited_between_pages() -> None:
    body = Manual().page(["One."]).page(["Two."]).bytes()
    ticks = iter(range(0, 1000, 40))
    with pytest.raises(ExtractError, match="pdf_timeout"):
        extract(body, brand="b", url=URL, fetched_at=0.0, clock=lambda: float(next(ticks)))


def test_what_cannot_be_read_has_a_reason() -> None:
    whole = Manual().page(PARAGRAPH).bytes()
    assert refusal(Manual(password="secret").page(["Hidden."]).bytes()) == "pdf_encrypted"
    assert refusal(Manual().page().bytes()) == "pdf_no_text"
    assert refusal(b"") == "pdf_broken"
    assert refusal(b"<html><p>Not a PDF") == "pdf_broken"
    assert refusal(whole[: len(whole) // 4]) == "pdf_broken"


def test_the_same_file_gives_the_same_hash() -> None:
    body = Manual().page(PARAGRAPH).bytes()
    assert read(body).content_hash == read(body).content_hash != read(Manual().page(["Other."]).bytes()).content_hash


class TestParagraphs:
    def test_wrapped_prose_is_one_line_and_table_rows_are_many(self) -> None:
        prose = [
            Line("It lowers the polyphony by 24 voices", 11, 40, 376, 219),
            Line("while a sound is played.", 11, 40, 276, 207),
        ]
        assert paragraphs(prose) == "It lowers the polyphony by 24 voices while a sound is played."
        rows = [
            Line("CC 66 Sostenuto 0 to 63 off", 9, 47, 360, 448),
            Line("CC 67 Soft pedal 0 to 63 off", 9, 47, 362, 433),
        ]
        assert paragraphs(rows) == "CC 66 Sostenuto 0 to 63 off\nCC 67 Soft pedal 0 to 63 off"

    def test_a_line_that_had_room_for_the_next_word_ends_there(self) -> None:
        address = [Line("Pellandine Instruments", 10, 40, 150, 200), Line("Harbour Street 4, Riga", 10, 40, 300, 188)]
        assert paragraphs(address) == "Pellandine Instruments\nHarbour Street 4, Riga"
