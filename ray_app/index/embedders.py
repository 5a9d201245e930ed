"""The embedding models of one process: a question is embedded by the model that made the generation's vectors."""

from __future__ import annotations

import threading
from collections.abc import Callable, Collection, Sequence

from ray_app.config import EmbeddingSettings
from ray_app.errors import ConfigError, ModelMismatch
from ray_app.index.manifest import Manifest
from ray_app.index.ports import Embedder, TokenVectors, Vectors
from ray_app.observe.log import get_logger
from ray_app.records import ModelId

log = get_logger(__name__)


def no_other(source: str) -> Embedder:
    """The loader of a process that has one model and no more."""
    raise ModelMismatch(f"This process does not load the embedding model {source!r}.")


class Embedders:
    """One model at least, and one more while brands move from it to another. Safe in threads."""

    def __init__(
        self,
        first: Embedder,
        load: Callable[[str], Embedder] = no_other,
        identify: Callable[[str], ModelId] | None = None,
    ) -> None:
        """``load`` takes a name or path and raises ConfigError; ``identify`` says what it would load, sooner."""
        self._load = load
        self._identify = identify
        self._loading = threading.Lock()
        self._held: dict[ModelId, Embedder] = {first.model: first}  # replaced whole, so that reading needs no lock

    @property
    def main(self) -> Embedder:
        """For texts that need any model: the first loaded of those that are held."""
        return next(iter(self._held.values()))

    def held(self, model: ModelId) -> Embedder | None:
        """That very model, None when it is not loaded. Never waits."""
        return self._held.get(model)

    def get(self, manifest: Manifest) -> Embedder:
        """The model that made a generation's vectors, loaded when need be, which takes seconds.

        Raises ModelMismatch when it cannot be loaded, or when other weights now go by its name.
        """
        wanted = manifest.model
        if (embedder := self._held.get(wanted)) is not None:
            return embedder
        with self._loading:
            if (embedder := self._held.get(wanted)) is not None:
                return embedder
            embedder = self._loaded(wanted, manifest.model_source or wanted.name)
            self._held = {**self._held, wanted: embedder}
        return embedder

    def keep(self, models: Collection[ModelId]) -> None:
        """Let go of all but these; of none when none of these is held, for something must embed."""
        with self._loading:
            kept = {model: embedder for model, embedder in self._held.items() if model in models}
            if not kept or len(kept) == len(self._held):
                return
            gone = [str(model) for model in self._held if model not in kept]
            self._held = kept
        log.info("embedders_dropped", models=gone)

    def _loaded(self, wanted: ModelId, source: str) -> Embedder:
        try:
            if self._identify is not None:
                _same(wanted, self._identify(source), source)
            embedder = self._load(source)
        except ConfigError as error:
            raise ModelMismatch(f"The index was made with {wanted}, which is not here: {error.message}") from error
        _same(wanted, embedder.model, source)
        log.info("embedder_loaded", model=str(wanted), source=source)
        return embedder


def _same(wanted: ModelId, found: ModelId, source: str) -> None:
    if found != wanted:
        raise ModelMismatch(
            f"The index was made with {wanted} of {wanted.dim} numbers, but {source!r} is now {found} of {found.dim}; "
            "their vectors cannot be compared.",
            hint="Bring the old weights back, or embed the brand again.",
        )


class MainEmbedder:
    """The ``Embedder`` that is the main one at each call.

    For texts embedded and compared within one call; never for vectors that are kept, since the next call may be
    answered by another model.
    """

    def __init__(self, embedders: Embedders) -> None:
        self._embedders = embedders

    @property
    def model(self) -> ModelId:
        return self._embedders.main.model

    @property
    def max_tokens(self) -> int:
        return self._embedders.main.max_tokens

    def encode(self, texts: Sequence[str]) -> Vectors:
        """See Embedder."""
        return self._embedders.main.encode(texts)

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """See Embedder."""
        return self._embedders.main.encode_tokens(texts)

    def count(self, text: str) -> int:
        """See Embedder."""
        return self._embedders.main.count(text)

    def describe(self) -> dict[str, str | int | float | bool]:
        """See Embedder."""
        return self._embedders.main.describe()


def by_source(settings: EmbeddingSettings, source: str) -> EmbeddingSettings:
    """The settings that load another model in the same manner."""
    return settings.model_copy(update={"model": source})
