"""Part numbers and models by the label before or above them, and tables as rows of cells."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass

from ray_app.ingest.clean import names

MAX_LIST = 12  # identifiers in a row after one label
MAX_LABEL = 24  # characters
MAX_PLACES = 500  # of one label
MAX_ROWS = 2_000  # of one table

Table = list[list[str]]  # rows of cells, the header first

# Labels by how they end: the ends are few and quickly found, what stands before them decides.
_PART_LABELS: Mapping[str, tuple[str, ...]] = {
    " no": (
        "part no", "parts no", "item no", "article no", "art. no", "product no", "stock no", "catalog no", "order no",
    ),
    " number": (
        "part number", "parts number", "item number", "article number", "product number", "stock number",
        "catalog number", "catalogue number", "order number",
    ),
    " code": ("part code", "item code", "product code", "stock code", "order code", "ordering code"),
    " #": ("part #", "item #"),
    "p/n": ("p/n",),
    "mpn": ("mpn",),
    "sku": ("sku",),
    "nummer": (
        "artikelnummer", "bestellnummer", "bestelnummer", "teilenummer", "ersatzteilnummer", "materialnummer",
        "onderdeelnummer", "varenummer", "reservdelsnummer",
    ),
    "nr": (
        "artikel-nr", "artikel nr", "artikelnr", "art.-nr", "art.nr", "art. nr", "bestell-nr", "bestellnr", "teile-nr",
    ),
    "codice": ("codice",),
    "ref.": ("ref.",),
    "ref:": ("ref:",),
}  # fmt: skip
_ACCENTED_PART_LABELS: Mapping[str, tuple[str, ...]] = {
    "rence": ("référence",),
    "réf": ("réf",),
    "pièce": ("numéro de pièce",),
    "article": ("numéro d'article", "numéro d’article"),
    "pieza": ("número de pieza",),
    "parte": ("número de parte",),
    "artículo": ("número de artículo", "código de artículo"),
    "código": ("código",),
    "referência": ("referência",),
    "części": ("numer części",),
}
_FOREIGN_PART_LABELS: Mapping[str, tuple[str, ...]] = {
    "артикул": ("артикул",),
    "детали": ("номер детали",),
    "品番": ("品番",),
    "番号": ("部品番号", "商品番号", "製品番号"),
    "コード": ("部品コード", "商品コード"),
    "번호": ("부품 번호", "부품번호"),
    "품번": ("품번",),
    "件号": ("零件号", "部件号"),
    "编号": ("零件编号", "产品编号"),
    "編號": ("零件編號", "產品編號"),
    "料号": ("料号",),
    "料號": ("料號",),
    "מק": ("מק",),
    "חלק": ("מספר חלק",),
    "קטלוגי": ("מספר קטלוגי",),
    "القطعة": ("رقم القطعة",),
    "الجزء": ("رقم الجزء",),
}
# After these a colon, a number sign or the next cell of a table must follow: they are words of other meanings too.
_MARKED = names("codice référence réf código referência") | {"order number"}
_TO_PART = re.compile(
    r"(?:[\"״'׳]?ט|s)?(?![^\W\d_])[.)]{0,2}[ \t]?(?:\([^()\n]{1,12}\))?[ \t]?([:：#=|№]?)[ \t:|*`\"“(]{0,4}"
)
_PART = re.compile(r"(?=[A-Za-z./-]{0,12}[0-9])[A-Za-z0-9](?:[A-Za-z0-9]|[./-](?=[A-Za-z0-9])){2,23}(?![\w%])")
_NO_PART = re.compile(
    r"[a-z]{3}|[0-9]{1,2}[./-][0-9]{1,2}[./-][0-9]{2,4}$|[0-9]+\.[0-9]{1,2}$|.*\.(?:com|pdf|html?|zip)$"
)
_NEXT = re.compile(r"[ \t]{0,2}(?:[,;/–-]|\b(?:and|or|to|und|oder|bis|et|ou|à|y|o|e|a)\b|、|～)[ \t]{0,2}")
_FOREIGN_MODELS = names("модель 型番 型号 型號 モデル 機種 모델 דגם الطراز الموديل")
_TO_MODEL = re.compile(
    r"(?i:l|le|e|lo|o|s)?(?: ?(?i:(?:no|nr|number|nummer)\b\.?[ \t]?[:：#=|№]?|(?:name|code|名)?[ \t]?[:：#=|№]))"
    r"[ \t|`*\"“]{0,4}([A-Z0-9][A-Za-z0-9]{0,15}(?:[-/][A-Za-z0-9]{1,12}){0,3})(?![A-Za-z0-9_]|[.-][A-Za-z0-9])"
)
_FOREIGN = re.compile("[\u0400-\u1fff\u3040-\uffef]")
_TABLE = re.compile(r"\|(?<![^\n]\|)[^\n]*\n\|[-|: ]+\n(?:\|[^\n]*(?:\n|\Z))+")
_CELL_END = re.compile(r"(?<!\\)\|")


@dataclass(frozen=True, slots=True)
class Lines:
    """Text to search, and the same in lower case at the same positions."""

    text: str
    lower: str
    accented: bool  # it holds more than ASCII
    foreign: bool  # it holds another script than Latin

    @classmethod
    def of(cls, text: str) -> Lines:
        accented = not text.isascii()
        return cls(text, folded(text), accented, accented and _FOREIGN.search(text) is not None)


def part_numbers(lines: Lines) -> list[str]:
    """Numbers that follow their label in a line, alone or in a row; with repeats."""
    text = lines.text
    found: list[str] = []
    for at, label in _labels(lines):
        match = _TO_PART.match(text, at)
        if match and (match[1] or label not in _MARKED):
            found.extend(in_a_row(text, match.end(), _PART, _is_part))
    return found


def listed_parts(tables: Iterable[Table]) -> list[str]:
    """Numbers in columns under their label."""
    columns = [column for table in tables for column in zip(*table, strict=True)]
    return [
        cell
        for header, *cells in columns
        if any(True for _ in _labels(Lines.of(header)))
        for cell in cells
        if _PART.fullmatch(cell) and _is_part(cell)
    ]


def labelled_models(lines: Lines) -> list[str]:
    """What follows "Model:", "Model no." and the like; with repeats."""
    words = ("model", "modèle", *_FOREIGN_MODELS) if lines.foreign else ("model", "modèle")
    matches = (_TO_MODEL.match(lines.text, at) for word in words for at in places(lines.lower, word))
    return [match[1] for match in matches if match and any(character.isdigit() for character in match[1])]


def _labels(lines: Lines) -> Iterator[tuple[int, str]]:
    """Where each label of a part number ends, and which it is."""
    lower = lines.lower
    for table in (
        _PART_LABELS,
        _ACCENTED_PART_LABELS if lines.accented else {},
        _FOREIGN_PART_LABELS if lines.foreign else {},
    ):
        for end, labels in table.items():
            for at in places(lower, end):
                before = lower[max(0, at - MAX_LABEL) : at]
                label = next((label for label in labels if before.endswith(label)), "")
                if label and not (before[-len(label) - 1 : -len(label)].isalpha() and label.isascii()):
                    yield at, label


def _is_part(value: str) -> bool:
    return sum(character.isdigit() for character in value) >= 2 and not _NO_PART.search(value)


def in_a_row(text: str, at: int, value: re.Pattern[str], good: Callable[[str], bool]) -> Iterator[str]:
    """The values that follow one another from here on."""
    for _ in range(MAX_LIST):
        match = value.match(text, at)
        if match is None or not good(match[0]):
            return
        yield match[0]
        gap = _NEXT.match(text, match.end())
        if gap is None:
            return
        at = gap.end()


def places(lower: str, word: str) -> Iterator[int]:
    """Where each occurrence of ``word`` ends."""
    at = lower.find(word)
    for _ in range(MAX_PLACES):
        if at < 0:
            return
        at += len(word)
        yield at
        at = lower.find(word, at)


def folded(text: str) -> str:
    """``text`` in lower case, at the same positions."""
    lower = text.lower()
    return lower if len(lower) == len(text) else "".join(low if len(low := c.lower()) == 1 else c for c in text)


def tables_in(text: str) -> list[Table]:
    """The tables in Markdown, each row as wide as its header."""
    if "|-" not in text:
        return []
    return [_rows(match[0].split("\n")[:MAX_ROWS]) for match in _TABLE.finditer(text)]


def _rows(lines: Sequence[str]) -> Table:
    header, _, *rows = (_cells(line) for line in lines if line)
    return [header, *((row + [""] * len(header))[: len(header)] for row in rows)]


def _cells(row: str) -> list[str]:
    return [cell.replace("\\|", "|").strip(" `*") for cell in _CELL_END.split(row.strip().strip("|"))]
