"""Which elements of a page are read: those a brand names, an article's body, a landmark, else the whole body."""

from __future__ import annotations

from collections.abc import Container, Iterator, Sequence
from dataclasses import dataclass

from selectolax.lexbor import LexborHTMLParser, LexborNode, SelectolaxError

from ray_app.ingest.page import article
from ray_app.ingest.page.measure import Hides

DEFAULT_MAX_LINKS = 5_000
MAX_SELECTOR_CHARS = 1_000
LANDMARKS = "main, [role=main], article"
MAX_CANDIDATES = 1_000  # looked at for landmarks
MAX_LANDMARKS = 50  # more articles are a list of teasers, not the text
# A main element with so little of the page's text is not the main one, unless the page itself is short.
LANDMARK_SHARE = 0.25
LANDMARK_MATTERS_CHARS = 500
MAY_HIDE = "[hidden], [aria-hidden], [style], [class], [id], dialog"


@dataclass(frozen=True, slots=True)
class Rules:
    """How a brand's pages are read. Selectors are CSS and have passed ``check_selector``."""

    content: tuple[str, ...] = ()  # what to read; a page that has none of them is read in the normal way
    remove: tuple[str, ...] = ()  # dropped before anything is read; links in it are still followed
    max_links: int = DEFAULT_MAX_LINKS
    lang: str = ""  # primary tag, for pages that name no language


@dataclass(frozen=True, slots=True)
class Content:
    """Elements to read one after another."""

    roots: tuple[LexborNode, ...]
    dropped: frozenset[int] = frozenset()  # ``mem_id`` of elements in them to pass over
    landmark: bool = False  # chosen as the page's main part, so that a header or aside in it belongs to the text
    named: bool = False  # by the brand: any of them may be a table or a heading itself


def check_selector(text: str) -> None:
    """Raises ValueError for what is not a CSS selector that pages can be searched with."""
    if len(text) > MAX_SELECTOR_CHARS:
        raise ValueError(f"a selector has at most {MAX_SELECTOR_CHARS} characters")
    if "\x00" in text:
        raise ValueError("a selector has no NUL character")
    try:
        LexborHTMLParser(b"<p>").css(text)
    except SelectolaxError:
        raise ValueError(f"{text!r} is not a CSS selector") from None


def selected(tree: LexborHTMLParser, selectors: Sequence[str]) -> Iterator[LexborNode]:
    """Elements that any of the selectors finds."""
    for selector in selectors:
        yield from tree.css(selector)


def by_rules(tree: LexborHTMLParser, rules: Rules, hides: Hides) -> Content | None:
    """What the brand says is content, in the order of its selectors."""
    roots = _outermost(_shown(list(selected(tree, rules.content))[:MAX_CANDIDATES], hides))
    return Content(tuple(roots), landmark=True, named=True) if roots else None


def by_article(tree: LexborHTMLParser, hides: Hides, removed: frozenset[int], title: str) -> Content | None:
    """The body of a page that calls itself an article."""
    if tree.body is None or not article.is_article(tree):
        return None
    choice = article.choose(tree.body, hides, removed, title)
    return Content(*choice, landmark=True) if choice is not None else None


def by_landmark(tree: LexborHTMLParser, hides: Hides) -> Content | None:
    """The main element with all it holds, else the articles if they are few.

    An article inside main is not preferred: on support sites what stands beside it is content too.
    """
    roots = _seen(tree.css("main, [role=main]"), hides) or _seen(tree.css("article"), hides)
    return Content(tuple(roots), landmark=True) if roots else None


def by_prose(tree: LexborHTMLParser, hides: Hides, removed: frozenset[int]) -> Content | None:
    """Where the sentences are: of a page that has no landmark or names its body, and is not documentation."""
    marked = tree.css_first(LANDMARKS) is not None and not article.names_body(tree)
    if tree.body is None or marked or article.is_documentation(tree):
        return None
    choice = article.choose_prose(tree.body, hides, removed)
    return Content(*choice) if choice is not None else None


def whole(tree: LexborHTMLParser) -> Content:
    """All of the page; what is frame is left out by the reader."""
    root = tree.body if tree.body is not None else tree.root
    return Content((root,) if root is not None else ())


def is_ample(landmark: Content, page: Content) -> bool:
    """Cheap and careful: the body's raw text counts its scripts and frame too."""
    have, all_there = (sum(len(node.text()) for node in content.roots) for content in (landmark, page))
    return have >= LANDMARK_SHARE * all_there


def share_needed(body_chars: int) -> float:
    """Characters that a landmark must hold to be believed, when the whole body holds that many."""
    return LANDMARK_SHARE * body_chars if body_chars > LANDMARK_MATTERS_CHARS else 1


def is_within(node: LexborNode, ids: Container[int]) -> bool:
    """Whether the node or one around it is among those, by ``mem_id``."""
    return node.mem_id in ids or _has_ancestor(node, ids)


def remove(nodes: Sequence[LexborNode]) -> None:
    """Takes the nodes out of their tree. The parser frees what is below one, so none of those may be touched after."""
    for node in _outermost(nodes):
        node.decompose()


def _seen(nodes: Sequence[LexborNode], hides: Hides) -> list[LexborNode]:
    found = _outermost(_shown(nodes[:MAX_CANDIDATES], hides))
    return found if len(found) <= MAX_LANDMARKS else []


def _shown(nodes: Sequence[LexborNode], hides: Hides) -> list[LexborNode]:
    """Without those that hide, or stand in what hides."""
    known: dict[int, bool] = {}
    return [node for node in nodes if _is_shown(node, hides, known)]


def _is_shown(node: LexborNode, hides: Hides, known: dict[int, bool]) -> bool:
    """``known`` is what was found out about elements around others, by ``mem_id``."""
    asked: list[int] = []
    shown = True
    around: LexborNode | None = node
    while around is not None and shown:
        if (told := known.get(around.mem_id)) is not None:
            shown = told
            break
        asked.append(around.mem_id)
        shown = not hides(around, around.tag or "", around.attributes)
        around = around.parent
    known.update(dict.fromkeys(asked, shown))
    return shown


def _outermost(nodes: Sequence[LexborNode]) -> list[LexborNode]:
    """Without repeats and without those inside others."""
    by_id = {node.mem_id: node for node in nodes}
    return [node for node in by_id.values() if not _has_ancestor(node, by_id)]


def _has_ancestor(node: LexborNode, ids: Container[int]) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.mem_id in ids:
            return True
        parent = parent.parent
    return False
