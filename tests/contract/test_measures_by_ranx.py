"""Our measures against those of ranx, which follow trec_eval. Slow: ranx compiles itself at its first use."""

from __future__ import annotations

import random
import warnings

import pytest

from ray_app.evaluate.measures import measure


def test_agrees_with_ranx() -> None:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of the libraries it brings along
        ranx = pytest.importorskip("ranx", exc_type=ImportError)
        rng = random.Random(5)
        documents = [f"d{n}" for n in range(300)]
        qrels = {f"q{n}": {d: rng.randint(1, 3) for d in rng.sample(documents, 12)} for n in range(30)}
        run = {q: rng.sample(documents, 200) for q in qrels}
        scored = {q: {d: 1.0 / rank for rank, d in enumerate(found, start=1)} for q, found in run.items()}
        theirs = ranx.evaluate(ranx.Qrels(qrels), ranx.Run(scored), ["ndcg@10", "recall@100", "mrr@10"])
    assert measure(run, qrels) == pytest.approx({name: float(value) for name, value in theirs.items()})
