"""What a signal is: one way to notice that a text speaks to a language model; see ingest.injection.

Patterns are for folded text: NFKC, lower case, no accents and vowel points (``signal`` takes them out of patterns too),
one space between words. A name counts once, with the heaviest of its signals that match.

What weights mean: 0.7 and more is enough alone, for what no reader is ever told. Of what weighs about half, two must
meet, because manuals say such things at times ("if a customer asks ..., tell them"). What is below ``MAIN_WEIGHT`` only
counts beside something heavier.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from ray_app.ingest.injection.reading import without_marks

MAIN_WEIGHT = 0.45


@dataclass(frozen=True, slots=True)
class Signal:
    """Where ``pattern`` matches, one of ``hints`` and one of ``needs`` stand in the text: they are looked for first."""

    name: str
    weight: float  # 0..1
    hints: tuple[str, ...]
    ascii_hints: tuple[str, ...]  # those that a text of ASCII can hold
    needs: tuple[str, ...]  # () when the hints are enough
    pattern: re.Pattern[str]


def signal(name: str, weight: float, hints: str, *patterns: str, needs: str = "") -> Signal:
    """``hints`` and ``needs`` are separated by commas."""
    told = tuple(without_marks(hints).split(","))
    pattern = re.compile("|".join(map(without_marks, patterns)), re.MULTILINE)
    needed = tuple(without_marks(needs).split(",")) if needs else ()
    return Signal(name, weight, told, tuple(filter(str.isascii, told)), needed, pattern)
