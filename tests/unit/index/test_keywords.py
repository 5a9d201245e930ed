from __future__ import annotations

import random
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from ray_app.index import keywords
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


@st.composite
def filtered(draw: st.DrawFn) -> tuple[list[list[str]], list[str], int, np.ndarray | None]:
    """A corpus, a query, k, and sorted disjoint ranges of rows, or none."""
    corpus = draw(st.lists(st.lists(WORDS, max_size=6), max_size=40))
    edges = sorted(draw(st.sets(st.integers(0, len(corpus)), max_size=10)))
    rows = np.array(edges[: len(edges) // 2 * 2], np.int64).reshape(-1, 2)
    return corpus, draw(st.lists(WORDS, max_size=5)), draw(st.integers(0, 45)), draw(st.sampled_from([None, rows]))


WAYS = {  # what the constants decide for large corpora, forced on small ones
    "as it is": {},
    "all": {"SMALL": 0, "DENSE": 1 << 40, "ERASE": 1 << 40, "MOST_ROWS": 4, "GROUPS": 1},
    "touched": {"SMALL": 0, "DENSE": 0, "ERASE": 0, "TOGETHER": 0, "FEW_GAPS": 0, "GROUPS": 2},
    "without scipy": {"csc_matvec": None},
}


@pytest.mark.parametrize("way", WAYS)
@given(case=filtered())
@settings(max_examples=60, deadline=None)
def test_search_gives_the_best_of_the_scores_in_the_rows(
    way: str, case: tuple[list[list[str]], list[str], int, np.ndarray | None]
) -> None:
    corpus, query, k, rows = case
    index = KeywordIndex.build(corpus, 1.2, 0.75)
    scores = index.scores_at(query, np.arange(len(corpus)))
    if rows is not None:
        inside = np.zeros(len(corpus), np.bool_)
        for start, stop in rows.tolist():
            inside[start:stop] = True
        scores[~inside] = 0
    expected = [i for i in np.lexsort((np.arange(len(corpus)), -scores)).tolist() if scores[i] > 0][:k]
    with pytest.MonkeyPatch.context() as patch:
        for name, value in WAYS[way].items():
            patch.setattr(keywords, name, value)
        for _ in range(2):  # the scores in between are those of the search before
            found, values = index.search(query, k, rows)
            np.testing.assert_allclose(values, scores[expected], atol=1e-5, rtol=0)
            assert found.tolist() == expected


def test_scores_at_are_those_of_bm25_where_no_word_is_in_half_of_the_documents() -> None:
    index = KeywordIndex.build(map(tokenise, TEXTS), 1.2, 0.75)
    query = tokenise("MC-707 fuse fuse refunds unknown")
    places = np.array([4, 0, 0, 6])
    np.testing.assert_allclose(index.scores_at(query, places), index.scores(query)[places], atol=1e-6)


def test_terms_that_begin_alike_are_told_apart() -> None:
    words = ["abcdefgh", "abcdefghi", "abcdefghij", "abcdefgi", "abcdefg", "é" * 9, "é" * 8]
    index = KeywordIndex.build([[word] for word in words], 1.2, 0.75)
    assert [index.df(word) for word in words] == [1] * len(words)
    assert [index.df(word) for word in ("abcdefghh", "abcdef", "abcdefghijk", "é" * 10, "é" * 4, "z")] == [0] * 6


@pytest.mark.parametrize(("documents", "idf"), [([["a"], ["b"]], "zero"), ([["a"], ["a"], ["b"]], "a quarter")])
def test_words_of_half_and_more_of_the_documents_are_found(documents: list[list[str]], idf: str) -> None:
    """rank-bm25 gives the first no score at all, and the other less than to a document without the word."""
    index = KeywordIndex.build(documents, 1.2, 0.75)
    assert index.scores(["a"])[0] <= 0
    found, scores = index.search(["a"], 5)
    assert found.tolist() == [i for i, words in enumerate(documents) if "a" in words]
    assert ((scores > 0) & (scores < 0.01)).all()


def test_threads_do_not_see_the_scores_of_one_another() -> None:
    chance = random.Random(7)
    corpus = [[f"w{int(chance.paretovariate(0.5)) % 500}" for _ in range(20)] for _ in range(3_000)]
    index = KeywordIndex.build(corpus, 1.2, 0.75)
    small = KeywordIndex.build(corpus[:100], 1.2, 0.75)
    queries = [corpus[chance.randrange(100)][:4] for _ in range(200)]
    expected = [(index.search(q, 10)[0].tolist(), small.search(q, 10)[0].tolist()) for q in queries]
    with ThreadPoolExecutor(4) as pool:
        answers = pool.map(lambda q: (index.search(q, 10)[0].tolist(), small.search(q, 10)[0].tolist()), queries)
        assert list(answers) == expected


def test_after_an_error_the_next_search_starts_from_zeros(monkeypatch: pytest.MonkeyPatch) -> None:
    index = KeywordIndex.build([["a"], ["b"], ["b", "c"], ["d"], ["e"]], 1.2, 0.75)
    expected = index.search(["a", "b"], 5)[1].tolist()
    with monkeypatch.context() as patch:
        patch.setattr(keywords, "_erase", None)
        with pytest.raises(TypeError):
            index.search(["a", "b"], 5)
    assert index.search(["a", "b"], 5)[1].tolist() == expected


def test_a_stemmed_index_folds_its_questions() -> None:
    texts = ["Resetting the device", "Power settings", "איפוס הגדרות", "one", "two"]
    index = KeywordIndex.build(map(tokenise, texts), 1.2, 0.75, stemming=True)
    assert index.search(tokenise("resets"), 5)[0].tolist() == [0]
    assert index.df("resetting") == index.df("reset") == 1
    assert index.search(tokenise("הגדרות"), 5)[0].tolist() == [2]
    assert KeywordIndex.build(map(tokenise, texts), 1.2, 0.75).search(tokenise("resets"), 5)[0].size == 0


def test_what_was_looked_up_is_not_kept_without_bounds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(keywords, "RECENT", 3)
    index = KeywordIndex.build([["a"], ["b"], ["c"]], 1.2, 0.75)
    for _ in range(2):
        assert [index.df(word) for word in ["a", "x1", "b", "x2", "x3", "c"]] == [1, 0, 1, 0, 0, 1]
    assert len(index.recent) <= 4


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
