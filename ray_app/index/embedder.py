"""The embedding model: texts to vectors, with sentence-transformers."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from tokenizers import Tokenizer

from ray_app.config import EmbeddingSettings
from ray_app.errors import ConfigError
from ray_app.index.models import (
    ModelFiles,
    TokenizerCounter,
    clean,
    find_model,
    first_line,
    framer,
    longest_input,
    tokenizer_failures,
)
from ray_app.index.packed import CACHE_TOKENS, LEAST_TOKENS, PackedEncoder, pack
from ray_app.index.ports import TokenVectors, Vectors
from ray_app.index.precision import Precision, choose
from ray_app.index.vectors import unit_rows
from ray_app.observe.log import get_logger
from ray_app.records import ModelId

__all__ = ["SentenceEmbedder", "TokenizerCounter", "check_chunks", "load_embedder", "model_id", "token_counter"]

log = get_logger(__name__)

LONGEST_INPUT = 8192  # tokens; some models name no limit, and memory grows with the square of the length
FULL_TEXT = 512  # tokens; what batch_size counts as one text where a model reads more, since hardly a chunk does
PACKED = "bf16-packed"  # the way of index.packed among the formats that are compared at start
GPU_COPIES = 32  # of the texts that formats are timed with: with fewer a GPU waits for its orders in any format
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

    Texts are sorted by length into batches of so many tokens, so that little is computed on padding and short texts
    go more at once. A batch that does not fit into memory is halved. On a CPU, models of BERT's kind run through
    ``index.packed`` where that proves faster and true; all others by autocast: weights stay fp32, and sums and norms
    are taken in fp32.
    """

    def __init__(self, settings: EmbeddingSettings, threads: int | None = None) -> None:
        """``threads`` of torch, for the whole process; None leaves them alone."""
        import torch

        if threads is not None:
            torch.set_num_threads(threads)
        files = find_model(settings.model)
        self._torch = torch
        self._files = files
        self._device = _device(torch, settings.device)
        self._transformer = _load(files, self._device)
        self._spare: Any = None  # a copy for the CPU, made when a text does not fit on the GPU
        self._sparing = threading.Lock()
        self._tokenizing = threading.Lock()  # transformers sets padding on the shared tokenizer at every call
        tokenizer = self._transformer.tokenizer
        backend = tokenizer.backend_tokenizer.to_str()
        self._counter = TokenizerCounter(Tokenizer.from_str(backend))
        frame = (tokenizer.cls_token_id, tokenizer.sep_token_id, tokenizer.bos_token_id, tokenizer.eos_token_id)
        self._frame = np.array([i for i in (*frame, tokenizer.pad_token_id) if i is not None])
        self.max_tokens = min(int(self._transformer.max_seq_length or LONGEST_INPUT), LONGEST_INPUT)
        self._framer = framer(Tokenizer.from_str(backend), self.max_tokens)
        self.model = ModelId(files.name, files.revision, files.dim)
        if files.dim != self._transformer.get_embedding_dimension():
            raise ConfigError(f"The files of embedding model {files.name!r} contradict each other about its width.")
        self._budget = settings.batch_size * min(self.max_tokens, FULL_TEXT)  # tokens of one batch, padding included
        packable = self._device == "cpu" and settings.precision == "auto"
        self._packed = pack(torch, self._transformer) if packable else None
        self._precision = self._prove(settings.precision)
        if self._precision.name != PACKED:
            self._packed = None
        log.info("embedder_ready", model=str(self.model), **self.describe())

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors (len(texts), dim) of length 1, in order. Raises BadVector, TokenizerFailed.

        What fails in reduced precision is tried in fp32 before it is refused.
        """
        vectors = self._encode(self._precision.name, texts)
        wrong = np.flatnonzero(flawed(vectors)).tolist()
        if len(wrong) and self._precision.name != "fp32":
            log.warning("vectors_repeated_in_fp32", texts=len(wrong), precision=self._precision.name)
            vectors[wrong] = self._encode("fp32", [texts[i] for i in wrong])
        return unit_rows(vectors)

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Contextual vectors of each token, without the special ones. Raises BadVector, TokenizerFailed."""
        found: dict[int, TokenVectors] = {}
        for at, output in self._batches(self._precision.name, texts):
            ids, real = output["input_ids"].cpu().numpy(), output["attention_mask"].cpu().numpy().astype(bool)
            vectors = _array(output["token_embeddings"])
            keep = real & ~np.isin(ids, self._frame)
            for row, place in enumerate(at):
                names = self._counter.names(ids[row][keep[row]].tolist())
                found[place] = TokenVectors(names, unit_rows(vectors[row][keep[row]]))
        return [found[i] for i in range(len(texts))]

    def count(self, text: str) -> int:
        """Tokens of ``text`` without special ones, nothing cut off. Raises TokenizerFailed."""
        return self._counter.count(text)

    def counts(self, texts: list[str]) -> list[int]:
        """Of many texts in one call. Raises TokenizerFailed."""
        return self._counter.counts(texts)

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
        """As the model gives them: neither scaled nor looked at."""
        vectors = np.empty((len(texts), self.model.dim), np.float32)
        for at, output in self._batches(precision, texts):
            vectors[at] = _array(output["sentence_embedding"])
        return vectors

    # Batches

    def _batches(self, precision: str, texts: Sequence[str]) -> Iterator[tuple[list[int], dict[str, Any]]]:
        """Positions in ``texts`` and what the model made of them, batch by batch, longest first."""
        cap = self.max_tokens * CHARS_PER_TOKEN_CAP
        ready = [clean(text[:cap]) for text in texts]
        with tokenizer_failures():
            ids = [one.ids for one in self._framer.encode_batch_fast(ready)]
        order = sorted((_Text(i, ready[i], ids[i]) for i in range(len(ready))), key=lambda one: -len(one.ids))
        packed = self._packed if precision == PACKED else None
        if packed is None:
            for batch in self._cut(order, lambda: self._budget):
                yield from self._fitted(precision, batch)
            return
        share = max(LEAST_TOKENS, -(-sum(len(one.ids) for one in order) // packed.threads))
        batches = self._cut(order, lambda: min(self._budget, CACHE_TOKENS, share))
        for done in packed.side_by_side(lambda one: list(self._fitted(precision, one)), batches):
            yield from done

    def _cut(self, order: list[_Text], budget: Callable[[], int]) -> Iterator[list[_Text]]:
        """Batches of as many tokens as the ``budget`` of the moment allows, padding included; one text at least."""
        start = 0
        while start < len(order):
            stop = start + max(1, budget() // max(1, len(order[start].ids)))
            yield order[start:stop]
            start = stop

    def _fitted(self, precision: str, batch: list[_Text]) -> Iterator[tuple[list[int], dict[str, Any]]]:
        """The batch at once, or what does not fit into memory in halves; one text alone then on the CPU."""
        try:
            output = self._forward(precision, batch)
        except (RuntimeError, MemoryError) as error:
            if not _is_memory(error) or (len(batch) == 1 and self._device == "cpu"):
                raise
            output = None
        # Only here, after the handler: until then the error holds the tensors of the pass that failed.
        if output is not None:
            yield [one.place for one in batch], output
            return
        self._release()
        if len(batch) == 1:
            yield [batch[0].place], self._on_cpu(batch[0])
            return
        self._shrink(batch)
        for half in (batch[: len(batch) // 2], batch[len(batch) // 2 :]):
            yield from self._fitted(precision, half)

    def _shrink(self, batch: list[_Text]) -> None:
        """Later batches start with half the tokens of the one that did not fit."""
        tokens = len(batch) * len(batch[0].ids)
        self._budget = max(1, min(self._budget, tokens // 2))
        log.warning("embed_batch_halved", texts=len(batch), tokens=tokens, budget=self._budget, device=self._device)

    def _on_cpu(self, text: _Text) -> dict[str, Any]:
        log.warning("embed_text_on_cpu", tokens=len(text.ids), device=self._device)
        with self._sparing:
            if self._spare is None:
                self._spare = _load(self._files, "cpu")
        return self._plain(self._spare, "cpu", "fp32", [text.text])

    def _release(self) -> None:
        """What torch keeps of the failed pass, so that other actors on this GPU may have it."""
        if self._device.startswith("cuda"):
            self._torch.cuda.empty_cache()

    # The model

    def _forward(self, precision: str, batch: list[_Text]) -> dict[str, Any]:
        if precision == PACKED and self._packed is not None:
            return self._end_to_end(self._packed, batch)
        return self._plain(self._transformer, self._device, precision, [one.text for one in batch])

    def _plain(self, transformer: Any, device: str, precision: str, texts: list[str]) -> dict[str, Any]:
        torch = self._torch
        with self._tokenizing:
            features = transformer.preprocess(texts)
        features = {k: v.to(device) if isinstance(v, torch.Tensor) else v for k, v in features.items()}
        dtype = {"bf16": torch.bfloat16, "fp16": torch.float16}.get(precision)
        kind = device.partition(":")[0]
        with torch.inference_mode(), torch.autocast(kind, dtype=dtype or torch.bfloat16, enabled=dtype is not None):
            output: dict[str, Any] = transformer(features)
        return output

    def _end_to_end(self, packed: PackedEncoder, batch: list[_Text]) -> dict[str, Any]:
        """The packed encoder, then pooling and whatever else follows in this model."""
        torch = self._torch
        pad = torch.nn.utils.rnn.pad_sequence
        with torch.inference_mode():
            features: dict[str, Any] = {
                "token_embeddings": pad(packed([one.ids for one in batch]), batch_first=True),
                "attention_mask": pad([torch.ones(len(one.ids), dtype=torch.int64) for one in batch], batch_first=True),
                "input_ids": pad([torch.tensor(one.ids) for one in batch], batch_first=True),
            }
            for module in list(self._transformer)[1:]:
                features = module(features)
        return features

    def _prove(self, wanted: str) -> Precision:
        def encode(precision: str, texts: Sequence[str]) -> Vectors:
            return unit_rows(self._encode(precision, texts))

        if wanted != "auto":
            return Precision(wanted, "configured")
        if self._device == "cpu":
            packed = (PACKED,) if self._packed is not None else ()
            return choose((*packed, "bf16"), encode, time.process_time)
        return choose(("bf16", "fp16"), encode, time.perf_counter, GPU_COPIES)


@dataclass(frozen=True, slots=True)
class _Text:
    """One text on its way through the model."""

    place: int  # in what was asked for
    text: str
    ids: list[int]  # its tokens with the special ones, cut at the model's limit


def check_chunks(settings: EmbeddingSettings) -> None:
    """Raises ConfigError when chunks are to be longer than the configured model reads. Does not load the model."""
    folder = find_model(settings.model).folder
    limit = longest_input(folder)
    room = limit - TokenizerCounter.load(folder).frame
    if limit and settings.chunk_tokens > room:
        raise ConfigError(
            f"embedding.chunk_tokens is {settings.chunk_tokens}, but {settings.model!r} reads {room} tokens of a text.",
            hint=f"Set BACKLINE_EMBEDDING__CHUNK_TOKENS to {room} or less, or choose another model.",
        )


def flawed(vectors: Vectors) -> NDArray[np.bool_]:
    """Which rows are zero, NaN or infinite."""
    with np.errstate(over="ignore", invalid="ignore"):  # what comes out is looked at
        norms = np.linalg.norm(vectors, axis=1)
    return np.asarray(~(np.isfinite(norms) & (norms > 1e-12)))


def _is_memory(error: RuntimeError | MemoryError) -> bool:
    """torch has a class of its own for GPUs only; for CPUs its allocator's words must do."""
    words = str(error)
    return (
        isinstance(error, MemoryError)
        or type(error).__name__ == "OutOfMemoryError"
        or "can't allocate memory" in words
        or "not enough memory" in words
    )


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
