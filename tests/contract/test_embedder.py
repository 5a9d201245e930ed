"""What every Embedder promises, held by the real model and by its twin; and what only the real one does."""

from __future__ import annotations

import json
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from ray_app.config import EmbeddingSettings
from ray_app.errors import BadVector, ConfigError
from ray_app.index.embedder import SentenceEmbedder, model_id, token_counter
from ray_app.index.models import BUNDLED, TokenizerCounter, find_model
from ray_app.index.ports import Embedder
from ray_app.index.precision import MIN_COSINE, TEXTS
from ray_app.testing.fakes import HashEmbedder

ODD = ["", " ", "🙂", "\ud800 broken", "\0", "שלום עולם", "電源ボタン", "word " * 3_000, "x" * 50_000]


class TestEmbedder:
    @pytest.fixture(params=["real", "twin"])
    def embedder(self, request: pytest.FixtureRequest) -> Embedder:
        found: Embedder = request.getfixturevalue("real_embedder") if request.param == "real" else HashEmbedder()
        return found

    def test_vectors_have_length_one_and_keep_their_order(self, embedder: Embedder) -> None:
        texts = ["Reset the unit", "A much longer sentence about cleaning the filter " * 5, "Reset the unit", "refund"]
        vectors = embedder.encode(texts)
        assert vectors.shape == (4, embedder.model.dim)
        assert vectors.dtype == np.float32
        np.testing.assert_allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
        for text, vector in zip(texts, vectors, strict=True):
            assert embedder.encode([text])[0] @ vector > 0.9995

    def test_no_texts(self, embedder: Embedder) -> None:
        assert embedder.encode([]).shape == (0, embedder.model.dim)
        assert embedder.encode_tokens([]) == []

    def test_odd_texts_have_vectors_too(self, embedder: Embedder) -> None:
        vectors = embedder.encode(ODD)
        assert np.isfinite(vectors).all()
        assert [len(t.tokens) for t in embedder.encode_tokens(ODD)] == [
            len(t.vectors) for t in embedder.encode_tokens(ODD)
        ]

    def test_like_is_nearer_than_unlike(self, embedder: Embedder) -> None:
        question, like, unlike = embedder.encode(
            ["How do I reset the device?", "To reset the device, hold the button.", "Refunds take five days."]
        )
        assert question @ like > question @ unlike + 0.1

    def test_token_vectors_are_of_the_text_alone(self, embedder: Embedder) -> None:
        short, long = embedder.encode_tokens(["Reset it", "Hold the power button for ten seconds and reset it"])
        assert [t.casefold() for t in short.tokens] == ["reset", "it"]
        assert short.vectors.shape == (2, embedder.model.dim)
        assert len(long.tokens) == len(long.vectors) == 10
        np.testing.assert_allclose(np.linalg.norm(long.vectors, axis=1), 1, atol=1e-5)

    def test_count_grows_with_the_text(self, embedder: Embedder) -> None:
        assert embedder.count("") == 0
        assert embedder.count("Reset the unit") == 3
        assert embedder.count("word " * 3_000) == 3_000  # nothing is cut off

    def test_it_describes_itself(self, embedder: Embedder) -> None:
        assert {"device", "precision"} <= embedder.describe().keys()
        assert embedder.max_tokens > 0


class TestRealModel:
    def test_its_precision_is_proven(self, real_embedder: SentenceEmbedder) -> None:
        seen = real_embedder.describe()
        assert seen["precision_why"] == "measured"
        assert float(seen["precision_cosine"]) >= MIN_COSINE
        assert "cosine" in str(seen["precision_tried"]) or "slower" in str(seen["precision_tried"])
        fp32 = real_embedder._encode("fp32", TEXTS)
        assert np.sum(fp32 * real_embedder.encode(TEXTS), axis=1).min() >= MIN_COSINE

    def test_its_id_is_known_without_loading_it(self, real_embedder: SentenceEmbedder) -> None:
        assert real_embedder.model == model_id(EmbeddingSettings())
        assert (real_embedder.model.name, real_embedder.model.dim, real_embedder.max_tokens) == (BUNDLED, 384, 256)
        assert len(real_embedder.model.revision) == 16

    def test_the_light_counter_counts_the_same(self, real_embedder: SentenceEmbedder) -> None:
        counter = token_counter(EmbeddingSettings())
        for text in (*TEXTS, *ODD):
            assert counter.count(text) == real_embedder.count(text)

    def test_texts_are_cut_at_the_model_limit(self, real_embedder: SentenceEmbedder) -> None:
        (long,) = real_embedder.encode_tokens(["word " * 3_000])
        assert len(long.tokens) == real_embedder.max_tokens - 2

    def test_sentences_like_special_tokens_are_harmless(self, real_embedder: SentenceEmbedder) -> None:
        (found,) = real_embedder.encode_tokens(["[SEP] reset [PAD]"])
        assert found.tokens == ["reset"]

    def test_threads_may_share_it(self, real_embedder: SentenceEmbedder) -> None:
        expected = real_embedder.encode(TEXTS)
        with ThreadPoolExecutor(4) as pool:
            for vectors in pool.map(lambda n: real_embedder.encode(TEXTS[: n + 1]), range(8)):
                assert np.sum(vectors * expected[: len(vectors)], axis=1).min() > 0.9995

    def test_a_model_that_goes_mad_is_noticed(
        self, real_embedder: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        forward = real_embedder._forward

        def mad(precision: str, texts: list[str]) -> dict[str, object]:
            return {
                k: v * float("nan") if k.endswith("ings") or "emb" in k else v
                for k, v in forward(precision, texts).items()
            }

        monkeypatch.setattr(real_embedder, "_forward", mad)
        with pytest.raises(BadVector):
            real_embedder.encode(["text"])
        with pytest.raises(BadVector):
            real_embedder.encode_tokens(["text"])


class TestFindingModels:
    def test_a_path_is_known_by_its_contents(self, tmp_path: Path) -> None:
        bundled = find_model(BUNDLED)
        copy = tmp_path / "my-model"
        shutil.copytree(bundled.folder, copy, copy_function=lambda a, b: Path(b).symlink_to(a))
        found = find_model(str(copy))
        assert (found.name, found.revision, found.dim) == ("my-model", bundled.revision, bundled.dim)
        pooling = copy / "1_Pooling" / "config.json"
        content = pooling.read_text()
        pooling.unlink()
        pooling.write_text(content.replace("384", "385"))
        assert find_model(str(copy)).revision != bundled.revision
        assert find_model(str(copy)).dim == 385

    def test_a_cached_hub_model_is_taken_without_the_network(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path))
        commit = "0123456789abcdef0123456789abcdef01234567"
        repository = tmp_path / "models--acme--tiny"
        (repository / "snapshots" / commit).mkdir(parents=True)
        (repository / "refs").mkdir()
        (repository / "refs" / "main").write_text(commit)
        (repository / "snapshots" / commit / "config.json").write_text(json.dumps({"hidden_size": 32}))
        found = find_model("acme/tiny")
        assert (found.name, found.revision, found.dim) == ("acme/tiny", commit[:16], 32)

    def test_what_cannot_be_had_is_a_configuration_error(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
        monkeypatch.setattr("huggingface_hub.constants.ENDPOINT", "http://127.0.0.1:1")
        for name in ("acme/no-such-model", "not a name//"):
            with pytest.raises(ConfigError, match="cannot be fetched"):
                find_model(name)

    @pytest.mark.parametrize(
        "files", [{}, {"model.safetensors": b"x"}, {"config.json": b"{", "model.safetensors": b"x"}]
    )
    def test_a_folder_that_is_no_model(self, tmp_path: Path, files: dict[str, bytes]) -> None:
        for name, content in files.items():
            (tmp_path / name).write_bytes(content)
        with pytest.raises(ConfigError):
            find_model(str(tmp_path))
        with pytest.raises(ConfigError):
            TokenizerCounter.load(tmp_path)

    def test_damaged_weights(self, tmp_path: Path) -> None:
        copy = tmp_path / "my-model"
        shutil.copytree(find_model(BUNDLED).folder, copy, ignore=shutil.ignore_patterns("*.safetensors"))
        (copy / "model.safetensors").write_bytes(b"\0" * 100)
        with pytest.raises(ConfigError, match="cannot be loaded"):
            SentenceEmbedder(EmbeddingSettings(model=str(copy)))

    def test_a_device_that_is_not_there(self) -> None:
        import torch

        if not torch.cuda.is_available():
            with pytest.raises(ConfigError, match="no GPU"):
                SentenceEmbedder(EmbeddingSettings(device="cuda:0"))
