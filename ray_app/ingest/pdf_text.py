"""Lines of a PDF page to paragraphs, and where its headings are."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

from ray_app.ingest.pdf_lines import Line

PARAGRAPH_GAP = 1.4  # of the usual distance between lines: more is a new paragraph
OTHER_SIZE = 0.15  # relative difference of font height that begins a new paragraph
ROW_STEP = 1.5  # of the font's height: lines further apart are rows of a table or a list, not wrapped prose
SLACK = 0.02  # of the width: how far a full line may stay short of where its next word would not have fitted
HEADING_SIZE = 1.15  # of the body's font height
MAX_HEADING_CHARS = 120
MAX_HEADING_LEVELS = 3
MAX_HEADING_SHARE = 0.2  # of all lines: more "headings" than that are not headings
_BULLET = re.compile(r"^[•▪■●◦‣–*·]\s+|^-\s+")
_ITEM = re.compile(r"^(?:[•▪■●◦‣–*·-]\s|\(?(?:\d{1,3}|[a-zA-Z])[.)]\s)")
_LEADERS = re.compile(r"\s*(?:\.\s?){5,}\s*")  # dots between an entry of a table of contents and its page
_NUMBER = re.compile(r"^(?:\d+|[A-Z])(?:\.\d+)*\.?\s+")
_NOT_WORD = re.compile(r"[\W_]+")
_LETTERS = re.compile(r"[^\W\d_]{2}")


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading and where it stands. ``top`` is in points from the page's lower edge, None when unknown."""

    level: int
    title: str
    top: float | None = None


def paragraphs(lines: Sequence[Line]) -> str:
    """Markdown of a stretch of lines: lines of a paragraph joined, hyphens at line ends resolved."""
    return "\n\n".join(filter(None, map(_join, _blocks(lines))))


def locate(headings: Sequence[Heading], lines: Sequence[Line]) -> list[tuple[int, int]]:
    """For each heading the range of lines that are its own text; empty where its text is not found.

    Ranges begin in order: a heading is looked for after the one before it.
    """
    found: list[tuple[int, int]] = []
    start = 0
    keys = [_key(line.text) for line in lines]
    for heading in headings:
        first, last = _find(_key(heading.title), keys, start) or _by_height(heading, lines, start)
        found.append((first, last))
        start = max(start, last)
    return found


def guess_headings(pages: Sequence[Sequence[Line]], body: float) -> list[list[Heading]]:
    """Headings of each page by font height; none at all when the guess is not plausible."""
    large = [[line for line in page if _looks_like_heading(line, body)] for page in pages]
    count, total = sum(map(len, large)), sum(map(len, pages))
    if not count or count > MAX_HEADING_SHARE * total:
        return [[] for _ in pages]
    sizes = sorted({round(line.size) for page in large for line in page}, reverse=True)
    level = {size: min(rank, MAX_HEADING_LEVELS) for rank, size in enumerate(sizes, start=1)}
    return [[Heading(level[round(line.size)], line.text, line.bottom + line.size) for line in page] for page in large]


def _looks_like_heading(line: Line, body: float) -> bool:
    short = len(line.text) <= MAX_HEADING_CHARS and not line.text.endswith((".", ",", ";"))
    return short and line.size >= HEADING_SIZE * body and _LETTERS.search(line.text) is not None


def _key(text: str) -> str:
    """The letters and digits of a heading; its number stands on the page but seldom in the outline."""
    return _NOT_WORD.sub("", _NUMBER.sub("", text) or text).casefold()


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


def _by_height(heading: Heading, lines: Sequence[Line], start: int) -> tuple[int, int]:
    if heading.top is None:
        return start, start
    below = (index for index in range(start, len(lines)) if lines[index].bottom < heading.top)
    index = next(below, start)
    return index, index


def _blocks(lines: Sequence[Line]) -> list[list[Line]]:
    """Lines grouped into paragraphs by distance, font height and list marks."""
    leading = _leading(lines)
    blocks: list[list[Line]] = []
    for line in lines:
        if blocks and not _begins_block(blocks[-1][-1], line, leading):
            blocks[-1].append(line)
        else:
            blocks.append([line])
    return blocks


def _leading(lines: Sequence[Line]) -> float:
    """The usual distance between lines of the stretch."""
    steps = [a.bottom - b.bottom for a, b in pairwise(lines)]
    usual = [step for step, line in zip(steps, lines, strict=False) if 0.5 * line.size < step < 3 * line.size]
    return median(usual) if usual else 0.0


def _begins_block(previous: Line, line: Line, leading: float) -> bool:
    if previous.hyphen:
        return False
    if _ITEM.match(line.text):
        return True
    step = previous.bottom - line.bottom
    if abs(step) < 0.3 * line.size:  # a further cell of the same row
        return False
    resized = abs(line.size - previous.size) > OTHER_SIZE * max(line.size, previous.size)
    return resized or step < 0 or (leading > 0 and step > PARAGRAPH_GAP * leading)


def _join(block: Sequence[Line]) -> str:
    right = max(line.right for line in block)
    width = right - min(line.left for line in block)
    parts: list[str] = []
    for line, following in zip(block, [*block[1:], None], strict=True):
        text = line.text
        if following is None:
            parts.append(text)
        elif line.hyphen or _broken_word(text, following.text):
            parts.append(_unhyphened(text, following.text))
        else:
            same_row = abs(line.bottom - following.bottom) < 0.3 * line.size
            # Prose goes on where the next word did not fit; rows of a table end wherever they end.
            close = line.bottom - following.bottom <= ROW_STEP * line.size
            full = close and line.right + _first_word(following) > right - SLACK * width
            parts.append(text + (" " if full or same_row else "\n"))
    return _LEADERS.sub(" … ", _BULLET.sub("- ", "".join(parts)))


def _first_word(line: Line) -> float:
    """Points that the line's first word and the space before it take, about."""
    word = line.text.partition(" ")[0]
    return (len(word) + 1) * (line.right - line.left) / len(line.text)


def _broken_word(text: str, following: str) -> bool:
    return len(text) > 2 and text[-1] in "-\u2010\u00ad" and text[-2].islower() and following[0].islower()


def _unhyphened(text: str, following: str) -> str:
    """The start of a word that goes on in the next line; the hyphen stays where it is part of the name."""
    stem = text.rstrip("-\u2010\u00ad")
    return stem if stem[-1:].islower() and following[:1].islower() else f"{stem}-"
