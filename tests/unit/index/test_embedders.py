from __future__ import annotations

import threading
from typing import Any

import pytest

from ray_app.config import EmbeddingSettings
from ray_app.errors import ConfigError, ModelMismatch
from ray_app.index.embedders import Embedders, MainEmbedder, by_source
from ray_app.index.manifest import Manifest
from ray_app.records import ModelId
from ray_app.testing.fakes import HashEmbedder

OLD, NEW = ModelId("hash", "1", 128), ModelId("other", "1", 32)


def fake(model: ModelId) -> HashEmbedder:
    embedder = HashEmbedder(model.dim)
    embedder.model = model
    return embedder


def made_with(model: ModelId, source: str = "") -> Manifest:
    facts: dict[str, Any] = dict.fromkeys(Manifest.__dataclass_fields__, "")
    return Manifest(**{**facts, "files": {}, "model": model, "model_source": source})


def test_a_model_is_loaded_once_by_its_source() -> None:
    asked: list[str] = []
    started = threading.Barrier(4)

    def load(source: str) -> HashEmbedder:
        asked.append(source)
        return fake(NEW)

    embedders = Embedders(fake(OLD), load)

    def get() -> None:
        started.wait(30)
        assert embedders.get(made_with(NEW, "/models/other")).model == NEW

    threads = [threading.Thread(target=get) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(30)
    assert asked == ["/models/other"]
    assert embedders.get(made_with(OLD)).model == OLD
    assert embedders.get(made_with(NEW)) is embedders.held(NEW)


def test_without_a_source_its_name_is_taken() -> None:
    asked: list[str] = []
    Embedders(fake(OLD), lambda source: asked.append(source) or fake(NEW)).get(made_with(NEW))  # type: ignore[func-returns-value]
    assert asked == ["other"]


@pytest.mark.parametrize("now", [ModelId("other", "2", 32), ModelId("other", "1", 64)], ids=["revision", "width"])
def test_other_weights_under_the_same_name_are_refused_in_words(now: ModelId) -> None:
    loaded: list[str] = []
    embedders = Embedders(fake(OLD), lambda source: loaded.append(source) or fake(now), lambda source: now)  # type: ignore[func-returns-value]
    with pytest.raises(ModelMismatch, match=f"other@1 of 32 numbers.*{now} of {now.dim}.*embed the brand again"):
        embedders.get(made_with(NEW))
    assert loaded == []  # known before the weights are read
    assert embedders.held(NEW) is None
    with pytest.raises(ModelMismatch):
        Embedders(fake(OLD), lambda source: fake(now)).get(made_with(NEW))


def test_a_model_that_cannot_be_loaded_is_a_mismatch_that_says_why() -> None:
    def load(source: str) -> HashEmbedder:
        raise ConfigError(f"{source} cannot be fetched.")

    with pytest.raises(ModelMismatch, match="other cannot be fetched"):
        Embedders(fake(OLD), load).get(made_with(NEW))
    with pytest.raises(ModelMismatch):
        Embedders(fake(OLD)).get(made_with(NEW))


def test_only_what_open_generations_need_is_kept_but_never_nothing() -> None:
    embedders = Embedders(fake(OLD), lambda source: fake(NEW))
    any_model = MainEmbedder(embedders)
    embedders.get(made_with(NEW))
    assert any_model.model == OLD
    embedders.keep({OLD, NEW})
    assert embedders.held(OLD)
    embedders.keep({ModelId("third", "1", 8)})
    assert embedders.held(OLD)
    embedders.keep({NEW})
    assert embedders.held(OLD) is None
    assert any_model.model == NEW
    assert any_model.encode(["a"]).shape == (1, 32)
    assert any_model.encode_tokens(["a b"])[0].vectors.shape == (2, 32)
    assert (any_model.count("a b"), any_model.max_tokens, any_model.describe()["model"]) == (2, 256, "hash")


def test_another_model_is_loaded_as_the_configured_one_is() -> None:
    settings = EmbeddingSettings(precision="fp32", batch_size=7)
    assert by_source(settings, "other") == EmbeddingSettings(precision="fp32", batch_size=7, model="other")
