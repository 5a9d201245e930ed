"""Parsing HTML within bounds, walking the tree without recursion, and what of it is the site's frame."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from functools import lru_cache
from typing import Protocol

from selectolax.lexbor import LexborDocumentOptions, LexborHTMLParser, LexborNode

from ray_app.ingest.clean import names

Attributes = Mapping[str, str | None]
Leave = Callable[[], None]

TEXT = "-text"
# The parser's time grows with tags times depth (100,000 nested divs: 32 s); browsers stop at 512 levels.
MAX_OPEN = 128  # elements of one name open at once; all unknown names count as one
MAX_OPEN_ALL = 512
MAX_OPEN_INLINE = 16  # formatting elements together: each is opened again in every paragraph that follows
SMALL_PAGE_TAGS = 2_000  # below this no nesting is deep enough to matter
MAX_TAG_CHARS = 32_768  # the parser compares each attribute of a tag with all others

_TAG = re.compile(r"<(/?)([A-Za-z][^\s/>]*)")
_TAG_NAME = re.compile(r"/?[A-Za-z][^\s/>]{0,63}")
_TAG_START = re.compile(r"<(?=/?[A-Za-z])")
_SCRIPT = re.compile(r"(?:\A|>)\s*<script(?=[\s/>])[^>]*>", re.IGNORECASE)  # not one that an attribute speaks of
_SCRIPT_END = re.compile(r"</script(?=[\s/>])", re.IGNORECASE)
_ESCAPED = r"\\u003c"  # the same sign in JavaScript and JSON
_VOID = names("area base br col embed hr img input link meta param source track wbr")
# Closed by what follows them, so that old pages never write the end tag: counting them would mislead.
_IMPLIED = names("p li dt dd tr td th thead tbody tfoot option colgroup caption a body html head")
_INLINE = names("b big code em font i nobr s small strike strong tt u")
_KNOWN = names(
    "div span section article main header footer nav aside form fieldset table ul ol dl pre blockquote h1 h2 h3 h4 "
    "h5 h6 script style noscript template svg math figure figcaption details summary center label button select "
    "textarea iframe object video audio picture title address hgroup search menu dialog sup sub abbr cite q samp "
    "kbd var del ins mark time ruby rt rp optgroup"
)
_ENDED_WITH = {"ruby": ("rt", "rp"), "select": ("optgroup",)}  # these nest, but need no end tag there
# Of SVG and MathML: where nothing is in them they are written <path/>, and then draw something or nothing.
_DRAWN = names(
    "path circle rect line ellipse polygon polyline use stop g defs animate animatetransform animatemotion set mpath "
    "clippath mask symbol marker pattern lineargradient radialgradient filter feblend fecolormatrix fecomposite "
    "fedropshadow feflood fegaussianblur feimage femergenode femorphology feoffset fetile feturbulence fefunca fefuncb "
    "fefuncg fefuncr tspan metadata mspace mrow mprescripts none mglyph malignmark maligngroup"
)

# Elements whose text is none of the page's.
UNREAD = names(
    "script style noscript template svg canvas audio video map object embed iframe frame noframes applet head title "
    "link meta base nav button input select textarea option optgroup datalist label progress meter dialog menu "
    "annotation annotation-xml rp"
)
NEVER_CHROME = names("body html main article")  # whatever their class says
_FRAME_TAGS = names("div section ul ol dl table aside header footer nav form p")  # of which an id may tell so
_CHROME_ROLES = names("navigation banner contentinfo search complementary dialog alertdialog menu menubar toolbar")
_CHROME_NAMES = names(
    "breadcrumb breadcrumbs breadcrumb-nav breadcrumb-trail pagination pager paginator navbar navheader navfooter "
    "nav-links prev-next prevnext page-nav post-navigation headerlink permalink skip-link skiplink skip-nav "
    "skip-to-content skip-to-main edit-link edit-page edit-this-page edit-on-github mw-editsection mw-jump-link "
    "catlinks navbox printfooter linenos lineno line-numbers-rows gutter site-header site-footer site-nav "
    "footer prev-next-footer rst-footer-buttons theme-doc-footer theme-doc-toc-mobile theme-edit-this-page "
    "md-content__button pagination-nav nav-chapters mobile-nav-chapters wy-nav-side toplang bottomlang "
    "language-switcher lang-switcher language-selector addthis_toolbox a2a_kit sharedaddy jp-relatedposts "
    "share-links social-links article-sidebar article-author article-comments recent-articles article-votes "
    "article-relatives article-share article-subscribe article-feedback page-feedback was-this-helpful comments-area "
    "comment-respond newsletter-signup "
    "site-navigation page-footer global-nav global-header global-footer main-nav main-navigation social-share "
    "share-buttons related-posts related-articles relatedposts sphinxsidebar sphinxsidebarwrapper"
)
_COOKIE = re.compile(
    r"(?:^|\s)(?:(?:cookie|cookies|gdpr|consent|privacy)[-_]?(?:banner|bar|consent|notice|popup|modal|overlay|message|law|dialog)"
    r"[\w-]*|onetrust[\w-]*|cookiebot[\w-]*|cybotcookie[\w-]*|didomi[\w-]*|cookieconsent[\w-]*)",
    re.IGNORECASE,
)


class Visitor(Protocol):
    """What ``walk`` calls, in document order."""

    def text(self, text: str) -> None: ...

    def enter(self, node: LexborNode, tag: str) -> Leave | None:
        """What to call when the element ends; ``skip`` passes over it with all below it."""
        ...


def skip() -> None:
    """Returned by ``enter`` to pass over an element."""


def parse(text: str) -> tuple[LexborHTMLParser, bool]:
    """The tree of a page, and whether some of its nesting had to be cut."""
    shorter = _without_huge_tags(text)
    cut, text = len(shorter) != len(text), shorter
    if text.count("<") > SMALL_PAGE_TAGS:
        text, flattened = _flatten(text)
        cut |= flattened
    # errors="replace": a lone surrogate has no UTF-8
    raw = text.encode("utf-8", "replace")
    return LexborHTMLParser(raw, options=LexborDocumentOptions.WO_EVENTS.value), cut


def walk(root: LexborNode, visitor: Visitor) -> None:
    """Visits all below ``root``. Keeps its own stack: pages are nested deeper than Python recurses."""
    leaving: list[Leave | None] = []
    node = root.first_child
    while node is not None:
        tag = node.tag
        child = None
        if tag == TEXT:
            visitor.text(node.text_content or "")
        elif tag and tag[0] != "-":
            leave = visitor.enter(node, tag)
            if leave is not skip:
                child = node.first_child
                if child is not None:
                    leaving.append(leave)
                elif leave is not None:
                    leave()
        if child is not None:
            node = child
            continue
        following = node.next
        while following is None and leaving and (parent := node.parent) is not None:
            node, leave = parent, leaving.pop()
            if leave is not None:
                leave()
            following = node.next
        node = following


def is_chrome(node: LexborNode, tag: str, attributes: Attributes) -> bool:
    """Whether role, class or id mark the element as part of the site's frame, not of the page.

    An id is often made from a heading: a chapter on pagination is no pager.
    """
    if (attributes.get("role") or "").lower() in _CHROME_ROLES:
        return True
    if _names_chrome(attributes.get("class") or ""):
        return True
    identifier = attributes.get("id")
    if not identifier or tag not in _FRAME_TAGS or not _names_chrome(identifier):
        return False
    heading = node.css_first("h1, h2, h3, h4, h5, h6")
    return heading is None or _slug(heading.text()) != _slug(identifier)


def _slug(text: str) -> str:
    return "".join(filter(str.isalnum, text)).lower()


@lru_cache(maxsize=4096)  # a site has few class names, each on thousands of elements
def _names_chrome(given: str) -> bool:
    lower = given.lower()
    return not _CHROME_NAMES.isdisjoint(lower.split()) or _COOKIE.search(lower) is not None


def _without_huge_tags(text: str) -> str:
    """The page with only their names left of tags that are too long."""
    if len(text) <= MAX_TAG_CHARS:
        return text
    parts = text.split("<")
    for index, part in enumerate(parts):
        huge = index > 0 and len(part) > MAX_TAG_CHARS and not -1 < part.find(">") <= MAX_TAG_CHARS
        if huge and (name := _TAG_NAME.match(part)) is not None:
            parts[index] = f"{name[0]}>{part.partition('>')[2]}"
    return "<".join(parts)


def _flatten(text: str) -> tuple[str, bool]:
    """The page without the start tags that nest deeper than any reader could follow, and whether there were any.

    Its words stay. Empty shapes of drawings go too: what ends itself in SVG would count as open for ever.
    """
    text = _without_tags_in_scripts(text)
    opened: dict[str, int] = {}
    kept: list[str] = []
    done = total = 0
    end = -1
    cut = False
    for tag in _TAG.finditer(text):
        name = tag[2].lower()
        if name in _VOID or name in _IMPLIED or tag.start() < done:
            continue
        group, limit = _group(name)
        level = opened.get(group, 0)
        if tag[1]:
            opened[group] = max(0, level - 1)
            total -= level > 0
            for inner in _ENDED_WITH.get(name, ()) if level else ():
                total -= opened.pop(inner, 0)
            continue
        fits = level < limit and total < MAX_OPEN_ALL
        if (not fits or name in _DRAWN) and end < tag.end():
            end = text.find(">", tag.end())
            end = len(text) if end < 0 else end
        drawn = name in _DRAWN and text[end - 1] == "/"
        if fits and not drawn:
            opened[group] = level + 1
            total += 1
            continue
        kept.append(text[done : tag.start()])
        done = end + 1
        cut |= not drawn
    return ("".join([*kept, text[done:]]) if done else text), cut


def _without_tags_in_scripts(text: str) -> str:
    """What a script quotes is no tag, and much of it has no end: "<div>" is followed by "<\\/div>" there."""
    kept: list[str] = []
    done = 0
    for script in _SCRIPT.finditer(text):
        if script.start() < done:
            continue
        end = _SCRIPT_END.search(text, script.end())
        if end is None:
            break
        kept += (text[done : script.end()], _TAG_START.sub(_ESCAPED, text[script.end() : end.start()]))
        done = end.start()
    return "".join([*kept, text[done:]]) if kept else text


def _group(name: str) -> tuple[str, int]:
    if name in _INLINE:
        return "inline", MAX_OPEN_INLINE
    return (name if name in _KNOWN else "unknown"), MAX_OPEN
