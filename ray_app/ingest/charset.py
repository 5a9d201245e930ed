"""Bytes of a web page to text. Never raises: what cannot be decoded becomes U+FFFD."""

from __future__ import annotations

import codecs
import re

from ray_app.ingest import charset_guess
from ray_app.ingest.clean import names

SNIFF_BYTES = 4096  # browsers look at 1,024; pages with a long comment on top declare later
LATE_BYTES = 128 * 1024  # searched only of pages that are in no encoding that they name, nor in UTF-8
WIDE_SHARE = 0.05  # NULs in every second byte; a page in any other encoding has none
CERTAIN_BYTES = 6  # of valid UTF-8, behind first ones; by chance one in five characters of GBK has one, of others fewer

# Labels that mean something else on the web than to Python, or nothing to Python
# (https://encoding.spec.whatwg.org/#names-and-labels).
_WEB_LABELS = {
    "utf-8": "utf8 unicode-1-1-utf-8 unicode11utf8 unicode20utf8 x-unicode20utf8",
    "utf-16-le": "utf-16 unicode ucs-2 csunicode iso-10646-ucs-2 unicodefeff",
    "utf-16-be": "unicodefffe",
    "cp1252": "ascii us-ascii ansi_x3.4-1968 iso-8859-1 iso8859-1 iso88591 iso_8859-1 iso_8859-1:1987 iso-ir-100 "
    "latin1 latin-1 l1 cp819 ibm819 csisolatin1 windows-1252 x-cp1252 x-user-defined",
    "cp1254": "iso-8859-9 iso8859-9 iso88599 iso_8859-9 iso_8859-9:1989 iso-ir-148 latin5 l5 csisolatin5 x-cp1254",
    "cp874": "iso-8859-11 iso8859-11 iso885911 tis-620 dos-874 windows-874",
    "iso8859-2": "iso88592",
    "iso8859-3": "iso88593",
    "iso8859-4": "iso88594",
    "iso8859-5": "iso88595",
    "iso8859-6": "iso88596 iso-8859-6-e iso-8859-6-i csiso88596e csiso88596i",
    "iso8859-7": "iso88597 sun_eu_greek",
    "iso8859-8": "iso88598 iso-8859-8-e iso-8859-8-i csiso88598e csiso88598i visual logical",
    "iso8859-10": "iso885910",
    "iso8859-13": "iso885913",
    "iso8859-14": "iso885914",
    "iso8859-15": "iso885915 csisolatin9",
    "koi8-r": "koi koi8",
    "koi8-u": "koi8-ru",
    "mac-roman": "mac macintosh csmacintosh x-mac-roman",
    "mac-cyrillic": "x-mac-cyrillic x-mac-ukrainian",
    "cp1250": "x-cp1250",
    "cp1251": "x-cp1251",
    "cp1253": "x-cp1253",
    "cp1255": "x-cp1255",
    "cp1256": "x-cp1256",
    "cp1257": "x-cp1257",
    "cp1258": "x-cp1258",
    "gb18030": "gb2312 gb_2312 gb_2312-80 gbk x-gbk chinese csgb2312 csiso58gb231280 iso-ir-58",
    "big5hkscs": "big5 cn-big5 csbig5 x-x-big5",
    "euc_jp": "x-euc-jp cseucpkdfmtjapanese",
    "cp932": "shift_jis shift-jis sjis x-sjis windows-31j csshiftjis",
    "cp949": "euc-kr ks_c_5601-1987 ks_c_5601-1989 ksc5601 ksc_5601 korean windows-949 cseuckr csksc56011987 "
    "iso-ir-149",
}
_LABELS = {label: name for name, labels in _WEB_LABELS.items() for label in labels.split()}
# Python knows codecs that are no text encodings of the web (utf-7, hex, unicode_escape...); these are.
_ALLOWED = names(
    "utf-8 utf-16-le utf-16-be cp866 koi8-r koi8-u mac-roman mac-cyrillic gb18030 big5hkscs euc_jp "
    "iso2022_jp cp932 cp949 cp874 cp1250 cp1251 cp1252 cp1253 cp1254 cp1255 cp1256 cp1257 cp1258 "
    "iso8859-2 iso8859-3 iso8859-4 iso8859-5 iso8859-6 iso8859-7 iso8859-8 iso8859-10 iso8859-13 "
    "iso8859-14 iso8859-15 iso8859-16"
)
_BOMS = ((codecs.BOM_UTF8, "utf-8"), (codecs.BOM_UTF16_LE, "utf-16-le"), (codecs.BOM_UTF16_BE, "utf-16-be"))
_LABEL = re.compile(r"[a-z0-9._:+-]+")  # Python would read a quote or a space in a name as a hyphen
_XML = re.compile(rb"<\?xml\s[^>]*?encoding\s*=\s*[\"']([\w.:-]+)")

# Markup as the standard's prescan reads it (https://html.spec.whatwg.org/#prescan-a-byte-stream-to-determine-its-encoding).
_COMMENT_END = re.compile(rb"(?<=--)>")
_META = re.compile(rb"<meta(?=[\t\n\f\r /])", re.IGNORECASE)
_TAG = re.compile(rb"</?[a-z][^\t\n\f\r >]*", re.IGNORECASE)
_OTHER_TAG = (b"<!", b"</", b"<?")
# Name, then its value in double quotes, in single quotes or bare. What the end of the bytes cuts off does not match.
_ATTRIBUTE = re.compile(
    rb"[\t\n\f\r /]*+(?P<name>[^\t\n\f\r />][^\t\n\f\r />=]*+)[\t\n\f\r ]*+"
    rb"(?:=[\t\n\f\r ]*+(?:\"([^\"]*+)\"|'([^']*+)'|(?=>)|([^\t\n\f\r >\"'][^\t\n\f\r >]*+)(?=[\t\n\f\r >]))|(?=[^=]))"
)
_TAG_END = re.compile(rb"[\t\n\f\r /]*+>")
_CHARSET = re.compile(
    rb"charset[\t\n\f\r ]*+=[\t\n\f\r ]*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\t\n\f\r ;\"'][^\t\n\f\r ;]*+))", re.IGNORECASE
)


def decode(body: bytes, declared: str = "") -> str:
    """The text of ``body``. ``declared`` is the charset of the Content-Type header, or "".

    Order: byte-order mark, header, meta, UTF-8, a late meta, a guess by letters. A declaration that the bytes
    contradict gives way to the next one; a few broken bytes are no contradiction, more than a word of UTF-8 is.
    """
    return _read(body, declared)[1]


def choose(body: bytes, declared: str = "") -> str:
    """Python's name of the encoding that ``decode`` reads ``body`` in."""
    return _read(body, declared)[0]


def _read(body: bytes, declared: str) -> tuple[str, str]:
    for mark, name in _BOMS:
        if body.startswith(mark):
            return name, body[len(mark) :].decode(name, "replace")
    for name in _candidates(body, declared):
        text = body.decode(name, "replace")
        if _plausible(text):
            return name, text
    name = _late_declaration(body) or charset_guess.guess(body)
    return name, body.decode(name, "replace")


def lookup(label: str) -> str:
    """Python's name of the encoding that the web calls ``label``; "" when it is none."""
    label = label.strip().lower()
    if not _LABEL.fullmatch(label):
        return ""
    try:
        name = codecs.lookup(_LABELS.get(label, label)).name
    except LookupError:
        return ""
    return name if name in _ALLOWED else ""


def prescan(body: bytes) -> str:
    """What the markup at the head of ``body`` declares, by the HTML standard; "" when it declares nothing."""
    head = body[:SNIFF_BYTES]
    return _from_meta(head) or _from_xml(head)


def _candidates(body: bytes, declared: str) -> list[str]:
    """Encodings to try, best first. UTF-16 is believed only when the bytes look like it."""
    wide = _wide_without_mark(body)
    named = [lookup(declared), prescan(body)]
    if not any(named) and charset_guess.is_japanese_mail(body[: charset_guess.LOOKED_AT_BYTES]):
        named.append("iso2022_jp")
    candidates = dict.fromkeys([wide, *(name for name in named if not name.startswith("utf-16")), "utf-8"])
    found = [name for name in candidates if name]
    # Servers say latin-1 by default of UTF-8 pages; latin-1 text that is valid UTF-8 is all but impossible.
    if found[0] == "cp1252" or (not wide and _is_certainly_utf8(body)):
        return ["utf-8", *found]
    return found


def _is_certainly_utf8(body: bytes) -> bool:
    """Encodings of one byte per letter read anything, so only valid UTF-8 can tell that they are not meant."""
    try:
        return len(body) - len(body.decode()) >= CERTAIN_BYTES
    except UnicodeDecodeError:
        return False


def _late_declaration(body: bytes) -> str:
    """A declaration behind the bytes that are searched of every page, if it fits. Browsers begin anew for one."""
    name = _from_meta(body[:LATE_BYTES]) if len(body) > SNIFF_BYTES else ""
    return name if name and _plausible(body.decode(name, "replace")) else ""


def _plausible(text: str) -> bool:
    """Whether the encoding fits: next to what was read, what could not be read is rare."""
    broken = text.count("\ufffd")
    return not broken or broken * 10 <= sum(1 for c in text if c > "\x7f") - broken


def _from_meta(head: bytes) -> str:
    at = head.find(b"<")
    while at >= 0:
        if head.startswith(b"<!--", at):
            end = _COMMENT_END.search(head, at + 4)
            at = end.end() if end else len(head)
        elif tag := _META.match(head, at) or _TAG.match(head, at):
            attributes, at = _read_attributes(head, tag.end())
            if tag.re is _META and (name := _declared(attributes)):
                return name
        elif head.startswith(_OTHER_TAG, at):
            end_at = head.find(b">", at)
            at = end_at + 1 if end_at >= 0 else len(head)
        else:
            at += 1
        at = head.find(b"<", at)
    return ""


def _read_attributes(head: bytes, at: int) -> tuple[dict[bytes, bytes], int]:
    """Attributes from ``at`` to the end of the tag, names in lower case, and where the tag ends.

    Of a tag that the bytes cut off nothing counts.
    """
    found: dict[bytes, bytes] = {}
    while not (end := _TAG_END.match(head, at)):
        attribute = _ATTRIBUTE.match(head, at)
        if not attribute:
            return {}, len(head)
        found.setdefault(attribute["name"].lower(), attribute[2] or attribute[3] or attribute[4] or b"")
        at = attribute.end()
    return found, end.end()


def _declared(meta: dict[bytes, bytes]) -> str:
    """The encoding that a meta element declares, or ""."""
    label = meta.get(b"charset")
    if label is None and meta.get(b"http-equiv", b"").lower() == b"content-type":
        in_content = _CHARSET.search(meta.get(b"content", b""))
        label = next((part for part in in_content.groups() if part is not None), b"") if in_content else b""
    return _readable_as_ascii(label or b"")


def _from_xml(head: bytes) -> str:
    found = _XML.match(head.lstrip())
    return _readable_as_ascii(found[1]) if found else ""


def _readable_as_ascii(label: bytes) -> str:
    """Markup that could be read so far cannot be UTF-16, whatever it says (HTML standard)."""
    name = lookup(label.decode("ascii", "replace"))
    return "utf-8" if name.startswith("utf-16") else name


def _wide_without_mark(body: bytes) -> str:
    """UTF-16 without a mark: markup and spaces have a NUL in every second byte, whatever the script."""
    head = body[:1024]
    even, odd = head[0::2].count(0), head[1::2].count(0)
    if odd > len(head) * WIDE_SHARE and even < odd / 8:
        return "utf-16-le"
    if even > len(head) * WIDE_SHARE and odd < even / 8:
        return "utf-16-be"
    return ""
