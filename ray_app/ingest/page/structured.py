"""What a page says about itself in machine-readable form: JSON-LD, microdata, OpenGraph, breadcrumbs, main heading."""

from __future__ import annotations

import html
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import orjson
from selectolax.lexbor import LexborHTMLParser, LexborNode

from ray_app.ingest.clean import names, one_line
from ray_app.ingest.page.dom import Attributes
from ray_app.ingest.page.hidden import is_hidden

MAX_NAME_CHARS = 200  # of one name; a longer one is a description
MAX_RAW_CHARS = 4_000  # of the markup text behind it; an unclosed element holds the rest of the page
MAX_NAMES = 20  # of each kind; a page with more products is a list, and its names are found in its text
MAX_CRUMBS = 12
MAX_TRAILS = 5  # some pages have one for wide and one for narrow screens
MAX_NODES = 2_000  # elements of the page that are looked at, and objects of all its JSON-LD
MAX_LD_CHARS = 500_000  # of all JSON-LD of the page; more is a catalogue
MAX_TEXT_CHARS = 1_000_000  # read out of elements in all; bounds what nested ones can cost
MAX_CLIMB = 40  # ancestors searched for the item that a property belongs to

_WANTED = (
    'script[type*="ld+json" i], meta[property], meta[name], [itemprop], h1, nav[aria-label*="breadcrumb" i], '
    '[class*="breadcrumb" i], [itemtype*="BreadcrumbList" i]'
)
_PRODUCTS = names("product productgroup productmodel individualproduct someproducts softwareapplication")
# Where the things that a page is about stand; similar and related products stand elsewhere.
_WITHIN = ("@graph", "mainEntity", "mainEntityOfPage", "about", "itemReviewed", "breadcrumb", "hasPart")
_METAS = {
    "og:title": "titles",
    "twitter:title": "titles",
    "og:site_name": "sites",
    "application-name": "sites",
    "product:brand": "brands",
    "og:brand": "brands",
    "product:retailer_item_id": "part_numbers",
    "product:mfr_part_no": "part_numbers",
}
_PROPERTIES = {"name": "products", "model": "models", "sku": "part_numbers", "mpn": "part_numbers", "brand": "brands"}
_WRAPPING = re.compile(r"<!--|-->|(?:/\*|//)?\s{0,9}(?:<!\[CDATA\[|\]\]>)\s{0,9}(?:\*/)?")
_NO_TRAIL = names("html body main script meta")
_BREAK = "\x0b"  # where one piece of text ends and the next begins; no page text keeps this character
_BETWEEN = re.compile(rf"{_BREAK}|[\s>]>\s|\s[/|→]\s|[›»]")
_PERMALINK_SIGNS = " \t\r\n¶§#🔗"
_SIGNS = " /|\\>›»→•·:,-–—‹«<"  # between the steps of a trail


@dataclass(frozen=True, slots=True)
class Hints:
    """Cleaned, on one line, at most MAX_NAME_CHARS each, without repeats, in page order."""

    products: tuple[str, ...] = ()  # names in Product data
    models: tuple[str, ...] = ()  # their models
    part_numbers: tuple[str, ...] = ()  # their sku and mpn
    brands: tuple[str, ...] = ()
    titles: tuple[str, ...] = ()  # as told to social networks
    sites: tuple[str, ...] = ()  # names of the whole site
    headings: tuple[str, ...] = ()  # h1
    crumbs: tuple[str, ...] = ()  # outermost first, mostly with the page itself last
    is_product: bool = False  # the page presents one product
    discontinued: bool = False  # its offer says so


def read(tree: LexborHTMLParser, url: str) -> Hints:
    """What the page at ``url`` tells machines. Reads any tree without raising and without changing it."""
    reader = _Reader(url)
    for node in tree.css(_WANTED)[:MAX_NODES]:
        reader.element(node)
    return reader.hints()


class _Reader:
    """Collects while the elements come in page order."""

    def __init__(self, url: str) -> None:
        self._url = url
        self._found: dict[str, dict[str, None]] = {}  # field of Hints -> names
        self._own: dict[str, None] = {}  # products that give this page as their address
        self._trails: list[tuple[str, ...]] = []
        self._is_product = False
        self._discontinued = False
        self._text_left = MAX_TEXT_CHARS
        self._ld_left = MAX_LD_CHARS
        self._nodes_left = MAX_NODES

    def hints(self) -> Hints:
        found = {kind: tuple(values) for kind, values in self._found.items()}
        products = tuple(self._own) or found.pop("products", ())
        found.pop("products", None)
        return Hints(
            products=products,
            **found,
            crumbs=next((trail for trail in self._trails if len(trail) > 1), ()),
            is_product=self._is_product or len(products) == 1,
            discontinued=self._discontinued and len(products) <= 1,
        )

    def element(self, node: LexborNode) -> None:
        attributes: Attributes = node.attributes
        tag = node.tag
        if tag == "script":
            self._script(node)
        elif tag == "h1" and not is_hidden(attributes):
            self._add("headings", self._text(node).rstrip(_PERMALINK_SIGNS))
        if "itemprop" in attributes:
            self._property(node, attributes)
        elif tag == "meta":
            self._meta(attributes)
        if tag not in _NO_TRAIL and len(self._trails) < MAX_TRAILS and "breadcrumb" in _marks(attributes):
            self._trail(node)

    def _add(self, kind: str, raw: object) -> None:
        found = self._found.setdefault(kind, {})
        name = _name(raw)
        if name and len(found) < MAX_NAMES:
            found[name] = None

    def _text(self, node: LexborNode) -> str:
        """The text of an element, "" when it is too long or the page has used up its share."""
        if self._text_left <= 0:
            return ""
        raw = node.text() or ""
        self._text_left -= len(raw)
        return raw if len(raw) <= MAX_RAW_CHARS else ""

    # Head

    def _meta(self, attributes: Attributes) -> None:
        kind = (attributes.get("property") or attributes.get("name") or "").strip().lower()
        content = attributes.get("content") or ""
        if kind in _METAS:
            self._add(_METAS[kind], content)
        elif kind == "og:type":
            self._is_product |= content.strip().lower() in ("product", "og:product", "product.item")
        elif kind in ("product:availability", "og:availability"):
            self._discontinued |= "discontinued" in content.lower()

    # Breadcrumbs

    def _trail(self, node: LexborNode) -> None:
        """The steps are list items, or else what lies between signs or elements. Too many are a menu or the page."""
        if not self._text(node):
            return
        items = [item.text() or "" for item in node.css("li")]
        if len(items) < 2:
            items = _BETWEEN.split(node.text(separator=_BREAK))
        crumbs = [crumb for item in items if (crumb := _name(item).strip(_SIGNS))]
        if 2 <= len(crumbs) <= MAX_CRUMBS:
            self._trails.append(tuple(dict.fromkeys(crumbs)))

    # Microdata

    def _property(self, node: LexborNode, attributes: Attributes) -> None:
        wanted = [name for name in (attributes.get("itemprop") or "").lower().split() if name in _PROPERTIES]
        if not wanted and "availability" not in (attributes.get("itemprop") or ""):
            return
        kind, role = _item_of(node)
        value = attributes.get("content") or attributes.get("href") or attributes.get("value")
        if not wanted:
            self._discontinued |= "discontinued" in (value or "").lower()
        elif kind in _PRODUCTS and "itemscope" not in attributes:
            for name in wanted:
                self._add(_PROPERTIES[name], value or self._text(node))
        elif role == "brand" and "name" in wanted:
            self._add("brands", value or self._text(node))

    # JSON-LD

    def _script(self, node: LexborNode) -> None:
        raw = node.text() or ""
        if len(raw) > self._ld_left:
            return
        self._ld_left -= len(raw)
        waiting = [_parsed(raw)]
        while waiting and self._nodes_left > 0:
            self._nodes_left -= 1
            thing = waiting.pop()
            if isinstance(thing, list):
                waiting.extend(reversed(thing[:MAX_NODES]))
            elif isinstance(thing, dict):
                self._thing(thing)
                waiting.extend(thing[key] for key in _WITHIN if key in thing)

    def _thing(self, thing: Mapping[str, Any]) -> None:
        kinds = _kinds(thing.get("@type"))
        if kinds & _PRODUCTS:
            self._product(thing)
        elif "breadcrumblist" in kinds:
            self._ld_trail(thing)
        elif "website" in kinds:
            self._add("sites", thing.get("name"))

    def _product(self, thing: Mapping[str, Any]) -> None:
        name = _name(thing.get("name"))
        self._add("products", name)
        for key in ("model", "sku", "mpn", "brand"):
            for value in _list(thing.get(key)):
                self._add(_PROPERTIES[key], value)
        if name and any(_same(value, self._url) for value in (thing.get("url"), thing.get("@id"))):
            self._own[name] = None
        for offer in _list(thing.get("offers")):
            if isinstance(offer, dict):
                self._discontinued |= any(map(_says_discontinued, _list(offer.get("availability"))))

    def _ld_trail(self, thing: Mapping[str, Any]) -> None:
        crumbs = []
        for step in _list(thing.get("itemListElement"))[:MAX_CRUMBS]:
            if isinstance(step, dict):
                crumbs.append(_name(step.get("name") or step.get("item")))
        self._trails.append(tuple(dict.fromkeys(crumb for crumb in crumbs if crumb)))


def _says_discontinued(availability: object) -> bool:
    if isinstance(availability, Mapping):
        availability = availability.get("@id")
    return isinstance(availability, str) and "discontinued" in availability[:MAX_RAW_CHARS].lower()


def _marks(attributes: Attributes) -> str:
    return " ".join(attributes.get(key) or "" for key in ("class", "aria-label", "itemtype")).lower()


def _name(raw: object) -> str:
    """A value of JSON-LD or an attribute as one clean line; "" when it is none or too long to be a name."""
    if isinstance(raw, Mapping):
        raw = raw.get("name") or raw.get("@value")
    if isinstance(raw, list) and raw:
        raw = raw[0]
    if isinstance(raw, (int, float)) and not isinstance(raw, bool):
        raw = str(raw)[:MAX_NAME_CHARS]
    if not isinstance(raw, str) or len(raw) > MAX_RAW_CHARS:
        return ""
    name = one_line(html.unescape(raw) if "&" in raw else raw)
    return name if len(name) <= MAX_NAME_CHARS else ""


def _kinds(raw: object) -> frozenset[str]:
    """The types of a thing in lower case, without the address of their vocabulary."""
    return frozenset(kind.rpartition("/")[2].rpartition(":")[2].lower() for kind in _list(raw) if isinstance(kind, str))


def _list(raw: object) -> list[Any]:
    return raw[:MAX_NAMES] if isinstance(raw, list) else [] if raw is None else [raw]


def _same(value: object, url: str) -> bool:
    return isinstance(value, str) and value.partition("#")[0].rstrip("/") == url.rstrip("/")


def _parsed(raw: str) -> Any:
    """JSON as pages have it: in comments, escaped as HTML, with line breaks in strings; None when it is worse."""
    try:
        return orjson.loads(raw)
    except orjson.JSONDecodeError:
        pass
    inner = _WRAPPING.sub(" ", raw)
    try:
        return json.loads(html.unescape(inner) if "&quot;" in inner else inner, strict=False)
    except (ValueError, RecursionError):
        return None


def _item_of(node: LexborNode) -> tuple[str, str]:
    """Type of the item that a property belongs to, and the property of another item that it stands for."""
    parent = node.parent
    for _ in range(MAX_CLIMB):
        if parent is None:
            break
        attributes: Attributes = parent.attributes
        if "itemscope" in attributes:
            kind = (attributes.get("itemtype") or "").split()[:1]
            return (kind[0].rpartition("/")[2].lower() if kind else ""), (attributes.get("itemprop") or "").lower()
        parent = parent.parent
    return "", ""
