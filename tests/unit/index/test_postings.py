from __future__ import annotations

import random
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from rank_bm25 import BM25Okapi

from ray_app.index import postings
from ray_app.index.keywords import KeywordIndex
from ray_app.index.postings import FILES, Run, RunWriter, merge, run_of

K1, B = 1.2, 0.75
# neighbours in the alphabet, words that begin alike or with each other, and words of several bytes a letter
WORDS = st.sampled_from(
    ["a", "b", "c", "ab", "reset", "resetting", "resettingx", "é", "שלום", "電源", "\U0001f600", "z"]
)
CORPORA = st.lists(st.lists(WORDS, max_size=8), max_size=8)
CHANGES = st.tuples(st.sets(st.integers(0, 20)), CORPORA, st.randoms(use_true_random=False))


def identity(run: Run, first: int = 0) -> np.ndarray:
    return np.arange(first, first + len(run), dtype=np.int32)


def written(folder: Path, documents: list[list[str]], run_tokens: int = 10, stemming: bool = False) -> list[Run]:
    writer = RunWriter(folder, stemming=stemming, run_tokens=run_tokens)
    for document in documents:
        writer.add([document])
    return writer.close()


def of_documents(folder: Path, documents: list[list[str]], run_tokens: int = 10) -> KeywordIndex:
    (folder / "runs").mkdir(parents=True)
    runs, first = [], 0
    for run in written(folder / "runs", documents, run_tokens):
        runs.append((run, identity(run, first)))
        first += len(run)
    merge(runs, first, folder, K1, B)
    return KeywordIndex.open(folder)


def assert_same(index: KeywordIndex, other: KeywordIndex) -> None:
    for name in FILES:
        ours, theirs = getattr(index, name), getattr(other, name)
        assert ours.dtype == theirs.dtype, name
        np.testing.assert_array_equal(ours, theirs, err_msg=name)


@given(CORPORA, st.lists(CHANGES, max_size=4), st.lists(WORDS, max_size=5))
@settings(max_examples=60, deadline=None)
def test_any_sequence_of_changes_scores_as_rank_bm25_does(
    corpus: list[list[str]], changes: list[tuple[set[int], list[list[str]], random.Random]], query: list[str]
) -> None:
    """Also those with unknown and repeated words, empty documents, and words of half or more of the documents."""
    query = [*query, *query[:1], "never"]
    with TemporaryDirectory() as root:
        documents, index = corpus, of_documents(Path(root, "0"), corpus)
        for number, (removed, added, chance) in enumerate(changes, start=1):
            kept = [i for i in range(len(documents)) if i not in removed]
            new = [documents[i] for i in kept] + added
            order = chance.sample(range(len(new)), len(new))  # where each goes; not monotone
            of_old = np.full(len(documents), -1, np.int32)
            of_old[kept] = order[: len(kept)]
            of_new = np.array(order[len(kept) :], np.int32)
            folder = Path(root, str(number))
            (folder / "runs").mkdir(parents=True)
            runs, start = [(index.as_run(), of_old)], 0
            for run in written(folder / "runs", added):
                runs.append((run, of_new[start : start + len(run)]))
                start += len(run)
            merge(runs, len(new), folder, K1, B)
            index, documents = KeywordIndex.open(folder), [[]] * len(new)
            for place, tokens in zip(order, new, strict=True):
                documents[place] = tokens
        assert_same(index, KeywordIndex.build(documents, K1, B))
        if any(documents):
            oracle = BM25Okapi(documents, k1=K1, b=B).get_scores(query)
            np.testing.assert_allclose(index.scores(query), oracle, atol=1e-5, rtol=0)


@pytest.mark.parametrize(("block_postings", "block_terms"), [(1, 1), (3, 2), (2_000_000, 3)])
def test_pieces_do_not_show(
    block_postings: int, block_terms: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chance = random.Random(7)
    documents = [[f"w{int(chance.paretovariate(0.6))}" for _ in range(chance.randrange(9))] for _ in range(60)]
    monkeypatch.setattr(postings, "BLOCK_POSTINGS", block_postings)
    monkeypatch.setattr(postings, "BLOCK_TERMS", block_terms)
    monkeypatch.setattr(postings, "BATCH", 4)
    index = of_documents(tmp_path / "index", documents, run_tokens=50)
    monkeypatch.undo()
    assert len(list((tmp_path / "index" / "runs").iterdir())) > 3
    assert_same(index, KeywordIndex.build(documents, K1, B))


def test_everything_can_be_removed_and_added_again(tmp_path: Path) -> None:
    documents = [["a", "b"], ["b"]]
    run = run_of(documents)
    (tmp_path / "none").mkdir()
    merge([(run, np.array([-1, -1], np.int32))], 0, tmp_path / "none", K1, B)
    none = KeywordIndex.open(tmp_path / "none")
    assert (len(none), len(none.idf), none.scores(["a"]).tolist()) == (0, 0, [])
    (tmp_path / "again").mkdir()
    merge([(none.as_run(), np.empty(0, np.int32)), (run, identity(run))], 2, tmp_path / "again", K1, B)
    assert_same(KeywordIndex.open(tmp_path / "again"), KeywordIndex.build(documents, K1, B))


def test_nothing_at_all_is_an_index_of_empty_documents(tmp_path: Path) -> None:
    merge([], 3, tmp_path, K1, B)
    assert KeywordIndex.open(tmp_path).scores(["a"]).tolist() == [0, 0, 0]


def test_a_writer_without_documents_gives_one_empty_run(tmp_path: Path) -> None:
    assert [len(run) for run in written(tmp_path, [])] == [0]


def test_counts_are_never_capped(tmp_path: Path) -> None:
    documents = [["a"] * 70_000 + ["b"], ["b"], ["c"]]
    index = of_documents(tmp_path / "index", documents)
    assert index.counts.max() == 70_000
    small = KeywordIndex.build(documents[1:], K1, B)
    assert small.counts.dtype == np.uint16
    (tmp_path / "both").mkdir()
    runs = [(small.as_run(), identity(small.as_run())), (index.as_run(), identity(index.as_run(), 2))]
    merge(runs, 5, tmp_path / "both", K1, B)
    assert_same(KeywordIndex.open(tmp_path / "both"), KeywordIndex.build(documents[1:] + documents, K1, B))


@pytest.mark.parametrize(
    ("places", "size", "wrong"),
    [([0, 0], 2, "same row"), ([0, 2], 2, "not among"), ([0], 2, "does not fit"), ([1, 1], 2, "same row")],
)
def test_wrong_maps_are_refused(places: list[int], size: int, wrong: str, tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=wrong):
        merge([(run_of([["a"], ["b"]]), np.array(places, np.int32))], size, tmp_path, K1, B)


def test_stems_are_indexed_and_remembered(tmp_path: Path) -> None:
    documents = [["resets", "the", "הגדרות"], ["reset", "mc-707s"], ["running"]]
    run = written(tmp_path, documents, stemming=True)[0]
    terms = {name.decode() for name in run.names(0, run.vocabulary)}
    assert terms == {"reset", "the", "הגדרות", "mc-707s", "run"}
    merge([(run, identity(run))], 3, tmp_path, K1, B)
    index = KeywordIndex.open(tmp_path)
    assert index.stemmed
    assert index.as_run().stemmed
    assert index.df("reset") == 2


def test_stems_and_words_do_not_mix(tmp_path: Path) -> None:
    words = run_of([["reset"]])
    stems = written(tmp_path, [["reset"]], stemming=True)[0]
    with pytest.raises(ValueError, match="cannot be merged"):
        merge([(words, identity(words)), (stems, identity(stems, 1))], 2, tmp_path, K1, B)
    merge([(words, np.array([-1], np.int32)), (stems, identity(stems))], 1, tmp_path, K1, B)
    assert KeywordIndex.open(tmp_path).stemmed
