"""Questions to ask of the bundled sites, with the place that answers each."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class DemoQuestion:
    """One question. Empty expectations mean that the sites do not answer it."""

    brand: str
    text: str
    expect_url_suffix: str = ""  # path and anchor that the citation ends with
    expect_words: tuple[str, ...] = ()  # words that stand at that place and belong in the answer


DEMO_QUESTIONS: tuple[DemoQuestion, ...] = (
    DemoQuestion(  # steps in order
        "pellandine",
        "How do I calibrate the sustain pedal of my PL-88?",
        "/support/pedal-calibration.html#calibrate-sustain",
        ("Calibrate sustain", "three times"),
    ),
    DemoQuestion(  # the PL-88 has the same steps with another button
        "pellandine",
        "Which buttons do I hold to factory reset the PL-61?",
        "/support/factory-reset.html#reset-pl-61",
        ("LAYER", "EXIT"),
    ),
    DemoQuestion(  # stands only in the manual
        "pellandine",
        "Which MIDI controller number changes the rotary speaker speed?",
        "/manuals/cantata-pl-reference.pdf#page=7",
        ("CC 82",),
    ),
    DemoQuestion(  # an error code among its neighbours
        "tarnwald",
        "What does ERR 41 mean on my TW-8i?",
        "/support/error-codes.html#clock-errors",
        ("word clock", "internal clock"),
    ),
    DemoQuestion(  # one cell of a table
        "tarnwald",
        "What is the part number of the external power supply for the TM-8 mixer?",
        "/products/tm-8.html#spare-parts",
        ("TS-8120",),
    ),
)

UNANSWERABLE: tuple[DemoQuestion, ...] = (
    DemoQuestion("pellandine", "What does the PZ-8 cost in Japanese yen?"),
    DemoQuestion("tarnwald", "Can I stream live video to the internet with the TM-12?"),
)
