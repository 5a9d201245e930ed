"""A BERT encoder in bf16 over texts laid end to end: nothing is computed on padding, and the layers stay in the cache.

Linear layers see all tokens of a batch as one matrix, attention sees each text alone. Against autocast over padded
batches this saves a quarter of the time on a processor with AVX512-BF16; see benchmarks/embed.py. What it may
embed with is decided by ``index.precision``, which compares its vectors to those of the plain model.
"""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from itertools import groupby
from typing import Any, TypeVar

Batch = TypeVar("Batch")
Result = TypeVar("Result")

# Of transformers: the same layers under the same names, in the order that ``_forward`` computes.
ARCHITECTURES = ("BertModel", "RobertaModel", "XLMRobertaModel", "CamembertModel")
# Tokens in one pass. Their activations stay in the caches; fewer cost more calls, more fall out of the cache.
CACHE_TOKENS = 2_048
# A pass smaller than this is not worth a thread of its own.
LEAST_TOKENS = 256
# Up to this length attention as two products beats the fused kernel of torch; beyond, its square of scores is too big.
SHORT_TOKENS = 512


@dataclass(frozen=True, slots=True)
class _Linear:
    weight: Any
    bias: Any


@dataclass(frozen=True, slots=True)
class _Layer:
    qkv: _Linear  # the three in one product; queries are scaled already
    mixed: _Linear
    norm: Any
    up: _Linear
    act: Callable[[Any], Any]
    down: _Linear
    last_norm: Any


class PackedEncoder:
    """Token vectors of texts that lie end to end, without padding. Holds a bf16 copy of the encoder's layers."""

    def __init__(self, torch: Any, model: Any) -> None:
        self._torch = torch
        self.threads = max(1, int(torch.get_num_threads()))
        self._pool = _single_threads(torch, self.threads)
        self._embeddings = model.embeddings
        self._heads = int(model.config.num_attention_heads)
        self._first_position = int(getattr(model.embeddings, "padding_idx", -1)) + 1  # RoBERTa counts from there
        self._layers = [self._layer(layer) for layer in model.encoder.layer]

    def __call__(self, ids: Sequence[Sequence[int]]) -> list[Any]:
        """The last layer of each text as a float tensor (tokens, width). Equal lengths should stand side by side."""
        torch, lengths = self._torch, [len(one) for one in ids]
        tokens = torch.tensor([token for one in ids for token in one])[None]
        places = torch.cat([torch.arange(n) for n in lengths])[None] + self._first_position
        types = torch.zeros_like(tokens)
        states = self._embeddings(input_ids=tokens, token_type_ids=types, position_ids=places)[0]
        spans = list(_spans(lengths))
        states = states.to(torch.bfloat16)
        for layer in self._layers:
            states = self._forward(layer, states, spans)
        return list(states.float().split(lengths))

    def side_by_side(self, work: Callable[[Batch], Result], batches: Iterable[Batch]) -> Iterator[Result]:
        """``work`` on each batch, in order, a thread for each, without holding many more results than threads."""
        waiting: deque[Future[Result]] = deque()
        for batch in batches:
            waiting.append(self._pool.submit(work, batch))
            if len(waiting) > self.threads:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()

    def _forward(self, layer: _Layer, states: Any, spans: list[tuple[int, int, int]]) -> Any:
        linear = self._torch.nn.functional.linear
        mixed = self._attend(linear(states, layer.qkv.weight, layer.qkv.bias), spans)
        states = layer.norm(linear(mixed, layer.mixed.weight, layer.mixed.bias).add_(states))
        wide = layer.act(linear(states, layer.up.weight, layer.up.bias))
        return layer.last_norm(linear(wide, layer.down.weight, layer.down.bias).add_(states))

    def _attend(self, qkv: Any, spans: list[tuple[int, int, int]]) -> Any:
        """Each text over its own tokens; texts of one length together."""
        torch, width = self._torch, qkv.shape[1] // 3
        out = torch.empty(qkv.shape[0], width, dtype=qkv.dtype)
        for start, texts, length in spans:
            rows = slice(start, start + texts * length)
            parts = qkv[rows].view(texts, length, 3, self._heads, width // self._heads).permute(2, 0, 3, 1, 4)
            if length > SHORT_TOKENS:
                mixed = torch.nn.functional.scaled_dot_product_attention(*parts, scale=1.0)
            else:
                query, key, value = parts.reshape(3, texts * self._heads, length, -1)
                mixed = torch.bmm(torch.softmax(torch.bmm(query, key.transpose(1, 2)), -1), value)
            mixed = mixed.view(texts, self._heads, length, -1)
            out[rows].view(texts, length, self._heads, -1).copy_(mixed.transpose(1, 2))
        return out

    def _layer(self, layer: Any) -> _Layer:
        own, torch = layer.attention.self, self._torch
        scale = (own.query.out_features // self._heads) ** -0.5
        qkv = _Linear(
            torch.cat([own.query.weight * scale, own.key.weight, own.value.weight]),
            torch.cat([own.query.bias * scale, own.key.bias, own.value.bias]),
        )
        return _Layer(
            self._half(qkv),
            self._half(layer.attention.output.dense),
            self._norm(layer.attention.output.LayerNorm),
            self._half(layer.intermediate.dense),
            layer.intermediate.intermediate_act_fn,
            self._half(layer.output.dense),
            self._norm(layer.output.LayerNorm),
        )

    def _half(self, linear: Any) -> _Linear:
        dtype = self._torch.bfloat16
        return _Linear(linear.weight.detach().to(dtype), linear.bias.detach().to(dtype))

    def _norm(self, norm: Any) -> Callable[[Any], Any]:
        """In fp32 inside, with fp32 weights, over bf16 states."""

        def apply(states: Any) -> Any:
            return self._torch.nn.functional.layer_norm(states, norm.normalized_shape, norm.weight, norm.bias, norm.eps)

        return apply


def pack(torch: Any, transformer: Any) -> PackedEncoder | None:
    """The packed form of a sentence-transformers model, None when it is of no kind known here."""
    model: Any = getattr(transformer[0], "model", None)
    if type(model).__name__ not in ARCHITECTURES:
        return None
    config = model.config
    if getattr(config, "position_embedding_type", "absolute") != "absolute" or getattr(config, "is_decoder", False):
        return None
    try:
        with torch.inference_mode():
            return PackedEncoder(torch, model)
    except AttributeError:  # a version of transformers that names its parts in another way
        return None


def _spans(lengths: Sequence[int]) -> Iterator[tuple[int, int, int]]:
    """(first token, texts, length) of each run of texts that are equally long."""
    start = 0
    for length, run in groupby(lengths):
        texts = len(list(run))
        yield start, texts, length
        start += texts * length


def _single_threads(torch: Any, count: int) -> ThreadPoolExecutor:
    """Threads whose torch computes each on one core.

    Torch's own threads meet after each of some hundred small steps, and wait for each other in a loop that burns
    their cores; where other processes want those cores, too, that made a batch ten times as slow.
    """
    pool = ThreadPoolExecutor(count, thread_name_prefix="embed", initializer=torch.set_num_threads, initargs=(1,))
    met = threading.Barrier(count + 1)
    for _ in range(count):
        pool.submit(met.wait)
    met.wait()  # all have begun
    torch.set_num_threads(count)  # theirs became the number of threads that are born later
    return pool
