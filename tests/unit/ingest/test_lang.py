"""Languages of texts as support sites have them: whole paragraphs, stubs, code, false and missing declarations."""

from __future__ import annotations

import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor

import pytest

from ray_app.ingest.lang import detect, primary
from ray_app.records import Section

# The same advice in each: about two sentences.
PARAGRAPHS = {
    "en": (
        "Switch off the instrument and wait for ten seconds before you disconnect the cable. If the display "
        "stays dark, the power adapter may be broken; in that case please contact our support team and tell "
        "them the serial number."
    ),
    "de": (
        "Schalten Sie das Instrument aus und warten Sie zehn Sekunden, bevor Sie das Kabel abziehen. Bleibt "
        "die Anzeige dunkel, ist vielleicht das Netzteil defekt; wenden Sie sich dann bitte mit der "
        "Seriennummer an unseren Kundendienst."
    ),
    "fr": (
        "Éteignez l'instrument et attendez dix secondes avant de débrancher le câble. Si l'écran reste noir, "
        "le bloc d'alimentation est peut-être en panne ; dans ce cas, contactez notre service après-vente "
        "avec le numéro de série."
    ),
    "es": (
        "Apague el instrumento y espere diez segundos antes de desconectar el cable. Si la pantalla sigue "
        "oscura, es posible que el adaptador esté averiado; en ese caso póngase en contacto con nosotros e "
        "indique el número de serie."
    ),
    "it": (
        "Spegnete lo strumento e aspettate dieci secondi prima di scollegare il cavo. Se lo schermo rimane "
        "nero, l'alimentatore potrebbe essere guasto; in questo caso contattate l'assistenza indicando il "
        "numero di serie."
    ),
    "pt": (
        "Desligue o instrumento e espere dez segundos antes de retirar o cabo. Se o ecrã continuar escuro, a "
        "fonte de alimentação pode estar avariada; nesse caso contacte a nossa assistência e indique o "
        "número de série."
    ),
    "nl": (
        "Zet het instrument uit en wacht tien seconden voordat u de kabel loskoppelt. Blijft het scherm "
        "donker, dan is de adapter misschien defect; neem in dat geval contact op met onze klantenservice en "
        "vermeld het serienummer."
    ),
    "sv": (
        "Stäng av instrumentet och vänta tio sekunder innan du drar ur kabeln. Om skärmen förblir svart kan "
        "nätadaptern vara trasig; kontakta i så fall vår kundtjänst och uppge serienumret som står på "
        "undersidan."
    ),
    "da": (
        "Sluk for instrumentet og vent ti sekunder, før du trækker kablet ud. Hvis skærmen forbliver mørk, "
        "er strømforsyningen måske gået i stykker; kontakt i så fald vores kundeservice og oplys "
        "serienummeret."
    ),
    "no": (
        "Slå av instrumentet og vent i ti sekunder før du trekker ut kabelen. Hvis skjermen forblir mørk, "
        "kan strømadapteren være ødelagt; ta i så fall kontakt med oss og oppgi serienummeret som står på "
        "undersiden."
    ),
    "fi": (
        "Sammuta soitin ja odota kymmenen sekuntia ennen kuin irrotat johdon. Jos näyttö pysyy pimeänä, "
        "virtalähde voi olla rikki; ota silloin yhteyttä asiakaspalveluumme ja kerro laitteen sarjanumero."
    ),
    "pl": (
        "Wyłącz instrument i odczekaj dziesięć sekund, zanim odłączysz kabel. Jeśli wyświetlacz pozostaje "
        "ciemny, zasilacz może być uszkodzony; w takim przypadku skontaktuj się z nami i podaj numer seryjny."
    ),
    "cs": (
        "Vypněte nástroj a počkejte deset sekund, než odpojíte kabel. Pokud displej zůstane tmavý, může být "
        "vadný napájecí zdroj; v takovém případě se obraťte na naši podporu a uveďte sériové číslo."
    ),
    "hu": (
        "Kapcsolja ki a hangszert, és várjon tíz másodpercet, mielőtt kihúzza a kábelt. Ha a kijelző sötét "
        "marad, a tápegység meghibásodhatott; ebben az esetben forduljon ügyfélszolgálatunkhoz a "
        "sorozatszámmal."
    ),
    "ro": (
        "Opriți instrumentul și așteptați zece secunde înainte de a deconecta cablul. Dacă ecranul rămâne "
        "întunecat, este posibil ca adaptorul să fie defect; în acest caz contactați-ne și comunicați "
        "numărul de serie."
    ),
    "tr": (
        "Kabloyu çıkarmadan önce enstrümanı kapatın ve on saniye bekleyin. Ekran karanlık kalırsa güç "
        "adaptörü bozulmuş olabilir; bu durumda lütfen müşteri hizmetlerimize başvurun ve seri numarasını "
        "bildirin."
    ),
    "vi": (
        "Hãy tắt nhạc cụ và đợi mười giây trước khi rút dây cáp. Nếu màn hình vẫn tối, bộ nguồn có thể đã "
        "hỏng; trong trường hợp đó xin liên hệ với bộ phận hỗ trợ của chúng tôi và cho biết số sê-ri."
    ),
    "id": (
        "Matikan alat musik dan tunggu sepuluh detik sebelum Anda mencabut kabel. Jika layar tetap gelap, "
        "mungkin adaptor dayanya rusak; dalam hal ini silakan hubungi layanan pelanggan kami dan sebutkan "
        "nomor serinya."
    ),
    "he": (
        "כבו את הכלי והמתינו עשר שניות לפני שתנתקו את הכבל. אם המסך נשאר כבוי, ייתכן שספק הכוח PA-12 התקלקל; "
        "במקרה כזה פנו לשירות הלקוחות שלנו ומסרו את המספר הסידורי של ה-MC-707."
    ),
    "ar": (
        "أوقف تشغيل الآلة وانتظر عشر ثوانٍ قبل أن تفصل الكابل. إذا ظلت الشاشة مظلمة فقد يكون محول الطاقة "
        "معطلاً، وفي هذه الحالة يرجى الاتصال بخدمة العملاء وذكر الرقم التسلسلي."
    ),
    "fa": (
        "ساز را خاموش کنید و پیش از جدا کردن کابل ده ثانیه صبر کنید. اگر صفحه‌نمایش تاریک ماند، شاید آداپتور "
        "خراب شده باشد؛ در این صورت با پشتیبانی ما تماس بگیرید و شماره سریال را بگویید."
    ),
    "ur": (
        "کیبل نکالنے سے پہلے ساز کو بند کریں اور دس سیکنڈ انتظار کریں۔ اگر سکرین تاریک رہے تو ہو سکتا ہے کہ "
        "اڈاپٹر خراب ہو؛ اس صورت میں ہم سے رابطہ کریں اور سیریل نمبر بتائیں۔"
    ),
    "ru": (
        "Выключите инструмент и подождите десять секунд, прежде чем отсоединять кабель. Если экран остаётся "
        "тёмным, возможно, неисправен блок питания; в этом случае обратитесь в нашу службу поддержки."
    ),
    "uk": (
        "Вимкніть інструмент і зачекайте десять секунд, перш ніж від'єднувати кабель. Якщо екран залишається "
        "темним, можливо, несправний блок живлення; у такому разі зверніться до нашої служби підтримки."
    ),
    "bg": (
        "Изключете инструмента и изчакайте десет секунди, преди да извадите кабела. Ако екранът остане "
        "тъмен, може би захранването е повредено; в такъв случай се свържете с нашата поддръжка."
    ),
    "el": (
        "Απενεργοποιήστε το όργανο και περιμένετε δέκα δευτερόλεπτα πριν αποσυνδέσετε το καλώδιο. Αν η οθόνη "
        "παραμένει σκοτεινή, επικοινωνήστε μαζί μας."
    ),
    "th": ("ปิดเครื่องดนตรีแล้วรอสิบวินาทีก่อนถอดสายเคเบิล หากหน้าจอยังมืดอยู่ แสดงว่าอะแดปเตอร์อาจเสีย โปรดติดต่อฝ่ายบริการลูกค้า"),
    "hi": ("केबल निकालने से पहले वाद्ययंत्र बंद करें और दस सेकंड प्रतीक्षा करें। यदि स्क्रीन काली रहती है तो एडाप्टर खराब हो सकता है।"),
    "ko": (
        "케이블을 분리하기 전에 악기를 끄고 10초 동안 기다리십시오. 화면이 계속 어두우면 전원 어댑터가 "
        "고장났을 수 있습니다."
    ),
    "ja": (
        "ケーブルを抜く前に楽器の電源を切り、10秒間お待ちください。画面が暗いままの場合は、電源アダプタ"
        "ーの故障が考えられます。"
    ),
    "zh": ("拔下电缆之前，请关闭乐器并等待十秒钟。如果屏幕仍然是黑的，则电源适配器可能已损坏，请联系我们的客户服务。"),
}


class TestParagraphs:
    @pytest.mark.parametrize("lang", PARAGRAPHS)
    def test_are_told_without_a_declaration(self, lang: str) -> None:
        assert detect(PARAGRAPHS[lang], "") == lang

    @pytest.mark.parametrize("lang", PARAGRAPHS)
    def test_overrule_the_default_of_the_sites_software(self, lang: str) -> None:
        assert detect(PARAGRAPHS[lang], "en-US") == lang

    @pytest.mark.parametrize("lang", PARAGRAPHS)
    def test_agree_with_their_own_declaration(self, lang: str) -> None:
        assert detect(PARAGRAPHS[lang], lang) == lang


class TestDeclarations:
    def test_a_short_text_keeps_its_declaration(self) -> None:
        assert detect("Werkseinstellungen", "en") == "en"
        assert detect("MC-707 Reset", "de") == "de"
        assert detect("", "fr") == "fr"

    def test_a_short_text_without_one_is_of_no_known_language(self) -> None:
        assert detect("MC-707 Reset", "") == ""
        assert detect("", "") == ""

    def test_a_few_letters_of_a_script_of_its_own_are_enough(self) -> None:
        assert detect("איפוס להגדרות היצרן", "") == "he"
        assert detect("איפוס להגדרות היצרן", "en") == "he"
        assert detect("공장 초기화", "") == "ko"

    def test_one_word_of_another_script_is_not(self) -> None:
        assert detect("MC-707 שלום", "en") == "en"
        assert detect(PARAGRAPHS["en"] + " עברית | العربية | 日本語 | Русский", "en") == "en"

    @pytest.mark.parametrize("declared", ["und", "xx", "mul", "zxx", "", "??", "e", "x-default", "english please"])
    def test_what_names_no_language_is_none(self, declared: str) -> None:
        assert detect(PARAGRAPHS["de"], declared) == "de"

    @pytest.mark.parametrize(
        ("tag", "lang"),
        [("pt-BR", "pt"), ("ZH_hant", "zh"), (" iw ", "he"), ("nb-NO", "no"), ("nn", "nn"), ("fil", "tl"), ("", "")],
    )
    def test_tags_are_brought_to_one_form(self, tag: str, lang: str) -> None:
        assert primary(tag) == lang

    def test_a_language_that_the_model_does_not_know_is_believed(self) -> None:
        assert detect(PARAGRAPHS["de"], "gsw") == "gsw"
        assert detect(PARAGRAPHS["he"], "yi") == "yi"

    def test_but_not_in_a_script_it_is_not_written_in(self) -> None:
        assert detect(PARAGRAPHS["he"], "gsw") == "he"
        assert detect(PARAGRAPHS["en"], "he") == "en"

    def test_near_languages_are_not_overruled(self) -> None:
        serbian = "Isključite instrument i sačekajte deset sekundi pre nego što izvučete kabl. Ako ekran ostane taman, "
        assert detect(serbian * 2, "hr") == "hr"
        assert detect(serbian * 2, "en") in ("sr", "hr", "bs")

    def test_japanese_without_kana_is_believed(self) -> None:
        assert detect("電源投入時 異音発生", "ja") == "ja"
        assert detect("電源投入時 異音発生", "") == "zh"


class TestSamples:
    def test_code_and_addresses_do_not_count(self) -> None:
        code = "```\nwhile the_english_code is None:\n    print('this is not the language of the page')\n```\n"
        assert detect(f"{code}{PARAGRAPHS['de']} `and this is not either` https://example.com/what/is/this", "") == "de"
        assert detect(code * 20, "") == ""
        assert detect(code * 20, "de") == "de"

    def test_numbers_and_tables_of_values_are_of_no_language(self) -> None:
        assert detect("| C4 | 261.63 |\n| D4 | 293.66 |\n" * 50, "") == ""
        assert detect("| C4 | 261.63 |\n| D4 | 293.66 |\n" * 50, "fr") == "fr"

    def test_a_notice_in_another_language_does_not_decide(self) -> None:
        notice = Section((), "", "This page has not been translated completely. Please see the English original.")
        rest = [Section((), f"#{n}", PARAGRAPHS["tr"]) for n in range(5)]
        assert detect([notice, *rest], "en") == "tr"

    def test_an_empty_document(self) -> None:
        assert detect([], "") == ""
        assert detect([Section((), "", "")], "es") == "es"

    @pytest.mark.parametrize("unit", ["a", "`", "```\n", "|", "\u0301", "\U0001f3b9", "א", "ا", "\ud800", "é@", "#"])
    def test_a_hostile_text_is_read_in_time(self, unit: str) -> None:
        detect(PARAGRAPHS["en"], "")  # loads the model
        start = time.perf_counter()
        detect(unit * 1_000_000, "en")
        assert time.perf_counter() - start < 0.5


class TestModel:
    def test_threads_agree(self) -> None:
        with ThreadPoolExecutor(8) as pool:
            found = list(pool.map(lambda lang: detect(PARAGRAPHS[lang], ""), list(PARAGRAPHS) * 4))
        assert found == list(PARAGRAPHS) * 4

    def test_is_not_loaded_before_it_is_needed(self) -> None:
        code = (
            "import sys; import ray_app.ingest.lang as l; l.detect('short', 'en'); sys.exit('py3langid' in sys.modules)"
        )
        assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
