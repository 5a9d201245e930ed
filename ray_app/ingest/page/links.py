"""What a page says about other pages and about itself: links, canonical address, other languages, wishes to robots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ray_app.errors import BadUrl
from ray_app.ingest.clean import one_line
from ray_app.ingest.page.dom import Attributes
from ray_app.ingest.urls import authority, normalise

MAX_TITLE_CHARS = 300
MAX_TITLES = 1_000  # looked at for the page's own
MAX_HREF_CHARS = 8_192  # longer ones are data
MAX_ALTERNATES = 200  # there are about that many languages on the web
_REFRESH = re.compile(r"^\s*[\d.]+\s*[;,]\s*(?:url\s*=\s*)?[\"']?([^\"']+)", re.IGNORECASE)
_LANG = re.compile(r"[a-z]{2,3}(?=$|[-_])")
# rel=nofollow on a link is no reason to leave it: it says whom search engines shall not praise, not where not to go.
_LINKS = "a[href], area[href], iframe[src], frame[src]"
_SERIES = "link[rel~=next i][href], link[rel~=prev i][href]"
_ALTERNATES = "link[rel~=alternate i][hreflang][href]"


@dataclass(frozen=True, slots=True)
class Head:
    """What stands in the head of a page."""

    url: str  # of the page
    title: str
    lang: str  # primary tag, lower case, or ""
    base: str  # what links are relative to
    canonical: str  # normalised, on whatever site: who asks decides whether to believe it; "" when unusable or none
    refresh: str  # target of a meta refresh as written, or ""
    alternates: tuple[str, ...]  # normalised addresses of translations
    series: tuple[str, ...]  # next and previous page, as written
    noindex: bool
    nofollow: bool


def read_head(tree: LexborHTMLParser, url: str) -> Head:
    """The head of the page at ``url``."""
    metas = [node.attributes for node in tree.css("meta")]
    robots = _robots(metas)
    base = _base(tree, url)
    return Head(
        url=url,
        title=_title(tree),
        lang=_lang(tree, metas),
        base=base,
        canonical=_canonical(tree, base),
        refresh=_refresh(metas),
        alternates=_alternates(tree, base),
        series=tuple(map(_target, tree.css(_SERIES))),
        noindex=not robots.isdisjoint(("noindex", "none")),
        nofollow=not robots.isdisjoint(("nofollow", "none")),
    )


def read_links(tree: LexborHTMLParser, head: Head, limit: int) -> tuple[str, ...]:
    """Normalised links without repeats, at most ``limit``: those of the head first, then those of the page in order.

    A canonical address on another site is no link: a page that claims to belong elsewhere leads nowhere by that.
    """
    canonical = head.canonical if _site(head.canonical) == _site(head.url) else ""
    seen: set[str] = set()
    found: dict[str, None] = {}
    for target in (canonical, head.refresh, *head.series, *head.alternates, *map(_target, tree.css(_LINKS))):
        href = target.partition("#")[0].strip()
        if not href or href in seen or len(href) > MAX_HREF_CHARS:
            continue
        seen.add(href)
        if link := _normalised(href, head.base):
            found[link] = None
            if len(found) >= limit:
                break
    return tuple(found)


def _target(node: LexborNode) -> str:
    attributes = node.attributes
    return attributes.get("href") or attributes.get("src") or ""


def _normalised(href: str, base: str) -> str:
    try:
        return normalise(href, base)
    except BadUrl:
        return ""


def _title(tree: LexborHTMLParser) -> str:
    """Some pages have it in their body, where icons have titles too."""
    node = tree.css_first("head > title")
    if node is None:
        node = next((other for other in tree.css("title")[:MAX_TITLES] if not _is_of_drawing(other)), None)
    return one_line(node.text())[:MAX_TITLE_CHARS].strip() if node is not None else ""


def _is_of_drawing(title: LexborNode) -> bool:
    around = title.parent
    while around is not None and around.tag != "svg":
        around = around.parent
    return around is not None


def _lang(tree: LexborHTMLParser, metas: Sequence[Attributes]) -> str:
    root = tree.css_first("html")
    attributes: Attributes = root.attributes if root is not None else {}
    by_meta = next((m.get("content") for m in metas if (m.get("http-equiv") or "").lower() == "content-language"), "")
    for text in (attributes.get("lang"), attributes.get("xml:lang"), by_meta):
        if match := _LANG.match((text or "").strip().lower()):
            return match[0]
    return ""


def _base(tree: LexborHTMLParser, url: str) -> str:
    node = tree.css_first("base[href]")
    return (_normalised(node.attributes.get("href") or "", url) if node is not None else "") or url


def _canonical(tree: LexborHTMLParser, base: str) -> str:
    """The first one counts. ``file:``, ``data:`` and the like give ""."""
    node = tree.css_first("link[rel~=canonical i][href]")
    href = _target(node) if node is not None else ""
    return _normalised(href, base) if href and len(href) <= MAX_HREF_CHARS else ""


def _alternates(tree: LexborHTMLParser, base: str) -> tuple[str, ...]:
    """The same document in other languages; a feed or a print version has no ``hreflang``."""
    hrefs = [_target(node).strip() for node in tree.css(_ALTERNATES)[:MAX_ALTERNATES]]
    addresses = (_normalised(href, base) for href in hrefs if 0 < len(href) <= MAX_HREF_CHARS)
    return tuple(dict.fromkeys(filter(None, addresses)))


def _site(url: str) -> str:
    return authority(url).removeprefix("www.")


def _refresh(metas: Sequence[Attributes]) -> str:
    for meta in metas:
        if (meta.get("http-equiv") or "").lower() == "refresh" and (found := _REFRESH.match(meta.get("content") or "")):
            return found[1].strip()
    return ""


def _robots(metas: Sequence[Attributes]) -> set[str]:
    """The directives for all robots and for this one."""
    wishes: set[str] = set()
    for meta in metas:
        if (meta.get("name") or "").strip().lower() in ("robots", "backline"):
            wishes.update(part.strip() for part in (meta.get("content") or "").lower().split(","))
    return wishes
