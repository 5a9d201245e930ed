"""PDFs for tests: made by reportlab where they are whole, by hand where they are not."""

from __future__ import annotations

import io
import zlib
from collections.abc import Sequence

from reportlab.lib.pdfencrypt import StandardEncryption
from reportlab.pdfgen.canvas import Canvas

LEADING = 14
LEFT, TOP = 72, 720


class Manual:
    """A PDF under construction: Letter pages, 11 point text."""

    def __init__(self, password: str = "", title: str = "", lang: str = "") -> None:
        self._file = io.BytesIO()
        encryption = StandardEncryption(password) if password else None
        self.canvas = Canvas(self._file, encrypt=encryption, lang=lang or None)
        self.canvas.setTitle(title)

    def page(
        self, lines: Sequence[str] = (), header: str = "", headings: Sequence[tuple[str, int, int]] = ()
    ) -> Manual:
        """``lines`` from the top, "" for an empty one; "# " makes one large, "** " bold, "` " a typewriter's.

        ``headings`` are outline entries (title, level, line).
        """
        canvas = self.canvas
        if header:
            canvas.drawString(LEFT, 770, header)
        for title, level, line in headings:
            key = f"{title}{canvas.getPageNumber()}"
            canvas.bookmarkPage(key, fit="XYZ", left=0, top=TOP - LEADING * line + LEADING)
            canvas.addOutlineEntry(title, key, level)
        for number, text in enumerate(lines):
            self.put(text, LEFT, TOP - LEADING * number)
        canvas.showPage()
        return self

    def put(self, text: str, x: float, y: float) -> Manual:
        mark, _, rest = text.partition(" ")
        font, size = {"#": ("Helvetica", 18), "**": ("Helvetica-Bold", 11), "`": ("Courier", 11)}.get(
            mark, ("Helvetica", 11)
        )
        self.canvas.setFont(font, size)
        self.canvas.drawString(x, y, rest if mark in ("#", "**", "`") else text)
        return self

    def rows(self, rows: Sequence[Sequence[str]], xs: Sequence[float], top: float = TOP, step: float = 14) -> Manual:
        """Cells at these places, row by row, on the page that is open."""
        for number, row in enumerate(rows):
            for x, cell in zip(xs, row, strict=True):
                if cell:
                    self.put(cell, x, top - step * number)
        return self

    def bytes(self) -> bytes:
        self.canvas.save()
        return self._file.getvalue()


def raw_pdf(objects: Sequence[bytes], *, prev_self: bool = False) -> bytes:
    """A file of these objects, the first of them the catalog. ``prev_self``: its cross-reference points at itself."""
    out = bytearray(b"%PDF-1.4\n")
    places = []
    for number, body in enumerate(objects, start=1):
        places.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, body)
    start = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(objects) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    prev = b" /Prev %d" % start if prev_self else b""
    out += b"trailer\n<< /Size %d /Root 1 0 R%s >>\nstartxref\n%d\n%%%%EOF\n" % (len(objects) + 1, prev, start)
    return bytes(out)


def one_page(stream: bytes, filters: bytes = b"", *, prev_self: bool = False) -> bytes:
    """A page with this content stream."""
    return raw_pdf(
        [
            b"<< /Type /Catalog /Pages 2 0 R >>",
            b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
            b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] /Contents 4 0 R"
            b" /Resources << /Font << /F1 << /Type /Font /Subtype /Type1 /BaseFont /Helvetica >> >> >> >>",
            b"<< /Length %d%s >>\nstream\n%s\nendstream" % (len(stream), filters, stream),
        ],
        prev_self=prev_self,
    )


def flate_bomb(megabytes: int) -> bytes:
    """A page whose content stream is packed twice and grows a thousandfold each time."""
    once = zlib.compress(b" " * (megabytes << 20), 9)
    return one_page(zlib.compress(once, 9), b" /Filter [/FlateDecode /FlateDecode]")


def empty_pages(count: int) -> bytes:
    kids = b" ".join(b"%d 0 R" % (number + 3) for number in range(count))
    page = b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 612 792] >>"
    tree = b"<< /Type /Pages /Kids [%s] /Count %d >>" % (kids, count)
    return raw_pdf([b"<< /Type /Catalog /Pages 2 0 R >>", tree, *[page] * count])


def page_tree_loop() -> bytes:
    """Pages that are their own children."""
    return raw_pdf([b"<< /Type /Catalog /Pages 2 0 R >>", b"<< /Type /Pages /Kids [2 0 R 2 0 R] /Count 9999999 >>"])
