"""Spaces of URLs without end (calendars, sessions, filters, relative links), told from large sites that are real.

Three questions, from the cheapest on. ``is_trap``: does the URL alone give itself away? ``template``: is it of a kind
that can be endless at all? Plain paths are not, however many there are, so they need no budget. ``Budget``: does what
was fetched of that kind still bring new texts? A pattern of URLs begins with an allowance, and goes on for as long as
its pages differ in more than numbers and dates. Ten thousand products under ``?id=`` differ, months do not.

Being wrong is not the same either way: a page too many costs one request, a pattern closed by mistake loses pages. So
nothing is closed without evidence, a closed pattern opens again when its pages turn out to be new, and whatever passes
here still meets the page, depth and length limits of the crawl.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field

TRAP = "trap"  # the reason, as in records.REASONS

MAX_SEGMENTS = 20  # of a path; the deepest real ones, of generated code documentation, have about 15
MAX_PARAMETERS = 12  # of a query; forums and shops use up to eight
REPEATS = 3  # the same names in a row so often come from a relative link that leads into itself
NUMBER_REPEATS = 6  # /1/1/1 is a verse, a clause or a version
MAX_PERIOD = 6  # names in what repeats

ALLOWANCE = 300  # URLs of one pattern that need no reason: a small shop's filters, twenty-five years of months
AHEAD = 20_000  # URLs of a pattern that may wait before any was fetched: a page or a sitemap can list a whole shop
PER_NEW_TEXT = 3  # URLs that one new text makes up for: two duplicates for every original are common on real sites
FIRST_TRUST = 30  # pages without a new text that close a pattern which is past its allowance
MOST_TRUST = 300  # what a long good time earns, so that an endless tail behind real pages ends soon
HOST_ALLOWANCE = 3_000  # URLs of one host over all patterns, for hosts that make up a new pattern every time
HOST_TRUST = 100
HOST_MOST_TRUST = 3_000

# Filters: three parts or more that vary without one of them telling the URLs apart. Their pages list the same things in
# ever new selections, so new texts are no evidence; a real space has a part such as an id that is different every time.
# Two parts (category and page) are left alone: real sites have them, and their product is soon exhausted.
FILTERS = 3
VARIES = 3  # different values from which on a part counts as varying
PER_VALUE = 4  # URLs that each value of the most telling part may have
TELLING = 500  # different values that prove a part to be an id, whatever comes later
SAMPLE = 20  # URLs that a pattern known from before may have before they are judged again

MAX_PATTERNS = 5_000  # held apart; the rest of a host shares one
MAX_TEXTS = 200_000  # remembered, about 100 bytes each; the oldest are forgotten
MAX_TEMPLATE_CHARS = 300
DEEP_SEGMENTS = 8  # longer paths are real on some sites, and on others names put together at will
MAX_BARE_NAME = 30  # a parameter without "=" that is longer is a value

_YEAR, _MONTH, _DAY = r"(?:1[6-9]|2[0-3])\d\d", r"(?:0?[1-9]|1[0-2])", r"(?:0?[1-9]|[12]\d|3[01])"
_MONTH_NAME = r"(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)[a-z]{0,6}"
_COMPACT = r"(?:19|20)\d\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"  # shorter ones are numbers far more often
_DATE = re.compile(
    rf"(?<!\d)(?:{_YEAR}([/._-])(?:{_MONTH}|{_MONTH_NAME})(?:\1{_DAY})?|{_DAY}([/._-]){_MONTH}\2{_YEAR}|{_COMPACT})(?!\d)",
    re.IGNORECASE,
)
_UUID = r"[0-9a-f]{8}-?(?:[0-9a-f]{4}-?){3}[0-9a-f]{12}"
_HEX = r"(?=[a-f]*\d)(?=\d*[a-f])[0-9a-f]{16,}"
_RANDOM = r"(?=[a-z]*\d)(?=\d*[a-z])[0-9a-z]{20,}"
_ID = re.compile(rf"(?<![0-9a-z])(?:{_UUID}|{_HEX}|{_RANDOM})(?![0-9a-z])", re.IGNORECASE)
_DIGITS = re.compile(r"\d+")
_GIVEN = re.compile(r"=[^/;&]*")


def is_trap(url: str) -> bool:
    """Whether a normalised URL by itself cannot be a page worth having: a path in circles, parameters without end.

    A name given twice in a query is how links that append to the present address begin to grow; lists of filters do
    it on purpose, and their single values are pages too.
    """
    _, path, query = _parts(url)
    segments = path.split("/")
    if len(segments) > MAX_SEGMENTS or _runs_in_circles(segments):
        return True
    names = [part.partition("=")[0] for part in query.split("&")] if query else []
    return len(names) > MAX_PARAMETERS or len(set(names)) < len(names)


def template(url: str) -> str:
    """The pattern that a normalised URL belongs to, its host first; "" for a plain one, which needs no budget.

    Plain is a path without a query, without dates or random ids, without a name that comes back. Dates, ids and
    numbers are folded, parameters stand as sorted names, what follows a date is left out: it hangs on the date.
    """
    host, path, query = _parts(url)
    segments = path.split("/")
    winding = len(segments) > DEEP_SEGMENTS or _comes_back(segments)
    if not (query or winding or "=" in path or _DATE.search(path) or _ID.search(path)):
        return ""
    folded = f"{host}/{'**' if winding else _folded(path)}"
    if query:
        folded += "?" + "&".join(sorted({_parameter(part) for part in query.split("&")}))
    return folded[:MAX_TEMPLATE_CHARS]


@dataclass(slots=True)
class _Evidence:
    """What is known of one pattern, or of one host."""

    allowance: int
    trust: float  # falls with each page that was no news; at 0 nothing more is admitted
    most_trust: float
    admitted: int = 0
    distinct: int = 0

    @property
    def open(self) -> bool:
        if self.admitted < self.allowance:
            return True
        return self.trust > 0 and self.admitted < AHEAD + PER_NEW_TEXT * self.distinct

    def judge(self, new: bool) -> None:
        self.distinct += new
        self.trust = min(self.most_trust, max(0.0, self.trust - 1) + PER_NEW_TEXT * new)

    def restore(self) -> None:
        """Trust by what ``admitted`` and ``distinct`` say of former runs."""
        self.trust = min(self.most_trust, max(0.0, self.trust + PER_NEW_TEXT * self.distinct - self.admitted))


@dataclass(slots=True)
class _Parts:
    """Which parts of a pattern's URLs vary, and whether one of them tells the URLs apart."""

    free: int  # URLs that are not judged
    urls: int = 0
    values: dict[str, set[int]] = field(default_factory=dict)
    told_apart: bool = False

    @property
    def are_filters(self) -> bool:
        if self.told_apart:
            return False
        widths = [len(values) for values in self.values.values()]
        varying = sum(width >= VARIES for width in widths)
        return varying >= FILTERS and self.urls >= self.free + PER_VALUE * max(widths)

    def add(self, url: str) -> None:
        if self.told_apart:
            return
        self.urls += 1
        _, path, query = _parts(url)
        found = {"/": path} | dict(part.partition("=")[::2] for part in query.split("&"))
        for name, value in found.items():
            values = self.values.setdefault(name, set())
            values.add(hash(value))
            if len(values) >= TELLING:
                self.told_apart = True
                self.values.clear()
                return


class Budget:
    """How many URLs of each pattern are admitted to one brand's crawl.

    ``counts`` are rows of (template, URLs admitted, different shapes among their texts) from former runs; what they
    say holds on. Ask ``admit`` once for each URL that is new, and again for one that was refused if it is found again;
    tell ``seen`` of each page that was fetched. In any order, patterns that are all news are admitted whole.
    """

    def __init__(self, counts: Iterable[tuple[str, int, int]] = ()) -> None:
        self._patterns: dict[str, _Evidence] = {}
        self._hosts: dict[str, _Evidence] = {}
        self._parts: dict[str, _Parts] = {}
        self._texts: dict[str, None] = {}
        for name, admitted, distinct in counts:
            parts = self._parts_of(name)
            parts.free = max(SAMPLE, parts.free - admitted)
            for one in (self._pattern(name), self._host(name)):
                one.admitted += admitted
                one.distinct += distinct
        for one in (*self._patterns.values(), *self._hosts.values()):
            one.restore()

    def admit(self, url: str, template: str) -> str:
        """ "" when a URL may be crawled, else "trap". ``template`` is ``template(url)``."""
        if not template:
            return ""
        pattern, host, parts = self._pattern(template), self._host(template), self._parts_of(template)
        if not (pattern.open and host.open) or parts.are_filters:
            return TRAP
        parts.add(url)
        pattern.admitted += 1
        host.admitted += 1
        return ""

    def is_open(self, template: str) -> bool:
        """Whether ``admit`` would let another URL of the pattern in now."""
        return self._pattern(template).open and self._host(template).open and not self._parts_of(template).are_filters

    def seen(self, template: str, shape: str) -> None:
        """A page of the pattern was fetched. ``shape`` is equal for texts that differ only in numbers and dates.

        A shape that any other page of the brand has is no news, whatever its pattern; "" (no text) never is.
        """
        new = bool(shape) and shape not in self._texts
        if new:
            self._texts[shape] = None
            if len(self._texts) > MAX_TEXTS:
                del self._texts[next(iter(self._texts))]
        if template:
            self._pattern(template).judge(new)
            self._host(template).judge(new)

    def _pattern(self, template: str) -> _Evidence:
        name = _shared(template, self._patterns)
        if name not in self._patterns:
            self._patterns[name] = _Evidence(ALLOWANCE, FIRST_TRUST, MOST_TRUST)
        return self._patterns[name]

    def _host(self, template: str) -> _Evidence:
        name = _host_of(template)
        if name not in self._hosts:
            self._hosts[name] = _Evidence(HOST_ALLOWANCE, HOST_TRUST, HOST_MOST_TRUST)
        return self._hosts[name]

    def _parts_of(self, template: str) -> _Parts:
        """Filters can be left out or added at will: all selections of three or more on one path are one space."""
        path, _, names = template.partition("?")
        name = _shared(f"{path}?*" if names.count("&") + 1 >= FILTERS else template, self._parts)
        if name not in self._parts:
            self._parts[name] = _Parts(ALLOWANCE)
        return self._parts[name]


def _shared(template: str, held: Mapping[str, object]) -> str:
    """The template itself, or that of all for which there is no room."""
    return template if template in held or len(held) < MAX_PATTERNS else _host_of(template) + "/*"


def _parts(url: str) -> tuple[str, str, str]:
    """Host, path without its first slash, and query of a normalised URL."""
    head, _, query = url.partition("?")
    host, _, path = head.partition("://")[2].partition("/")
    return host, path, query


def _host_of(template: str) -> str:
    return template.partition("/")[0]


def _runs_in_circles(segments: list[str]) -> bool:
    """Whether a run of names follows itself again and again."""
    if len(set(segments)) == len(segments):
        return False
    for period in range(1, min(MAX_PERIOD, len(segments) // REPEATS) + 1):
        for start in range(len(segments) - period * REPEATS + 1):
            run = segments[start : start + period]
            times = NUMBER_REPEATS if all(name.isdigit() for name in run) else REPEATS
            if segments[start : start + period * times] == run * times:
                return True
    return False


def _comes_back(segments: list[str]) -> bool:
    """Whether a name stands in the path twice, as in links that are relative by mistake."""
    names = [name for name in segments if name and not name.isdigit()]
    return len(set(names)) < len(names)


def _folded(path: str) -> str:
    date = _DATE.search(path)
    head = _GIVEN.sub("=", path[: date.start()] if date else path)
    head = _DIGITS.sub("<n>", _ID.sub("<id>", head))
    if not date:
        return head
    return f"{head}<date>*" if path[date.end() :].strip("/") else f"{head}<date>"


def _parameter(part: str) -> str:
    """Its name; of one that has none, whether it is a word or a value."""
    name, equals, _ = part.partition("=")
    if not equals and ("/" in name or len(name) > MAX_BARE_NAME):
        return "*"
    return _DIGITS.sub("<n>", name)
