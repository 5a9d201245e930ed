"""What a page says about other pages and about itself: links, canonical address, wishes to robots."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ray_app.errors import BadUrl
from ray_app.ingest.clean import one_line
from ray_app.ingest.dom import Attributes
from ray_app.ingest.urls import authority, normalise

MAX_TITLE_CHARS = 300
MAX_HREF_CHARS = 8_192  # longer ones are data
_REFRESH = re.compile(r"^\s*[\d.]+\s*[;,]\s*(?:url\s*=\s*)?[\"']?([^\"']+)", re.IGNORECASE)
_LANG = re.compile(r"[a-z]{2,3}(?=$|[-_])")
_LINKS = "a[href], area[href], iframe[src], frame[src]"


@dataclass(frozen=True, slots=True)
class Head:
    """What stands in the head of a page."""

    title: str
    lang: str  # primary tag, lower case, or ""
    base: str  # what links are relative to
    canonical: str  # normalised, on the same site; else ""
    refresh: str  # target of a meta refresh as written, or ""
    noindex: bool
    nofollow: bool


def read_head(tree: LexborHTMLParser, url: str) -> Head:
    """The head of the page at ``url``."""
    metas = [node.attributes for node in tree.css("meta")]
    robots = _robots(metas)
    base = _base(tree, url)
    return Head(
        title=_title(tree),
        lang=_lang(tree, metas),
        base=base,
        canonical=_canonical(tree, base, url),
        refresh=_refresh(metas),
        noindex=not robots.isdisjoint(("noindex", "none")),
        nofollow=not robots.isdisjoint(("nofollow", "none")),
    )


def read_links(tree: LexborHTMLParser, head: Head, limit: int) -> tuple[str, ...]:
    """Normalised links in page order without repeats, at most ``limit``; canonical address and refresh first."""
    seen: set[str] = set()
    found: dict[str, None] = {}
    for target in (head.canonical, head.refresh, *map(_target, tree.css(_LINKS))):
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
    node = tree.css_first("head > title") or tree.css_first("title")
    return one_line(node.text())[:MAX_TITLE_CHARS].strip() if node is not None else ""


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


def _canonical(tree: LexborHTMLParser, base: str, url: str) -> str:
    """Another site's page, or none at all (``file:``), cannot stand for this one."""
    node = tree.css_first("link[rel~=canonical i][href]")
    target = _normalised(node.attributes.get("href") or "", base) if node is not None else ""
    return target if target and _site(target) == _site(url) else ""


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
