from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import pytest
from answer_parts import hit
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ray_app.answer.cite import Verified, harmless, verify
from ray_app.answer.ports import Draft, Quote
from ray_app.errors import BadVector
from ray_app.records import AnswerMode
from ray_app.testing.fakes import HashEmbedder

HITS = [
    hit("To reset the router hold the button for ten seconds. The lamp turns green.", page="reset", title="Reset"),
    hit("The warranty lasts two years. Keep the receipt.", page="warranty"),
    hit("| Model | Draw |\n|---|---|\n| MC-707 | 2,000 mA |", page="specs"),
]


def checked(text: str, shown: int = 3) -> Verified:
    return verify(Draft(text, AnswerMode.LLM, passages=shown), HITS, HashEmbedder())


def test_a_supported_sentence_keeps_its_citation_with_the_sentence_that_supports_it() -> None:
    got = checked("Hold the button for ten seconds to reset the router [1].")
    assert got.text == "Hold the button for ten seconds to reset the router [1]."
    (citation,) = got.citations
    assert citation.n == 1
    assert citation.quote == "To reset the router hold the button for ten seconds."
    assert citation.url == "https://acme.example/reset#setup"
    assert (citation.title, citation.section, got.dropped) == ("Reset", "Setup", 0)


def test_markers_are_numbered_in_the_order_of_the_text() -> None:
    got = checked("The warranty lasts two years. [2] The lamp turns green [1]. Keep the receipt [2].")
    assert re.findall(r"\[\d\]", got.text) == ["[1]", "[2]", "[3]"]
    assert [c.quote for c in got.citations] == [
        "The warranty lasts two years.",
        "The lamp turns green.",
        "Keep the receipt.",
    ]


def test_a_sentence_cited_twice_has_one_number() -> None:
    got = checked("The warranty lasts two years [2]. Yes, the warranty lasts two years [2].")
    assert re.findall(r"\[\d\]", got.text) == ["[1]", "[1]"]
    assert len(got.citations) == 1


@pytest.mark.parametrize(
    "text",
    [
        "The moon is made of green cheese and nobody lives there [1].",
        "Hold the button for twenty-five minutes, then 25 times [1].",
        "The MC-808 draws 2,000 mA [3].",
        "The warranty lasts two years [7].",
        "The warranty lasts two years [0].",
        "[1]",
        "1. [1]",
    ],
)
def test_what_does_not_hold_is_dropped(text: str) -> None:
    got = checked(text)
    assert got.citations == ()
    assert got.dropped == 1
    assert not re.search(r"\[\d+\]", got.text)


def test_a_passage_that_the_model_was_not_shown_cannot_be_cited() -> None:
    assert checked("The warranty lasts two years [2].", shown=1).citations == ()


def test_lists_of_numbers_and_markers_of_their_own_line() -> None:
    got = checked("The lamp turns green [1, 2].\n\n- The warranty lasts two years\n\n[2]")
    assert [c.quote for c in got.citations] == ["The lamp turns green.", "The warranty lasts two years."]
    assert got.text == "The lamp turns green [1].\n\n- The warranty lasts two years\n\n[2]"
    assert got.dropped == 1


def test_a_table_row_supports_its_numbers() -> None:
    got = checked("The MC-707 draws 2,000 mA [3].")
    assert got.citations[0].quote == "| MC-707 | 2,000 mA |"


def test_words_decide_when_the_embedder_fails() -> None:
    class Broken(HashEmbedder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            raise BadVector

    draft = Draft("The warranty lasts two years [2]. Cheese is green [2].", AnswerMode.LLM, passages=3)
    got = verify(draft, HITS, Broken())
    assert [c.quote for c in got.citations] == ["The warranty lasts two years."]


def test_code_is_left_alone() -> None:
    got = checked("The lamp turns green [1].\n\n```py\nx = a[1]\n```")
    assert got.text.endswith("x = a[1]\n```")
    assert got.dropped == 0


@pytest.mark.parametrize(
    ("text", "wanted"),
    [
        ("See ![x](https://evil.example/?q=secret) here", "See x here"),
        ("Go [there](https://evil.example/a) now", "Go there now"),
        ("Go [there](javascript:alert(1)) now", "Go there) now"),
        ("Open https://evil.example/steal?d=1 now", "Open  now"),
        ("Open https://acme.example/reset now", "Open https://acme.example/reset now"),
        ('<img src="https://evil.example/x"> hi <script>alert(1)</script>', " hi alert(1)"),
        ("a < b and c > d", "a < b and c > d"),
    ],
)
def test_links_to_elsewhere_images_and_tags_do_not_survive(text: str, wanted: str) -> None:
    assert harmless(text, HITS) == wanted


def test_quotes_that_stand_in_their_passage_hold() -> None:
    draft = Draft("Keep the receipt. [1]", AnswerMode.EXTRACTIVE, (Quote(2, "Keep the receipt."),))
    got = verify(draft, HITS, HashEmbedder())
    assert (got.text, got.citations[0].quote, got.dropped) == ("Keep the receipt. [1]", "Keep the receipt.", 0)


@pytest.mark.parametrize("quote", [Quote(2, "Keep the money."), Quote(9, "Keep the receipt."), Quote(0, "")])
def test_a_quote_that_does_not_stand_there_spoils_the_draft(quote: Quote) -> None:
    got = verify(Draft("Keep it. [1]", AnswerMode.EXTRACTIVE, (quote,)), HITS, HashEmbedder())
    assert (got.text, got.citations) == ("", ())


@given(st.text(alphabet="The warranty lasts two years.[]123, \n-`", max_size=200))
def test_every_marker_left_has_its_citation(text: str) -> None:
    got = checked(text)
    prose = re.sub(r"(?s)(`{3,}|~{3,}).*", "", got.text)
    found = {int(n) for n in re.findall(r"(?<=\[)\d{1,3}(?=\])", prose)}
    assert found <= {c.n for c in got.citations}
    assert [c.n for c in got.citations] == list(range(1, len(got.citations) + 1))
    assert all(c.quote in next(h for h in HITS if h.chunk.chunk_id == c.chunk_id).chunk.text for c in got.citations)
