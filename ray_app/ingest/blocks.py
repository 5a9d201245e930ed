"""Markdown of a section to blocks, and a block too large for one chunk to pieces."""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import StrEnum

_FENCE = re.compile(r"\s*(`{3,})[^`]*$")
_ROW = re.compile(r"\s*\|.*\|\s*$")
_RULE = re.compile(r"\s*\|(?:\s*:?-+:?\s*\|)+\s*$")
_ITEM = re.compile(r"(?:- |\d{1,6}\. )")
_NESTED = re.compile(r"\s+\S")
# After the sign that ends a sentence and its closing quotes, or at a line's end. CJK writes no space there.
_SENTENCE = re.compile(r"(?<=[.!?…])[\"'”’)\]]*\s+|(?<=[。！？])|\n")


class Kind(StrEnum):
    PARAGRAPH = "paragraph"
    LIST = "list"
    TABLE = "table"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Block:
    """``glue`` is the white space that stands before it in the section."""

    kind: Kind
    text: str
    glue: str = ""


def parse(text: str) -> list[Block]:
    """The blocks of a section in order; joined with their glue they are the text again."""
    blocks: list[Block] = []
    lines = text.split("\n")
    fences = _Fences(lines)
    index, glue = 0, ""
    while index < len(lines):
        if not lines[index].strip():
            glue = glue + "\n" if glue else "\n\n"
            index += 1
            continue
        kind, end = _extent(lines, fences, index)
        blocks.append(Block(kind, "\n".join(lines[index:end]), (glue or "\n") if blocks else ""))
        index, glue = end, ""
    return blocks


def rows(table: str) -> tuple[str, list[str]]:
    """Header with its rule ("" when there is none worth repeating), and the rows."""
    lines = table.split("\n")
    if len(lines) < 3 or not _RULE.match(lines[1]):
        return "", [line for line in lines if not _RULE.match(line)]
    return "\n".join(lines[:2]), lines[2:]


def cells(row: str) -> str:
    """The words of a table row as one line of text."""
    return " ".join(filter(None, (cell.strip() for cell in row.replace("\\|", "\x00").split("|")))).replace("\x00", "|")


def code_lines(code: str) -> tuple[str, list[str]]:
    """Fence and the lines between the fences."""
    lines = code.split("\n")
    opening = _FENCE.match(lines[0])
    if opening is None:
        return "```", lines
    closed = len(lines) > 1 and lines[-1].strip() == opening[1]
    return opening[1], lines[1:-1] if closed else lines[1:]


def items(block: str) -> list[str]:
    """Top-level items of a list, each with what is nested below it."""
    found: list[list[str]] = []
    for line in block.split("\n"):
        if found and not _ITEM.match(line):
            found[-1].append(line)
        else:
            found.append([line])
    return ["\n".join(item) for item in found]


def sentences(text: str) -> list[Block]:
    """Sentences, glued as they stand in the text."""
    found: list[Block] = []
    start, glue = 0, ""
    for gap in _SENTENCE.finditer(text):
        closing = gap[0].rstrip()
        sentence = text[start : gap.start() + len(closing)]
        if sentence:
            found.append(Block(Kind.PARAGRAPH, sentence, glue))
            glue = ""
        glue += gap[0][len(closing) :]
        start = gap.end()
    if text[start:]:
        found.append(Block(Kind.PARAGRAPH, text[start:], glue))
    return found


def halves(text: str) -> tuple[Block, Block]:
    """Two parts, cut between words if there is a gap near the middle."""
    middle = len(text) // 2
    reach = len(text) // 4
    before, after = text.rfind(" ", middle - reach, middle), text.find(" ", middle, middle + reach)
    cut = before if after < 0 or 0 <= middle - before <= after - middle else after
    if cut <= 0:
        return Block(Kind.PARAGRAPH, text[:middle]), Block(Kind.PARAGRAPH, text[middle:])
    return Block(Kind.PARAGRAPH, text[:cut]), Block(Kind.PARAGRAPH, text[cut + 1 :], " ")


def split(text: Block, fits: Callable[[str], bool]) -> Iterator[Block]:
    """The text in pieces that fit, at words if possible. Works off a stack: texts come in any length."""
    waiting = [text]
    while waiting:
        piece = waiting.pop()
        if not piece.text:
            continue
        if len(piece.text) == 1 or fits(piece.text):
            yield piece
            continue
        first, second = halves(piece.text)
        waiting += [second, Block(first.kind, first.text, piece.glue)]


class _Fences:
    """Where code in these lines ends. The closing fences are noted once: a text may open thousands that never close."""

    def __init__(self, lines: list[str]) -> None:
        self._lines = lines
        self._closing: dict[str, list[int]] = {}
        for index, line in enumerate(lines):
            if (fence := line.strip()).startswith("```") and not fence.strip("`"):
                self._closing.setdefault(fence, []).append(index)

    def code_end(self, start: int) -> int:
        """The line after the closing fence; 0 when no code begins here."""
        opening = _FENCE.match(self._lines[start])
        closing = self._closing.get(opening[1], []) if opening is not None else []
        following = bisect_right(closing, start)
        return closing[following] + 1 if following < len(closing) else 0


def _extent(lines: list[str], fences: _Fences, start: int) -> tuple[Kind, int]:
    """Kind of the block that begins in a line, and the line after its end."""
    if code_end := fences.code_end(start):
        return Kind.CODE, code_end
    if _ROW.match(lines[start]):
        return Kind.TABLE, _run(lines, start, lambda line: _ROW.match(line) is not None)
    if _ITEM.match(lines[start]):
        return Kind.LIST, _list_end(lines, fences, start)
    return Kind.PARAGRAPH, _run(lines, start, lambda line: bool(line.strip()) and not _begins_other(line))


def _list_end(lines: list[str], fences: _Fences, start: int) -> int:
    """Code inside an item may hold empty lines, which would end the list elsewhere."""
    end = start
    while end < len(lines) and (_ITEM.match(lines[end]) or _NESTED.match(lines[end])):
        end = fences.code_end(end) or end + 1
    return end


def _begins_other(line: str) -> bool:
    return _FENCE.match(line) is not None or _ROW.match(line) is not None


def _run(lines: list[str], start: int, belongs: Callable[[str], bool]) -> int:
    end = start + 1
    while end < len(lines) and belongs(lines[end]):
        end += 1
    return end
