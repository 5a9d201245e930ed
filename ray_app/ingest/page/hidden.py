"""What of a page a reader never sees: by its attributes, its inline style, or a style rule of the page itself.

Two kinds of hiding are told apart. A trick (no size, no opacity, far off the screen, the colour of its ground) is never
undone, and what it hides is dropped. What is merely shut (``hidden``, ``aria-hidden``, ``display: none``, ``visibility:
hidden``, no height) may be an inactive tab or a closed answer: it stays when the page offers to open it, that is when

- its role, class or id is that of a tab, an accordion or an answer, or
- a control names its id (``aria-controls``, ``data-target``, ``href="#id"``, a quoted name in ``onclick``), or
- for style rules: another rule shows the same class or id again, or a script of the page quotes its name,

and it is not a menu, a dialog or the like. Only rules with one plain selector (``.x``, ``#x``, ``tag.x``) that hold on
every screen hide anything; external style sheets are not read. What ``<details>`` holds is a click away, so visible.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import cached_property, lru_cache

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ray_app.ingest.clean import names
from ray_app.ingest.page.dom import Attributes
from ray_app.ingest.page.styles import Way, declarations, inline_way, way_of, without_comments

MAX_SHEET_CHARS = 100_000  # of all style elements of a page together; likewise of its scripts
MAX_CLASSES = 4_096  # remembered for a site
MAX_RULES = 2_000  # that hide something
MAX_CONTROLS = 5_000  # elements asked what they control
MAX_HANDLER_CHARS = 1_000
MAX_NESTED_RULES = 16

_TELLING = names("hidden aria-hidden style popover")
# Every one of these means the same: out of sight, for screen readers.
_FOR_EARS = names(
    "sr-only sr-only-focusable visually-hidden visually-hidden-focusable visuallyhidden screen-reader-text "
    "screen-reader-only screenreader-only screen-reader screenreader sr-text u-visually-hidden is-visually-hidden "
    "u-sr-only is-sr-only usa-sr-only govuk-visually-hidden cdk-visually-hidden at4-visually-hidden a11y-hidden "
    "element-invisible assistive-text slds-assistive-text sharing-screen-reader-text show-for-sr"
)
_OPENS = re.compile(
    r"(?<![a-z])(?i:accordion|collaps(?:e|ed|ible|ing)|tab-?(?:pane|panel|content|body)|faq|answer|spoiler"
    r"|expand(?:able|er|ed)?)s?(?![a-z])",
)
_FRAME = re.compile(
    r"menu|nav|search|modal|dialog|pop-?up|dropdown|cookie|consent|lightbox|overlay|off-?canvas|drawer|tooltip|cart"
    r"|newsletter|banner",
    re.IGNORECASE,
)
_CONTROLLING = ("aria-controls", "data-target", "data-bs-target", "data-tabs-target", "popovertarget", "href")
_CONTROLS = ", ".join([*(f"[{key}]" for key in _CONTROLLING[:-1]), "[onclick]", 'a[href^="#"]'])
_QUOTED = re.compile(r"[\"'`]([^\"'`\n]{1,100})[\"'`]")
_NAME = re.compile(r"[\w-]+")

_BRACE = re.compile(r"([^{}]*)([{}])")
# Cheaper than reading each rule's declarations, of which few hide anything.
_HIDING = re.compile(
    r"display\s*:\s*none|hidden|collapse|opacity\s*:\s*0|-\d{3}|indent|clip|scale|zoom|font[\w-]*\s*:\s*[01.]"
    r"|(?:height|width)\s*:\s*[01](?![\d.%])|transparent|fill-color|\\",
    re.IGNORECASE,
)
_PLAIN = re.compile(r"([a-z][\w-]*)?([.#][\w-]+)", re.IGNORECASE)
_MARKS = re.compile(r"[.#][\w-]+")
_COMBINATOR = re.compile(r"[\s>+~]+")
_EVERY_SCREEN = re.compile(r"@(?:media\s+(?:only\s+)?(?:screen|all)|layer\b[^(]*)\Z", re.IGNORECASE)
_ELSEWHERE = re.compile(
    r"@(?:media\s+(?:only\s+)?(?:print|speech|aural)|(?:-\w+-)?keyframes|font-face|page)", re.IGNORECASE
)
_PASSING = re.compile(r":(?:focus|active)")  # a skip link shows itself to who tabs through the page, and goes again
# What a rule must set to show again what another hides.
_SHOWING = names(
    "display visibility opacity height max-height width max-width clip clip-path left top right position text-indent "
    "font-size transform"
)


def is_hidden(attributes: Attributes) -> bool:
    """Whether the element by itself says that nobody sees it. What the page may open counts as hidden here."""
    return _own_way(attributes) is not Way.SEEN or _is_for_ears(attributes.get("class") or "")


class Hiding:
    """Judges the elements of one page. Costs a look at the attributes, and what is rare only where it is met."""

    def __init__(self, tree: LexborHTMLParser) -> None:
        self._tree = tree
        self._sheet = _sheet("\n".join(_texts(tree.tags("style"))))
        self._plain = self._sheet.plain
        self._any_id = self._sheet.any_id

    @classmethod
    def of(cls, tree: LexborHTMLParser) -> Hiding:
        """A judge for the page, with the page's own style rules."""
        return cls(tree)

    def hides(self, node: LexborNode, tag: str, attributes: Attributes) -> bool:
        """Whether a reader sees nothing of ``node`` and all below it. ``tag`` and ``attributes`` are its own.

        Never true of html and body: a page that hides itself whole is shown by its scripts.
        """
        telling = not _TELLING.isdisjoint(attributes)
        if not telling and attributes.get("class") in self._plain and not (self._any_id and "id" in attributes):
            return tag == "dialog" and "open" not in attributes
        way = _own_way(attributes) if telling else Way.SEEN
        own = way is not Way.SEEN
        if not own:
            way = self._way_by_name(tag, attributes)
        if way is Way.SEEN:
            return tag == "dialog" and "open" not in attributes
        if tag in ("html", "body"):
            return False
        if way is Way.TINY:
            return all(inner.mem_id == node.mem_id for inner in node.css('[style*="font-size" i]'))
        return way is Way.NEVER or not self._is_offered(attributes, quoted=not own)

    def _way_by_name(self, tag: str, attributes: Attributes) -> Way:
        """By class and id."""
        given, identifier = attributes.get("class"), attributes.get("id")
        if given and given not in self._plain:
            if _is_for_ears(given):
                return Way.NEVER
            if way := self._sheet.way_of_class(tag, given):
                return way
        return self._sheet.way(tag, [f"#{identifier}"]) if identifier and self._any_id else Way.SEEN

    def _is_offered(self, attributes: Attributes, *, quoted: bool) -> bool:
        """Whether the page offers to open what is shut; ``quoted``: a script that names it is an offer too."""
        if attributes.get("role") == "tabpanel":
            return True
        classes, identifier = attributes.get("class") or "", attributes.get("id") or ""
        if _FRAME.search(classes):
            return False
        if _OPENS.search(classes) or _OPENS.search(identifier):
            return True
        if _FRAME.search(identifier):
            return False
        if identifier and identifier in self._controlled:
            return True
        return quoted and not self._scripted.isdisjoint([identifier, *classes.split()])

    @cached_property
    def _controlled(self) -> frozenset[str]:
        """Ids that some control of the page names."""
        found: set[str] = set()
        for node in self._tree.css(_CONTROLS)[:MAX_CONTROLS]:
            attributes = node.attributes
            for key in _CONTROLLING:
                found.update((attributes.get(key) or "").replace("#", " ").split())
            found.update(
                name.lstrip("#") for name in _QUOTED.findall((attributes.get("onclick") or "")[:MAX_HANDLER_CHARS])
            )
        return frozenset(found)

    @cached_property
    def _scripted(self) -> frozenset[str]:
        """Words that the page's own scripts quote."""
        texts = _texts(self._tree.css("script:not([src])"))
        return frozenset(name for text in texts for quoted in _QUOTED.findall(text) for name in _NAME.findall(quoted))


class _Sheet:
    """The rules of a page's style elements that hide something for good.

    ``plain`` are values of the class attribute known to hide nothing. The pages of a site repeat their style elements
    word for word, so what was found out for one holds for the next.
    """

    def __init__(self, css: str) -> None:
        self._rules = _read_rules(css) if css else {}
        self.any_id = any(mark.startswith("#") for mark in self._rules)
        self.plain: set[str | None] = {None}

    def way(self, tag: str, marks: Sequence[str]) -> Way:
        """How a ``tag`` with those marks (".x", "#x") is hidden."""
        ways = (way for mark in marks for only, way in self._rules.get(mark, ()) if only in ("", tag))
        return max(ways, default=Way.SEEN)

    def way_of_class(self, tag: str, given: str) -> Way:
        """How a ``tag`` is hidden by the value of its class attribute."""
        marks = [f".{name}" for name in given.split()]
        if not self._rules.keys().isdisjoint(marks):
            return self.way(tag, marks)
        if len(self.plain) >= MAX_CLASSES:
            self.plain.intersection_update((None,))
        self.plain.add(given)
        return Way.SEEN


_sheet = lru_cache(maxsize=32)(_Sheet)


def _read_rules(css: str) -> dict[str, list[tuple[str, Way]]]:
    """By mark: the tag that a rule is about, or "", and how it hides."""
    blocks = list(_blocks(without_comments(css)))
    hiding: dict[str, list[tuple[str, Way, frozenset[str]]]] = {}
    for selectors, text, everywhere in blocks:
        if not everywhere or not (_HIDING.search(text) or ("background" in text and "color:" in text)):
            continue
        style = declarations(text)
        if way := way_of(style):
            for plain in filter(None, map(_PLAIN.fullmatch, _split(selectors))):
                hiding.setdefault(plain[2], []).append(((plain[1] or "").lower(), way, _SHOWING.intersection(style)))
        if len(hiding) > MAX_RULES:
            break
    shown = _shown(blocks, frozenset(hiding)) if hiding else {}
    kept = {
        mark: [(tag, way) for tag, way, keys in rules if keys.isdisjoint(shown.get(mark, ()))]
        for mark, rules in hiding.items()
    }
    return {mark: rules for mark, rules in kept.items() if rules}


def _shown(blocks: Sequence[tuple[str, str, bool]], marks: frozenset[str]) -> dict[str, set[str]]:
    """Of those marks, what other rules set that may show them again."""
    found: dict[str, set[str]] = {}
    for selectors, text, _ in blocks:
        if marks.isdisjoint(_MARKS.findall(selectors)):
            continue
        named = [mark for selector in _split(selectors) if not _PASSING.search(selector) for mark in _subject(selector)]
        told = marks.intersection(named)
        if told and not way_of(style := declarations(text)):
            for mark in told:
                found.setdefault(mark, set()).update(_SHOWING.intersection(style))
    return found


def _blocks(sheet: str) -> Iterator[tuple[str, str, bool]]:
    """Selectors, declarations, and whether they hold on every screen. Rules for paper and animations are left out."""
    around: list[tuple[str, bool, bool]] = []  # prelude of an open block, and the two below outside of it
    everywhere, elsewhere = True, False  # where what comes next holds
    end = max(sheet.rfind("{"), sheet.rfind("}")) + 1  # beyond it the search for a brace would start at every character
    for block in _BRACE.finditer(sheet, 0, end):
        text, brace = block[1], block[2]
        if brace == "{":
            prelude = text.rpartition(";")[2].strip()
            around.append((prelude, everywhere, elsewhere))
            if len(around) > MAX_NESTED_RULES:
                return
            everywhere = everywhere and _EVERY_SCREEN.match(prelude) is not None
            elsewhere = elsewhere or _ELSEWHERE.match(prelude) is not None
            continue
        prelude, everywhere, elsewhere = around.pop() if around else ("", True, False)
        if prelude and not prelude.startswith("@") and not elsewhere:
            yield prelude, text, everywhere


def _split(selectors: str) -> list[str]:
    return [selector.strip() for selector in selectors.split(",")]


def _subject(selector: str) -> list[str]:
    """Classes and ids of the element that a selector is about."""
    return _MARKS.findall(_COMBINATOR.split(selector)[-1])


def _texts(nodes: Sequence[LexborNode]) -> Iterator[str]:
    left = MAX_SHEET_CHARS
    for node in nodes:
        text = node.text()[:left]
        left -= len(text)
        yield text
        if left <= 0:
            return


def _own_way(attributes: Attributes) -> Way:
    """By its own attributes, without its class and id."""
    style = attributes.get("style")
    if style and (way := inline_way(style)) is not Way.SEEN:
        return way
    if "hidden" in attributes and (attributes["hidden"] or "").lower() != "until-found":
        return Way.SHUT
    shut = (attributes.get("aria-hidden") or "").lower() == "true" or "popover" in attributes
    return Way.SHUT if shut else Way.SEEN


@lru_cache(maxsize=4096)
def _is_for_ears(given: str) -> bool:
    return not _FOR_EARS.isdisjoint(given.lower().split())
