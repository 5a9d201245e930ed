"""Text that gives orders to a language model: scored, and taken out of the sections it stands in.

A block (paragraph, list item, table row, code) is read as injection.reading tells, and each signal that is found in it
has a weight w; see injection.signals. The score is 1 - (1 - w1)(1 - w2)...: high for one thing that no reader is ever
told, or for two that seldom meet. Nothing is deleted: what is taken out goes to quarantine, with score and signals.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from ray_app.ingest.blocks import Block, Kind, parse, rows
from ray_app.ingest.injection.orders import EXCUSED, ORDERS
from ray_app.ingest.injection.outputs import OUTPUTS
from ray_app.ingest.injection.reading import decoded, folded, is_disguised, other_readings
from ray_app.ingest.injection.signals import MAIN_WEIGHT, Signal
from ray_app.ingest.injection.suspects import suspicious
from ray_app.ingest.injection.tongues import TONGUES
from ray_app.records import Quarantined, Section

THRESHOLD = 0.7
BESIDE = 0.4  # enough for a block next to one that is set aside: an order is often written in several paragraphs
HIDDEN = 0.5  # enough for what is written in code: nobody writes to readers in base64
MAX_SCORED_CHARS = 1_500  # at once; a longer block is scored in parts
OVERLAP_CHARS = 300  # of those parts: an order is shorter
OBFUSCATED = 0.3  # weight of having to be read in another way
ENCODED = 0.8  # weight of an order written in code
EXCUSED_WEIGHT = 0.4  # of "ignore the instructions above" where it says to whom they do not apply

_SIGNALS = (*ORDERS, *OUTPUTS, *TONGUES)
_MAIN = tuple(signal for signal in _SIGNALS if signal.weight >= MAIN_WEIGHT)
_SUPPORTING = tuple(signal for signal in _SIGNALS if signal.weight < MAIN_WEIGHT)
_Found = dict[str, float]  # signal -> weight
_SPEAKER = re.compile(r"\W{0,4}(?:human|user|assistant|system)\s?:", re.IGNORECASE)
_ITEM_START = re.compile(r"\n(?=\s*(?:- |\d{1,6}\. ))")  # of a nested one too


@dataclass(frozen=True, slots=True)
class _Unit:
    """What is kept or set aside as a whole."""

    text: str
    block: int  # index of the block that it is part of
    glue: str  # white space before that block
    is_header: bool  # of a table: worth nothing without rows


def score(text: str) -> tuple[float, tuple[str, ...]]:
    """How much ``text`` speaks to a language model, 0..1, and the names of the signals, the heaviest first."""
    found = _found(text)
    return _combined(found), _names(found)


def speaking(texts: Iterable[str]) -> dict[str, tuple[float, tuple[str, ...]]]:
    """Those of some short texts, such as titles, that score ``THRESHOLD`` or more, each with its score and signals."""
    told = list(dict.fromkeys(texts))
    scored = {told[index]: score(told[index]) for index in sorted(suspicious(told))}
    return {text: judged for text, judged in scored.items() if judged[0] >= THRESHOLD}


def screen(sections: Sequence[Section]) -> tuple[tuple[Section, ...], tuple[Quarantined, ...]]:
    """The sections without the blocks that score ``THRESHOLD`` or more, and those blocks, in page order.

    A section without other blocks is left out. A heading that is such a text is taken out of every path; it comes last.
    """
    suspects = suspicious([section.text for section in sections])
    bad = speaking(heading for section in sections for heading in section.path)
    if not suspects and not bad:
        return tuple(sections), ()
    kept: list[Section] = []
    aside: list[Quarantined] = []
    for index, section in enumerate(sections):
        text, taken = _screened(section.text) if index in suspects else (section.text, [])
        aside += [_quarantined(section, part, found) for part, found in taken]
        if text:
            kept.append(replace(section, text=text) if taken else section)
    if bad:
        told = {heading: section.anchor for section in reversed(sections) for heading in section.path}
        aside += [Quarantined(told[heading], heading, *judged) for heading, judged in bad.items()]
        kept = [replace(s, path=tuple(heading for heading in s.path if heading not in bad)) for s in kept]
    return tuple(kept), tuple(aside)


def _quarantined(section: Section, text: str, found: _Found) -> Quarantined:
    return Quarantined(section.anchor, text, _combined(found), _names(found))


def _screened(text: str) -> tuple[str, list[tuple[str, _Found]]]:
    """The text of a section without the units that are set aside, and those."""
    units = list(_units(text))
    bad = _bad(units)
    if not bad:
        return text, []
    kept = [unit for index, unit in enumerate(units) if index not in bad]
    return _joined(kept), [(units[index].text, found) for index, found in sorted(bad.items())]


def _joined(units: Sequence[_Unit]) -> str:
    """Markdown of what is kept. The first of a block stands as far from the one before as the whole block did."""
    with_body = {unit.block for unit in units if not unit.is_header}
    text, block = "", -1
    for unit in units:
        if unit.block in with_body:
            text += ("\n" if unit.block == block else unit.glue) + unit.text
            block = unit.block
    return text.lstrip("\n")


def _bad(units: Sequence[_Unit]) -> dict[int, _Found]:
    """Those that are to be set aside, and the rest of an order that one of them began or ended."""
    suspects = suspicious([unit.text for unit in units])
    scored = {index: _found(units[index].text) for index in suspects}
    bad = {index: found for index, found in scored.items() if _combined(found) >= THRESHOLD}
    for index in scored.keys() - bad.keys():
        if scored[index] or _SPEAKER.match(units[index].text):
            bad.update(_bad_together(units, index))
    waiting = list(bad)
    while waiting:
        index = waiting.pop()
        for near in _beside(units, index):
            if near in bad:
                continue
            found = scored.get(near) or _found(units[near].text)
            if _combined(found) >= BESIDE:
                bad[near] = found
                waiting.append(near)
    return bad


def _bad_together(units: Sequence[_Unit], index: int) -> dict[int, _Found]:
    """A unit and one beside it that are an order only when they are read together."""
    for near in _beside(units, index):
        first, second = sorted((index, near))
        both = f"{units[first].text}\n{units[second].text}"
        if len(both) <= MAX_SCORED_CHARS and _combined(found := _found(both)) >= THRESHOLD:
            return {first: found, second: found}
    return {}


def _beside(units: Sequence[_Unit], index: int) -> list[int]:
    return [near for near in (index - 1, index + 1) if 0 <= near < len(units) and not units[near].is_header]


def _units(text: str) -> Iterator[_Unit]:
    """The smallest parts of a section that can go without harm to the others."""
    for number, block in enumerate(parse(text)):
        for part, is_header in _parts(block):
            yield _Unit(part, number, block.glue, is_header)


def _parts(block: Block) -> list[tuple[str, bool]]:
    """With whether it is the header of a table."""
    if block.kind is Kind.LIST:
        return [(item, False) for item in _ITEM_START.split(block.text)]
    if block.kind is Kind.TABLE:
        header, body = rows(block.text)
        return [*([(header, True)] if header else []), *((row, False) for row in body)]
    return [(block.text, False)]


def _found(text: str) -> _Found:
    """The signals of a text; of one that is long, those of its worst part: what meets by chance shall be near."""
    if len(text) <= MAX_SCORED_CHARS:
        return _found_in_part(text)
    step = MAX_SCORED_CHARS - OVERLAP_CHARS
    parts = [text[start : start + MAX_SCORED_CHARS] for start in range(0, len(text) - OVERLAP_CHARS, step)]
    return max((_found_in_part(parts[index]) for index in suspicious(parts)), key=_combined, default={})


def _found_in_part(text: str) -> _Found:
    plain = folded(text)
    found = _signals(plain)
    if found and is_disguised(text):
        found["obfuscated"] = OBFUSCATED
    for reading in other_readings(text, plain):
        more = _signals(reading)
        if _combined(more) > _combined(found):
            found = more | {"obfuscated": OBFUSCATED}
    if any(_combined(_signals(folded(hidden))) >= HIDDEN for hidden in decoded(text)):
        found["encoded"] = ENCODED
    return found


def _signals(reading: str) -> _Found:
    """Supporting signals only count beside a main one."""
    found = _matching(_MAIN, reading)
    if not found:
        return {}
    for name, weight in _matching(_SUPPORTING, reading).items():
        found[name] = max(weight, found.get(name, 0.0))
    if "override" in found and "address" not in found and EXCUSED.search(reading):
        found["override"] = min(found["override"], EXCUSED_WEIGHT)
    return found


def _matching(signals: Sequence[Signal], reading: str) -> _Found:
    found: _Found = {}
    ascii_only = reading.isascii()
    for signal in signals:
        if (
            signal.weight > found.get(signal.name, 0.0)
            and _holds(reading, signal.ascii_hints if ascii_only else signal.hints)
            and (not signal.needs or _holds(reading, signal.needs))
            and signal.pattern.search(reading)
        ):
            found[signal.name] = signal.weight
    return found


def _holds(reading: str, words: Sequence[str]) -> bool:
    for word in words:  # noqa: SIM110 - any() of a generator takes twice as long, and this is most of the time
        if word in reading:
            return True
    return False


def _combined(found: _Found) -> float:
    left = 1.0
    for weight in found.values():
        left *= 1.0 - weight
    return round(1.0 - left, 3)


def _names(found: _Found) -> tuple[str, ...]:
    return tuple(sorted(found, key=lambda name: (-found[name], name)))
