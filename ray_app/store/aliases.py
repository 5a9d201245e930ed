"""Which URL stands for a text that several URLs hold: pure rules over what is stored.

Nothing here depends on the order in which texts came, so a crash leaves nothing to repair: the rules are applied
again to what is there. Three reasons, strongest first:

- ``duplicate``: the words are the same, whatever the markup and the anchors.
- ``canonical``: the page names another URL as its canonical address, that one holds a text, and the two are alike
  or differ in their spelling only. A site that names its home page in every page is not believed.
- ``near_duplicate``: two spellings of one URL (query, trailing slash, http or https, www) hold nearly the same words
  and exactly the same numbers. Manuals of sister products differ in numbers, so they are never joined.
"""

from __future__ import annotations

import re
from array import array
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

import numpy as np

SAME_PAGE_BITS = 3  # of 64 that may differ between spellings of one URL: a date, a counter, a greeting
CANONICAL_BITS = 12  # between a page and the one it names: a print view, another frame; unrelated texts differ in ~32
_WHOLE = (1 << 64) - 1  # of a simhash, which is stored with a sign
_INDEX = re.compile(r"/(?:index|default|home)\.(?:html?|php|aspx?)$", re.IGNORECASE)


@dataclass(frozen=True, slots=True)
class Held:
    """A URL that holds a text."""

    url: str
    depth: int
    words_hash: str
    numbers_hash: str
    simhash: int
    canonical: str  # what the page names, "" for none
    missed: bool = False  # the server said lately that it is not there


@dataclass(frozen=True, slots=True)
class Alias:
    """Who stands for a URL, and why (a key of records.REASONS)."""

    of: str
    reason: str


def aliases(rows: Iterable[Held]) -> dict[str, Alias]:
    """For each URL whose text another URL stands for. Whoever stands for others stands for itself."""
    held = {row.url: row for row in rows}
    named = {row.canonical for row in held.values() if row.canonical != row.url}
    owners = _Owners(held, named)
    owners.join_equal()
    owners.join_canonical()
    owners.join_spellings()
    return owners.found


class _Owners:
    def __init__(self, held: Mapping[str, Held], named: set[str]) -> None:
        self._held = held
        self._named = named
        self._given: dict[str, Alias] = {}  # ``of`` may itself have been given away since; see _last

    @property
    def found(self) -> dict[str, Alias]:
        """Who stands for whom; none of those who stand is itself stood for."""
        return {url: Alias(self._last(url), alias.reason) for url, alias in self._given.items()}

    def join_equal(self) -> None:
        groups: dict[str, list[Held]] = defaultdict(list)
        for row in self._held.values():
            if row.words_hash:
                groups[row.words_hash].append(row)
        for group in groups.values():
            best = min(group, key=self._rank)
            for row in group:
                if row is not best:
                    self._given[row.url] = Alias(best.url, "duplicate")

    def join_canonical(self) -> None:
        for row in sorted(self._owning(), key=self._rank):
            target = self._held.get(row.canonical)
            if target is None:
                continue
            owner = self._last(target.url)
            if owner != row.url and _believed(row, target):
                self._given[row.url] = Alias(owner, "canonical")

    def join_spellings(self) -> None:
        groups: dict[tuple[str, str], list[Held]] = defaultdict(list)
        for row in self._owning():
            if row.numbers_hash:
                groups[page_key(row.url), row.numbers_hash].append(row)
        for group in groups.values():
            owners = _Alike(SAME_PAGE_BITS)
            for row in sorted(group, key=self._rank) if len(group) > 1 else ():
                if (owner := owners.first(row)) is None:
                    owners.add(row)
                else:
                    self._given[row.url] = Alias(owner.url, "near_duplicate")

    def _owning(self) -> list[Held]:
        return [row for row in self._held.values() if row.url not in self._given]

    def _last(self, url: str) -> str:
        """Who stands for a URL in the end: itself, when nobody does. The way there is short the next time."""
        way = []
        while url in self._given:
            way.append(url)
            url = self._given[url].of
        for passed in way[:-1]:
            self._given[passed] = Alias(url, self._given[passed].reason)
        return url

    def _rank(self, row: Held) -> tuple[bool, bool, int, bool, str]:
        """The least one stands for others."""
        return row.missed, row.url not in self._named, row.depth, "?" in row.url, row.url


class _Alike:
    """Texts, searched for one whose simhash differs in at most ``bits`` bits.

    Cut into one band more than that, two such simhashes have a band in common. A site can make up texts that all
    share one, so whoever shares a band is compared by whole arrays.
    """

    def __init__(self, bits: int) -> None:
        self._bits = bits
        self._rows: list[Held] = []
        self._bands: dict[tuple[int, int], tuple[array[int], array[int]]] = {}  # simhashes, and where they stand

    def add(self, row: Held) -> None:
        for band in self._cut(row.simhash):
            hashes, places = self._bands.setdefault(band, (array("Q"), array("Q")))
            hashes.append(row.simhash & _WHOLE)
            places.append(len(self._rows))
        self._rows.append(row)

    def first(self, row: Held) -> Held | None:
        """Of those that are alike, the one that was added first."""
        best = len(self._rows)
        for band in self._cut(row.simhash):
            if band in self._bands:
                hashes, places = self._bands[band]
                apart = np.bitwise_count(np.frombuffer(hashes, np.uint64) ^ np.uint64(row.simhash & _WHOLE))
                at = int((apart <= self._bits).argmax())
                if apart[at] <= self._bits:
                    best = min(best, places[at])
        return self._rows[best] if best < len(self._rows) else None

    def _cut(self, simhash: int) -> list[tuple[int, int]]:
        width = 64 // (self._bits + 1)
        return [(band, (simhash & _WHOLE) >> band * width & (1 << width) - 1) for band in range(self._bits + 1)]


def page_key(url: str) -> str:
    """Equal for all spellings of one page's URL."""
    rest = url.partition("://")[2].partition("?")[0]
    return _INDEX.sub("/", rest).removeprefix("www.").rstrip("/")


def _believed(row: Held, target: Held) -> bool:
    return page_key(row.url) == page_key(target.url) or _distance(row, target) <= CANONICAL_BITS


def _distance(one: Held, other: Held) -> int:
    return ((one.simhash ^ other.simhash) & _WHOLE).bit_count()
