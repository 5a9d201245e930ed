"""What tells equal and nearly equal texts: exactly, and whatever their markup."""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from functools import lru_cache
from hashlib import blake2b

import numpy as np

from ray_app.ingest.clean import names
from ray_app.records import Fingerprint, Section

SHINGLE = 3  # words: enough order to tell texts apart, few enough to survive a changed word
MAX_WORDS = 100_000  # of a simhash; a longer text is told apart by less
SHAPE_WORDS = 5_000  # of a shape

# Odd numbers without a pattern, to mix the words of a shingle (SplitMix64 and MurmurHash3 use them).
_FACTORS = np.array([0x9E3779B97F4A7C15, 0xBF58476D1CE4E5B9, 0xFF51AFD7ED558CCD], np.uint64)

_WORD = re.compile(r"\w+")
_DIGIT = re.compile(r"\d")
_HAS_DIGIT = re.compile(r"[^\W_]*\d[\w./:-]*")
# Names that change from one page of a calendar to the next, in the languages of most sites.
_DATES = names(
    "january february march april may june july august september october november december jan feb mar apr jun jul aug "
    "sep sept oct nov dec monday tuesday wednesday thursday friday saturday sunday mon tue wed thu fri sat sun "
    "januar februar märz mai juni juli oktober dezember montag dienstag mittwoch donnerstag freitag samstag sonntag "
    "janvier février mars avril juin juillet août septembre octobre novembre décembre lundi mardi mercredi jeudi "
    "vendredi samedi dimanche enero febrero marzo abril mayo junio julio agosto septiembre octubre noviembre diciembre "
    "today tomorrow yesterday am pm"
)


def fingerprint(title: str, sections: Sequence[Section]) -> Fingerprint:
    """The fingerprint of a document. Anchors, headings' levels and all markup are left out of it."""
    text = "\n".join((title, *(part for s in sections for part in (*s.path[-1:], s.text)))).casefold()
    words = _WORD.findall(text)
    return Fingerprint(
        words=_digest(words, 16),
        numbers=_digest(_HAS_DIGIT.findall(text), 8),
        simhash=simhash(words[:MAX_WORDS]),
        shape=_digest((w for w in words[:SHAPE_WORDS] if w not in _DATES and not _DIGIT.search(w)), 8),
    )


def content_hash(title: str, sections: Sequence[Section]) -> str:
    """32 hex digits that change with any change of title, headings, anchors or text."""
    digest = blake2b(digest_size=16)
    parts = [title, *(part for s in sections for part in (str(len(s.path)), *s.path, s.anchor, s.text))]
    for part in parts:
        raw = part.encode("utf-8", "replace")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()


def simhash(words: Sequence[str]) -> int:
    """64 bits, signed, of which few differ where few shingles differ (Charikar 2002)."""
    if not words:
        return 0
    hashes = {word: _hash(word) for word in set(words)}
    row = np.fromiter((hashes[word] for word in words), np.uint64, len(words))
    if len(row) >= SHINGLE:
        row = row[:-2] + row[1:-1] * _FACTORS[0] + row[2:] * _FACTORS[1]
    shingles = np.unique((row ^ (row >> np.uint64(29))) * _FACTORS[2])
    bits = np.unpackbits(shingles.astype(">u8").view(np.uint8).reshape(-1, 8), axis=1)
    votes = 2 * bits.sum(axis=0, dtype=np.int64) > len(bits)
    return int.from_bytes(np.packbits(votes).tobytes(), signed=True)


@lru_cache(maxsize=50_000)  # a site says the same words over and over
def _hash(word: str) -> int:
    return int.from_bytes(blake2b(word.encode("utf-8", "replace"), digest_size=8).digest())


def _digest(words: Iterable[str], size: int) -> str:
    return blake2b("\0".join(words).encode("utf-8", "replace"), digest_size=size).hexdigest()
