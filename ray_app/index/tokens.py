"""Words of any script, for keyword search. The same function reads chunks and questions.

What a word is folded to is decided by measurement per language (nDCG@10 of BM25 on labelled sets):

    Hebrew questions: .872 with prefixes left where they are; with words of four letters and more also indexed without
    their prefix .910 (three and more .906, five and more .909, the stripped form alone .910, but fewer passages found
    at all); a second prefix taken off as well .911, which is done.
    German (xquad-de): .919, as before; compounds are kept whole, those with hyphens are also split.
    English stemming (Snowball, settings field `index.stemming`, on by default): help threads .662 -> .720,
    scifact .671 -> .684, xquad-en .963 -> .968, a TV manual .768 -> .769, xquad-de .919 -> .927, xquad-ar the same.
    It is no part of `tokenise`: the index folds its vocabulary, and search the words of a question.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator
from functools import cache
from itertools import pairwise

TOKENISER_VERSION = "2"  # part of the manifest: postings of another version do not fit today's questions
STEMMER_VERSION = "snowball-en"

LONGEST_TOKEN = 64  # characters; longer runs are encoded data, and only waste vocabulary

# Words that tell no English passages apart (Lucene's classic list and what apostrophes leave over), and the
# scaffolding of questions: manuals hardly contain it, so BM25 would take a chance "how" or "my" for a rare, telling
# word (nDCG@10 of BM25 on two sets of support questions: .65 -> .66 and .67 -> .77).
_STOP_WORDS = """
a an and are as at be but by for if in into is it no not of on or such that the their then there these they this to was
will with s t
how what when where which who why do does did can could should would i me my we us our you your he him his she her its
am were been has have had from
"""
STOP_WORDS = frozenset(_STOP_WORDS.split())

# Written without spaces: pairs of neighbouring characters stand for words (Thai, Lao, Myanmar, Khmer, Hangul,
# kana, Han and its extensions).
_UNSPACED = (
    "\u0e00-\u0eff\u1000-\u109f\u1100-\u11ff\u1780-\u17ff\u3005-\u3007\u3040-\u30ff\u3130-\u318f\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\ua960-\ua97f\uac00-\ud7ff\uf900-\ufaff\U00020000-\U0003ffff"
)

_DELETED = (
    *range(0x0591, 0x05BE), 0x05BF, 0x05C1, 0x05C2, 0x05C4, 0x05C5, 0x05C7,  # Hebrew points and accents
    *range(0x0610, 0x061B), 0x0640, *range(0x064B, 0x0660), 0x0670,  # Arabic vowel marks and stretching
    0x0307,  # left over when a dotted capital I is folded
    0x00AD, 0x200B, 0x200D, *range(0x200E, 0x2010), *range(0x202A, 0x202F), 0x2060, *range(0x2066, 0x206A), 0xFEFF,
)  # fmt: skip
_FOLDED: dict[int, str | None] = {
    **dict.fromkeys(_DELETED),
    **dict.fromkeys((0x00A9, 0x00AE, 0x2120, 0x2122), " "),  # ©, ®, ℠, ™ would become letters of the name before them
    **dict.fromkeys((0x2010, 0x2011, 0x2012, 0x2013, 0x2212, 0x05BE), "-"),  # dashes typed for a hyphen, maqaf
    **dict.fromkeys((0x2018, 0x2019, 0x05F3), "'"),
    **dict.fromkeys((0x201C, 0x201D, 0x05F4), '"'),
}

_FOLDED_ONES = re.compile("[" + "".join(map(re.escape, map(chr, _FOLDED))) + "]")

# What holds an identifier together: MC-707, RD_2000, v1.2.3, std::map, TCP/IP, AT&T, user@host. At the end of a
# word: opcode~, C++, C#.
_JOINT = r"(?:_+|::|[-./:+~#@&])"
_TAIL = r"[~+#]{1,2}"

# "and, the, in, to, from, that, as" are written together with the next word: שלום, השלום, והשלום.
_HEBREW_PREFIXES = frozenset("הובלמשכ")
_HEBREW_FIRST_OF_TWO = frozenset("וש")
_SHORTEST_PREFIXED = 4  # letters of a word that may begin with a prefix

_PART = re.compile(r"[^-_./:+~#@&]+")
_HEBREW = re.compile("[א-ת]+")
_HEBREW_ABBREVIATION = re.compile(r"(?<=[א-ת])[\"'](?=[א-ת])")


def tokeniser_version(stemming: bool) -> str:
    """What a manifest holds: how the words of the postings were made."""
    return f"{TOKENISER_VERSION}+{STEMMER_VERSION}" if stemming else TOKENISER_VERSION


def stemmer() -> Callable[[str], str]:
    """The stem of an English-looking token, any other token as it is. Not safe in threads: make one for each."""
    from Stemmer import Stemmer

    stem = Stemmer("english").stemWord
    return lambda token: stem(token) if token.isascii() and token.isalpha() else token


def tokenise(text: str) -> list[str]:
    """Tokens of ``text`` in order: words, identifiers whole and in parts, pairs of CJK characters; no stop words.

    A Hebrew word is followed by what is left of it without its prefix.
    """
    if text.isascii():
        return _words(_ascii_pattern(), text.lower())
    text = _folded(unicodedata.normalize("NFKC", _folded(text)).casefold())
    if text.isascii():  # it was so but for its quotation marks and dashes
        return _words(_ascii_pattern(), text)
    return _words(_any_pattern(), _HEBREW_ABBREVIATION.sub("", text))


def _folded(text: str) -> str:
    # Not str.translate, which asks a dictionary about every character: five times as slow.
    return _FOLDED_ONES.sub(lambda found: _FOLDED[ord(found.group())] or "", text)


def _words(pattern: re.Pattern[str], text: str) -> list[str]:
    tokens: list[str] = []
    for match in pattern.finditer(text):
        word, kind = match.group(), match.lastgroup
        if kind is None:
            if word not in STOP_WORDS:
                tokens.append(word[:LONGEST_TOKEN])
                if word[0] in _HEBREW_PREFIXES:
                    tokens.extend(_without_prefix(word[:LONGEST_TOKEN]))
        elif kind == "compound":
            tokens.append(word[:LONGEST_TOKEN])
            for part in _PART.findall(word):
                if part not in STOP_WORDS:
                    tokens.append(part[:LONGEST_TOKEN])
                    if part[0] in _HEBREW_PREFIXES:
                        tokens.extend(_without_prefix(part[:LONGEST_TOKEN]))
        else:
            tokens.extend(_pairs(word))
    return tokens


def _without_prefix(word: str) -> Iterator[str]:
    """A word that begins with a Hebrew prefix: what is left without it, and without two of them."""
    if len(word) >= _SHORTEST_PREFIXED and _HEBREW.fullmatch(word):
        yield word[1:]
        if len(word) > _SHORTEST_PREFIXED and word[0] in _HEBREW_FIRST_OF_TWO and word[1] in _HEBREW_PREFIXES:
            yield word[2:]


def _pairs(run: str) -> list[str]:
    return [a + b for a, b in pairwise(run)] if len(run) > 1 else [run]


def _pattern(word: str, extra: str = "") -> re.Pattern[str]:
    # Possessive quantifiers: a hostile text cannot make the matcher go back.
    whole = rf"{word}(?:(?:{_JOINT}{word})++(?:{_TAIL})?+|{_TAIL})"
    return re.compile(rf"(?P<compound>{whole})|{word}{extra}")


@cache
def _ascii_pattern() -> re.Pattern[str]:
    return _pattern("[a-z0-9]++")


@cache
def _any_pattern() -> re.Pattern[str]:
    # Python's \w lacks combining marks, without which words of Indic scripts fall to pieces.
    letter = rf"[^\W_{_UNSPACED}]"
    return _pattern(rf"(?:{letter}++[{_marks()}]*+)++", rf"|(?P<unspaced>[{_UNSPACED}]++)")


def _marks() -> str:
    points = (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0))
    return "".join(re.escape(chr(p)) for p in points if unicodedata.category(chr(p)).startswith("M"))
