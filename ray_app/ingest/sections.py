"""One walk over the content of a page: sections with heading path, anchor and Markdown text."""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import lru_cache
from urllib.parse import quote

from selectolax.lexbor import LexborNode

from ray_app.ingest.clean import names, one_line
from ray_app.ingest.dom import Attributes, Leave, is_chrome, is_hidden, skip, walk
from ray_app.ingest.markdown import MarkdownWriter
from ray_app.records import Section

SPLIT_CHARS = 1_500  # about two chunks: beyond it a named anchor inside the section is the better link
MAX_HEADING_CHARS = 200  # a longer one is a paragraph in large letters
MAX_HEADING_MARKUP_CHARS = 1_000  # with the white space of the source; an unclosed heading holds the rest of the page
MAX_ANCHOR_CHARS = 500
MAX_PSEUDO_HEADING_CHARS = 120

_DROPPED = names(
    "script style noscript template svg canvas audio video map object embed iframe frame noframes applet head title "
    "link meta base nav button input select textarea option optgroup datalist label progress meter dialog menu "
    "annotation annotation-xml rp"
)
_BLOCKS = names(
    "address article aside blockquote body center details dir div figcaption figure footer form fieldset header hgroup "
    "html legend main p search section summary caption table tbody thead tfoot tr td th hr"
)
_HEADINGS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
_CODE = names("code kbd samp tt")
_INLINE_HANDLED = _CODE | {"a"}
# How hand-written pages mark headings without heading elements; below every real one.
_PSEUDO_HEADINGS = {"topheader": 7, "header": 8, "heading": 8, "innerheader": 9, "subheader": 9, "subheading": 9}
_IN_PAGE_CONTENTS = names("toc table-of-contents tableofcontents on-this-page page-toc localtoc")
_NOT_A_FRAME = names("body html main article")
_BLOCKS_IN_HEADING = "div, p, table, ul, ol, dl, pre, h1, h2, h3, h4, h5, h6, form, nav"
_PERMALINK_SIGNS = " \u00b6\u00a7#\U0001f517"
_HEAVY_CELLS = ", ".join(
    f"{cell} {tag}" for cell in ("td", "th") for tag in sorted(names("table pre h1 h2 h3 h4 h5 h6 ul ol dl"))
)
_FRAGMENT_SAFE = "!$%&'()*+,-./:;=?@[]^_{|}~#"


class SectionReader:
    """Reads content elements one after another; ``sections`` is the result so far.

    ``page_name`` is the last part of the page's path: a table of contents that links back to it is dropped.
    ``landmark`` says that only the main element is read, whose header and asides belong to the text.
    """

    def __init__(self, page_name: str, *, landmark: bool) -> None:
        self.first_heading = ""
        self._page_name = page_name
        self._landmark = landmark
        self._writer = MarkdownWriter()
        self._sections: list[Section] = []
        self._headings: list[tuple[int, str]] = []
        self._anchor = ""  # of the section being written
        self._last_anchor = ""  # nearest id before this point
        self._fresh: list[tuple[str, bool]] = []  # ids with no text after them; whether made by an index
        self._in_heading = False
        self._articles = 0  # open article, section and main elements
        self._in_table = False  # a data table is open
        self._handlers = self._make_handlers()

    def read(self, root: LexborNode) -> None:
        """Adds the sections of what lies below ``root``."""
        walk(root, self)
        self._writer.flush()

    def sections(self) -> tuple[Section, ...]:
        """All sections with text, in page order. A page of headings only is one section that lists them."""
        self._close_section()
        return tuple(self._sections)

    # Visitor

    def text(self, text: str) -> None:
        if self._fresh and not self._in_heading and not text.isspace():
            self._fresh = []
        self._writer.text(text)

    def enter(self, node: LexborNode, tag: str) -> Leave | None:
        if tag in _DROPPED:
            return skip
        attributes: Attributes = node.attributes
        if attributes:
            if self._is_dropped(node, tag, attributes):
                return skip
            self._note_anchor(tag, attributes)
        if self._in_heading or self._writer.in_pre:
            return self._enter_plain(tag)
        handler = self._handlers.get(tag)
        if handler is not None:
            return handler(node, attributes)
        return self._enter_block(node, tag, attributes) if tag in _BLOCKS else None

    # Elements

    def _make_handlers(self) -> dict[str, Callable[[LexborNode, Attributes], Leave | None]]:
        handlers: dict[str, Callable[[LexborNode, Attributes], Leave | None]] = {
            "a": self._enter_link,
            "br": self._enter_break,
            "pre": self._enter_pre,
            "listing": self._enter_pre,
            "xmp": self._enter_pre,
            "ul": self._enter_list,
            "ol": self._enter_list,
            "li": self._enter_item,
            "dt": self._enter_term,
            "dd": self._enter_definition,
            "table": self._enter_table,
            "tr": self._enter_row,
            "td": self._enter_cell,
            "th": self._enter_cell,
        }
        handlers.update(dict.fromkeys(_HEADINGS, self._enter_heading))
        handlers.update(dict.fromkeys(_CODE, self._enter_code))
        return handlers

    def _enter_block(self, node: LexborNode, tag: str, attributes: Attributes) -> Leave | None:
        if tag in ("header", "footer", "aside") and not self._belongs(tag):
            return skip
        if tag in ("article", "section", "main"):
            return self._enter_article()
        if attributes and (level := _pseudo_level(node, attributes)) and not self._in_table:
            return self._open_heading(level, attributes)
        self._writer.flush()
        return self._writer.flush

    def _enter_article(self) -> Leave:
        self._writer.flush()
        self._articles += 1

        def leave() -> None:
            self._writer.flush()
            self._articles -= 1

        return leave

    def _enter_plain(self, tag: str) -> Leave | None:
        """Inside a heading, which is one line whatever it holds, or inside code, which keeps its lines."""
        if self._in_heading:
            if tag not in _INLINE_HANDLED and (tag in _BLOCKS or tag in self._handlers):
                self._writer.text(" ")
            return None
        if tag == "br":
            self._writer.line_break()
        return self._writer.flush if tag in _BLOCKS else None

    def _enter_link(self, _: LexborNode, attributes: Attributes) -> Leave | None:
        if "href" not in attributes:
            return None
        self._writer.open_link()
        return self._writer.close_link

    def _enter_break(self, *_: object) -> None:
        self._writer.line_break()

    def _enter_code(self, *_: object) -> Leave:
        self._writer.open_code()
        return self._writer.close_code

    def _enter_pre(self, *_: object) -> Leave:
        self._writer.open_pre()
        return self._writer.close_pre

    def _enter_list(self, node: LexborNode, attributes: Attributes) -> Leave:
        self._writer.open_list(ordered=node.tag == "ol", start=_number(attributes.get("start"), 1))
        return self._writer.close_list

    def _enter_item(self, *_: object) -> Leave:
        self._writer.open_item()
        return self._writer.close_item

    def _enter_term(self, *_: object) -> Leave:
        self._writer.flush()
        return self._writer.close_term

    def _enter_definition(self, *_: object) -> Leave:
        self._writer.open_definition()
        return self._writer.close_definition

    # Tables

    def _enter_table(self, node: LexborNode, attributes: Attributes) -> Leave | None:
        if self._in_table or not _is_data_table(node, attributes):
            self._writer.flush()
            return self._writer.flush
        self._writer.open_table()
        self._in_table = True

        def leave() -> None:
            self._in_table = False
            self._writer.close_table()

        return leave

    def _enter_row(self, *_: object) -> Leave | None:
        if self._in_table:
            self._writer.open_row()
            return None
        self._writer.flush()
        return self._writer.flush

    def _enter_cell(self, node: LexborNode, attributes: Attributes) -> Leave | None:
        if not self._in_table:
            self._writer.flush()
            return self._writer.flush
        self._writer.open_cell()
        columns, rows = _number(attributes.get("colspan"), 1), _number(attributes.get("rowspan"), 1)
        header = node.tag == "th"

        def leave() -> None:
            self._writer.close_cell(columns, rows, header=header)

        return leave

    # Headings and anchors

    def _enter_heading(self, node: LexborNode, attributes: Attributes) -> Leave | None:
        if self._in_table or len(node.text()) > MAX_HEADING_MARKUP_CHARS:
            self._writer.flush()
            return self._writer.flush
        return self._open_heading(_HEADINGS[node.tag or ""], attributes)

    def _open_heading(self, level: int, attributes: Attributes) -> Leave:
        self._writer.flush()
        self._in_heading = True
        own = _identifier("", attributes)
        if own:
            self._fresh = [(own, False)]
        previous = self._last_anchor

        def leave() -> None:
            self._in_heading = False
            text = self._writer.take_inline().rstrip(_PERMALINK_SIGNS)
            if len(text) > MAX_HEADING_CHARS:
                self._writer.text(text)
                self._writer.flush()
            elif text:
                self._begin(level, text, own or self._nearest(previous))
            self._fresh = []

        return leave

    def _begin(self, level: int, heading: str, anchor: str) -> None:
        self._close_section()
        while self._headings and self._headings[-1][0] >= level:
            self._headings.pop()
        self._headings.append((level, heading))
        self.first_heading = self.first_heading or heading
        self._anchor = anchor

    def _nearest(self, previous: str) -> str:
        """The id that opens at this heading: a hand-made one right before or within it, else the last above."""
        made = [name for name, by_index in self._fresh if not by_index]
        return (made or [name for name, _ in self._fresh] or [previous])[-1]

    def _note_anchor(self, tag: str, attributes: Attributes) -> None:
        name = _identifier(tag, attributes)
        if not name or tag in _NOT_A_FRAME:
            return
        by_index = "indexterm" in (attributes.get("class") or "")
        self._fresh.append((name, by_index))
        self._last_anchor = name
        if self._writer.size > SPLIT_CHARS and not by_index and not self._in_heading and self._writer.blank:
            self._close_section()
            self._anchor = name

    def _close_section(self) -> None:
        text = self._writer.take()
        if text:
            path = tuple(heading for _, heading in self._headings)
            anchor = "#" + quote(self._anchor, safe=_FRAGMENT_SAFE) if self._anchor else ""
            self._sections.append(Section(path, anchor, text))

    # What is left out

    def _is_dropped(self, node: LexborNode, tag: str, attributes: Attributes) -> bool:
        if is_hidden(attributes):
            return True
        if tag in _NOT_A_FRAME:
            return False
        if is_chrome(attributes):
            return True
        return self._is_in_page_contents(node, attributes)

    def _belongs(self, tag: str) -> bool:
        """Whether a header, footer or aside is part of the text rather than of the site's frame."""
        inside = self._landmark or self._articles > 0
        return inside and tag != "footer"

    def _is_in_page_contents(self, node: LexborNode, attributes: Attributes) -> bool:
        """A list of this page's own headings: every question would find it, and it answers none."""
        if not (_names_contents(attributes.get("class") or "") or _names_contents(attributes.get("id") or "")):
            return False
        link = node.css_first("a[href]")
        target = (link.attributes.get("href") or "") if link is not None else ""
        page, sign, _ = target.partition("#")
        return bool(sign) and page in ("", self._page_name)


@lru_cache(maxsize=4096)
def _names_contents(given: str) -> bool:
    return not _IN_PAGE_CONTENTS.isdisjoint(given.lower().split())


def _identifier(tag: str, attributes: Attributes) -> str:
    """The id, or the name of an <a>; "" when none can be linked to."""
    name = attributes.get("id") or (attributes.get("name") if tag == "a" else None) or ""
    return name if len(name) <= MAX_ANCHOR_CHARS and len(name.split()) == 1 else ""


def _pseudo_level(node: LexborNode, attributes: Attributes) -> int:
    """Level of an element that is a heading by role or class only; 0 when it is none."""
    level = 0
    if attributes.get("role") == "heading":
        level = min(6, max(1, _number(attributes.get("aria-level"), 2)))
    elif given := attributes.get("class"):
        level = max((_PSEUDO_HEADINGS.get(name, 0) for name in given.split()), default=0)
    if not level:
        return 0
    if not 0 < len(one_line(node.text())) <= MAX_PSEUDO_HEADING_CHARS:
        return 0
    return level if all(inner == node for inner in node.css(_BLOCKS_IN_HEADING)) else 0


def _is_data_table(node: LexborNode, attributes: Attributes) -> bool:
    """Whether rows and columns carry meaning; a page laid out by a table is read as paragraphs."""
    if (attributes.get("role") or "").lower() in ("presentation", "none"):
        return False
    if node.css_first(_HEAVY_CELLS) is not None:
        return False
    return (
        node.css_first("td + td, td + th, th + td, th + th") is not None
        and node.css_first("tr ~ tr, * + tbody tr") is not None
    )


def _number(text: str | None, default: int) -> int:
    match = re.match(r"\s*(\d{1,6})", text or "")
    return int(match[1]) if match else default
