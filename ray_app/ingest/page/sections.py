"""One walk over the content of a page: sections with heading path, anchor and Markdown text."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from selectolax.lexbor import LexborNode

from ray_app.ingest.clean import names
from ray_app.ingest.page.dom import NEVER_CHROME, UNREAD, Attributes, Leave, is_chrome, skip, walk
from ray_app.ingest.page.markdown import MarkdownWriter
from ray_app.ingest.page.measure import Hides
from ray_app.ingest.page.media import MediaCollector
from ray_app.ingest.page.outline import Outline, fragment
from ray_app.ingest.page.shapes import (
    HEADING_LEVELS,
    identifier,
    is_data_table,
    is_in_page_contents,
    is_notice,
    is_notice_title,
    lists_own_parts,
    number,
    pseudo_level,
)
from ray_app.records import Section

SPLIT_CHARS = 1_500  # about two chunks: beyond it a named anchor inside the section is the better link
MAX_HEADING_CHARS = 200  # a longer one is a paragraph in large letters
NOTICE_BOX_ROWS = 2
MAX_HEADING_MARKUP_CHARS = 1_000  # with the white space of the source; an unclosed heading holds the rest of the page

_BLOCKS = names(
    "address article aside blockquote body center details dir div figcaption figure footer form fieldset header hgroup "
    "html legend main p search section summary caption table tbody thead tfoot tr td th hr"
)
# Inline elements that site builders lay out as boxes: "<b>PL-61</b><span>61 keys</span>" is seen as two words.
_RUNS = names("a b button em i label small span strong time")
_CODE = names("code kbd samp tt")
_INLINE_HANDLED = _CODE | {"a"}
_PERMALINK_SIGNS = " \u00b6\u00a7#\U0001f517"


@dataclass(frozen=True, slots=True)
class Reading:
    """How one page is read.

    ``page_name`` is the last part of the page's path: a table of contents that links back to it is dropped.
    ``dropped`` are elements to pass over, by ``mem_id``. ``landmark`` says that only the main element is read, whose
    header and asides belong to the text.
    """

    page_name: str
    base: str  # what addresses of images are relative to
    hides: Hides
    dropped: frozenset[int] = frozenset()
    landmark: bool = False


class SectionReader:
    """Reads content elements one after another; ``sections`` and ``media`` are the result so far."""

    def __init__(self, reading: Reading) -> None:
        self.media = MediaCollector(reading.base)
        self._page_name = reading.page_name
        self._hides = reading.hides
        self._dropped = reading.dropped
        self._landmark = reading.landmark
        self._writer = MarkdownWriter()
        self._outline = Outline()
        self._anchor = ""  # of the section being written
        self._last_anchor = ""  # nearest id before this point; one before all text is the top of the page
        self._begun = False  # some text was met
        self._fresh: list[tuple[str, bool]] = []  # ids with no text after them; whether made by an index
        self._in_heading = False
        self._articles = 0  # open article, section and main elements
        self._notices: list[bool] = []  # open notes and warnings; whether their title was met
        self._lists = 0  # open ones
        self._tables = 0  # open data tables, one in the cell of another
        self._handlers = self._make_handlers()

    @property
    def first_heading(self) -> str:
        """The first that was met so far, or ""."""
        return self._outline.first_heading

    def read(self, root: LexborNode, *, itself: bool = False) -> None:
        """Adds the sections of what lies below ``root``; with ``itself``, also what it is: a heading, a table."""
        leave = self._enter_shown(root, root.tag or "", root.attributes) if itself else None
        walk(root, self)
        if leave is not None:
            leave()
        self._writer.flush()

    def sections(self) -> tuple[Section, ...]:
        """All sections with text, in page order, when everything is read."""
        self._close_section()
        return self._outline.finish()

    # Visitor

    def text(self, text: str) -> None:
        if not (self._begun and not self._fresh) and not text.isspace():
            self._begun = True
            if not self._in_heading:
                self._fresh = []
        self._writer.text(text)

    def enter(self, node: LexborNode, tag: str) -> Leave | None:
        if self._dropped and node.mem_id in self._dropped:
            return self._leave_out()
        if tag in UNREAD:
            return self._leave_out() if tag == "nav" else skip
        attributes: Attributes = node.attributes
        if attributes and self._is_dropped(node, tag, attributes):
            return skip
        if attributes and tag not in NEVER_CHROME and is_in_page_contents(node, attributes, self._page_name):
            return self._leave_out()
        return self._enter_shown(node, tag, attributes)

    def _enter_shown(self, node: LexborNode, tag: str, attributes: Attributes) -> Leave | None:
        if attributes:
            self._note_anchor(tag, attributes)
            self._note_media(node, tag, attributes)
        if tag in _RUNS and (before := node.prev) is not None and before.tag in _RUNS:
            self._writer.neighbour()
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
        handlers.update(dict.fromkeys(HEADING_LEVELS, self._enter_heading))
        handlers.update(dict.fromkeys(_CODE, self._enter_code))
        return handlers

    def _enter_block(self, node: LexborNode, tag: str, attributes: Attributes) -> Leave | None:
        if tag in ("header", "footer", "aside") and not self._belongs(tag):
            return skip
        if self._notices and not self._notices[-1] and is_notice_title(tag, attributes):
            return self._enter_notice_title()
        if attributes and is_notice(node, attributes):
            return self._enter_notice()
        if tag in ("article", "section", "main"):
            return self._enter_article()
        if attributes and (level := pseudo_level(node, attributes)) and not self._tables:
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

    def _enter_notice(self) -> Leave:
        """A note or warning: what it is headed with is no heading of the page."""
        self._writer.flush()
        self._notices.append(False)

        def leave() -> None:
            self._writer.flush()
            self._notices.pop()

        return leave

    def _enter_notice_title(self) -> Leave:
        self._writer.flush()
        self._notices[-1] = True
        return self._writer.close_label

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
        if self._tables:
            return self._enter_code()
        self._writer.open_pre()
        return self._writer.close_pre

    def _enter_list(self, node: LexborNode, attributes: Attributes) -> Leave:
        if not self._lists and lists_own_parts(node, self._page_name):
            return self._leave_out()
        self._lists += 1
        self._writer.open_list(ordered=node.tag == "ol", start=number(attributes.get("start"), 1))

        def leave() -> None:
            self._lists -= 1
            self._writer.close_list()

        return leave

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
        if self._tables:
            return self._enter_inner_table()
        if self._is_notice_box(node) or not is_data_table(node, attributes):
            self._writer.flush()
            return self._writer.flush
        self._writer.open_table()
        self._tables = 1

        def leave() -> None:
            self._tables = 0
            self._writer.close_table()

        return leave

    def _enter_inner_table(self) -> Leave:
        """A table in a cell: its rows are like the items of a list there."""
        self._writer.flush()
        self._tables += 1

        def leave() -> None:
            self._writer.flush()
            self._tables -= 1

        return leave

    def _is_notice_box(self, node: LexborNode) -> bool:
        """Whether a note is set in a table: an icon, "Note", and the text."""
        return bool(self._notices) and not self._notices[-1] and len(node.css("tr")) <= NOTICE_BOX_ROWS

    def _enter_row(self, *_: object) -> Leave | None:
        if self._tables > 1:
            self._writer.open_item()
            return None
        if self._tables:
            self._writer.open_row()
            return None
        self._writer.flush()
        return self._writer.flush

    def _enter_cell(self, node: LexborNode, attributes: Attributes) -> Leave | None:
        if self._tables > 1:
            self._writer.flush()
            return None
        if not self._tables:
            if self._notices and not self._notices[-1] and node.tag == "th":
                return self._enter_notice_title()
            self._writer.flush()
            return self._writer.flush
        self._writer.open_cell()
        columns, rows = number(attributes.get("colspan"), 1), number(attributes.get("rowspan"), 1)
        header = node.tag == "th"

        def leave() -> None:
            self._writer.close_cell(columns, rows, header=header)

        return leave

    # Headings and anchors

    def _enter_heading(self, node: LexborNode, attributes: Attributes) -> Leave | None:
        if self._notices and not self._tables:
            return self._enter_notice_title()
        if self._tables or len(node.text()) > MAX_HEADING_MARKUP_CHARS:
            self._writer.flush()
            return self._writer.flush
        return self._open_heading(HEADING_LEVELS[node.tag or ""], attributes)

    def _open_heading(self, level: int, attributes: Attributes) -> Leave:
        self._writer.flush()
        self._in_heading = True
        own = identifier("", attributes)
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
        self._outline.begin(level, heading, anchor)
        self._anchor = anchor

    def _nearest(self, previous: str) -> str:
        """The id that opens at this heading: a hand-made one right before or within it, else the last above."""
        made = [name for name, by_index in self._fresh if not by_index]
        return (made or [name for name, _ in self._fresh] or [previous])[-1]

    def _note_anchor(self, tag: str, attributes: Attributes) -> None:
        name = identifier(tag, attributes)
        if not name or tag in NEVER_CHROME:
            return
        by_index = "indexterm" in (attributes.get("class") or "")
        self._fresh.append((name, by_index))
        self._last_anchor = name if self._begun else ""
        if self._writer.size > SPLIT_CHARS and not by_index and not self._in_heading and self._writer.blank:
            self._close_section()
            self._anchor = name

    def _note_media(self, node: LexborNode, tag: str, attributes: Attributes) -> None:
        if tag == "img":
            self.media.image(node, attributes, fragment(self._anchor))
        elif tag == "a":
            self.media.link(node, attributes, fragment(self._anchor))

    def _close_section(self) -> None:
        self._outline.write(self._writer.take(), self._anchor)

    # What is left out

    def _is_dropped(self, node: LexborNode, tag: str, attributes: Attributes) -> bool:
        if self._hides(node, tag, attributes):
            return True
        return tag not in NEVER_CHROME and is_chrome(node, tag, attributes)

    def _leave_out(self) -> Leave:
        """Passes over what a heading may name: such a heading says nothing either."""
        self._outline.leave_out()
        return skip

    def _belongs(self, tag: str) -> bool:
        """Whether a header, footer or aside is part of the text rather than of the site's frame."""
        inside = self._landmark or self._articles > 0
        return inside and tag != "footer"
