from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ray_app.errors import BadVector
from ray_app.index.ports import Vectors
from ray_app.index.precision import CHUNKS, TEXTS, choose


class Machine:
    """A model that takes ``seconds`` per text, by format, and errs by an angle."""

    def __init__(self, seconds: dict[str, float], angle: dict[str, float] | None = None) -> None:
        self.seconds = seconds
        self.angle = angle or {}
        self.now = 0.0
        self.spent: dict[str, float] = {}

    def encode(self, name: str, texts: Sequence[str]) -> Vectors:
        took = self.seconds[name] * len(texts)
        self.now += took
        self.spent[name] = self.spent.get(name, 0) + took
        angle = self.angle.get(name, 0.0)
        if np.isnan(angle):
            raise BadVector
        return np.tile(np.array([np.cos(angle), np.sin(angle)], np.float32), (len(texts), 1))

    def clock(self) -> float:
        return self.now


def chosen(machine: Machine, *names: str) -> str:
    return choose(names, machine.encode, machine.clock).name


def test_the_fastest_true_format_wins() -> None:
    assert chosen(Machine({"fp32": 1, "bf16": 0.4, "fp16": 0.3}), "bf16", "fp16") == "fp16"
    assert chosen(Machine({"fp32": 1, "bf16": 0.4}, {"bf16": 0.01}), "bf16") == "bf16"  # cosine .99995


@pytest.mark.parametrize(
    ("seconds", "angle"),
    [
        (0.3, 0.02),  # cosine .9998
        (0.3, float("nan")),
        (0.95, 0.0),  # hardly a gain
        (1.5, 0.0),
    ],
)
def test_otherwise_fp32_stays(seconds: float, angle: float) -> None:
    assert chosen(Machine({"fp32": 1, "bf16": seconds}, {"bf16": angle}), "bf16") == "fp32"


def test_a_format_the_processor_only_emulates_is_given_up_early() -> None:
    machine = Machine({"fp32": 1, "bf16": 20})
    assert chosen(machine, "bf16") == "fp32"
    assert machine.spent["bf16"] <= 3 * 20


def test_a_device_that_is_only_fast_with_many_texts_shows_it_with_copies() -> None:
    class Launching(Machine):
        """Each call costs much more than a text."""

        def encode(self, name: str, texts: Sequence[str]) -> Vectors:
            self.now += 50
            return super().encode(name, texts)

    speeds = {"fp32": 1.0, "fp16": 0.3}
    assert chosen(Launching(speeds), "fp16") == "fp32"
    machine = Launching(speeds)
    assert choose(("fp16",), machine.encode, machine.clock, 100).name == "fp16"


def test_what_was_seen_is_told() -> None:
    machine = Machine({"fp32": 1, "bf16": 0.5, "fp16": 0.5}, {"fp16": float("nan")})
    found = choose(("bf16", "fp16"), machine.encode, machine.clock)
    assert (found.why, found.gain, found.cosine) == ("measured", 2.0, 1.0)
    assert found.tried == "bf16 2.0x, cosine 1.000000; fp16 failed: BadVector"


def test_the_texts_are_those_of_chunks() -> None:
    assert len(set(CHUNKS)) == 4
    assert all(110 <= len(text.split()) <= 140 for text in CHUNKS)


def test_a_vector_that_only_one_text_loses_counts() -> None:
    """Formats are timed over chunks, but every text must keep its vector, the shortest and the longest too."""

    class Picky(Machine):
        def encode(self, name: str, texts: Sequence[str]) -> Vectors:
            vectors = super().encode(name, texts)
            for row, text in enumerate(texts):
                if name == "bf16" and text == self.victim:
                    vectors[row] = (np.cos(0.02), np.sin(0.02))
            return vectors

        victim = ""

    for victim in (TEXTS[0], TEXTS[-1], "refund"):
        machine = Picky({"fp32": 1, "bf16": 0.4})
        machine.victim = victim
        assert chosen(machine, "bf16") == "fp32"
    assert min(len(text) for text in TEXTS) < 6
    assert max(len(text.split()) for text in TEXTS) > 300


def test_a_neighbour_does_not_decide() -> None:
    """One slow run of two is forgiven."""

    class Disturbed(Machine):
        def encode(self, name: str, texts: Sequence[str]) -> Vectors:
            if name == "bf16" and len(texts) == len(CHUNKS) and not self.disturbed:
                self.disturbed = True
                self.now += 100
            return super().encode(name, texts)

        disturbed = False

    assert chosen(Disturbed({"fp32": 1, "bf16": 0.4}), "bf16") == "bf16"
