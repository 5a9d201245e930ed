"""Text as it is stored: NFC, one kind of space, nothing that a reader cannot see.

What Unicode calls default-ignorable draws nothing, and so has been used to smuggle text past the reader: tags that
spell ASCII, bits in invisible operators or zero-width signs, bytes in variation selectors. All of it goes, unless a
single one stands where a script or an emoji needs it.
"""

from __future__ import annotations

import re
import unicodedata

# Soft hyphen, grapheme joiner, marks and overrides of direction, Khmer inherent vowels, zero-width space, joiners of
# words, invisible operators, byte-order mark, interlinear and object signs, controls of shorthand and music, Unicode
# tags, supplementary variation selectors, the private planes (no font has them); and all controls but TAB and LF.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u034f\u061c\u17b4\u17b5\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff"
    "\ufff0-\ufffc\ufffe\uffff\ud800-\udfff\U0001bca0-\U0001bca3\U0001d159\U0001d173-\U0001d17a\U000e0000-\U000e0fff"
    "\U000f0000-\U0010ffff]"
)
_DOUBTFUL = re.compile("[\u115f\u1160\u180b-\u180f\u200c\u200d\u2028\u2029\u2800\u3164\ufe00-\ufe0f\uffa0]")
# Scripts whose letters change their shape at a joiner: Arabic and its kin, those of India, Burma, Cambodia, Mongolia.
_SHAPED = (
    "\u0600-\u08ff\u0900-\u0dff\u1000-\u109f\u1780-\u18af\u1a20-\u1cff\ua840-\uabff\ufb50-\ufdff\ufe70-\ufefc"
    "\U00011000-\U00011fff"
)
_EMOJI = "\u00a9\u00ae\u2190-\u2bff\u3030\u303d\u3297\u3299\ufe0f\U0001f000-\U0001faff"
_JOINER_RUN = re.compile("([\u200c\u200d])[\u200c\u200d]+")
# A joiner may end a word (chillu letters, Arabic abbreviations); a non-joiner stands within one.
_JOINER = re.compile(
    f"(?<![{_SHAPED}])\u200c|\u200c(?![{_SHAPED}])|(?<![{_SHAPED}{_EMOJI}])\u200d|(?<=[{_EMOJI}])\u200d(?![{_EMOJI}])"
)
# Two selectors are for emoji: one stands after a sign or within a keycap. The Mongolian ones stand after its letters.
_SELECTOR = re.compile(
    "[\ufe00-\ufe0d]+|(?<=[\ufe0e\ufe0f])[\ufe0e\ufe0f]+|(?<![^\\s\\w])[\ufe0e\ufe0f]+(?!\u20e3)"
    "|(?<![\u1807-\u18aa])[\u180b-\u180f]+"
)
_JAMO = "\u1100-\u115e\u1161-\u11ff\ua960-\ua97c\ud7b0-\ud7fb"
_FILLER = re.compile(f"(?<![{_JAMO}])[\u115f\u1160]+(?![{_JAMO}])")
# As wide as a letter, and empty; the Braille one means something only among its like.
_BLANK = re.compile("[\u3164\uffa0]|(?<![\u2801-\u28ff])\u2800+(?![\u2801-\u28ff])")
_LINE_END = re.compile("[\u2028\u2029]")
_SPACES = re.compile(r"\s+")


def names(text: str) -> frozenset[str]:
    """The words of ``text`` as a set, for tables of names."""
    return frozenset(text.split())


def visible(text: str) -> str:
    """``text`` in NFC without invisible characters; line breaks become LF, spaces stay as they are."""
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if text.isascii():
        return text if text.isprintable() else _INVISIBLE.sub("", text)
    text = _INVISIBLE.sub("", unicodedata.normalize("NFC", text))
    return _without_misuse(text) if _DOUBTFUL.search(text) else text


def one_line(text: str) -> str:
    """``visible`` with every run of white space, no-break spaces included, as one space; no space at the ends."""
    return visible(" ".join(text.split())) if text.isascii() else " ".join(_SPACES.sub(" ", visible(text)).split())


def _without_misuse(text: str) -> str:
    """Without those invisible characters that mean something elsewhere, but not where they stand."""
    text = _LINE_END.sub("\n", text)
    text = _FILLER.sub("", _SELECTOR.sub("", text))
    text = _JOINER.sub("", _JOINER_RUN.sub(r"\1", text))
    return _BLANK.sub(" ", text)
