from __future__ import annotations

import json
from pathlib import Path

import pytest

from ray_app.config import Settings, with_changes
from ray_app.errors import ConfigError
from ray_app.evaluate.run import STAGES, chunks_of, collapse, evaluate_beir, write_runs
from ray_app.evaluate.sets import Record
from ray_app.records import Hit
from ray_app.testing.fakes import HashEmbedder

TOPICS = "router printer kettle camera guitar drum laptop phone speaker mixer lamp bicycle".split()  # noqa: SIM905


@pytest.fixture
def settings(settings: Settings) -> Settings:
    return with_changes(settings, retrieval={"reranker": "maxsim"})


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    path = tmp_path / "toy"
    path.mkdir()
    corpus = [{"_id": t, "title": f"The {t}", "text": f"To reset the {t} hold its button."} for t in TOPICS]
    queries = [{"_id": f"q-{t}", "text": f"How do I reset my {t}?"} for t in TOPICS] + [{"_id": "q-odd", "text": "?!"}]
    (path / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)))
    (path / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)))
    lines = ["query-id\tcorpus-id\tscore", *(f"q-{t}\t{t}\t1" for t in TOPICS), "q-odd\trouter\t1"]
    (path / "qrels.tsv").write_text("\n".join(lines))
    return path


def test_every_stage_is_measured_and_nothing_is_left_behind(folder: Path, settings: Settings, tmp_path: Path) -> None:
    seen: list[tuple[str, int, int]] = []
    report = evaluate_beir(
        folder, settings, HashEmbedder(), workdir=tmp_path / "work", progress=lambda *p: seen.append(p)
    )
    got = report.as_dict()
    assert list(got) == ["set", "queries", "documents", "stages", "seconds"]
    assert (got["set"], got["queries"], got["documents"]) == ("toy", 13, 12)
    assert tuple(got["stages"]) == STAGES
    found = pytest.approx(12 / 13, abs=1e-3)  # the question without words finds nothing
    assert all(m == {"ndcg@10": found, "recall@100": found, "mrr@10": found} for m in got["stages"].values())
    assert got["seconds"].keys() == {"index", "embed", "retrieve", "rerank"}
    assert seen[-1] == ("queries", 13, 13)
    assert list((tmp_path / "work").iterdir()) == []


def test_limit_and_stages(folder: Path, settings: Settings) -> None:
    report = evaluate_beir(folder, settings, HashEmbedder(), limit=3, stages=["bm25"])
    assert (report.queries, list(report.stages), list(report.runs)) == (3, ["bm25"], ["bm25"])
    with pytest.raises(ConfigError, match="'magic'"):
        evaluate_beir(folder, settings, HashEmbedder(), stages=["magic"])


def test_rankings_do_not_depend_on_the_judgements(folder: Path, settings: Settings) -> None:
    before = evaluate_beir(folder, settings, HashEmbedder()).runs
    lines = (folder / "qrels.tsv").read_text().splitlines()
    (folder / "qrels.tsv").write_text("\n".join([lines[0], *(f"q-{t}\tlamp\t1" for t in TOPICS), "q-odd\tlamp\t1"]))
    assert evaluate_beir(folder, settings, HashEmbedder()).runs == before


def test_a_run_file_per_stage(folder: Path, settings: Settings, tmp_path: Path) -> None:
    report = evaluate_beir(folder, settings, HashEmbedder(), limit=2, stages=["dense", "fused"])
    written = write_runs(report, tmp_path / "runs" / "toy.trec")
    assert [p.name for p in written] == ["toy.dense.trec", "toy.fused.trec"]
    rows = [line.split() for line in written[1].read_text().splitlines()]
    assert all(len(row) == 6 and row[1] == "Q0" and row[5] == "fused" for row in rows)
    assert [row[0] for row in rows if row[3] == "1"] == ["q-router", "q-printer"]
    scores = [float(row[4]) for row in rows if row[0] == "q-router"]
    assert scores == sorted(scores, reverse=True)


SENTENCE = "Ten words are in this sentence that goes on. "


def test_only_much_longer_records_are_cut_and_nothing_of_them_is_lost() -> None:
    embedder = HashEmbedder()
    assert [len(list(chunks_of(Record("a", "Title", SENTENCE * n), embedder))) for n in (1, 40, 50)] == [1, 1, 1]
    chunks = list(chunks_of(Record("a", "Title", SENTENCE * 300), embedder))
    assert len(chunks) > 10
    assert " ".join(c.text.strip() for c in chunks) == (SENTENCE * 300).strip()
    assert all(embedder.count(c.embedding_text) <= embedder.max_tokens for c in chunks)
    assert len({c.chunk_id for c in chunks}) == len(chunks)


def test_documents_stand_at_their_best_chunk() -> None:
    chunks = list(chunks_of(Record("a", "", "One sentence is here. " * 200), HashEmbedder()))
    other = next(iter(chunks_of(Record("b", "", "Else."), HashEmbedder())))
    hits = [Hit(chunks[1], 0.9), Hit(other, 0.8), Hit(chunks[0], 0.7)]
    assert collapse(hits) == [("a", 0.9), ("b", 0.8)]
