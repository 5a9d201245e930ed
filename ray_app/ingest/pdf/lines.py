"""Lines of text on a PDF page, with their place and look."""

from __future__ import annotations

import ctypes
import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median
from typing import Any, NamedTuple

import pypdfium2.raw as pdfium

from ray_app.ingest.clean import one_line, visible

HYPHEN = "\ufffe"  # PDFium's mark for a hyphen at the end of a line
WIDE_GAP = 0.7  # of the font's height: words further apart may be cells of a table. Justified prose seldom reaches it
MONO_GAP = 16  # characters: the same for code, whose columns are kept by spaces instead
STRETCHED_WORDS = 6  # a line with fewer words may well be a row of cells of one word each
STRETCHED = 1.7  # of the usual gap in a line of prose: a gap wider than that is not made by justification
NARROW_GAP = 0.2  # likewise: words closer than this stand in one cell, rule or no rule
OTHER_BASE = 0.5  # of the font's height: text raised or lowered further is not part of the line
SAME_BASE = 0.42  # of the font's height: lines closer in height than this stand in one row
TYPEWRITTEN = 0.6  # of all letters: where more are a typewriter's, they are not code
MAX_OBJECTS = 5_000  # of a page looked at for rules; more of them are a drawing
MAX_RULES = 2_000  # of a page; likewise
THIN = 3.0  # points: a thinner box is a rule
LONG = 12.0  # points: a shorter one is part of a letter
_LINE_END = re.compile(f"[\r\n]+|{HYPHEN}")
_TOKEN = re.compile(r"\S+")
_CELL = re.compile(r"\S+(?: {1,2}\S+)*")  # what no three spaces part
_PRINTED = re.compile(r"\S[^\r\n]*")
_BOLD = re.compile(r"bold|black|heavy|demi|-medi|cmbx|cmb\d|cmssbx|sfbx|ecbx", re.IGNORECASE)
_MONO = re.compile(r"mono(?!type)|courier|typewriter|consol|menlo|\dx?b?tt\b|(?:cm|sl|sf|ec)x?tt\d", re.IGNORECASE)
_FIXED_PITCH, _FORCE_BOLD = 1 << 0, 1 << 18  # flags of a font descriptor, ISO 32000-1 table 123


@dataclass(frozen=True, slots=True)
class Line:
    """A run of words on one baseline without a wide gap: a printed line, or one cell's share of it.

    Lengths are points; the origin is the lower left corner of the page as it is read.
    """

    text: str
    size: float  # of the font
    left: float
    right: float
    base: float  # height of the baseline
    hyphen: bool = False  # its last word goes on in the next line
    bold: bool = False  # all of it
    mono: bool = False  # all of it is set in a typewriter's font
    turned: bool = False  # stands across the page: its place says nothing about its neighbours
    column: int = 0  # of the page, counted in reading order


@dataclass(frozen=True, slots=True)
class Rule:
    """A line drawn on the page, horizontal when it is wider than high."""

    left: float
    bottom: float
    right: float
    top: float

    @property
    def level(self) -> bool:
        return self.right - self.left > self.top - self.bottom


@dataclass(frozen=True, slots=True)
class Page:
    """What one page holds, lines in the order of its content."""

    lines: list[Line]
    rules: list[Rule]
    turn: int = 0  # quarter turns from the file's coordinates to the reader's


def read_page(page: Any) -> Page:
    """What a ``PdfPage`` holds. Raises PdfiumError when it cannot be read."""
    textpage = page.get_textpage()
    try:
        text = textpage.get_text_range()
        glyphs = _Glyphs(textpage.raw, text)
        rules = [] if glyphs.turn else _rules(page)
        return Page(_Reader(glyphs, rules).read(text), rules, glyphs.turn)
    finally:
        textpage.close()


def same_row(a: Line, b: Line) -> bool:
    return abs(a.base - b.base) < SAME_BASE * max(a.size, b.size)


def rows(lines: Iterable[Line]) -> list[list[Line]]:
    """The lines that stand on one height together, from the top of the page; each row from the left."""
    found: list[list[Line]] = []
    for line in sorted(lines, key=lambda line: -line.base):
        if found and same_row(found[-1][0], line):
            found[-1].append(line)
        else:
            found.append([line])
    return [sorted(row, key=lambda line: line.left) for row in found]


def without_typewriter(pages: Sequence[Page]) -> Sequence[Page]:
    """The pages with typewriter's lines as plain ones, where so much is set in it that it does not mean code."""
    lines = [line for page in pages for line in page.lines]
    mono = sum(len(line.text) for line in lines if line.mono)
    if mono <= TYPEWRITTEN * sum(len(line.text) for line in lines):
        return pages
    return [replace(page, lines=[part for line in page.lines for part in _plain(line)]) for page in pages]


def _plain(line: Line) -> list[Line]:
    """A typewriter's line cut at wide gaps; all its letters are equally wide, which tells where the parts stand."""
    if not line.mono:
        return [line]
    pitch = (line.right - line.left) / len(line.text)
    cells = [(match.start(), match.end()) for match in _CELL.finditer(line.text)]
    return [
        replace(
            line,
            text=one_line(line.text[start:end]),
            left=line.left + start * pitch,
            right=line.left + end * pitch,
            hyphen=line.hyphen and end == len(line.text),
            mono=False,
        )
        for start, end in cells
    ]


def body_size(pages: Sequence[Sequence[Line]]) -> float:
    """Font height of most of the text; 0 without text."""
    weights: Counter[float] = Counter()
    for page in pages:
        for line in page:
            weights[round(line.size * 2) / 2] += len(line.text)
    return weights.most_common(1)[0][0] if weights else 0.0


class _Word(NamedTuple):
    """A tuple, because a manual holds a million of them."""

    text: str
    first: int  # number of its first character
    left: float
    right: float
    bottom: float
    size: float


class _Glyphs:
    """Asks PDFium about the characters of a text page. Results are written into the same few cells each time."""

    def __init__(self, raw: Any, text: str) -> None:
        self._raw = raw
        self._x, self._y = ctypes.c_double(), ctypes.c_double()
        self._box = pdfium.FS_RECTF()
        self._name, self._flags = ctypes.create_string_buffer(128), ctypes.c_int()
        self._matrix = pdfium.FS_MATRIX()
        self._fonts: dict[tuple[bytes, int], tuple[bool, bool]] = {}
        self._sizes: dict[float, float] = {}  # by the height of the letters' boxes
        # Characters without a place in the text, or in it only, are rare; without them both are numbered alike.
        self._same_index = pdfium.FPDFText_CountChars(raw) == len(text)
        self.turn = self._turn(text)

    def word(self, text: str, start: int) -> _Word | None:
        """None for a word that PDFium made up, which stands nowhere."""
        first, last = self._index(start), self._index(start + len(text) - 1)
        if first < 0 or last < 0:
            return None
        left, bottom, right, top = self._place(first)
        if last != first:
            other_left, _, other_right, _ = self._place(last)
            left, right = min(left, other_left), max(right, other_right)
        return _Word(text, first, left, right, bottom, self._size(first, top - bottom))

    def turned(self, word: _Word) -> bool:
        """Whether it is not written in the page's direction."""
        return self._quarters(word.first) != self.turn

    def base(self, word: _Word) -> float:
        pdfium.FPDFText_GetCharOrigin(self._raw, word.first, self._x, self._y)
        return self._as_read(self._x.value, self._y.value)[1]

    def font(self, word: _Word) -> tuple[bool, bool]:
        """Whether it is bold, and whether all its letters are equally wide."""
        pdfium.FPDFText_GetFontInfo(self._raw, word.first, self._name, len(self._name), self._flags)
        key = self._name.value, self._flags.value
        if key not in self._fonts:
            name, flags = key[0].decode("latin-1"), key[1]
            bold = bool(flags & _FORCE_BOLD) or _BOLD.search(name) is not None
            self._fonts[key] = bold, bool(flags & _FIXED_PITCH) or _MONO.search(name) is not None
        return self._fonts[key]

    def _size(self, index: int, height: float) -> float:
        """The font's. A box may be much higher, as tall as the font's tallest letter, but it is cheap to get."""
        size = self._sizes.get(height)
        if size is None:
            pdfium.FPDFText_GetMatrix(self._raw, index, self._matrix)
            scale = math.hypot(self._matrix.c, self._matrix.d)
            size = self._sizes[height] = float(pdfium.FPDFText_GetFontSize(self._raw, index)) * scale or height
        return size

    def _turn(self, text: str) -> int:
        """The quarter turn in which most lines of the page are written."""
        votes: Counter[int] = Counter()
        for match in _PRINTED.finditer(text):
            votes[self._quarters(self._index(match.start()))] += len(match[0])
        return votes.most_common(1)[0][0] if votes else 0

    def _index(self, start: int) -> int:
        if self._same_index:
            return start
        return int(pdfium.FPDFText_GetCharIndexFromTextIndex(self._raw, start))

    def _quarters(self, index: int) -> int:
        angle: float = pdfium.FPDFText_GetCharAngle(self._raw, index)
        return round(angle / (math.pi / 2)) % 4

    def _place(self, index: int) -> tuple[float, float, float, float]:
        """Left, bottom, right and top as the reader sees them."""
        box = self._box
        pdfium.FPDFText_GetLooseCharBox(self._raw, index, box)
        if self.turn == 0:
            return box.left, box.bottom, box.right, box.top
        x1, y1 = self._as_read(box.left, box.bottom)
        x2, y2 = self._as_read(box.right, box.top)
        return min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2)

    def _as_read(self, x: float, y: float) -> tuple[float, float]:
        return ((x, y), (-y, x), (-x, -y), (y, -x))[self.turn]  # PDFium counts the turns clockwise


class _Reader:
    """Cuts PDFium's lines where cells of a table may end."""

    def __init__(self, glyphs: _Glyphs, rules: Sequence[Rule]) -> None:
        self._glyphs = glyphs
        self._uprights = [rule for rule in rules if not rule.level]

    def read(self, text: str) -> list[Line]:
        lines: list[Line] = []
        start = 0
        for end in _LINE_END.finditer(text):
            lines += self._line(text, start, end.start(), hyphen=end[0] == HYPHEN)
            start = end.end()
        return lines + self._line(text, start, len(text), hyphen=False)

    def _line(self, text: str, start: int, end: int, *, hyphen: bool) -> list[Line]:
        found = (self._glyphs.word(match[0], match.start()) for match in _TOKEN.finditer(text, start, end))
        words = [word for word in found if word is not None]
        if not words:
            return []
        turned = self._glyphs.turned(words[0])
        uprights = [rule.left for rule in self._uprights if rule.bottom - 1 <= words[0].bottom <= rule.top]
        wide = _wide_gap(words)
        cuts = [i for i in range(1, len(words)) if not turned and self._parts(words[i - 1], words[i], uprights, wide)]
        runs = [words[a:b] for a, b in pairwise([0, *cuts, len(words)])]
        lines = [self._made(run, turned, hyphen=hyphen and run is runs[-1]) for run in runs]
        return [line for line in lines if line.text]

    def _parts(self, last: _Word, word: _Word, uprights: Sequence[float], wide: float) -> bool:
        """Whether a line ends between the two, as where an upright rule parts the cells of a narrow table."""
        size = max(last.size, word.size)
        if abs(word.bottom - last.bottom) > OTHER_BASE * size:
            return True
        gap = _gap(last, word)
        if gap <= NARROW_GAP * size:
            return False
        if any(last.right - 1 <= x <= word.left + 1 for x in uprights):
            return True
        if gap <= max(WIDE_GAP * size, wide):
            return False
        both_mono = self._glyphs.font(last)[1] and self._glyphs.font(word)[1]
        return not both_mono or gap > MONO_GAP * _pitch(last)

    def _made(self, words: Sequence[_Word], turned: bool, *, hyphen: bool) -> Line:
        fonts = [self._glyphs.font(word) for word in (words[0], words[-1])]
        bold, mono = (all(font[which] for font in fonts) for which in (0, 1))
        if len(words) > 2 and (bold or mono):
            fonts = [self._glyphs.font(word) for word in words]
            bold, mono = (all(font[which] for font in fonts) for which in (0, 1))
        usual = _most_usual(words)
        return Line(
            text=_spaced(words) if mono else one_line(" ".join(word.text for word in words)),
            size=usual.size,
            left=min(word.left for word in words),
            right=max(word.right for word in words),
            base=self._glyphs.base(usual),
            hyphen=hyphen,
            bold=bold,
            mono=mono,
            turned=turned,
        )


def _most_usual(words: Sequence[_Word]) -> _Word:
    """A word in the font that most letters of the line have."""
    if len({word.size for word in words}) == 1:
        return words[0]
    weights: Counter[float] = Counter()
    for word in words:
        weights[word.size] += len(word.text)
    size = weights.most_common(1)[0][0]
    return next(word for word in words if word.size == size)


def _gap(last: _Word, word: _Word) -> float:
    """Points between two words, either way: some scripts run to the left."""
    return max(word.left - last.right, last.left - word.right)


def _wide_gap(words: Sequence[_Word]) -> float:
    """What is a wide gap in a line of prose that was stretched to the margin; 0 in other lines."""
    if len(words) < STRETCHED_WORDS or 2 * sum(word.text.isalpha() for word in words) < len(words):
        return 0.0
    return STRETCHED * median(_gap(last, word) for last, word in pairwise(words))


def _pitch(word: _Word) -> float:
    return (word.right - word.left) / len(word.text)


def _spaced(words: Sequence[_Word]) -> str:
    """Words of a typewriter's line with as many spaces between them as have room there."""
    parts = [words[0].text]
    for last, word in pairwise(words):
        pitch = _pitch(word) or 1.0
        parts.append(" " * max(1, min(round((word.left - last.right) / pitch), MONO_GAP)) + word.text)
    return visible("".join(parts)).strip()


def _rules(page: Any) -> list[Rule]:
    """The rules of a page, edges of frames and of coloured boxes included; none when it is a drawing."""
    count = pdfium.FPDFPage_CountObjects(page.raw)
    if count > MAX_OBJECTS:
        return []
    edges = [ctypes.c_float() for _ in range(4)]
    rules: list[Rule] = []
    for index in range(count):
        item = pdfium.FPDFPage_GetObject(page.raw, index)
        if pdfium.FPDFPageObj_GetType(item) != pdfium.FPDF_PAGEOBJ_PATH:
            continue
        if pdfium.FPDFPageObj_GetBounds(item, *edges):
            left, bottom, right, top = (edge.value for edge in edges)
            rules += _edges(Rule(left, bottom, right, top))
    return rules if len(rules) <= MAX_RULES else []


def _edges(box: Rule) -> list[Rule]:
    """The box itself if it is a rule, else its four sides; [] when it is too small for either."""
    width, height = box.right - box.left, box.top - box.bottom
    if max(width, height) < LONG:
        return []
    if min(width, height) < THIN:
        return [box]
    return [
        replace(box, bottom=box.top),
        replace(box, top=box.bottom),
        replace(box, right=box.left),
        replace(box, left=box.right),
    ]
