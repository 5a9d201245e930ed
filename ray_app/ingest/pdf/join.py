"""Lines that belong together to one text: words broken at line ends are made whole."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import zip_longest

from ray_app.ingest.clean import one_line
from ray_app.ingest.pdf.lines import Line, same_row

ROW_STEP = 1.5  # of the font's height: lines further apart are rows of a table or a list, not wrapped prose
SLACK = 0.02  # of the width: how far a full line may stay short of where its next word would not have fitted
_UNSPACED = re.compile(r"[\u3000-\u30ff\u3400-\u9fff\uff00-\uffef]{2}")  # Chinese and Japanese, which have no spaces
_HYPHENS = "-\u2010\u00ad"
_LEADERS = re.compile(
    r"\s*(?:\.\s?){5,}\s*|(?:\s\.){2,}\s+(?=\d+$)", re.MULTILINE
)  # dots between a heading and its page
_ENTRY = re.compile(r"(?:\.\s?){4,}\s*[\w-]{1,6}$|(?:\s\.){2,}\s+\d+$|^\d{1,4}$")  # of a table of contents


def join(lines: Sequence[Line], left: float, right: float, gap: str = "\n") -> str:
    """The text of lines set between two edges; ``gap`` stands where a line ended though its next word had room."""
    parts: list[str] = []
    for line, following in zip_longest(lines, lines[1:]):
        text = one_line(line.text) if line.mono else line.text
        if following is None:
            parts.append(text)
        elif line.hyphen or _broken_word(text, following.text):
            parts.append(_unhyphened(text, following.text))
        elif same_row(line, following) or wraps(line, following, left, right):
            parts.append(text + ("" if _UNSPACED.match(text[-1] + following.text[0]) else " "))
        else:
            parts.append(text + gap)
    return _LEADERS.sub(" … ", "".join(parts))


def wraps(line: Line, following: Line, left: float, right: float) -> bool:
    """Whether prose goes on: the next word did not fit. Rows of a table end wherever they end."""
    if line.base - following.base > ROW_STEP * line.size or _ENTRY.search(line.text):
        return False
    return line.hyphen or line.right + _first_word(following) > right - SLACK * (right - left)


def _first_word(line: Line) -> float:
    """Points that the line's first word and the space before it take, about."""
    word = line.text.partition(" ")[0]
    return (len(word) + 1) * (line.right - line.left) / len(line.text)


def _broken_word(text: str, following: str) -> bool:
    return len(text) > 2 and text[-1] in _HYPHENS and text[-2].islower() and following[0].islower()


def _unhyphened(text: str, following: str) -> str:
    """The start of a word that goes on in the next line; the hyphen stays where it is part of the name."""
    stem = text.rstrip(_HYPHENS)
    return stem if stem[-1:].islower() and following[:1].islower() else f"{stem}-"
