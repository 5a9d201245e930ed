"""What response headers say, read with distrust: any of them may be missing, wrong or hostile."""

from __future__ import annotations

import re
from collections.abc import Iterable
from email.utils import parsedate_to_datetime

from ray_app.errors import BadUrl
from ray_app.ingest.robots import product_token
from ray_app.ingest.urls import normalise, path_of

HTML = frozenset(("text/html", "application/xhtml+xml"))
PDF = "application/pdf"
_PDF_ALIASES = frozenset((PDF, "application/x-pdf"))
_UNTYPED = frozenset(("application/octet-stream", "binary/octet-stream", "application/force-download"))

MAX_VALIDATOR_CHARS = 512  # real ETags are under 100; the value is stored per URL and sent back

_TOKEN = re.compile(r"[A-Za-z0-9!#$&^_.+\-]{1,80}/[A-Za-z0-9!#$&^_.+\-]{1,80}")
_CHARSET = re.compile(r"""(?i);\s*charset\s*=\s*["']?([A-Za-z0-9._:\-]{1,40})""")
_PRINTABLE = re.compile(r"[\x20-\x7e]*")
# Directives of X-Robots-Tag that carry a value; before any other colon stands a crawler's name.
_VALUED = frozenset(("unavailable_after", "max-snippet", "max-image-preview", "max-video-preview"))
_SECONDS = re.compile(r"[+-]?\d{1,12}")


def content_type(value: str) -> tuple[str, str]:
    """Media type and charset of a Content-Type header, both lower case and "" when there is none or it is broken."""
    media_type = value.partition(";")[0].strip()
    charset = _CHARSET.search(value)
    return (
        media_type.lower() if _TOKEN.fullmatch(media_type) else "",
        charset[1].lower() if charset else "",
    )


def kind_of(media_type: str, url: str) -> str:
    """ "html", "pdf", "unknown" when the server names no type, or "" for what is not indexed."""
    if media_type in HTML:
        return "html"
    if media_type in _PDF_ALIASES or (media_type in _UNTYPED and path_of(url).lower().endswith(".pdf")):
        return "pdf"
    return "" if media_type else "unknown"


def sniff(body: bytes) -> str:
    """Media type of a body whose server names none; "" when it is neither a PDF nor text."""
    if body.startswith(b"%PDF-"):
        return PDF
    return "" if b"\0" in body[:1024] else "text/html"


def validator(value: str) -> str:
    """An ETag or Last-Modified that can be stored and sent back, else ""."""
    return value if len(value) <= MAX_VALIDATOR_CHARS and _PRINTABLE.fullmatch(value) else ""


def retry_after(value: str, now: float, cap_s: float) -> float | None:
    """Seconds from ``now`` that a Retry-After header (seconds or a date) asks for, in 0..cap; None if unusable."""
    text = value.strip()
    if _SECONDS.fullmatch(text):
        seconds = float(text)
    else:
        try:
            seconds = parsedate_to_datetime(text).timestamp() - now
        except (ValueError, OverflowError, OSError):
            return None
    return min(max(seconds, 0.0), cap_s)


def robots_tag(values: Iterable[str], user_agent: str) -> tuple[bool, bool]:
    """(noindex, nofollow) of X-Robots-Tag headers, heeding those for all crawlers and those for ``user_agent``."""
    ours = product_token(user_agent).lower()
    found: set[str] = set()
    for value in values:
        listening = True
        for part in value.lower().split(","):
            name, colon, rest = part.partition(":")
            if colon and name.strip() not in _VALUED:
                listening = name.strip() in (ours, "*")
                part = rest  # noqa: PLW2901
            if listening:
                found.add(part.strip())
    none = "none" in found
    return none or "noindex" in found, none or "nofollow" in found


def location(value: str, base: str) -> str:
    """Absolute, normalised target of a redirect, "" when it is not a URL to crawl."""
    try:
        return normalise(value, base) if value else ""
    except BadUrl:
        return ""
