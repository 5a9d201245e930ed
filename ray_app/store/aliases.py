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
from collections import defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass

SAME_PAGE_BITS = 3  # of 64 that may differ between spellings of one URL: a date, a counter, a greeting
CANONICAL_BITS = 12  # between a page and the one it names: a print view, another frame; unrelated texts differ in ~32
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
        self.found: dict[str, Alias] = {}

    def join_equal(self) -> None:
        groups: dict[str, list[Held]] = defaultdict(list)
        for row in self._held.values():
            if row.words_hash:
                groups[row.words_hash].append(row)
        for group in groups.values():
            best = min(group, key=self._rank)
            for row in group:
                if row is not best:
                    self.found[row.url] = Alias(best.url, "duplicate")

    def join_canonical(self) -> None:
        for row in sorted(self._owning(), key=self._rank):
            target = self._held.get(row.canonical)
            if target is None:
                continue
            owner = self._owner(target)
            if owner.url != row.url and _believed(row, target):
                self._give(row, owner, "canonical")

    def join_spellings(self) -> None:
        groups: dict[tuple[str, str], list[Held]] = defaultdict(list)
        for row in self._owning():
            if row.numbers_hash:
                groups[page_key(row.url), row.numbers_hash].append(row)
        for group in groups.values():
            group.sort(key=self._rank)
            for position, row in enumerate(group):
                better = (
                    one
                    for one in group[:position]
                    if one.url not in self.found and _distance(one, row) <= SAME_PAGE_BITS
                )
                if (owner := next(better, None)) is not None:
                    self._give(row, owner, "near_duplicate")

    def _owning(self) -> list[Held]:
        return [row for row in self._held.values() if row.url not in self.found]

    def _owner(self, row: Held) -> Held:
        alias = self.found.get(row.url)
        return self._held[alias.of] if alias else row

    def _give(self, row: Held, owner: Held, reason: str) -> None:
        """``owner`` stands for the row, and for all that the row stood for."""
        for url, alias in self.found.items():
            if alias.of == row.url:
                self.found[url] = Alias(owner.url, alias.reason)
        self.found[row.url] = Alias(owner.url, reason)

    def _rank(self, row: Held) -> tuple[bool, bool, int, bool, str]:
        """The least one stands for others."""
        return row.missed, row.url not in self._named, row.depth, "?" in row.url, row.url


def page_key(url: str) -> str:
    """Equal for all spellings of one page's URL."""
    rest = url.partition("://")[2].partition("?")[0]
    return _INDEX.sub("/", rest).removeprefix("www.").rstrip("/")


def _believed(row: Held, target: Held) -> bool:
    return page_key(row.url) == page_key(target.url) or _distance(row, target) <= CANONICAL_BITS


def _distance(one: Held, other: Held) -> int:
    return ((one.simhash ^ other.simhash) & 0xFFFFFFFFFFFFFFFF).bit_count()
