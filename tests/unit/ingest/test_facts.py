"""Facts about products: a labelled list of snippets, and how names, codes and flags are told from what looks alike."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import pytest

import ray_app.demo
from ray_app.ingest import extract_html
from ray_app.ingest.facts import find as facts
from ray_app.ingest.facts.find import MAX_ERRORS, MAX_MODELS, MAX_PARTS, MAX_PRODUCTS
from ray_app.ingest.page.dom import parse
from ray_app.ingest.page.structured import Hints, read
from ray_app.ingest.pdf import inline
from ray_app.records import Document, Facts, Media, Section

URL = "https://help.example.com/page"


def document(
    text: str = "", *, title: str = "", heading: str = "", url: str = URL, kind: str = "html", anchor: str = ""
) -> Document:
    path = (heading,) if heading else ()
    return Document("acme", url, title, "en", kind, (Section(path, anchor, text),), "0" * 32)


def find(text: str = "", *, title: str = "", heading: str = "", url: str = URL, hints: Hints | None = None) -> Facts:
    return facts.find(document(text, title=title, heading=heading, url=url), hints)


@dataclass(frozen=True)
class Case:
    text: str
    models: str = ""
    parts: str = ""
    errors: tuple[str, ...] = ()


LABELLED = [
    # Musical instruments
    Case("Connect the MC-707 to the TR-8S and the SE-02 with MIDI cables.", "MC-707 TR-8S SE-02"),
    Case("The PL-61 and PL-88 share one manual; the PZ-8 has its own.", "PL-61 PL-88 PZ-8"),
    Case("Load the pattern into your SR-16. The SR-16 then restarts.", "SR-16"),
    Case("Works with JUNO-DS61, JUNO-DS88, FA-06 and RD-2000.", "JUNO-DS61 JUNO-DS88 FA-06 RD-2000"),
    Case("A Prophet-5 and a Jupiter-8: tune the Prophet-5 first, then the Jupiter-8.", "Prophet-5 Jupiter-8"),
    Case("Drivers for UR22C, UR44C, AG03MK2 and UMC404HD.", "UR22C UR44C AG03MK2 UMC404HD"),
    Case("Plug the iQ7 into the phone. The iQ7 charges it.", "iQ7"),
    Case("Use the iD14 or the iD44 as an interface.", "iD14 iD44"),
    Case("Firmware for SP-404MKII, SP-404SX and RC-505mkII is out.", "SP-404MKII SP-404SX RC-505mkII"),
    Case("Use a D-50 patch editor. The D-50 must be on.", "D-50"),
    Case("The DX7 loads its bank. Switch the DX7 off and on.", "DX7"),
    Case("K2500R owners need the X100 adapter; the X100 fits the K2500R.", "K2500R X100"),
    Case("MC-707-based rigs and PL-61-style keys.", "MC-707 PL-61"),
    Case("Scarlett 2i2 or 18i20? The 2i2 has two inputs, the 18i20 has eighteen.", "2i2 18i20"),
    Case("PSR-SX900, CT-S1 and TD-17KVX2 (2021)", "PSR-SX900 CT-S1 TD-17KVX2"),
    Case("Panel: CH1 to CH16, OSC1, LFO2, FX1, PAD3, USB1, IN2, OUT4, BANK-2, TRACK 3."),
    Case("Play C4 to C7, then F#3; press F1 and choose A4 or B5 paper at A440."),
    Case("Send CC64 and GM2 System On to PC1; MIDI 2.0 over USB-C at 48 kHz, 24-bit."),
    # Printers, televisions, routers, household
    Case("For MFC-L2710DW, HL-L2350DW and DCP-L3550CDW.", "MFC-L2710DW HL-L2350DW DCP-L3550CDW"),
    Case("Model UE43NU7400 or QE55Q80AATXXU or 55UK6300PLB", "UE43NU7400 QE55Q80AATXXU 55UK6300PLB"),
    Case("RT-AX88U, TL-WR841N and DIR-655 support WPA3 and IPv6.", "RT-AX88U TL-WR841N DIR-655"),
    Case("Headphones WH-1000XM4/WH-1000XM5", "WH-1000XM4 WH-1000XM5"),
    Case("| Model | Ink |\n|-|-|\n| ET-2750 | 102 |\n| ET-4850 | 104 |", "ET-2750 ET-4850"),
    Case("Model: 7590, model no. 7530.", "7590 7530"),
    Case("型番：AB-1200Z を確認してください。", "AB-1200Z"),
    Case("本機MC-707の設定を初期化します。", "MC-707"),
    Case("איפוס ה-MC-707 ול-PL-61 להגדרות היצרן", "MC-707 PL-61"),
    Case("إعادة ضبط جهاز PL-61 إلى إعدادات المصنع", "PL-61"),
    Case("Runs on CR2032 or LR44 cells; DC12V, IP67, RJ45, HDMI2, 100 W, 230 V, Wi-Fi 6."),
    Case("TV ratings TV-14 and PG-13; codecs WMV2, MP3, H264; DVB-T2 and HDR10."),
    # Software documentation
    Case("Encode as UTF-8 or ISO-8859-1, hash with SHA-256, see RFC-2822 and PEP-8."),
    Case("Python3.11 on Windows10, x86-64 and ARM64, TLSv1, CP1252, KOI8-R, base64."),
    Case("Fixed in CVE-2021-44228, issue GH-1234, bpo-12345 and version V2.1.0."),
    Case("See Figure-3, Table-2, Section-4, Step-1, chapter 7 and page 12 of 2024-05-17."),
    Case("`BZ2File`, OpenFile2(), libX11.so, /usr/X11/bin, user@PL-61.example, a.MC-707.b"),
    Case("https://example.com/XR-18/manual and www.example.com/XR-19"),
    Case("```\nMC-909 in code\n```\n\nDEADBEEF01 and A1B2C3D4E5"),
    # Part numbers
    Case("Part No. CK-4407-120 fits.", "", "CK-4407-120"),
    Case("P/N: 123-456, 123-457 and 88-100", "", "123-456 123-457 88-100"),
    Case("SKU 10023 | MPN: AB12345", "", "10023 AB12345"),
    Case("Artikelnummer: 4711-0815, Ersatzteilnummer 5003-12, Bestell-Nr. 778-1", "", "4711-0815 5003-12 778-1"),
    Case("Référence : 70-1288. Numéro de pièce : 220-9911", "", "220-9911 70-1288"),
    Case("Código de artículo: 55-1200; referencia: 88123", "", "55-1200"),
    Case("品番：KB-1234 部品番号: 990-12", "", "KB-1234 990-12"),
    Case('מק"ט: 55012-3 ומק״ט 44120', "", "55012-3 44120"),
    Case("رقم القطعة: 5512-7 артикул: 77-120", "", "5512-7 77-120"),
    Case("| Part No. | Name |\n|-|-|\n| HW-1200 | Fader |\n| 90210 | Knob |", "", "HW-1200 90210"),
    Case("Order number: 100234 (EU)", "", "100234"),
    Case("There is no 1200 in this part; product notes 15, item not 33, part number unknown."),
    # Error codes
    Case("The display shows E-07 when the drive cannot be read.", errors=("E-07",)),
    Case("ERR 99 means that the shutter is stuck.", errors=("ERR 99",)),
    Case("Error 0x80070057 and 0x8024402C during the update", errors=("0x80070057", "0x8024402C")),
    Case("Press OK on Err:12 or Err5.", errors=("Err:12", "Err5")),
    Case("Windows reports an error: the device cannot start.\n(Code 43)", errors=("Code 43",)),
    Case("Codes d'erreur E1, E2 et E3. Fehlercode: F23. Systemfehler H04", errors=("E1", "E2", "E3", "F23", "H04")),
    Case("Error E-01 to E-08 at start-up; codes E-17 to E-19 later.", errors=("E-01", "E-08", "E-17", "E-19")),
    Case("HTTP error 503, error code 7, errno 13", errors=("error 503", "error code 7", "errno 13")),
    Case("エラーコード E-07が表示されます。エラー12。", errors=("E-07", "エラー12")),
    Case("הצג מראה שגיאה E-07 או שגיאה 12", errors=("E-07", "שגיאה 12")),
    Case("Error 5B00 and error 50.4C02 on printers", errors=("5B00", "50.4C02")),
    Case("| Error code | Meaning |\n|-|-|\n| E12 | Pedal |\n| 41 | Fan |", errors=("E12", "Error code 41")),
    Case("| Code | Bedeutung |\n|-|-|\n| H-20 | Wasser |\n| Blau | Farbe |", errors=("H-20",)),
    Case("| Lamp | Error code |\n|-|-|\n| A\\|B | 17 |\n| C | 18 |", errors=("Error code 17", "Error code 18")),
    Case("| Error code | E12 |\n|-|-|\n| Wasserablauffehler | (B1-13) |", errors=("E12",)),
    Case("404 errors, 12 faults, default 12, interrupt 14, terror 15, errors 30, Zip Code 12345."),
    Case("Sie hat die Höhe von 27 Metern erreicht 27 und den Fehler behoben."),
]


class TestLabelledSnippets:
    def test_are_enough(self) -> None:
        assert len(LABELLED) >= 60

    @pytest.mark.parametrize("case", LABELLED, ids=lambda case: case.text[:40])
    def test_say_what_they_say(self, case: Case) -> None:
        found = find(case.text)
        assert set(found.models) == set(case.models.split())
        assert set(found.part_numbers) == set(case.parts.split())
        assert set(found.error_codes) == set(case.errors)


class TestModels:
    def test_a_short_designation_counts_where_it_is_what_the_page_is_about(self) -> None:
        assert find("The M1 has eight outputs.").models == ()
        assert find("The M1 has eight outputs.", title="M1 | Acme", heading="M1").models == ("M1",)
        assert find("The M1 has eight outputs.", title="M1 Owner's Manual").models == ("M1",)
        assert find("The M1 has eight outputs.", url="https://x.example/products/m1/").models == ("M1",)

    def test_a_common_shape_must_be_named_twice_or_in_the_title(self) -> None:
        assert find("Bring your K2500.").models == ()
        assert find("Bring your K2500. The K2500 is heavy.").models == ("K2500",)
        assert find("Bring it.", title="Moving a K2500").models == ("K2500",)

    def test_those_of_the_title_come_first_then_the_most_frequent(self) -> None:
        found = find("The AB-12 beats the CD-34. AB-12 it is, not EF-56.", title="EF-56")
        assert found.models == ("EF-56", "AB-12", "CD-34")

    def test_one_model_in_two_spellings_is_one_model(self) -> None:
        assert find("MC-707, MC-707, MC707").models == ("MC-707",)

    def test_an_error_code_or_a_part_number_is_no_model(self) -> None:
        found = find("Error E-07 or E-12. Part no. AB-1200. E-07 again, E-12 again, AB-1200 again.")
        assert found.models == ()
        assert found.part_numbers == ("AB-1200",)

    def test_a_part_number_that_the_title_names_is_a_model_too(self) -> None:
        assert find("SKU: MC-707", title="MC-707").models == ("MC-707",)

    def test_the_pages_own_data_is_believed(self) -> None:
        hints = Hints(models=("7590",), part_numbers=("20002784",))
        found = find("A router.", hints=hints)
        assert found.models == ("7590",)
        assert found.part_numbers == ("20002784",)


PRODUCTS = [
    ("PL-61 | Acme Support", "", "", ("PL-61",)),
    ("X100 Owner's Manual", "", "", ("X100",)),
    ("MC-707 – Factory reset", "", "", ("MC-707",)),
    ("Reset the PL-61 to factory settings", "", "", ("PL-61",)),
    ("Cantata PL-61 stage piano | Acme", "The Cantata PL-61 is light. Take the Cantata PL-61.", "", ("Cantata PL-61",)),
    ("Werkseinstellungen PL-61", "Halten Sie die Taste.", "", ("PL-61",)),
    ("Volca Keys Owner's Manual", "The Volca Keys has 27 keys. Hold the Volca Keys.", "", ("Volca Keys",)),
    ("Bedienungsanleitung Minilogue XD", "Das Minilogue XD hat 37 Tasten. Minilogue XD!", "", ("Minilogue XD",)),
    ("Mode d'emploi du Kronos", "Le Kronos est lourd. Éteignez le Kronos.", "", ("Kronos",)),
    ("Manual de usuario Rhodes Stage", "El Rhodes Stage suena. Rhodes Stage.", "", ("Rhodes Stage",)),
    (
        "Scarlett Solo",
        "Scarlett Solo: plug in. The Scarlett Solo. Scarlett Solo.",
        "products/scarlett-solo/",
        ("Scarlett Solo",),
    ),
    ("JUNO-DS61 MKII / JUNO-DS88 drivers", "", "", ("JUNO-DS61 MKII", "JUNO-DS88")),
    ("TD-17KVX2 取扱説明書", "", "", ("TD-17KVX2",)),
    ("ＭＣ－７０７™ 取扱説明書", "ＭＣ－７０７を接続します。", "", ("MC-707",)),
    ("MFC\u2011L2710DW | Acme", "", "", ("MFC-L2710DW",)),
    ("ポケットピアノ 取扱説明書", "ポケットピアノは軽いです。ポケットピアノ。", "", ("ポケットピアノ",)),
    ("מדריך למשתמש PL-61", "", "", ("PL-61",)),
    ("איפוס PL-61 להגדרות היצרן | Acme", "", "", ("PL-61",)),
    ("إعادة ضبط PL-61", "", "", ("PL-61",)),
    # Nothing that is a product
    ("Frequently asked questions | Acme", "Use the PL-61.", "", ()),
    ("Error codes | Acme Support", "", "", ()),
    ("User Guide", "Read the user guide.", "", ()),
    ("Stage pianos", "Stage pianos for all.", "products/stage-pianos/", ()),
    ("codecs — Codec registry — Python 3.11.2 documentation", "UTF-8 and UTF-16 are codecs.", "", ()),
    ("mod_ssl - Apache HTTP Server Version 2.4", "TLSv1.3 and SHA-256", "", ()),
    ("git-config(1)", "SHA-1 and UTF-8", "", ()),
    ("Print on A4 paper with Wi-Fi 6", "", "", ()),
]


class TestProducts:
    @pytest.mark.parametrize(("title", "text", "path", "expected"), PRODUCTS, ids=lambda value: str(value)[:30])
    def test_are_lifted_from_the_title(self, title: str, text: str, path: str, expected: tuple[str, ...]) -> None:
        assert find(text, title=title, heading=title, url=f"https://x.example/{path}").products == expected

    def test_the_pages_own_data_comes_first(self) -> None:
        hints = Hints(products=("Acme Volca Mix",), is_product=True, headings=("Compare with the MC-707",))
        assert find(title="Compare with the MC-707", hints=hints).products[0] == "Volca Mix"

    def test_neighbours_in_the_data_are_not_what_the_page_is_about(self) -> None:
        hints = Hints(products=("Volca Mix", "Volca Keys", "MC-101"), headings=("Volca Keys",))
        assert find(title="Volca Keys | Acme", hints=hints).products == ("Volca Keys",)

    def test_a_product_page_without_data_is_named_by_its_title(self) -> None:
        assert find(title="Volca Mix | Acme", hints=Hints(is_product=True)).products == ("Volca Mix",)

    def test_the_trail_tells_the_product_of_an_article(self) -> None:
        hints = Hints(crumbs=("Home", "Products", "Cantata PL-61", "Factory reset"), headings=("Factory reset",))
        assert find(title="Factory reset | Acme", hints=hints).products == ("Cantata PL-61",)

    def test_the_makers_name_is_left_off(self) -> None:
        hints = Hints(brands=("Acme Instruments",), products=("Acme Instruments PL-61",))
        assert find(title="Acme PL-61", hints=hints).products == ("PL-61",)

    def test_a_short_name_within_a_longer_one_is_not_listed_twice(self) -> None:
        hints = Hints(products=("Cantata PL-61",), headings=("PL-61",))
        assert find(title="PL-61 | Acme", hints=hints).products == ("Cantata PL-61",)

    def test_the_cover_of_a_pdf_names_what_it_is_about(self) -> None:
        cover = "Digital Piano\n\nPL-61\n\nOwner's Manual"
        text = "The PL-61 needs a PA-12. Place the PL-61 on a stand."
        sections = (Section(("Page 1",), "#page=1", cover), Section(("Page 2",), "#page=2", text))
        manual = Document("acme", "https://x.example/m.pdf", "m.pdf", "", "pdf", sections, "0" * 32)
        found = facts.find(manual)
        assert found.products == ("PL-61",)
        assert found.models == ("PL-61", "PA-12")


GONE = [
    ("MC-505 (Discontinued)", ""),
    ("Volca Mix – discontinued", ""),
    ("MC-505", "The MC-505 has been discontinued."),
    ("MC-505", "This product is no longer in production."),
    ("MC-505", "This model reached end of life in 2019."),
    ("MC-505", "Status: Discontinued"),
    ("MC-505", "Legacy product"),
    ("MC-505", "The MC-505 is no longer sold or supported."),
    ("MC-505", "Unlike the MC-303, the MC-505 has been discontinued."),
    ("MC-505", "As of Q1 2020 this product has been discontinued."),
    ("MC-505", "Dieses Produkt ist nicht mehr lieferbar."),
    ("MC-505", "Auslaufmodell"),
    ("MC-505", "Produit arrêté"),
    ("MC-505", "Ce produit n'est plus commercialisé."),
    ("MC-505", "Este producto está fuera de producción."),
    ("MC-505", "Producto descatalogado"),
    ("MC-505", "Questo prodotto è fuori produzione."),
    ("MC-505", "Este produto foi descontinuado."),
    ("MC-505", "Dit product is niet meer leverbaar."),
    ("MC-505", "Этот продукт снят с производства."),
    ("MC-505", "生産完了品"),
    ("MC-505", "本製品は販売を終了しました。"),
    ("MC-505", "이 제품은 단종되었습니다."),
    ("MC-505", "该产品已停产。"),
    ("MC-505", "ייצורו הופסק"),
    ("MC-505", "דגם זה אינו מיוצר עוד."),
    ("MC-505", "هذا المنتج توقف إنتاجه"),
]
STILL_MADE = [
    ("MC-505", "The MC-505 is not discontinued."),
    ("MC-505", "Discontinued: No"),
    ("MC-505", "| Discontinued by manufacturer | No |"),
    ("MC-505", "If this product is discontinued, spare parts stay available for ten years."),
    ("MC-505", "It replaces the MC-303, which has been discontinued."),
    ("MC-505", "The MC-505 replaces the MC-303, which has been discontinued."),
    ("MC-505", "This download is no longer available."),
    ("Discontinued products", "- MC-505\n- MC-303"),
    ("End of life policy", "Products may be discontinued without notice."),
    ("Discontinued", "- MC-505"),
    ("MC-505", "- Discontinued\n- New products"),
    ("What's new in Python 3.9", "Support for Windows 7 is discontinued. macpath is no longer supported."),
    ("MC-505", "Wenn das Gerät nicht mehr lieferbar ist, rufen Sie an."),
    ("MC-505", "この製品は生産終了していません。"),
    ("MC-505", "Lead. " * 300 + "The MC-505 has been discontinued."),
]


class TestDiscontinued:
    @pytest.mark.parametrize(("title", "text"), GONE)
    def test_is_told_in_many_languages(self, title: str, text: str) -> None:
        assert find(text, title=title).discontinued

    @pytest.mark.parametrize(("title", "text"), STILL_MADE)
    def test_is_not_taken_from_denials_rules_and_other_products(self, title: str, text: str) -> None:
        assert not find(text, title=title).discontinued

    def test_the_offer_says_it(self) -> None:
        assert find(hints=Hints(discontinued=True)).discontinued


HOSTILE = [
    "A-",
    "A1-",
    "A1/",
    "1",
    " ",
    "A",
    "E-",
    "E0",
    "iA1",
    "err ",
    "Error E-07, ",
    "(Code 4",
    "part no ",
    "model: ",
]
HOSTILE += [
    "`",
    "```\n",
    "|",
    "| A |\n|-|\n",
    "\n- ",
    "discontinued ",
    "Owner's Manual ",
    "١٢٣",
    "エラー",
    "İ",
    "\u2011",
]


class TestWhole:
    def test_keeps_the_images_and_pdfs_that_are_there(self) -> None:
        media = (Media("https://x.example/a.png"),)
        before = Document("b", URL, "MC-707", "", "html", (), "0" * 32, facts=Facts(images=media, pdfs=media))
        found = facts.find(before)
        assert (found.images, found.pdfs, found.models) == (media, media, ("MC-707",))

    def test_an_empty_document_has_no_facts(self) -> None:
        assert facts.find(Document("b", URL, "", "", "html", (), "0" * 32)) == Facts()

    def test_each_kind_is_capped(self) -> None:
        models = " ".join(f"QX-{n:04}Z" for n in range(1000))
        parts = "\n".join(f"Part no. 99{n:04}" for n in range(1000))
        errors = "\n".join(f"Error E-{n:03}" for n in range(999))
        title = " / ".join(f"ZZ-{n}00" for n in range(1, 30))
        found = find(f"{models}\n{parts}\n{errors}", title=title)
        assert len(found.products) == MAX_PRODUCTS
        assert len(found.models) == MAX_MODELS
        assert len(found.part_numbers) == MAX_PARTS
        assert len(found.error_codes) == MAX_ERRORS

    @pytest.mark.parametrize("unit", HOSTILE)
    def test_a_hostile_text_costs_no_more_than_its_length(self, unit: str) -> None:
        text = unit * (1_000_000 // len(unit))
        start = time.perf_counter()
        find(text, title=text[:300], heading=text[:200])
        assert time.perf_counter() - start < 3


class TestDemoSite:
    """The demonstration brand, read as the pipeline reads it."""

    def facts_of(self, page: str) -> Facts:
        path = Path(ray_app.demo.__file__).parent / "site" / "pellandine" / page
        url = f"https://pellandine.example/{page}"
        if page.endswith(".pdf"):
            found = inline.extract(path.read_bytes(), brand="pellandine", url=url, fetched_at=0.0)
            assert found.document is not None
            return facts.find(found.document)
        found = extract_html.extract(path.read_bytes(), brand="pellandine", url=url, charset="", fetched_at=0.0)
        assert found.document is not None
        return facts.find(found.document, read(parse(path.read_text())[0], url))

    def test_a_product_page(self) -> None:
        found = self.facts_of("products/pl-61.html")
        assert found.products == ("Cantata PL-61",)
        assert found.models[0] == "PL-61"
        assert not found.discontinued

    def test_an_old_product(self) -> None:
        found = self.facts_of("products/pl-76.html")
        assert found.products == ("Cantata PL-76",)
        assert "PSP-7611" in found.part_numbers
        assert found.discontinued

    def test_error_codes(self) -> None:
        codes = set(self.facts_of("support/error-codes.html").error_codes)
        assert {f"E-{n:02}" for n in (1, 3, 7, 8, 11, 12, 15, 16, 17, 19, 22)} <= codes
        assert "PA-12" not in codes

    def test_a_manual(self) -> None:
        found = self.facts_of("manuals/cantata-pl-reference.pdf")
        assert set(found.products) == {"Cantata PL-61", "PL-88"}
        assert {"E-17", "E-18", "E-19"} <= set(found.error_codes)
