"""What every reranker must do, on MaxSim and on a real CrossEncoder that was never trained."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from ray_app.answer.ports import Reranker
from ray_app.answer.rerank import CrossEncoderReranker, MaxSimReranker, load_reranker
from ray_app.config import RetrievalSettings
from ray_app.errors import RerankerDown
from ray_app.testing.fakes import HashEmbedder

WORDS = "[PAD] [UNK] [CLS] [SEP] [MASK] how to reset the router printer paper a b c d e f g . ?".split()  # noqa: SIM905
PASSAGES = ["reset the router", "the printer", "", "paper " * 2_000]


def _save_cross_encoder(folder: Path, labels: int) -> Path:
    """A BERT of two layers with random weights and a vocabulary of a few words, saved as a model folder."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification, BertTokenizerFast

    folder.mkdir()
    (folder / "vocab.txt").write_text("\n".join(WORDS))
    torch.manual_seed(7)
    config = BertConfig(
        vocab_size=len(WORDS),
        hidden_size=16,
        num_hidden_layers=2,
        num_attention_heads=2,
        intermediate_size=32,
        max_position_embeddings=64,
        num_labels=labels,
    )
    BertForSequenceClassification(config).save_pretrained(folder)
    BertTokenizerFast(vocab_file=str(folder / "vocab.txt"), model_max_length=64).save_pretrained(folder)
    return folder


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return _save_cross_encoder(tmp_path_factory.mktemp("models") / "tiny", 1)


@pytest.fixture(params=["cross-encoder", "maxsim"])
def reranker(request: pytest.FixtureRequest) -> Reranker:
    if request.param == "maxsim":
        return MaxSimReranker(HashEmbedder())
    return CrossEncoderReranker(str(request.getfixturevalue("model")), local_only=True)


class TestReranker:
    async def test_one_score_per_passage_in_order(self, reranker: Reranker) -> None:
        scores = await reranker.score("how to reset the router?", PASSAGES)
        again = await reranker.score("how to reset the router?", PASSAGES[::-1])
        assert scores == pytest.approx(again[::-1], abs=1e-4)
        assert all(isinstance(s, float) for s in scores)

    async def test_nothing_to_score(self, reranker: Reranker) -> None:
        assert await reranker.score("how?", []) == []

    async def test_many_at_once(self, reranker: Reranker) -> None:
        alone = await reranker.score("reset", PASSAGES)
        together = await asyncio.gather(*(reranker.score("reset", PASSAGES) for _ in range(8)))
        assert all(scores == pytest.approx(alone, abs=1e-4) for scores in together)

    async def test_the_loop_is_not_blocked(self, reranker: Reranker) -> None:
        task = asyncio.ensure_future(reranker.score("reset the router", PASSAGES * 4))
        turns = 0
        while not task.done():
            await asyncio.sleep(0)
            turns += 1
        assert turns > 2

    def test_it_has_a_name(self, reranker: Reranker) -> None:
        assert reranker.name
        assert reranker.kind in ("cross-encoder", "maxsim")


async def test_cross_encoder_scores_are_probabilities(model: Path) -> None:
    scores = await CrossEncoderReranker(str(model), local_only=True).score("reset", PASSAGES)
    assert all(0.0 < s < 1.0 for s in scores)
    assert len(set(scores)) > 1


def test_a_folder_is_loaded_by_path(model: Path) -> None:
    reranker, missing = load_reranker(RetrievalSettings(reranker=str(model)), HashEmbedder())
    assert (reranker.kind, reranker.name, missing) == ("cross-encoder", str(model), None)


def test_a_model_that_is_not_there_falls_back_quickly_and_says_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def no_hub(name: str) -> None:
        raise OSError("the hub cannot be reached")

    monkeypatch.setattr("ray_app.answer.rerank._ask_hub", no_hub)
    reranker, missing = load_reranker(RetrievalSettings(reranker="nobody/no-such-reranker"), HashEmbedder())
    assert reranker.kind == "maxsim"
    assert missing is not None
    assert "nobody/no-such-reranker" in missing
    assert "the hub cannot be reached" in missing
    assert "reranker_fallback" in caplog.text


def test_a_classifier_is_not_taken_for_a_reranker(tmp_path: Path) -> None:
    folder = _save_cross_encoder(tmp_path / "classifier", 3)
    reranker, missing = load_reranker(RetrievalSettings(reranker=str(folder)), HashEmbedder())
    assert reranker.kind == "maxsim"
    assert missing is not None
    assert "3 scores" in missing


def test_a_damaged_folder_falls_back(model: Path, tmp_path: Path) -> None:
    (tmp_path / "broken").mkdir()
    (tmp_path / "broken" / "config.json").write_text('{"model_type": "bert"')
    reranker, missing = load_reranker(RetrievalSettings(reranker=str(tmp_path / "broken")), HashEmbedder())
    assert reranker.kind == "maxsim"
    assert missing


async def test_scores_that_are_not_numbers_are_a_failure(model: Path) -> None:
    import torch

    reranker = CrossEncoderReranker(str(model), local_only=True)
    with torch.no_grad():
        reranker._model[0].auto_model.classifier.bias.fill_(float("nan"))
    with pytest.raises(RerankerDown, match="finite"):
        await reranker.score("reset", ["a"])
