from __future__ import annotations

import random
import subprocess
import sys

from ray_app.ingest.fingerprint import fingerprint, simhash
from ray_app.records import Fingerprint, Section

WORDS = [f"{stem}{end}" for stem in ("pad", "knob", "cable", "filter", "tempo", "drum") for end in "abcdefghij"]


def text(seed: int, length: int = 800) -> list[str]:
    return random.Random(seed).choices(WORDS, k=length)


def of(body: str, title: str = "T", path: tuple[str, ...] = ("Setup",), anchor: str = "#a") -> Fingerprint:
    return fingerprint(title, (Section(path, anchor, body),))


def distance(one: int, other: int) -> int:
    return ((one ^ other) & (2**64 - 1)).bit_count()


def test_markup_and_anchors_do_not_count_words_do() -> None:
    assert of("Press **PLAY** now.") == of("press play\n\nnow", anchor="#b")
    assert of("Press PLAY now.").words != of("Press STOP now.").words
    assert of("x", title="PL-61").words != of("x", title="PL-76").words


def test_numbers_are_told_apart_wherever_they_stand() -> None:
    assert of("The MC-707 weighs 3.0 kg").numbers == of("weight: the MC-707 3.0").numbers
    assert of("The MC-707 weighs 3.0 kg").numbers != of("The MC-101 weighs 3.0 kg").numbers


def test_a_calendar_has_one_shape() -> None:
    march, april = of("Events on Monday, 3 March 2031: none."), of("Events on Friday, 17 April 2032: none.")
    assert march.shape == april.shape
    assert march.words != april.words
    assert march.shape != of("Events on Monday, 3 March 2031: a workshop.").shape


def test_a_few_changed_words_change_few_bits_and_another_text_about_half() -> None:
    words = text(1)
    changed = [*words[:400], "zzz", *words[401:]]
    assert distance(simhash(words), simhash(changed)) <= 3
    assert min(distance(simhash(words), simhash(text(seed))) for seed in range(2, 12)) > 16


def test_short_and_empty_texts() -> None:
    assert simhash([]) == 0
    assert simhash(["a"]) != simhash(["b"])
    assert -(2**63) <= simhash(["a", "b"]) < 2**63
    assert of("\ud800 lone").words


def test_it_is_the_same_in_another_process() -> None:
    program = "from ray_app.ingest.fingerprint import simhash; print(simhash(list('abcdefgh')))"
    printed = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert int(printed) == simhash(list("abcdefgh"))
