"""Which legacy encoding undeclared bytes are in, told from the letters that each encoding makes of them.

A wrong encoding shows: letters that no language uses together, capitals inside words, signs between letters, rare
ideographs. charset-normalizer was measured and not taken: of 3,633 passages in 15 legacy encodings
(benchmarks/conformance.py) it read 83% as they were meant, this 99.8%.
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from functools import lru_cache
from itertools import pairwise
from typing import Final, NamedTuple

from ray_app.ingest.clean import names

LOOKED_AT_BYTES = 256 * 1024  # the first legacy letters of a page stand in here, or it has too few to matter
SAMPLE_BYTES = 8 * 1024  # of words with legacy letters: plenty for statistics, and 10 ms of work
FEW_BYTES = 4  # each of fewer has to be right
FALLBACK = "cp1252"  # what the HTML standard assumes of a page that says nothing

_ENOUGH = 0.3  # a score below this is no evidence, and a page of the FALLBACK has at least its dashes and quotes
_ENOUGH_OF_FEW = 0.9
_MARGIN = 0.12  # by which another encoding must beat the FALLBACK, which is far the most frequent,
_MARGIN_BYTES = 20  # if there are no more legacy bytes than these; the more there are, the less they need it,
_LEAST_MARGIN = 0.04  # but never without
_HINT = 0.25  # what the page's own lang attribute is worth
_IN_WORD = -1.0  # a sign between letters, a capital after a small letter
_FOREIGN = -0.5  # a letter of another alphabet, or one of the rarest
_SELDOM = 0.35
_QUOTE = 0.5  # quotes and dashes fit any language, so they say less than a letter
_CAPITAL = 0.6  # of what the small letter is worth: an encoding that turns the case round is a wrong one


class _Language(NamedTuple):
    common: str  # letters beyond ASCII that make up most of its text
    seldom: str = ""


_LANGUAGES: Final = {
    "de": _Language("äöüß"),
    "fr": _Language("éèàêçùâîôûëïœ"),
    "es": _Language("áéíóúñ", "üºª"),
    "pt": _Language("ãçáéíóúâêôõà", "üºª"),
    "it": _Language("àèéìòù"),
    "da": _Language("æøå", "éäö"),
    "sv": _Language("åäö", "éü"),
    "nl": _Language("ëéïöü"),
    "is": _Language("áðéíóúþæö", "ý"),
    "ca": _Language("àèéíïòóúüç"),
    "pl": _Language("ąćęłńóśźż"),
    "cs": _Language("áčéěířšůýž", "ďňóťú"),
    "sk": _Language("áčéíľšťúýž", "äďĺňóôŕ"),
    "hu": _Language("áéíóöőúüű"),
    "ro": _Language("ăâîşţ"),
    "hr": _Language("čćđšž"),
    "tr": _Language("çğıöşü", "âîûİ"),
    "lt": _Language("ąčęėįšųūž"),
    "lv": _Language("āčēģīķļņšūž"),
    "et": _Language("äöüõ", "šž"),
    "ru": _Language("оеаинтсрвлкмдпуяыьгз", "бчйхжшюцщэф"),
    "uk": _Language("оаинвіерткслдмпуяьзг", "бйчхжшюцїщєф"),
    "bg": _Language("аоиентрсвлкдпмъзяубг", "чщйхжшюцьф"),
    "el": _Language("αοιετνσηυρπκμλςόάίέή", "γδθωβχφξζώύ"),
    "he": _Language("יוהלארתבשמנדחעם", "קפגטכסזצןךףץ"),
    "ar": _Language("اليمونرتهبدعسةفكأقح", "جشصخطذإىضزثئءغظآپچژگ،؛؟"),
    "th": _Language("านรอกเงมยลวดทสตะบคหัี่้ิ์ืุ", "ปแจพชขใไโผซถณธญฐศษภฆฯๆำึู็๊"),
}
_LATIN: Final = names("de fr es pt it da sv nl is ca pl cs sk hu ro hr tr lt lv et")

# Encodings of one byte per letter, the likelier first among those that score alike.
_SINGLE: Final = {
    "cp1252": "de fr es pt it da sv nl is ca et",
    "cp1251": "ru uk bg",
    "koi8-r": "ru",
    "koi8-u": "uk",
    "cp1250": "pl cs sk hu ro hr",
    "iso8859-2": "pl cs sk hu ro hr",
    "cp1255": "he",
    "cp1256": "ar",
    "iso8859-6": "ar",
    "cp1253": "el",
    "iso8859-7": "el",
    "cp1254": "tr",
    "cp1257": "lt lv et",
    "cp874": "th",
    "iso8859-5": "ru uk bg",
    "cp866": "ru",
}


class _Wide(NamedTuple):
    language: str
    table: str  # codec whose first byte tells how common a character is
    ranks: tuple[tuple[int, int, float], ...]  # first byte from, to, worth
    frequent: str = ""  # characters that make up a third of its text or more


# Rows of Korean syllables are rows of everyday Chinese ideographs too; a handful of characters is told by the frequent.
_KOREAN: Final = (
    "이다는을의에가고하로지사도기를한은시으라있니리어자나정수서대보제인일해그스용음전만여오부면동아트주상합드우"
)
_CHINESE: Final = (
    "的一是不了在有人这中大为上个我以要他时来用们生到作地于出就分对成会可主发动同也能下过子说面而方后多定行法所得"
    "进等部度如自理小现实加都体制机当使点本好应开合其前全表间与关各重新内数明或但第系最通提程文件设管统接"
)
_TRADITIONAL: Final = (
    "的一是不了在有人這中大為上個我以要他時來用們生到作地於出就分對成會可主發動同也能下過子說面而方後多定行法所得"
    "進等部度如自理小現實加都體制機當使點本好應開合其前全表間與關各重新內數明或但第系最通提程文件設管統接"
)

# The national standards put kana, syllables and everyday ideographs into rows of their own.
_JAPANESE: Final = ((0xA4, 0xA5, 1.0), (0xB0, 0xCF, 0.6), (0xA1, 0xA3, 0.3), (0xD0, 0xF4, -0.3))
_WIDE: Final = {
    "cp932": _Wide("ja", "euc_jp", _JAPANESE),
    "euc_jp": _Wide("ja", "euc_jp", _JAPANESE),
    "cp949": _Wide("ko", "euc_kr", ((0xB0, 0xC8, 0.7), (0xA1, 0xA3, 0.3), (0xCA, 0xFD, -0.4)), _KOREAN),
    "gb18030": _Wide("zh", "gb2312", ((0xB0, 0xD7, 0.7), (0xA1, 0xA3, 0.3), (0xD8, 0xF7, -0.2)), _CHINESE),
    "big5hkscs": _Wide("zh", "big5", ((0xA4, 0xC6, 0.7), (0xA1, 0xA3, 0.3), (0xC9, 0xF9, -0.3)), _TRADITIONAL),
}
_OUTSIDE = -0.5  # a character that the national standard does not have
_PAIRED = 0.05  # bytes that form pairs all along do so by chance less often than letters look right by chance

# No character has a byte below "0" in it, nor one from ":" to "?": words may be cut there.
_WORD = re.compile(rb"[\x30-\x39\x40-\xff]+")
_HTML_LANG = re.compile(rb"<html\s[^>]*?lang\s*=\s*[\"']?\s*([A-Za-z]{2})", re.IGNORECASE)
_UNUSUAL = frozenset("Ť")  # begins next to no word, and is what ISO-8859-2 makes of every «
_QUOTES = frozenset("\u00a0«»“”„‘’‚–—…·•\u00ad")  # stand beside words of any language
_MARKS = frozenset("©®™°§€£¿¡¶×")  # likewise, but not right beside a letter that is not ASCII
_JAPANESE_ESCAPES = (b"\x1b$B", b"\x1b$@", b"\x1b(J")


def guess(body: bytes) -> str:
    """Python's name of the likeliest encoding of ``body``, which is not UTF-8 and names none. Looks at a sample."""
    sample = _sample(body)
    said = _HTML_LANG.search(body[:4096])
    lang = said[1].decode("ascii").lower() if said else ""
    # Dashes and quotes by themselves are what the FALLBACK has them for; a few of them fit letters of anything else.
    if not any(_kind(c) != " " and c not in _MARKS for c in sample.decode(FALLBACK, "replace") if c > "\x7f"):
        return FALLBACK
    scores = {name: _single_score(sample, name, lang) for name in _SINGLE}
    scores |= {name: _wide_score(sample, name, lang) for name in _WIDE}
    legacy = sum(byte > 0x7F for byte in sample)
    scores[FALLBACK] += max(_LEAST_MARGIN, _MARGIN * min(1.0, _MARGIN_BYTES / legacy))
    best = max(scores, key=lambda name: scores[name])
    return best if scores[best] >= (_ENOUGH_OF_FEW if legacy < FEW_BYTES else _ENOUGH) else FALLBACK


def is_japanese_mail(body: bytes) -> bool:
    """Whether an ASCII ``body`` holds the escape sequences of ISO-2022-JP."""
    return b"\x1b" in body and any(mark in body for mark in _JAPANESE_ESCAPES)


def _sample(body: bytes) -> bytes:
    """The words that hold legacy letters, joined by spaces. A byte by itself (a dash, a sign) tells nothing."""
    pieces: list[bytes] = []
    room = SAMPLE_BYTES
    for match in _WORD.finditer(body[:LOOKED_AT_BYTES]):
        if len(match[0]) > 1 and not match[0].isascii():
            pieces.append(match[0][:room])
            room -= len(pieces[-1]) + 1
        if room <= 0:
            break
    return b" ".join(pieces)


def _single_score(sample: bytes, name: str, lang: str) -> float:
    """Of the language that fits best. Letters are judged by frequency, their neighbours by what can stand together."""
    text = sample.decode(name, "replace")
    letters = Counter(c for c in text if c > "\x7f")
    total = letters.total()
    languages = _SINGLE[name].split()
    clashes = _clashes(text, latin=languages[0] in _LATIN)
    worth = max(_worth(letters, code) / total + (_HINT if code == lang else 0.0) for code in languages)
    return worth + clashes / total


def _worth(letters: Counter[str], code: str) -> float:
    return sum(count * _letter(c, _LANGUAGES[code]) for c, count in letters.items())


def _letter(char: str, language: _Language) -> float:
    if char in _QUOTES or char in _MARKS:
        return _QUOTE
    small = char.lower()
    if char in _UNUSUAL:
        return _FOREIGN
    if small in language.common:
        return 1.0 if small == char else _CAPITAL
    if small in language.seldom:
        return _SELDOM if small == char else _SELDOM * _CAPITAL
    return _FOREIGN


def _clashes(text: str, latin: bool) -> float:
    """What neighbours say against the text: at most a few points for each letter beyond ASCII."""
    pairs = Counter(pair for pair in pairwise(text) if pair[0] > "\x7f" or pair[1] > "\x7f")
    return sum(count * _clash(*pair, latin) for pair, count in pairs.items()) + _controls(text)


@lru_cache(maxsize=65_536)
def _clash(first: str, second: str, latin: bool) -> float:
    a, b = _kind(first), _kind(second)
    if a == "l" and b == "U":
        return _IN_WORD
    beside = (a == "m" and b in "lUo" and second > "\x7f") or (b == "m" and a in "lUo" and first > "\x7f")
    if beside or ("s" in (a, b) and a != " " and b != " "):
        return _IN_WORD
    if a in "lUo" and b in "lUo":
        mixed = (first > "\x7f") != (second > "\x7f")
        # Latin words have ASCII letters and a few others among them, words of other scripts have none at all.
        return (0.0 if mixed else _IN_WORD / 3) if latin else (_IN_WORD if mixed else 0.0)
    return 0.0


@lru_cache(maxsize=65_536)
def _kind(char: str) -> str:
    """l and U: small and capital letters; o: other letters; m: marks; s: signs; a space: what separates words."""
    if char in _MARKS:
        return "m"
    if char in _QUOTES:
        return " "
    category = unicodedata.category(char)
    if category in ("Ll", "Lu"):
        return "l" if category == "Ll" else "U"
    if category[0] in "LM":
        return "o"
    return "s" if char > "\x7f" else " "


def _controls(text: str) -> float:
    """C1 controls and bytes without a meaning: no text has them."""
    return -3.0 * sum(1 for c in text if "\x80" <= c <= "\x9f" or c == "\ufffd")


def _wide_score(sample: bytes, name: str, lang: str) -> float:
    text = sample.decode(name, "replace")
    wide = Counter(c for c in text if c > "\x7f")
    total = wide.total()
    if not total or wide["\ufffd"] * 100 > total:
        return -1.0
    encoding = _WIDE[name]
    worth = sum(count * _rank(c, encoding) for c, count in wide.items())
    return worth / total + _PAIRED + (_HINT if encoding.language == lang else 0.0)


def _rank(char: str, encoding: _Wide) -> float:
    if char in encoding.frequent:
        return 1.0
    raw = char.encode(encoding.table, "ignore")
    if len(raw) != 2:
        return _OUTSIDE
    return next((worth for low, high, worth in encoding.ranks if low <= raw[0] <= high), _OUTSIDE)
