"""Markdown and plain text to sections by their headings.

Headings are those of CommonMark: ``# Title`` and a line underlined with ``===`` or ``---``, outside fenced code. In
plain text only underlined ones count, for there a ``#`` begins a comment. The rest stays as it is written, but for
links and images, of which the words stay, and comments, which no reader sees.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from ray_app.ingest.clean import one_line, visible
from ray_app.ingest.page.outline import fragment
from ray_app.records import Section

MAX_HEADING_CHARS = 300  # a longer line is a paragraph that happens to stand over a rule

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_ATX = re.compile(r" {0,3}(#{1,6})(?:[ \t]+|$)(.*)")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})[ \t]*")
_FRONT = re.compile(r"---[ \t]*\n(.*?\n)(?:---|\.\.\.)[ \t]*(?:\n|$)", re.DOTALL)
_FRONT_TITLE = re.compile(r"^title:[ \t]*(.+)$", re.MULTILINE | re.IGNORECASE)
_LINK = re.compile(r"!?\[([^\[\]\n]*)\]\([^()\s]*(?:[ \t]+\"[^\"\n]*\")?\)")
_NOT_IN_SLUG = re.compile(r"[^\w\- ]")
_NO_HEADING = re.compile(r"[-*+>|]|\d+[.)]\s")  # how items, quotes and tables begin


@dataclass(frozen=True, slots=True)
class Text:
    """What was read. ``title`` is what it says about itself, else its first heading, else ""."""

    title: str
    sections: tuple[Section, ...]


def read(text: str, *, markdown: bool) -> Text:
    """The sections of a text in their order; each has the path of headings over it."""
    text = visible(text)
    said = ""
    if markdown and (front := _FRONT.match(text)):
        titles = _FRONT_TITLE.search(front[1])
        said = one_line(titles[1]).strip("\"'") if titles else ""
        text = text[front.end() :]
    outline = _Outline(anchored=markdown)
    for level, line in _lines(text, markdown):
        if level:
            outline.begin(level, line)
        else:
            outline.lines.append(line)
    sections = outline.finished()
    heading = next((section.path[0] for section in sections if section.path), "")
    return Text(said or heading, sections)


def _lines(text: str, markdown: bool) -> Iterator[tuple[int, str]]:
    """Each line with its level as a heading, 0 when it is none."""
    lines = _without_comments(text) if markdown else ((line, False) for line in text.split("\n"))
    waiting: str | None = None  # a line of text that the next one may underline
    alone = True  # whether the line before it was none of its paragraph
    for line, code in lines:
        underline = _UNDERLINE.fullmatch(line) if alone and not code and _may_head(waiting) else None
        if underline:
            yield (1 if underline[1][0] == "=" else 2), one_line(waiting or "")
            waiting = None
            continue
        if waiting is not None:
            yield 0, waiting
        alone = not (waiting or "").strip()
        waiting = None
        heading = _ATX.fullmatch(line) if markdown and not code else None
        if heading:
            yield len(heading[1]), one_line(_unclosed(heading[2]))
        elif code:
            yield 0, line
        else:
            waiting = _LINK.sub(r"\1", line) if markdown else line
    if waiting is not None:
        yield 0, waiting


def _unclosed(heading: str) -> str:
    """Without the number signs that may end it; those of a word stay."""
    shown = heading.rstrip(" \t")
    kept = shown.rstrip("#")
    return kept if not kept or kept[-1] in " \t" else shown


def _may_head(line: str | None) -> bool:
    return bool(line and line.strip() and len(line) <= MAX_HEADING_CHARS and not _NO_HEADING.match(line.lstrip()))


def _without_comments(text: str) -> Iterator[tuple[str, bool]]:
    """The lines, and whether each is code, without comments outside of code."""
    fence, comment = "", False
    for raw in text.split("\n"):
        line = raw
        if fence:
            yield line, True
            mark = _FENCE.match(line)
            if mark and mark[1].startswith(fence) and not line.strip(" `~"):
                fence = ""
            continue
        kept: list[str] = []
        at = 0
        while at < len(line):
            end = line.find("-->" if comment else "<!--", at)
            if not comment:
                kept.append(line[at : end if end >= 0 else len(line)])
            at = end + (3 if comment else 4) if end >= 0 else len(line)
            comment = comment != (end >= 0)
        shown = "".join(kept)
        if mark := _FENCE.match(shown):
            fence = mark[1]
        if shown or not raw:
            yield shown, bool(fence)


@dataclass
class _Outline:
    """Sections as they are written."""

    anchored: bool
    lines: list[str] = field(default_factory=list)
    _open: list[tuple[int, str]] = field(default_factory=list)
    _anchor: str = ""
    _slugs: dict[str, int] = field(default_factory=dict)
    _sections: list[Section] = field(default_factory=list)

    def begin(self, level: int, heading: str) -> None:
        """A heading ends the section before it and all those of its level."""
        self._end()
        while self._open and self._open[-1][0] >= level:
            self._open.pop()
        self._open.append((level, heading))
        self._anchor = self._slug(heading) if self.anchored else ""

    def finished(self) -> tuple[Section, ...]:
        self._end()
        return tuple(self._sections)

    def _end(self) -> None:
        text = "\n".join(self.lines).strip("\n").rstrip()
        self.lines.clear()
        if text.strip():
            path = tuple(heading for _, heading in self._open if heading)
            self._sections.append(Section(path, self._anchor, text))

    def _slug(self, heading: str) -> str:
        """As the well-known renderers of Markdown name a heading."""
        name = _NOT_IN_SLUG.sub("", heading.lower()).replace(" ", "-")
        if not name:
            return ""
        times = self._slugs.get(name, 0)
        self._slugs[name] = times + 1
        return fragment(f"{name}-{times}" if times else name)
