"""What goes into the reading of a PDF and what comes out; light, because the reading process loads it at its start."""

from __future__ import annotations

from dataclasses import dataclass

from ray_app.records import Section


@dataclass(frozen=True, slots=True)
class PdfLimits:
    """How much of one PDF is read, for how long, and what its process may use."""

    max_pages: int = 3_000
    timeout_s: float = 60.0  # wall clock, and CPU too
    memory_mb: int = 1_024  # address space of the process


DEFAULT_LIMITS = PdfLimits()


@dataclass(frozen=True, slots=True)
class PdfText:
    """What a PDF says."""

    title: str  # "" when neither the file nor its first page states one
    lang: str  # BCP 47 primary tag, "" when the file does not say
    sections: tuple[Section, ...]  # in reading order, anchored #page=N, at least one with a word
    detail: str = ""  # what could not be read, for a person


@dataclass(frozen=True, slots=True)
class PdfRefusal:
    """Why a PDF has no text to give."""

    reason: str  # a key of REASONS
    detail: str = ""
