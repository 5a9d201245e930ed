"""What kind of thing an element is, where its tag does not say: data table, heading, note, list of contents."""

from __future__ import annotations

import re
from functools import lru_cache

from selectolax.lexbor import LexborNode

from ray_app.ingest.clean import names, one_line
from ray_app.ingest.page.dom import Attributes

MAX_PSEUDO_HEADING_CHARS = 120
MAX_ANCHOR_CHARS = 500
MAX_NOTICE_CHARS = 4_000
# A table without header cells but with lists in it: data when so many rows are alike and no cell is longer.
MIN_REGULAR_ROWS = 3
MAX_ROWS_COMPARED = 200
MAX_CELL_CHARS = 600

MIN_CONTENTS = 3  # entries; two links may be any sentence
CONTENTS_SHARE = 0.85  # of the text in links; the rest is numbers and signs

HEADING_LEVELS = {"h1": 1, "h2": 2, "h3": 3, "h4": 4, "h5": 5, "h6": 6}
# How hand-written pages mark headings without heading elements; below every real one.
_PSEUDO_HEADINGS = {"topheader": 7, "header": 8, "heading": 8, "innerheader": 9, "subheader": 9, "subheading": 9}
_BLOCKS_IN_HEADING = "div, p, table, ul, ol, dl, pre, h1, h2, h3, h4, h5, h6, form, nav"
_IN_PAGE_CONTENTS = names("toc table-of-contents tableofcontents on-this-page page-toc localtoc")
_NOTICES = names(
    "note warning tip caution important danger hint attention alert admonition admonitionblock callout notice"
)
_NOTICE_PREFIXES = ("admonition-", "alert-", "callout-", "note-", "notice-", "warning-")
_LAYOUT_CELLS = ", ".join(["td table", "th table", *(f"td {tag}" for tag in HEADING_LEVELS)])
_HEAVY_CELLS = ", ".join(f"{cell} {tag}" for cell in ("td", "th") for tag in ("pre", "ul", "ol", "dl"))


def pseudo_level(node: LexborNode, attributes: Attributes) -> int:
    """Level of an element that is a heading by role or class only; 0 when it is none."""
    level = 0
    if attributes.get("role") == "heading":
        level = min(6, max(1, number(attributes.get("aria-level"), 2)))
    elif given := attributes.get("class"):
        level = max((_PSEUDO_HEADINGS.get(name, 0) for name in given.split()), default=0)
    if not level:
        return 0
    if not 0 < len(one_line(node.text())) <= MAX_PSEUDO_HEADING_CHARS:
        return 0
    return level if all(inner == node for inner in node.css(_BLOCKS_IN_HEADING)) else 0


def is_data_table(node: LexborNode, attributes: Attributes) -> bool:
    """Whether rows and columns carry meaning; a page laid out by a table is read as paragraphs."""
    if (attributes.get("role") or "").lower() in ("presentation", "none"):
        return False
    if node.css_first(_LAYOUT_CELLS) is not None and not _is_headed(node):
        return False
    if node.css_first("td + td, td + th, th + td, th + th") is None or node.css_first("tr ~ tr, * + tbody tr") is None:
        return False
    heavy = node.css(_HEAVY_CELLS)
    if any(inner.tag == "pre" and "\n" in inner.text().strip() for inner in heavy):
        return False
    return not heavy or node.css_first("th, caption") is not None or _is_regular(node)


def is_notice(node: LexborNode, attributes: Attributes) -> bool:
    """Whether the element is a box with a note or warning, not a part of the page with such a name."""
    return _names_notice(attributes.get("class") or "") and len(node.text()) <= MAX_NOTICE_CHARS


def is_notice_title(tag: str, attributes: Attributes) -> bool:
    """Whether an element in a notice is its first line: "Note", or what it is about."""
    return tag in ("p", "div", "summary", "legend") and "title" in (attributes.get("class") or "")


def is_in_page_contents(node: LexborNode, attributes: Attributes, page_name: str) -> bool:
    """A list of this page's own headings: every question would find it, and it answers none."""
    if not (_names_contents(attributes.get("class") or "") or _names_contents(attributes.get("id") or "")):
        return False
    link = node.css_first("a[href]")
    return link is not None and _leads_within(link, page_name)


def lists_own_parts(node: LexborNode, page_name: str) -> bool:
    """Whether a list is but links to parts of this page: contents without a name that says so."""
    first = node.css_first("a[href]")
    if first is None or not _leads_within(first, page_name):
        return False
    links = node.css("a[href]")
    if len(links) < MIN_CONTENTS or not all(_leads_within(link, page_name) for link in links):
        return False
    linked = sum(len(one_line(link.text())) for link in links)
    return linked >= CONTENTS_SHARE * len(one_line(node.text(separator=" ")))


def _leads_within(link: LexborNode, page_name: str) -> bool:
    page, sign, _ = (link.attributes.get("href") or "").partition("#")
    return bool(sign) and page in ("", page_name)


def identifier(tag: str, attributes: Attributes) -> str:
    """The id, or the name of an <a>; "" when none can be linked to."""
    name = attributes.get("id") or (attributes.get("name") if tag == "a" else None) or ""
    return name if len(name) <= MAX_ANCHOR_CHARS and len(name.split()) == 1 else ""


def number(text: str | None, default: int) -> int:
    """The number that an attribute begins with."""
    match = re.match(r"\s*(\d{1,6})", text or "")
    return int(match[1]) if match else default


def _is_headed(table: LexborNode) -> bool:
    """Whether the first row names columns, and no table or heading below makes a cell the half of a page."""
    row = table.css_first("tr")
    cells = [node.tag for node in row.iter()] if row is not None else []
    if len(cells) < 2 or set(cells) != {"th"}:
        return False
    return all(len(inner.text()) <= MAX_CELL_CHARS * MIN_REGULAR_ROWS for inner in table.css("td table"))


def _is_regular(table: LexborNode) -> bool:
    """Whether a table without header cells has rows alike and no cell that holds half a page."""
    rows = [row.css("td") for row in table.css("tr")[:MAX_ROWS_COMPARED]]
    return (
        len(rows) >= MIN_REGULAR_ROWS
        and len(set(map(len, rows))) == 1
        and all(len(cell.text()) <= MAX_CELL_CHARS for row in rows for cell in row)
    )


@lru_cache(maxsize=4096)
def _names_contents(given: str) -> bool:
    return not _IN_PAGE_CONTENTS.isdisjoint(given.lower().split())


@lru_cache(maxsize=4096)
def _names_notice(given: str) -> bool:
    return any(name in _NOTICES or name.startswith(_NOTICE_PREFIXES) for name in given.lower().split())
