"""Documents that their owner hands over, where a crawl would fetch them; then they are documents like any other.

They go the way of a crawled page: read by the same extraction, screened for text that speaks to language models,
stored in the page store, recorded in the ledger (reason ``handed``). Only the fetch is left out.

**Addresses.** With ``url`` a document stands under the address at which others can open it; a crawl that comes to that
address later puts what it reads there in its place (see ``store.settle``). Without one it gets an address of its own,
``document://BRAND/NAME``: no crawl can bring one like it, for crawls know http and https only; it shows a reader of
a citation which document is meant, unlike a hash; and no program tries to open it, unlike ``file:``, which names a file
on somebody else's disk. NAME is the name of the file; without one, the title that was given; without that too, a hash
of the content. The same NAME replaces what was handed over before, so a hash, which changes with the content, replaces
nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from pathlib import PurePath
from typing import Literal, Protocol
from urllib.parse import quote, unquote

from ray_app.config import CrawlSettings
from ray_app.errors import BadUrl, InputError
from ray_app.ingest.brands import SLUG, BrandConfig
from ray_app.ingest.charset import decode
from ray_app.ingest.clean import one_line
from ray_app.ingest.enrich import enriched, says_something
from ray_app.ingest.facts.find import find as find_facts
from ray_app.ingest.fingerprint import content_hash, fingerprint
from ray_app.ingest.injection.screen import speaking
from ray_app.ingest.plain_text import read
from ray_app.ingest.ports import EXTRACTOR_VERSION
from ray_app.ingest.urls import normalise
from ray_app.ingest.worker import read_page
from ray_app.records import (
    REASONS,
    Document,
    Extracted,
    FetchResult,
    FetchTask,
    PageOutcome,
    PageRef,
    UrlState,
)
from ray_app.store.ledger import Ledger, UrlRow
from ray_app.store.lost import LOST
from ray_app.store.pages import PageStore

Form = Literal["html", "markdown", "text", "pdf"]

SCHEME = "document://"
MAX_NAME_CHARS = 120  # of the name in an address, before it is escaped
MAX_TITLE_CHARS = 300
MEDIA_TYPES: Mapping[Form, str] = {
    "html": "text/html",
    "markdown": "text/markdown",
    "text": "text/plain",
    "pdf": "application/pdf",
}
FORMS: Mapping[str, Form] = {
    **dict.fromkeys((".html", ".htm", ".xhtml"), "html"),
    **dict.fromkeys((".md", ".markdown", ".mdown"), "markdown"),
    **dict.fromkeys((".txt", ".text", ".rst", ".log", ""), "text"),
    ".pdf": "pdf",
}


@dataclass(frozen=True, slots=True)
class Handed:
    """A document as it is handed over."""

    body: bytes
    form: Form
    charset: str = ""  # "" when it must be found
    url: str = ""  # as its owner writes it; "": it gets an address of its own
    name: str = ""  # of the file, "" when there is none
    title: str = ""  # in place of the one that it gives itself
    lang: str = ""  # primary tag; believed as far as the text does not contradict it


@dataclass(frozen=True, slots=True)
class Receipt:
    """What became of a document that was handed over."""

    url: str
    title: str
    content_hash: str
    changed: bool  # False: the same text is stored already
    detail: str = ""  # what was left out of it


class DocumentDesk(Protocol):
    """Takes documents and publishes brands; ``on_ray.indexer`` has it."""

    def hand_over(self, brand: str, given: Handed) -> Receipt:
        """Store a document. It is durable when this returns.

        Raises InputError, BadUrl, StoreUnavailable, ClusterUnavailable.
        """

    def publish(self, task_id: str) -> None:
        """Have a task's brand published; may be repeated. Returns before it is done. Raises ClusterUnavailable."""


def form_of(name: str) -> Form:
    """What a file holds, by its ending. Raises InputError."""
    ending = PurePath(name).suffix.lower()
    if ending not in FORMS:
        known = ", ".join(sorted(filter(None, FORMS)))
        raise InputError(f"{name} is of a kind that cannot be read.", hint=f"These endings can: {known}.")
    return FORMS[ending]


def spelled(url: str) -> str:
    """The ledger's spelling of an address, be it of the web or of a document. Raises BadUrl."""
    if not url.startswith(SCHEME):
        return normalise(url)
    brand, _, name = url.removeprefix(SCHEME).partition("#")[0].partition("/")
    if not SLUG.fullmatch(brand) or not name:
        raise BadUrl(f"{url[:200]!r} is not the address of a document.", hint=f"It is like {SCHEME}BRAND/NAME.")
    return _own(brand, unquote(name))


def address(brand: str, given: Handed) -> str:
    """Where the document stands. Raises BadUrl, also for an address that belongs to another brand's documents."""
    if not given.url:
        named = one_line(given.name) or one_line(given.title)
        return _own(brand, named or blake2b(given.body, digest_size=8).hexdigest())
    url = spelled(given.url)
    if url.startswith(SCHEME) and not url.startswith(f"{SCHEME}{brand}/"):
        raise BadUrl(f"{url[:200]!r} is not an address of the brand {brand}.")
    return url


def _own(brand: str, name: str) -> str:
    """A long name is cut, and told from others that begin alike by a hash."""
    name = one_line(name)
    if len(name) > MAX_NAME_CHARS:
        digest = blake2b(name.encode("utf-8", "replace"), digest_size=4).hexdigest()
        name = f"{name[: MAX_NAME_CHARS - len(digest) - 1]}-{digest}"
    return f"{SCHEME}{brand}/{quote(name, safe='', errors='replace') or '-'}"


def hand_over(
    pages: PageStore, ledger: Ledger, brand: BrandConfig, given: Handed, crawl: CrawlSettings, now: float
) -> Receipt:
    """Stores a document; it is in the index when the brand is next published. Doing it again changes nothing.

    It is durable when this returns, whoever holds the brand's lease. Raises InputError when nothing of it can be
    indexed or its address was forgotten on request, BadUrl, StoreUnavailable.
    """
    url = address(brand.name, given)
    found = _read(brand, url, given, crawl, now)
    document = found.document
    if document is None:
        why = f"{REASONS[found.reason]} ({found.detail})" if found.detail else REASONS[found.reason]
        raise InputError(f"Nothing of the document can be indexed: {why}.")
    held = ledger.url(brand.name, url)
    if held is not None and _is_stored(held, document):
        return Receipt(url, document.title, document.content_hash, changed=False, detail=found.detail)
    part = pages.write_part(brand.name, [document])
    ledger.hand_over(brand.name, _outcome(given, found, document, PageRef(part, 0)), now)
    return Receipt(url, document.title, document.content_hash, changed=True, detail=found.detail)


def _is_stored(held: UrlRow, document: Document) -> bool:
    """Whether the same text is there already, handed over like this one, and was not lost since."""
    same = held.content_hash == document.content_hash and held.lang == document.lang
    return same and held.extractor < 0 and held.page_part not in (None, LOST)


def _outcome(given: Handed, found: Extracted, document: Document, page: PageRef) -> PageOutcome:
    return PageOutcome(
        FetchTask(document.brand, document.url),
        UrlState.FETCHED,
        "handed",
        fetched_at=document.fetched_at,
        bytes_received=len(given.body),
        detail=found.detail,
        media_type=MEDIA_TYPES[given.form],
        title=document.title,
        content_hash=document.content_hash,
        page=page,
        canonical="" if found.canonical == document.url else found.canonical,
        lang=document.lang,
        fingerprint=fingerprint(document.title, document.sections),
        extractor=-EXTRACTOR_VERSION,  # negative: handed over; see store.settle
    )


def _read(brand: BrandConfig, url: str, given: Handed, crawl: CrawlSettings, now: float) -> Extracted:
    """What the document says, under the title that was given. Raises InputError for what no reading could mend."""
    cap = crawl.pdf_cap_bytes if given.form == "pdf" else crawl.html_cap_bytes
    if len(given.body) > cap:
        raise InputError(f"The document has {len(given.body):,} bytes.", hint=f"At most {cap:,} are taken.")
    title = one_line(given.title)[:MAX_TITLE_CHARS].strip()
    if speaking([title]):
        raise InputError("The title speaks to a language model instead of to a reader.", hint="Give another one.")
    brand = brand.model_copy(update={"lang": given.lang}) if given.lang else brand
    if given.form in ("html", "pdf"):
        return _titled(_read_page(brand, url, given, crawl, now), title)
    return _read_text(brand, url, given, title, now)


def _read_page(brand: BrandConfig, url: str, given: Handed, crawl: CrawlSettings, now: float) -> Extracted:
    result = FetchResult(
        FetchTask(brand.name, url),
        UrlState.FETCHED,
        "ok",
        body=given.body,
        media_type=MEDIA_TYPES[given.form],
        charset=given.charset,
        fetched_at=now,
    )
    return read_page(brand, result, crawl)


def _titled(found: Extracted, title: str) -> Extracted:
    """The same under another title, which says what the document is about as well as its own did."""
    document = found.document
    if document is None or not title or title == document.title:
        return found
    document = replace(document, title=title, content_hash=content_hash(title, document.sections))
    told = find_facts(document).products
    products = tuple(dict.fromkeys((*told, *document.facts.products)))[: max(len(told), len(document.facts.products))]
    return replace(found, document=replace(document, facts=replace(document.facts, products=products)))


def _read_text(brand: BrandConfig, url: str, given: Handed, title: str, now: float) -> Extracted:
    text = read(decode(given.body, given.charset), markdown=given.form == "markdown")
    if not says_something(text.sections):
        return Extracted("empty")
    own = text.title[:MAX_TITLE_CHARS].strip() or PurePath(given.name).stem or _first_line(text.sections[0].text)
    title = title or own
    document = Document(
        brand=brand.name,
        url=url,
        title=title,
        lang=brand.lang,
        kind="html",  # the kinds tell documents of pages from those without
        sections=text.sections,
        content_hash=content_hash(title, text.sections),
        fetched_at=now,
    )
    return enriched(Extracted("ok", document))


def _first_line(text: str) -> str:
    return one_line(text.partition("\n")[0])[:80].strip()
