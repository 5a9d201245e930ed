"""Which number format embeds fastest on this machine without changing the vectors: measured, never guessed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from ray_app.errors import BadVector
from ray_app.index.ports import Vectors

MIN_COSINE = 0.9999  # to fp32, of the worst text: far closer than neighbouring passages are to each other
MIN_GAIN = 1.15  # a smaller gain drowns in the noise of a busy machine, and fp32 is then the safer choice

_SENTENCES = (
    "Press and hold the power button for ten seconds until the status light turns amber, then release it.",
    "If error E-42 appears on the display, disconnect the unit from the mains and check the fuse behind the cover.",
    "The administrator can restore a deleted account within thirty days under Settings > Users > Recently removed.",
    "Firmware 2.4.1 or newer is required; older versions do not list the sensor in the companion application.",
    "A refund is sent to the original payment method and usually arrives within five to seven working days.",
    "Connect the USB-C cable to port 2, select External Source from the menu and raise the input level slowly.",
    "Clean the filter every three months with lukewarm water and let it dry completely before you put it back.",
    "To export the report as CSV, open the dashboard, choose a date range and click Download in the upper corner.",
)
# 4 texts of about 165 tokens, the length of a usual chunk, each in another order; these are timed.
CHUNKS = tuple(" ".join(_SENTENCES[(2 * i + j) % 8] for j in range(7)) for i in range(4))
# What else must keep its vector: questions, single words, other scripts, and more than most models read.
OTHERS = (
    "How do I reset the X100?",
    "refund",
    "E-42",
    _SENTENCES[2],
    "Halten Sie die Taste 10 Sekunden lang gedrückt, bis die Anzeige erlischt. Danach startet das Gerät neu.",
    "כדי לאפס את המכשיר יש ללחוץ על הכפתור במשך עשר שניות",
    "| Code | Meaning |\n|---|---|\n| E-42 | Fuse |\n| E-43 | Fan blocked |\n| E-44 | Over temperature, 85 °C |",
    " ".join(_SENTENCES * 3),
)
TEXTS = CHUNKS + OTHERS


@dataclass(frozen=True, slots=True)
class Precision:
    """The format in use and what was seen when it was chosen."""

    name: str  # fp32, bf16, fp16 or bf16-packed
    why: str  # "measured" or "configured"
    cosine: float = 1.0  # the worst of TEXTS against fp32
    gain: float = 1.0  # times faster than fp32
    tried: str = ""  # every candidate with its figures


def choose(
    candidates: Sequence[str],
    encode: Callable[[str, Sequence[str]], Vectors],
    clock: Callable[[], float],
    copies: int = 1,
) -> Precision:
    """The fastest of fp32 and ``candidates`` that keeps the vectors. ``encode(format, texts)`` gives unit rows.

    ``clock`` gives seconds; processor time where the work is the processor's, so that a busy neighbour does
    not count. Takes about as long as 40 texts in fp32.
    ``copies`` of the timed texts, where a few would not show what a device can do.
    """

    load = CHUNKS * copies

    def timed(name: str, texts: Sequence[str], times: int = 2) -> tuple[Vectors, float]:
        """The best time of some, for a neighbour takes time away and never gives any."""
        took = []
        for _ in range(times):
            start = clock()
            vectors = encode(name, texts)
            took.append(max(clock() - start, 1e-9))
        return vectors, min(took)

    encode("fp32", CHUNKS[:1])  # the first call of a format prepares its kernels
    chunks, base = timed("fp32", load)
    truth = np.concatenate([chunks, encode("fp32", OTHERS)])
    best, seen = Precision("fp32", "measured"), []
    for name in candidates:
        try:
            encode(name, CHUNKS[:1])
            if (
                timed(name, load[: len(load) // 4], 1)[1] > base
            ):  # emulated by this processor: do not wait for all of them
                seen.append(f"{name} over 4x slower")
                continue
            chunks, took = timed(name, load)
            vectors = np.concatenate([chunks, encode(name, OTHERS)])
        except (BadVector, RuntimeError) as error:  # torch: this format does not exist for some operation here
            seen.append(f"{name} failed: {type(error).__name__}")
            continue
        cosine, gain = float(np.sum(truth * vectors, axis=1).min()), base / took
        seen.append(f"{name} {gain:.1f}x, cosine {cosine:.6f}")
        if cosine >= MIN_COSINE and gain >= max(MIN_GAIN, best.gain):
            best = Precision(name, "measured", cosine, gain)
    return Precision(best.name, best.why, best.cosine, best.gain, "; ".join(seen))
