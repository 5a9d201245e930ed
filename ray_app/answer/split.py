"""Cuts the Markdown of a passage into what can be quoted alone: sentences, list items, table rows, code.

Every unit is a slice of the text, so a quote stands word for word in its passage.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from enum import StrEnum

MAX_UNITS = 120  # of one passage: many times what a chunk holds, so only odd texts meet it


class UnitKind(StrEnum):
    SENTENCE = "sentence"
    STEP = "step"  # item of a numbered list
    ITEM = "item"  # item of a bulleted list
    ROW = "row"  # of a table
    CODE = "code"
    HEADING = "heading"


@dataclass(frozen=True, slots=True)
class Unit:
    """``text[start:end]`` of a passage."""

    start: int
    end: int
    kind: UnitKind
    text: str
    header: str = ""  # of a table row: header and rule, as they stand in the passage
    block: int = 0  # units of one paragraph, list or table share it


_FENCE = re.compile(r"^ {0,3}(`{3,}|~{3,})")
_HEADING = re.compile(r"^ {0,3}#{1,6}\s")
_RULE = re.compile(r"^\s*\|?\s*:?-+:?\s*(?:\|\s*:?-+:?\s*)*\|?\s*$")
_STEP = re.compile(r"^\s*(?:\d{1,3}|[a-zA-Z])[.)]\s+\S")
_ITEM = re.compile(r"^\s*[-*+•–]\s+\S")
# A sentence ends at a full stop followed by space and what may start a sentence; citation markers and closing
# quotes belong to what went before. CJK full stops need no space.
_END = re.compile(
    r"(?:[.!?…؟।]+[\"'”’»)\]]*(?:\s*\[\d[\d,\s]*\])*(?=\s+(?!\[\d)[^\s,;:.\-–a-zà-ÿ])|[。！？]+[」』”]*)\s*"
)
_ABBREVIATION = re.compile(
    r"(?:\b(?:e\.g|i\.e|etc|vs|cf|approx|no|nos|fig|figs|mr|mrs|ms|dr|st|jr|sr|inc|ltd|co|corp|dept|ver|vol|pp|ed|al"
    r"|jan|feb|mar|apr|jun|jul|aug|sep|sept|oct|nov|dec|z\.b|d\.h|bzw|ca|nr)|\b[^\W\d_])\.$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int  # without the line break
    text: str

    @property
    def blank(self) -> bool:
        return not self.text.strip()


def units(text: str) -> list[Unit]:
    """What can be quoted of ``text``, in order, at most MAX_UNITS."""
    lines = _lines(text)
    found: list[Unit] = []
    at = block = 0
    while at < len(lines) and len(found) < MAX_UNITS:
        if lines[at].blank:
            at += 1
            continue
        block += 1
        at, new = _block(text, lines, at, block)
        found.extend(new)
    return found[:MAX_UNITS]


def sentences(text: str) -> list[Unit]:
    """``text`` as one paragraph, cut at the ends of its sentences."""
    return list(_sentences(text, 0, len(text), 0))


def _lines(text: str) -> list[_Line]:
    lines, at = [], 0
    for raw in text.split("\n"):
        lines.append(_Line(at, at + len(raw), raw))
        at += len(raw) + 1
    return lines


def _block(text: str, lines: list[_Line], at: int, block: int) -> tuple[int, list[Unit]]:
    line = lines[at].text
    if _FENCE.match(line):
        return _code(text, lines, at, block)
    if _HEADING.match(line):
        return at + 1, [_unit(text, lines[at].start, lines[at].end, UnitKind.HEADING, block)]
    if _is_table(lines, at):
        return _table(text, lines, at, block)
    if _item_kind(line):
        return _list(text, lines, at, block)
    return _paragraph(text, lines, at, block)


def _unit(text: str, start: int, end: int, kind: UnitKind, block: int) -> Unit:
    return Unit(start, end, kind, text[start:end], block=block)


def _code(text: str, lines: list[_Line], at: int, block: int) -> tuple[int, list[Unit]]:
    opening = _FENCE.match(lines[at].text)
    fence = opening.group(1) if opening else ""
    end = at + 1
    while end < len(lines) and not lines[end].text.strip().startswith(fence):
        end += 1
    last = min(end, len(lines) - 1)
    return last + 1, [_unit(text, lines[at].start, lines[last].end, UnitKind.CODE, block)]


def _is_table(lines: list[_Line], at: int) -> bool:
    below = lines[at + 1].text if at + 1 < len(lines) else ""
    return "|" in lines[at].text and "|" in below and _RULE.match(below) is not None


def _table(text: str, lines: list[_Line], at: int, block: int) -> tuple[int, list[Unit]]:
    header = text[lines[at].start : lines[at + 1].end]
    rows, at = [], at + 2
    while at < len(lines) and "|" in lines[at].text:
        line = lines[at]
        rows.append(Unit(line.start, line.end, UnitKind.ROW, line.text, header=header, block=block))
        at += 1
    return at, rows


def _item_kind(line: str) -> UnitKind | None:
    if _STEP.match(line):
        return UnitKind.STEP
    return UnitKind.ITEM if _ITEM.match(line) else None


def _list(text: str, lines: list[_Line], at: int, block: int) -> tuple[int, list[Unit]]:
    """Items with their continuation lines; a blank line between two items does not end the list."""
    found: list[Unit] = []
    while at < len(lines):
        kind = _item_kind(lines[at].text)
        if kind is None:
            break
        end = at + 1
        while end < len(lines) and _continues(lines[end]):
            end += 1
        found.append(_unit(text, lines[at].start, lines[end - 1].end, kind, block))
        at = end
        while at + 1 < len(lines) and lines[at].blank and _item_kind(lines[at + 1].text):
            at += 1
    return at, found


def _continues(line: _Line) -> bool:
    return not (line.blank or _item_kind(line.text) or _HEADING.match(line.text) or _FENCE.match(line.text))


def _paragraph(text: str, lines: list[_Line], at: int, block: int) -> tuple[int, list[Unit]]:
    end = at + 1
    while end < len(lines) and _continues(lines[end]) and not _is_table(lines, end):
        end += 1
    return end, list(_sentences(text, lines[at].start, lines[end - 1].end, block))


def _sentences(text: str, start: int, end: int, block: int) -> Iterator[Unit]:
    at = start
    for match in _END.finditer(text, start, end):
        if _ABBREVIATION.search(text, max(at, match.start() - 12), match.start() + 1):
            continue
        yield from _trimmed(text, at, match.end(), block)
        at = match.end()
    yield from _trimmed(text, at, end, block)


def _trimmed(text: str, start: int, end: int, block: int) -> Iterator[Unit]:
    piece = text[start:end]
    start += len(piece) - len(piece.lstrip())
    end -= len(piece) - len(piece.rstrip())
    if start < end:
        yield _unit(text, start, end, UnitKind.SENTENCE, block)
