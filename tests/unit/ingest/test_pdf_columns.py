"""Reading order: columns that are read one after the other, rows that are read across, and files in disorder."""

from __future__ import annotations

from collections.abc import Sequence

from ray_app.ingest.pdf.columns import in_reading_order
from ray_app.ingest.pdf.lines import Line, Page, Rule

WIDE = 230.0


def column(
    name: str, count: int, left: float, top: float = 700.0, step: float = 12.0, width: float = WIDE
) -> list[Line]:
    """Lines of prose, all as wide as the column."""
    return [
        Line(f"{name}{number} goes on and on to the margin", 10, left, left + width, top - step * number)
        for number in range(count)
    ]


def order(lines: Sequence[Line], rules: Sequence[Rule] = ()) -> list[str]:
    return [line.text.split()[0] for line in in_reading_order(Page(list(lines), list(rules)))]


def names(prefix: str, count: int) -> list[str]:
    return [f"{prefix}{number}" for number in range(count)]


LEFT, RIGHT = column("a", 12, 60), column("b", 12, 310)
TITLE = Line("Title across both of the columns of the page", 14, 60, 500, 730)


def test_two_columns_are_read_one_after_the_other() -> None:
    assert order([TITLE, *LEFT, *RIGHT]) == ["Title", *names("a", 12), *names("b", 12)]


def test_also_where_the_file_goes_from_line_to_line_across_them() -> None:
    across = [line for pair in zip(LEFT, RIGHT, strict=True) for line in pair]
    assert order([TITLE, *across]) == ["Title", *names("a", 12), *names("b", 12)]


def test_columns_are_numbered_so_that_no_table_spans_them() -> None:
    assert [line.column for line in in_reading_order(Page([*LEFT, *RIGHT], []))] == [0] * 12 + [1] * 12


def test_what_stands_above_between_and_below_keeps_its_place() -> None:
    below = Line("Below both of the columns, from margin to margin", 10, 60, 540, 540)
    more = [*column("c", 8, 60, 520), *column("d", 8, 310, 520)]
    found = order([*more, below, *RIGHT, *LEFT, TITLE])
    assert found == ["Title", *names("a", 12), *names("b", 12), "Below", *names("c", 8), *names("d", 8)]


def test_three_columns() -> None:
    three = [column(name, 10, left, width=140) for name, left in (("a", 60), ("b", 220), ("c", 380))]
    across = [line for row in zip(*three, strict=True) for line in row]
    assert order(across) == [*names("a", 10), *names("b", 10), *names("c", 10)]


def test_rows_of_a_table_are_read_across() -> None:
    cells = [
        Line(f"{side}{number} short", 10, left, left + 50, 700 - 14 * number)
        for number in range(10)
        for side, left in (("a", 60.0), ("b", 310.0))
    ]
    assert order(cells) == [f"{side}{number}" for number in range(10) for side in "ab"]


def test_long_cells_that_begin_together_are_rows() -> None:
    heights = [700, 688, 664, 652, 628, 616, 592, 580]
    cells = []
    for pair in range(4):
        for side, left in (("a", 60.0), ("b", 310.0)):
            for line in (2 * pair, 2 * pair + 1):
                cells.append(Line(f"{side}{line} goes on and on to the margin", 10, left, left + WIDE, heights[line]))
    assert order(cells) == [f"{side}{2 * pair + line}" for pair in range(4) for side in "ab" for line in (0, 1)]


def test_rules_across_make_rows_of_long_cells() -> None:
    across = [line for pair in zip(LEFT, RIGHT, strict=True) for line in pair]
    rules = [Rule(60, 700 - 36 * n - 28, 540, 700 - 36 * n - 27) for n in range(3)]
    assert order(across, rules) == [line.text.split()[0] for line in across]


def test_one_column_that_the_file_holds_in_disorder_is_read_from_the_top() -> None:
    assert order(LEFT[::-1]) == names("a", 12)
    shuffled = [LEFT[i] for i in (5, 0, 7, 2, 9, 4, 11, 6, 1, 8, 3, 10)]
    assert order(shuffled) == names("a", 12)


def test_text_across_the_page_comes_last() -> None:
    tab = Line("English", 10, 590, 600, 400, turned=True)
    assert order([tab, *LEFT[:2]]) == ["a0", "a1", "English"]


def test_a_page_of_drawing_is_left_as_it_is() -> None:
    words = [Line("x", 4, 60 + 7 * (n % 60), 64 + 7 * (n % 60), 700 - 6 * (n // 60)) for n in range(2_000)]
    assert len(in_reading_order(Page(words, []))) == 2_000
