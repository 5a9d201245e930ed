"""Sitemaps: XML files and indexes, plain text, RSS and Atom feeds, each also as a gzip file. Reads any bytes.

A sitemap comes from a stranger: it is read as a stream, no document type is let in (so there are no entities to expand
or to fetch), and what is over the protocol's own limits is cut off and said to be.
"""

from __future__ import annotations

import io
import re
import zlib
from calendar import monthrange
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta, timezone
from email.utils import parsedate_to_datetime

from lxml import etree

from ray_app.errors import BadUrl
from ray_app.ingest.body import BodyRefused, Inflater
from ray_app.ingest.charset import decode
from ray_app.ingest.urls import normalise
from ray_app.records import Listed

MAX_BYTES = 50 * 2**20  # by the protocol, decompressed
MAX_ENTRIES = 50_000  # by the protocol
MAX_NESTED = 1_000  # sitemaps of one index; the protocol allows 50,000, of which no support site makes use
HEAD_BYTES = 4_096  # tell XML from lines, and a document type, which stands before the first element
# A time without a zone may be anybody's: taken for the latest moment it can mean, so that no change is missed.
UNKNOWN_ZONE = timedelta(hours=12)

_GZIP = b"\x1f\x8b"
_WANTED = ("{*}url", "{*}sitemap", "{*}item", "{*}entry")
_W3C = re.compile(
    r"(\d{4})(?:-(\d{1,2})(?:-(\d{1,2})(?:[T ](\d{1,2}):(\d{2})(?::(\d{2})(?:[.,]\d+)?)?\s*(Z|[+-]\d{2}:?\d{2})?)?)?)?",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Sitemap:
    """What a sitemap names. ``problems`` counts by a stable name what could not be used."""

    entries: tuple[Listed, ...] = ()  # pages, with their alternates in other languages
    nested: tuple[Listed, ...] = ()  # further sitemaps
    problems: Mapping[str, int] = field(default_factory=dict)
    truncated: bool = False  # there was more than the limits allow

    @property
    def says_something(self) -> bool:
        return bool(self.entries or self.nested)


def parse(body: bytes, url: str) -> Sitemap:
    """The sitemap at ``url`` (normalised). Never raises: what is none has no entries and a problem."""
    reader = _Reader(url)
    text = reader.unpacked(body)
    head = decode(text[:HEAD_BYTES]).lstrip().lower()
    if head.startswith("<"):
        reader.read_xml(text, head)
    else:
        reader.read_lines(text)
    return reader.sitemap()


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


class _Reader:
    """Collects the entries of one file."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._entries: dict[str, float] = {}
        self._nested: dict[str, float] = {}
        self._problems: Counter[str] = Counter()
        self._truncated = False

    def sitemap(self) -> Sitemap:
        """What was collected."""
        if not (self._entries or self._nested or self._problems):
            self._problems["no_entries"] += 1
        entries, nested = (tuple(Listed(*item) for item in one.items()) for one in (self._entries, self._nested))
        return Sitemap(entries, nested, dict(self._problems), self._truncated)

    def unpacked(self, body: bytes) -> bytes:
        """A gzip file is told by its first bytes, whatever its name and type."""
        if not body.startswith(_GZIP):
            return body[:MAX_BYTES]
        try:
            text = b"".join(Inflater(16 + zlib.MAX_WBITS).feed(body, MAX_BYTES + 1))
        except BodyRefused:
            self._problems["bad_gzip"] += 1
            return b""
        self._truncated = len(text) > MAX_BYTES
        return text[:MAX_BYTES]

    def read_lines(self, text: bytes) -> None:
        """One URL a line."""
        for line in decode(text).splitlines():
            if not line.lstrip().lower().startswith(("http://", "https://")):
                self._problems["bad_url"] += bool(line.strip())
            elif not self._add(self._entries, line, "", MAX_ENTRIES):
                return

    def read_xml(self, text: bytes, head: str) -> None:
        """``head``: the beginning of the text in small letters."""
        if "<!doctype" in head or "<!entity" in head:
            self._problems["html" if "<!doctype html" in head else "document_type"] += 1
            return
        try:
            for element in _elements(text):
                if not self._take(element):
                    return
        except etree.XMLSyntaxError:
            self._problems["broken_xml"] += 1  # what was read before stands

    def _take(self, element: etree._Element) -> bool:
        """Add what one element names; False when no more is wanted."""
        kind = etree.QName(element).localname
        if kind == "sitemap":
            return self._add(self._nested, _text(element, "loc"), _text(element, "lastmod"), MAX_NESTED)
        date = _text(element, "lastmod") or _text(element, "updated") or _text(element, "pubDate")
        return all(self._add(self._entries, address, date, MAX_ENTRIES) for address in _ADDRESSES[kind](element))

    def _add(self, into: dict[str, float], address: str, date: str, most: int) -> bool:
        try:
            found = normalise(address.strip(), self._url)
        except BadUrl:
            self._problems["bad_url"] += 1
            return True
        if found not in into and len(into) >= most:
            self._truncated = True
            return False
        changed = lastmod(date) if date else 0.0
        if date and not changed:
            self._problems["bad_lastmod"] += 1
        into[found] = max(into.get(found, 0.0), changed)
        return True


def _elements(text: bytes) -> Iterator[etree._Element]:
    """The entries of an XML file one by one; each is forgotten when the next one is asked for."""
    events = etree.iterparse(
        io.BytesIO(text),
        events=("end",),
        tag=_WANTED,
        recover=True,  # a bare "&" in an address is the commonest fault
        resolve_entities=False,
        no_network=True,
        load_dtd=False,
        huge_tree=False,
        remove_comments=True,
        remove_pis=True,
    )
    for _, element in events:
        yield element
        element.clear()
        while element.getprevious() is not None:
            del element.getparent()[0]


def _text(element: etree._Element, name: str) -> str:
    return element.findtext(f"{{*}}{name}") or ""


def _of_url(element: etree._Element) -> list[str]:
    """The page and its alternates in other languages."""
    links = (link.get("href") or "" for link in element.iterfind("{*}link"))
    return [address for address in (_text(element, "loc"), *links) if address.strip()]


def _of_entry(element: etree._Element) -> list[str]:
    links = element.iterfind("{*}link")
    return [href for link in links if link.get("rel", "alternate") == "alternate" and (href := link.get("href"))]


def _of_item(element: etree._Element) -> list[str]:
    return [_text(element, "link")] if _text(element, "link") else []


_ADDRESSES: dict[str, Callable[[etree._Element], list[str]]] = {"url": _of_url, "item": _of_item, "entry": _of_entry}
