"""Text as it is stored: NFC, one kind of space, nothing that a reader cannot see."""

from __future__ import annotations

import re
import unicodedata

# Invisible, and a way to smuggle text past the reader: soft hyphen, zero-width space and joiners of words, byte-order
# mark, bidirectional overrides, Unicode tags and supplementary variation selectors; and all controls but TAB and LF.
_INVISIBLE = re.compile(
    "[\x00-\x08\x0b-\x1f\x7f-\x9f\u00ad\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u2069\ufeff\ufff9-\ufffb\ufffe\uffff"
    "\ud800-\udfff\U000e0000-\U000e01ef]"
)
# Joiners mean something in Persian, Indic scripts and emoji, and nothing beside Latin letters or spaces.
_JOINER = re.compile("(?<![^\\s\x00-\u02ff])[\u200c\u200d]+|[\u200c\u200d]+(?![^\\s\x00-\u02ff])")
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
    return _JOINER.sub("", _INVISIBLE.sub("", unicodedata.normalize("NFC", text)))


def one_line(text: str) -> str:
    """``visible`` with every run of white space, no-break spaces included, as one space; no space at the ends."""
    return visible(" ".join(text.split())) if text.isascii() else " ".join(_SPACES.sub(" ", visible(text)).split())
