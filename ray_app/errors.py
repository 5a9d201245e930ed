"""Every error Backline raises on purpose.

BacklineError
├── ConfigError              settings or brand configuration are wrong
├── InputError               what the caller sent cannot be used
│   ├── BadUrl
│   ├── UnknownBrand
│   └── BadQuestion
├── StoreError               SQL or page store
│   ├── LeaseHeld            another run works on the brand
│   ├── LeaseLost            this run was taken over
│   └── StoreUnavailable     (retry)
├── Interrupted              (retry) a person or a shutdown stopped it; the same command goes on
├── BlockedAddress           the guard refused to connect
├── ExtractError             a page or PDF could not be read
├── IndexingError
│   ├── NoGeneration         nothing is published for the brand yet
│   ├── ChecksumMismatch     a file is not what its manifest says
│   ├── ModelMismatch        vectors of different models would be mixed
│   ├── BadVector            NaN, infinite or zero vectors
│   ├── TokenizerFailed      the embedding model's tokenizer raised on a text
│   ├── PublishRefused       a generation's own evaluation fell
│   ├── VectorStoreLocked    a second process tried to open Chroma
│   └── VectorStoreDown      (retry)
├── AnswerError
│   ├── GeneratorDown        (retry) the LLM failed or timed out
│   └── RerankerDown         (retry)
├── ScheduleError            cron expression or schedule file is wrong
└── ClusterError             Ray is missing, full, or refused a job
    └── ClusterUnavailable   (retry)

The class docstring is the default message; every class survives ``pickle``, which Ray needs.
"""

from __future__ import annotations

from typing import ClassVar


class BacklineError(Exception):
    """Something went wrong in Backline."""

    retryable: ClassVar[bool] = False  # whether the same call may succeed later
    kind: ClassVar[str] = "error"  # stable name, used in problem+json types and metrics

    def __init__(self, message: str = "", *, hint: str = "") -> None:
        self.message = message or (self.__doc__ or "").strip().splitlines()[0]
        self.hint = hint  # what to do about it
        super().__init__(self.message, hint)

    def __reduce__(self) -> tuple[object, ...]:
        return (_rebuild, (type(self), self.message, self.hint))

    def __str__(self) -> str:
        return f"{self.message} {self.hint}".strip()


def _rebuild(cls: type[BacklineError], message: str, hint: str) -> BacklineError:
    return cls(message, hint=hint)


class ConfigError(BacklineError):
    """The configuration is wrong."""

    kind = "config"


class InputError(BacklineError):
    """The request cannot be used."""

    kind = "input"


class BadUrl(InputError):
    """This is not a usable http(s) URL."""

    kind = "bad-url"


class UnknownBrand(InputError):
    """No such brand."""

    kind = "unknown-brand"


class BadQuestion(InputError):
    """The question cannot be used."""

    kind = "bad-question"


class StoreError(BacklineError):
    """The store failed."""

    kind = "store"


class LeaseHeld(StoreError):
    """Another run works on this brand."""

    kind = "lease-held"


class LeaseLost(StoreError):
    """Another run took this brand over; this one stops."""

    kind = "lease-lost"


class StoreUnavailable(StoreError):
    """The database cannot be reached."""

    kind = "store-unavailable"
    retryable = True


class Interrupted(BacklineError):
    """It was interrupted; run it again and it goes on where it stopped."""

    kind = "interrupted"
    retryable = True


class BlockedAddress(BacklineError):
    """The address is not one that may be connected to."""

    kind = "blocked-address"


class ExtractError(BacklineError):
    """The page could not be read. ``message`` is a reason code of ``records.REASONS``."""

    kind = "extract"


class IndexingError(BacklineError):
    """The index failed."""

    kind = "index"


class NoGeneration(IndexingError):
    """Nothing is published for this brand yet."""

    kind = "no-generation"


class ChecksumMismatch(IndexingError):
    """A file of the index is not what its manifest says."""

    kind = "checksum-mismatch"


class ModelMismatch(IndexingError):
    """The index was made with another embedding model."""

    kind = "model-mismatch"


class BadVector(IndexingError):
    """The embedding model returned NaN, infinite or zero vectors."""

    kind = "bad-vector"


class TokenizerFailed(IndexingError):
    """The embedding model's tokenizer failed on a text."""

    kind = "tokenizer-failed"


class PublishRefused(IndexingError):
    """The evaluation of the new generation fell; it is not published."""

    kind = "publish-refused"


class VectorStoreLocked(IndexingError):
    """Another process already owns the Chroma directory."""

    kind = "vector-store-locked"


class VectorStoreDown(IndexingError):
    """The vector store cannot be reached."""

    kind = "vector-store-down"
    retryable = True


class AnswerError(BacklineError):
    """No answer could be made."""

    kind = "answer"


class GeneratorDown(AnswerError):
    """The language model failed or did not answer in time."""

    kind = "generator-down"
    retryable = True


class RerankerDown(AnswerError):
    """The reranker failed or did not answer in time."""

    kind = "reranker-down"
    retryable = True


class ScheduleError(BacklineError):
    """The schedule is wrong."""

    kind = "schedule"


class ClusterError(BacklineError):
    """Ray refused."""

    kind = "cluster"


class ClusterUnavailable(ClusterError):
    """No Ray cluster can be reached."""

    kind = "cluster-unavailable"
    retryable = True
