"""What the publish gate refuses, and what it lets through."""

from __future__ import annotations

import hashlib
import os
import random
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_app.config import load, with_changes
from ray_app.errors import ConfigError, ModelMismatch
from ray_app.evaluate.gate import FEWEST, QUESTIONS, RetrievalGate, make_question, make_questions
from ray_app.index.build import build_generation
from ray_app.index.embedders import Embedders
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_path
from ray_app.index.ports import Embedder
from ray_app.index.vectors import ExactSearch
from ray_app.records import Chunk, ModelId
from ray_app.testing.fakes import HashEmbedder

BRAND = "acme"
STEMS = ["ro", "la", "mi", "ten", "ba", "ku", "sho", "vi"]
ENDS = [
    "nal",
    "ter",
    "dock",
    "lis",
    "mund",
    "pax",
    "rim",
    "solt",
    "wex",
    "gorn",
    "fip",
    "hul",
    "jant",
    "keb",
    "zod",
    "quin",
    "yar",
    "cem",
]
VOCABULARY = [stem + end for stem in STEMS for end in ENDS]

Make = Callable[..., Generation]
Texts = Mapping[str, Sequence[str]]  # of the chunks of each document, by the last part of its URL


class Renamed(HashEmbedder):
    """The twin of another model."""

    def __init__(self) -> None:
        super().__init__(64)
        self.model = ModelId("other", "2", 64)


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def sentences(rng: random.Random, count: int = 3) -> str:
    return " ".join(" ".join(rng.choices(VOCABULARY, k=11)).capitalize() + "." for _ in range(count))


def manual(pages: int, first: int = 0) -> dict[str, list[str]]:
    """Pages of two passages; page i is the same every time."""
    return {f"p{i}": [sentences(random.Random(10 * i + part)) for part in range(2)] for i in range(first, pages)}


def chunks(texts: Texts) -> list[Chunk]:
    return [
        Chunk(
            chunk_id=digest(f"{name}{ordinal}{text}"),
            brand=BRAND,
            url=f"https://acme.example/{name}",
            title=f"Manual {name}",
            section=(f"Part {ordinal}",),
            anchor="",
            text=text,
            lang="en",
            kind="html",
            ordinal=ordinal,
            embedding_key=digest(f"key{name}{ordinal}{text}"),
            doc_hash=name,
        )
        for name, own in texts.items()
        for ordinal, text in enumerate(own)
    ]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Make:
    """``make(texts)``: a generation of these documents; ``mixed``: whose vectors were mixed up."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)
    made = iter(range(1, 100))

    def build(texts: Texts, embedder: Embedder | None = None, *, mixed: bool = False, **changes: Any) -> Generation:
        model = embedder or HashEmbedder()
        rows = chunks(texts)
        keys = [c.embedding_key for c in rows]
        found = dict(zip(keys, model.encode([c.embedding_text for c in rows]), strict=True))
        if mixed:
            found = dict(zip(random.Random(1).sample(keys, len(keys)), found.values(), strict=True))
        given: dict[str, Any] = {
            "chunks": rows,
            "documents": [(f"https://acme.example/{name}", "hash") for name in texts],
            "vector_of": lambda wanted: np.stack([found[key] for key in wanted]),
            "model": model.model,
            "settings": load().index,
            "chunker_version": "1",
            "parent": "",
            "now": 1e9 + 10 * next(made),
        }
        manifest = build_generation(tmp_path, BRAND, **{**given, **changes})
        return Generation.open(generation_path(tmp_path, BRAND, manifest.generation))

    return build


@pytest.fixture
def gate() -> RetrievalGate:
    return RetrievalGate(load(), lambda: Embedders(HashEmbedder()))


def test_the_same_again_passes_with_the_same_figures(make: Make, gate: RetrievalGate) -> None:
    verdict = gate.judge(make(manual(30)), make(manual(30)))
    assert (verdict.passed, verdict.why, verdict.figures["questions"]) == (True, "", 60)
    for name in ("ndcg@10", "recall@10", "dense_ndcg@10", "bm25_ndcg@10"):
        assert verdict.figures[name] == verdict.figures[f"live_{name}"] > 0.5, name
    assert gate.judge(make(manual(30)), make(manual(30))) == verdict


@pytest.mark.parametrize("pages", [33, 90])
def test_new_pages_are_no_competition(make: Make, gate: RetrievalGate, pages: int) -> None:
    live = make(manual(30))
    verdict = gate.judge(make(manual(pages)), live)
    assert verdict.passed, verdict.why
    assert verdict.figures["questions"] == 60
    assert verdict.figures["ndcg@10"] >= verdict.figures["live_ndcg@10"] - 0.02


def test_pages_that_left_or_changed_are_not_asked_for(make: Make, gate: RetrievalGate) -> None:
    changed = {name: [f"{text} Once more." for text in own] for name, own in manual(10).items()}
    built = make(
        {**manual(30, first=15), **changed},
        documents=[
            *((f"https://acme.example/p{i}", "hash") for i in range(15, 30)),
            *((f"https://acme.example/p{i}", "new") for i in range(10)),
        ],
    )
    verdict = gate.judge(built, make(manual(30)))
    assert (verdict.passed, verdict.figures["questions"]) == (True, 30)


def test_mixed_up_vectors_are_refused_though_keywords_hide_them(make: Make, gate: RetrievalGate) -> None:
    verdict = gate.judge(make(manual(25), mixed=True), make(manual(25)))
    assert not verdict.passed
    assert "vectors fell from" in verdict.why
    assert verdict.figures["bm25_ndcg@10"] == verdict.figures["live_bm25_ndcg@10"]


def test_a_third_of_the_vectors_mixed_up_is_refused(make: Make, gate: RetrievalGate) -> None:
    live, mixed = make(manual(25)), make(manual(25), mixed=True)
    part = np.array(live.vectors)
    part[::3] = mixed.vectors[::3]
    built = make(manual(25))
    built._exact = ExactSearch(part)
    built.vectors = part
    verdict = gate.judge(built, live)
    assert not verdict.passed
    assert "vectors fell from" in verdict.why


def test_an_empty_keyword_index_is_refused_though_vectors_hide_it(
    make: Make, gate: RetrievalGate, monkeypatch: pytest.MonkeyPatch
) -> None:
    live = make(manual(25))
    monkeypatch.setattr("ray_app.index.build.tokenise", lambda text: [])
    verdict = gate.judge(make(manual(25)), live)
    assert not verdict.passed
    assert verdict.why.startswith("nDCG@10 of its keyword index fell from")
    assert verdict.why.endswith("to 0.000.")


def test_lost_passages_are_refused(make: Make, gate: RetrievalGate) -> None:
    """A fifth of the documents is there without anything in it: both retrievers work, and the whole fell."""
    half = {name: own if i % 5 else [] for i, (name, own) in enumerate(manual(25).items())}
    verdict = gate.judge(make(half), make(manual(25)))
    assert not verdict.passed
    assert verdict.why.startswith("nDCG@10 fell from")
    assert verdict.figures["ndcg@10"] < verdict.figures["live_ndcg@10"] - 0.05


def test_how_far_it_may_fall_is_configured(make: Make) -> None:
    gate = RetrievalGate(with_changes(load(), index={"gate_drop": 0.9}), lambda: Embedders(HashEmbedder()))
    half = {name: own if i % 5 else [] for i, (name, own) in enumerate(manual(25).items())}
    assert gate.judge(make(half), make(manual(25))).passed


def test_a_text_cut_another_way_is_known_again(make: Make, gate: RetrievalGate) -> None:
    whole = {name: [" ".join(own)] for name, own in manual(20).items()}
    fewer, more = make(whole, chunker_version="2"), make(manual(20))
    for built, live in ((fewer, more), (more, fewer)):
        figures = gate.judge(built, live).figures
        assert (figures["recall@10"], figures["live_recall@10"]) == (1.0, 1.0)


def test_copies_of_a_text_are_no_mistakes(make: Make, gate: RetrievalGate) -> None:
    copies = {f"p{i}": manual(1)["p0"] for i in range(60)}
    verdict = gate.judge(make(copies), None)
    assert (verdict.passed, verdict.figures["recall@10"]) == (True, 1.0)


def test_the_first_generation_is_refused_only_when_it_finds_nothing(make: Make, gate: RetrievalGate) -> None:
    first = gate.judge(make(manual(25)), None)
    assert (first.passed, "live_ndcg@10" in first.figures) == (True, False)
    assert first.figures["recall@10"] > 0.9
    built = make(manual(200), mixed=True)
    built.keywords = make({name: [] for name in manual(200)}).keywords  # finds nothing at all
    verdict = gate.judge(built, None)
    assert not verdict.passed
    assert "finds" in verdict.why


def test_too_few_texts_tell_nothing_and_load_nothing(make: Make) -> None:
    def load_nothing() -> Embedders:
        raise AssertionError("no model is needed")

    verdict = RetrievalGate(load(), load_nothing).judge(make(manual(FEWEST // 2 - 1)), None)
    assert (verdict.passed, verdict.why) == (
        True,
        "not judged: 8 questions can be asked of it, and under 10 say nothing",
    )
    assert RetrievalGate(load(), load_nothing).judge(make(manual(60, first=30)), make(manual(30))).passed


def test_each_generation_is_asked_in_its_own_model(make: Make) -> None:
    loaded: list[str] = []

    def other(source: str) -> Embedder:
        loaded.append(source)
        return Renamed()

    gate = RetrievalGate(load(), lambda: Embedders(HashEmbedder(), other))
    verdict = gate.judge(make(manual(30)), make(manual(30), Renamed()))
    assert verdict.passed
    assert min(verdict.figures["dense_ndcg@10"], verdict.figures["live_dense_ndcg@10"]) > 0.5
    assert loaded == ["other"]
    gate.judge(make(manual(30)), make(manual(30), Renamed()))
    assert loaded == ["other"]


def test_a_live_generation_whose_model_is_gone_is_not_compared(make: Make, gate: RetrievalGate) -> None:
    verdict = gate.judge(make(manual(30)), make(manual(30), Renamed()))
    assert (verdict.passed, "live_ndcg@10" in verdict.figures) == (True, False)


def test_a_model_that_cannot_be_loaded_is_an_error(make: Make) -> None:
    def broken() -> Embedders:
        raise ConfigError("no such model")

    with pytest.raises(ConfigError):
        RetrievalGate(load(), broken).judge(make(manual(30)), None)
    with pytest.raises(ModelMismatch):
        RetrievalGate(load(), lambda: Embedders(Renamed())).judge(make(manual(30)), None)


def test_a_question_says_the_heading_and_part_of_a_sentence_further_down() -> None:
    text = (
        "Short start. The lamp at the front blinks three times when it is ready. "
        "Then hold the button at the back for ten long seconds."
    )
    (chunk,) = chunks({"a": [text]})
    asked = make_question(chunk)
    assert asked is not None
    assert asked.text == "Part 0 hold the button at the"
    assert asked.probe in text.casefold()
    assert make_question(chunks({"a": ["| 1 | 2 |"]})[0]) is None


def test_no_more_questions_are_made_than_wanted(make: Make) -> None:
    generation = make(manual(QUESTIONS))
    every = frozenset(generation.documents())
    assert len(make_questions(generation, every)) == QUESTIONS
    assert make_questions(generation, every, 5) == make_questions(generation, every)[:5]
    assert make_questions(generation, frozenset()) == []


def test_a_generation_that_lost_most_documents_is_refused_though_what_is_left_is_found(
    make: Make, gate: RetrievalGate
) -> None:
    verdict = gate.judge(make(manual(12)), make(manual(25)))
    assert (verdict.passed, verdict.why) == (False, "It holds 12 documents, the live one 25: under half.")
    assert (verdict.figures["documents"], verdict.figures["live_documents"]) == (12, 25)
    assert gate.judge(make(manual(13)), make(manual(25))).passed
    assert gate.judge(make(manual(9)), make(manual(19))).passed, "so small a brand is easily half of it replaced"
