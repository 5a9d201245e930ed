"""Invisible characters go; those that a script needs stay."""

from __future__ import annotations

import time
import unicodedata
from collections.abc import Callable

import pytest

from ray_app.ingest.clean import names, one_line, visible

SECRET = "Ignore this"


def in_tags(text: str) -> str:
    return "".join(chr(0xE0000 + ord(character)) for character in text)


def in_selectors(text: str) -> str:
    return "".join(chr(0xFE00 + byte if byte < 16 else 0xE0100 + byte - 16) for byte in text.encode())


def in_bits(zero: str, one: str) -> Callable[[str], str]:
    return lambda text: "".join(one if byte >> bit & 1 else zero for byte in text.encode() for bit in range(8))


SMUGGLED = {
    "tags": in_tags(SECRET),
    "variation selectors": in_selectors(SECRET),
    "private planes": "".join(chr(0xF0000 + ord(character)) for character in SECRET),
    "invisible operators": in_bits("\u2062", "\u2064")(SECRET),
    "zero-width space and joiner": in_bits("\u200b", "\u2060")(SECRET),
    "joiners": in_bits("\u200c", "\u200d")(SECRET),
    "selectors": in_bits("\ufe00", "\ufe01")(SECRET),
    "marks of direction": in_bits("\u200e", "\u200f")(SECRET),
    "isolates": in_bits("\u2066", "\u2069")(SECRET),
    "deprecated controls": in_bits("\u206a", "\u206f")(SECRET),
    "fillers of jamo": in_bits("\u115f", "\u1160")(SECRET),
    "Mongolian selectors": in_bits("\u180b", "\u180d")(SECRET),
    "music": in_bits("\U0001d173", "\U0001d17a")(SECRET),
    "shorthand": in_bits("\U0001bca0", "\U0001bca3")(SECRET),
    "grapheme joiner and letter mark": in_bits("\u034f", "\u061c")(SECRET),
    "Khmer vowels": in_bits("\u17b4", "\u17b5")(SECRET),
    "soft hyphen and byte-order mark": in_bits("\u00ad", "\ufeff")(SECRET),
    "interlinear and object signs": in_bits("\ufff9", "\ufffc")(SECRET),
    "controls": in_bits("\x01", "\x02")(SECRET),
}
NEEDED = {
    "Persian": "می‌خواهم نمی‌توانم",
    "Arabic, vocalised": "مَرْحَبًا بِالعَالَمِ",
    "Arabic abbreviation": "سنة ١٤٤٥ ه‍.",
    "Hebrew with points": "שָׁלוֹם עוֹלָם",
    "Hindi": "क्‌ष क्‍ष",
    "Malayalam chillu": "അവന്‍ വന്നു",
    "Sinhala": "ශ්‍රී ලංකා",
    "Bengali": "র‍্যাম",
    "Burmese": "မြန်မာဘာသာ",
    "Khmer": "ភាសាខ្មែរ",
    "Thai": "ภาษาไทย",
    "Mongolian": "ᠮᠣᠩᠭᠣᠯ",
    "Korean": "한국어",
    "old Hangul": "ᄒᆞᆫ글 ᅟᅡ",
    "Japanese": "日本語の説明",
    "Braille": "⠠⠃⠀⠗",
    "family": "👩‍👩‍👧‍👦",
    "profession": "👩🏽‍🔧",
    "burning heart": "❤️‍🔥",
    "flag": "🏳️‍🌈 🏴‍☠️ 🇩🇪",
    "keycaps": "1️⃣ #️⃣",
    "signs": "☎️ ©️ ⚠︎",
    "accents": "Ünïcödé ǖ",
    "icons": "\uf0b7 \ue000",
}


class TestVisible:
    @pytest.mark.parametrize("hidden", SMUGGLED.values(), ids=SMUGGLED)
    def test_nothing_is_smuggled_past_the_reader(self, hidden: str) -> None:
        for before, after in (("re", "set"), ("", ""), ("Press ", " now"), ("重", "置")):
            assert visible(before + hidden + after) == before + after

    def test_behind_an_emoji_neither(self) -> None:
        assert visible("😀" + in_selectors(SECRET)) == "😀"
        assert visible("😀" + in_bits("\ufe0e", "\ufe0f")(SECRET)) in ("😀\ufe0e", "😀\ufe0f")
        assert visible("😀" + in_bits("\u200c", "\u200d")(SECRET) + "😀") in ("😀😀", "😀\u200d😀")
        assert visible("می" + in_bits("\u200c", "\u200d")(SECRET) + "خواهم") in ("می\u200cخواهم", "می\u200dخواهم")

    @pytest.mark.parametrize("text", NEEDED.values(), ids=NEEDED)
    def test_what_a_script_needs_stays(self, text: str) -> None:
        assert visible(text) == unicodedata.normalize("NFC", text)

    @pytest.mark.parametrize("joiner", ["\u200c", "\u200d"])
    def test_joiners_where_no_script_needs_them(self, joiner: str) -> None:
        assert visible(f"re{joiner}set {joiner}x{joiner} при{joiner}вет 日{joiner}本") == "reset x привет 日本"

    def test_blanks_are_spaces(self) -> None:
        assert visible("a\u3164b\uffa0c\u2800d") == "a b c d"
        assert one_line("a \u3164\u2800 b\u3164") == "a b"

    def test_lines_and_spaces(self) -> None:
        assert visible("a\r\nb\rc\nd\te  f") == "a\nb\nc\nd\te  f"
        assert visible("é\r\nb\u2028c\u2029d") == "é\nb\nc\nd"
        assert one_line(" a\u00a0 b\n\tc\u2028d ") == "a b c d"

    def test_the_same_letters_are_the_same_characters(self) -> None:
        assert visible("e\u0301") == "é"

    def test_is_the_same_when_done_twice(self) -> None:
        for text in (*SMUGGLED.values(), *NEEDED.values()):
            assert visible(visible(f"a{text}b")) == visible(f"a{text}b")

    def test_every_character_that_draws_nothing_goes_from_latin_text(self) -> None:
        ignorable = [0xAD, 0x34F, 0x61C, *range(0x115F, 0x1161), 0x17B4, 0x17B5, *range(0x180B, 0x1810)]
        ignorable += [
            *range(0x200B, 0x2010),
            *range(0x202A, 0x202F),
            *range(0x2060, 0x2070),
            *range(0xFE00, 0xFE10),
            0xFEFF,
        ]
        ignorable += [
            *range(0xFFF0, 0xFFF9),
            *range(0x1BCA0, 0x1BCA4),
            *range(0x1D173, 0x1D17B),
            *range(0xE0000, 0xE1000),
        ]
        left = [hex(code) for code in ignorable if visible(f"a{chr(code)}b") != "ab"]
        assert left == []

    @pytest.mark.parametrize("character", ["\u200d", "\ufe0f", "\u3164", "\u2800", "\u1160", "a\u200d", "😀\u200d"])
    def test_no_text_takes_long(self, character: str) -> None:
        started = time.perf_counter()
        visible(character * 200_000)
        assert time.perf_counter() - started < 2


def test_names_are_words() -> None:
    assert names("a b\n  c") == {"a", "b", "c"}
