"""The order in which the lines of a page are read: column by column where it has columns.

Most files hold their text in reading order already, so that order stands wherever nothing speaks against it.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import median

from ray_app.ingest.pdf.lines import Line, Page, Rule, rows, same_row

MIN_ROWS = 6  # of a column; shorter ones are read well enough as they come
MAX_LINES = 1_500  # of a page; more of them are the words of a drawing
MAX_STARTS = 8  # places looked at where a column may begin
MAX_DEPTH = 3  # columns are split in two so often: up to eight, more than any page has
SAME_EDGE = 3.0  # points: lines of a column begin this close to one another
MIN_GUTTER = 6.0  # points between columns
MARGIN_SHARE = 0.12  # of the text's width: no column is narrower
FEW_SWITCHES = 3  # between the columns in the order of the file; a table has as many as it has rows
PROSE_CHARS = 20  # a line of prose has more, a cell of a table often fewer
PROSE_FULL = 0.75  # of the column's width that lines of prose fill, but for the last of a paragraph
PARAGRAPH_STEP = 1.25  # of the usual distance between lines: more is a new paragraph or a new row of a table
SAME_STARTS = 0.7  # of the paragraphs of both columns: so many at one height are rows of a table
MIN_CROSSING_RULES = 3  # level rules across the gap make it a table
DISORDER = 0.1  # of the lines of a column that stand above the line before them: the file's order is no order


def in_reading_order(page: Page) -> list[Line]:
    """The lines of a page in reading order, each with the number of its column."""
    zones = _split([line for line in page.lines if not line.turned], page.rules, MAX_DEPTH)
    ordered = [replace(line, column=n) if n else line for n, zone in enumerate(zones) for line in _tidied(zone)]
    return ordered + [line for line in page.lines if line.turned]


@dataclass(frozen=True, slots=True)
class _Cut:
    """Stretches of the page from top to bottom; those with two columns have both."""

    parts: list[tuple[list[Line], list[Line]]]

    @property
    def size(self) -> int:
        """Lines of its columns."""
        return sum(len(left) + len(right) for left, right in self.parts if right)


def _split(lines: list[Line], rules: Sequence[Rule], depth: int) -> list[list[Line]]:
    """The columns of a stretch in reading order, with what stands above, between and below them."""
    best: _Cut | None = None
    for x in _starts_of_columns(lines) if depth else ():
        cut = _cut(lines, x, rules)
        if cut.size > (best.size if best else 0):
            best = cut
    if best is None:
        return [lines]
    zones = []
    for left, right in best.parts:
        for side in (left, right) if right else (left,):
            zones += _split(side, rules, depth - 1) if right else [side]
    return zones


def _starts_of_columns(lines: Sequence[Line]) -> list[float]:
    """Where many lines begin, away from the left margin; the most usual places first."""
    if not 2 * MIN_ROWS <= len(lines) <= MAX_LINES:
        return []
    margin = min(line.left for line in lines)
    nearest = margin + MARGIN_SHARE * (max(line.right for line in lines) - margin)
    groups: list[list[float]] = []
    for left in sorted(line.left for line in lines if line.left > nearest):
        if groups and left - groups[-1][0] < SAME_EDGE:
            groups[-1].append(left)
        else:
            groups.append([left])
    groups.sort(key=len, reverse=True)
    return [group[0] for group in groups[:MAX_STARTS] if len(group) >= MIN_ROWS]


def _cut(lines: list[Line], x: float, rules: Sequence[Rule]) -> _Cut:
    """Stretches without a line across ``x``, as two columns where they are."""
    order = {id(line): index for index, line in enumerate(lines)}
    parts: list[tuple[list[Line], list[Line]]] = []
    descending = sorted(lines, key=lambda line: -line.base)
    for across, found in groupby(descending, lambda line: line.left < x - 1 and line.right > x - MIN_GUTTER):
        stretch = sorted(found, key=lambda line: order[id(line)])
        left = [line for line in stretch if line.left < x - 1]
        right = [line for line in stretch if line.left >= x - 1]
        if not across and _are_columns(stretch, left, right, _crossing(rules, x, stretch)):
            parts.append((left, right))
        elif parts and not parts[-1][1]:
            parts[-1] = (sorted([*parts[-1][0], *stretch], key=lambda line: order[id(line)]), [])
        else:
            parts.append((stretch, []))
    return _Cut(parts)


def _crossing(rules: Sequence[Rule], x: float, stretch: Sequence[Line]) -> int:
    """Level rules across ``x`` beside the stretch."""
    top, bottom = stretch[0].base, stretch[0].base
    for line in stretch:
        top, bottom = max(top, line.base), min(bottom, line.base)
    return len({
        round(rule.bottom)
        for rule in rules
        if rule.level and rule.left < x - MIN_GUTTER and rule.right > x and bottom < rule.bottom < top
    })  # fmt: skip


def _are_columns(stretch: Sequence[Line], left: list[Line], right: list[Line], crossing_rules: int) -> bool:
    """Whether two sides are read one after the other, and not row by row."""
    left_rows, right_rows = rows(left), rows(right)
    if min(len(left_rows), len(right_rows)) < MIN_ROWS or crossing_rules >= MIN_CROSSING_RULES:
        return False
    if _start_together(left_rows, right_rows):
        return False
    first = {id(line) for line in left}
    switches = sum((id(a) in first) != (id(b) in first) for a, b in pairwise(stretch))
    return switches <= FEW_SWITCHES or (_is_prose(left_rows) and _is_prose(right_rows))


def _start_together(left: Sequence[list[Line]], right: Sequence[list[Line]]) -> bool:
    """Whether paragraphs on both sides begin at the same heights, as cells of rows do."""
    starts, others = _paragraph_starts(left), _paragraph_starts(right)
    same = sum(any(same_row(start, other) for other in others) for start in starts)
    return min(len(starts), len(others)) >= 2 and same >= SAME_STARTS * max(len(starts), len(others))


def _paragraph_starts(column: Sequence[list[Line]]) -> list[Line]:
    steps = [above[0].base - below[0].base for above, below in pairwise(column)]
    usual = median(steps)
    return [
        column[0][0],
        *(row[0] for row, step in zip(column[1:], steps, strict=True) if step > PARAGRAPH_STEP * usual),
    ]


def _is_prose(column: Sequence[list[Line]]) -> bool:
    left, right = min(row[0].left for row in column), max(row[-1].right for row in column)
    full = sum(row[-1].right - row[0].left >= PROSE_FULL * (right - left) for row in column)
    chars = median(sum(len(line.text) for line in row) for row in column)
    return full >= len(column) / 2 and chars >= PROSE_CHARS


def _tidied(zone: list[Line]) -> list[Line]:
    """The zone from top to bottom if the file holds it in disorder."""
    climbs = sum(b.base > a.base + a.size and b.left < a.right and a.left < b.right for a, b in pairwise(zone))
    if climbs <= DISORDER * len(zone):
        return zone
    return [line for row in rows(zone) for line in row]
