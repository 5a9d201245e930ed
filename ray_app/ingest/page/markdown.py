"""Inline text and blocks to Markdown, as the walk over a page meets them."""

from __future__ import annotations

import re
from dataclasses import dataclass, field

from ray_app.ingest.clean import one_line, visible

BREAK = "\x0b"  # a <br> until the paragraph is finished; no page text keeps this character
MAX_COLUMNS = 64  # a wider table is layout or an attack by colspan
MAX_ROWSPAN = 200
MAX_REPEATED_CHARS = 200  # of a cell that spans rows: a longer one is a paragraph beside them
MAX_REPEATS = 1_000_000  # characters repeated on a page
CELL_BULLET = "• "  # of an item of a list within a table cell, which has one line
_WORD = re.compile(r"[^\W_]")
_TICKS = re.compile(r"`+")
_SEPARATORS = frozenset("|>»›·•→/")


@dataclass(slots=True)
class _Level:
    """An open <ul> or <ol>."""

    ordered: bool
    number: int


@dataclass(slots=True)
class _Table:
    """An open data table. A cell that spans rows is repeated in each, so that every row reads alone."""

    repeats: int  # characters that may be repeated
    rows: list[list[str]] = field(default_factory=list)
    header: bool = False  # the first row consists of header cells
    spans: dict[int, tuple[int, str]] = field(default_factory=dict)  # column -> rows left, text
    only_headers: bool = True  # so far in this row

    def open_row(self) -> None:
        self.close_row()
        self.rows.append([])

    def close_row(self) -> None:
        if self.rows:
            self._fill(self.rows[-1])
            self.header = self.only_headers and bool(self.rows[-1]) if len(self.rows) == 1 else self.header
        self.only_headers = True

    def add(self, text: str, columns: int, rows: int, header: bool) -> None:
        if not self.rows:
            self.rows.append([])
        row = self.rows[-1]
        self._fill(row)
        self.only_headers &= header
        for extra in range(min(columns, MAX_COLUMNS)):
            if len(row) >= MAX_COLUMNS:
                row[-1] += "" if extra else f" {text}"
                return
            if rows > 1:
                repeated = text if not extra and len(text) <= MAX_REPEATED_CHARS else ""
                self.spans[len(row)] = (min(rows, MAX_ROWSPAN) - 1, repeated)
            row.append(text if not extra else "")

    def _fill(self, row: list[str]) -> None:
        while (span := self.spans.pop(len(row), None)) is not None and len(row) < MAX_COLUMNS:
            left, text = span
            if left > 1:
                self.spans[len(row)] = (left - 1, text)
            row.append(text if len(text) <= self.repeats else "")
            self.repeats -= len(row[-1])


class MarkdownWriter:
    """Collects one stretch of text. Whoever walks the page calls it in document order."""

    def __init__(self) -> None:
        self.size = 0  # characters written so far
        self._blocks: list[str] = []  # each after its separator
        self._parts: list[str] = []  # inline text not yet in a block
        self._unlinked: list[str] = []  # those of them that lie outside links
        self._links = 0  # links in them
        self._in_link = 0
        self._neighbour = False
        self._codes: list[int] = []  # where open <code> elements start in the parts
        self._levels: list[_Level] = []
        self._cell_levels: list[_Level] = []  # likewise in the open table cell
        self._base = 0  # list levels that were open when this stretch began
        self._marker = ""  # of a list item or definition that has no text yet
        self._tight = False  # the next block follows in the next line, without an empty one
        self._pre: list[str] | None = None
        self._pre_says = False  # it holds more than white space
        self._repeats = MAX_REPEATS
        self._table: _Table | None = None
        self._in_cell = False

    # Inline

    def text(self, text: str) -> None:
        if self._pre is not None:
            self._pre.append(text)
            self._pre_says = self._pre_says or bool(text.strip())
        elif self._parts or not text.isspace():
            if self._neighbour and text:
                self._part_words(text)
            self._parts.append(text)
            if not self._in_link:
                self._unlinked.append(text)

    def neighbour(self) -> None:
        """What follows stands in an element of its own right beside the one before it."""
        self._neighbour = not self._codes

    def _part_words(self, text: str) -> None:
        """Two elements side by side are two words, unless a sign joins them."""
        self._neighbour = False
        if self._parts and self._parts[-1][-1:].isalnum() and text[0].isalnum():
            self._parts.append(" ")

    def line_break(self) -> None:
        if self._pre is not None:
            self._pre.append("\n")
        elif self._parts:
            self._parts.append(" " if self._in_cell else BREAK)

    def open_link(self) -> None:
        self._in_link += 1
        self._links += 1

    def close_link(self) -> None:
        self._in_link -= 1

    def open_code(self) -> None:
        self._codes.append(len(self._parts))

    def close_code(self) -> None:
        start = self._codes.pop()
        if self._codes or self._pre is not None:
            return
        raw = "".join(self._parts[start:])
        if content := one_line(raw):
            lead, trail = " " * raw[0].isspace(), " " * raw[-1].isspace()
            del self._parts[start:]
            self._parts.append(f"{lead}{_ticked(content)}{trail}")

    @property
    def blank(self) -> bool:
        """Whether a new section could begin here without cutting a block."""
        within = (self._pre is not None and self._pre_says) or self._parts or self._table is not None
        return not within and len(self._levels) <= self._base + 1

    @property
    def in_pre(self) -> bool:
        return self._pre is not None

    def take_inline(self) -> str:
        """The inline text so far as one plain line, taken out: for headings."""
        text = one_line("".join(self._parts).replace(BREAK, " "))
        self._clear_inline()
        return text

    # Blocks

    def flush(self) -> None:
        """Ends the paragraph, if one is open."""
        if self._pre is not None:
            if self._pre and not self._pre[-1].endswith("\n"):
                self._pre.append("\n")
            return
        if self._in_cell:
            self._parts.append(" ")
            return
        if not self._parts:
            return
        navigation = self._is_navigation()
        text = "\n".join(filter(None, (one_line(line) for line in "".join(self._parts).split(BREAK))))
        self._clear_inline()
        if text and not navigation:
            self._emit(text)

    def open_list(self, *, ordered: bool, start: int = 1) -> None:
        self.flush()
        if self._in_cell:
            self._cell_levels.append(_Level(ordered, start))
            return
        self._tight = bool(self._levels) and bool(self._blocks)
        self._levels.append(_Level(ordered, start))

    def close_list(self) -> None:
        self.flush()
        if self._in_cell:
            self._cell_levels.pop()
            return
        self._levels.pop()
        self._base = min(self._base, len(self._levels))
        self._marker, self._tight = "", bool(self._levels)

    def open_item(self) -> None:
        self.flush()
        levels = self._cell_levels if self._in_cell else self._levels
        level = levels[-1] if levels else _Level(ordered=False, number=1)
        number = f"{level.number}. " if level.ordered else ""
        level.number += 1
        if self._in_cell:
            self._parts.append(number or CELL_BULLET)
        else:
            self._marker = number or "- "

    def close_item(self) -> None:
        self.flush()
        self._expect("", tight=True)

    def open_definition(self) -> None:
        self.flush()
        self._expect(": ", tight=bool(self._blocks))

    def close_definition(self) -> None:
        self.flush()
        self._expect("", tight=False)

    def close_term(self) -> None:
        self.flush()
        self._expect(self._marker, tight=bool(self._blocks))

    def close_label(self) -> None:
        """Ends a line that names what follows: "Note:" before the note."""
        if self._parts and not self._in_cell and not "".join(self._parts).rstrip().endswith((":", ".", "!", "?")):
            self._parts.append(":")
        self.flush()
        self._expect("", tight=bool(self._blocks))

    def _expect(self, marker: str, *, tight: bool) -> None:
        """How the next block begins. In a cell there are no blocks."""
        if not self._in_cell:
            self._marker, self._tight = marker, tight

    def open_pre(self) -> None:
        self.flush()
        self._pre, self._pre_says = [], False

    def close_pre(self) -> None:
        raw, self._pre = visible("".join(self._pre or ())), None
        lines = [line.rstrip() for line in raw.expandtabs(4).split("\n")]
        while lines and not lines[0]:
            lines.pop(0)
        code = "\n".join(lines).rstrip()
        if code:
            fence = "`" * max(3, 1 + max(map(len, _TICKS.findall(code)), default=0))
            self._emit_block(f"{fence}\n{code}\n{fence}")

    # Tables

    def open_table(self) -> None:
        self.flush()
        self._table = _Table(self._repeats)

    def open_row(self) -> None:
        if self._table is not None:
            self._table.open_row()

    def open_cell(self) -> None:
        self._clear_inline()
        self._in_cell = True

    def close_cell(self, columns: int, rows: int, *, header: bool) -> None:
        self._in_cell = False
        self._cell_levels = []
        text = self.take_inline()
        if self._table is not None:
            self._table.add(text, columns, rows, header)

    def close_table(self) -> None:
        table, self._table, self._in_cell = self._table, None, False
        if table is None:
            return
        self.flush()
        table.close_row()
        self._repeats = table.repeats
        for block in _table_blocks(table):
            self._emit_block(block)

    # Stretches

    def take(self) -> str:
        """All that was written since the last call; open lists go on without their indentation."""
        self.flush()
        text = "".join(self._blocks)
        self._blocks, self.size, self._base = [], 0, len(self._levels)
        self._tight = False
        return text

    def _emit_block(self, block: str) -> None:
        """Code or a table: its first line must stay as it is, so the marker before it goes."""
        self._marker = ""
        self._emit(block)

    def _emit(self, block: str) -> None:
        depth = len(self._levels) - self._base - (1 if self._marker and self._marker != ": " else 0)
        indent = "  " * max(0, depth)
        if indent or self._marker:
            first, *rest = block.split("\n")
            hang = "  " if self._marker and self._marker != ": " else ""
            others = (f"{indent}{hang}{line}" if line else "" for line in rest)
            block = "\n".join([f"{indent}{self._marker}{first}", *others])
        separator = ("\n" if self._tight else "\n\n") if self._blocks else ""
        self._blocks.append(separator + block)
        self.size += len(block)
        self._marker, self._tight = "", bool(self._levels)

    def _clear_inline(self) -> None:
        self._parts, self._unlinked, self._links = [], [], 0
        self._codes = [0] * len(self._codes)

    def _is_navigation(self) -> bool:
        """Links with nothing but signs between them ("Prev | Up | Next"): a breadcrumb or a pager."""
        if self._links < 2 or self._marker or self._levels:
            return False
        between = "".join(self._unlinked)
        return not _SEPARATORS.isdisjoint(between) and not _WORD.search(between)


def _ticked(content: str) -> str:
    """Inline code; the fence is longer than any run of backticks within."""
    if "`" not in content:
        return f"`{content}`"
    fence = "`" * (1 + max(map(len, _TICKS.findall(content))))
    return f"{fence} {content} {fence}"


def _table_blocks(table: _Table) -> list[str]:
    """A pipe table, or paragraphs when there is only one row or column."""
    width = max(map(len, table.rows), default=0)
    rows = [[*row, *[""] * (width - len(row))] for row in table.rows]
    used = [column for column in range(width) if any(row[column] for row in rows)]
    header = table.header
    if header and not any(rows[0]):
        header = False
    rows = [cells for row in rows if any(cells := [row[column] for column in used])]
    if len(rows) < 2 or len(used) < 2:
        return [cell for row in rows for cell in row if cell]
    head, body = (rows[0], rows[1:]) if header else ([""] * len(used), rows)
    lines = [_line(head), "|" + "-|" * len(used), *map(_line, body)]
    return ["\n".join(lines)]


def _line(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"
