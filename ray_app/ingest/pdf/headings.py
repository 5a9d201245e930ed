"""Where the headings of a PDF stand: those of its outline found in the text, or guessed by how lines look."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from ray_app.ingest.clean import one_line
from ray_app.ingest.pdf.lines import Line, same_row
from ray_app.ingest.pdf.text import Item

LARGE = 1.15  # of the body's font height: lines of that size are headings if they look like one
USUAL = 0.95  # likewise: bold lines of that size may be
LABEL_SIZE = 0.7  # of the heading's font height, of "Chapter 2" above it
MAX_HEADING_CHARS = 120
MAX_HEADING_LINES = 3
MAX_LEVELS = 4
MAX_SHARE = 0.2  # of all lines: more "headings" than that are not headings
MAX_BOLD_SHARE = 0.3  # of all text: where more is bold, bold says nothing
GAP_ABOVE = (
    1.2  # of the usual distance between lines: a heading in the size of the text stands so far from what is above
)
_NUMBER = re.compile(r"(?:\d{1,3}(?:\.\d{1,3}){0,5}\.?|[A-Z](?:(?:\.\d{1,3}){1,5}\.?|\.))(?=\s|$)")
_DECIMAL = re.compile(r"(?:\d{1,2}|[A-Z])((?:\.\d{1,3})+)\.?\s|(\d{1,2}|[A-Z])\.?\s")
_CAPTION = re.compile(r"(?:figure|fig\.|table|tab\.|abb(?:ildung|\.)|tabelle|tableau|tabla|figura|tabella)\s*\d", re.I)
_LABEL = re.compile(r"[^\W\d_]{2,12}\s(?:\d{1,3}|[A-Z]|[IVX]{1,5})[.:]?")  # in most languages
_NOT_WORD = re.compile(r"[\W_]+")
_LETTERS = re.compile(r"[^\W\d_]{3}|[^\W\d_\x00-\u02ff]{2}")  # a word, which is shorter in Chinese
_END = (".", ",", ";", ":", "-")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading and where it stands. ``top`` is in points from the page's lower edge, None when unknown."""

    level: int
    title: str
    top: float | None = None


def locate(headings: Sequence[Heading], items: Sequence[Item]) -> list[tuple[int, int]]:
    """For each heading the range of items that are its own text; empty where its text is not found.

    Ranges begin in order: a heading is looked for after the one before it.
    """
    found: list[tuple[int, int]] = []
    start = 0
    keys = [_key(item.text) if isinstance(item, Line) else "" for item in items]
    for heading in headings:
        first, last = _find(_key(heading.title), keys, start) or _by_height(heading, items, start)
        first = _with_label(items, first, start) if last > first else first
        found.append((first, last))
        start = max(start, last)
    return found


def merged(stated: Sequence[Heading], guessed: Sequence[Heading], items: Sequence[Item], deepest: int) -> list[Heading]:
    """The headings of a page in their order; guessed ones stand below the ``deepest`` level of the outline."""
    spans = locate(stated, items)
    found = [(first, heading) for (first, _), heading in zip(spans, stated, strict=True)]
    for (first, last), heading in zip(locate(guessed, items), guessed, strict=True):
        if last > first and not any(start <= first < end for start, end in spans):
            found.append((first, replace(heading, level=heading.level + deepest)))
    return [heading for _, heading in sorted(found, key=lambda one: one[0])]


def _key(text: str) -> str:
    """The letters and digits of a heading; its number stands on the page but seldom in the outline."""
    return _NOT_WORD.sub("", _NUMBER.sub("", text, count=1) if _NUMBER.match(text) else text).casefold()


def _find(title: str, keys: Sequence[str], start: int) -> tuple[int, int] | None:
    """Lines that spell the title, perhaps after a number and over several lines."""
    if not title:
        return None
    for first in range(start, len(keys)):
        spelled = keys[first]
        if not spelled or not (spelled in title or title in spelled):
            continue
        last = first + 1
        while last < len(keys) and len(spelled) < len(title) and last - first < 4:
            spelled += keys[last]
            last += 1
        if spelled.endswith(title) and len(spelled) <= len(title) + 12:
            return first, last
    return None


def _by_height(heading: Heading, items: Sequence[Item], start: int) -> tuple[int, int]:
    if heading.top is None:
        return start, start
    below = (index for index in range(start, len(items)) if items[index].base < heading.top)
    index = next(below, start)
    return index, index


def _with_label(items: Sequence[Item], first: int, start: int) -> int:
    """The index of the heading's number ("2.1") or label ("Chapter 2") when that stands before its text."""
    heading, before = items[first], items[first - 1] if first > start else None
    if not isinstance(heading, Line) or not isinstance(before, Line):
        return first
    number = same_row(before, heading) and (_NUMBER.fullmatch(before.text) or len(before.text) == 1)
    label = before.size >= LABEL_SIZE * heading.size and _LABEL.fullmatch(before.text)
    return first - 1 if number or label else first


def guess(pages: Sequence[Sequence[Item]], body: float, title: str) -> list[list[Heading]]:
    """Headings of each page by font, numbers and the space above them; none at all when the guess is not plausible.

    ``pages`` come with all their tables. ``title`` is the document's, which heads no section of its own.
    """
    lines = [item for page in pages for item in page if isinstance(item, Line)]
    chars = sum(len(line.text) for line in lines)
    bold = sum(len(line.text) for line in lines if line.bold)
    found = [list(_looking_like_headings(page, body, weak=bold <= MAX_BOLD_SHARE * chars)) for page in pages]
    found[0] = _without_title(found, title)
    count = sum(len(one.lines) for page in found for one in page)
    if not count or count > MAX_SHARE * len(lines):
        return [[] for _ in pages]
    levels = _levels([one for page in found for one in page])
    return [[Heading(levels(one), one.text, one.lines[0].base + one.style[0]) for one in page] for page in found]


def _without_title(found: Sequence[Sequence[_Candidate]], title: str) -> list[_Candidate]:
    """What the first page has besides the document's title, which is set as no other heading is."""
    titles = [one for one in found[0] if one.text in title]
    others = {one.style for page in found for one in page if one not in titles}
    return [one for one in found[0] if one not in titles or one.style in others]


@dataclass(frozen=True, slots=True)
class _Candidate:
    """Lines that look like a heading."""

    lines: list[Line]

    @property
    def text(self) -> str:
        return one_line(" ".join(line.text for line in self.lines))

    @property
    def style(self) -> tuple[float, bool]:
        """Font height to half a point, and whether it is bold: the larger, the higher its level."""
        return round(max(line.size for line in self.lines) * 2) / 2, all(line.bold for line in self.lines)

    @property
    def depth(self) -> int:
        """Of its decimal number: 3 for 2.1.4, 0 without one."""
        match = _DECIMAL.match(self.text)
        if not match:
            return 0
        return 1 + match[1].count(".") if match[1] else 1


def _looking_like_headings(page: Sequence[Item], body: float, *, weak: bool) -> Iterator[_Candidate]:
    """Candidates of a page in reading order; lines of the same look, one below the other, are one."""
    found = list(_rows(page))
    leading = _leading(found)
    run: list[list[Line]] = []
    for above, row in zip([[], *found], found, strict=False):
        goes_on = bool(run) and _continues(run[-1], row)
        if run and not goes_on:
            yield from _candidates(run)
            run = []
        fits = goes_on or (_reads_like_a_heading(row) and _begins(row[-1].text))
        if fits and not goes_on and row[-1].size < LARGE * body:
            fits = weak and _stands_out(row[-1], body) and _is_apart(above, row, leading)
        if fits and _is_alone(row, found):
            run.append(row)
        elif goes_on:
            yield from _candidates(run)
            run = []
    yield from _candidates(run)


def _candidates(run: Sequence[list[Line]]) -> Iterator[_Candidate]:
    """One heading of a few lines; a longer run is a paragraph that stands out."""
    if 0 < len(run) <= MAX_HEADING_LINES:
        one = _Candidate([line for row in run for line in row])
        if len(one.text) <= MAX_HEADING_CHARS and not one.text.endswith(_END):
            yield one


def _rows(page: Sequence[Item]) -> Iterator[list[Line]]:
    """Lines that follow one another in one row. A table is an empty row."""
    row: list[Line] = []
    for item in page:
        if isinstance(item, Line) and row and same_row(row[-1], item) and row[-1].column == item.column:
            row.append(item)
            continue
        if row:
            yield row
        row = [item] if isinstance(item, Line) else []
        if not isinstance(item, Line):
            yield row
    if row:
        yield row


def _leading(found: Sequence[list[Line]]) -> float:
    steps = [a[0].base - b[0].base for a, b in pairwise(found) if a and b]
    return median([step for step in steps if step > 0] or [0.0])


def _reads_like_a_heading(row: Sequence[Line]) -> bool:
    """A few words, perhaps after a number."""
    if not row or len(row) > 2 or (len(row) == 2 and not _NUMBER.fullmatch(row[0].text)):
        return False
    line = row[-1]
    if line.turned or line.mono or len(line.text) > MAX_HEADING_CHARS:
        return False
    return not (_CAPTION.match(row[0].text) or "...." in line.text or ". . ." in line.text)


def _begins(text: str) -> bool:
    """Whether a heading can begin so."""
    return not text[0].islower() and (text[0].isalnum() or text[0] in "\"'“‘«(¿¡") and _LETTERS.search(text) is not None


def _is_alone(row: Sequence[Line], found: Sequence[list[Line]]) -> bool:
    """Whether nothing else stands at that height, wherever the file has it."""
    line = row[-1]
    return sum(same_row(one, line) and one.column == line.column for other in found for one in other) == len(row)


def _stands_out(line: Line, body: float) -> bool:
    """In the size of the text, but bold or in capitals."""
    capitals = line.text.isupper() and sum(map(str.isalpha, line.text)) >= 4
    return line.size >= USUAL * body and (line.bold or capitals)


def _is_apart(above: Sequence[Line], row: Sequence[Line], leading: float) -> bool:
    if not above or above[0].column != row[0].column:
        return True
    step = above[0].base - row[0].base
    return step < 0 or step > GAP_ABOVE * leading


def _continues(above: Sequence[Line], row: Sequence[Line]) -> bool:
    """Whether a heading goes on in the next row."""
    if not row or not _reads_like_a_heading(row) or _NUMBER.match(row[0].text):
        return False
    a, b = above[-1], row[-1]
    alike = a.bold == b.bold and abs(a.size - b.size) < 0.5 and a.column == b.column
    alike = alike and (a.bold or a.text.isupper() == b.text.isupper())
    return alike and 0 < a.base - b.base < 1.6 * b.size


def _levels(found: Sequence[_Candidate]) -> Callable[[_Candidate], int]:
    """Levels by the depth of a heading's number, else by the rank of its look."""
    styles = sorted({one.style for one in found}, reverse=True)
    level = 0
    by_style: dict[tuple[float, bool], int] = {}
    for style in styles:
        depths = Counter(one.depth for one in found if one.style == style)
        depth = depths.most_common(1)[0][0]
        level = max(level, depth) if depth else level + 1
        by_style[style] = level = min(level, MAX_LEVELS)
    return lambda one: min(one.depth, MAX_LEVELS) or by_style[one.style]
