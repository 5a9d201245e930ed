"""Tables without a grid: cells that stand in columns over several rows."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from ray_app.ingest.pdf.join import join, wraps
from ray_app.ingest.pdf.lines import Line, Rule, rows

MIN_ROWS = 3  # with several cells each; two are enough with a rule between them
MAX_COLUMNS = 20
MAX_STEP = 3.0  # of the font's height between rows of one table
CLOSE_STEP = 1.7  # likewise, to a row that holds one cell only
SAME_SIZE = 0.85  # of the larger font's height: rows of one table differ less
SAME_ROW_STEP = 0.8  # of the font's height: rows closer than this are cells of one row, centred against each other
GAPPED = 1.25  # times the distance of lines in a cell: more is the next row
FAR_APART = 1.4  # likewise: so far, that both cells of a printed row may have wrapped
SAME_EDGE = 3.0  # points: cells of a column begin, end or are centred this close to one another
SAME_TABLE = 8.0  # points: columns of a table that goes on over the page begin this close to one another
ALIGNED = 0.7  # of the cells of each column after the first
MIN_FILLED = 0.5  # of the cells that hold text; a drawing's words leave more empty
PAGES = 0.6  # of the entries of a table of contents that end in a page number
UNDOTTED = 6  # entries that make a table of contents without dots; a few rising numbers are values
RULED = 0.5  # of the width that a rule between rows covers
NUMBERS = 0.6  # of the cells under a head of words
MAX_LABEL = 80  # characters of a line across a table
PROSE_CHARS = 20  # a line of prose has more
MAX_CELL = 600  # characters; longer "cells" are columns of prose
_MARK = re.compile(r"[•▪■●◦‣⁃–—*·o○□➢✓√»-]|\(?(?:\d{1,3}|[a-zA-Z]|[ivx]{1,5})[.):]?|\[\d{1,3}\]")
_PAGE = re.compile(r"(?:^|(?:[.…]\s?){2,}\s*)(?:[A-Z]-?)?(\d{1,4})$")
_LEADERS = re.compile(r"(?:\.\s?){4,}|…")
_WORD = re.compile(r"[^\W_]{3}|[^\W\d_\x00-\u02ff]{2}")
_DIGIT = re.compile(r"\d")
_NUMERIC = re.compile(r"[^A-Za-z]*\d[^A-Za-z]*[A-Za-z%°]{0,3}")

_Row = list[Line]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of cells, and the lines they are made of. Every row has the same number of cells."""

    lines: tuple[Line, ...]
    cells: list[list[str]]
    header: bool  # the first row names the columns
    columns: tuple[float, ...] = ()  # where they begin

    @property
    def base(self) -> float:
        """Height of its first row on the page."""
        return max(line.base for line in self.lines)

    def under(self, above: Table) -> Table:
        """This table with the head of the one that ends the page before, if it goes on where that one ended."""
        if self.header or not above.header or len(self.columns) != len(above.columns):
            return self
        if any(abs(a - b) > SAME_TABLE for a, b in zip(self.columns, above.columns, strict=True)):
            return self
        return replace(self, cells=[above.cells[0], *self.cells], header=True)

    def markdown(self) -> str:
        head, body = (self.cells[0], self.cells[1:]) if self.header else ([""] * len(self.cells[0]), self.cells)
        return "\n".join([_pipes(head), "|" + "-|" * len(head), *map(_pipes, body)])


def find_tables(lines: Sequence[Line], rules: Sequence[Rule]) -> list[Table]:
    """The tables of a stretch of one column, from the top."""
    order = {id(line): index for index, line in enumerate(lines)}
    found = rows(line for line in lines if not line.turned)
    tables = []
    start = 0
    while start < len(found) - 1:
        run = _Run(found, start, rules)
        table = run.table(order)
        tables += [table] if table else []
        start = run.end if table or run.is_other() else start + 1
    return tables


def is_header(cells: Sequence[Sequence[str]], looks: Sequence[Sequence[bool]]) -> bool:
    """Whether the first row names the columns: bold over plain, or words over numbers. ``looks``: which are bold."""
    first, rest = cells[0], cells[1:]
    if sum(map(bool, first)) < max(2, len(first) - 1) or not rest:
        return False
    bold, others = [b for b, c in zip(looks[0], first, strict=True) if c], [b for row in looks[1:] for b in row[1:]]
    if all(bold) and sum(others) < len(others) / 2:
        return True
    if any(map(_DIGIT.search, first)):
        return False
    share = NUMBERS if len(first) > 2 else 1.0  # one value without a number among others makes no head
    columns = [[cell for cell in column if cell] for column in list(zip(*rest, strict=True))[1:]]
    return any(c and sum(map(bool, map(_NUMERIC.fullmatch, c))) >= share * len(c) for c in columns)


def has_words(table: Sequence[Sequence[str]]) -> bool:
    """Whether most of the rows hold a word or a number of some length; those of a formula or a score do not."""
    return 2 * sum(any(map(_WORD.search, row)) for row in table) > len(table)


def _pipes(cells: Iterable[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


class _Run:
    """Rows that may be a table, and the edges of its columns."""

    def __init__(self, found: Sequence[_Row], start: int, rules: Sequence[Rule]) -> None:
        self.columns: list[tuple[float, float]] = []
        self.end = start  # index of the row after the last
        self._labels: set[int] = set()  # identities of lines across all columns
        self._grow(found)
        run = list(found[start : self.end])
        self._rows: list[list[list[Line]]] = []
        if not self.columns:
            return
        while len(run) > 1 and self._only_key(run[-1]):
            run.pop()  # below a table, at its left edge, begins the next paragraph
        self.end = start + len(run)
        self._rows = [self._cells(row) for row in run]
        self._levels = self._rules_between(run, rules)

    def table(self, order: dict[int, int]) -> Table | None:
        """None when the rows are no table. ``order`` is that of the lines in the file, by their identity."""
        if not self._is_table(order):
            return None
        groups = self._logical_rows()
        cells = [[self._text(group, column) for column in range(len(self.columns))] for group in groups]
        if max(len(cell) for row in cells for cell in row) > MAX_CELL:
            return None
        if sum(bool(cell) for row in cells for cell in row) < MIN_FILLED * len(cells) * len(self.columns):
            return None
        bold = [
            [all(line.bold for row in group for line in row[c]) for c in range(len(self.columns))] for group in groups
        ]
        lines = tuple(line for row in self._rows for cell in row for line in cell)
        header = self._has_head(groups) or is_header(cells, bold)
        return Table(lines, cells, header, tuple(left for left, _ in self.columns))

    # Growing

    def _grow(self, found: Sequence[_Row]) -> None:
        """Takes rows while their cells keep to common columns."""
        while self.end < len(found) and (not self.columns or _near(found[self.end - 1], found[self.end])):
            columns = _fit(self.columns, found[self.end])
            if not columns and self._is_label(found, self.end):
                self._labels.add(id(found[self.end][0]))
                columns = self.columns
            if not columns or len(columns) > MAX_COLUMNS:
                return
            self.columns = columns
            self.end += 1

    def _is_label(self, found: Sequence[_Row], index: int) -> bool:
        """Whether a line across the columns names the rows below it, which go on in the same columns."""
        if not self.columns or len(found[index]) > 1 or index + 1 == len(found) or len(found[index + 1]) < 2:
            return False
        line, following = found[index][0], found[index + 1]
        starts = abs(line.left - self.columns[0][0]) <= SAME_EDGE and len(line.text) <= MAX_LABEL
        return starts and _near(found[index], following) and len(_fit(self.columns, following)) == len(self.columns)

    def _only_key(self, row: _Row) -> bool:
        return len(row) == 1 and row[0].left < self.columns[0][1]

    def _cells(self, row: _Row) -> list[list[Line]]:
        """The row's lines by column."""
        if id(row[0]) in self._labels:
            return [row, *([] for _ in self.columns[1:])]
        cells: list[list[Line]] = [[] for _ in self.columns]
        for line in row:
            shared = [min(line.right, right) - max(line.left, left) for left, right in self.columns]
            cells[shared.index(max(shared))].append(line)
        return cells

    def _rules_between(self, run: Sequence[_Row], rules: Sequence[Rule]) -> list[float]:
        """Heights of rules between the rows that go over half of the width or more."""
        left, right = self.columns[0][0], self.columns[-1][1]
        covered: dict[int, float] = {}
        for rule in rules:
            if rule.level and run[-1][0].base < rule.bottom < run[0][0].base:
                share = min(rule.right, right) - max(rule.left, left)
                covered[round(rule.bottom)] = covered.get(round(rule.bottom), 0.0) + max(0.0, share)
        return [float(height) for height, length in covered.items() if length >= RULED * (right - left)]

    # Judging

    def is_other(self) -> bool:
        """Whether the rows are something else in columns, and no part of them a table."""
        return len(self._rows) >= MIN_ROWS and self._is_doubtful()

    def _is_table(self, order: dict[int, int]) -> bool:
        several = [row for row in self._rows if sum(map(bool, row)) > 1]
        if len(self.columns) < 2 or len(several) < (2 if self._levels else MIN_ROWS):
            return False
        return not self._is_doubtful() and self._is_aligned() and self._is_read_by_rows(order, len(several))

    def _is_doubtful(self) -> bool:
        doubts = (self._is_code, self._is_list, self._is_contents, self._is_symbols, self._is_prose)
        return any(doubt() for doubt in doubts)

    def _is_code(self) -> bool:
        return all(line.mono for row in self._rows for cell in row for line in cell)

    def _is_list(self) -> bool:
        """Whether the first column holds nothing but bullets and numbers, or one and the same sign."""
        marks = [line.text for row in self._rows for line in row[0]]
        return all(map(_MARK.fullmatch, marks)) or (len(marks) >= MIN_ROWS and len(set(marks)) == 1)

    def _is_contents(self) -> bool:
        """Whether the last column ends in page numbers, which only rise, mostly after dots."""
        last = [" ".join(line.text for line in row[-1]) for row in self._rows if row[-1]]
        pages = [int(match[1]) for text in last if (match := _PAGE.search(text))]
        dotted = any(_LEADERS.search(line.text) for row in self._rows for cell in row for line in cell)
        enough = 2 if dotted else UNDOTTED
        return len(pages) >= max(enough, PAGES * len(last)) and pages == sorted(pages)

    def _is_symbols(self) -> bool:
        return not has_words([[line.text for cell in row for line in cell] for row in self._rows])

    def _is_prose(self) -> bool:
        """Whether what stands side by side are long, evenly spaced lines that all go on in the next one."""
        pairs = [(a, b) for a, b in pairwise(self._rows) if all(a) and all(b)]
        if len(pairs) < MIN_ROWS - 1 or median(len(line.text) for a, _ in pairs for c in a for line in c) < PROSE_CHARS:
            return False
        flowing = sum(all(self._goes_on(a, b, column) for column in range(len(self.columns))) for a, b in pairs)
        return flowing > len(pairs) / 2 and not self._by_gaps()

    def _is_aligned(self) -> bool:
        return all(self._column_is_aligned(column) for column in range(1, len(self.columns)))

    def _column_is_aligned(self, column: int) -> bool:
        cells = [row[column] for row in self._rows if row[column] and any(row[:column])]
        edges = (
            [cell[0].left for cell in cells],
            [cell[-1].right for cell in cells],
            [(cell[0].left + cell[-1].right) / 2 for cell in cells],
        )
        return any(_gathered(edge) >= ALIGNED * len(cells) for edge in edges)

    def _is_read_by_rows(self, order: dict[int, int], count: int) -> bool:
        """Whether the file, too, goes from column to column in every row. Rules prove as much."""
        placed = sorted(
            (order[id(line)], column) for row in self._rows for column, cell in enumerate(row) for line in cell
        )
        switches = sum(a != b for (_, a), (_, b) in pairwise(placed))
        return switches >= count - 1 or len(self._levels) >= count / 2

    # Cells

    def _logical_rows(self) -> list[list[list[list[Line]]]]:
        """The rows a reader sees, each of one or more printed rows."""
        begins = self._by_rules() or self._by_gaps() or self._by_cues()
        groups: list[list[list[list[Line]]]] = []
        for row, begin in zip(self._rows, [True, *begins], strict=True):
            if begin:
                groups.append([row])
            else:
                groups[-1].append(row)
        return groups

    def _by_rules(self) -> list[bool]:
        """Where rules part the rows; [] when they part the head only, or nothing."""
        begins = [self._ruled(a, b) for a, b in pairwise(self._rows)]
        keys = sum(bool(row[0]) for row in self._rows)
        return begins if sum(begins) + 1 >= max(MIN_ROWS, 0.5 * keys) else []

    def _by_gaps(self) -> list[bool]:
        """Where the distance is larger than between the lines of a cell; [] when it does not tell."""
        steps = [_base(a) - _base(b) for a, b in pairwise(self._rows)]
        unit = min((step for step in steps if step >= SAME_ROW_STEP * self._size()), default=0.0)
        apart = [step for step in steps if step > GAPPED * unit]
        pairs = list(pairwise(self._rows))
        begins = [step > GAPPED * unit or self._ruled(a, b) for step, (a, b) in zip(steps, pairs, strict=True)]
        if sum(begins) + 1 < MIN_ROWS or self._labels:
            return []
        clear = bool(apart) and min(apart) > FAR_APART * unit
        joined = [pair for pair, begin in zip(pairs, begins, strict=True) if not begin]
        return begins if all(self._may_be_one(a, b, clear) for a, b in joined) else []

    def _may_be_one(self, above: list[list[Line]], row: list[list[Line]], clear: bool) -> bool:
        """Whether two printed rows can be one row of the table: the first cell, too, goes on or is empty in one."""
        if not above[0] or not row[0]:
            return True
        filled = [column for column, cell in enumerate(row) if cell]
        return (clear or len(filled) == 1) and all(self._goes_on(above, row, column) for column in filled)

    def _by_cues(self) -> list[bool]:
        return [self._begins_row(a, b) for a, b in pairwise(self._rows)]

    def _begins_row(self, above: list[list[Line]], row: list[list[Line]]) -> bool:
        if self._ruled(above, row) or any(id(line) in self._labels for line in (*row[0], *above[0])):
            return True
        if _base(above) - _base(row) < SAME_ROW_STEP * self._size():
            return False
        filled = [column for column, cell in enumerate(row) if cell]
        if not row[0] and len(filled) == 1:
            return False
        if row[0] and len(filled) > 1:
            return True
        return not all(above[column] and self._goes_on(above, row, column) for column in filled)

    def _goes_on(self, above: list[list[Line]], row: list[list[Line]], column: int) -> bool:
        """Whether a cell's last line wraps into the next printed row."""
        return bool(above[column] and row[column]) and wraps(above[column][-1], row[column][0], *self.columns[column])

    def _ruled(self, above: list[list[Line]], row: list[list[Line]]) -> bool:
        return any(_base(row) < level < _base(above) for level in self._levels)

    def _has_head(self, groups: Sequence[Sequence[list[list[Line]]]]) -> bool:
        """Whether a rule stands under the first row and hardly elsewhere."""
        parted = [self._ruled(a[-1], b[0]) for a, b in pairwise(groups)]
        once = len(groups) >= MIN_ROWS and parted[0] and sum(parted) <= 1 + len(parted) / 4
        return once and sum(map(bool, groups[0][0])) > 1

    def _text(self, group: Sequence[list[list[Line]]], column: int) -> str:
        return join([line for row in group for line in row[column]], *self.columns[column], gap=" ")

    def _size(self) -> float:
        return median(line.size for row in self._rows for cell in row for line in cell)


def _near(above: _Row, row: _Row) -> bool:
    """Whether two rows may belong to one table."""
    step, size = above[0].base - row[0].base, max(above[0].size, row[0].size)
    alike = any(min(a.size, b.size) > SAME_SIZE * max(a.size, b.size) for a in above for b in row)
    return alike and step <= (MAX_STEP if len(row) > 1 else CLOSE_STEP) * size


def _fit(columns: Sequence[tuple[float, float]], row: _Row) -> list[tuple[float, float]]:
    """The columns, widened or with further ones, so that each holds whole cells of the row; [] when none do."""
    if not columns and len(row) == 1:
        return []
    grown = list(columns)
    for line in row:
        hits = [i for i, (left, right) in enumerate(grown) if line.left < right and line.right > left]
        if len(hits) > 1 or (not hits and len(row) == 1):
            return []
        if hits:
            left, right = grown[hits[0]]
            grown[hits[0]] = min(left, line.left), max(right, line.right)
        else:
            grown.append((line.left, line.right))
    grown.sort()
    return grown if all(a[1] < b[0] for a, b in pairwise(grown)) else []


def _gathered(values: Sequence[float]) -> int:
    """How many of them lie close to their middle one."""
    middle = median(values) if values else 0.0
    return sum(abs(value - middle) <= SAME_EDGE for value in values)


def _base(row: Sequence[Sequence[Line]]) -> float:
    return next(cell[0].base for cell in row if cell)
