"""How prose and links lie over the elements of a page: what the choice of an article's text is made from."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, field

from selectolax.lexbor import LexborNode

from ray_app.ingest.clean import names
from ray_app.ingest.page.dom import NEVER_CHROME, UNREAD, Attributes, Leave, is_chrome, skip, walk
from ray_app.ingest.page.naming import NAMELESS, Naming, naming

Hides = Callable[[LexborNode, str, Attributes], bool]

# Shorter ones are labels: the shortest sentences that say something have about that many letters.
MIN_PROSE_CHARS = 25
MAX_BLOCKS = 30_000  # articles have a tenth of them; each takes half a kilobyte

HEADINGS = names("h1 h2 h3 h4 h5 h6")
_INLINE = names(
    "abbr acronym b bdi bdo big br cite code del dfn em font i ins kbd mark nobr q s samp small strike strong sub "
    "sup time tt u var wbr"
)
_VERBATIM = names("pre code samp kbd")  # a highlighter names its pieces "comment" and the like


class Holds:
    """What is somewhere in an element: bits of an int, as an enumeration of flags takes a third of the time."""

    NOTHING = 0
    TITLE = 1  # an <h1>
    MARKED = 2  # prose in an element that microdata call the body of an article
    NAMED = 4  # prose in an element whose class or id says so
    QUOTE = 8
    IMAGE = 16
    HEADING = 32
    LINKED_HEADING = 64  # a heading that leads to another page; set by article.prune
    TABULAR = 128  # a table, or preformatted text


@dataclass(slots=True, eq=False)
class Block:
    """An element that is more than formatting. Characters count with one space for every run of white space."""

    parent: Block | None
    node: LexborNode
    tag: str
    names: Naming = NAMELESS
    in_article: bool = False  # some element around it is an <article>
    look: str = ""  # tag and first class: siblings of one look are of one kind
    children: list[Block] = field(default_factory=list)
    holds: int = Holds.NOTHING
    own: int = 0  # characters in it and in formatting, not in blocks below
    own_linked: int = 0  # those of them in links
    lead: str = ""  # its own text before its first link
    chars: int = 0  # of it and all kept below; see article.prune
    linked: int = 0
    links: int = 0
    prose: float = 0.0
    raw_prose: float = 0.0  # kept or not
    dropped: bool = False

    @property
    def own_prose(self) -> float:
        """Its own characters as far as they read like sentences: not in links, nor among many links."""
        unlinked = self.own - self.own_linked
        if unlinked < MIN_PROSE_CHARS or self.tag in HEADINGS:
            return 0.0
        return unlinked * unlinked / self.own

    @property
    def link_share(self) -> float:
        return self.linked / self.chars if self.chars else 0.0

    def kept(self) -> Iterator[Block]:
        """It and all below it that is not dropped, in page order."""
        waiting = [self]
        while waiting:
            block = waiting.pop()
            yield block
            waiting.extend(child for child in reversed(block.children) if not child.dropped)


def measure(root: LexborNode, hides: Hides, removed: frozenset[int]) -> list[Block]:
    """The blocks of what lies below ``root``, itself first, parents before children; none of a page with too many.

    What is hidden, frame or among the ``removed`` (by ``mem_id``) is left out.
    """
    measurer = _Measurer(root, hides, removed)
    walk(root, measurer)
    blocks = measurer.blocks
    if len(blocks) > MAX_BLOCKS:
        return []
    for block in reversed(blocks):
        block.raw_prose += block.own_prose
        if not block.raw_prose:
            block.holds &= ~(Holds.MARKED | Holds.NAMED)
        if block.parent is not None:
            block.parent.raw_prose += block.raw_prose
            block.parent.holds |= block.holds
    return blocks


class _Measurer:
    """Visitor that builds the blocks."""

    def __init__(self, root: LexborNode, hides: Hides, removed: frozenset[int]) -> None:
        self._removed = removed
        self.blocks = [Block(None, root, root.tag or "")]
        self._hides = hides
        self._block = self.blocks[0]
        self._in_links = 0

    def text(self, text: str) -> None:
        count = len(" ".join(text.split()))
        if not count:
            return
        block = self._block
        block.own += count
        if self._in_links:
            block.own_linked += count
        elif not block.own_linked:
            block.lead = text

    def enter(self, node: LexborNode, tag: str) -> Leave | None:
        if tag in UNREAD or len(self.blocks) > MAX_BLOCKS or (self._removed and node.mem_id in self._removed):
            return skip
        if tag in _VERBATIM:
            return self._enter_verbatim(node, tag)
        if tag in _INLINE:
            return None
        attributes: Attributes = node.attributes
        if attributes and self._is_out(node, tag, attributes):
            return skip
        if tag == "a":
            return self._enter_link(attributes)
        return self._enter_block(node, tag, attributes)

    def _enter_block(self, node: LexborNode, tag: str, attributes: Attributes) -> Leave | None:
        if tag == "img":
            self._block.holds |= Holds.IMAGE
            return None
        named = naming(attributes.get("class") or "", attributes.get("id") or "") if attributes else NAMELESS
        if tag == "span" and not (named.frame or named.caption):
            return None
        return self._open(node, tag, attributes, named)

    def _enter_link(self, attributes: Attributes) -> Leave | None:
        """A link within the page is a switch or a footnote: its words belong to the text."""
        if (attributes.get("href") or "#")[0] == "#":
            return None
        self._in_links += 1
        self._block.links += 1
        return self._leave_link

    def _is_out(self, node: LexborNode, tag: str, attributes: Attributes) -> bool:
        return self._hides(node, tag, attributes) or (tag not in NEVER_CHROME and is_chrome(node, tag, attributes))

    def _open(self, node: LexborNode, tag: str, attributes: Attributes, named: Naming) -> Leave:
        around = self._block
        block = Block(around, node, tag, named, around.in_article or around.tag == "article")
        block.look = f"{tag}.{(attributes.get('class') or '').partition(' ')[0]}"
        block.holds = _holds(tag, attributes, named)
        around.children.append(block)
        self.blocks.append(block)
        self._block = block
        return self._leave

    def _enter_verbatim(self, node: LexborNode, tag: str) -> Leave:
        """Its words count as they are, whatever marks them up."""
        if tag == "pre":
            self._open(node, tag, {}, NAMELESS)
            self.text(node.text())
            self._leave()
        else:
            self.text(node.text())
        return skip

    def _leave(self) -> None:
        if self._block.parent is not None:
            self._block = self._block.parent

    def _leave_link(self) -> None:
        self._in_links -= 1


def _holds(tag: str, attributes: Attributes, named: Naming) -> int:
    held = Holds.NOTHING
    if tag in HEADINGS:
        held |= Holds.HEADING | (Holds.TITLE if tag == "h1" else Holds.NOTHING)
    elif tag == "blockquote":
        held |= Holds.QUOTE
    elif tag in ("table", "pre"):
        held |= Holds.TABULAR
    if "articleBody" in (attributes.get("itemprop") or ""):
        held |= Holds.MARKED
    if named.body and tag != "p" and tag not in HEADINGS:
        held |= Holds.NAMED
    return held
