"""Tables by alignment and by rules, and what only looks like one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from pdf_maker import Manual

from ray_app.ingest.pdf.inline import extract
from ray_app.ingest.pdf.lines import Line
from ray_app.ingest.pdf.tables import Table, find_tables


def grid(rows: Sequence[Sequence[str]], xs: Sequence[float], step: float = 14.0, bold: int = 0) -> list[Line]:
    """Lines in reading order: 10 point letters, 5 points wide; the first ``bold`` rows are bold."""
    return [
        Line(cell, 10, x, x + 5 * len(cell), 700 - step * number, bold=number < bold)
        for number, row in enumerate(rows)
        for x, cell in zip(xs, row, strict=True)
        if cell
    ]


def cells(lines: Sequence[Line]) -> list[list[str]]:
    (table,) = find_tables(lines, [])
    return table.cells


def text_of(manual: Manual) -> str:
    manual.canvas.showPage()
    found = extract(manual.bytes(), brand="b", url="https://x.org/a.pdf", fetched_at=0.0)
    assert found.document is not None
    return "\n\n".join(section.text for section in found.document.sections)


SPECIFICATION = [
    ["Maximum polyphony", "128 voices"],
    ["Power supply", "AC adaptor"],
    ["Current draw", "600 mA"],
    ["Weight", "2.2 kg"],
]


class TestAligned:
    def test_a_specification(self) -> None:
        assert cells(grid(SPECIFICATION, (72, 250))) == SPECIFICATION
        (table,) = find_tables(grid(SPECIFICATION, (72, 250)), [])
        assert table.markdown().splitlines()[:3] == ["|  |  |", "|-|-|", "| Maximum polyphony | 128 voices |"]

    def test_a_bold_head_names_the_columns(self) -> None:
        (table,) = find_tables(grid([["Task", "Size"], *SPECIFICATION], (72, 250), bold=1), [])
        assert table.header
        assert table.markdown().startswith("| Task | Size |\n|-|-|\n| Maximum polyphony |")

    def test_words_over_numbers_name_the_columns(self) -> None:
        rows = [["Model", "Width", "Depth"], ["X100", "310", "200"], ["X200", "420", "210"], ["X300", "530", "220"]]
        assert find_tables(grid(rows, (72, 200, 300)), [])[0].header

    def test_numbers_may_be_aligned_at_the_right(self) -> None:
        values = ["3216", "859", "12", "7"]
        lines = [line for n, v in enumerate(values) for line in (
            Line(f"Task {n}", 10, 72, 110, 700 - 14 * n), Line(v, 10, 300 - 5 * len(v), 300, 700 - 14 * n)
        )]  # fmt: skip
        assert [row[1] for row in cells(lines)] == values

    def test_a_cell_that_wraps_stays_one(self) -> None:
        rows = [
            ["inport", "Bus mouse connected to an adapter"],
            ["", "card"],
            ["logibm", "Bus mouse"],
            ["psmouse", "Mouse with a round connector"],
        ]
        assert cells(grid(rows, (72, 150), step=12)) == [
            ["inport", "Bus mouse connected to an adapter card"],
            ["logibm", "Bus mouse"],
            ["psmouse", "Mouse with a round connector"],
        ]

    def test_space_between_rows_tells_them_apart(self) -> None:
        heights = [700, 688, 668, 656, 636, 624]
        texts = ["Power lamp", "is off", "No sound", "is heard", "Display", "is dark"]
        fixes = ["Plug in the", "adaptor.", "Turn up the", "volume.", "Raise the", "contrast."]
        lines = [line for h, a, b in zip(heights, texts, fixes, strict=True) for line in (
            Line(a, 10, 72, 72 + 5 * len(a), h), Line(b, 10, 200, 200 + 5 * len(b), h)
        )]  # fmt: skip
        rows = cells(lines)
        assert len(rows) in (3, 6)  # rows that wrap on both sides at once cannot always be told from two rows
        assert rows[0][0].startswith("Power lamp")

    def test_columns_that_nearly_touch(self) -> None:
        rows = [["Alpha setting name", "100"], ["Alpha setting name long", "250"], ["Beta", "x 7"]]
        lines = grid(rows, (84.5, 200.2))
        assert lines[2].right == 199.5
        assert cells(lines) == rows

    def test_a_line_across_names_the_rows_below(self) -> None:
        lines = grid(SPECIFICATION, (72, 180))
        label = Line("Connectors on the rear panel", 10, 72, 212, 700 - 14 * 2)
        lower = [replace(line, base=line.base - 14) for line in lines[4:]]
        assert cells([*lines[:4], label, *lower])[2] == ["Connectors on the rear panel", ""]

    def test_a_bar_in_a_cell_does_not_end_it(self) -> None:
        lines = grid([["x | y", "either"], ["x & y", "both"], ["! x", "not so"]], (72, 150))
        assert find_tables(lines, [])[0].markdown().splitlines()[2] == "| x \\| y | either |"


class TestNoTables:
    def test_prose_in_two_columns(self) -> None:
        left = ["the fan must stand on a level", "floor, at least one metre away", "from the wall, so that the air"]
        right = ["can circulate without being", "held up by any obstacle. Do not", "cover it while it is running so"]
        assert find_tables(grid(list(zip(left, right, strict=True)), (72, 300), step=12), []) == []

    def test_a_list_with_marks_apart(self) -> None:
        for mark in ("•", "1.", "a)"):
            assert find_tables(grid([[mark, "Plug it in"], [mark, "Switch on"], [mark, "Wait"]], (72, 100)), []) == []

    def test_a_table_of_contents(self) -> None:
        rows = [["1.1", "Setup . . . . . . 3"], ["1.2", "Power . . . . . . 5"], ["1.3", "Care . . . . . . . 8"]]
        assert find_tables(grid(rows, (72, 100)), []) == []
        undotted = [[f"Chapter {word}", str(page)] for page, word in enumerate("abcdefgh", start=3)]
        assert find_tables(grid(undotted, (72, 400)), []) == []

    def test_code(self) -> None:
        lines = [replace(line, mono=True) for line in grid(SPECIFICATION, (72, 250))]
        assert find_tables(lines, []) == []

    def test_columns_that_the_file_holds_one_after_the_other(self) -> None:
        lines = grid(SPECIFICATION, (72, 250))
        assert find_tables([*lines[::2], *lines[1::2]], []) == []

    def test_two_lines_with_a_wide_gap(self) -> None:
        assert find_tables(grid(SPECIFICATION[:2], (72, 250)), []) == []


class TestDrawn:
    def test_cells_between_rules_with_one_over_several_rows(self) -> None:
        manual = Manual()
        xs, ys = (72, 160, 260, 360), (720, 700, 680, 660)
        for x in xs:
            manual.canvas.line(x, ys[0], x, ys[-1])
        for y in ys:
            manual.canvas.line(
                xs[1] if y == 680 else xs[0], y, xs[-1], y
            )  # no rule under the first cell below the head
        manual.rows([["** Family", "** Board", "** Flavour"]], [76, 164, 264], 706)
        manual.put("ARM", 76, 678).rows([["Orion", "marvell"], ["Generic", "armmp"]], [164, 264], 686, 20)
        assert text_of(manual).splitlines() == [
            "| Family | Board | Flavour |",
            "|-|-|-|",
            "| ARM | Orion | marvell |",
            "| ARM | Generic | armmp |",
        ]

    def test_a_frame_round_text_is_no_table(self) -> None:
        manual = Manual()
        manual.canvas.rect(60, 600, 400, 140)
        manual.put("Note", 72, 720).put("Do not cover the fan.", 72, 700)
        assert "|" not in text_of(manual)

    def test_the_head_is_repeated_where_a_table_goes_on_over_the_page(self) -> None:
        manual = Manual()
        rows = [[f"Item {n}", f"value {n}", f"note {n}"] for n in range(40)]
        manual.rows([["** Name", "** Value", "** Note"], *rows[:20]], [72, 200, 320])
        manual.canvas.showPage()
        manual.rows(rows[20:], [72, 200, 320])
        assert text_of(manual).count("| Name | Value | Note |\n|-|-|-|\n| Item ") == 2

    def test_a_table_stands_between_its_paragraphs(self) -> None:
        manual = Manual().put("These are the figures:", 72, 740).rows(SPECIFICATION, [72, 250], 712)
        manual.put("They may change without notice, and they are not binding for anybody at all.", 72, 640)
        blocks = text_of(manual).split("\n\n")
        assert [block[:5] for block in blocks] == ["These", "|  | ", "They "]


def test_a_table_without_a_head_takes_that_of_the_page_before() -> None:
    above = Table((), [["Name", "Value"], ["a", "1"]], True, (72.0, 200.0))
    below = Table((), [["b", "2"]], False, (74.0, 200.0))
    assert below.under(above).cells == [["Name", "Value"], ["b", "2"]]
    assert replace(below, columns=(74.0, 300.0)).under(above).cells == [["b", "2"]]
    assert replace(below, header=True).under(above).cells == [["b", "2"]]
