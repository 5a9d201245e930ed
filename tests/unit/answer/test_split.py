from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from ray_app.answer.split import MAX_UNITS, UnitKind, sentences, units


def texts(markdown: str) -> list[str]:
    return [u.text for u in units(markdown)]


def test_sentences_and_what_is_not_their_end() -> None:
    text = 'Use approx. 3.5 V, e.g. a cell. Dr. No said "Stop." Then it stops! Version 2.0 is out. See fig. 3.'
    assert texts(text) == [
        "Use approx. 3.5 V, e.g. a cell.",
        'Dr. No said "Stop."',
        "Then it stops!",
        "Version 2.0 is out.",
        "See fig. 3.",
    ]


def test_markers_belong_to_the_sentence_before() -> None:
    assert [u.text for u in sentences("Press it. [1][2] Then wait. [3]")] == ["Press it. [1][2]", "Then wait. [3]"]


def test_cjk_sentences_need_no_space() -> None:
    assert texts("按下按钮。等待十秒。") == ["按下按钮。", "等待十秒。"]


def test_steps_items_and_their_continuations() -> None:
    text = "Do this:\n\n1. Unplug.\n   Wait a bit.\n2. Plug in.\n\n- red\n- green"
    found = units(text)
    assert [(u.kind, u.text) for u in found] == [
        (UnitKind.SENTENCE, "Do this:"),
        (UnitKind.STEP, "1. Unplug.\n   Wait a bit."),
        (UnitKind.STEP, "2. Plug in."),
        (UnitKind.ITEM, "- red"),
        (UnitKind.ITEM, "- green"),
    ]
    assert found[1].block == found[2].block != found[0].block


def test_rows_know_their_header() -> None:
    found = units("Weights:\n| Model | kg |\n|---|---:|\n| A | 1 |\n| B | 2 |\n\nDone now.")
    rows = [u for u in found if u.kind is UnitKind.ROW]
    assert [r.text for r in rows] == ["| A | 1 |", "| B | 2 |"]
    assert {r.header for r in rows} == {"| Model | kg |\n|---|---:|"}
    assert found[-1].text == "Done now."


def test_code_stays_whole_and_an_open_fence_ends_with_the_text() -> None:
    assert texts("Run:\n```sh\nrm -r x\n\n1. not a step\n```\nFine then.") == [
        "Run:",
        "```sh\nrm -r x\n\n1. not a step\n```",
        "Fine then.",
    ]
    assert [u.kind for u in units("```\nopen\nend")] == [UnitKind.CODE]


def test_headings_are_not_sentences() -> None:
    assert [u.kind for u in units("# Title\nText here.")] == [UnitKind.HEADING, UnitKind.SENTENCE]


@given(st.text(alphabet="ab.!? \n|-1)`#*[]。\u0301", max_size=300))
def test_every_unit_is_a_slice_and_they_do_not_overlap(text: str) -> None:
    found = units(text)
    assert len(found) <= MAX_UNITS
    at = 0
    for unit in found:
        assert text[unit.start : unit.end] == unit.text
        assert unit.start >= at
        at = unit.end
        assert unit.text.strip()


def test_long_texts_are_cut_off() -> None:
    assert len(units("One more line. " * 10_000)) == MAX_UNITS
