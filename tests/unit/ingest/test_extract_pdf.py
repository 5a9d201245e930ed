"""PDFs made by reportlab: pages, outline, running headers, broken words, and the files that cannot be read."""

from __future__ import annotations

import pytest
from pdf_maker import Manual, empty_pages, flate_bomb, one_page, page_tree_loop
from reportlab.lib.utils import ImageReader

from ray_app.errors import ExtractError
from ray_app.ingest.pdf.inline import PdfLimits, extract
from ray_app.records import Document

URL = "https://help.example.com/manuals/fan%20x100.pdf"


def read(body: bytes, limits: PdfLimits | None = None) -> Document:
    found = extract(body, brand="b", url=URL, fetched_at=5.0, limits=limits or PdfLimits())
    assert found.document is not None
    return found.document


def text_of(manual: Manual) -> str:
    (section,) = read(manual.bytes()).sections
    return section.text


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


class TestPages:
    def test_pages_are_sections_with_page_anchors(self) -> None:
        document = read(Manual(title="Fan X100 Manual", lang="en-US").page(PARAGRAPH).page(["Second page."]).bytes())
        assert (document.title, document.lang, document.kind, document.url) == ("Fan X100 Manual", "en", "pdf", URL)
        first, second = document.sections
        assert (first.path, first.anchor, first.text) == (("Page 1",), "#page=1", JOINED)
        assert (second.path, second.anchor, second.text) == (("Page 2",), "#page=2", "Second page.")

    def test_anchors_count_pages_of_the_file_also_past_empty_and_unlike_printed_ones(self) -> None:
        manual = Manual()
        for number in range(1, 8):
            manual.page([] if number in (2, 5) else [f"Printed number {number + 90}, body {'abcdefg'[number - 1]}."])
        found = {section.anchor: section.text for section in read(manual.bytes()).sections}
        assert list(found) == [f"#page={number}" for number in (1, 3, 4, 6, 7)]
        assert all(f"body {'abcdefg'[int(anchor[6:]) - 1]}." in text for anchor, text in found.items())

    def test_only_so_many_pages_are_read_and_it_says_so(self) -> None:
        body = Manual().page(["One."]).page(["Two."]).page(["Three."]).bytes()
        found = extract(body, brand="b", url=URL, fetched_at=0.0, limits=PdfLimits(max_pages=2))
        assert found.document is not None and len(found.document.sections) == 2
        assert found.detail == "only the first 2 of 3 pages were read"

    def test_when_the_time_is_up_what_was_read_is_kept(self) -> None:
        body = Manual().page(["One."]).page(["Two."]).page(["Three."]).bytes()
        ticks = iter(range(0, 1000, 20))
        found = extract(body, brand="b", url=URL, fetched_at=0.0, clock=lambda: float(next(ticks)))
        assert found.document is not None and [s.text for s in found.document.sections] == ["One."]
        assert found.detail == "only the first 1 of 3 pages were read: the time was up"

    def test_without_time_for_one_page_it_is_a_timeout(self) -> None:
        body = Manual().page(["One."]).bytes()
        ticks = iter(range(0, 1000, 60))
        with pytest.raises(ExtractError, match="pdf_timeout"):
            extract(body, brand="b", url=URL, fetched_at=0.0, clock=lambda: float(next(ticks)))

    def test_the_same_file_gives_the_same_hash(self) -> None:
        body, other = Manual().page(PARAGRAPH).bytes(), Manual().page(["Other."]).bytes()
        assert read(body).content_hash == read(body).content_hash != read(other).content_hash

    @pytest.mark.parametrize(("angle", "x", "y"), [(90, 0, -600), (180, -600, -780), (270, -780, 0)])
    def test_a_page_that_is_turned_reads_like_one_that_is_not(self, angle: int, x: int, y: int) -> None:
        manual = Manual()
        manual.canvas.setPageRotation(angle)
        manual.canvas.rotate(angle)
        manual.canvas.translate(x, y)
        manual.rows([["Weight", "2 kg"], ["Height", "30 cm"], ["Power", "40 W"]], [72, 300], 500)
        manual.canvas.showPage()
        assert text_of(manual).splitlines()[2:] == ["| Weight | 2 kg |", "| Height | 30 cm |", "| Power | 40 W |"]


class TestText:
    def test_paragraphs_and_lists_stay_apart(self) -> None:
        lines = [*PARAGRAPH, "", "• Plug it in.", "• Press the button.", "1. Wait."]
        assert text_of(Manual().page(lines)) == f"{JOINED}\n\n- Plug it in.\n- Press the button.\n1. Wait."

    def test_items_within_items_are_indented(self) -> None:
        manual = Manual().put("• Clean it:", 72, 700).put("– with a cloth", 90, 686).put("– with a brush", 90, 672)
        manual.put("• Dry it.", 72, 658).canvas.showPage()
        assert text_of(manual) == "- Clean it:\n  - with a cloth\n  - with a brush\n- Dry it."

    def test_short_lines_are_not_joined(self) -> None:
        rows = ["Weight 2 kg", "Height 30 cm", "A last line that is much longer than all the rows above it"]
        assert text_of(Manual().page(rows)) == "\n".join(rows)

    def test_code_keeps_its_lines_and_spaces(self) -> None:
        lines = ["Type this:", "", "` if ready:", "`     start(now)", "", "Then wait."]
        assert text_of(Manual().page(lines)) == "Type this:\n\n```\nif ready:\n    start(now)\n```\n\nThen wait."

    def test_a_text_set_like_a_typewriter_is_not_code(self) -> None:
        assert text_of(Manual().page([f"` {line}" for line in PARAGRAPH])) == JOINED

    def test_what_was_filled_into_a_form_is_read(self) -> None:
        manual = Manual().put("Serial number", 72, 700)
        form = manual.canvas.acroForm
        form.textfield(name="serial", tooltip="Serial number", value="X-4711", x=200, y=690, width=200, height=20)
        form.textfield(name="empty", tooltip="Remarks", value="", x=200, y=640, width=200, height=20)
        manual.canvas.showPage()
        assert text_of(manual) == "Serial number\n\n- Serial number: X-4711"

    def test_what_a_form_does_not_show_is_not(self) -> None:
        manual = Manual().put("Account", 72, 700)
        form = manual.canvas.acroForm
        size = {"width": 200, "height": 20}
        form.textfield(name="a", tooltip="PIN", value="1234", x=200, y=690, fieldFlags="password", **size)
        form.textfield(name="b", tooltip="Token", value="t0k3n", x=200, y=660, annotationFlags="hidden", **size)
        form.textfield(name="c", tooltip="Key", value="k3y", x=200, y=630, annotationFlags="print noview", **size)
        form.checkbox(name="d", tooltip="Agreed", checked=True, x=200, y=600)
        form.choice(name="e", tooltip="Colour", value="red", options=["red", "blue"], x=200, y=570, **size)
        manual.canvas.showPage()
        assert text_of(manual) == "Account\n\n- Colour: red"


class TestOutline:
    def test_it_gives_paths_and_cuts_pages(self) -> None:
        manual = Manual()
        manual.page(["Preface."])
        manual.page(
            ["1 Setup", "Unpack it.", "", "1.1 Power", "Plug it in."], headings=[("Setup", 0, 0), ("Power", 1, 3)]
        )
        manual.page(["Use a fuse.", "", "2 Care", "Dust it."], headings=[("2 Care", 0, 2)])
        found = [(section.path, section.anchor, section.text) for section in read(manual.bytes()).sections]
        assert found == [
            (("Page 1",), "#page=1", "Preface."),
            (("Setup",), "#page=2", "Unpack it."),
            (("Setup", "Power"), "#page=2", "Plug it in."),
            (("Setup", "Power"), "#page=3", "Use a fuse."),
            (("2 Care",), "#page=3", "Dust it."),
        ]

    def test_a_heading_that_no_text_follows_is_text(self) -> None:
        manual = Manual()
        manual.page(
            ["1 Setup", "Unpack it.", "", "1.1 Power", "", "1.2 Fuse", "", "2 Care", "", "2.1 Dust"],
            headings=[("Setup", 0, 0), ("Power", 1, 3), ("Fuse", 1, 5), ("Care", 0, 7), ("Dust", 1, 9)],
        )
        manual.page(["3 Repair", "None.", "", "End."], headings=[("Repair", 0, 0), ("Hidden", 0, 3), ("Last", 0, 3)])
        assert [(section.path, section.anchor, section.text) for section in read(manual.bytes()).sections] == [
            (("Setup",), "#page=1", "Unpack it.\n\nPower\n\nFuse"),
            (("Care",), "#page=1", "Dust"),
            (("Repair",), "#page=2", "None."),
            (("Last",), "#page=2", "End."),
        ]

    def test_an_entry_that_is_not_printed_cuts_by_its_height(self) -> None:
        manual = Manual().page(["Before.", "", "After."], headings=[("Hidden name", 0, 2)])
        assert [(s.path, s.text) for s in read(manual.bytes()).sections] == [
            (("Page 1",), "Before."),
            (("Hidden name",), "After."),
        ]

    def test_a_number_apart_and_a_label_above_belong_to_the_heading(self) -> None:
        manual = Manual().put("The end of it.", 72, 740).put("# Chapter 2", 72, 700).put("# Care", 72, 670)
        manual.put("** 2.1", 72, 640).put("** Dusting", 110, 640).put("Use a cloth.", 72, 620)
        canvas = manual.canvas
        for title, level in (("Care", 0), ("Dusting", 1)):
            canvas.bookmarkPage(title)
            canvas.addOutlineEntry(title, title, level)
        canvas.showPage()
        assert [(s.path, s.text) for s in read(manual.bytes()).sections] == [
            (("Page 1",), "The end of it."),
            (("Care", "Dusting"), "Use a cloth."),
        ]

    def test_a_sparse_one_is_filled_up(self) -> None:
        manual = Manual().page(["# Setup", "", *PARAGRAPH], headings=[("Setup", 0, 0)])
        for name in "abcdefghi":
            manual.page([f"** Part {name}", "", *(f"{name} {line}" for line in [*PARAGRAPH, *PARAGRAPH])])
        paths = [section.path for section in read(manual.bytes()).sections]
        assert paths[0] == ("Setup",) and paths[-1] == ("Setup", "Part i")


class TestNoOutline:
    def test_large_lines_are_headings(self) -> None:
        body = ["Plain text of the manual."] * 6
        document = read(Manual().page(["# Setup", "", *body]).page(["More."]).page(["# Care", "", *body]).bytes())
        assert [(s.path, s.anchor) for s in document.sections] == [
            (("Setup",), "#page=1"),
            (("Setup",), "#page=2"),
            (("Care",), "#page=3"),
        ]
        assert document.title == "Setup"

    def test_the_file_name_is_the_last_title(self) -> None:
        assert read(Manual(title="fan.docx").page(["Text."]).bytes()).title == "fan x100.pdf"

    def test_running_headers_and_page_numbers_go(self) -> None:
        manual = Manual()
        for number in range(1, 6):
            manual.page([f"Text of page {'abcde'[number - 1]}."], header=f"Fan X100 - {number}")
        assert [section.text for section in read(manual.bytes()).sections] == [f"Text of page {c}." for c in "abcde"]


class TestWhatCannotBeRead:
    def test_it_has_a_reason(self) -> None:
        whole = Manual().page(PARAGRAPH).bytes()
        assert refusal(Manual(password="secret").page(["Hidden."]).bytes()) == "pdf_encrypted"
        assert refusal(Manual().page().bytes()) == "pdf_no_text"
        assert refusal(b"") == "pdf_broken"
        assert refusal(b"<html><p>Not a PDF") == "pdf_broken"
        assert refusal(whole[: len(whole) // 4]) == "pdf_broken"
        assert refusal(page_tree_loop()) == "pdf_broken"

    def test_a_file_cut_near_its_end_is_mended(self) -> None:
        whole = Manual().page(PARAGRAPH).bytes()
        assert read(whole[: whole.rindex(b"startxref")]).sections[0].text == JOINED

    def test_a_cross_reference_that_points_at_itself_is_followed_once(self) -> None:
        stream = b"BT /F1 11 Tf 72 700 Td (Read me.) Tj ET"
        assert read(one_page(stream, prev_self=True)).sections[0].text == "Read me."

    def test_images_only(self) -> None:
        from PIL import Image

        manual = Manual()
        manual.canvas.drawImage(ImageReader(Image.new("RGB", (8, 8))), 72, 500, 200, 200)
        manual.canvas.showPage()
        assert refusal(manual.bytes()) == "pdf_no_text"

    def test_ten_thousand_empty_pages(self) -> None:
        assert refusal(empty_pages(10_000)) == "pdf_no_text"

    def test_a_small_bomb_holds_no_text(self) -> None:
        assert refusal(flate_bomb(20)) in ("pdf_no_text", "pdf_broken")
