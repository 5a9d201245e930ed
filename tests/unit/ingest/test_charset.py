"""Bytes become the text that was meant: declared, lied about, or not declared at all."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ray_app.ingest.charset import SNIFF_BYTES, choose, decode, lookup, prescan
from ray_app.ingest.charset_guess import FALLBACK, guess


@pytest.mark.parametrize(
    ("body", "declared", "expected"),
    [
        ("é".encode(), "", "é"),
        ("é".encode("latin-1"), "", "é"),
        ("é".encode("latin-1"), "ISO-8859-1", "é"),
        ("é".encode(), "iso-8859-1", "é"),  # what servers say by default, and wrongly
        ("é".encode("latin-1"), "utf-8", "é"),  # a lie
        ("\ufeffé".encode(), "latin-1", "é"),
        ("\ufeffé".encode("utf-16-le"), "utf-8", "é"),
        ("\ufeffé".encode("utf-16-be"), "", "é"),
        (b"plain", "utf-16", "plain"),
        ("한국어 문서".encode("euc-kr"), "euc-kr", "한국어 문서"),
        ("日本語の説明".encode("cp932"), "Shift_JIS", "日本語の説明"),
        ("“x”".encode("cp1252"), "", "“x”"),
        ("<p>plain markup</p>".encode("utf-16-le"), "", "<p>plain markup</p>"),
        (b"a\xff", "utf-7", "aÿ"),
        (b"a", "hex", "a"),
        (b"", "no-such-charset\x00", ""),
    ],
)
def test_reads_what_the_bytes_bear_out(body: bytes, declared: str, expected: str) -> None:
    assert decode(body, declared) == expected


def test_a_declaration_in_the_page_counts_after_the_header() -> None:
    page = "<!-- <meta charset=utf-8> --><meta charset=windows-1251><p>Привет".encode("cp1251")
    assert decode(page).endswith("Привет")
    assert decode('<?xml version="1.0" encoding="koi8-r"?><p>Привет'.encode("koi8-r")).endswith("Привет")
    assert decode("<meta charset=koi8-r>Привет".encode("cp1251"), "cp1251").endswith("Привет")


@pytest.mark.parametrize(
    "declared", ["koi8-r", "windows-1251", "iso-8859-8", "euc-kr", "gbk", "big5", "shift_jis", "utf-16", "iso-2022-jp"]
)
@pytest.mark.parametrize(
    "text", ["Привет, мир!", "한국어 문서", "日本語の説明", "按住电源按钮", "Größe, Maße, für Geräte: früh"]
)
def test_utf8_is_read_as_such_whatever_is_declared(declared: str, text: str) -> None:
    assert decode(f"<p>{text}".encode(), declared) == f"<p>{text}"
    page = f"<meta charset={declared}><p>{text}"
    assert decode(page.encode()) == page


def test_a_word_that_is_utf8_by_chance_is_read_as_declared() -> None:
    assert "小通".encode("gbk").decode() == "Сͨ"
    assert decode("小通".encode("gbk"), "gbk") == "小通"


@pytest.mark.parametrize(
    ("encoding", "declared", "lang"),
    [
        ("windows-1251", "utf-8", "ru"),
        ("euc-kr", "utf-8", "ko"),
        ("shift_jis", "euc-jp", "ja"),
        ("gbk", "utf-8", "zh"),
        ("windows-1255", "utf-16", "he"),
        ("windows-1252", "big5", "fr"),
        ("windows-1256", "iso-2022-jp", "ar"),
    ],
)
def test_a_declaration_that_the_bytes_contradict(encoding: str, declared: str, lang: str) -> None:
    assert decode(TEXTS[lang].encode(encoding), declared) == TEXTS[lang]
    page = f"<meta charset={declared}><p>{TEXTS[lang]}"
    assert decode(page.encode(encoding)) == page


@pytest.mark.parametrize(
    "rest", ["ж".encode("cp1251") * 3, b"\x00" * 30, b"\xed\xa0\x80", b"\xf4\x90\x80\x80", b"\xd0"]
)
def test_what_is_broken_leaves_the_rest_as_it_is(rest: bytes) -> None:
    text = decode("Привет ".encode() * 20 + rest)
    assert text.count("Привет") == 20
    assert text.encode().decode() == text


def test_one_broken_byte_does_not_change_the_encoding() -> None:
    page = "ж".encode() * 50 + b"\xff" + "ж".encode() * 50
    assert decode(page, "utf-8").count("ж") == 100


def test_a_late_declaration_counts_when_nothing_else_fits() -> None:
    page = f"<!-- {'x' * SNIFF_BYTES} --><meta charset=windows-1251><p>Привет".encode("cp1251")
    assert decode(page).endswith("Привет")
    lie = f"<!-- {'x' * SNIFF_BYTES} --><meta charset=euc-kr><p>Привет".encode()
    assert decode(lie).endswith("Привет")


@pytest.mark.parametrize(
    ("label", "name"),
    [
        (" Latin1\n", "cp1252"),
        ('koi8-r"', ""),  # Python would take it
        ("koi8 r", ""),
        ("utf-8\x00", ""),
        ("hz-gb-2312", ""),
        ("GB2312", "gb18030"),
        ("iso-8859-8-i", "iso8859-8"),
        ("x-unicode20utf8", "utf-8"),
        ("windows-949", "cp949"),
        ("big5-hkscs", "big5hkscs"),
        ("x-mac-ukrainian", "mac-cyrillic"),
        ("rot13", ""),
        ("unicode_escape", ""),
        ("utf-7", ""),
        ("iso-2022-kr", ""),
        ("", ""),
    ],
)
def test_labels_are_those_of_the_web(label: str, name: str) -> None:
    assert lookup(label) == name


@pytest.mark.parametrize(
    ("markup", "name"),
    [
        ("<meta charset=koi8-r>", "koi8-r"),
        ("<META\nCHARSET = 'KOI8-R' />", "koi8-r"),
        ("<meta/charset=koi8-r>", "koi8-r"),
        ('<meta http-equiv="Content-Type" content="text/html; charset=koi8-r">', "koi8-r"),
        ("<meta content='text/html; charset=\"koi8-r\"' http-equiv=content-type>", "koi8-r"),
        ("<meta http-equiv=content-type content=text/html;charset=koi8-r;x=y>", "koi8-r"),
        ("<meta charset='' charset=koi8-r>", ""),  # of two attributes the first one counts
        ("<meta charset=no-such><meta charset=koi8-r>", "koi8-r"),
        ('<meta content="text/html; charset=koi8-r">', ""),
        ('<meta http-equiv=refresh content="text/html; charset=koi8-r">', ""),
        ('<meta name=charset content="koi8-r">', ""),
        ("<metacharset=koi8-r>", ""),
        ("<meta charset=koi8-r", ""),
        ("<meta charset='koi8-r>", ""),
        ("<!-- <meta charset=koi8-r> -->", ""),
        ("<!--><meta charset=koi8-r>-->", "koi8-r"),
        ("<!doctype html public '>'><meta charset=koi8-r>", "koi8-r"),
        ("<a title='<meta charset=cp866>'><meta charset=koi8-r>", "koi8-r"),
        ("</p <meta charset=cp866>><meta charset=koi8-r>", "koi8-r"),
        ("<? <meta charset=cp866> ?><meta charset=koi8-r>", "koi8-r"),
        ("<1 < 2 <meta charset=koi8-r>", "koi8-r"),
        ("<meta charset=utf-16>", "utf-8"),
        ("<meta charset=x-user-defined>", "cp1252"),
        ("<?xml version='1.0' encoding='koi8-r'?>", "koi8-r"),
        ("<?xml version='1.0' encoding='utf-16'?>", "utf-8"),
        ("<?xml version='1.0'?><x encoding='koi8-r'>", ""),
    ],
)
def test_prescan(markup: str, name: str) -> None:
    assert prescan(markup.encode()) == name


# Sentences as support pages have them.
TEXTS = {
    "ko": "전원 버튼을 5초 동안 길게 누르면 제품이 초기화됩니다. 설명서를 잘 보관하십시오.",
    "ja": "電源ボタンを五秒間長押しすると、本体が初期化されます。取扱説明書をよくお読みください。",
    "zh": "按住电源按钮五秒钟，设备将恢复出厂设置。请妥善保管本说明书，以备日后查阅。",
    "zh-tw": "按住電源按鈕五秒鐘，裝置將恢復原廠設定。請妥善保管本說明書，以備日後查閱。",
    "ru": "Нажмите и удерживайте кнопку питания пять секунд, чтобы вернуть заводские настройки.",
    "uk": "Натисніть і утримуйте кнопку живлення п'ять секунд, щоб відновити заводські налаштування.",
    "bg": "Натиснете и задръжте бутона за захранване пет секунди, за да върнете фабричните настройки.",
    "el": "Πατήστε και κρατήστε το κουμπί λειτουργίας για πέντε δευτερόλεπτα για επαναφορά.",
    "he": "לחצו לחיצה ארוכה על כפתור ההפעלה במשך חמש שניות כדי לאפס את המכשיר להגדרות היצרן.",
    "ar": "اضغط مع الاستمرار على زر التشغيل لمدة خمس ثوان لإعادة الجهاز إلى إعدادات المصنع.",
    "th": "กดปุ่มเปิดปิดค้างไว้ห้าวินาทีเพื่อคืนค่าเครื่องเป็นค่าจากโรงงาน โปรดเก็บคู่มือนี้ไว้",
    "pl": "Naciśnij i przytrzymaj przycisk zasilania przez pięć sekund, aby przywrócić ustawienia fabryczne.",
    "cs": "Stiskněte a podržte tlačítko napájení po dobu pěti sekund, čímž obnovíte tovární nastavení přístroje.",
    "sk": "Stlačte a podržte tlačidlo napájania na päť sekúnd, čím obnovíte továrenské nastavenia prístroja.",
    "hu": "Tartsa lenyomva öt másodpercig a bekapcsológombot a gyári beállítások visszaállításához, és győződjön meg.",
    "ro": "Ţineţi apăsat butonul de pornire timp de cinci secunde pentru a reveni la setările din fabrică.",
    "hr": "Pritisnite i držite tipku za uključivanje pet sekundi kako biste vratili tvorničke postavke uređaja.",
    "tr": "Fabrika ayarlarına dönmek için güç düğmesine beş saniye basılı tutun. Kılavuzu saklayın.",
    "lt": "Palaikykite paspaudę įjungimo mygtuką penkias sekundes, kad atkurtumėte gamyklinius įrenginio nustatymus.",
    "lv": "Nospiediet un turiet ieslēgšanas pogu piecas sekundes, lai atjaunotu ierīces rūpnīcas iestatījumus.",
    "de": "Halten Sie die Einschalttaste fünf Sekunden lang gedrückt, um das Gerät zurückzusetzen. Größe und Maße.",
    "fr": "Maintenez le bouton d’alimentation enfoncé pendant cinq secondes pour réinitialiser l’appareil à zéro.",
    "es": "Mantenga pulsado el botón de encendido durante cinco segundos para restablecer la configuración de fábrica.",
    "pt": "Mantenha o botão de alimentação premido durante cinco segundos para repor as definições de fábrica.",
    "it": "Tenere premuto il pulsante di accensione per cinque secondi finché l’unità non è più accesa: è già pronta.",
    "da": "Hold tænd/sluk-knappen nede i fem sekunder for at gå tilbage til fabriksindstillingerne på højttaleren.",
    "sv": "Håll in strömknappen i fem sekunder för att återställa högtalaren till fabriksinställningarna.",
    "is": "Haltu aflrofanum inni í fimm sekúndur til að núllstilla tækið. Geymið leiðbeiningarnar á öruggum stað.",
}
LEGACY = {
    "euc-kr": "ko",
    "shift_jis": "ja",
    "euc-jp": "ja",
    "iso-2022-jp": "ja",
    "gbk": "zh",
    "big5": "zh-tw",
    "windows-1251": "ru uk bg",
    "koi8-r": "ru",
    "koi8-u": "uk",
    "iso-8859-5": "ru bg",
    "cp866": "ru",
    "windows-1253": "el",
    "iso-8859-7": "el",
    "windows-1255": "he",
    "iso-8859-8": "he",
    "windows-1256": "ar",
    "iso-8859-6": "ar",
    "cp874": "th",
    "windows-1250": "pl cs sk hu ro hr",
    "iso-8859-2": "pl cs sk hu ro hr",
    "windows-1254": "tr",
    "windows-1257": "lt lv",
    "windows-1252": "de fr es pt it da sv is",
}
UNDECLARED = [(encoding, lang) for encoding, languages in LEGACY.items() for lang in languages.split()]


class TestUndeclared:
    @pytest.mark.parametrize(("encoding", "lang"), UNDECLARED)
    def test_a_sentence(self, encoding: str, lang: str) -> None:
        assert decode(TEXTS[lang].encode(encoding)) == TEXTS[lang]

    @pytest.mark.parametrize(("encoding", "lang"), UNDECLARED)
    def test_a_page_with_english_round_it(self, encoding: str, lang: str) -> None:
        menu = "<ul><li>Home<li>Support<li>Downloads<li>Contact us</ul>" * 20
        page = f"<html><title>X100 © 2024</title>{menu}<p>{TEXTS[lang]}</p>{menu}</html>".replace("©", "(c)")
        assert decode(page.encode(encoding)) == page

    @pytest.mark.parametrize("lang", ["ko", "ja", "zh", "ru", "he", "ar", "el", "th", "pl", "fr"])
    @pytest.mark.parametrize("encoding", ["utf-16-le", "utf-16-be"])
    def test_utf16_without_a_mark(self, lang: str, encoding: str) -> None:
        page = f"<html><head><title>X100</title></head><body><p>{TEXTS[lang]}</p></body></html>"
        assert decode(page.encode(encoding)) == page

    @pytest.mark.parametrize("lang", list(TEXTS))
    def test_utf8_is_never_guessed(self, lang: str) -> None:
        assert choose(TEXTS[lang].encode()) == "utf-8"

    @pytest.mark.parametrize(
        "text",
        ["© 2024 Acme — all rights reserved", "«Reset»", "\xa0\xa0\xa0Menu\xa0", "20\xa0°C ± 5", "“Quick” start…"],
    )
    def test_signs_alone_are_western(self, text: str) -> None:
        assert guess(text.encode("cp1252")) == FALLBACK

    @pytest.mark.parametrize(
        ("encoding", "text"),
        [
            ("cp1252", "Perché «Rendere sicuro» è possibilità di «Modificare»"),
            ("gbk", "正确的挂接分区"),
            ("gbk", "第 4 节 “Using packages”"),
            ("euc-kr", "안전한 설치 방법"),
            ("windows-1253", "Άνοιγμα αρχείου. Άκυρο όνομα. Άγνωστος χρήστης."),
            (
                "windows-1250",
                "Hiányosan öltözött emberi karakterek. " * 3 + "Megfelelő kezelőfelület, frissítések, képernyő.",
            ),
        ],
    )
    def test_what_is_easily_mistaken(self, encoding: str, text: str) -> None:
        assert decode(text.encode(encoding)) == text

    def test_the_language_of_the_page_tips_the_scales(self) -> None:
        short = "Dôležité".encode("cp1250")
        assert decode(b"<html lang=sk><p>" + short).endswith("Dôležité")

    @pytest.mark.parametrize(
        "body", [b"\xe9" * 3_000_000, b"x" * 3_000_000 + b"\xe9", b"<a \xe9" * 500_000, bytes(range(128, 256)) * 20_000]
    )
    def test_it_looks_at_a_sample(self, body: bytes) -> None:
        started = time.process_time()
        guess(body)
        assert time.process_time() - started < 1.0

    @pytest.mark.parametrize("declared", ["", "utf-8", "gb18030", "iso-2022-jp"])
    @pytest.mark.parametrize(("encoding", "lang"), [("euc-kr", "ko"), ("cp1251", "ru"), ("cp1252", "fr")])
    def test_five_megabytes_take_a_fraction_of_a_second(self, encoding: str, lang: str, declared: str) -> None:
        body = (TEXTS[lang].encode(encoding) + b" ") * 100_000
        started = time.process_time()
        decode(body[:5_000_000], declared)
        assert time.process_time() - started < 1.5  # measured: 0.6 at most


@pytest.mark.parametrize(
    "body",
    [
        b"<" * 1_000_000,
        b"<meta " * 200_000,
        b"<meta a" + b"=" * 1_000_000,
        b"<!--" * 250_000,
        b"<a" + b" b=" * 300_000,
        b"<meta http-equiv=content-type content='" + b"charset" * 100_000 + b"'>",
        b"<html " + b"lang" * 200_000 + b"\xe9",
        b"<?xml " + b"encoding" * 100_000,
    ],
)
def test_hostile_markup_is_scanned_in_no_time(body: bytes) -> None:
    started = time.process_time()
    choose(body + b"\xff")
    assert time.process_time() - started < 1.0


@given(st.binary(max_size=300), st.sampled_from(["", "utf-8", "euc-kr", "utf-16", "iso-2022-jp", "gb18030"]))
def test_any_bytes_give_storable_text_in_the_chosen_encoding(body: bytes, declared: str) -> None:
    text = decode(body, declared)
    assert text.encode().decode() == text
    assert body.decode(choose(body, declared), "replace").removeprefix("\ufeff") == text.removeprefix("\ufeff")
