from __future__ import annotations

from pathlib import Path

import pytest

from ray_app.errors import ConfigError
from ray_app.evaluate.sets import load_beir


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "corpus.jsonl").write_text(
        '{"_id": "d1", "title": "T", "text": "one"}\n\n{"_id": 2, "title": null, "text": "two"}\n', encoding="utf-8"
    )
    (tmp_path / "queries.jsonl").write_text(
        "".join(f'{{"_id": "q{n}", "text": "question {n}"}}\n' for n in range(4)), encoding="utf-8"
    )
    (tmp_path / "qrels.tsv").write_text("query-id\tcorpus-id\tscore\nq1\td1\t1\nq1\t2\t0\nq3\t2\t2\nq0\td1\t0\n")
    return tmp_path


def test_only_judged_queries_are_taken(folder: Path) -> None:
    beir = load_beir(folder)
    assert [(r.id, r.title, r.text) for r in beir.corpus] == [("d1", "T", "one"), ("2", "", "two")]
    assert beir.queries == {"q1": "question 1", "q3": "question 3"}
    assert beir.qrels == {"q1": {"d1": 1}, "q3": {"2": 2}}
    assert beir.name == folder.name


def test_limit_takes_the_first_judged(folder: Path) -> None:
    beir = load_beir(folder, limit=1)
    assert list(beir.queries) == list(beir.qrels) == ["q1"]


def test_a_trec_file_without_header_is_read(folder: Path) -> None:
    (folder / "qrels.tsv").write_text("q1\t0\td1\t1\n")
    assert load_beir(folder).qrels == {"q1": {"d1": 1}}


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("corpus.jsonl", '{"_id": "d1"}\n', "corpus.jsonl, line 1"),
        ("queries.jsonl", "nonsense\n", "queries.jsonl, line 1"),
        ("queries.jsonl", "[]\n", "queries.jsonl, line 1"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\nq1\td1\tmany\n", "qrels.tsv, line 2"),
        ("qrels.tsv", "query-id\tcorpus-id\tscore\n", "no query with judgements"),
        ("corpus.jsonl", "", "no corpus"),
    ],
)
def test_what_cannot_be_read_is_named(folder: Path, name: str, content: str, message: str) -> None:
    (folder / name).write_text(content)
    with pytest.raises(ConfigError, match=message):
        load_beir(folder)


def test_missing_files_and_other_encodings_are_named(folder: Path) -> None:
    (folder / "corpus.jsonl").write_bytes(b'{"_id": "\xff", "text": ""}')
    with pytest.raises(ConfigError, match="UTF-8"):
        load_beir(folder)
    (folder / "corpus.jsonl").unlink()
    with pytest.raises(ConfigError, match=r"corpus\.jsonl cannot be read"):
        load_beir(folder)
