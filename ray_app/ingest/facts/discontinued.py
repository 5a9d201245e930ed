"""Whether a document says that its own product is no longer made, sold or supported."""

from __future__ import annotations

import re
from collections.abc import Iterable

from ray_app.ingest.facts.designations import Shape, designations, key

LEAD_CHARS = 1_000  # of the text in which a page says so; manuals speak of other products later
BANNER_CHARS = 40  # a line by itself, such as "Status: discontinued"
REACH = 60  # characters before the phrase in which a word denies it or makes it a condition

_PLAIN = (
    r"discontinued|out of production|end[- ]of[- ](?:life|sale|production)\b|\beol\b"
    r"|(?:legacy|obsolete) (?:product|model)\b"
    r"|auslauf(?:modell|artikel|produkt)|abgekündigt|produktion (?:wurde )?eingestellt|eingestelltes (?:produkt|modell)"
    r"|(?:produit|modèle|article|fabrication|production) (?:est |a été )?arrêtée?|\barrêté$"
    r"|fin de (?:vie|série|commercialisation)|descatalogad[oa]|d[ei]scontinuad[oa]|fora de linha"
    r"|(?:fuera|fora) de (?:producción|produção)|fuori (?:produzione|catalogo)|uit productie|utgått|udgået"
    r"|valmistus (?:on )?lopetettu|wycofan[yae] z (?:produkcji|oferty)|снят[ао]? с производства"
    r"|üretim(?:i|den) (?:durdurul|kald|sona er)|生産(?:完了|終了)|(?:販売|製造|サポート)終了|販売を終了|廃番|旧製品"
    r"|단종|생산 ?(?:종료|중단)|판매 ?종료|停产|停產|停售|停止(?:生产|生產|销售)"
    r"|הופסק(?:ה)? (?:ה)?ייצור|ייצורו הופסק|(?:לא|אינו|אינה) מיוצר(?:ת)? (?:עוד|יותר)|יצא מייצור"
    r"|توقف (?:ال)?[إا]نتاج|[أا]وقف [إا]نتاجه|تولید (?:آن )?متوقف"
)
# What may as well be said of a function, a page or a download: the product must be named beside it.
_VAGUE = (
    r"no longer (?:being )?(?:made|manufactured|produced|in production|available|sold|for sale|supported|offered)"
    r"|end[- ]of[- ](?:service|support)\b"
    r"|nicht (?:mehr|länger) (?:lieferbar|erhältlich|hergestellt|produziert|verfügbar|unterstützt|angeboten)"
    r"|n['’]est plus (?:fabriqué|commercialisé|produit|disponible|vendu|pris en charge)"
    r"|ya no se (?:fabrica|vende|produce|comercializa)|(?:não é mais|já não é) (?:fabricad|produzid|vendid)[oa]"
    r"|non (?:è )?più (?:in produzione|prodott[oa]|disponibile|in commercio|supportat[oa])"
    r"|niet meer (?:leverbaar|verkrijgbaar|in productie|geproduceerd|ondersteund)|ikke lenger i produksjon"
    r"|больше не (?:производится|выпускается|прода[её]тся|поддерживается)"
    r"|(?:לא|אינו|אינה) (?:נמכר|נתמך|זמין)(?:ת)? (?:עוד|יותר)|لم يعد (?:متوفر|ينتج|مدعوم)"
)
_GONE = re.compile(f"(?P<plain>{_PLAIN})|{_VAGUE}")
# Said of many or of none: a list, a rule, a case that may come.
_GENERAL_AFTER = re.compile(
    r"\s*(?:products|models|items|instruments|devices|lines|polic(?:y|ies)|dates|lists?|announcements?|process\b|period"
    r"|produkte|modelle|produits|modèles|productos|modelos|prodotti|modelli|製品一覧|リスト|一覧)"
)
_DENIED_AFTER = re.compile(r"[^.\n]{0,20}?[:|?]\s*(?:no|false|nein|non|いいえ|לא|нет)\b")
_DENIED_BEFORE = re.compile(
    r"\b(?:not|never|isn['’]t|wasn['’]t|hasn['’]t|nor|if|when|whether|may|might|could|should|until|unless|before|cannot"
    r"|nicht|nie|kein|keine|falls|wenn|sobald|pas|jamais|si|quand|lorsque|nunca|cuando|quando|quanto|non|niet|indien|als"
    r"|не|если|когда|אם|כאשר|לא|אינו|إذا|عندما|لم)\b"
)
_NOT_YET = re.compile("(?:ではありません|していません|されていません|지 않|没有|尚未)")
_THIS = re.compile(
    r"\bth(?:is|ese) (?:\w+ )?(?:product|model|unit|instrument|device|item|article|printer|router|keyboard"
    r"|synthesi[sz]er|piano|amplifier|tv|camera|speaker)s?\b|\bdiese[sr] (?:produkt|modell|gerät|artikel|instrument)"
    r"|\bce(?:t|tte)? (?:produit|modèle|appareil|article|instrument)"
    r"|\b[ei]ste (?:producto|modelo|aparato|artículo|produto)|\bquesto (?:prodotto|modello|articolo|strumento)"
    r"|\bdit (?:product|model|apparaat)|\bden här (?:produkten|modellen)"
    r"|эт(?:о|от|а) (?:издели|продукт|модел|товар|устройств)"
    r"|本製品|本機|本商品|この(?:製品|機種|商品|モデル)"
    r"|[本此该這该](?:产品|產品|型号|型號|机型)|(?:이|본|해당) (?:제품|모델)"
    r"|(?:מוצר|דגם|מכשיר) זה|(?:ה)?(?:מוצר|דגם) הזה|هذا (?:المنتج|الطراز|الجهاز)|این (?:محصول|مدل)"
)
# One of these stands in every phrase: much quicker to look for.
_STEMS = (
    "scontinu", "no longer", "of prod", "end of", "end-of", "eol", "legacy", "obsolete", "auslauf", "eingestellt",
    "nicht", "fin de", "catal", "a de ", "fuori", "uit prod", "lopetettu", "wycofan", "n'est plus", "ya no se",
    "niet meer", "ikke lenger",
)  # fmt: skip
_ACCENTED_STEMS = ("abgek", "arrêt", "n’est plus", "utg", "udg", "üretim", "não ", "più")
_FOREIGN_STEMS = (
    "с производства", "больше не", "終了", "完了", "廃番", "旧製品", "단종", "생산", "판매", "停", "ייצור", "מיוצר",
    "נמכר", "נתמך", "זמין", "نتاج", "لم يعد", "تولید",
)  # fmt: skip
_FOREIGN = re.compile("[\u0400-\u1fff\u3040-\uffef]")
_SENTENCE = re.compile(r"(?<=[.!?])\s+|[。！？]")
_ITEM = re.compile(r"\s*(?:[-*+]|\d+[.)])\s")
# What may stand before it in a banner: "Status:", "Product"
_OPENING = re.compile(
    r"[*#>|\s]*(?:[^.]{0,20}[:|–—-]\s*\**|(?:produ(?:ct|kt|it|cto|to)|prodotto|model[l]?[eo]?|modèle|item|arti(?:kel|cle))"
    r"\s*(?:(?:is|ist|est|está|è|has been)\s)?)?"
)
_APART = " \t()[]|/–—-:·•!"


def is_discontinued(titles: Iterable[str], lead: str, own: Iterable[str]) -> bool:
    """Whether a title, or the beginning of the text, says so of the product that the document is about.

    ``own`` are the names of that product, none when it is unknown.
    """
    titles, lead = list(titles), lead[:LEAD_CHARS]
    text = "\n".join((*titles, lead)).lower()
    stems = [stem for stem in _stems(text) if stem in text]
    if not stems:
        return False
    keys = {key(name) for name in own}
    near = [line for line in lead.split("\n") if any(stem in line.lower() for stem in stems)]
    lines = [(line, True) for line in titles] + [(part, False) for line in near for part in _SENTENCE.split(line)]
    return any(_says(line, keys, title) for line, title in lines)


def _stems(text: str) -> tuple[str, ...]:
    if text.isascii():
        return _STEMS
    return _STEMS + _ACCENTED_STEMS + (_FOREIGN_STEMS if _FOREIGN.search(text) else ())


def _says(line: str, own: set[str], title: bool) -> bool:
    text = line.lower()
    match = _GONE.search(text)
    if match is None or _is_denied(text, match):
        return False
    if (named := _names_own(line, own, match)) is not None:
        return named
    if _THIS.search(text):
        return True
    return match["plain"] is not None and (_stands_apart(text, match) if title else _is_banner(text, match))


def _is_denied(text: str, match: re.Match[str]) -> bool:
    start, end = match.span()
    return bool(
        _DENIED_BEFORE.search(text, max(0, start - REACH), start)
        or _GENERAL_AFTER.match(text, end)
        or _DENIED_AFTER.match(text, end)
        or _NOT_YET.search(text, end, end + REACH)
    )


def _names_own(line: str, own: set[str], match: re.Match[str]) -> bool | None:
    """Whether the product of which the line says it is the document's own; None when the line names no product.

    It is the last that is named before the phrase, else one after it.
    """
    for part in (line[: match.start()], line[match.end() :]):
        models = [token for token, shape in designations(part) if shape is not Shape.WEAK or key(token) in own]
        if models:
            return key(max(models, key=part.rfind)) in own
        if any(name in key(part) for name in own):
            return True
    return None


def _stands_apart(text: str, match: re.Match[str]) -> bool:
    """Like "Volca Mix (discontinued)", and unlike a page whose whole title is that word."""
    before, after = text[: match.start()].rstrip(" "), text[match.end() :].lstrip(" ")
    return bool(before or after) and before[-1:] in _APART and after[:1] in _APART


def _is_banner(text: str, match: re.Match[str]) -> bool:
    """A short line that begins with it, and no item of a list, which may link to a page of old products."""
    return (
        len(text) <= BANNER_CHARS and not _ITEM.match(text) and _OPENING.fullmatch(text, 0, match.start()) is not None
    )
