"""Lines to paragraphs, lists and code."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ray_app.ingest.pdf.lines import Line
from ray_app.ingest.pdf.text import paragraphs


def lines(texts: Sequence[str], left: float = 40, right: float = 340, top: float = 700, step: float = 12) -> list[Line]:
    """Lines from margin to margin, but for the last and those that end in "|"."""
    return [
        Line(
            t.rstrip("|"),
            10,
            left,
            right if n + 1 < len(texts) and not t.endswith("|") else left + 5 * len(t),
            top - step * n,
        )
        for n, t in enumerate(texts)
    ]


def test_wrapped_prose_is_one_line_and_rows_are_many() -> None:
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


def test_a_line_that_had_room_for_the_next_word_ends_there() -> None:
    address = [Line("Pellandine Instruments", 10, 40, 150, 200), Line("Harbour Street 4, Riga", 10, 40, 300, 188)]
    assert paragraphs(address) == "Pellandine Instruments\nHarbour Street 4, Riga"


def test_broken_words_are_made_whole_and_names_keep_their_hyphen() -> None:
    assert (
        paragraphs(lines(["Do not be alarmed by an obsta-", "cle in its way"]))
        == "Do not be alarmed by an obstacle in its way"
    )
    assert paragraphs(lines(["Use the MC-", "707 instead"])) == "Use the MC- 707 instead"
    marked = [replace(line, hyphen=n == 0) for n, line in enumerate(lines(["the obsta", "cle"]))]
    assert paragraphs(marked) == "the obstacle"


def test_lines_of_japanese_join_without_a_space() -> None:
    assert paragraphs(lines(["接続するバスマウ", "スを使う"], right=85)) == "接続するバスマウスを使う"


def test_a_paragraph_begins_by_indentation_alone() -> None:
    first = lines(["The first paragraph goes on", "to its end, which is full."])
    first[1] = replace(first[1], right=340)
    second = [*lines(["Here begins another one,"], left=55, top=676), *lines(["and it goes on."], top=664)]
    assert paragraphs([*first, *second]).count("\n\n") == 1


def test_entries_of_a_table_of_contents_stay_apart() -> None:
    entries = lines(["1 Setup . . . . . . . . . . . 3", "2 What you need . . . 5", "3 Care .......... 8"])
    assert paragraphs(entries) == "1 Setup … 3\n2 What you need … 5\n3 Care … 8"


def test_a_dash_within_a_line_is_no_bullet() -> None:
    assert paragraphs(lines(["It works - even at night"])) == "It works - even at night"


def test_bullets_of_symbol_fonts_and_bullets_apart_from_their_text() -> None:
    found = paragraphs(
        [Line("\uf0b7", 10, 40, 45, 700), Line("Plug it in", 10, 58, 110, 700), Line("\uf0b7 Wait", 10, 40, 80, 688)]
    )
    assert found == "- Plug it in\n- Wait"


def test_text_below_a_list_is_not_part_of_it() -> None:
    items = [Line("• one", 10, 60, 90, 700), Line("• two", 10, 60, 90, 688)]
    after = lines(["Then go on with what follows", "here."], top=676)
    assert paragraphs([*items, *after]) == "- one\n- two\n\nThen go on with what follows here."


def test_a_command_in_a_sentence_is_no_code_and_one_below_it_is() -> None:
    sentence = lines(["To see all of them type the words", "list --all --verbose --colour", "and wait for it."])
    sentence[1] = replace(sentence[1], mono=True)
    assert "```" not in paragraphs(sentence)
    below = [*lines(["Type this:"]), Line("list --all", 10, 60, 110, 680, mono=True)]
    assert paragraphs(below) == "Type this:\n\n```\nlist --all\n```"


def test_a_fence_is_longer_than_any_in_the_code() -> None:
    code = [Line("```", 10, 60, 78, 700, mono=True), Line("x", 10, 60, 66, 688, mono=True)]
    assert paragraphs(code) == "````\n```\nx\n````"


def test_no_lines_no_text() -> None:
    assert paragraphs([]) == ""
