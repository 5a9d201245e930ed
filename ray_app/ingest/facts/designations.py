"""Model designations in text: MC-707, UR22C, Prophet-5.

They are told by their shape: capitals and digits, mostly with a hyphen. What has the same shape without naming a
product is left out by lists: standards, formats, the labels of sockets and knobs, figures and tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum
from functools import lru_cache

from ray_app.ingest.clean import names

MAX_CHARS = 24  # of a designation; longer ones are encoded data
MAX_ACRONYM = 5  # letters; longer capitals are words
MAX_RUNS = 7  # of letters or digits in one designation; A1B2C3D4 is encoded data


class Shape(IntEnum):
    """How much it takes to believe that a string of this shape is a model."""

    STRONG = 1  # MC-707, UR22C: said once
    FAIR = 2  # D-50, Prophet-5, DX7: said twice
    WEAK = 3  # M1, Rev2: the title or the page's own data say it too


# Standards, formats, protocols, systems, and words that number things; never a product whatever follows.
_NEVER = names(
    "ADLER AES AJP ANSI APACHE ARMV ASCII BASE BLAKE BPO BSD CISPR COVID CRAM CRC CSS CVE CWE DDR DEBIAN DES DIN "
    "DVB ECMA EST ETSI FAT FCC FIPS FLOAT FREEBSD FY GCC GDDR GEN GHSA GIF GMT GOST GPL HDF HDMI HMAC HTML HTTP HTTPS "
    "IBM IEC IEEE IMAP INT IOS IPV IPX ISBN ISO ISSN ITU JIS JPEG JPG KOI LATIN LGPL LINUX LLVM MACOS MODULA MPEG "
    "MSVC NIST NTSC OAUTH OS PAL PBKDF PCIE PCRE PEP PHP PKCS PNG POP POSIX PPC PYTHON RFC RGB RSA SAX SDIF SHA "
    "SIGUSR SMTP SQLITE SSL SSLV SUNOS SVG TCP TIFF TIS TLS TLSV UAX UBUNTU UCS UDP UINT UNICODE USR UTC UTF VER "
    "VERSION VST WIFI WIN WINDOWS WPA WMA WMV XHTML XML YUV "
    "ABBILDUNG ABSCHNITT AFTER ANNEX APPENDIX ARTICLE BEFORE BOOK BUG CARBON CASE CATEGORY CHAPITRE CHAPTER CLASS "
    "COLUMN CORE DAY DRAFT ÉTAPE EXAMPLE EXERCISE FIG FIGURE FORMULA GRADE HIGHWAY ISSUE ITEM KAPITEL LESSON LINE "
    "MONTH NO NOTE NUMBER OMEGA OPTION PAGE PHASE POINT QUESTION REGION RELEASE REVISION ROUTE ROW RULE SCHRITT "
    "SECTION SHEET SEITE STEP STUFE TABELLE TABLE TASK TEST TIER TOP TYP TYPE UNDER VITAMIN VOLUME WEEK YEAR "
    "JAN FEB MAR APR MAY JUN JUL AUG SEP SEPT OCT NOV DEC"
)
# Sockets, knobs and the like, numbered by one or two digits.
_PANEL = names(
    "ALT ARP AUX BANK BIT BUS BYTE CC CH CHAIN CHANNEL CLIP COM CTL CTRL CUE DCF DCO DECK EFX ENV EQ ETH EXP EXT "
    "FADER FN FX GPIO GROUP GRP HDMI IFX IN INPUT INS INSERT IO KEY KIT KNOB LAN LAYER LED LEVEL LFO LINE LOOP "
    "MACRO MAIN MEM MFX MIC MIDI MK MOD MODE OP OSC OUT OUTPUT PAD PART PATCH PATTERN PC PERF PGM PHONES PIN PORT "
    "PRESET PRG PROG PROGRAM PTN RET RETURN SAMPLE SCENE SEND SEQ SLIDER SLOT SONG STAGE STYLE SUB SW TAP TIMBRE "
    "TONE TRACK TRK UNIT USB USER V VCA VCF VCO VOICE VOL WAN ZONE"
)
_EXACT = names(
    "2FA A3 A4 A432 A440 A442 A5 A6 AC3 AG13 AMD64 ARM64 ASN1 AV1 B2B B2C B4 B5 BIG-5 BIG5 BZIP2 C11 C17 C89 C99 "
    "CAT-5 CAT-5E CAT-6 CAT3 CAT5 CAT5E CAT6 CAT6A CAT7 CAT8 CO-2 CO2 CP437 CR-2032 CR2016 CR2025 CR2032 DB-25 DB-9 "
    "DB15 DB25 DB9 DE9 E2E EC2 ED25519 EM64T ES2015 ES5 ES6 F1 F10 F11 F12 F2 F3 F4 F5 F6 F7 F77 F8 F9 F90 GB-2312 "
    "GB18030 GB2312 H263 H264 H265 H2O HDR10 HL7 I18N I2C I2S I386 I486 I586 I686 IA32 IA64 ID3 K8S L10N LR-44 LR03 "
    "LR20 LR41 LR44 LR6 LZ77 LZ78 M4A MD2 MD4 MD5 MP2 MP3 MP3S MP4 N64 NC-17 P2P PG-13 PS2 QT4 QT5 QT6 R03 R6 RC2 "
    "RC4 RJ-11 RJ-12 RJ-45 RJ11 RJ12 RJ45 RJ48 RJ9 RS-232 RS-232C RS-422 RS-485 RS232 RS232C RS422 RS485 S3 SF2 SP1 "
    "SP2 SP3 SR44 STD66 SVR4 T1 T3 TV-14 TV-Y7 U2F UL94 VC1 VC6 VP8 VP9 VT100 W3C WOW64 X11 X25 X264 X265 X400 X500 "
    "X509 X64 X86 X8664 Y2K ZIP64"
)
_STANDARD = re.compile(
    r"(?:AS|BS|EN|GB|NF|UL)\d{4,}|IP\d\dK?|(?:AC|DC)\d+V\d*A?|A[CX]\d{4,5}|GH\d{3,}|CP(?:[789]\d\d|125\w|9xx)"
)

# Where an identifier is part of something longer: an address, a path, a version, a name in code. Hebrew and Arabic
# put a hyphen before a Latin word.
_BEFORE = r"(?<![A-Za-z0-9_.@\\$#%&=+~]{first})(?<![!-~]-{first})(?<![a-z]/{first})"
_AFTER = r"(?![A-Za-z0-9_@=\\^~%°]|\(\)|[.-][A-Za-z0-9]|/[a-z])"
_REST = r"-?[0-9][A-Za-z0-9]{0,16}+(?:-[A-Za-z0-9]{1,24}+){0,3}+" + _AFTER
# The possessive quantifiers keep hostile text from making the matcher go back.
_CAPITALS = re.compile(f"[A-Z]{_BEFORE.format(first='[A-Z]')}[A-Za-z]{{0,14}}+(?:-[A-Za-z]{{1,6}}+)?+{_REST}")
_SMALL_I = re.compile(f"i{_BEFORE.format(first='i')}[A-Z]{{1,3}}+{_REST}")
_DIGITS_FIRST = re.compile(
    r"[0-9](?<![\w.,:/#$+-][0-9])[0-9]{0,2}+(?:([A-Z]{1,4}+)[0-9]{1,5}+[A-Z0-9]{0,8}+|(i)[0-9]{1,2}+)" + _AFTER
)
_TAIL_WORDS = re.compile(r"(?:-[A-Za-z][a-z]{2,}+)++$")
_PARTS = re.compile(r"(i?[A-Za-z]+?)(?:-([A-Za-z]+))?(-?)([0-9]+)([A-Za-z0-9]*)((?:-[A-Za-z0-9]+)*)")
# Capitals after small letters, small letters after a digit.
_CODE_NAME = re.compile(r"[A-Za-z][A-Z][a-z]{2}|[a-z]{2}(?<!mk)[A-Z]|[0-9][A-Za-z]?[a-z]{3}")
_HEAD = re.compile(r"[A-Za-z]+")
_RUNS = re.compile(r"[A-Za-z]+|[0-9]+")
_HEX = re.compile(r"[0-9A-F]{8,}")
_HYPHENS = "\u2010\u2011\u2212\uff0d"
_WIDE = re.compile("[\uff10-\uff5a]")
_NARROW = {code: code - 0xFEE0 for code in range(0xFF01, 0xFF5F)}
_ALNUM = re.compile(r"[^\W_]+")


def designations(text: str) -> Iterator[tuple[str, Shape]]:
    """Every string of the shape of a model, with repeats. ``text`` holds no code and no addresses."""
    for pattern in (_CAPITALS, _SMALL_I):
        for match in pattern.finditer(text):
            token = _TAIL_WORDS.sub("", match[0])
            if len(token) <= MAX_CHARS and (shape := _shape(token)):
                yield token, shape
    for match in _DIGITS_FIRST.finditer(text):
        letters = match[1] or match[2]
        if letters == "i" or (len(letters) == 1 and letters not in "EKPX" and len(match[0]) > 4):
            yield match[0], Shape.FAIR
        elif len(letters) > 1 and len(match[0]) > 4 and "BASE" not in letters:
            yield match[0], Shape.STRONG


def key(name: str) -> str:
    """What the spellings of one identifier have in common: MC-707, MC707 and mc 707."""
    return "".join(_ALNUM.findall(name.casefold()))


def plain(text: str) -> str:
    """With plain hyphens, and with the wide letters and digits of East Asia as plain ones."""
    if text.isascii():
        return text
    for hyphen in _HYPHENS:
        text = text.replace(hyphen, "-")
    return text.translate(_NARROW) if _WIDE.search(text) else text


def is_standard(token: str) -> bool:
    """Whether it begins like the name of a standard or a format: ISO-8859, PEP 8."""
    match = _HEAD.match(token)
    return match is not None and match[0].upper() in _NEVER


def is_code_name(token: str) -> bool:
    """Whether its capitals are those of names in programs: OpenFile2, BZ2File, IMAP4rev1; unlike SP-404mkII."""
    return _CODE_NAME.search(token) is not None


@lru_cache(maxsize=8192)
def _shape(token: str) -> Shape | None:
    """None for what is no model whoever says it."""
    match = _PARTS.fullmatch(token)
    if match is None or _is_code(token) or token.upper() in _EXACT or _STANDARD.fullmatch(token.replace("-", "")):
        return None
    word, middle, hyphen, digits, tail, rest = match.groups(default="")
    if not _NEVER.isdisjoint((word.upper(), middle.upper(), (word + middle).upper())):
        return None
    bare = len(digits) if not tail and not rest else 0
    if 0 < bare <= 2 and word.upper() in _PANEL and not (hyphen and len(word) == 2):  # CH-1 and OP-1 are models
        return Shape.WEAK
    if len(word) == 1:
        return _one_letter(middle, hyphen, len(digits), bare > 0)
    return _several_letters(word, bool(hyphen or middle), bare)


def _is_code(token: str) -> bool:
    return bool(is_code_name(token) or _HEX.fullmatch(token) or len(_RUNS.findall(token)) > MAX_RUNS)


def _one_letter(middle: str, hyphen: str, digits: int, bare: bool) -> Shape:
    """P-45, K2500, X-M7: one letter is also a key, a note, a sheet of paper, a country before a postal code."""
    if middle:
        return Shape.STRONG
    if not hyphen:
        return Shape.FAIR if digits > 2 else Shape.WEAK
    if digits == 1 and bare:
        return Shape.WEAK
    return Shape.STRONG if digits == 3 or (digits > 1 and not bare) else Shape.FAIR


def _several_letters(word: str, hyphen: bool, bare: int) -> Shape:
    """``bare`` counts the digits at the end, 0 when it ends in letters."""
    if word[0].isupper() and word[1:].islower():
        return Shape.FAIR if hyphen and len(word) > 3 else Shape.WEAK
    if len(word) > MAX_ACRONYM:
        return Shape.FAIR if hyphen else Shape.WEAK
    return Shape.FAIR if bare == 1 and not hyphen else Shape.STRONG
