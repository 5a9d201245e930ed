"""What the site serves when it behaves: pages as data, which a test may change while the site runs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from html import escape

HTML = "text/html; charset=utf-8"
LAST_MODIFIED = "Wed, 01 Oct 2025 12:00:00 GMT"


@dataclass(frozen=True, slots=True)
class Page:
    """One answer. With an ``etag`` or ``last_modified`` it answers 304 to a request that names it."""

    body: bytes = b""
    status: int = 200
    media_type: str = HTML
    etag: str = ""
    last_modified: str = ""
    headers: Mapping[str, str] = field(default_factory=dict)


def html(title: str, text: str = "", links: Sequence[str] = (), head: str = "") -> bytes:
    """A page with a heading, a paragraph and a list of links; ``head`` is markup, the rest is escaped."""
    items = "".join(f'<li><a href="{escape(link)}">{escape(link)}</a></li>' for link in links)
    words = escape(text or f"This page tells all there is to tell about {title}.")
    return (
        f"<!doctype html><html lang=en><head><meta charset=utf-8><title>{escape(title)}</title>{head}</head>"
        f"<body><main><h1>{escape(title)}</h1><p>{words}</p><ul>{items}</ul></main></body></html>"
    ).encode()


def linked_pages(count: int, prefix: str = "/page") -> dict[str, Page]:
    """``/page/0`` to ``/page/<count - 1>`` as a binary tree: each links to two more, all are found from the first."""
    pages = {}
    for number in range(count):
        links = [f"{prefix}/{child}" for child in (2 * number + 1, 2 * number + 2) if child < count]
        text = f"Model P-{number:05d} has {number + 1} screws and weighs {number + 2} grams."
        pages[f"{prefix}/{number}"] = Page(html(f"Model P-{number:05d}", text, links))
    return pages


def pdf(text: str) -> bytes:
    """A one-page PDF that says ``text`` (ASCII)."""
    shown = text.replace("\\", r"\\").replace("(", r"\(").replace(")", r"\)")
    stream = f"BT /F1 12 Tf 72 720 Td ({shown}) Tj ET"
    objects = (
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R "
        "/Resources << /Font << /F1 5 0 R >> >> >>",
        f"<< /Length {len(stream)} >>\nstream\n{stream}\nendstream",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    )
    document, offsets = "%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(document))
        document += f"{number} 0 obj\n{content}\nendobj\n"
    table = "".join(f"{offset:010d} 00000 n \n" for offset in offsets)
    tail = f"trailer\n<< /Size {len(objects) + 1} /Root 1 0 R >>\nstartxref\n{len(document)}\n%%EOF\n"
    return f"{document}xref\n0 {len(objects) + 1}\n0000000000 65535 f \n{table}{tail}".encode("ascii")


def default_pages() -> dict[str, Page]:
    """What the site serves from memory."""
    return {
        "/": Page(
            html("Home", links=("/ok", "/etag", "/last-modified", "/manual.pdf", "/redirect", "/private/secret"))
        ),
        "/ok": Page(html("OK", "A plain page about the MC-707 groovebox.", links=("/", "/ok?utm_source=self"))),
        "/etag": Page(html("ETag"), etag='"v1"'),
        "/last-modified": Page(html("Last-Modified"), last_modified=LAST_MODIFIED),
        "/manual.pdf": Page(pdf("Hold SHIFT and press PLAY to reset."), media_type="application/pdf"),
        "/download.pdf": Page(pdf("Served without a type."), media_type="application/octet-stream"),
        "/latin-1": Page(
            "<title>Gerät</title><p>Für Müller</p>".encode("latin-1"), media_type="text/html; charset=latin-1"
        ),
        "/noindex-header": Page(html("Hidden"), headers={"X-Robots-Tag": "noindex, nofollow"}),
        "/noindex-meta": Page(html("Hidden", links=("/ok",), head='<meta name="robots" content="noindex">')),
        "/same": Page(html("OK", "A plain page about the MC-707 groovebox.", links=("/", "/ok?utm_source=self"))),
        "/ok?print=1": Page(html("OK (print)", "Printed today.", head='<link rel="canonical" href="/ok">')),
        "/broken.pdf": Page(b"%PDF-1.4 and nothing more", media_type="application/pdf"),
        "/empty.pdf": Page(pdf(""), media_type="application/pdf"),
        "/canonical": Page(html("Canonical", head='<link rel="canonical" href="/ok">')),
        "/private/secret": Page(html("Private")),
        "/image.png": Page(b"\x89PNG\r\n\x1a\n" + bytes(64), media_type="image/png"),
        "/binary": Page(bytes(range(256)) * 16, media_type="application/octet-stream"),
        "/empty": Page(),
        "/404": Page(html("Not found"), status=404),
        "/410": Page(html("Gone"), status=410),
        "/403": Page(html("Forbidden"), status=403),
        "/500": Page(html("Broken"), status=500),
        "/204": Page(status=204),
        "/redirect": Page(status=301, headers={"Location": "/ok"}),
        "/redirect-self": Page(status=302, headers={"Location": "/redirect-self"}),
        "/redirect-loop/a": Page(status=302, headers={"Location": "/redirect-loop/b"}),
        "/redirect-loop/b": Page(status=302, headers={"Location": "/redirect-loop/a"}),
        "/redirect-nowhere": Page(status=302),
        "/redirect-ftp": Page(status=302, headers={"Location": "ftp://127.0.0.1/"}),
        "/redirect-metadata": Page(status=302, headers={"Location": "http://169.254.169.254/latest/meta-data/"}),
    }
