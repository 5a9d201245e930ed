"""What the HTTP API takes and gives. Requests refuse unknown fields; responses are made from records."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from ray_app.api.ports import BrandInfo, TaskRecord
from ray_app.errors import BadQuestion
from ray_app.observe.health import HealthReport, State
from ray_app.records import Answer, Hit, Question, TaskState, Turn

MAX_PASSAGES = 20  # more passages than this no generator reads and no person scrolls through
MAX_HITS = 100  # hits of one search; as many as each retriever gives by default
MAX_TURNS = 20  # messages of a conversation one request may carry
MAX_URLS = 1_000  # start URLs of one scrape task; a longer list belongs into brands.yaml
MAX_URL_CHARS = 2_000  # as the crawler's own limit
MAX_DOCUMENT_CHARS = 8_000_000  # a manual of 1,500 pages; the limit of request bodies is far lower by default


def _storable(text: str) -> str:
    """JSON can carry both, but neither SQL nor UTF-8 can."""
    if "\0" in text:
        raise ValueError("must not hold NUL characters")
    if any("\ud800" <= character <= "\udfff" for character in text):
        raise ValueError("holds half of a surrogate pair; send valid Unicode")
    return text


_LANG = "^([A-Za-z]{2,3}(-[A-Za-z0-9]{1,8}){0,4})?$"
Text = Annotated[str, AfterValidator(_storable)]
BrandName = Annotated[Text, Field(min_length=1, max_length=64, description="name of a brand, as in GET /v1/brands")]
DocumentBody = Annotated[Text, Field(min_length=1, max_length=MAX_DOCUMENT_CHARS)]
AnyBrand = Annotated[Text, Field(max_length=64, description="name of a brand; empty: every brand")]


class Request(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Message(Request):
    role: Literal["user", "assistant"]
    content: Text = Field(max_length=8_000)


class AskRequest(Request):
    question: Text = Field(
        description="in any language; the server's limit on its length is 4,000 characters by default"
    )
    brand: AnyBrand = ""
    product: Text = Field("", max_length=200, description="the product asked about; its words join the question")
    lang: str = Field("", pattern=_LANG, description="only pages in this language (BCP 47 tag); empty: in any")
    history: list[Message] = Field([], max_length=MAX_TURNS, description="earlier messages, oldest first")
    stream: bool = Field(False, description="must be false: streaming is not available")
    k: int = Field(6, ge=1, le=MAX_PASSAGES, description="passages that the answer is made from")
    use_llm: bool = Field(True, description="false: quote the passages even when a language model is configured")

    def to_question(self, max_chars: int) -> Question:
        """Raises BadQuestion."""
        return Question(
            text=checked_question(self.question, max_chars),
            brand=self.brand,
            product=self.product,
            lang=self.lang.partition("-")[0].lower(),  # pages carry the primary tag only
            history=tuple(Turn(m.role, m.content) for m in self.history),
            k=self.k,
            use_llm=self.use_llm,
        )


class SearchRequest(Request):
    query: Text = Field(description="words or a question")
    brand: AnyBrand = ""
    k: int = Field(10, ge=1, le=MAX_HITS, description="hits wanted")
    explain: bool = Field(False, description="true: the milliseconds of each stage are given too")

    def to_question(self, max_chars: int) -> Question:
        """Raises BadQuestion."""
        return Question(text=checked_question(self.query, max_chars), brand=self.brand)


class ScrapeRequest(Request):
    brand: BrandName
    urls: list[Annotated[Text, Field(max_length=MAX_URL_CHARS)]] = Field(
        [],
        max_length=MAX_URLS,
        description="where a new brand begins; of a known one, pages to look at beside its start URLs in this run",
    )
    full: bool = Field(False, description="true: start a new cycle over all pages")


class DocumentIn(Request):
    url: Text = Field(
        "",
        max_length=MAX_URL_CHARS,
        description="where others can open it; empty: it is known by its title, else by its content",
    )
    title: Text = Field("", max_length=300, description="empty: the one that it gives itself")
    text: DocumentBody | None = Field(None, description="either this or `markdown` or `html`")
    markdown: DocumentBody | None = Field(None, description="either this or `text` or `html`")
    html: DocumentBody | None = Field(None, description="either this or `text` or `markdown`")
    lang: str = Field("", pattern=_LANG, description="its language (BCP 47 tag); empty: found by its text")

    @model_validator(mode="after")
    def _one_body(self) -> DocumentIn:
        if sum(body is not None for body in (self.text, self.markdown, self.html)) != 1:
            raise ValueError("give one of text, markdown and html")
        return self


class EmbedRequest(Request):
    brand: BrandName
    document: DocumentIn | None = Field(
        None, description="a document to take into the brand, which is made if it is new; null: what was crawled"
    )

    def payload(self) -> dict[str, Any]:
        """What the task service takes."""
        if self.document is None:
            return {"brand": self.brand}
        document = self.document.model_dump(exclude_none=True)
        lang = self.document.lang.partition("-")[0].lower()  # pages carry the primary tag only
        return {"brand": self.brand, "document": {**document, "lang": lang}}


class RagQueryRequest(Request):
    query: Text = Field("", description="the question; either this or `question`")
    question: Text = Field("", description="the question; either this or `query`")
    brand: AnyBrand = ""

    @model_validator(mode="after")
    def _one_of_both(self) -> RagQueryRequest:
        if self.query and self.question:
            raise ValueError("give either query or question, not both")
        return self

    def payload(self, max_chars: int) -> dict[str, Any]:
        """What the task keeps. Raises BadQuestion."""
        return {"question": checked_question(self.query or self.question, max_chars), "brand": self.brand}


class CitationOut(BaseModel):
    n: int
    chunk_id: str
    url: str = Field(description="opens at the passage")
    title: str
    section: str
    quote: str = Field(description="stands word for word in the passage")


class AskResponse(BaseModel):
    answer_id: str
    answer: str
    mode: Literal["llm", "extractive", "abstained"]
    citations: list[CitationOut]
    confidence: float = Field(description="0 to 1")
    generation: str = Field(description="the index generations asked, as brand:generation")
    reason: str = Field(description="why there is no answer; empty when there is one")
    cache: Literal["exact", "semantic"] | None
    degraded: list[str] = Field(description="parts that did not work and were done without")
    timings_ms: dict[str, float]

    @classmethod
    def of(cls, answer: Answer) -> AskResponse:
        return cls.model_validate(answer, from_attributes=True)


class HitOut(BaseModel):
    chunk_id: str
    url: str = Field(description="opens at the passage")
    title: str
    section: str
    text: str
    score: float
    scores: dict[str, float] = Field(description="score of each stage that the hit passed")

    @classmethod
    def of(cls, hit: Hit) -> HitOut:
        chunk = hit.chunk
        return cls(
            chunk_id=chunk.chunk_id,
            url=chunk.link,
            title=chunk.title,
            section=" > ".join(chunk.section),
            text=chunk.text,
            score=hit.score,
            scores=hit.scores,
        )


class SearchResponse(BaseModel):
    hits: list[HitOut] = Field(description="best first")
    degraded: list[str]
    timings_ms: dict[str, float] | None = Field(None, description="null unless `explain` was true")

    @classmethod
    def of(cls, hits: Sequence[Hit], degraded: Sequence[str], timings_ms: Mapping[str, float] | None) -> SearchResponse:
        return cls(
            hits=[HitOut.of(hit) for hit in hits],
            degraded=list(degraded),
            timings_ms=None if timings_ms is None else dict(timings_ms),
        )


class BrandOut(BaseModel):
    name: str
    title: str
    generation: str = Field(description="the index generation in use; empty when nothing is published")
    documents: int
    chunks: int
    published_at: float | None = Field(description="POSIX seconds")
    urls: dict[str, int] = Field(description="known URLs by state")

    @classmethod
    def of(cls, brand: BrandInfo) -> BrandOut:
        return cls.model_validate(brand, from_attributes=True)


class BrandsResponse(BaseModel):
    brands: list[BrandOut]


class CoverageResponse(BaseModel):
    brand: str
    discovered: int = Field(description="URLs known")
    waiting: int = Field(description="of them, those that the crawl under way has not come to")
    fetched: int
    unchanged: int = Field(description="of the fetched, those confirmed without a new text")
    texts: int = Field(description="URLs that hold a text")
    documents: int = Field(description="texts, each counted once")
    indexed: int = Field(description="documents that the live generation holds as they are")
    generation: str | None
    chunks: int
    dropped: int = Field(description="links that were not recorded, over the cap of known URLs")
    sitemaps: int
    crawled_at: float | None = Field(description="when the last crawl ended, POSIX seconds")
    reasons: dict[str, dict[str, int]] = Field(description="URLs by state and reason")
    rejected: dict[str, int] = Field(description="passages that could not be embedded, by reason")


class WhyResponse(BaseModel):
    url: str
    brand: str
    state: str
    reason: str
    story: list[str] = Field(description="what happened to the URL, in sentences")


class TaskResponse(BaseModel):
    task_id: str
    kind: str
    state: TaskState
    payload: dict[str, Any]
    result: dict[str, Any] | None = None
    error: str | None = Field(None, description="why it failed")
    submission_id: str | None = Field(None, description="id of the Ray job that does it")
    created_at: float = Field(description="POSIX seconds")
    updated_at: float = Field(description="POSIX seconds")

    @classmethod
    def of(cls, task: TaskRecord) -> TaskResponse:
        return cls.model_validate(task, from_attributes=True)


class AliveResponse(BaseModel):
    status: Literal["ok"] = "ok"


class ReadyResponse(BaseModel):
    status: Literal["ready"] = "ready"
    writes: bool = Field(description="whether crawls, embeddings and documents can be stored")
    reasons: list[str] = Field(description="why not; empty when they can")


class CheckOut(BaseModel):
    name: str
    state: State
    reason: str
    latency_ms: float


class HealthResponse(BaseModel):
    status: State
    checks: list[CheckOut]
    details: dict[str, Any]

    @classmethod
    def of(cls, report: HealthReport) -> HealthResponse:
        checks = [CheckOut.model_validate(check, from_attributes=True) for check in report.checks]
        return cls(status=report.state, checks=checks, details=dict(report.details))


class FieldError(BaseModel):
    field: str
    message: str


class Problem(BaseModel):
    """RFC 9457 problem details."""

    type: str = Field(description="stable; programs should look at this")
    title: str
    status: int
    detail: str
    instance: str
    request_id: str
    errors: list[FieldError] | None = Field(None, description="wrong fields of the request")


def checked_question(text: str, max_chars: int) -> str:
    """``text`` itself. Raises BadQuestion when it is too long or holds nothing to search for."""
    if len(text) > max_chars:
        raise BadQuestion(
            f"The question has {len(text)} characters.", hint=f"At most {max_chars} are taken; shorten it."
        )
    if not any(character.isalnum() for character in text):
        raise BadQuestion("The question holds no words.", hint="Write what you want to know.")
    return text
