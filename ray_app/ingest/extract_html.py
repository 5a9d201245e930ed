"""Bytes of an HTML page to a Document with sections and anchors, and its links."""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass, replace

from selectolax.lexbor import LexborHTMLParser

from ray_app.ingest.charset import decode
from ray_app.ingest.clean import visible
from ray_app.ingest.enrich import enriched, says_something
from ray_app.ingest.fingerprint import content_hash
from ray_app.ingest.page import content, structured, walls
from ray_app.ingest.page.content import Content, Rules, check_selector
from ray_app.ingest.page.dom import parse
from ray_app.ingest.page.hidden import Hiding
from ray_app.ingest.page.links import Head, read_head, read_links
from ray_app.ingest.page.sections import Reading, SectionReader
from ray_app.records import Document, Extracted, Facts, Section

__all__ = ["Rules", "check_selector", "extract"]

JUDGE_CAP_CHARS = 500_000  # trafilatura takes seconds per megabyte
NORMALLY = Rules()
NO_FACTS = Facts()
_WORD = re.compile(r"[^\W_]")


def extract(
    body: bytes, *, brand: str, url: str, charset: str, fetched_at: float, rules: Rules = NORMALLY
) -> Extracted:
    """What the page at ``url`` (normalised) says. Reads any bytes without raising.

    ``charset`` is that of the Content-Type header, or "". Without a document, but perhaps with links, come the reasons
    empty, noindex, quarantined, and those of ``walls``.
    """
    text = decode(body, charset)
    tree, cut = parse(text)
    head = read_head(tree, url)
    links = () if head.nofollow else read_links(tree, head, rules.max_links)
    bare = Extracted("empty", links=links, canonical=head.canonical)
    if head.noindex:
        return replace(bare, reason="noindex")
    hints = structured.read(tree, url)
    page = _Page(tree, head, rules)
    found = page.read()
    # Looked at before the second opinion, which takes scripts and forms out of the tree.
    view = walls.view(tree, url=url, title=found.title, heading=found.heading, text=found.text)
    if not found.says_something:
        found = page.second_opinion()
        view = view.saying(found.text)
    if wall := walls.judge(view):
        return replace(bare, reason=wall)
    if not found.says_something:
        return bare
    document = Document(
        brand=brand,
        url=url,
        title=found.title,
        lang=head.lang or rules.lang,
        kind="html",
        sections=found.sections,
        content_hash=content_hash(found.title, found.sections),
        fetched_at=fetched_at,
        facts=found.facts,
    )
    detail = "markup was nested or sized beyond reason and has been cut" if cut else ""
    return enriched(replace(bare, reason="ok", document=document, detail=detail), hints)


@dataclass(frozen=True, slots=True)
class _Found:
    """What a choice of content says."""

    title: str
    sections: tuple[Section, ...] = ()
    facts: Facts = NO_FACTS

    @property
    def chars(self) -> int:
        return sum(len(section.text) for section in self.sections)

    @property
    def text(self) -> str:
        return "\n".join(section.text for section in self.sections)

    @property
    def heading(self) -> str:
        """The outermost of the first section."""
        return next((section.path[0] for section in self.sections if section.path), "")

    @property
    def says_something(self) -> bool:
        return says_something(self.sections)


class _Page:
    """One page, read in the ways that ``content`` knows until one says something."""

    def __init__(self, tree: LexborHTMLParser, head: Head, rules: Rules) -> None:
        self._tree = tree
        self._head = head
        self._rules = rules
        self._hides = Hiding.of(tree).hides
        self._removed = frozenset(node.mem_id for node in content.selected(tree, rules.remove))
        self._page_name = head.url.partition("?")[0].rpartition("/")[2]

    def read(self) -> _Found:
        """What the brand's rules select, else the article, the prose, the landmark or body."""
        found = self._read(content.by_rules(self._tree, self._rules, self._hides))
        if not found.says_something:
            found = self._read(content.by_article(self._tree, self._hides, self._removed, self._head.title))
        if not found.says_something:
            found = self._read(content.by_prose(self._tree, self._hides, self._removed))
        if not found.says_something:
            found = self._read_landmark_or_body()
        return found

    def _read_landmark_or_body(self) -> _Found:
        landmark, page = content.by_landmark(self._tree, self._hides), content.whole(self._tree)
        found = self._read(landmark)
        if landmark is not None and content.is_ample(landmark, page):
            return found
        other = self._read(page)
        return other if found.chars < content.share_needed(other.chars) else found

    def _read(self, chosen: Content | None) -> _Found:
        if chosen is None:
            return _Found("")
        dropped = self._removed | chosen.dropped
        reading = Reading(self._page_name, self._head.base, self._hides, dropped, landmark=chosen.landmark)
        reader = SectionReader(reading)
        for root in chosen.roots:
            if not content.is_within(root, self._removed):
                reader.read(root, itself=chosen.named)
        sections = reader.sections()
        title = self._head.title or reader.first_heading
        facts = Facts(images=reader.media.images, pdfs=reader.media.pdfs)
        return _Found(title, _without_echoes(title, sections), facts)

    def second_opinion(self) -> _Found:
        """What trafilatura makes of a page whose whole text lies in what looks like its frame. Changes the tree."""
        tree, nothing = self._tree, _Found(self._head.title)
        out = [*tree.css("script, style, noscript, template, svg"), *content.selected(tree, self._rules.remove)]
        out += [node for node in tree.css(content.MAY_HIDE) if self._hides(node, node.tag or "", node.attributes)]
        content.remove(out)
        markup = tree.html or ""
        if len(markup) > JUDGE_CAP_CHARS or tree.body is None or not _WORD.search(tree.body.text()):
            return nothing
        from trafilatura import extract as judge  # half a second to import, seldom needed

        logging.getLogger("trafilatura").setLevel(logging.CRITICAL)  # finding nothing is an answer, not an error
        found = judge(markup, include_comments=False, include_tables=True)
        cleaned = visible(found or "").strip()
        return _Found(self._head.title, (Section((), "", cleaned),)) if cleaned else nothing


def _without_echoes(title: str, sections: tuple[Section, ...]) -> tuple[Section, ...]:
    """A banner that only repeats part of the title would be a passage of its own on every page of the site."""
    telling = tuple(section for section in sections if section.path or section.text not in title)
    return telling if telling else sections
