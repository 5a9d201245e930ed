"""Reads question and passage together: a cross-encoder, or late interaction where none can be loaded."""

from __future__ import annotations

import asyncio
import unicodedata
from collections import OrderedDict
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import islice
from pathlib import Path
from typing import Any, Literal, TypeVar

import numpy as np
from numpy.typing import NDArray

from ray_app.answer.fuse import minmax
from ray_app.answer.ports import ModelReranker, RerankerKind
from ray_app.answer.understand import ASKING
from ray_app.config import RetrievalSettings
from ray_app.errors import BadVector, RerankerDown
from ray_app.index.ports import Embedder, TokenVectors
from ray_app.observe.log import get_logger
from ray_app.records import Hit

MAXSIM = "maxsim"
BATCH = 32  # pairs per forward pass
HUB_TIMEOUT_S = 5.0  # to learn whether a model hub answers at all; a model that is there may then take its time
KEPT_BYTES = 64 * 2**20  # of passages' token vectors: about 400 passages, those that are asked for most
T = TypeVar("T")

Request = tuple[str, Sequence[str]]  # a question and the passages to score for it

log = get_logger(__name__)


def shared_out(scores: Sequence[float], requests: Sequence[Request]) -> list[list[float]]:
    """``scores`` of all pairs in order, cut into one list per request."""
    rest = iter(scores)
    return [list(islice(rest, len(passages))) for _, passages in requests]


class _OneThread:
    """One thread for one model: torch uses the cores itself, and fast tokenizers are not reentrant.

    A request that gave up while it waited in the queue is not computed any more.
    """

    def __init__(self) -> None:
        self._threads = ThreadPoolExecutor(max_workers=1, thread_name_prefix="rerank")

    async def run(self, work: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(self._threads, work)


class CrossEncoderReranker:
    """A sentence-transformers CrossEncoder with one output, its scores moved to 0..1."""

    kind: Literal["cross-encoder"] = "cross-encoder"

    def __init__(self, name: str, *, local_only: bool) -> None:
        """Loads the model. Raises OSError or ValueError when it is not there or not a reranker."""
        from sentence_transformers import CrossEncoder

        self.name = name
        self._model: Any = CrossEncoder(name, local_files_only=local_only)
        if self._model.num_labels != 1:
            raise ValueError(f"it gives {self._model.num_labels} scores where a reranker gives one")
        self._thread = _OneThread()

    async def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """Raises RerankerDown when the model fails."""
        return (await self.score_many([(question, passages)]))[0]

    async def score_many(self, requests: Sequence[Request]) -> list[list[float]]:
        """The scores of several questions from one pass over all their pairs. Raises RerankerDown."""
        pairs = [(question, passage) for question, passages in requests for passage in passages]
        scores = await self._thread.run(lambda: self._predict(pairs)) if pairs else []
        return shared_out(scores, requests)

    def _predict(self, pairs: list[tuple[str, str]]) -> list[float]:
        from torch.nn import Sigmoid

        try:
            scores = self._model.predict(
                pairs, batch_size=BATCH, activation_fn=Sigmoid(), show_progress_bar=False, convert_to_numpy=True
            )
        except (RuntimeError, ValueError) as error:  # torch: out of memory and the like
            raise RerankerDown(f"{type(error).__name__}") from error
        return _finite(np.asarray(scores, np.float64))


class MaxSimReranker:
    """Late interaction over the embedder's own token vectors (ColBERT's operator, Khattab and Zaharia 2020).

    For each word piece of the question the best cosine among the passage's pieces, averaged.
    """

    name = MAXSIM
    kind: Literal["maxsim"] = "maxsim"

    def __init__(self, embedder: Embedder, *, kept_bytes: int = KEPT_BYTES) -> None:
        self._embedder = embedder
        self._kept = _Kept(kept_bytes)
        self._thread = _OneThread()

    async def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """Raises RerankerDown when the embedder fails."""
        return (await self.score_many([(question, passages)]))[0]

    async def score_many(self, requests: Sequence[Request]) -> list[list[float]]:
        """The scores of several questions, their texts embedded together. Raises RerankerDown."""
        if not any(passages for _, passages in requests):
            return [[] for _ in requests]
        return await self._thread.run(lambda: self._score(requests))

    def _score(self, requests: Sequence[Request]) -> list[list[float]]:
        try:
            asked = [meaningful(tokens) for tokens in self._embedder.encode_tokens([q for q, _ in requests])]
            vectors = self._vectors([passage for _, passages in requests for passage in passages])
        except (BadVector, RuntimeError) as error:
            raise RerankerDown(type(error).__name__) from error
        owner = [which for which, (_, passages) in enumerate(requests) for _ in passages]
        scores = [maxsim(asked[which], vector) for which, vector in zip(owner, vectors, strict=True)]
        return shared_out(_finite(np.array(scores)), requests)

    def _vectors(self, passages: Sequence[str]) -> list[NDArray[np.float16]]:
        known = [self._kept.get(p) for p in passages]
        missing = [p for p, v in zip(passages, known, strict=True) if v is None]
        fresh = iter(self._embedder.encode_tokens(missing) if missing else ())
        vectors = [v if v is not None else next(fresh).vectors.astype(np.float16) for v in known]
        for passage, vector in zip(passages, vectors, strict=True):
            self._kept.put(passage, vector)
        return vectors


class _Kept:
    """Token vectors of the passages used last, up to a number of bytes."""

    def __init__(self, limit: int) -> None:
        self._limit = limit
        self._held = 0
        self._vectors: OrderedDict[str, NDArray[np.float16]] = OrderedDict()

    def get(self, passage: str) -> NDArray[np.float16] | None:
        return self._vectors.get(passage)

    def put(self, passage: str, vectors: NDArray[np.float16]) -> None:
        if passage not in self._vectors:
            self._vectors[passage] = vectors
            self._held += vectors.nbytes
        self._vectors.move_to_end(passage)
        while self._held > self._limit:
            self._held -= self._vectors.popitem(last=False)[1].nbytes


def meaningful(asked: TokenVectors) -> NDArray[np.float32]:
    """Vectors of the question's pieces without punctuation and words that only ask; all when none is left."""
    kept = [i for i, token in enumerate(asked.tokens) if _matters(token)]
    return asked.vectors[kept] if kept else asked.vectors


def _matters(token: str) -> bool:
    word = token.removeprefix("##").casefold()
    if word in ASKING:
        return False
    return any(unicodedata.category(c)[0] in "LNM" for c in word)


def maxsim(asked: NDArray[np.float32], passage: NDArray[np.float16]) -> float:
    """Mean over the question's pieces of the best cosine in the passage; 0 when either is empty."""
    if not len(asked) or not len(passage):
        return 0.0
    return float((asked @ passage.astype(np.float32).T).max(axis=1).mean())


def _finite(scores: NDArray[np.float64]) -> list[float]:
    if not np.isfinite(scores).all():
        raise RerankerDown("the scores are not finite")
    return [float(s) for s in scores]


def load_reranker(settings: RetrievalSettings, embedder: Embedder) -> tuple[ModelReranker, str | None]:
    """The reranker configured, or MaxSim and why ("" is never returned) when it cannot be loaded.

    A name that is not a folder is looked for in the local cache, then on the model hub, if that answers
    within HUB_TIMEOUT_S. Blocks for seconds: call it at start-up.
    """
    name = settings.reranker
    if name == MAXSIM:
        return MaxSimReranker(embedder), None
    try:
        return _load_cross_encoder(name), None
    except _load_errors() as error:
        reason = f"{name} could not be loaded ({_first_line(error)})"
        log.warning("reranker_fallback", wanted=name, used=MAXSIM, error=reason)
        return MaxSimReranker(embedder), reason


def _load_cross_encoder(name: str) -> CrossEncoderReranker:
    if Path(name).expanduser().is_dir():
        return CrossEncoderReranker(str(Path(name).expanduser()), local_only=True)
    try:
        return CrossEncoderReranker(name, local_only=True)
    except (OSError, ValueError):
        _ask_hub(name)
        return CrossEncoderReranker(name, local_only=False)


def _ask_hub(name: str) -> None:
    """Raises at once when the hub cannot be reached or has no such model; loading would try for minutes."""
    from huggingface_hub import HfApi

    HfApi().model_info(name, timeout=HUB_TIMEOUT_S)


def _load_errors() -> tuple[type[Exception], ...]:
    """What loading a model raises. The hub client's HTTP library, and so its errors' base, differs by version."""
    from huggingface_hub.errors import HfHubHTTPError

    http = (base for base in HfHubHTTPError.__mro__ if base.__name__ == "HTTPError")
    return (OSError, ValueError, RuntimeError, *(base for base in http if issubclass(base, Exception)))


def _first_line(error: Exception) -> str:
    text = str(error).strip().splitlines()
    return f"{type(error).__name__}: {text[0][:200]}" if text else type(error).__name__


def combine(window: Sequence[Hit], scores: Sequence[float], kind: RerankerKind, weight: float) -> list[Hit]:
    """``window`` in its new order, each hit with its ``rerank`` score.

    A cross-encoder's order stands alone; MaxSim's scores are normalised and joined with the retrieval
    scores, ``weight`` for MaxSim.
    """
    final = dict(zip((h.chunk.chunk_id for h in window), scores, strict=True))
    if kind == MAXSIM:
        new, old = minmax(final), minmax({h.chunk.chunk_id: h.score for h in window})
        final = {i: weight * new[i] + (1.0 - weight) * old[i] for i in final}
    hits = [
        Hit(h.chunk, final[h.chunk.chunk_id], {**h.scores, "rerank": score})
        for h, score in zip(window, scores, strict=True)
    ]
    return sorted(hits, key=lambda h: -h.score)
