"""Error codes in text: after a word for errors, on a display, in lists and tables of errors."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from ray_app.ingest.clean import names
from ray_app.ingest.facts.designations import is_code_name, is_standard
from ray_app.ingest.facts.labels import Lines, Table, folded, in_a_row, places

MAX_CONTEXT = 60  # characters on each side in which a word says that a display shows a code
MAX_ENDING = 4  # letters after the stem of a word for errors
MAX_CODE_BEFORE = 10  # characters: E1 error
NO_DIGITS = 99  # more than any code has

# How words that announce an error begin, in lower case; "code" counts where one of the others stands in the document.
_ERRORS = ("err", "fehler", "fault", "alarm", "fout", "felkod", "fejl", "virhe", "hibak", "chyb")
_FOREIGN_ERRORS = ("ошибк", "помилк", "エラー", "错误", "錯誤", "오류", "에러", "שגיא", "תקלה", "خطأ", "خطا")
_ACCENTED_ERRORS = ("błąd", "błęd")
_TO_CODE = re.compile(
    r"([^\W\d_]{0,14}+(?:[ -](?:codes?|no|nr|num|number|n[°º]|message|kode|kod|código|codigo|codice|番号|コード)\b)?+)"
    r"([ \t.:：#-]{0,3}[ \t|(\[\"'“„«「`*=:]{0,4})",
    re.IGNORECASE,
)
_CODE = re.compile(
    r"(?:0x[0-9A-Fa-f]{2,8}|[A-Z]{1,5}[-_:.]?[0-9]{1,5}[A-Z]?(?:[-.][0-9A-Z]{1,4}){0,2}|[0-9][0-9A-F]{3}"
    r"|[0-9]{1,5}(?:[.-][0-9A-F]{1,5}){0,2})(?![A-Za-z0-9_%°]|[.:,][0-9])"
)
_CODE_BEFORE = re.compile(r"(?<![\w.,-])((?:E(?:[rR]{1,2})?|[FHU])[-:.]?[0-9]{1,4})[ -]\Z")
# At the start of a line or of the row of a table, and followed by what it means.
_CODE_FIRST = re.compile(
    r"^[\s>*_`#|-]{0,8}(0x[0-9A-F]{2,8}|[A-Z]{1,4}[-:. ]?[0-9]{1,4}[A-Z]?)[`* ]{0,4}(?=[|:–—=-]|$)", re.MULTILINE
)
_ON_DISPLAY = re.compile(r"E(?<![\w-]E)(?:[Rr]{1,2})?(?:-[0-9]{1,3}|[:.]?[0-9]{2,3})(?![A-Za-z0-9_%-])")
_SHOWING = re.compile(
    r"display|shows?\b|appear|blink|flash|screen|anzeig|erschein|leuchte|affich|appara[iî]|clignot|muestra|aparec|parpade"
    r"|pantalla|lampegg|visualizz|表示|点滅|显示|표시|מופיע|מציג|מהבהב|צג|يظهر|تظهر|شاشة"
)
_ERR = re.compile(r"err(?:ors?|eurs?|or[ei]|os?|no)?(?:[ -]?(?:code|kode)s?)?(?: .*)?", re.IGNORECASE)
_SURE = names("err fehler エラー 错误 錯誤 오류 에러 שגיא ошибк błąd code")
_CODE_WORDS = ("code", "codes", "コード", "番号", "代码", "代碼", "코드", "번호")
_PLAIN_GAPS = frozenset(("", ":", ".", "#", "-"))
_ERROR_WORD = re.compile(
    "|".join([*(rf"(?<![^\W\d_]){word}" for word in _ERRORS), *_ACCENTED_ERRORS, *_FOREIGN_ERRORS])
)
_CODE_HEADERS = names("code codes display anzeige affichage código codice コード 表示 代码 코드 קוד تعريف رمز")
_MEANING = re.compile(
    r"meaning|cause|description|remedy|solution|action|bedeutung|ursache|abhilfe|signification|cause|remède|significado"
    r"|causa|solución|soluzione|意味|原因|対処|处理|의미|원인|משמעות|סיבה|פתרון|المعنى|السبب"
)
_HRESULT = re.compile(r"0x(?!80000000)[8C]0[0-9A-Fa-f]{6}(?!\w)")


def error_codes(lines: Lines, *, listed: bool) -> list[str]:
    """Codes named as errors or shown on a display, with repeats; digits alone keep the word before them (ERR 99).

    ``listed`` says that the heading above ``lines`` speaks of errors, so that codes at the start of a line are such.
    """
    text, lower = lines.text, lines.lower
    words = _ERRORS + _ACCENTED_ERRORS * lines.accented + _FOREIGN_ERRORS * lines.foreign
    found = [code for word in words for at in places(lower, word) for code in _announced(text, at - len(word), word)]
    named = listed or any(word in lower for word in words)
    for at in places(text, "Code "):
        if text[at - 6 : at - 5] == "(" or (named and _opens_line(text, at - 5)):
            found += _announced(text, at - 5, "code")
    if "E" in text:
        found += [
            m[0]
            for m in _ON_DISPLAY.finditer(text)
            if _SHOWING.search(lower, max(0, m.start() - MAX_CONTEXT), m.end() + MAX_CONTEXT)
        ]
    if "0x" in text:
        found += _HRESULT.findall(text)
    if listed:
        found += [match[1] for match in _CODE_FIRST.finditer(text)]
    return [code for code in found if not is_standard(code)]


def listed_errors(tables: Iterable[Table]) -> list[str]:
    """Codes in columns under a heading that speaks of errors, or of codes beside one that speaks of their meaning."""
    found: list[str] = []
    for header, *rows in tables:
        explained = any(_MEANING.search(folded(cell)) for cell in header)
        for column, name in enumerate(header):
            if not is_error_heading(name) and not (explained and folded(name) in _CODE_HEADERS):
                continue
            codes = [row[column] for row in rows if _CODE.fullmatch(row[column])]
            found += [f"{name} {code}" if code.isdigit() else code for code in codes if len(code) > 1]
    return found


def is_error_heading(text: str) -> bool:
    """Whether a heading, of a section or a column, speaks of errors."""
    lower = folded(text)
    words = _ERRORS if lower.isascii() else _ERRORS + _ACCENTED_ERRORS + _FOREIGN_ERRORS
    return any(word in lower for word in words) and _ERROR_WORD.search(lower) is not None


def _announced(text: str, at: int, word: str) -> Iterator[str]:
    """The codes after the word at this place."""
    if word.isascii() and word != "fehler" and text[at - 1 : at].isalpha():  # German joins it: Systemfehler
        return
    start = _TO_CODE.match(text, at)
    if before := _CODE_BEFORE.search(text, max(0, at - MAX_CODE_BEFORE), at):
        yield before[1]
    if start is None:
        return
    label, gap = start.groups()
    if is_code_name(label) or not _fits(word, label) or ("|" in gap and not _opens_line(text, at)):
        return
    for code in in_a_row(text, start.end(), _CODE, bool):
        if any(character.isalpha() for character in code):
            yield code
        elif len(code) > _digits_needed(word, label) and "|" not in gap:
            yield label + (gap if gap.strip() in _PLAIN_GAPS else " ") + code


def _fits(word: str, label: str) -> bool:
    """Whether a label is the word with an ending, and not the rest of a sentence in a script without spaces."""
    if word >= "\u3000":
        return label == word or label.endswith(_CODE_WORDS)
    if word == "err":
        return _ERR.fullmatch(label) is not None
    return word.isascii() or len(label) <= len(word) + MAX_ENDING


def _digits_needed(word: str, label: str) -> int:
    """How many digits alone are too few to be a code: "Err 5" and "error code 5" are codes, "error 5" is not."""
    if " " in label or label.endswith(_CODE_WORDS) or len(label) <= 3:
        return 0
    return 1 if word in _SURE and not label.endswith("ors") else NO_DIGITS


def _opens_line(text: str, at: int) -> bool:
    """Whether a line opens right before this place: "Code 43", unlike "Zip Code 12345"."""
    return not text[max(0, at - 2) : at].strip(" |*`-\n")
