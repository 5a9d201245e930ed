from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from ray_app.index.keywords import FILES, KeywordIndex, tokenise

WORDS = st.sampled_from(["reset", "power", "mc-707", "707", "שלום", "電源", "a", "b", "c", "d", "e", "f"])
CORPORA = st.lists(st.lists(WORDS, max_size=12), min_size=1, max_size=12).filter(any)

TEXTS = [
    "Reset the MC-707 with the power button",
    "Power supply of the RD-2000 and its fuse",
    "Export the report as CSV from the dashboard",
    "The dashboard shows the power used per day",
    "Error E-42: the fuse is blown",
    "How refunds are paid",
    "Connect the cable to port two",
]


@given(CORPORA, st.lists(WORDS, max_size=6), st.floats(0.5, 2.5), st.floats(0, 0.95))
@settings(max_examples=80, deadline=None)
def test_scores_equal_rank_bm25(corpus: list[list[str]], query: list[str], k1: float, b: float) -> None:
    """Short of b = 1, where rank-bm25 divides zero by zero for an empty document."""
    oracle = BM25Okapi(corpus, k1=k1, b=b).get_scores(query)
    np.testing.assert_allclose(KeywordIndex.build(corpus, k1, b).scores(query), oracle, atol=1e-5, rtol=0)


@given(CORPORA, st.lists(WORDS, min_size=1, max_size=4))
@settings(max_examples=50, deadline=None)
def test_search_finds_just_the_documents_that_hold_a_word(corpus: list[list[str]], query: list[str]) -> None:
    found, scores = KeywordIndex.build(corpus, 1.2, 0.75).search(query, 100)
    assert set(found.tolist()) == {i for i, words in enumerate(corpus) if set(words) & set(query)}
    assert (scores > 0).all()
    assert (np.diff(scores) <= 0).all()


def test_a_saved_index_is_mapped_and_answers_the_same(tmp_path: Path) -> None:
    built = KeywordIndex.build(map(tokenise, TEXTS), 1.2, 0.75)
    paths = built.save(tmp_path)
    opened = KeywordIndex.open(tmp_path)
    assert sorted(p.stem for p in paths) == sorted(FILES)
    assert isinstance(opened.postings.base, np.memmap)
    assert len(opened) == len(TEXTS)
    for question in ("MC-707 power", "fuse", "E-42", "nothing of this"):
        query = tokenise(question)
        np.testing.assert_array_equal(opened.scores(query), built.scores(query))
        np.testing.assert_array_equal(opened.search(query, 3)[0], built.search(query, 3)[0])


def test_search_returns_the_best_first_and_no_more_than_k() -> None:
    index = KeywordIndex.build(map(tokenise, TEXTS), 1.2, 0.75)
    found, scores = index.search(tokenise("reset mc-707 power"), 2)
    assert found[0] == 0
    assert len(found) == len(scores) == 2
    assert index.search(tokenise("power"), 0)[0].size == 0


def test_df_counts_documents() -> None:
    index = KeywordIndex.build([["a", "a", "b"], ["b"], []], 1.2, 0.75)
    assert [index.df(t) for t in ("a", "b", "z", "", "\ud800")] == [1, 2, 0, 0, 0]


@pytest.mark.parametrize("corpus", [[], [[]], [[], []]])
def test_an_empty_corpus_answers_nothing(corpus: list[list[str]], tmp_path: Path) -> None:
    KeywordIndex.build(corpus, 1.2, 0.75).save(tmp_path)
    index = KeywordIndex.open(tmp_path)
    assert len(index) == len(corpus)
    assert index.search(["a"], 5)[0].size == 0
    assert index.scores(["a"]).tolist() == [0.0] * len(corpus)


def test_a_brand_of_one_page_can_be_searched() -> None:
    """rank-bm25 scores it below zero: every word stands in over half of the documents."""
    index = KeywordIndex.build([["reset", "power"]], 1.2, 0.75)
    assert index.scores(["reset"])[0] < 0
    assert index.search(["reset"], 5)[0].tolist() == [0]


def test_documents_are_read_once() -> None:
    assert len(KeywordIndex.build(iter([["a"], ["b"]]), 1.2, 0.75)) == 2
