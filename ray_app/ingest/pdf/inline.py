"""What ``extract_pdf`` does, in this very process: for tests and measuring, and for files one trusts."""

from __future__ import annotations

import time
from collections.abc import Callable

from ray_app.ingest.pdf.document import extracted
from ray_app.ingest.pdf.reader import read
from ray_app.ingest.pdf.records import DEFAULT_LIMITS, PdfLimits
from ray_app.records import Extracted

__all__ = ["PdfLimits", "extract"]


def extract(
    body: bytes,
    *,
    brand: str,
    url: str,
    fetched_at: float,
    limits: PdfLimits = DEFAULT_LIMITS,
    clock: Callable[[], float] = time.monotonic,
) -> Extracted:
    """The text of a PDF, one or more sections a page, anchored ``#page=N``.

    When the time is up the pages read by then are what is extracted, and ``detail`` says so.
    Raises ExtractError: pdf_encrypted, pdf_broken, pdf_no_text, pdf_timeout.
    """
    return extracted(read(body, limits, clock), brand=brand, url=url, fetched_at=fetched_at)
