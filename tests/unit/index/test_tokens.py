from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_app.index.tokens import LONGEST_TOKEN, stemmer, tokenise, tokeniser_version


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("MC-707", ["mc-707", "mc", "707"]),
        ("E-42", ["e-42", "e", "42"]),
        ("RD_2000", ["rd_2000", "rd", "2000"]),
        ("v1.2.3", ["v1.2.3", "v1", "2", "3"]),
        ("opcode~", ["opcode~", "opcode"]),
        ("C++ or C#", ["c++", "c", "c#", "c"]),
        ("std::map", ["std::map", "std", "map"]),
        ("AT&T", ["at&t"]),
        ("MC‑707™", ["mc-707", "mc", "707"]),
    ],
)
def test_identifiers_stay_whole_and_are_split(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("The resets of resetting", ["resets", "resetting"]),  # no stemming
        ("Is it on? Not at all.", ["all"]),
        ("end of line... Next (line)!", ["end", "line", "next", "line"]),
        ("the user's don’t", ["user", "don"]),
        ("Straße ﬁle Ａ１", ["strasse", "file", "a1"]),
        ("İstanbul istanbul", ["istanbul", "istanbul"]),
        ("soft\u00adware zero\u200bwidth", ["software", "zerowidth"]),
        ("__init__ -- --verbose", ["init", "verbose"]),
        ("", []),
        ("🙂 !!! ---", []),
        ("broken \ud800 pair", ["broken", "pair"]),
    ],
)
def test_words(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("שָׁלוֹם", "שלום"),  # niqqud
        ('צה"ל', "צה״ל"),  # two ways to type the abbreviation mark
        ("מַרְחָבָא", "מרחבא"),
        ("مَرْحَبًا", "مرحبا"),  # vowel marks
        ("مـرحـبا", "مرحبا"),  # stretching
        ("ÉCOLE", "école"),
        ("é", "e\u0301"),
    ],
)
def test_spellings_that_mean_the_same(text: str, same_as: str) -> None:
    assert tokenise(text) == tokenise(same_as) != []


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("הגדרות", ["הגדרות", "גדרות"]),  # not a prefix, but that cannot be seen
        ("להגדרות", ["להגדרות", "הגדרות"]),
        ("שבהגדרות", ["שבהגדרות", "בהגדרות", "הגדרות"]),
        ("והמסך", ["והמסך", "המסך", "מסך"]),
        ("בית", ["בית"]),  # too short to have one
        ("ושם", ["ושם"]),
        ("איפוס", ["איפוס"]),
        ("הMC-707", ["הmc-707", "הmc", "707"]),
        ("בית־הספר", ["בית-הספר", "בית", "הספר", "ספר"]),
    ],
)
def test_hebrew_words_are_also_found_without_their_prefix(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


@pytest.mark.parametrize(
    ("text", "tokens"),
    [
        ("Werkseinstellungen zurücksetzen", ["werkseinstellungen", "zurücksetzen"]),
        ("GRÖẞE groesse", ["grösse", "groesse"]),
        ("Zurücksetzen", ["zurücksetzen"]),
        ("E-Mail-Adresse", ["e-mail-adresse", "e", "mail", "adresse"]),
        ("Ein-/Ausschalter", ["ein", "ausschalter"]),
    ],
)
def test_german_words_are_not_broken(text: str, tokens: list[str]) -> None:
    assert tokenise(text) == tokens


def test_the_version_tells_whether_words_were_stemmed() -> None:
    assert len({"1", tokeniser_version(False), tokeniser_version(True)}) == 3


def test_only_english_looking_tokens_are_stemmed() -> None:
    stem = stemmer()
    assert [stem(t) for t in ("settings", "resetting", "mc-707s", "v2s", "größen", "הגדרות")] == [
        "set", "reset", "mc-707s", "v2s", "größen", "הגדרות",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("document", "question"),
    [
        ("電源ボタンを押してください", "電源ボタン"),
        ("请按住电源按钮十秒", "电源"),
        ("전원 버튼을 누르세요", "전원"),
        ("กดปุ่มเปิดปิดค้างไว้", "ปุ่ม"),
        ("MC-707の設定を変更", "mc-707"),
        ("पावर बटन दबाएँ", "बटन"),
        ("लिखा", "लिखा"),
    ],
)
def test_every_script_matches_something(document: str, question: str) -> None:
    assert set(tokenise(question)) & set(tokenise(document))


def test_a_single_character_of_an_unspaced_script_is_a_token() -> None:
    assert tokenise("水") == ["水"]


def test_tokens_are_short() -> None:
    assert [len(t) for t in tokenise("x" * 5_000 + " " + "é" * 5_000)] == [LONGEST_TOKEN, LONGEST_TOKEN]


@given(st.text())
def test_any_text_gives_lower_case_words(text: str) -> None:
    tokens = tokenise(text)
    assert all(t and not any(c.isspace() for c in t) for t in tokens)
    assert tokenise(text) == tokens


@given(st.text(alphabet=st.characters(max_codepoint=127)))
def test_the_ascii_path_agrees_with_the_other(text: str) -> None:
    assert tokenise(text) == [t for t in tokenise(text + " é") if t != "é"]


@pytest.mark.parametrize(
    "text", ["a-" * 100_000, "é-" * 100_000, "_" * 200_000, "é" + "\u0301" * 200_000, "a:" * 100_000]
)
def test_hostile_texts_take_linear_time(text: str) -> None:
    started = time.process_time()
    tokenise(text)
    assert time.process_time() - started < 2
