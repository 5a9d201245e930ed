"""Reads evaluation sets in BEIR layout: corpus.jsonl, queries.jsonl, qrels.tsv."""

from __future__ import annotations

import csv
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import orjson

from ray_app.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Record:
    """One document of the corpus."""

    id: str
    title: str
    text: str


@dataclass(frozen=True, slots=True)
class BeirSet:
    """A corpus, the queries that have judgements, and the judgements: query -> document -> grade above 0."""

    name: str
    corpus: tuple[Record, ...]
    queries: Mapping[str, str]
    qrels: Mapping[str, Mapping[str, int]]


def load_beir(folder: Path, *, limit: int | None = None) -> BeirSet:
    """The set in ``folder``, with the first ``limit`` judged queries in the order of queries.jsonl.

    Raises ConfigError for a missing file, a line that cannot be read, or a set without judged queries.
    """
    qrels = _qrels(folder / "qrels.tsv")
    corpus = tuple(_records(folder / "corpus.jsonl"))
    judged = ((q.id, q.text) for q in _records(folder / "queries.jsonl") if q.id in qrels)
    queries = dict(list(judged)[:limit])
    if not corpus or not queries:
        raise ConfigError(f"{folder.name} holds no corpus or no query with judgements.")
    return BeirSet(folder.name, corpus, queries, {q: qrels[q] for q in queries})


def _records(path: Path) -> Iterator[Record]:
    for number, line in enumerate(_lines(path), start=1):
        if not line.strip():
            continue
        try:
            row: dict[str, Any] = orjson.loads(line)
            yield Record(str(row["_id"]), str(row.get("title") or ""), str(row["text"]))
        except (orjson.JSONDecodeError, KeyError, TypeError, AttributeError):
            raise ConfigError(f"{path.name}, line {number}: not a JSON object with _id and text.") from None


def _qrels(path: Path) -> dict[str, dict[str, int]]:
    """Judgements above 0; BEIR's file has a header, TREC's four columns are read as well."""
    qrels: dict[str, dict[str, int]] = {}
    for number, row in enumerate(csv.reader(_lines(path), delimiter="\t", quoting=csv.QUOTE_NONE), start=1):
        if not row or (number == 1 and not row[-1].strip().lstrip("-").isdigit()):
            continue
        try:
            query, document, grade = row[0], row[-2], int(row[-1])
        except (IndexError, ValueError):
            raise ConfigError(f"{path.name}, line {number}: not query, document and grade.") from None
        if grade > 0:
            qrels.setdefault(query, {})[document] = grade
    return qrels


def _lines(path: Path) -> Iterator[str]:
    try:
        with path.open(encoding="utf-8") as lines:
            yield from lines
    except OSError as error:
        raise ConfigError(f"{path} cannot be read: {error.strerror}.") from None
    except UnicodeDecodeError:
        raise ConfigError(f"{path} is not UTF-8.") from None
