"""Bytes of a web page to text. Never raises: what cannot be decoded becomes U+FFFD."""

from __future__ import annotations

import codecs
import re

from ray_app.ingest.clean import names

SNIFF_BYTES = 4096  # browsers look at 1024; pages with a long comment on top declare later

# Labels whose WHATWG meaning differs from Python's (https://encoding.spec.whatwg.org/#names-and-labels).
_LABELS: dict[str, str] = {
    "ascii": "cp1252",
    "us-ascii": "cp1252",
    "ansi_x3.4-1968": "cp1252",
    "iso-8859-1": "cp1252",
    "iso8859-1": "cp1252",
    "iso88591": "cp1252",
    "iso_8859-1": "cp1252",
    "latin1": "cp1252",
    "latin-1": "cp1252",
    "l1": "cp1252",
    "windows-1252": "cp1252",
    "x-user-defined": "cp1252",
    "x-cp1250": "cp1250",
    "x-cp1251": "cp1251",
    "x-cp1252": "cp1252",
    "iso-8859-9": "cp1254",
    "latin5": "cp1254",
    "iso-8859-11": "cp874",
    "tis-620": "cp874",
    "windows-874": "cp874",
    "iso-8859-8-i": "iso-8859-8",
    "iso-8859-8-e": "iso-8859-8",
    "iso-8859-6-e": "iso-8859-6",
    "gb2312": "gb18030",
    "gbk": "gb18030",
    "x-gbk": "gb18030",
    "big5": "big5hkscs",
    "x-x-big5": "big5hkscs",
    "shift_jis": "cp932",
    "shift-jis": "cp932",
    "sjis": "cp932",
    "x-sjis": "cp932",
    "windows-31j": "cp932",
    "euc-kr": "cp949",
    "ks_c_5601-1987": "cp949",
    "ksc5601": "cp949",
    "windows-949": "cp949",
    "x-euc-jp": "euc-jp",
    "x-mac-cyrillic": "mac-cyrillic",
    "macintosh": "mac-roman",
    "utf8": "utf-8",
    "unicode-1-1-utf-8": "utf-8",
    "unicode": "utf-16-le",
    "ucs-2": "utf-16-le",
    "utf-16": "utf-16-le",
}
# Python knows codecs that are no text encodings of the web (utf-7, hex, unicode_escape...); these are.
_ALLOWED = names(
    "utf-8 utf-16-le utf-16-be cp866 koi8-r koi8-u mac-roman mac-cyrillic gb18030 big5hkscs euc_jp "
    "iso2022_jp cp932 cp949 cp874 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 "
    "iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8 iso8859-10 iso8859-13 "
    "iso8859-14 iso8859-15 iso8859-16"
)
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_COMMENT = re.compile(rb"<!--.*?-->", re.DOTALL)
_META = re.compile(rb"<meta\s[^>]*?charset\s*=\s*[\"']?\s*([\w.:-]+)", re.IGNORECASE)
_XML = re.compile(rb"^\s*<\?xml\s[^>]*?encoding\s*=\s*[\"']([\w.:-]+)", re.IGNORECASE)


def decode(body: bytes, declared: str = "") -> str:
    """The text of ``body``. ``declared`` is the charset of the Content-Type header, or "".

    Order: byte-order mark, header, meta, UTF-8, windows-1252. A declaration that the bytes contradict
    gives way to the next one; a few broken bytes are no contradiction.
    """
    for mark, name in _BOMS:
        if body.startswith(mark):
            return body[len(mark) :].decode(name, "replace")
    for name in _candidates(body, declared):
        text = body.decode(name, "replace")
        if _plausible(text):
            return text
    return body.decode("cp1252", "replace")


def lookup(label: str) -> str:
    """Python's name of the encoding that the web calls ``label``; "" when it is none."""
    label = label.strip().strip("\"'").lower()
    try:
        name = codecs.lookup(_LABELS.get(label, label)).name
    except (LookupError, ValueError):  # ValueError: a NUL in the label
        return ""
    return name if name in _ALLOWED else ""


def _candidates(body: bytes, declared: str) -> list[str]:
    """Encodings to try, best first. UTF-16 is believed only when the bytes look like it."""
    wide = _wide_without_mark(body)
    named = [lookup(declared), _from_markup(body)]
    candidates = dict.fromkeys([wide, *(name for name in named if not name.startswith("utf-16")), "utf-8"])
    found = [name for name in candidates if name]
    # Servers say latin-1 by default of UTF-8 pages; latin-1 text that is valid UTF-8 is all but impossible.
    return ["utf-8", *found] if found[0] == "cp1252" else found


def _plausible(text: str) -> bool:
    """Whether the encoding fits: next to what was read, what could not be read is rare."""
    broken = text.count("\ufffd")
    return not broken or broken * 10 <= sum(1 for c in text if c > "\x7f") - broken


def _from_markup(body: bytes) -> str:
    head = _COMMENT.sub(b"", body[:SNIFF_BYTES])
    found = _META.search(head) or _XML.search(head)
    if found is None:
        return ""
    name = lookup(found[1].decode("ascii", "replace"))
    # Readable as ASCII so far, so it cannot be UTF-16 whatever it says (HTML standard).
    return "utf-8" if name.startswith("utf-16") else name


def _wide_without_mark(body: bytes) -> str:
    """UTF-16 without a mark: Latin markup has a NUL in every second byte."""
    head = body[:512]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > len(head) * 0.2 and even < odd / 8:
        return "utf-16-le"
    if even > len(head) * 0.2 and odd < even / 8:
        return "utf-16-be"
    return ""
