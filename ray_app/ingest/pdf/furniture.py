"""Running headers, footers, page numbers and side tabs: what stands on page after page, taken out."""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Iterable, Sequence
from itertools import pairwise

from ray_app.ingest.pdf.lines import Line, rows

EDGE_ROWS = 4  # rows at the top and at the bottom of a page that may be a running header or footer
FREE_ROWS = 2  # outermost rows that may be one whatever stands further out; the others follow upon such rows only
MIN_REPEATS = 3  # pages on which the same line at the same height is a header or footer
NEARBY = 4  # pages before and after within which it must repeat: a heading may stand at one height here and there
SAME_HEIGHT = 3.0  # points
APART = 1.3  # of the font's height: a header stands so far from the text, the head of a table does not
# Where so many of the pages have a header, what stands there alone on another page is one too.
USUAL_SHARE = 0.3
WELL_APART = 1.8  # of the font's height, asked of a header known by its place only
_NUMBERS = re.compile(r"[0-9]{1,6}")
_ROMAN = re.compile(r"[ivxlc]{1,7}")

_Sign = tuple[str, int]
_Edge = list[tuple[list[Line], float]]  # rows from the text outward, each with its distance to the one before


def without_furniture(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """The pages without what stands at the same height of the page's edge on several pages."""
    edges = [_edges(page) for page in pages]
    repeats = _Repeats()
    for number, (edge, page) in enumerate(zip(edges, pages, strict=True)):
        repeats.count(_outer(edge, page), page, number)
    known = [
        [line for edge in page for line in _repeated(edge, number, repeats, len(pages))]
        for number, page in enumerate(edges)
    ]
    places = Counter(place for found in known for place in {_place(line) for line in found})
    usual = {place for place, count in places.items() if count >= max(MIN_REPEATS, USUAL_SHARE * len(pages))}
    result = []
    for number, (page, edge, found) in enumerate(zip(pages, edges, known, strict=True)):
        dropped = {id(line) for line in [*found, *_by_place(edge, usual)]}
        dropped |= {id(line) for line in page if line.turned and repeats.nearby(line, number) >= MIN_REPEATS}
        result.append([line for line in page if id(line) not in dropped])
    return result if any(result) else [list(page) for page in pages]  # a stamp on every page is all that is said


class _Repeats:
    """On which pages the same lines stand."""

    def __init__(self) -> None:
        self._pages: dict[_Sign, list[int]] = {}
        self._within: Counter[str] = Counter()  # what stands in the text, not at an edge

    def count(self, outer: Iterable[Line], page: Sequence[Line], number: int) -> None:
        outer = list(outer)
        ids = {id(line) for line in outer}
        self._within.update({line.text.casefold() for line in page if id(line) not in ids})
        for sign in {sign for line in outer for sign in _signs(line, number)}:
            self._pages.setdefault(sign, []).append(number)

    def nearby(self, line: Line, number: int) -> int:
        """Pages around this one, itself included; none for what stands in the text as often ("See also")."""
        literal = next(iter(_signs(line, number)))
        worded = any(map(str.isalpha, literal[0]))  # a bare number may well stand in the text too
        if worded and 2 * self._within[literal[0]] > len(self._pages.get(literal, [])):
            return 0
        found = (self._pages.get(sign, []) for sign in _signs(line, number))
        return max(bisect_right(pages, number + NEARBY) - bisect_left(pages, number - NEARBY) for pages in found)

    def everywhere(self, line: Line, number: int) -> int:
        return max(len(self._pages.get(sign, [])) for sign in _signs(line, number))


def _edges(page: Sequence[Line]) -> tuple[_Edge, _Edge]:
    """The outermost rows at the top and at the bottom."""
    found = rows(line for line in page if not line.turned)
    gaps = [above[0].base - below[0].base for above, below in pairwise(found)]
    top = zip(found[:EDGE_ROWS], [*gaps, float("inf")], strict=False)
    lowest = found[EDGE_ROWS:][-EDGE_ROWS:]
    bottom = zip(lowest, gaps[len(gaps) - len(lowest) :], strict=True)
    return list(top)[::-1], list(bottom)


def _outer(edges: Sequence[_Edge], page: Sequence[Line]) -> Iterable[Line]:
    """All lines that may repeat."""
    yield from (line for edge in edges for row, _ in edge for line in row)
    yield from (line for line in page if line.turned)


def _repeated(edge: _Edge, number: int, repeats: _Repeats, pages: int) -> Iterable[Line]:
    """Rows of which a part stands on other pages too, from the edge to the last that the text does not touch."""
    repeated = [max(repeats.nearby(line, number) for line in row) >= MIN_REPEATS for row, _ in edge]
    apart = False
    for index, (row, gap) in enumerate(edge):
        further_out = repeated[index + 1 :]
        usual = max(repeats.everywhere(line, number) for line in row) > pages / 2
        free = len(further_out) < FREE_ROWS or all(further_out)
        apart = repeated[index] and free and (apart or gap > APART * row[0].size or usual)
        if apart:
            yield from row


def _by_place(edges: Sequence[_Edge], usual: set[tuple[int, int]]) -> Iterable[Line]:
    """Rows that stand where other pages have their header, well apart from the text."""
    for row, gap in (item for edge in edges for item in edge):
        if gap > WELL_APART * row[0].size and _place(row[0]) in usual:
            yield from row


def _place(line: Line) -> tuple[int, int]:
    return round(line.base / SAME_HEIGHT), round(line.size)


def _signs(line: Line, number: int) -> Iterable[_Sign]:
    """What is equal for the same header on two pages: its words, or its words but for a number that counts pages."""
    text, height = line.text.casefold(), round(line.base / SAME_HEIGHT)
    yield "#" if _ROMAN.fullmatch(text) else text, height
    for match in _NUMBERS.finditer(text):
        yield f"{text[: match.start()]}#{int(match[0]) - number}{text[match.end() :]}", height
