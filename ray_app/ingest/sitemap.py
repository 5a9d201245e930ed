"""Sitemaps: XML files and indexes, plain text, RSS and Atom feeds, each also as a gzip file. Reads any bytes.

A sitemap comes from a stranger, and a kilobyte of it can stand for a gigabyte. So it is read as a stream by expat,
which builds no tree and keeps nothing but what is asked of it; lxml's iterparse keeps every element that is not an
entry, 1.4 GB of a 48 KB file. Entities are refused where they are declared, nothing is ever loaded from elsewhere, and
what is over the protocol's own limits is cut off and said to be.
"""

from __future__ import annotations

import codecs
import re
from calendar import monthrange
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime
from functools import lru_cache
from xml.parsers import expat

from ray_app.errors import BadUrl
from ray_app.ingest.body import GZIP, BodyRefused, Inflater, expansion_cap
from ray_app.ingest.charset import choose, decode
from ray_app.ingest.urls import normalise
from ray_app.records import Listed

MAX_BYTES = 50 * 2**20  # by the protocol, decompressed
MAX_ENTRIES = 50_000  # by the protocol; as many again may be alternates in other languages
MAX_NESTED = 1_000  # sitemaps of one index; the protocol allows 50,000, of which no support site makes use
MAX_ELEMENTS = 2_000_000  # and attributes; twice what 50 MB of real entries hold
MAX_DEPTH = 64  # of elements; real ones have five
MAX_TEXT_CHARS = 8_192  # of an address or a date; longer ones are none
MAX_TOKEN_BYTES = 2**20  # from one "<" to the next; a tag so long would be millions of attributes in memory
MAX_LINES = 2 * MAX_ENTRIES
LINES_WITHOUT_URL = 1_000  # after so many a text file is taken for something else
MAX_MENDED = 100_000  # faults mended in one file
HEAD_BYTES = 4_096  # tell XML from lines
CHUNK_BYTES = 64 * 1024
# A time without a zone may be anybody's: taken for the latest moment it can mean, so that no change is missed.
UNKNOWN_ZONE = timedelta(hours=12)

_GZIP_MAGIC = b"\x1f\x8b"
_SPACE_BEFORE_XML = re.compile(rb"(?:\xef\xbb\xbf)?\s*(?=<)")
_XML_START = re.compile(rb"<\?xml\s|<(?:\w+:)?(?:urlset|sitemapindex|rss|feed)[\s>]")
_HUGE_TOKEN = re.compile(rb"<[^<]{%d}" % MAX_TOKEN_BYTES)
_LINE = re.compile(rb"[^\r\n]+")
# What is left alone, then what is mended: a bare "&" in an address, the commonest fault, and control characters.
_LOOSE = re.compile(
    rb"<!\[CDATA\[.*?(?:\]\]>|\Z)|<!--.*?(?:-->|\Z)"
    rb"|(&)(?!(?:amp|lt|gt|quot|apos|#\d{1,7}|#x[0-9a-fA-F]{1,6});)|([\x00-\x08\x0b\x0c\x0e-\x1f])",
    re.DOTALL,
)
_CUT_OFF = (expat.errors.XML_ERROR_NO_ELEMENTS, expat.errors.XML_ERROR_UNCLOSED_TOKEN)
_CUT_OFF_CODES = frozenset(expat.errors.codes[text] for text in _CUT_OFF)
_KINDS = {"urlset": "urlset", "sitemapindex": "index", "rss": "feed", "RDF": "feed", "feed": "feed"}
_ENTRIES = frozenset(("url", "sitemap", "item", "entry"))
_FIELDS = frozenset(("loc", "lastmod", "link", "guid", "updated", "modified"))
_W3C = re.compile(
    r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?)?)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Sitemap:
    """What a sitemap names. ``problems`` counts by a stable name what could not be used."""

    entries: tuple[Listed, ...] = ()  # pages, then their alternates in other languages; of any host
    nested: tuple[Listed, ...] = ()  # further sitemaps, never this one
    problems: Mapping[str, int] = field(default_factory=dict)
    truncated: bool = False  # a part is missing: it is over the limits, the file ends in the middle or is damaged
    kind: str = ""  # urlset, index, text, feed; "" when it is none of these

    @property
    def says_something(self) -> bool:
        return bool(self.entries or self.nested)


def parse(body: bytes, url: str) -> Sitemap:
    """The sitemap at ``url`` (normalised). Never raises: what is none has no entries and a problem."""
    found = _Found(url)
    text = _unpacked(body, found)
    start = _xml_start(text)
    if start >= 0:
        found = _read_xml(text[start:], found)
    else:
        _read_lines(text, found)
    return found.sitemap()


def _xml_start(text: bytes) -> int:
    """Where XML begins, -1 when it is none. White space and a script's warnings may stand before it."""
    head = text[:HEAD_BYTES]
    if head.startswith((codecs.BOM_UTF16_LE, codecs.BOM_UTF16_BE)):
        return 0 if decode(head).lstrip().startswith("<") else -1
    start = _XML_START.search(head)
    if start and b"<!" not in head[: start.start()]:  # a document type must not be passed over
        return start.start()
    space = _SPACE_BEFORE_XML.match(head)
    return space.end() if space else -1


def _encoding(text: bytes) -> str:
    """Told from the beginning, which must not end within a character."""
    head = text[:CHUNK_BYTES]
    whole = max(head.rfind(b"<"), head.rfind(b"\n"))
    return choose(head[: whole + 1] if whole > 0 and len(text) > CHUNK_BYTES else head)


@lru_cache(maxsize=4096)  # thousands of entries share a few dates
def lastmod(text: str) -> float:
    """POSIX seconds of a W3C date or time, or of an RFC 822 date: the last moment it can mean. 0 when unreadable."""
    text = text.strip()
    try:
        if found := _W3C.fullmatch(text):
            return _latest(*found.groups()).timestamp()
        return parsedate_to_datetime(text).timestamp()
    except (ValueError, OverflowError, TypeError, IndexError):
        return 0.0


def _latest(
    year: str, month: str | None, day: str | None, hour: str | None, minute: str, second: str | None, zone: str | None
) -> datetime:
    """A month means its last day, a day its last second."""
    last_month = int(month or 12)
    last_day = int(day) if day else monthrange(int(year), last_month)[1]
    if hour is None:
        return datetime(int(year), last_month, last_day, 23, 59, 59, tzinfo=UTC) + UNKNOWN_ZONE
    moment = datetime(int(year), last_month, last_day, int(hour), int(minute), int(second or 59), tzinfo=UTC)
    if zone is None:
        return moment + UNKNOWN_ZONE
    return moment if zone in "Zz" else moment.replace(tzinfo=_zone(zone))


def _zone(text: str) -> timezone:
    sign = -1 if text[0] == "-" else 1
    return timezone(sign * timedelta(hours=int(text[1:3]), minutes=int(text[-2:])))


class _Found:
    """Collects what one file names, within the limits."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.kind = ""
        self.truncated = False
        self.problems: Counter[str] = Counter()
        self._entries: dict[str, float] = {}
        self._alternates: dict[str, None] = {}  # as written: each language of a page repeats the whole list
        self._nested: dict[str, float] = {}

    def __len__(self) -> int:
        return len(self._entries) + len(self._nested)

    def page(self, address: str, date: str = "") -> bool:
        """False when no more is wanted, here and in the others."""
        return self._add(self._entries, address, date, MAX_ENTRIES)

    def nested(self, address: str, date: str) -> bool:
        return self._add(self._nested, address, date, MAX_NESTED)

    def alternate(self, address: str) -> None:
        """The date of an entry is not that of its alternates."""
        if len(self._alternates) < MAX_ENTRIES:
            self._alternates[address.strip()] = None

    def sitemap(self) -> Sitemap:
        """What was collected."""
        entries = self._entries.copy()
        for address in self._alternates:
            if found := self._normalised(address):
                entries.setdefault(found, 0.0)
        self._nested.pop(self.url, None)
        if not (entries or self._nested or self.problems):
            self.problems["no_entries"] += 1
        listed, nested = (tuple(Listed(*item) for item in one.items()) for one in (entries, self._nested))
        return Sitemap(listed, nested, dict(self.problems), self.truncated, self.kind)

    def _add(self, into: dict[str, float], address: str, date: str, most: int) -> bool:
        found = self._normalised(address)
        if not found:
            return True
        if found not in into and len(into) >= most:
            self.truncated = True
            return False
        changed = lastmod(date) if date else 0.0
        if date and not changed:
            self.problems["bad_lastmod"] += 1
        into[found] = max(into.get(found, 0.0), changed)
        return True

    def _normalised(self, address: str) -> str:
        try:
            return normalise(address, self.url)
        except BadUrl:
            self.problems["bad_url"] += 1
            return ""


def _unpacked(body: bytes, found: _Found) -> bytes:
    """A gzip file is told by its first bytes, whatever its name and type. Of a broken one the good part is kept."""
    if not body.startswith(_GZIP_MAGIC):
        found.truncated = len(body) > MAX_BYTES
        return body[:MAX_BYTES]
    room = min(MAX_BYTES, expansion_cap(len(body)))
    inflater, text = Inflater(GZIP), bytearray()
    try:
        for start in range(0, len(body), CHUNK_BYTES):
            for piece in inflater.feed(body[start : start + CHUNK_BYTES], room - len(text) + 1):
                text += piece
            if len(text) > room:
                break
    except BodyRefused:
        found.problems["bad_gzip"] += 1
    found.truncated = len(text) > room or not inflater.complete
    return bytes(text[:room])


def _read_lines(text: bytes, found: _Found) -> None:
    """One URL a line."""
    encoding = _encoding(text)
    if encoding.startswith("utf-16"):
        text, encoding = _as_utf8(text, encoding), "utf-8"
    for number, match in enumerate(_LINE.finditer(text)):
        if number >= MAX_LINES or (number >= LINES_WITHOUT_URL and not found):
            found.truncated = True
            return
        line = match[0][: 4 * MAX_TEXT_CHARS].decode(encoding, "replace").strip("\ufeff \t")
        if not line.lower().startswith(("http://", "https://")):
            found.problems["bad_url"] += bool(line)
            continue
        found.kind = "text"
        if not found.page(line):
            return


def _read_xml(text: bytes, found: _Found) -> _Found:
    """What the file names: read as it stands, and if it is not well-formed once more with its small faults mended."""
    if huge := _HUGE_TOKEN.search(text):
        text = text[: huge.start()]
        found.problems["huge_token"] += 1
        found.truncated = True
    encoding = _encoding(text)
    if encoding != "utf-8":
        text = _as_utf8(text, encoding)
    before = found.problems.copy()
    error = _XmlReader(found).read([text])
    if error == 0:
        return found
    found.problems["broken_xml"] += 1
    if error in _CUT_OFF_CODES:
        found.truncated = True
        return found
    mended = _Found(found.url)
    mended.problems, mended.truncated = before + Counter(broken_xml=1), found.truncated
    reader = _XmlReader(mended)
    mended.truncated |= reader.read(_mended(_as_utf8(text, "utf-8"))) != 0 and not reader.complete
    found.truncated |= len(mended) < len(found)
    return mended if len(mended) >= len(found) else found


def _as_utf8(text: bytes, encoding: str) -> bytes:
    """In UTF-8; what cannot be decoded becomes U+FFFD."""
    decoder = codecs.getincrementaldecoder(encoding)("replace")
    pieces = (decoder.decode(text[i : i + 2**20], i + 2**20 >= len(text)) for i in range(0, len(text), 2**20))
    return b"".join(piece.encode("utf-8", "replace") for piece in pieces)


def _mended(text: bytes) -> Iterator[bytes]:
    """``text`` in pieces, each fault that can be mended between two of them."""
    at = faults = 0
    for match in _LOOSE.finditer(text):
        if match[1] or match[2]:
            yield text[at : match.start()]
            if match[1]:
                yield b"&amp;"
            at = match.end()
            faults += 1
            if faults >= MAX_MENDED:
                return
    yield text[at:]


class _Enough(Exception):
    """Nothing further is wanted of the file."""


class _XmlReader:
    """Tells a ``_Found`` what the elements of one file say."""

    def __init__(self, found: _Found) -> None:
        self.complete = False  # the outermost element was closed
        self._found = found
        self._elements = 0
        self._depth = 0
        self._entry = ""
        self._entry_depth = 0  # 0 outside of entries
        self._fields: dict[str, str] = {}
        self._links: list[str] = []
        self._text: list[str] = []
        self._room = 0
        self._parser = expat.ParserCreate("utf-8")  # whatever the declaration says: the text has been put into it
        self._parser.buffer_text = True
        self._parser.StartElementHandler = self._start
        self._parser.EndElementHandler = self._end
        self._parser.StartDoctypeDeclHandler = self._document_type
        self._parser.EntityDeclHandler = self._entity
        self._parser.SkippedEntityHandler = self._entity

    def read(self, pieces: Iterable[bytes]) -> int:
        """expat's error code, 0 when all is well or enough was read."""
        try:
            for piece in pieces:
                self._parser.Parse(piece, False)
            self._parser.Parse(b"", True)
        except _Enough:
            return 0
        except expat.ExpatError as error:
            if self._entry_depth and self._fields:
                self._tell()  # it has its address, and only its end is missing
            return error.code
        return 0

    def _start(self, name: str, attributes: dict[str, str]) -> None:
        self._depth += 1
        self._elements += 1 + len(attributes)
        local = name.rpartition(":")[2]
        if self._depth == 1:
            self._root(local)
        elif self._entry_depth:
            if self._depth == self._entry_depth + 1 and local in _FIELDS:
                self._field(local, attributes)
        elif local in _ENTRIES:
            self._entry = local
            self._entry_depth = self._depth
            self._fields = {}
            self._links = []
        if self._depth > MAX_DEPTH or self._elements > MAX_ELEMENTS:
            self._found.truncated = True
            raise _Enough

    def _root(self, local: str) -> None:
        self._found.kind = _KINDS.get(local, "")
        if not self._found.kind:
            self._found.problems["html" if local.lower() == "html" else "no_sitemap"] += 1
            raise _Enough

    def _field(self, local: str, attributes: dict[str, str]) -> None:
        if local == "link" and "href" in attributes:
            if attributes.get("rel", "alternate") == "alternate":
                self._links.append(attributes["href"])
        elif local != "guid" or attributes.get("isPermaLink") != "false":
            self._text = []
            self._room = MAX_TEXT_CHARS
            self._parser.CharacterDataHandler = self._characters

    def _characters(self, text: str) -> None:
        self._room -= len(text)
        if self._room >= 0:
            self._text.append(text)

    def _end(self, name: str) -> None:
        if self._parser.CharacterDataHandler is not None and self._depth == self._entry_depth + 1:
            self._parser.CharacterDataHandler = None
            self._fields.setdefault(name.rpartition(":")[2], "".join(self._text).strip() if self._room >= 0 else "\0")
        elif self._depth == self._entry_depth:
            self._entry_depth = 0
            if not self._tell():
                raise _Enough
        self._depth -= 1
        self.complete = self._depth == 0

    def _tell(self) -> bool:
        """Hand over an entry; False when no more is wanted."""
        fields, links, found = self._fields, self._links, self._found
        date = fields.get("lastmod") or fields.get("updated") or fields.get("modified") or ""
        if self._entry == "sitemap":
            return found.nested(fields.get("loc", ""), date)
        if self._entry == "url":
            for link in links:
                found.alternate(link)
            return found.page(fields.get("loc", ""), date) if "loc" in fields or not links else True
        # pubDate is not read: it is when a text first came out, and a later change would be missed.
        address = fields.get("link") or next(iter(links), "") or fields.get("guid", "")
        return found.page(address, date)

    def _document_type(self, name: str, _system: str | None, _public: str | None, has_internal_subset: int) -> None:
        if name.lower() == "html" or has_internal_subset:
            self._refuse("html" if name.lower() == "html" else "document_type")

    def _entity(self, *_: object) -> None:
        self._refuse("document_type")

    def _refuse(self, problem: str) -> None:
        self._found.problems[problem] += 1
        self._found.truncated = True
        raise _Enough
