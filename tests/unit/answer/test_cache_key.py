from __future__ import annotations

import dataclasses

import orjson
import pytest
from answer_parts import asked

from ray_app.answer import cache
from ray_app.answer.cache import cache_key, decode, encode
from ray_app.records import Answer, AnswerMode, Citation, Question, Turn

ANSWER = Answer(
    answer_id="a1",
    answer="Two years. [1]",
    mode=AnswerMode.EXTRACTIVE,
    citations=(Citation(1, "c" * 32, "https://a.example/#x", "T", "S", "Two years."),),
    confidence=0.8,
    generation="acme:g1",
    timings_ms={"total": 1.0},
)
QUESTION = Question("how long?", brand="acme")


def key(question: Question = QUESTION, generations: str = "acme:g1", models: tuple[str, ...] = ("e", "r", "l")) -> str:
    return cache_key(question, generations=generations, models=models)


@pytest.mark.parametrize(
    "other",
    [
        dataclasses.replace(QUESTION, text="how short?"),
        dataclasses.replace(QUESTION, text="How long?"),
        dataclasses.replace(QUESTION, brand="bolt"),
        dataclasses.replace(QUESTION, product="X"),
        dataclasses.replace(QUESTION, lang="de"),
        dataclasses.replace(QUESTION, k=3),
        dataclasses.replace(QUESTION, use_llm=False),
        dataclasses.replace(QUESTION, history=(Turn("user", "hi"),)),
    ],
)
def test_whatever_changes_the_answer_changes_the_key(other: Question) -> None:
    assert key(other) != key()


def test_index_models_and_prompt_are_part_of_the_key(monkeypatch: pytest.MonkeyPatch) -> None:
    assert key(generations="acme:g2") != key()
    assert key(models=("e2", "r", "l")) != key()
    assert key(models=("e", "rl", "")) != key(models=("e", "r", "l"))
    before = key()
    monkeypatch.setattr(cache, "PROMPT_VERSION", "other")
    assert key() != before


def test_questions_that_look_alike_share_a_key() -> None:
    assert key(asked("  how\u200b long?\n").question) == key(asked("how long?").question)


def test_an_answer_survives() -> None:
    assert decode(encode(ANSWER)) == ANSWER


def _changed(**fields: object) -> bytes:
    stored = orjson.loads(encode(ANSWER))
    stored["answer"].update(fields)
    return orjson.dumps(stored)


@pytest.mark.parametrize(
    "value",
    [
        None,
        b"",
        b"\x80\x04K\x01.",
        b"null",
        b"[]",
        b'{"format": 1}',
        b'{"format": 1, "answer": []}',
        b'{"format": 2, "answer": {}}',
        encode(ANSWER)[:-5],
        encode(ANSWER).replace(b'"format":1', b'"format":0'),
        b"x" * 300_000,
        _changed(mode="other"),
        _changed(citations=[{"n": "one"}]),
        _changed(citations=[]),
        _changed(mode="abstained"),
        _changed(degraded=["redis"]),
        _changed(confidence="high"),
    ],
)
def test_what_is_not_an_answer_of_ours_is_a_miss(value: bytes | None) -> None:
    assert decode(value) is None
