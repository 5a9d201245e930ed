from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from answer_parts import hit

from ray_app.answer.rerank import MaxSimReranker, combine, load_reranker, maxsim, meaningful
from ray_app.config import RetrievalSettings
from ray_app.errors import BadVector, RerankerDown
from ray_app.index.ports import TokenVectors
from ray_app.testing.fakes import HashEmbedder


class Counting(HashEmbedder):
    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        self.texts.extend(texts)
        return super().encode_tokens(texts)


def test_maxsim_is_the_mean_of_the_best_cosines() -> None:
    asked = np.array([[1, 0], [0, 1]], np.float32)
    passage = np.array([[0.6, 0.8], [1, 0]], np.float16)
    assert maxsim(asked, passage) == pytest.approx((1.0 + 0.8) / 2, abs=1e-3)
    assert maxsim(asked, np.empty((0, 2), np.float16)) == 0.0


def test_punctuation_and_asking_words_are_left_out_of_the_question() -> None:
    tokens = ["how", "do", "i", "reset", "it", "?", "##ing", "-"]
    kept = meaningful(TokenVectors(tokens, np.eye(len(tokens), dtype=np.float32)))
    assert kept.argmax(axis=1).tolist() == [3, 6]
    only_asking = TokenVectors(["how"], np.eye(1, dtype=np.float32))
    assert len(meaningful(only_asking)) == 1


async def test_maxsim_puts_the_passage_that_has_the_words_first() -> None:
    scores = await MaxSimReranker(HashEmbedder()).score("reset the router", ["paper for printers", "resets a router"])
    assert scores[1] > scores[0]


async def test_passages_seen_before_are_not_embedded_again() -> None:
    embedder = Counting()
    reranker = MaxSimReranker(embedder)
    first = await reranker.score("reset", ["one passage", "another passage"])
    second = await reranker.score("reset", ["another passage", "one passage"])
    assert second == first[::-1]
    assert embedder.texts.count("one passage") == 1


async def test_what_is_kept_is_bounded() -> None:
    embedder = Counting()
    reranker = MaxSimReranker(embedder, kept_bytes=600)  # two tokens of 128 float16 take 512 bytes
    for _ in range(2):
        await reranker.score("reset", ["one passage", "another passage"])
    assert embedder.texts.count("one passage") == 2
    assert reranker._kept._held <= 600


async def test_an_embedder_that_fails_is_a_reranker_that_is_down() -> None:
    class Broken(HashEmbedder):
        def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
            raise BadVector

    with pytest.raises(RerankerDown, match="BadVector"):
        await MaxSimReranker(Broken()).score("reset", ["a"])


def test_maxsim_can_be_asked_for() -> None:
    reranker, missing = load_reranker(RetrievalSettings(reranker="maxsim"), HashEmbedder())
    assert (reranker.kind, missing) == ("maxsim", None)


def test_a_cross_encoders_order_stands_alone() -> None:
    window = [hit("first", dense=0.9), hit("second", dense=0.5), hit("third", dense=0.1)]
    got = combine(window, [0.1, 0.2, 0.3], "cross-encoder", 0.5)
    assert [h.chunk.text for h in got] == ["third", "second", "first"]
    assert [h.score for h in got] == [0.3, 0.2, 0.1]
    assert got[0].scores == {"dense": 0.1, "bm25": 1.0, "rerank": 0.3}


def test_maxsim_is_joined_with_the_retrieval_score() -> None:
    window = [hit("first", dense=0.9), hit("second", dense=0.5), hit("third", dense=0.1)]
    got = combine(window, [0.2, 0.6, 0.2], "maxsim", 0.5)
    assert [(h.chunk.text, h.score) for h in got] == [
        ("second", pytest.approx(0.75)),
        ("first", pytest.approx(0.5)),
        ("third", pytest.approx(0.0)),
    ]
    assert combine(window, [0.2, 0.6, 0.2], "maxsim", 0.0)[0].chunk.text == "first"
    assert combine([], [], "maxsim", 0.5) == []
