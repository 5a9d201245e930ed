"""The embedding model: texts to vectors, with sentence-transformers."""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ray_app.config import EmbeddingSettings
from ray_app.errors import ConfigError
from ray_app.index.models import ModelFiles, TokenizerCounter, clean, find_model, first_line
from ray_app.index.ports import TokenVectors, Vectors
from ray_app.index.precision import Precision, choose
from ray_app.index.vectors import unit_rows
from ray_app.observe.log import get_logger
from ray_app.records import ModelId

__all__ = ["SentenceEmbedder", "TokenizerCounter", "load_embedder", "model_id", "token_counter"]

log = get_logger(__name__)

LONGEST_INPUT = 8192  # tokens; some models name no limit, and memory grows with the square of the length
CHARS_PER_TOKEN_CAP = 100  # no tokenizer makes longer tokens of prose; what lies beyond would be cut off anyway


def load_embedder(settings: EmbeddingSettings, threads: int | None = None) -> SentenceEmbedder:
    """The configured model, ready and with its precision proven. Raises ConfigError; takes seconds."""
    return SentenceEmbedder(settings, threads)


def token_counter(settings: EmbeddingSettings) -> TokenizerCounter:
    """The token counter of the configured model, without loading the model. Raises ConfigError."""
    return TokenizerCounter.load(find_model(settings.model).folder)


def model_id(settings: EmbeddingSettings) -> ModelId:
    """The id of the configured model, without loading it. Raises ConfigError."""
    files = find_model(settings.model)
    return ModelId(files.name, files.revision, files.dim)


class SentenceEmbedder:
    """The ``Embedder`` port over any sentence-transformers model.

    Texts are sorted by length into batches, so that little is computed on padding. Reduced precision is
    applied by autocast: weights stay fp32, and sums and norms are taken in fp32.
    """

    def __init__(self, settings: EmbeddingSettings, threads: int | None = None) -> None:
        """``threads`` of torch, for the whole process; None leaves them alone."""
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        files = find_model(settings.model)
        self._torch = torch
        self._batch = settings.batch_size
        self._device = _device(torch, settings.device)
        self._transformer = _load(files, self._device)
        self._tokenizing = threading.Lock()  # transformers sets padding on the shared tokenizer at every call
        tokenizer = self._transformer.tokenizer
        self._counter = TokenizerCounter(Tokenizer.from_str(tokenizer.backend_tokenizer.to_str()))
        frame = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
        self._frame = np.array([i for i in (*frame, tokenizer.pad_token_id) if i is not None])
        self.max_tokens = min(int(self._transformer.max_seq_length or LONGEST_INPUT), LONGEST_INPUT)
        self.model = ModelId(files.name, files.revision, files.dim)
        if files.dim != self._transformer.get_embedding_dimension():
            raise ConfigError(f"The files of embedding model {files.name!r} contradict each other about its width.")
        self._precision = self._prove(settings.precision)
        log.info("embedder_ready", model=str(self.model), **self.describe())

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors (len(texts), dim) of length 1, in order. Raises BadVector."""
        return self._encode(self._precision.name, texts)

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Contextual vectors of each token, without the special ones. Raises BadVector."""
        found: dict[int, TokenVectors] = {}
        for at, output in self._batches(self._precision.name, texts):
            ids, real = output["input_ids"].cpu().numpy(), output["attention_mask"].cpu().numpy().astype(bool)
            vectors = _array(output["token_embeddings"])
            keep = real & ~np.isin(ids, self._frame)
            for row, place in enumerate(at):
                names = self._counter.names(ids[row][keep[row]].tolist())
                found[int(place)] = TokenVectors(names, unit_rows(vectors[row][keep[row]]))
        return [found[i] for i in range(len(texts))]

    def count(self, text: str) -> int:
        """Tokens of ``text`` without special ones, nothing cut off."""
        return self._counter.count(text)

    def describe(self) -> dict[str, str | int | float | bool]:
        """What runs where, and why in this precision."""
        return {
            "device": self._device,
            "threads": self._torch.get_num_threads(),
            "max_tokens": self.max_tokens,
            "dim": self.model.dim,
            "precision": self._precision.name,
            "precision_why": self._precision.why,
            "precision_cosine": round(self._precision.cosine, 6),
            "precision_gain": round(self._precision.gain, 2),
            "precision_tried": self._precision.tried,
        }

    def _encode(self, precision: str, texts: Sequence[str]) -> Vectors:
        vectors = np.empty((len(texts), self.model.dim), np.float32)
        for at, output in self._batches(precision, texts):
            vectors[at] = _array(output["sentence_embedding"])
        return unit_rows(vectors)

    def _batches(self, precision: str, texts: Sequence[str]) -> Iterator[tuple[NDArray[np.int64], dict[str, Any]]]:
        """Positions in ``texts`` and what the model made of them, batch by batch, longest first."""
        cap = self.max_tokens * CHARS_PER_TOKEN_CAP
        ready = [clean(text[:cap]) for text in texts]
        lengths = self._counter.counts(ready) if len(ready) > 1 else [0] * len(ready)
        order = np.argsort(np.negative(np.array(lengths, np.int64)), kind="stable")
        for start in range(0, len(order), self._batch):
            at = order[start : start + self._batch]
            yield at, self._forward(precision, [ready[i] for i in at])

    def _forward(self, precision: str, texts: list[str]) -> dict[str, Any]:
        torch = self._torch
        with self._tokenizing:
            features = self._transformer.preprocess(texts)
        features = {k: v.to(self._device) if isinstance(v, torch.Tensor) else v for k, v in features.items()}
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        kind = self._device.partition(":")[0]
        with torch.inference_mode(), torch.autocast(kind, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            output: dict[str, Any] = self._transformer(features)
        return output

    def _prove(self, wanted: str) -> Precision:
        if wanted != "auto":
            return Precision(wanted, "configured")
        if self._device == "cpu":
            return choose(("bf16",), self._encode, time.process_time)
        return choose(("bf16", "fp16"), self._encode, time.perf_counter)


def _array(tensor: Any) -> NDArray[np.float32]:
    return np.asarray(tensor.float().cpu().numpy())


def _device(torch: Any, wanted: str) -> str:
    if wanted == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if wanted.startswith("cuda") and not torch.cuda.is_available():
        raise ConfigError(f"The device {wanted!r} is configured but torch sees no GPU.", hint="Use auto or cpu.")
    return wanted


def _load(files: ModelFiles, device: str) -> Any:
    from safetensors import SafetensorError
    from sentence_transformers import SentenceTransformer
    from transformers.utils import logging as transformers_logging

    transformers_logging.disable_progress_bar()  # it writes to the terminal on every load
    try:
        return SentenceTransformer(str(files.folder), device=device, local_files_only=True).eval()
    except (OSError, ValueError, KeyError, RuntimeError, ImportError, SafetensorError) as error:
        raise ConfigError(f"Embedding model {files.name!r} cannot be loaded: {first_line(error)}") from error
