"""What the answer lane asks of a reranker, a generator and a cache."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal, Protocol

from ray_app.answer.understand import Ask
from ray_app.index.generation import Generation
from ray_app.records import AnswerMode, Hit

RerankerKind = Literal["cross-encoder", "maxsim"]


@dataclass(frozen=True, slots=True)
class Quote:
    """A passage's own words behind one marker of a draft. ``n`` counts the generator's passages from 1."""

    n: int
    text: str


@dataclass(frozen=True, slots=True)
class Draft:
    """What a generator wrote, not yet verified.

    ``text`` holds markers. Without ``quotes`` a marker [n] points to passage n, as a language model was
    asked to write it; with ``quotes`` a marker [n] points to ``quotes[n - 1]``. Empty ``text`` means that
    the generator found no answer in the passages.
    """

    text: str
    mode: AnswerMode
    quotes: tuple[Quote, ...] = ()
    passages: int = 0  # how many of the passages given a model was shown; no marker may point beyond


class Index(Protocol):
    """What is published. ``index.reader.IndexReader`` follows the catalog's pointers."""

    def get(self, brand: str) -> Generation:
        """The live generation. Raises UnknownBrand or NoGeneration."""

    def brands(self) -> Sequence[str]:
        """Brands that have a live generation."""

    def in_store(self, brand: str, generation: str) -> bool:
        """Whether the vector store is known to hold that generation whole; searches are exact while it is not."""


class Reranker(Protocol):
    """Reads a question and a passage together. Asynchronous, so that it may live in another process."""

    @property
    def name(self) -> str:
        """Which model scores; part of every cache key."""

    @property
    def kind(self) -> RerankerKind:
        """A cross-encoder's order stands alone, MaxSim is joined with the retrieval score."""

    async def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """One score per passage in order, higher is better. Raises RerankerDown."""


class ModelReranker(Reranker, Protocol):
    """A Reranker that holds its model, and so can score several requests at once."""

    async def score_many(self, requests: Sequence[tuple[str, Sequence[str]]]) -> list[list[float]]:
        """One list of scores per (question, passages), in order. Raises RerankerDown."""


class Generator(Protocol):
    """Writes or quotes an answer from passages, best first."""

    async def generate(self, ask: Ask, passages: Sequence[Hit]) -> Draft:
        """A draft with [n] markers. Raises GeneratorDown."""


class Cache(Protocol):
    """Keeps small values for a while. A cache that is down answers None and takes nothing; it never raises."""

    @property
    def down(self) -> str:
        """ "" while it works, else one word for ``Answer.degraded``."""

    async def get(self, key: str) -> bytes | None:
        """The value put under ``key`` unless it expired."""

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        """Keep ``value`` for ``ttl_s`` seconds, or less when room is short."""

    async def forget(self, brand: str) -> int:
        """Drop every answer that may hold something of ``brand``: its own, and those to questions that ask all brands.

        How many were dropped; ``down`` says when that may not be all.
        """

    async def close(self) -> None:
        """Let go of connections."""
