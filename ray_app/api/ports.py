"""What the HTTP layer asks of the rest. It knows no Ray, no SQL and no index, only these."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

from ray_app.observe.health import HealthReport
from ray_app.records import Answer, Hit, Question

TaskKind = Literal["scrape", "embed", "rag-query"]


class Limits(Protocol):
    """How much one request may ask for; ``config.ServeSettings`` has it."""

    @property
    def max_question_chars(self) -> int: ...

    @property
    def max_body_bytes(self) -> int: ...

    @property
    def answer_timeout_s(self) -> float: ...


class AnswerService(Protocol):
    """Both calls raise BadQuestion, UnknownBrand, NoGeneration, or a retryable BacklineError."""

    async def answer(self, question: Question) -> Answer:
        """The answer with its citations."""

    async def search(self, question: Question) -> tuple[Sequence[Hit], Sequence[str], Mapping[str, float]]:
        """All hits found, best first, whatever ``question.k``; what was degraded; milliseconds by stage."""


@dataclass(frozen=True, slots=True)
class BrandInfo:
    """A brand as the API shows it."""

    name: str
    title: str = ""  # for a person, "" when none is configured
    generation: str = ""  # the live one, "" when nothing is published
    documents: int = 0  # of the live generation
    chunks: int = 0  # likewise
    published_at: float | None = None  # POSIX seconds
    urls: Mapping[str, int] = field(default_factory=dict)  # known URLs by state


class BrandService(Protocol):
    async def brands(self) -> Sequence[BrandInfo]:
        """Every configured brand, by name."""

    async def coverage(self, brand: str) -> Mapping[str, Any]:
        """The fields of ``schemas.CoverageResponse``. Raises UnknownBrand."""

    async def why(self, brand: str, url: str) -> Mapping[str, Any] | None:
        """The fields of ``schemas.WhyResponse``; None when no crawl has seen the URL. Raises UnknownBrand, BadUrl."""


class TaskRecord(Protocol):
    """A task as ``store.tasks`` keeps it; times are POSIX seconds."""

    @property
    def task_id(self) -> str: ...

    @property
    def kind(self) -> str: ...

    @property
    def state(self) -> str: ...

    @property
    def payload(self) -> Mapping[str, Any]: ...

    @property
    def result(self) -> Mapping[str, Any] | None: ...

    @property
    def error(self) -> str | None: ...

    @property
    def submission_id(self) -> str | None: ...

    @property
    def created_at(self) -> float: ...

    @property
    def updated_at(self) -> float: ...


class TaskService(Protocol):
    async def submit(self, kind: TaskKind, payload: Mapping[str, Any]) -> TaskRecord:
        """Record a task and have it run. Returns before it ends.

        ``payload``: scrape {brand, urls, full}; embed {brand} or {brand, document}, whose document has url, title and
        lang, perhaps empty, and one of text, html and markdown; rag-query {question, brand}.
        Raises UnknownBrand, BadUrl, InputError for a document of which nothing can be indexed, or a retryable
        BacklineError when nothing can be run now.
        """

    async def get(self, task_id: str) -> TaskRecord | None:
        """The task, or None when there is none of that id."""


class HealthService(Protocol):
    async def health(self) -> HealthReport:
        """Every check, run now."""

    async def ready(self) -> tuple[bool, Sequence[str]]:
        """Whether questions can be answered now, and the reasons why not."""

    async def writes(self) -> Sequence[str]:
        """Why nothing can be written now; nothing when it can. May be a few seconds old."""


class MetricsService(Protocol):
    """``observe.metrics.Metrics`` has it."""

    def render(self) -> bytes:
        """Prometheus's text format. May block on SQL."""

    def http_request(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """Count one request."""

    def answered(self, status: str, *, from_cache: bool, seconds: float, stages_ms: Mapping[str, float]) -> None:
        """Count one answered question."""

    def not_answered(self, status: str) -> None:
        """Count one question without an answer."""


@dataclass(frozen=True, slots=True)
class Services:
    """Everything ``create_app`` needs."""

    answers: AnswerService
    brands: BrandService
    tasks: TaskService
    health: HealthService
    metrics: MetricsService
    limits: Limits
