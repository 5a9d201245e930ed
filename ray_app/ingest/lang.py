"""Which language a text is written in: by its script where that says it, else by a model of byte n-grams.

The model (py3langid, naive Bayes, inside its package) needs no network. It takes a second and 110 MB to load, once a
process, and half a millisecond a document.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from functools import cache
from heapq import nlargest
from threading import Lock
from typing import Protocol

from ray_app.ingest.clean import names
from ray_app.records import Section

SAMPLE_CHARS = 600  # that are judged; more cost time and change no verdict
SAMPLE_PIECES = 6  # sections they come from: one may be a notice in another language
RAW_SHARE = 3  # characters read for each one wanted, since code, tables and addresses are left out
SCRIPT_SHARE = 0.3  # of the letters: pages in Hebrew or Thai are full of Latin names and terms
KANA_SHARE = 0.05  # of kana and Han: Chinese pages borrow a kana at most in a name
LETTERS_OF_EAST_ASIA = 3  # a Han character, kana or Hangul syllable says as much as so many letters
# A shorter text does not speak against its declaration, nor for itself when there is none.
MIN_LETTERS = 30
MIN_SCRIPT_LETTERS = 8  # the same for a script that few languages share
CLEAR = 0.8  # how sure the model must be to overrule a declaration
LIKELY = 0.5  # how sure where there is none

# Written on support sites; the model's others (Old Hebrew, Nigerian Pidgin...) are only ever mistakes there.
_LANGUAGES = names(
    "af am ar az be bg bn bs ca cs cy da de el en eo es et eu fa fi fr ga gl gu he hi hr hu hy id is it ja ka kk km kn "
    "ko ku ky la lb lo lt lv mk ml mn mr ms mt my ne nl nn no pa pl ps pt ro ru si sk sl sq sr sv sw ta te tg th tk tl "
    "tr tt ug uk ur uz vi zh zxx"
)
_NO_LANGUAGE = "zxx"  # the model's class of numbers, codes and markup
_SAME = {"iw": "he", "in": "id", "ji": "yi", "jw": "jv", "mo": "ro", "nb": "no", "fil": "tl", "cmn": "zh", "arb": "ar"}
_UNSAID = names("und mul mis zxx xx")
# Too near to one another for a page of text to overrule what its author says.
_NEAR = tuple(map(names, ("bs hr sr", "id ms", "no nn", "zh yue wuu")))

_ARABIC = "ar fa ur ps ug ku sd ckb"
_HAN = "zh yue wuu ja"
_KANA = "ja"
_HANGUL = "ko"
_LATIN = ""  # says nothing
# Blocks by first and last code point, with what is written in them, most likely first.
_BLOCKS = (
    (0x0370, 0x03FF, "el"),
    (0x0400, 0x052F, "ru uk bg sr mk be kk ky mn tg tt uz ba os ce cv"),
    (0x0530, 0x058F, "hy"),
    (0x0590, 0x05FF, "he yi"),
    (0x0600, 0x077F, _ARABIC),
    (0x0900, 0x097F, "hi mr ne sa"),
    (0x0980, 0x09FF, "bn as"),
    (0x0A00, 0x0A7F, "pa"),
    (0x0A80, 0x0AFF, "gu"),
    (0x0B00, 0x0B7F, "or"),
    (0x0B80, 0x0BFF, "ta"),
    (0x0C00, 0x0C7F, "te"),
    (0x0C80, 0x0CFF, "kn"),
    (0x0D00, 0x0D7F, "ml"),
    (0x0D80, 0x0DFF, "si"),
    (0x0E00, 0x0E7F, "th"),
    (0x0E80, 0x0EFF, "lo"),
    (0x0F00, 0x0FFF, "bo dz"),
    (0x1000, 0x109F, "my"),
    (0x10A0, 0x10FF, "ka"),
    (0x1100, 0x11FF, _HANGUL),
    (0x1200, 0x139F, "am ti"),
    (0x1780, 0x17FF, "km"),
    (0x1F00, 0x1FFF, "el"),
    (0x3040, 0x30FF, _KANA),
    (0x3130, 0x318F, _HANGUL),
    (0x3400, 0x9FFF, _HAN),
    (0xAC00, 0xD7AF, _HANGUL),
    (0xFB50, 0xFDFF, _ARABIC),
    (0xFE70, 0xFEFF, _ARABIC),
    (0xFF60, 0xFF9F, _KANA),
)
_SCRIPTS = {row: langs for first, last, langs in _BLOCKS for row in range(first >> 4, (last >> 4) + 1)}
_EAST_ASIAN = frozenset((_HAN, _KANA, _HANGUL))
_ALSO_LATIN = names("sr az kk uz ku tt tk mn tg ky")
_NEVER_LATIN = frozenset(lang for _, _, langs in _BLOCKS for lang in langs.split()) - _ALSO_LATIN

_FENCED = re.compile(r"^(`{3,}|~{3,}).*?(?:^\1|\Z)", re.DOTALL | re.MULTILINE)
# Code in a line, and words of ASCII that are addresses, identifiers or numbers. The look-behind keeps it linear.
_NOT_PROSE = re.compile(r"`[^`\n]*`|(?<![!-^a-~])[!-^a-~]*[\d_@/\\<>={}\[\]|#*][!-~]*")
_PRIMARY = re.compile(r"[a-z]{2,3}(?=$|[-_])")
_loading = Lock()


class _Model(Protocol):
    def set_languages(self, langs: frozenset[str]) -> None: ...

    def rank(self, text: str) -> list[tuple[str, float]]:
        """Every language with its probability, best first."""
        ...


def detect(source: str | Sequence[Section], declared: str) -> str:
    """BCP 47 primary tag of the language of ``source``, or "" when nothing is known.

    ``declared`` is what the document says of itself, in any case, with or without a region, or "". It is believed
    unless the text clearly speaks against it, as on a German page of a site whose software says ``en`` everywhere;
    a short text never does. Norwegian is ``no`` unless it is declared ``nn``. May be called from several threads.
    """
    said = primary(declared)
    text = _sample([source] if isinstance(source, str) else [section.text for section in source])
    script, letters = _script(text)
    if script == _LATIN:
        return _latin(text, said, letters)
    langs = script.split()
    known = _LANGUAGES.intersection(langs)
    if letters < MIN_SCRIPT_LETTERS:
        return said or (langs[0] if len(langs) == 1 else "")
    if said in langs:
        return said if letters < MIN_LETTERS or len(known) < 2 else _checked(text, said, known)
    return langs[0] if len(known) < 2 else _best(text, known)[0] or langs[0]


def primary(tag: str) -> str:
    """The primary language of a tag such as ``pt-BR`` in its present-day spelling, "" when it names none."""
    match = _PRIMARY.match(tag.strip().lower())
    lang = _SAME.get(match[0], match[0]) if match else ""
    return "" if lang in _UNSAID else lang


def _latin(text: str, said: str, letters: int) -> str:
    if letters < MIN_LETTERS:
        return said
    if said:
        return _checked(text, said, _LANGUAGES - _NEVER_LATIN)
    found, sure = _best(text, _LANGUAGES - _NEVER_LATIN)
    return found if sure >= LIKELY else ""


def _checked(text: str, said: str, langs: frozenset[str]) -> str:
    """``said`` unless the model is sure of another. One that it does not know is no default of some software."""
    if said not in _LANGUAGES:
        return said
    found, sure = _best(text, langs)
    return found if found and sure >= CLEAR and said not in _near(found) else said


def _best(text: str, langs: frozenset[str]) -> tuple[str, float]:
    """The likeliest of ``langs``, "" when it is none, and how probable it or one too near to tell is among them."""
    shares = {lang: share for lang, share in _model().rank(text) if lang in langs}
    best = next(iter(shares), _NO_LANGUAGE)
    total = sum(shares.values())
    if not total or best == _NO_LANGUAGE:
        return "", 0.0
    return best, sum(shares.get(lang, 0.0) for lang in _near(best)) / total


def _near(lang: str) -> frozenset[str]:
    return next((group for group in _NEAR if lang in group), frozenset((lang,)))


def _model() -> _Model:
    with _loading:  # two threads would both load it
        return _load()


@cache
def _load() -> _Model:
    from py3langid.langid import MODEL_FILE, LanguageIdentifier  # a second

    model: _Model = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
    model.set_languages(_LANGUAGES)
    return model


def _script(text: str) -> tuple[str, int]:
    """The languages of the script that the text is in, and its letters in all scripts as worth in Latin ones."""
    counts: Counter[str] = Counter()
    for character, times in Counter(text).items():
        if character.isalpha():
            script = _SCRIPTS.get(ord(character) >> 4, _LATIN)
            counts[script] += times * (LETTERS_OF_EAST_ASIA if script in _EAST_ASIAN else 1)
    total = counts.total()
    if counts[_KANA] and counts[_KANA] >= KANA_SHARE * (counts[_KANA] + counts[_HAN]):
        counts[_KANA] += counts.pop(_HAN, 0)
    counts.pop(_LATIN, None)
    script, size = max(counts.items(), key=lambda item: item[1], default=(_LATIN, 0))
    return (script, size) if size >= SCRIPT_SHARE * total else (_LATIN, total)


def _sample(texts: Sequence[str]) -> str:
    """Prose from the longest texts, in equal parts as far as they have it."""
    chosen = nlargest(SAMPLE_PIECES, texts, key=len)
    pieces: list[str] = []
    room = SAMPLE_CHARS
    for left, text in zip(range(len(chosen), 0, -1), reversed(chosen), strict=True):
        piece = _prose(text, room // left)
        pieces.append(piece)
        room -= len(piece)
    return "\n".join(reversed(pieces))


def _prose(text: str, limit: int) -> str:
    raw = text[: limit * RAW_SHARE]
    if "```" in raw or "~~~" in raw:
        raw = _FENCED.sub(" ", raw)
    return " ".join(_NOT_PROSE.sub(" ", raw).split())[:limit]
