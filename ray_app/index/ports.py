"""What the two lanes ask of an embedding model and of a vector store."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

import numpy as np
from numpy.typing import NDArray

from ray_app.records import ModelId

if TYPE_CHECKING:
    from ray_app.index.generation import Generation

Vectors = NDArray[np.float32]


@dataclass(frozen=True, slots=True)
class TokenVectors:
    """One text token by token, for late interaction: no [CLS], [SEP] or padding."""

    tokens: list[str]
    vectors: Vectors  # (len(tokens), dim), each row of length 1


class Embedder(Protocol):
    """Turns texts into vectors. Safe to call from several threads."""

    @property
    def model(self) -> ModelId:
        """Which model makes the vectors; vectors of different ids must not be mixed."""

    @property
    def max_tokens(self) -> int:
        """Tokens of one text that are read, special tokens included; the rest is cut off."""

    def encode(self, texts: Sequence[str]) -> Vectors:
        """Vectors (len(texts), dim) of length 1 in the order of ``texts``.

        Raises BadVector when the model returns NaN, infinite or zero vectors.
        """

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Contextual token vectors of each text, in order. Raises BadVector."""

    def count(self, text: str) -> int:
        """Tokens of ``text``, special tokens not included, nothing cut off."""

    def describe(self) -> dict[str, str | int | float | bool]:
        """Device, precision and how it was chosen, for health pages and logs."""


class VectorStore(Protocol):
    """Approximate nearest-neighbour search over named collections of own vectors.

    An accelerator, not a truth: it may hold ids that no generation holds any more. Every call may
    raise VectorStoreDown.
    """

    def upsert(self, collection: str, ids: Sequence[str], vectors: Vectors) -> None:
        """Put ``vectors`` (len(ids), dim) in place of what was held under ``ids``; creates the collection.

        Raises ModelMismatch when the collection holds vectors of another width.
        """

    def delete(self, collection: str, ids: Sequence[str]) -> None:
        """Forget ``ids``; unknown ones are ignored."""

    def query(self, collection: str, vector: Vectors, k: int) -> list[tuple[str, float]]:
        """Up to ``k`` (id, cosine), nearest first; [] for an unknown collection. ``vector`` has shape (dim,)."""

    def count(self, collection: str) -> int:
        """How many vectors the collection holds; 0 when there is none of that name."""

    def ids(self, collection: str) -> set[str]:
        """Every id held: 130 MB for a million. ``missing`` and ``page`` do with less."""

    def page(self, collection: str, start: int, limit: int) -> list[str]:
        """Up to ``limit`` ids from the ``start``-th on, in an order that stays while nothing is written."""

    def missing(self, collection: str, ids: Sequence[str]) -> set[str]:
        """Which of ``ids`` are not held; all of them for an unknown collection."""

    def vectors(self, collection: str, ids: Sequence[str]) -> tuple[list[str], Vectors]:
        """Those of ``ids`` that are held, in any order, and their vectors (n, dim), n = 0: of any width."""

    def drop(self, collection: str) -> None:
        """Forget the collection; an unknown one is ignored."""

    def collections(self) -> list[str]:
        """Names in order."""

    def describe(self) -> dict[str, str | int | float | bool]:
        """Its ``kind`` and what is known about it, for health pages; ``damaged`` says what was lost, and why."""

    def close(self) -> None:
        """Let go of files, locks and connections; may be called twice."""


@dataclass(frozen=True, slots=True)
class Verdict:
    """What a publish gate found."""

    passed: bool
    figures: Mapping[str, float]  # by name, such as ndcg@10 and live_ndcg@10
    why: str = ""  # for a person


class Gate(Protocol):
    """Says whether a generation is good enough to be published."""

    def judge(self, built: Generation, live: Generation | None) -> Verdict:
        """Compare a built generation with the live one, None when nothing is published yet."""
