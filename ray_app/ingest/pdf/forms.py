"""What somebody filled into the form of a PDF; its printed labels are text of the page already."""

from __future__ import annotations

import ctypes
from collections.abc import Iterator
from typing import Any

import pypdfium2.raw as pdfium

from ray_app.ingest.clean import one_line

MAX_FIELDS = 1_000  # of one page
MAX_VALUE_BYTES = 16_384
_TYPES = ("Tx", "Ch")  # text and choice; ISO 32000-1, 12.7.3.1
_UNSEEN = pdfium.FPDF_ANNOT_FLAG_HIDDEN | pdfium.FPDF_ANNOT_FLAG_NOVIEW


def filled_fields(page: Any) -> str:
    """A Markdown list of the page's text and choice fields that show a value, "" without any."""
    return "\n".join(dict.fromkeys(_fields(page)))


def _fields(page: Any) -> Iterator[str]:
    for index in range(min(pdfium.FPDFPage_GetAnnotCount(page.raw), MAX_FIELDS)):
        annotation = pdfium.FPDFPage_GetAnnot(page.raw, index)
        if not annotation:
            continue
        if pdfium.FPDFAnnot_GetSubtype(annotation) == pdfium.FPDF_ANNOT_WIDGET and _shows_value(annotation):
            value = one_line(_text(annotation, b"V"))
            name = one_line(_text(annotation, b"TU") or _text(annotation, b"T"))
            if value and name:
                yield f"- {name}: {value}"
        pdfium.FPDFPage_CloseAnnot(annotation)


def _shows_value(annotation: Any) -> bool:
    """Whether a reader sees what was entered: not in hidden fields, nor in those for passwords."""
    kind, flags = _text(annotation, b"FT"), ctypes.c_float()
    pdfium.FPDFAnnot_GetNumberValue(annotation, b"Ff", flags)
    is_password = kind == "Tx" and int(flags.value) & pdfium.FPDF_FORMFLAG_TEXT_PASSWORD
    return kind in _TYPES and not is_password and not pdfium.FPDFAnnot_GetFlags(annotation) & _UNSEEN


def _text(annotation: Any, key: bytes) -> str:
    """A string or name of the field, "" when it has none under that key."""
    length = pdfium.FPDFAnnot_GetStringValue(annotation, key, None, 0)
    if not 2 < length <= MAX_VALUE_BYTES:
        return ""
    buffer = (ctypes.c_ushort * (length // 2))()
    pdfium.FPDFAnnot_GetStringValue(annotation, key, buffer, length)
    return bytes(memoryview(buffer).cast("B"))[: length - 2].decode("utf-16-le", "replace")
