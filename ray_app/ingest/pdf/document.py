"""The text of a PDF as a Document."""

from __future__ import annotations

from urllib.parse import unquote, urlsplit

from ray_app.ingest.clean import one_line
from ray_app.ingest.fingerprint import content_hash
from ray_app.ingest.pdf.records import PdfText
from ray_app.records import Document, Extracted


def extracted(text: PdfText, *, brand: str, url: str, fetched_at: float) -> Extracted:
    """What the PDF at ``url`` says; the name of its file is its title when it has none."""
    title = text.title or file_name(url)
    document = Document(
        brand=brand,
        url=url,
        title=title,
        lang=text.lang,
        kind="pdf",
        sections=text.sections,
        content_hash=content_hash(title, text.sections),
        fetched_at=fetched_at,
    )
    return Extracted("ok", document, detail=text.detail)


def file_name(url: str) -> str:
    """The last step of the path, else the host."""
    parts = urlsplit(url)
    return one_line(unquote(parts.path.rpartition("/")[2])) or parts.netloc
