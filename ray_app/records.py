"""What travels between the parts of Backline: frozen, typed records, standard library only.

Times are POSIX seconds (UTC) as float. URLs are normalised by ``ingest.urls.normalise``.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum


class UrlState(StrEnum):
    """Where a URL stands in the ledger. ``reason`` beside it says why."""

    QUEUED = "queued"  # known, waits to be fetched in this cycle
    FETCHED = "fetched"  # its bytes were read (or 304 confirmed them); reason: ok, not_modified, unchanged, empty...
    SKIPPED = "skipped"  # left alone on purpose: robots, scope, depth, media_type, redirect, duplicate host...
    FAILED = "failed"  # attempts are used up; reason names the last error
    GONE = "gone"  # 404 or 410


# Reasons are short stable codes, not prose: they become metric labels and are counted in reports.
REASONS: dict[str, str] = {
    "discovered": "it was found and waits for its turn",
    "ok": "it was fetched and its text stored",
    "handed": "it was handed over by its owner instead of being fetched",
    "not_modified": "the server said it has not changed (304)",
    "unchanged": "it was fetched again and its text is the same as before",
    "duplicate": "its text equals that of another URL, which stands for both",
    "empty": "it was fetched but holds no text worth indexing",
    "noindex": "the page asks not to be indexed",
    "robots": "robots.txt does not allow it",
    "robots_unreachable": "robots.txt could not be read, which counts as not allowed",
    "canonical": "it names another URL as its canonical address, which stands for both",
    "near_duplicate": "its text is all but equal to that of another spelling of its URL, which stands for both",
    "lastmod": "the sitemap says that it has not changed since it was read",
    "truncated": "only a part of it could be read, for it is damaged or larger than the limits",
    "unlinked": "a complete crawl found no link to it any more",
    "trap": "it belongs to a pattern of URLs without end (calendar, filters, sessions)",
    "host_down": "its host did not answer for so long that it was given up for this crawl",
    "scope": "it lies outside the brand's scope",
    "depth": "it lies deeper than the depth limit",
    "page_cap": "the page limit of this crawl was reached",
    "url_too_long": "the URL is longer than the cap",
    "media_type": "it is neither HTML nor PDF",
    "redirect": "it redirects to another URL, which is crawled instead",
    "redirect_loop": "its redirects form a loop or a chain longer than the cap",
    "downgrade": "it redirects from https to http, which is not followed",
    "blocked_address": "its address is not one the crawler may connect to",
    "bad_url": "it is not a usable http(s) URL",
    "dns": "its host name could not be resolved",
    "connect": "no connection could be made",
    "timeout": "it did not answer in time",
    "slow_body": "its body came slower than the minimum rate",
    "too_large": "its body is larger than the cap",
    "bad_encoding": "its body could not be decompressed",
    "protocol": "the server broke the HTTP protocol",
    "http_4xx": "the server refused it",
    "http_404": "the server says it does not exist",
    "http_410": "the server says it is gone for good",
    "http_429": "the server asked to slow down",
    "http_5xx": "the server failed",
    "pdf_encrypted": "the PDF needs a password",
    "pdf_broken": "the PDF could not be read",
    "pdf_no_text": "the PDF holds only images",
    "pdf_timeout": "reading the PDF took too long",
    "pdf_crashed": "reading the PDF ended its process: it crashed, or wanted more memory than allowed",
    "soft_404": "it answers as if it were there, but says that the page does not exist",
    "login_wall": "it shows its content only to people who have signed in",
    "cookie_wall": "it shows nothing but a request to accept cookies",
    "js_shell": "it is an empty shell that a browser would fill by running scripts",
    "bot_wall": "it asks for proof of not being a robot (captcha or challenge) instead of showing the page",
    "quarantined": "all of its text speaks to a language model instead of to a reader, and was set aside",
    "extract_failed": "its text could not be extracted",
    "fetch_crashed": "the process that fetches died on it",
    "forgotten": "it was forgotten on request, and nothing of it is fetched or stored until that is lifted",
    "extract_crashed": "the extraction process died on it",
}


# Why a chunk is in no index; in the same words as REASONS.
CHUNK_REASONS = {
    "empty": "it has no text that the embedding model reads",
    "too_long": "it is longer than the embedding model reads",
    "tokenizer": "the embedding model's tokenizer failed on it",
    "bad_vector": "the embedding model returned NaN, infinite or zero numbers for it",
}


class Kind(StrEnum):
    """What a URL is asked for."""

    PAGE = "page"  # HTML or PDF, to be indexed
    SITEMAP = "sitemap"
    ROBOTS = "robots"  # for the sitemaps it names


@dataclass(frozen=True, slots=True)
class FetchTask:
    """One URL to fetch, with what the ledger knows about it."""

    brand: str
    url: str
    depth: int = 0  # links away from a start URL
    hops: int = 0  # redirects that led here
    attempts: int = 0  # failed tries so far in this cycle
    etag: str = ""  # validator of the stored text, "" when none
    last_modified: str = ""  # likewise
    content_hash: str = ""  # hash of the stored text, "" when none is stored
    extractor: int = 0  # version of the extraction that made it
    kind: Kind = Kind.PAGE
    invited: bool = False  # a sitemap that its own site has named, so that its rules for pages do not apply to it


@dataclass(frozen=True, slots=True)
class FetchResult:
    """What one fetch brought. ``state`` is FETCHED only when ``body`` may be extracted.

    A transient failure has state QUEUED and ``retry_at``; redirects have state SKIPPED, reason
    ``redirect`` and ``location`` (absolute, normalised).
    """

    task: FetchTask
    state: UrlState
    reason: str
    status: int = 0  # HTTP status, 0 when no answer came
    body: bytes = b""  # decompressed, at most the cap
    media_type: str = ""  # lower case, no parameters
    charset: str = ""  # from the Content-Type header, "" when it names none
    etag: str = ""
    last_modified: str = ""
    location: str = ""
    sitemaps: tuple[str, ...] = ()  # of a robots.txt: those it names, or where one usually lies
    noindex: bool = False  # X-Robots-Tag said so
    nofollow: bool = False
    retry_at: float | None = None
    fetched_at: float = 0.0
    seconds: float = 0.0
    bytes_received: int = 0  # on the wire, before decompression
    detail: str = ""  # one line for a person; never a secret, never markup


@dataclass(frozen=True, slots=True)
class Section:
    """A stretch of a document under one heading."""

    path: tuple[str, ...]  # headings from the outermost to this one, may be empty
    anchor: str  # "#id", "#page=3", or "" for the top of the page
    text: str  # Markdown


@dataclass(frozen=True, slots=True)
class Media:
    """An image or a PDF that a page shows or links to."""

    url: str  # absolute, normalised
    text: str = ""  # alternative text, caption or link text
    anchor: str = ""  # of the section it stands in


@dataclass(frozen=True, slots=True)
class Facts:
    """What a document says about products, as it is spelt there; see ingest.facts. Each tuple is without repeats."""

    products: tuple[str, ...] = ()  # names of products the document is about, best first
    models: tuple[str, ...] = ()  # model designations such as MC-707
    part_numbers: tuple[str, ...] = ()
    error_codes: tuple[str, ...] = ()
    discontinued: bool = False  # it says that its product is no longer made, sold or supported
    images: tuple[Media, ...] = ()
    pdfs: tuple[Media, ...] = ()


@dataclass(frozen=True, slots=True)
class Quarantined:
    """Text taken out of a document because it speaks to a language model instead of to a reader."""

    anchor: str  # of the section it stood in
    text: str
    score: float  # 0..1; see ingest.injection
    signals: tuple[str, ...]  # what gave it away, stable names


@dataclass(frozen=True, slots=True)
class Document:
    """The text of one page or PDF, in sections."""

    brand: str
    url: str  # canonical
    title: str
    lang: str  # BCP 47 primary tag, "" when unknown
    kind: str  # "html" | "pdf"
    sections: tuple[Section, ...]
    content_hash: str  # of title and sections; see ingest.fingerprint.content_hash
    fetched_at: float = 0.0
    facts: Facts = Facts()
    quarantine: tuple[Quarantined, ...] = ()


@dataclass(frozen=True, slots=True)
class Extracted:
    """What extraction made of one body. ``document`` is None when ``reason`` is not ``ok``."""

    reason: str  # a key of REASONS
    document: Document | None = None
    links: tuple[str, ...] = ()  # absolute, normalised, in page order, without repeats
    canonical: str = ""  # rel=canonical when it is usable, else ""
    detail: str = ""


@dataclass(frozen=True, slots=True)
class PageRef:
    """Where a document lies in the page store."""

    part: str  # file name of the Parquet part
    row: int


@dataclass(frozen=True, slots=True)
class Fingerprint:
    """What tells equal and nearly equal texts; see ingest.fingerprint."""

    words: str  # 32 hex digits, of the words in order whatever the markup
    numbers: str  # 16 hex digits, of everything with a digit in it
    simhash: int  # 64 bits, signed
    shape: str  # 16 hex digits, of the words without digits and dates


@dataclass(frozen=True, slots=True)
class Listed:
    """An entry of a sitemap."""

    url: str
    lastmod: float = 0.0  # POSIX seconds; 0: not given


@dataclass(frozen=True, slots=True)
class PageOutcome:
    """What the workers report to the ledger about one URL: a FetchResult without its body, plus the extraction."""

    task: FetchTask
    state: UrlState
    reason: str
    status: int = 0
    etag: str = ""
    last_modified: str = ""
    location: str = ""
    retry_at: float | None = None
    fetched_at: float = 0.0
    seconds: float = 0.0
    bytes_received: int = 0
    detail: str = ""
    media_type: str = ""
    title: str = ""
    content_hash: str = ""  # "" when no text is stored for this URL
    page: PageRef | None = None  # set when a new text was stored
    links: tuple[str, ...] = ()  # of a page; of a robots.txt or sitemap: the sitemaps it names or leads to
    listed: tuple[Listed, ...] = ()  # of a sitemap
    canonical: str = ""  # what the page names as its canonical address, "" when itself or none
    lang: str = ""
    fingerprint: Fingerprint | None = None
    extractor: int = 0


@dataclass(frozen=True, slots=True)
class Chunk:
    """A citable passage. ``embedding_text`` is what is embedded and searched by keywords."""

    chunk_id: str  # 32 hex digits
    brand: str
    url: str
    title: str
    section: tuple[str, ...]
    anchor: str
    text: str  # what is quoted
    lang: str
    kind: str  # "html" | "pdf"
    ordinal: int  # position within the document
    embedding_key: str  # 32 hex digits
    doc_hash: str  # content_hash of the document

    @property
    def embedding_text(self) -> str:
        """Title and headings give a passage the context that its own words often lack."""
        heading = " > ".join(dict.fromkeys(p for p in (self.title, *self.section) if p))
        return f"{heading}\n{self.text}" if heading else self.text

    @property
    def link(self) -> str:
        """The URL that opens at this passage."""
        return self.url + self.anchor


@dataclass(frozen=True, slots=True)
class ModelId:
    """Which model made a vector; vectors of different ids are never compared."""

    name: str
    revision: str
    dim: int

    def __str__(self) -> str:
        return f"{self.name}@{self.revision}"


@dataclass(frozen=True, slots=True)
class Hit:
    """A retrieved chunk with its score at each stage it passed (keys: dense, bm25, fused, rerank)."""

    chunk: Chunk
    score: float
    scores: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class Citation:
    """A numbered source of an answer. ``quote`` stands word for word in the chunk."""

    n: int
    chunk_id: str
    url: str  # with the anchor
    title: str
    section: str  # headings joined by " > "
    quote: str


class AnswerMode(StrEnum):
    LLM = "llm"
    EXTRACTIVE = "extractive"
    ABSTAINED = "abstained"


@dataclass(frozen=True, slots=True)
class Turn:
    """One earlier message of a conversation."""

    role: str  # "user" | "assistant"
    content: str


@dataclass(frozen=True, slots=True)
class Question:
    """A question as it enters the answer lane. ``brand`` "" asks every brand."""

    text: str
    brand: str = ""
    product: str = ""
    lang: str = ""
    history: tuple[Turn, ...] = ()
    k: int = 6  # passages that reach the generator
    use_llm: bool = True


@dataclass(frozen=True, slots=True)
class Answer:
    """What leaves the answer lane."""

    answer_id: str
    answer: str
    mode: AnswerMode
    citations: tuple[Citation, ...]
    confidence: float  # 0..1
    generation: str  # "brand:generation" of every brand asked, comma-separated
    reason: str = ""  # why it abstained
    cache: str | None = None  # None | "exact"
    degraded: tuple[str, ...] = ()
    timings_ms: dict[str, float] = field(default_factory=dict)


class TaskState(StrEnum):
    QUEUED = "queued"
    RUNNING = "running"
    DONE = "done"
    FAILED = "failed"
    CANCELLED = "cancelled"
