from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from answer_parts import CORPUS, asked, hit
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from ray_app.answer.generate import MAX_PASSAGES, MAX_QUOTES, ExtractiveGenerator
from ray_app.answer.ports import Draft
from ray_app.errors import BadVector
from ray_app.records import AnswerMode, Hit
from ray_app.testing.fakes import HashEmbedder

GENERATOR = ExtractiveGenerator(HashEmbedder())


def draft(question: str, *texts: str) -> Draft:
    return GENERATOR.quote(asked(question), [hit(text) for text in texts])


async def test_the_best_sentence_is_quoted_with_its_marker() -> None:
    got = await GENERATOR.generate(
        asked("How long does the warranty last?"),
        [hit("The box is blue. The warranty lasts two years from the day of purchase. Keep the receipt, please.")],
    )
    assert got.mode is AnswerMode.EXTRACTIVE
    assert got.text == "The warranty lasts two years from the day of purchase. [1]"
    assert [(q.n, q.text) for q in got.quotes] == [(1, "The warranty lasts two years from the day of purchase.")]


def test_a_lead_in_brings_its_steps() -> None:
    reset = CORPUS["acme"][0]
    got = GENERATOR.quote(asked("reset the router to factory settings"), [Hit(reset, 1.0, {"dense": 0.8})])
    assert got.quotes[0].text == reset.text[: reset.text.index("\n\nAll")]
    assert got.text.endswith("turns green. [1]")


def test_a_step_brings_its_fellows_and_their_lead_in() -> None:
    text = "To begin:\n1. Hold the reset button for ten seconds.\n2. Wait.\n\nOther things are explained elsewhere."
    got = draft("hold the reset button ten seconds", text)
    assert got.quotes[0].text == text[: text.index("\n\n")]


def test_a_long_list_is_not_dragged_in() -> None:
    steps = "\n".join(f"{n}. Turn screw number {n} of the lid." for n in range(1, 40))
    got = draft("screw number 17", steps)
    assert len(got.text) < 400


def test_a_table_row_is_quoted_under_its_header() -> None:
    specs = CORPUS["acme"][1]
    got = GENERATOR.quote(asked("MC-707 power draw"), [Hit(specs, 1.0, {"dense": 0.6})])
    assert "| MC-707 | 2,000 mA |" in [q.text for q in got.quotes]
    assert "| Model | Power draw |\n|---|---|\n| MC-707 | 2,000 mA |\n\n[" in got.text


def test_code_is_quoted_as_code() -> None:
    text = "To restart the server, run:\n\n```sh\nservice web restart\n```\n\nNothing else is needed here."
    got = draft("restart the server", text)
    assert got.quotes[0].text.endswith("```sh\nservice web restart\n```")
    assert got.text.startswith("To restart the server, run:\n\n```sh")
    assert "```\n\n[1]" in got.text


def test_neighbours_stay_together_in_the_order_of_the_page() -> None:
    text = "Reset the router with the button. The sky is wide today. The button to reset the router is red."
    got = draft("reset router button", text)
    assert [q.text for q in got.quotes] == [
        "Reset the router with the button.",
        "The button to reset the router is red.",
    ]
    together = draft("reset router button", text.replace("The sky is wide today. ", ""))
    assert len(together.quotes) == 1


def test_the_same_sentence_of_two_pages_is_quoted_once() -> None:
    got = draft("reset the router", "Reset the router now please.", "Reset the router, now, please!")
    assert len(got.quotes) == 1


def test_numbers_in_brackets_of_the_page_are_not_markers() -> None:
    got = draft("which key resets", "The reset key is [5] on the left side [12, 13].")
    assert got.text == "The reset key is (5) on the left side (12, 13). [1]"
    assert got.quotes[0].text == "The reset key is [5] on the left side [12, 13]."


def test_a_passage_without_text_gives_an_empty_draft() -> None:
    assert draft("reset", "# Heading only", "").text == ""
    assert GENERATOR.quote(asked("reset"), []).text == ""


def test_when_the_embedder_fails_words_decide() -> None:
    class Broken(HashEmbedder):
        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            raise BadVector

    hits = [hit("The sky is wide today. Reset the router with a pin. Rain falls down.")]
    got = ExtractiveGenerator(Broken()).quote(asked("reset the router"), hits)
    assert got.quotes[0].text == "Reset the router with a pin."


@given(st.lists(st.text(alphabet="reset router. |-\n1)`#é?", max_size=200), max_size=8))
def test_quotes_are_slices_and_few(texts: list[str]) -> None:
    got = draft("reset the router", *texts)
    assert len(got.quotes) <= MAX_QUOTES
    assert len({q.n for q in got.quotes}) <= MAX_PASSAGES
    assert all(q.text in texts[q.n - 1] and f"[{i}]" in got.text for i, q in enumerate(got.quotes, start=1))


@pytest.mark.parametrize("text", ["{0} {question!r} %s reset", "reset ${PATH} {{x}}"])
def test_braces_of_a_page_stay_as_they_are(text: str) -> None:
    assert draft("reset", text).quotes[0].text == text
