"""Bytes of an HTML page to a Document with sections and anchors, and its links."""

from __future__ import annotations

import hashlib
import logging
import re
from collections.abc import Sequence

from selectolax.lexbor import LexborHTMLParser, LexborNode

from ray_app.ingest.charset import decode
from ray_app.ingest.clean import visible
from ray_app.ingest.dom import is_hidden, parse
from ray_app.ingest.links import Head, read_head, read_links
from ray_app.ingest.sections import SectionReader
from ray_app.records import Document, Extracted, Section

DEFAULT_MAX_LINKS = 5_000
# A main element with so little of the page's text is not the main one, unless the page itself is short.
LANDMARK_SHARE = 0.25
LANDMARK_MATTERS_CHARS = 500
MAX_CANDIDATES = 1_000  # looked at for landmarks
MAX_LANDMARKS = 50  # more articles are a list of teasers, not the text
JUDGE_CAP_CHARS = 500_000  # trafilatura takes seconds per megabyte
_WORD = re.compile(r"[^\W_]")


def extract(
    body: bytes, *, brand: str, url: str, charset: str, fetched_at: float, max_links: int = DEFAULT_MAX_LINKS
) -> Extracted:
    """What the page at ``url`` (normalised) says. Reads any bytes without raising.

    ``charset`` is that of the Content-Type header, or "". Reasons: ok, empty, noindex; the latter two have
    no document but may have links.
    """
    text = decode(body, charset)
    tree, cut = parse(text)
    head = read_head(tree, url)
    links = () if head.nofollow else read_links(tree, head, max_links)
    if head.noindex:
        return Extracted("noindex", links=links, canonical=head.canonical)
    title, sections = _read_content(tree, head, url)
    if not any(_WORD.search(section.text) for section in sections):
        return Extracted("empty", links=links, canonical=head.canonical)
    document = Document(
        brand=brand,
        url=url,
        title=title,
        lang=head.lang,
        kind="html",
        sections=sections,
        content_hash=content_hash(title, sections),
        fetched_at=fetched_at,
    )
    detail = "markup was nested or sized beyond reason and has been cut" if cut else ""
    return Extracted("ok", document, links, head.canonical, detail)


def content_hash(title: str, sections: Sequence[Section]) -> str:
    """32 hex digits that change with any change of title, headings, anchors or text."""
    digest = hashlib.blake2b(digest_size=16)
    parts = [title, *(part for s in sections for part in (str(len(s.path)), *s.path, s.anchor, s.text))]
    for part in parts:
        raw = part.encode("utf-8", "replace")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()


def _read_content(tree: LexborHTMLParser, head: Head, url: str) -> tuple[str, tuple[Section, ...]]:
    """Title and sections: of the landmark, else of the body without its frame, else what trafilatura finds."""
    page_name = url.partition("?")[0].rpartition("/")[2]
    body = tree.body if tree.body is not None else tree.root
    heading = ""
    sections: tuple[Section, ...] = ()
    landmarks = _landmarks(tree)
    if landmarks:
        heading, sections = _read(landmarks, page_name, landmark=True)
    if body is not None and not (landmarks and _is_ample(landmarks, body)):
        other_heading, others = _read([body], page_name, landmark=False)
        if _length(sections) < _share_needed(_length(others)):
            heading, sections = other_heading, others
    if not _length(sections):
        sections = _judged(tree)
    title = head.title or heading
    return title, _without_echoes(title, sections)


def _without_echoes(title: str, sections: tuple[Section, ...]) -> tuple[Section, ...]:
    """A banner that only repeats part of the title would be a passage of its own on every page of the site."""
    telling = tuple(section for section in sections if section.path or section.text not in title)
    return telling if _length(telling) else sections


def _read(roots: list[LexborNode], page_name: str, *, landmark: bool) -> tuple[str, tuple[Section, ...]]:
    """First heading and sections."""
    reader = SectionReader(page_name, landmark=landmark)
    for root in roots:
        reader.read(root)
    return reader.first_heading, reader.sections()


def _landmarks(tree: LexborHTMLParser) -> list[LexborNode]:
    """The main element with all it holds, else the articles if they are few.

    An article inside main is not preferred: on support sites what stands beside it is content too.
    """
    mains = _visible(tree.css("main, [role=main]"))
    return mains or _visible(tree.css("article"))


def _visible(nodes: list[LexborNode]) -> list[LexborNode]:
    found = _outermost([node for node in nodes[:MAX_CANDIDATES] if not is_hidden(node.attributes)])
    return found if len(found) <= MAX_LANDMARKS else []


def _outermost(nodes: list[LexborNode]) -> list[LexborNode]:
    ids = {node.mem_id for node in nodes}
    return [node for node in nodes if not _has_ancestor(node, ids)]


def _has_ancestor(node: LexborNode, ids: set[int]) -> bool:
    parent = node.parent
    while parent is not None:
        if parent.mem_id in ids:
            return True
        parent = parent.parent
    return False


def _is_ample(landmarks: list[LexborNode], body: LexborNode) -> bool:
    """Cheap and careful: the body's raw text counts its scripts and frame too."""
    return sum(len(node.text()) for node in landmarks) >= LANDMARK_SHARE * len(body.text())


def _share_needed(body_length: int) -> float:
    return LANDMARK_SHARE * body_length if body_length > LANDMARK_MATTERS_CHARS else 1


def _length(sections: Sequence[Section]) -> int:
    return sum(len(section.text) for section in sections)


def _judged(tree: LexborHTMLParser) -> tuple[Section, ...]:
    """What trafilatura makes of a page whose whole text lies in what looks like its frame. Changes the tree."""
    for node in tree.css("script, style, noscript, template, svg"):
        node.decompose()
    markup = tree.html or ""
    if len(markup) > JUDGE_CAP_CHARS or tree.body is None or not _WORD.search(tree.body.text()):
        return ()
    from trafilatura import extract as judge  # half a second to import, seldom needed

    logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # finding nothing is an answer, not an error
    found = judge(markup, include_comments=False, include_tables=True)
    cleaned = visible(found or "").strip()
    return (Section((), "", cleaned),) if cleaned else ()
