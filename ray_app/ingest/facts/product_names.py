"""The names of the products that a document is about, from its title, headings, trail, address and own data."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from urllib.parse import unquote, urlsplit

from ray_app.ingest.clean import names
from ray_app.ingest.facts.designations import designations, key, plain
from ray_app.ingest.page.structured import Hints
from ray_app.records import Document

MAX_NAME_CHARS = 60
MAX_NAME_WORDS = 7
MAX_FIRST_PAGE_CHARS = 1_500  # of a PDF: its cover
MAX_COVER = 10  # sections
MAX_COVER_LINE = 120  # characters; longer ones are running text
MAX_ON_COVER = 4  # names; more are a list of what else there is
MIN_KEY = 2
OFTEN = 3  # times that a document names what it is about
# Points. A name needs ENOUGH of them: one clear place, or two that bear each other out.
ENOUGH = 4
_DATA, _TITLE, _HEADING, _TRAIL, _SOCIAL, _MANUAL, _ADDRESS, _COVER = 20, 6, 5, 4, 4, 4, 3, 4

_SPLIT = re.compile(r"\s*[|｜•»›]\s*|\s[-–—·>]+\s|\s*[–—]\s*|:\s+|：")
# "Volca Keys Owner's Manual", "Bedienungsanleitung Volca Keys"
_MANUAL_WORDS = (
    r"(?:(?:owner|user|operator)['’]?s?['’]? (?:manual|guide|handbook)|quick[ -]?start|operating instructions"
    r"|(?:reference|operation|instruction|operating|service|installation|setup|quick[ -]?start|quick reference"
    r"|getting started) (?:manual|guide|instructions)|data ?sheet"
    r"|bedienungsanleitung|benutzerhandbuch|referenzhandbuch|kurzanleitung"
    r"|mode d['’]emploi|manuel d['’]utilisation|guide de (?:l['’]utilisateur|démarrage rapide)|manuel de référence"
    r"|manual d[eo](?:l)? (?:usuario|usuário|propietario|referencia)|manual de instru(?:cciones|ções)"
    r"|guía (?:rápida|del usuario)|manuale (?:utente|d['’]uso|di istruzioni|di riferimento)|guida (?:rapida|utente)"
    r"|gebruikershandleiding|handleiding|bruksanvisning|brugsanvisning|käyttöohje|instrukcja obsługi"
    r"|руководство (?:пользователя|по эксплуатации)|kullanım kılavuzu"
    r"|取扱説明書|ユーザーガイド|リファレンス・?マニュアル"
    r"|사용 ?설명서|使用说明书?|使用說明書?|用户手册|מדריך (?:ל)?(?:משתמש|הפעלה)|הוראות הפעלה"
    r"|دليل (?:المستخدم|المالك)|راهنمای کاربر)"
)
_MANUAL_AFTER = re.compile(rf"(.+?)[\s:,–—-]+(?:the |\(?)?{_MANUAL_WORDS}\)?\b.*", re.IGNORECASE)
_MANUAL_BEFORE = re.compile(
    rf"{_MANUAL_WORDS}[\s:–—-]+(?:(?:for|für|pour|para|per|voor|för|till|de|du|del|der|des|von) )?"
    r"(?:(?:the|den|das|die|le|la|el|il) )?(.+)",
    re.IGNORECASE,
)
_VERSION = re.compile(r"[ -]+v?[0-9]+(?:\.[0-9]+)+\s*$")
# After a model: MC-707 MKII, Stage 3 Compact
_VARIANT = re.compile(
    r"(?: (?:M[Kk] ?[IVX\d]{1,3}|I{2,3}|IV|X[LDST]|[SLE]E|[LE]X|HD|Pro|Plus|Mini|Max|Lite|Ultra|Studio|Compact)\b)+"
)
_WORDS_BEFORE = re.compile(r"(?:[^\W\d_][\w'’&+.]* ){1,3}\Z")
# Begin titles without belonging to the name that follows.
_NOT_NAMES = names(
    "a about add adding adjusting advanced all an and application applications assembling audio basic best buy buying "
    "calibrate calibrating calibration change changing charging check checking clean cleaning compare compatibility "
    "configure configuring connect connecting connection connections contents controlling create creating data "
    "default discontinued discover download downloads driver drivers each enable error errors every explore factory "
    "faq feature features firmware first fix fixing for from get getting guide help how identify important in "
    "information initialise initialize initializing install installation installing introducing introduction is it "
    "item know learn legacy maintenance manual manuals meet message midi mode model models my new news note notes on "
    "open operating operation operations or original our overview owner pair pairing part parts power problem problems "
    "product products quick reference release repair repairing replace replacing reset resetting restore restoring "
    "review safety save saving service set setting settings setup software spare spec specification specifications "
    "specs start starting step support supported switch technical test testing that the these this tips to "
    "troubleshoot troubleshooting turn tutorial unboxing update updating upgrade upgrading use user using version "
    "video warranty welcome what when where which why with your "
    "das dem den der die ein eine für im mit ohne so und von wie zu zum zur anleitung handbuch modell produkt "
    "au aux avec comment de des du la le les mise pour un une votre con cómo como del el en los para por su un una "
    "come con da di il lo per una de het een met voor"
)
# Steps of an address after which the name of a product comes.
_SHELVES = names(
    "product products p item items model models instrument instruments by_product support_products produkt produkte "
    "produit produits producto productos prodotto prodotti produto produtos producten"
)
_GENERAL = names(
    "home support products product manual manuals downloads documentation docs help index start welcome overview faq "
    "accessories contact search news blog shop store about company user users administrators developers"
)


def product_names(document: Document, hints: Hints, models: Sequence[str], body: str) -> tuple[str, ...]:
    """Names of the products that ``document`` is about, best first, without the brand's own name before them.

    ``models`` are the designations found in it, ``body`` is its text. A name without a model counts when the page's
    own data, the words for a manual beside it, or the address say that it is a product.
    """
    return _Namer(document, hints, models, body).names()


class _Namer:
    """Gathers names with points for each kind of place they stand in."""

    def __init__(self, document: Document, hints: Hints, models: Sequence[str], body: str) -> None:
        self._document = document
        self._hints = hints
        self._models = {key(model) for model in models}
        self._body = body
        self._makers = {key(name) for name in (document.brand, *hints.sites, *hints.brands)} - {""}
        self._maker_words = {word.casefold() for name in (document.brand, *hints.brands) for word in name.split()}
        self._sure = {key(name) for name in (*hints.products, *hints.crumbs, *steps(document.url))}
        self._names: dict[str, str] = {}  # key -> as it is spelt
        self._points: dict[str, int] = {}

    def names(self) -> tuple[str, ...]:
        hints, document = self._hints, self._document
        headings = hints.headings or (first_heading(document) if document.kind == "html" else ())
        self._read([document.title], _TITLE)
        self._read(headings, _HEADING)
        self._read([title for title in hints.titles if title != document.title], _SOCIAL)
        self._read(hints.crumbs, _TRAIL)
        self._read_data(" ".join((document.title, *headings, *hints.crumbs)))
        self._read_address([*_SPLIT.split(document.title)[:1], *headings])
        if document.kind == "pdf":
            self._read_cover()
        self._merge()
        best = sorted(self._points, key=lambda name: -self._points[name])
        return tuple(self._names[name] for name in best if self._points[name] >= ENOUGH)

    def _add(self, name: str, points: int) -> None:
        name = self._without_maker(name)
        found = key(name)
        if len(found) < MIN_KEY or len(name) > MAX_NAME_CHARS or len(name.split()) > MAX_NAME_WORDS:
            return
        if found in self._makers or found in _GENERAL:
            return
        self._names.setdefault(found, name)
        self._points[found] = self._points.get(found, 0) + points

    def _without_maker(self, name: str) -> str:
        words = name.split()
        while len(words) > 1 and words[0].casefold() in self._maker_words:
            del words[0]
        return " ".join(words)

    # Titles, headings, trails

    def _read(self, texts: Iterable[str], points: int) -> None:
        """Points once for each name in a kind of place, however often it stands there."""
        found = {key(name): name for text in texts for part in split_title(plain(text)) for name in self._named(part)}
        for name in found.values():
            self._add(name, points)

    def _named(self, part: str) -> Iterator[str]:
        """The products named in one part of a title."""
        if key(part) in self._makers:
            return
        at = 0
        with_model = False
        for token, _ in designations(part):
            start = part.find(token, at)
            if start >= 0 and key(token) in self._models:
                with_model = True
                yield self._whole(part, start, start + len(token))
        if not with_model and (name := without_manual(part)) and self._is_borne_out(name):
            yield name

    def _whole(self, part: str, start: int, end: int) -> str:
        """The name around a model: "Cantata PL-61 MKII" from "Reset your Cantata PL-61 MKII"."""
        variant = _VARIANT.match(part, end)
        end = variant.end() if variant else end
        match = _WORDS_BEFORE.search(part[:start])
        words = match[0].split() if match else []
        while words:
            name = " ".join([*words, part[start:end]])
            proper = words[0][0].isupper() and not any(w.casefold() in _NOT_NAMES or w.islower() for w in words)
            if proper and self._is_borne_out(name):
                return name
            del words[0]
        return part[start:end]

    def _is_borne_out(self, name: str) -> bool:
        """Whether a name found by guessing stands in the trail, the page's data, or the text too."""
        return key(name) in self._sure or self._body.count(name) >= 2

    # The page's own data

    def _read_data(self, places: str) -> None:
        """Product data. Of several products those that title, heading or trail name; the rest are neighbours."""
        products = self._hints.products
        said = key(places)
        for product in products:
            name = self._without_maker(_SPLIT.split(product)[0] if len(product) > MAX_NAME_CHARS else product)
            if len(products) == 1 or key(name) in said or any(key(token) in said for token, _ in designations(name)):
                self._add(name, _DATA)
        if self._hints.is_product and not products:
            title = next(iter(self._hints.titles), self._document.title)
            self._add(_SPLIT.split(title)[0], _TITLE)

    # The address

    def _read_address(self, phrases: Iterable[str]) -> None:
        """Steps that hold a model, and those behind a shelf such as /products/ that equal a title."""
        path = steps(self._document.url)
        for found, name in self._names.items():
            models = [key(token) for token, _ in designations(name)]
            if any(model in key(step) for model in models if len(model) > MIN_KEY for step in path[-3:]):
                self._points[found] += _ADDRESS
        shelves = [at for at, step in enumerate(path) if step.lower() in _SHELVES]
        shelved = {key(step) for at in shelves for step in path[at + 1 : at + 3]}
        for phrase in dict.fromkeys(phrases):
            if key(phrase) in shelved and self._body.count(phrase) >= OFTEN:
                self._add(phrase, ENOUGH)

    # The cover of a PDF

    def _read_cover(self) -> None:
        text = "\n".join(s.text for s in self._document.sections[:MAX_COVER] if s.anchor == "#page=1")
        lines = [line for line in text[:MAX_FIRST_PAGE_CHARS].split("\n") if line and len(line) <= MAX_COVER_LINE]
        named = {key(name): name for line in lines for name in self._named(line)}
        often = [name for name in named.values() if self._body.count(name) >= OFTEN]
        if len(often) <= MAX_ON_COVER:
            for name in often:
                self._add(name, _COVER)

    def _merge(self) -> None:
        """One name where one holds the other, like PL-61 and Cantata PL-61: the page's own, else the longer."""
        for short in sorted(self._names, key=len):
            holders = [name for name in self._names if name != short and short in name]
            if holders and any(True for _ in designations(self._names[short])):
                for holder in holders:
                    self._points[holder] += self._points[short]
                del self._names[short], self._points[short]


@lru_cache(maxsize=1024)  # each title is asked for twice, and one site's titles end alike
def without_manual(part: str) -> str:
    """The name beside the words for a manual: "Volca Keys" of "Volca Keys Owner's Manual"; "" when there is none."""
    match = _MANUAL_BEFORE.fullmatch(part) or _MANUAL_AFTER.fullmatch(part)
    words = _VERSION.sub("", match[1]).strip(" :,()–—-").split() if match else []
    while words and words[0].casefold() in _NOT_NAMES:
        del words[0]
    telling = [word for word in words if word.casefold() not in _NOT_NAMES | _GENERAL]
    return " ".join(words) if telling and not telling[0][0].islower() else ""


def first_heading(document: Document) -> tuple[str, ...]:
    """The outermost heading over the first section, if there is one."""
    return document.sections[0].path[:1] if document.sections else ()


def split_title(title: str) -> list[str]:
    """Its parts: "PL-61 | Pellandine Support" has two."""
    return [part for part in _SPLIT.split(title) if part]


def steps(url: str) -> list[str]:
    """The steps of the path of an address, without the ending of the last."""
    path = unquote(urlsplit(url).path)
    found = [step for step in path.split("/") if step]
    return [*found[:-1], found[-1].partition(".")[0]] if found else []
