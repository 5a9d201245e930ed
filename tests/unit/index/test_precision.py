from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest

from ray_app.errors import BadVector
from ray_app.index.ports import Vectors
from ray_app.index.precision import TEXTS, choose


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


def test_what_was_seen_is_told() -> None:
    machine = Machine({"fp32": 1, "bf16": 0.5, "fp16": 0.5}, {"fp16": float("nan")})
    found = choose(("bf16", "fp16"), machine.encode, machine.clock)
    assert (found.why, found.gain, found.cosine) == ("measured", 2.0, 1.0)
    assert found.tried == "bf16 2.0x, cosine 1.000000; fp16 failed: BadVector"


def test_the_texts_are_those_of_chunks() -> None:
    assert len(set(TEXTS)) == 8
    assert all(110 <= len(text.split()) <= 140 for text in TEXTS)
