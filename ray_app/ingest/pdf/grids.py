"""Tables drawn as a grid: their rules say which lines belong to which cell."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence

from ray_app.ingest.pdf.join import join
from ray_app.ingest.pdf.lines import Line, Rule
from ray_app.ingest.pdf.tables import MAX_CELL, MAX_COLUMNS, Table, has_words, is_header

TOUCH = 3.0  # points: rules this close meet, and edges this close are one
MIN_COVER = 0.3  # of a grid's width or height that its rules cover on average; connected boxes of a chart cover less
MIN_FILLED = 0.4  # of the cells that hold text
MAX_ROWS = 500
MAX_HEAD = 40  # characters in a cell that names a column

_Edges = list[float]  # of columns from the left, or of rows from the bottom


def find_grids(lines: Sequence[Line], rules: Sequence[Rule]) -> list[Table]:
    """The grids of a page that hold several rows and columns of text."""
    inside = [line for line in lines if not line.turned]
    tables = (_Grid(group, inside).table() for group in _connected(rules) if len(group) > 3)
    return [table for table in tables if table]


def _connected(rules: Sequence[Rule]) -> list[list[Rule]]:
    """Rules grouped by what they touch, through others too."""
    groups: list[tuple[Rule, list[Rule]]] = []  # with the box around each
    for rule in rules:
        box, members = rule, [rule]
        apart = []
        for other, others in groups:
            if _meet(box, other) and any(_meet(rule, one) for one in others):
                box, members = _around(box, other), members + others
            else:
                apart.append((other, others))
        groups = [*apart, (box, members)]
    return [members for _, members in groups]


def _meet(a: Rule, b: Rule) -> bool:
    across = a.left <= b.right + TOUCH and b.left <= a.right + TOUCH
    return across and a.bottom <= b.top + TOUCH and b.bottom <= a.top + TOUCH


def _around(a: Rule, b: Rule) -> Rule:
    return Rule(min(a.left, b.left), min(a.bottom, b.bottom), max(a.right, b.right), max(a.top, b.top))


class _Grid:
    """Columns and rows between rules. A cell over several rows stands in each of them, so that each reads alone."""

    def __init__(self, rules: Sequence[Rule], lines: Sequence[Line]) -> None:
        levels, uprights = [rule for rule in rules if rule.level], [rule for rule in rules if not rule.level]
        # A table may be open at its sides, so the ends of rules count as edges too.
        self._xs = _merged([rule.left for rule in uprights] + _ends([(rule.left, rule.right) for rule in levels]))
        self._ys = _merged([rule.bottom for rule in levels] + _ends([(rule.bottom, rule.top) for rule in uprights]))
        self._levels, self._uprights = levels, uprights
        self._lines = [line for line in lines if self._holds(line)]

    def table(self) -> Table | None:
        columns, height = len(self._xs) - 1, len(self._ys) - 1
        if not (2 <= columns <= MAX_COLUMNS and 2 <= height <= MAX_ROWS and self._lines and self._is_dense()):
            return None
        cells = self._cells()
        rows = [[self._text(cells[r][c], c) for c in range(columns)] for r in range(height)]
        bold = [[bool(cell) and all(line.bold for line in cell) for cell in row] for row in cells]
        used = [c for c in range(columns) if any(row[c] for row in rows)]
        kept = [r for r in range(height) if any(rows[r])]
        rows, bold = [[rows[r][c] for c in used] for r in kept], [[bold[r][c] for c in used] for r in kept]
        if len(rows) < 2 or len(used) < 2 or max(len(cell) for row in rows for cell in row) > MAX_CELL:
            return None
        if sum(bool(cell) for row in rows for cell in row) < MIN_FILLED * len(rows) * len(used) or not has_words(rows):
            return None
        header = is_header(rows, bold) or _names_columns(rows)
        return Table(tuple(self._lines), rows, header, tuple(self._xs[c] for c in used))

    def _holds(self, line: Line) -> bool:
        if len(self._xs) < 2 or len(self._ys) < 2:
            return False
        middle = (line.left + line.right) / 2
        return self._xs[0] < middle < self._xs[-1] and self._ys[0] < line.base < self._ys[-1]

    def _is_dense(self) -> bool:
        """Whether most edges are drawn, at least over part of the grid."""
        width, height = self._xs[-1] - self._xs[0], self._ys[-1] - self._ys[0]
        across = [self._drawn_level(y) / width for y in self._ys[1:-1]]
        upright = [self._drawn_upright(x) / height for x in self._xs[1:-1]]
        return min(sum(across) / len(across), sum(upright) / len(upright)) >= MIN_COVER

    def _drawn_level(self, y: float) -> float:
        return _length([(rule.left, rule.right) for rule in self._levels if abs(rule.bottom - y) <= TOUCH])

    def _drawn_upright(self, x: float) -> float:
        return _length([(rule.bottom, rule.top) for rule in self._uprights if abs(rule.left - x) <= TOUCH])

    def _cells(self) -> list[list[list[Line]]]:
        """Lines by row from the top and column; the cells that no rule parts share theirs."""
        columns, height = len(self._xs) - 1, len(self._ys) - 1
        cells: list[list[list[Line]]] = [[[] for _ in range(columns)] for _ in range(height)]
        for line in self._lines:
            r = height - bisect_right(self._ys, line.base)
            c = bisect_right(self._xs, (line.left + line.right) / 2) - 1
            cells[r][c].append(line)
        for c in range(columns):
            for r in range(1, height):
                if not self._parted_below(r - 1, c):
                    cells[r - 1][c] += cells[r][c]
                    cells[r][c] = cells[r - 1][c]
        return cells

    def _parted_below(self, r: int, c: int) -> bool:
        """Whether a rule runs under a cell."""
        y, x = self._ys[len(self._ys) - 2 - r], (self._xs[c] + self._xs[c + 1]) / 2
        return any(abs(rule.bottom - y) <= TOUCH and rule.left <= x <= rule.right for rule in self._levels)

    def _text(self, lines: Sequence[Line], column: int) -> str:
        right = max((line.right for line in lines), default=self._xs[column + 1])
        ordered = sorted(lines, key=lambda line: -line.base)
        return join(ordered, self._xs[column], right, gap=" ")


def _names_columns(rows: Sequence[Sequence[str]]) -> bool:
    """Whether the first of several rows holds a few words in each cell, as it does in most grids of three columns."""
    first = rows[0]
    words = all(0 < len(cell) <= MAX_HEAD and not any(map(str.isdigit, cell)) for cell in first)
    return words and len(first) > 2 and len(rows) > 2 and len(set(first)) == len(first)


def _ends(spans: Sequence[tuple[float, float]]) -> _Edges:
    return [min(a for a, _ in spans), max(b for _, b in spans)] if spans else []


def _merged(edges: _Edges) -> _Edges:
    """Sorted, and those close together as one."""
    found: _Edges = []
    for edge in sorted(edges):
        if not found or edge - found[-1] > TOUCH:
            found.append(edge)
    return found


def _length(spans: Sequence[tuple[float, float]]) -> float:
    """Of what the spans cover together."""
    total, reach = 0.0, float("-inf")
    for start, end in sorted(spans):
        total += max(0.0, end - max(start, reach))
        reach = max(reach, end)
    return total
