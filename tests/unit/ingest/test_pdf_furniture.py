"""Running headers, footers and page numbers go; headings and table heads that stand at one height stay."""

from __future__ import annotations

from collections.abc import Sequence

from ray_app.ingest.pdf.furniture import without_furniture
from ray_app.ingest.pdf.lines import Line

BODY = "abcdefghijklmnopqrstuvwxyz"


def at(text: str, base: float, left: float = 72.0, size: float = 10.0) -> Line:
    return Line(text, size, left, left + 5 * len(text), base)


def body(number: int, count: int = 10) -> list[Line]:
    """Lines of text that no other page has."""
    return [at(f"{BODY[number % 26]} line {BODY[line]}", 700 - 12 * line) for line in range(count)]


def kept(pages: Sequence[Sequence[Line]]) -> set[str]:
    """What is left besides the body."""
    return {line.text for page in without_furniture(pages) for line in page if " line " not in line.text}


def test_the_same_line_on_page_after_page_goes() -> None:
    pages = [[at("Fan X100", 760), *body(n), at(f"Page {n + 1} of 8", 40)] for n in range(8)]
    assert kept(pages) == set()
    assert all(len(page) == 10 for page in without_furniture(pages))


def test_page_numbers_count_pages_and_chapter_numbers_do_not() -> None:
    pages = [
        [at(str(n // 3 + 1), 650, 72, 20), at("Heading", 650, 100, 20), *body(n)[5:], at(str(n + 5), 40)]
        for n in range(9)
    ]
    pages = [page if n % 3 == 0 else page[2:] for n, page in enumerate(pages)]
    assert kept(pages) == {"1", "2", "3", "Heading"}


def test_page_numbers_go_also_where_the_same_numbers_stand_in_the_text() -> None:
    contents = [at(str(n + 1), 690 - 12 * n, 300) for n in range(8)]
    pages = [[*body(0), *contents], *([*body(n), at(str(n + 1), 40)] for n in range(1, 8))]
    assert not any(line.base == 40 for page in without_furniture(pages) for line in page)


def test_a_header_of_parts_goes_whole_though_one_part_changes() -> None:
    pages = [[at("CHAPTER 1", 760), at(f"1.{n} SECTION {BODY[n]}", 760, 300), *body(n)] for n in range(6)]
    assert kept(pages) == set()


def test_where_other_pages_have_their_header_a_lone_line_is_one_too() -> None:
    pages = [[at("CHAPTER 1" if n < 8 else f"CHAPTER {n}", 760), *body(n)] for n in range(10)]
    assert kept(pages) == set()


def test_a_header_of_three_lines_goes() -> None:
    pages = [[at("Guidelines", 770), at("Thyroid", 758), at("Index", 746), *body(n)] for n in range(6)]
    assert kept(pages) == set()


def test_the_head_of_a_table_that_goes_on_over_pages_stays() -> None:
    pages = [[at("Name", 712), at("Value", 712, 200), *body(n)] if 3 <= n < 7 else body(n) for n in range(12)]
    assert kept(pages) == {"Name", "Value"}


def test_a_heading_that_comes_again_and_again_stays_also_at_the_edge() -> None:
    pages = [[*body(n), at("See also", 300 if n % 2 else 560), at("Nothing else", 280)] for n in range(12)]
    pages = [[line for line in page if line.text != "Nothing else"] for page in pages]
    pages = [[*page, at("See also", 640, 300)] for page in pages]
    assert "See also" in kept(pages)


def test_side_tabs_go() -> None:
    tab = Line("English", 10, 590, 600, 400, turned=True)
    assert kept([[tab, *body(n)] for n in range(4)]) == set()


def test_two_pages_are_too_few_to_tell() -> None:
    assert kept([[at("Fan X100", 760), *body(n)] for n in range(2)]) == {"Fan X100"}


def test_where_all_would_go_nothing_goes() -> None:
    assert kept([[at("A stamp", 500)] for _ in range(5)]) == {"A stamp"}
