from __future__ import annotations

import numpy as np

from ray_app.index.ports import Embedder
from ray_app.testing.fakes import HashEmbedder, quote_first_line


def test_the_twin_satisfies_the_port() -> None:
    embedder: Embedder = HashEmbedder()
    vectors = embedder.encode(["reset the router", "reset the router", "printer paper", "", "🙂"])
    assert vectors.shape == (5, embedder.model.dim)
    assert vectors.dtype == np.float32
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1.0, atol=1e-5)
    assert np.array_equal(vectors[0], vectors[1])
    assert embedder.encode([]).shape == (0, embedder.model.dim)
    assert embedder.count("reset it, now") == 4


def test_texts_that_share_words_are_alike() -> None:
    question, near, far = HashEmbedder().encode(["how to reset the router", "resetting a router", "printer paper tray"])
    assert question @ near > 0.3 > question @ far


def test_token_vectors_have_length_one() -> None:
    (tokens,) = HashEmbedder().encode_tokens(["Reset it now!"])
    assert tokens.tokens == ["reset", "it", "now", "!"]
    assert np.allclose(np.linalg.norm(tokens.vectors, axis=1), 1.0, atol=1e-5)


def test_the_default_reply_quotes_or_says_no() -> None:
    prompt = [{"role": "user", "content": "<passage 1 ab>\nTitle\nThe text.\n</passage 1 ab>\n\n<question ab>"}]
    assert quote_first_line(prompt) == "The text. [1]"
    assert quote_first_line([{"role": "user", "content": "hi"}]) == "NO_ANSWER"
    assert quote_first_line([]) == "NO_ANSWER"
