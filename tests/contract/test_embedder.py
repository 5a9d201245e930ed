"""What every Embedder promises, held by the real model and by its twin; and what only the real one does."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from ray_app.config import EmbeddingSettings
from ray_app.errors import BadVector, ConfigError, TokenizerFailed
from ray_app.index.embedder import PACKED, SentenceEmbedder, check_chunks, model_id, token_counter
from ray_app.index.models import BUNDLED, TokenizerCounter, find_model, longest_input, tokenizer_failures
from ray_app.index.packed import pack
from ray_app.index.ports import Embedder, Vectors
from ray_app.index.precision import MIN_COSINE, TEXTS, Precision
from ray_app.index.vectors import unit_rows
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
        fp32 = unit_rows(real_embedder._encode("fp32", TEXTS))
        assert np.sum(fp32 * real_embedder.encode(TEXTS), axis=1).min() >= MIN_COSINE

    def test_the_packed_encoder_makes_the_vectors_of_the_plain_one(
        self, real_embedder: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """Whether it is faster depends on the machine; whether it is right does not."""
        monkeypatch.setattr(real_embedder, "_packed", pack(real_embedder._torch, real_embedder._transformer))
        texts = [*ODD, *(" ".join(["reset the unit"] * n) for n in range(1, 60, 4)), "reset the unit " * 3]
        plain, packed = (unit_rows(real_embedder._encode(way, texts)) for way in ("fp32", PACKED))
        assert np.sum(plain * packed, axis=1).min() >= MIN_COSINE

    def test_short_texts_go_more_at_once_and_none_is_padded_much(
        self, real_embedder: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        seen: list[list[int]] = []
        monkeypatch.setattr(real_embedder, "_forward", spy(real_embedder, seen))
        monkeypatch.setattr(real_embedder, "_budget", 4 * 256)  # batch_size=4
        texts = ["word " * (n % 250 + 1) for n in range(0, 250, 23)] + ["hold it"] * 30
        texts = texts[::3] + texts[1::3] + texts[2::3]  # as they come, long ones stand between short ones
        fp32 = unit_rows(real_embedder._encode("fp32", texts))
        assert all(len(lengths) * max(lengths) <= 4 * 256 for lengths in seen)
        assert max(len(lengths) for lengths in seen) > 8
        assert sum(len(lengths) * max(lengths) for lengths in seen) < 1.5 * sum(map(sum, seen))
        monkeypatch.setattr(real_embedder, "_budget", 256)  # batch_size=1
        seen.clear()
        again = unit_rows(real_embedder._encode("fp32", texts))
        assert all(len(lengths) * max(lengths) <= 256 for lengths in seen)
        assert np.sum(fp32 * again, axis=1).min() > 0.99999

    def test_batch_size_is_in_texts_of_full_length(self) -> None:
        embedder = SentenceEmbedder(EmbeddingSettings(batch_size=3, precision="fp32"))
        seen: list[list[int]] = []
        vars(embedder)["_forward"] = spy(embedder, seen)
        embedder.encode(["word " * 300] * 7)
        assert [len(lengths) for lengths in seen] == [3, 3, 1]

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

        def mad(precision: str, batch: list[Any]) -> dict[str, Any]:
            output = forward(precision, batch)
            return {k: v * float("nan") if "embedding" in k else v for k, v in output.items()}

        monkeypatch.setattr(real_embedder, "_forward", mad)
        with pytest.raises(BadVector):
            real_embedder.encode(["text"])
        with pytest.raises(BadVector):
            real_embedder.encode_tokens(["text"])

    def test_what_reduced_precision_spoils_is_repeated_in_fp32(
        self, real_embedder: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
    ) -> None:
        expected = real_embedder.encode(TEXTS[:4])
        encode = real_embedder._encode

        def overflowing(precision: str, texts: Sequence[str]) -> Vectors:
            vectors = encode(precision, texts)
            if precision != "fp32":
                vectors[0], vectors[2] = np.inf, 0.0
            return vectors

        monkeypatch.setattr(real_embedder, "_precision", Precision("bf16", "configured"))
        monkeypatch.setattr(real_embedder, "_encode", overflowing)
        assert np.sum(real_embedder.encode(TEXTS[:4]) * expected, axis=1).min() > 0.9995
        assert "vectors_repeated_in_fp32" in caplog.text

    def test_a_tokenizer_that_raises_has_a_name(
        self, real_embedder: SentenceEmbedder, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        class PanicException(BaseException):  # as the Rust code of tokenizers raises it
            pass

        for error in (Exception("unknown unk token"), PanicException("index out of bounds")):

            class Broken:
                def encode(self, *_: object, error: BaseException = error, **__: object) -> None:
                    raise error

                encode_batch_fast = encode

            monkeypatch.setattr(real_embedder, "_counter", counter := TokenizerCounter.load(find_model(BUNDLED).folder))
            monkeypatch.setattr(counter, "_tokenizer", Broken())
            monkeypatch.setattr(real_embedder, "_framer", Broken())
            for call in (lambda: real_embedder.count("text"), lambda: real_embedder.encode(["text"])):
                with pytest.raises(TokenizerFailed, match=r"unknown unk|out of bounds"):
                    call()

    def test_a_keyboard_interrupt_is_no_failure_of_the_tokenizer(self) -> None:
        with pytest.raises(KeyboardInterrupt), tokenizer_failures():
            raise KeyboardInterrupt


class TestOutOfMemory:
    @pytest.fixture(params=["fp32", PACKED])
    def embedder(self, request: pytest.FixtureRequest, real_embedder: SentenceEmbedder) -> Iterator[SentenceEmbedder]:
        """With a forward pass that may be given a limit; as it was before, afterwards."""
        before = dict(vars(real_embedder))
        real_embedder._precision = Precision(request.param, "configured")
        real_embedder._packed = pack(real_embedder._torch, real_embedder._transformer)
        yield real_embedder
        vars(real_embedder).clear()
        vars(real_embedder).update(before)

    @pytest.mark.parametrize("words", ["", "DefaultCPUAllocator: can't allocate memory: you tried 8 GB"])
    def test_the_batch_is_halved_and_later_ones_begin_smaller(
        self, embedder: SentenceEmbedder, words: str, caplog: pytest.LogCaptureFixture
    ) -> None:
        texts = [f"Press button {n} and hold it for {n} seconds." for n in range(12)]
        expected = embedder.encode(texts)
        seen: list[list[int]] = []
        vars(embedder)["_forward"] = limited(embedder, 3, words, seen)
        vectors = embedder.encode(texts)
        np.testing.assert_allclose(np.sum(vectors * expected, axis=1), 1, atol=1e-4)
        assert "embed_batch_halved" in caplog.text
        failed = sum(len(lengths) > 3 for lengths in seen)
        seen.clear()
        embedder.encode(texts)
        assert failed >= 2
        assert not any(len(lengths) > 3 for lengths in seen), "the next call begins with what fitted"

    def test_one_text_that_does_not_fit_on_the_gpu_goes_to_the_cpu(
        self, embedder: SentenceEmbedder, caplog: pytest.LogCaptureFixture
    ) -> None:
        texts = ["short one", "word " * 200, "another short one"]
        expected = embedder.encode(texts)
        seen: list[list[int]] = []
        vars(embedder)["_forward"] = limited(embedder, 3, "", seen, tokens=100)
        embedder._device = "cuda"  # there is none here: all that matters is that it is no CPU
        embedder._release = lambda: None  # type: ignore[method-assign]
        np.testing.assert_allclose(np.sum(embedder.encode(texts) * expected, axis=1), 1, atol=1e-4)
        assert embedder._spare is not None
        assert "embed_text_on_cpu" in caplog.text

    def test_one_text_that_does_not_fit_on_the_cpu_is_an_error(self, embedder: SentenceEmbedder) -> None:
        import torch

        vars(embedder)["_forward"] = limited(embedder, 0, "", [])
        with pytest.raises(torch.OutOfMemoryError):
            embedder.encode(["short one", "another"])

    def test_other_errors_are_not_taken_for_it(self, embedder: SentenceEmbedder) -> None:
        def broken(precision: str, batch: list[Any]) -> dict[str, Any]:
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied")

        embedder._forward = broken  # type: ignore[method-assign]
        with pytest.raises(RuntimeError, match="shapes"):
            embedder.encode(["one", "two"])


def spy(embedder: SentenceEmbedder, seen: list[list[int]]) -> Callable[[str, list[Any]], dict[str, Any]]:
    """The forward pass, which notes the lengths of each batch."""
    return limited(embedder, 1 << 30, "", seen)


def limited(
    embedder: SentenceEmbedder, texts: int, words: str, seen: list[list[int]], tokens: int = 1 << 30
) -> Callable[[str, list[Any]], dict[str, Any]]:
    """A forward pass on a device that has room for so many texts, and for texts of so many tokens."""
    import torch

    forward, device = embedder._forward, embedder._device

    def run(precision: str, batch: list[Any]) -> dict[str, Any]:
        lengths = [len(one.ids) for one in batch]
        seen.append(lengths)
        if len(batch) > texts or max(lengths) > tokens:
            raise RuntimeError(words) if words else torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 8 GB")
        pretended, embedder._device = embedder._device, device
        try:
            return forward(precision, batch)
        finally:
            embedder._device = pretended

    return run


class TestChunkSize:
    def test_chunks_longer_than_the_model_reads_are_refused_at_start(self) -> None:
        check_chunks(EmbeddingSettings())
        check_chunks(EmbeddingSettings(chunk_tokens=254))
        with pytest.raises(ConfigError, match="reads 254 tokens"):
            check_chunks(EmbeddingSettings(chunk_tokens=255))

    def test_the_limit_is_that_of_the_loaded_model(self, real_embedder: SentenceEmbedder) -> None:
        assert longest_input(find_model(BUNDLED).folder) == real_embedder.max_tokens

    @pytest.mark.parametrize(
        ("files", "limit"),
        [
            (
                {"sentence_bert_config.json": {"max_seq_length": 128}, "config.json": {"max_position_embeddings": 512}},
                128,
            ),
            (
                {"tokenizer_config.json": {"model_max_length": 512}, "config.json": {"max_position_embeddings": 514}},
                512,
            ),
            ({"tokenizer_config.json": {"model_max_length": 1e30}, "config.json": {"hidden_size": 8}}, 0),
            ({}, 0),
        ],
    )
    def test_it_is_found_as_sentence_transformers_does(
        self, tmp_path: Path, files: dict[str, dict[str, object]], limit: int
    ) -> None:
        for name, content in files.items():
            (tmp_path / name).write_text(json.dumps(content))
        assert longest_input(tmp_path) == limit


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
