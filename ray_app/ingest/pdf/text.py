"""Lines of a stretch of a PDF to Markdown: paragraphs, lists, code and tables."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import groupby, pairwise, zip_longest

from ray_app.ingest.pdf.grids import find_grids
from ray_app.ingest.pdf.join import join, wraps
from ray_app.ingest.pdf.lines import Line, Rule, same_row
from ray_app.ingest.pdf.tables import Table, find_tables

PARAGRAPH_GAP = 1.4  # of the usual distance between lines: more is a new paragraph
CODE_GAP = 1.15  # likewise, between prose and code
INDENT = 0.8  # of the font's height: so far to the right begins a paragraph, a nested item or code
OTHER_SIZE = 0.15  # relative difference of font height that begins a new paragraph
SAME_LEFT = 2.0  # points
MAX_NESTING = 3
# Bullets, and whatever a symbol font has in their place.
_SIGN = "[•▪■●◦‣⁃∙·○□➢➔✓\ue000-\uf8ff]"
_BULLET = re.compile(rf"^(?:{_SIGN}|[–—*-])(?:\s+|$)")
_ITEM = re.compile(rf"(?:{_SIGN}|[–—*-]|\(?(?:\d{{1,3}}|[a-zA-Z])[.)])(?:\s|$)")

Item = Line | Table


def with_tables(lines: Sequence[Line], rules: Sequence[Rule]) -> list[Item]:
    """The lines of a page in their order, those of a drawn table replaced by it."""
    return _replaced(lines, find_grids(lines, rules))


def with_all_tables(items: Sequence[Item], rules: Sequence[Rule]) -> list[Item]:
    """Tables without a grid too. ``items`` are read in one go: no heading stands between them."""
    found: list[Item] = []
    for column, members in groupby(items, _column):
        if column is None:
            found += members
        else:
            lines = [item for item in members if isinstance(item, Line)]
            found += _replaced(lines, find_tables(lines, rules))
    return found


def markdown(items: Sequence[Item]) -> str:
    """Markdown of a stretch of one page with all its tables."""
    parts: list[str] = []
    for column, members in groupby(items, _column):
        if column is None:
            parts += [item.markdown() for item in members if isinstance(item, Table)]
        else:
            parts.append(paragraphs([item for item in members if isinstance(item, Line)]))
    return "\n\n".join(filter(None, parts))


def _column(item: Item) -> int | None:
    return item.column if isinstance(item, Line) else None


def paragraphs(lines: Sequence[Line]) -> str:
    """Markdown of one column's lines without tables: those of a paragraph joined, hyphens at line ends resolved."""
    text = ""
    margins: list[float] = []  # of the open lists, outermost first
    for block in _blocks(lines):
        code = all(line.mono for line in block)
        follows_item = bool(margins)
        margins = _nested(margins, block[0]) if _ITEM.match(block[0].text) and not code else []
        indent = "  " * (len(margins) - 1)
        part = _code(block) if code else _prose(block)
        glue = "\n" if margins and follows_item else "\n\n"
        text += (glue if text else "") + indent + part.replace("\n", f"\n{indent}  " if margins else "\n")
    return text


def _nested(margins: Sequence[float], line: Line) -> list[float]:
    """Margins of the lists that are open once this line began an item."""
    open_ = [margin for margin in margins if margin < line.left - INDENT * line.size]
    return [*open_, line.left][:MAX_NESTING] if len(open_) < MAX_NESTING else open_


def _replaced(lines: Sequence[Line], tables: Sequence[Table]) -> list[Item]:
    """Each table where its first line stood."""
    owner = {id(line): table for table in tables for line in table.lines}
    seen: set[int] = set()
    items: list[Item] = []
    for line in lines:
        table = owner.get(id(line))
        if table is None:
            items.append(line)
        elif id(table) not in seen:
            seen.add(id(table))
            items.append(table)
    return items


def _blocks(lines: Sequence[Line]) -> Iterator[list[Line]]:
    """Lines grouped into paragraphs by distance, font, indentation and list marks."""
    leading, edges = _leading(lines), _edges(lines) if lines else (0.0, 0.0)
    block: list[Line] = []
    for line, following in zip_longest(lines, lines[1:]):
        if block and _begins_block(block, line, following, leading, edges):
            yield block
            block = []
        block.append(line)
    if block:
        yield block


def _leading(lines: Sequence[Line]) -> float:
    """The distance between lines of a paragraph: a small one of those in the stretch, for items stand further apart."""
    steps = [a.base - b.base for a, b in pairwise(lines)]
    usual = [step for step, line in zip(steps, lines, strict=False) if 0.5 * line.size < step < 3 * line.size]
    return sorted(usual)[len(usual) // 4] if usual else 0.0


def _begins_block(
    block: Sequence[Line], line: Line, following: Line | None, leading: float, edges: tuple[float, float]
) -> bool:
    previous = block[-1]
    if previous.hyphen or same_row(previous, line):
        return False
    step = previous.base - line.base
    if step < 0 or (leading > 0 and step > PARAGRAPH_GAP * leading):
        return True
    if _ITEM.match(line.text) and not line.mono:
        return True
    if line.mono != previous.mono and (step > CODE_GAP * leading or _indented(previous, line) != 0):
        return True
    return _looks_otherwise(block, line, edges) or _is_first(block, line, following)


def _looks_otherwise(block: Sequence[Line], line: Line, edges: tuple[float, float]) -> bool:
    """Whether font or margin say that the line is not part of the paragraph."""
    previous = block[-1]
    if abs(line.size - previous.size) > OTHER_SIZE * max(line.size, previous.size):
        return True
    outside = _ITEM.match(block[0].text) is not None and line.left < block[0].left - 1
    return (outside or line.bold != previous.bold) and not wraps(previous, line, *edges)


def _indented(previous: Line, line: Line) -> int:
    """1 or -1 when a line begins clearly further right or left than the one before it."""
    shift = line.left - previous.left
    return 0 if abs(shift) <= INDENT * line.size else (1 if shift > 0 else -1)


def _is_first(block: Sequence[Line], line: Line, following: Line | None) -> bool:
    """Whether a paragraph begins here by its indentation alone: the lines before and after it stand further left."""
    if following is None or line.mono or _indented(block[-1], line) != 1 or _ITEM.match(block[0].text):
        return False
    return abs(following.left - block[-1].left) <= SAME_LEFT


def _code(block: Sequence[Line]) -> str:
    """Lines as they stand, within a fence; their indentation is told by their place."""
    margin = min(line.left for line in block)
    shown: list[str] = []
    for number, line in enumerate(block):
        pitch = (line.right - line.left) / len(line.text) or 1.0
        if number and same_row(block[number - 1], line):
            shown[-1] += f"  {line.text}"
        else:
            shown.append(" " * min(round((line.left - margin) / pitch), 40) + line.text)
    fence = "`" * max(3, 1 + max(len(run) for run in re.findall("`*", "\n".join(shown))))
    return "\n".join([fence, *shown, fence])


def _prose(block: Sequence[Line]) -> str:
    return _BULLET.sub("- ", join(block, *_edges(block)))


def _edges(block: Sequence[Line]) -> tuple[float, float]:
    return min(line.left for line in block), max(line.right for line in block)
