"""Reading text as a language model would that was written so that filters misread it; see ingest.injection."""

from __future__ import annotations

import base64
import binascii
import codecs
import re
import unicodedata
from collections.abc import Callable, Iterator
from urllib.parse import unquote

# Vowel points and accents, of Latin, Hebrew and Arabic; the Arabic letter that only lengthens a word.
MARKS = re.compile("[\u0300-\u036f\u0591-\u05c7\u0640\u064b-\u065f\u0670]")
MAX_RUNS = 5  # coded pieces of each kind in a block that are read
MAX_RUN_CHARS = 4_000

# After lower case, what looks like Latin letters: Cyrillic, Greek, Armenian, and the small capitals of phonetics.
_LOOKALIKES = str.maketrans(
    "аеорсухіјѕԁһӏԛԝьҽνοαρτυικεηωχβօսզհոցʏɪɢɴʀᴇᴀᴄᴅꜰʜᴊᴋʟᴍᴏᴘꜱᴛᴜᴠᴡᴢʙ",
    "aeopcyxijsdhlqwbevoaptuikenwxbouqhngyignreacdfhjklmopstuvwzb",
)
_SMALL_CAPITALS = "\u0262-\u02a0\u1d00-\u1d7f\ua730\ua731"
_ALIEN = f"{_SMALL_CAPITALS}\u0370-\u058f"
_MIXED = re.compile(f"[a-z][{_ALIEN}]|[{_ALIEN}][a-z]|[{_SMALL_CAPITALS}]{{3}}")
_DISGUISED = re.compile(f"[a-z][{_ALIEN}][a-z]")
_WORD = re.compile(r"[^\W\d_]+")
_PUNCTUATION = str.maketrans({"’": "'", "‘": "'", "“": '"', "”": '"', "„": '"', "–": "-", "—": "-", "ı": "i"})
_GAP = re.compile(r"[^\S\n]+")

_LEET = [str.maketrans("0134579@$!|8", f"o{one}eastgasi{one}b") for one in "il"]
_LEET_WORD = re.compile(r"[a-z][0134579@$!|][a-z]")
_SPACED = re.compile(r"(?<!\w)(?:\w[ \u00a0.\-_*·/|]{1,2}){2,}\w(?!\w)")
_NO_SEPARATORS = re.compile(r"[ .\-_*·/|]+")
_SEPARATOR = re.compile(r"[ \u00a0.\-_*·/|]")
_SPLIT_WORD = re.compile(r"(?<=[^\W\d_])[-.·_*](?=[^\W\d_])")
# Where single letters stand without wider gaps between words, the words of orders part them.
_WORDS_OF_ORDERS = re.compile(
    r"ignore|disregard|forget|override|everything|all|any|the|your|previous|prior|above|earlier|instructions?|prompts?"
    r"|rules|guidelines|system|reveal|print|show|and|now|you|are|me"
)
KEY_WORDS = ("instruct", "ignor", "prompt", "disregard", "guideline", "reveal", "forget", "your")
_BACKWARDS = ("snoitcurtsni", "tpmorp")
_HALF_TURNED = ("vafgehpgvba", "cebzcg")  # "instruction" and "prompt" in rot13


def folded(text: str) -> str:
    """Compatibility forms, lower case, no accents, look-alikes as Latin letters, one space for a gap; lines stay."""
    return _GAP.sub(" ", _lower(text))


def without_marks(text: str) -> str:
    """``text`` in compatibility forms without accents and vowel points."""
    return unicodedata.normalize("NFC", MARKS.sub("", unicodedata.normalize("NFKD", text)))


def is_disguised(text: str) -> bool:
    """Whether some word mixes Latin letters with others that look like them."""
    return not text.isascii() and _DISGUISED.search(text.casefold()) is not None


def other_readings(text: str, plain: str) -> Iterator[str]:
    """As ``text``, folded to ``plain``, may be meant: l33t, s p a c e d, hy-phen-at-ed, backwards, in rot13; folded.

    Only those in which words of orders come to light.
    """
    if _LEET_WORD.search(plain):
        yield from (read for table in _LEET if _gains(read := plain.replace("11", "ll").translate(table), plain))
    if _gains(_NO_SEPARATORS.sub("", plain), plain):
        for read in (_GAP.sub(" ", _SPACED.sub(_joined, _lower(text))), _SPLIT_WORD.sub("", plain)):
            if _gains(read, plain):
                yield read
    if any(word in plain for word in _BACKWARDS):
        yield plain[::-1]
    if any(word in plain for word in _HALF_TURNED):
        yield codecs.decode(plain, "rot13")


def _gains(reading: str, plain: str) -> bool:
    return any(reading.count(word) > plain.count(word) for word in KEY_WORDS)


def decoded(text: str) -> Iterator[str]:
    """What is written in ``text`` in base64, base32, hexadecimal, binary, percent or backslash codes."""
    if not _LONG_RUN.search(text):
        return
    for runs, decode in _CODES:
        for run in runs.findall(text)[:MAX_RUNS]:
            try:
                found = decode(run[:MAX_RUN_CHARS])
            except (binascii.Error, ValueError):
                continue
            if found.isprintable():
                yield found


def _lower(text: str) -> str:
    """Folded, with its gaps as they are."""
    if text.isascii():
        return text.lower()
    text = without_marks(text).casefold().translate(_PUNCTUATION)
    return _WORD.sub(_as_latin, text) if _MIXED.search(text) else text


def _as_latin(word: re.Match[str]) -> str:
    """Only where letters are mixed: a word in another script keeps its own."""
    return word[0].translate(_LOOKALIKES) if _MIXED.search(word[0]) else word[0]


def _joined(run: re.Match[str]) -> str:
    return _WORDS_OF_ORDERS.sub(r" \g<0> ", _SEPARATOR.sub("", run[0]))


def _from_base64(run: str) -> str:
    core = run.rstrip("=").replace("-", "+").replace("_", "/")
    return base64.b64decode(
        core[: len(core) // 4 * 4 if len(core) % 4 == 1 else None] + "=" * (-len(core) % 4)
    ).decode()


def _from_base32(run: str) -> str:
    core = run.rstrip("=")
    return base64.b32decode(core + "=" * (-len(core) % 8)).decode()


def _from_hex(run: str) -> str:
    return bytes.fromhex(run[: len(run) // 2 * 2]).decode()


def _from_binary(run: str) -> str:
    return bytes(int(byte, 2) for byte in run.split()).decode()


def _from_escapes(run: str) -> str:
    return "".join(chr(int(code, 16)) for code in re.findall(r"[0-9a-fA-F]{4}", run))


_LONG_RUN = re.compile(r"\S{20}|[01]{8} [01]{8} [01]{8}")
_CODES: tuple[tuple[re.Pattern[str], Callable[[str], str]], ...] = (
    (re.compile(r"[A-Za-z0-9+/_-]{20,}={0,2}"), _from_base64),
    (re.compile(r"\b[A-Z2-7]{32,}={0,6}"), _from_base32),
    (re.compile(r"\b[0-9a-fA-F]{24,}\b"), _from_hex),
    (re.compile(r"(?:\b[01]{8}\s?){6,}"), _from_binary),
    (re.compile(r"(?:[\w.,;:'()-]{0,30}%[0-9A-Fa-f]{2}){3,}[\w.]*"), unquote),
    (re.compile(r"(?:\\u00[0-9a-fA-F]{2}){6,}"), _from_escapes),
)
