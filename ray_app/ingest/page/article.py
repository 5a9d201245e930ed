"""News, blog and help articles: which element is the text, and what in it is not.

A page is an article when it says so (Open Graph, schema.org) and does not look like technical documentation, whose
parts are all content. The choice is made from the shape of the page, its names being only hints:

1. Every block is judged, innermost first: what belongs to the frame by its element, by its name (unless it holds the
   body), by being little but links, or by being one of a row of teasers is dropped.
2. The text is what microdata call the body of the article; else what is named like one and holds enough of the prose
   that is left; else the innermost element with nearly all of it.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Sequence

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ray_app.ingest.clean import names
from ray_app.ingest.page.measure import HEADINGS, Block, Hides, Holds, measure

ENOUGH_PROSE = 0.5  # of what is left on the page, for an element named like a body
ENOUGH_MARKED = 0.1  # likewise for one marked as the body: microdata are written for machines
SAME_BODY = 0.9  # of the outer one's prose: the inner one is the body
NEARLY_ALL = 0.8  # of an element's prose, for going down to one of its children
MAX_PIECES = 20  # of a body between advertisements
MOST_PROSE = 0.5  # of all on the page: what holds it is not dropped for its name
MIN_TEASERS = 3
MOST_TITLED = 0.7  # of them
FEW_CHARS = 80
LEAD_LEVELS = 2  # around the body, where its summary is looked for
MIN_PAGE_PROSE = 500  # characters; with less, what is long and what is short says little
LIST_PROSE_CHARS = 200  # a list of links with more around them explains them
MANY_LINKED = 0.6  # share of characters in links
ALL_LINKED = 0.9
SOME_LINKED = 0.25
MAX_LABEL_CHARS = 30  # "Read more: ", "See also: "

_SAYS_ARTICLE = ", ".join(
    (
        'meta[property="og:type"][content*="article" i]',
        'meta[property^="article:"]',
        '[itemtype*="schema.org/" i][itemtype$="Article"]:not([itemtype$="TechArticle"])',
        '[itemtype*="schema.org/" i][itemtype$="BlogPosting"]',
        "[itemprop~=articleBody]",
    )
)
_NAMES_BODY = ".entry-content, .post-content, .article-content, .article-body, .story-body"
_DATA = 'script[type="application/ld+json" i]'
_ARTICLE_TYPE = re.compile(r'"@type"\s*:\s*(?:\[[^\]]{0,200})?"(?:\w{0,40}(?<!Tech)Article|BlogPosting)"')
_OTHER_TYPE = re.compile(
    r'"@type"\s*:\s*(?:\[[^\]]{0,200})?"(?:TechArticle|APIReference|HowTo|FAQPage|QAPage|DiscussionForumPosting)"'
)
_GENERATOR = re.compile(
    r"\b(?:docutils|sphinx|asciidoc|docbook|mkdocs|docusaurus|antora|javadoc|doxygen|gitbook|vitepress|vuepress|mdbook"
    r"|latex2html|texi2html|makeinfo|robohelp|madcap|author-it|dita)\b",
    re.IGNORECASE,
)
_PERMALINKS = ", ".join(f'{tag} a[href^="#"]:not([href="#"])' for tag in ("h1", "h2", "h3"))
MIN_PERMALINKS = 2  # an article may have one link to its own top
MAX_DATA_CHARS = 200_000

_FRAME_TAGS = names("aside footer form figcaption")
_LISTS = names("ul ol dl div section")
_NEVER_TEASERS = names("p tr td tbody h2 h3")
_LEAVES = names("p li td pre ul ol dl table")  # the body of an article is no single one of them
_FILE = re.compile(r"\.(?:pdf|zip|exe|msi|dmg|pkg|docx?|xlsx?|epub|bin|img)(?:$|[?#])", re.IGNORECASE)
_LABEL = re.compile(r"[:\uff1a]\s*$")


# Elements to read, and the ``mem_id`` of those in them to pass over.
Choice = tuple[tuple[LexborNode, ...], frozenset[int]]


def is_article(tree: LexborHTMLParser) -> bool:
    """Whether the page calls itself an article and is no documentation, question or product."""
    data = "\n".join(node.text()[:MAX_DATA_CHARS] for node in tree.css(_DATA)[:MAX_PIECES])
    if _OTHER_TYPE.search(data):
        return False
    if tree.css_first(_SAYS_ARTICLE) is None and not _ARTICLE_TYPE.search(data):
        return False
    return not is_documentation(tree)


def names_body(tree: LexborHTMLParser) -> bool:
    """Whether some element has one of the names that publishing systems give to the text."""
    return tree.css_first(_NAMES_BODY) is not None


def is_documentation(tree: LexborHTMLParser) -> bool:
    """Whether it was made by a tool that makes documentation, or its headings can be linked to."""
    generators = (node.attributes.get("content") or "" for node in tree.css('meta[name="generator" i]'))
    return any(map(_GENERATOR.search, generators)) or len(tree.css(_PERMALINKS)) >= MIN_PERMALINKS


def choose(root: LexborNode, hides: Hides, removed: frozenset[int], title: str) -> Choice | None:
    """The text of an article; None when the page has no prose, or too much to measure.

    ``removed`` are passed over from the start. ``title`` is that of the page: a heading in the text that repeats it
    says nothing new.
    """
    blocks = measure(root, hides, removed)
    if not blocks:
        return None
    prune(blocks, title)
    return _choice(blocks, _bodies(blocks[0])) if blocks[0].prose else None


def choose_prose(root: LexborNode, hides: Hides, removed: frozenset[int]) -> Choice | None:
    """The text of a page that does not say what it is; None when it is more list than prose.

    Careful: the main heading stays, and what does not hold it is not the body whatever its name.
    """
    blocks = measure(root, hides, removed)
    if not blocks or blocks[0].raw_prose < MIN_PAGE_PROSE:
        return None
    prune(blocks, "")
    page = blocks[0]
    if page.prose < MOST_PROSE * page.chars:
        return None
    title = page.holds & Holds.TITLE
    bodies = _bodies(page)
    if title and not any(body.holds & title for body in bodies):
        bodies = [_densest(page, title)]
    return _choice(blocks, bodies)


def _choice(blocks: Sequence[Block], bodies: Sequence[Block]) -> Choice:
    dropped = frozenset(block.node.mem_id for block in blocks if block.dropped)
    return tuple(body.node for body in bodies), dropped


# What is not the text


def prune(blocks: Sequence[Block], title: str) -> None:
    """Marks what is dropped and counts what is kept. ``blocks`` as ``measure`` gives them, at least one."""
    page = blocks[0]
    title_words = title.casefold()
    for block in reversed(blocks):
        block.chars, block.linked, block.prose = block.own, block.own_linked, block.own_prose
        _drop_teasers(block, page)
        for child in block.children:
            if not child.dropped:
                _add(block, child)
        if block.tag in HEADINGS and block.link_share > NEARLY_ALL:
            block.holds |= Holds.LINKED_HEADING
        block.dropped = block is not page and (_is_frame(block, page) or _repeats(block, title_words))


def _add(block: Block, child: Block) -> None:
    block.chars += child.chars
    block.linked += child.linked
    block.links += child.links
    block.prose += child.prose
    block.holds |= child.holds & Holds.LINKED_HEADING


def _repeats(block: Block, title: str) -> bool:
    if block.tag != "h1" or not title or block.chars > len(title):
        return False
    return " ".join(block.node.text().split()).casefold() in title


def _is_frame(block: Block, page: Block) -> bool:
    if block.tag in HEADINGS or block.tag in ("blockquote", "main", "body") or _holds_body(block, page):
        return False
    if block.tag == "article" and block.in_article:  # a comment or a related one, as the HTML standard has it
        return True
    if block.tag in _FRAME_TAGS:
        return not (block.tag == "aside" and block.names.notice)
    if block.names.frame or (block.names.caption and _is_of_image(block)):
        return True
    return _is_trimming(block) or _is_links(block)


def _holds_body(block: Block, page: Block) -> bool:
    """By the best sign of a body that this page has at all."""
    for sign in (Holds.MARKED, Holds.NAMED):
        if page.holds & sign:
            return bool(block.holds & sign)
    return block.raw_prose > MOST_PROSE * page.raw_prose


def _is_trimming(block: Block) -> bool:
    """Named like a trimming, and short or linked as one. Quotes in such a name are embedded posts."""
    if not block.names.minor or block.holds & Holds.QUOTE:
        return False
    short = block.prose < FEW_CHARS and not block.holds & (Holds.HEADING | Holds.TABULAR)
    return short or block.link_share > SOME_LINKED


def _is_links(block: Block) -> bool:
    """A list of links, or a paragraph that is one link or a label before one."""
    if block.tag in _LISTS and block.links > 1 and block.link_share > MANY_LINKED and block.prose < LIST_PROSE_CHARS:
        return True
    if block.tag not in ("p", "div", "li") or not block.own or block.children:
        return False
    share = block.own_linked / block.own
    if share > ALL_LINKED:
        return block.tag != "li" and not _links_file(block)
    return share > MANY_LINKED and 0 < len(block.lead) < MAX_LABEL_CHARS and _LABEL.search(block.lead) is not None


def _links_file(block: Block) -> bool:
    """A download is part of what an article says."""
    link = block.node.css_first("a[href]")
    return link is not None and _FILE.search(link.attributes.get("href") or "") is not None


def _is_of_image(block: Block) -> bool:
    """A caption: it stands in a gallery, or an image stands beside it. It is kept with the image (see media)."""
    near: Block | None = block
    for distance in range(6):
        if near is None:
            return False
        if near.names.gallery or near.tag == "figure" or (distance < 3 and near.holds & Holds.IMAGE):
            return True
        near = near.parent
    return False


def _drop_teasers(block: Block, page: Block) -> None:
    """Of children of one look, when most have a heading that is a link: articles that are elsewhere."""
    if len(block.children) < MIN_TEASERS:
        return
    alike: dict[str, list[Block]] = defaultdict(list)
    for child in block.children:
        if not child.dropped and child.tag not in _NEVER_TEASERS:
            alike[child.look].append(child)
    for group in alike.values():
        titled = sum(bool(child.holds & Holds.LINKED_HEADING) for child in group)
        if len(group) < MIN_TEASERS or titled < MOST_TITLED * len(group):
            continue
        for child in group:
            child.dropped = not _holds_body(child, page)


# What is the text


def _bodies(page: Block) -> list[Block]:
    kept = list(page.kept())
    for sign, enough in ((Holds.MARKED, ENOUGH_MARKED), (Holds.NAMED, ENOUGH_PROSE)):
        pieces = _pieces([block for block in kept if _is_signed(block, sign)])
        prose = sum(piece.prose for piece in pieces)
        if prose and prose >= enough * page.prose:
            return [*_leads(pieces[0]), *pieces]
    return [_densest(page)] if page.prose else []


def _leads(body: Block) -> list[Block]:
    """Paragraphs right before the body that open the text: its summary."""
    found: list[Block] = []
    block = body
    for _ in range(LEAD_LEVELS):
        if block.parent is None:
            break
        before = block.parent.children[: block.parent.children.index(block)]
        found[:0] = [b for b in before if _is_lead(b)]
        block = block.parent
    return found


def _is_lead(block: Block) -> bool:
    if block.dropped or block.holds & Holds.TITLE or not (block.tag == "p" or block.names.lead):
        return False
    return block.prose >= FEW_CHARS and block.link_share < SOME_LINKED


def _is_signed(block: Block, sign: int) -> bool:
    """Whether the block itself, not one in it, is called the body."""
    if sign == Holds.NAMED:
        return block.names.body and bool(block.holds & sign)
    return bool(block.holds & sign) and "articleBody" in (block.node.attributes.get("itemprop") or "")


def _pieces(signed: list[Block]) -> list[Block]:
    """The signed block with most prose, the innermost such, and all that look the same: a body comes in pieces."""
    if not signed:
        return []
    best = max(signed, key=lambda block: block.prose)
    chain = [block for block in signed if block.prose >= SAME_BODY * best.prose and _is_within(block, {best})]
    best = chain[-1] if chain else best
    alike = {block for block in signed if block.look == best.look}
    outermost = [block for block in signed if block in alike and not _is_within(block, alike)]
    return outermost if len(outermost) <= MAX_PIECES and best in outermost else [best]


def _is_within(block: Block, others: set[Block]) -> bool:
    parent = block.parent
    while parent is not None and parent not in others:
        parent = parent.parent
    return parent is not None


def _densest(page: Block, holding: int = Holds.NOTHING) -> Block:
    """The innermost element that has nearly all prose of the one around it, and holds what it should."""
    block = page
    while True:
        children = [child for child in block.children if not child.dropped and child.tag not in _LEAVES]
        best = max(children, key=lambda child: child.prose, default=None)
        if best is None or not best.prose or best.prose < NEARLY_ALL * block.prose or holding & ~best.holds:
            return block
        block = best
