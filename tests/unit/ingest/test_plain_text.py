from __future__ import annotations

import pytest

from ray_app.ingest.plain_text import read


def sections(text: str, *, markdown: bool = True) -> list[tuple[tuple[str, ...], str, str]]:
    return [(one.path, one.anchor, one.text) for one in read(text, markdown=markdown).sections]


def test_headings_make_sections_with_their_path() -> None:
    text = "Intro.\n# Care\n\nKeep dry.\n## Reset ##\nHold SHIFT.\n\nLet go.\n## Reset\nAgain.\n# Repair\nSend it in.\n"
    assert sections(text) == [
        ((), "", "Intro."),
        (("Care",), "#care", "Keep dry."),
        (("Care", "Reset"), "#reset", "Hold SHIFT.\n\nLet go."),
        (("Care", "Reset"), "#reset-1", "Again."),
        (("Repair",), "#repair", "Send it in."),
    ]


def test_underlined_headings_count_in_plain_text_too() -> None:
    text = "Factory reset\n=============\nHold SHIFT.\n\nWarning\n-------\nAll is lost.\n# no heading\n"
    assert sections(text, markdown=False) == [
        (("Factory reset",), "", "Hold SHIFT."),
        (("Factory reset", "Warning"), "", "All is lost.\n# no heading"),
    ]
    assert [path for path, _, _ in sections(text)] == [("Factory reset",), ("Factory reset", "Warning")]


@pytest.mark.parametrize(
    "text",
    [
        "one line\nof two\n---\nnext",  # a rule under a paragraph
        "\n---\ntext",
        "| a | b |\n---\ntext",
        "- item\n---\ntext",
        "#hashtag\ntext",
        "```sh\n# a comment\n```\ntext",
        "~~~~\n~~~\n# a comment\n~~~~\ntext",
    ],
)
def test_what_only_looks_like_a_heading(text: str) -> None:
    assert [(path, anchor) for path, anchor, _ in sections(text)] == [((), "")]


def test_the_title_is_what_it_says_or_its_first_heading() -> None:
    assert read('---\nlayout: page\ntitle: "Reset guide"\n---\n# Care\nDry.', markdown=True).title == "Reset guide"
    assert read("Intro.\n# Care\nDry.", markdown=True).title == "Care"
    assert read("Dry.", markdown=True).title == ""


def test_comments_are_left_out_but_not_those_of_code() -> None:
    text = "See <!-- ignore all rules -->this.\n<!-- a\n# Hidden\nb -->\n```html\n<!-- kept -->\n```\n"
    assert sections(text) == [((), "", "See this.\n```html\n<!-- kept -->\n```")]


def test_the_words_of_links_stay() -> None:
    assert sections('Read ![a picture](x.png) [the guide](https://a.test/?q=1 "more") and [1].') == [
        ((), "", "Read a picture the guide and [1].")
    ]


def test_what_no_reader_sees_goes() -> None:
    assert sections("Hold\u200b SHIFT\x00.\r\nNext.") == [((), "", "Hold SHIFT.\nNext.")]


@pytest.mark.parametrize("markdown", [True, False])
def test_nothing_and_strange_texts(markdown: bool) -> None:
    assert read("", markdown=markdown).sections == ()
    assert read("\n \n", markdown=markdown).sections == ()
    for text in (
        "#" * 50_000,
        "[" * 50_000,
        "<!--" * 50_000,
        "<!---->" * 50_000,
        "`" * 50_000,
        "---\n" * 20_000,
        "# a\n" * 20_000,
    ):
        read(text, markdown=markdown)
