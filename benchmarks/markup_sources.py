"""Sources of documentation (AsciiDoc, reStructuredText) to the plain text and headings a reader of their HTML sees.

Not parsers: they undo what the two tool chains do to words, so that a page can be compared with its source by tokens.
What a tool chain adds by itself (signature prefixes, "Part of the Stable ABI") stays a difference, equal for all who
are compared. A page whose source includes a file that was not shipped is not comparable: its text is None.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from ray_app.ingest.clean import names

MAX_INCLUDES = 12  # deep


@dataclass(slots=True)
class Source:
    """``text`` is None when the page cannot be compared."""

    text: str | None
    headings: list[str] = field(default_factory=list)


# AsciiDoc

_A_RULE = re.compile(r"^(=+|-+|~+|\^+|\++)\s*$")
_A_TITLE = re.compile(r"^={1,5}\s+(.*?)(?:\s+=+)?$")
_A_BLOCK = re.compile(r"^(?:-{4,}|\.{4,}|={4,}|_{4,}|\*{4,}|\+{4,}|--|\+|\|={3,})\s*$")
_A_ATTRIBUTES = re.compile(r"^\[[^\]]*\]\s*$|^:[\w!-]+:.*$|^//.*$")
_A_CONDITION = re.compile(r"^(ifdef|ifndef|endif|ifeval)::([^\[]*)\[(.*)\]\s*$")
_A_INCLUDE = re.compile(r"^include::([^\[]+)\[.*\]\s*$")
_A_VERBATIM = re.compile(r"^(-{4,}|\.{4,})\s*$")
_A_INLINE: tuple[tuple[re.Pattern[str], str], ...] = (
    (re.compile(r"\[\[[^\]]*\]\]|\[verse[^\]]*\]"), " "),
    (re.compile(r"linkgit:([\w.-]+)\[(\w+)\]"), r"\1(\2)"),
    (re.compile(r"<<[^>,]+,([^>]+)>>"), r"\1"),
    (re.compile(r"(?:link|xref):[^\s\[]+\[([^\]]+)\]"), r"\1"),
    (re.compile(r"(?:link|xref):([^\s\[]+)\[\]"), r"\1"),
    (re.compile(r"(?:https?|git|ftp|mailto)://?[^\s\[\]<>]+\[([^\]]+)\]"), r"\1"),
    (re.compile(r"image::?[^\s\[]+\[[^\]]*\]|anchor:\w+\[\]"), " "),
    (re.compile(r"footnote:\[([^\]]*)\]"), r" \1 "),
    (re.compile(r"&[a-z]+;|\(C\)|\(R\)"), " "),
)
_A_SIGN = re.compile(r"\{(?:asterisk|plus|caret|tilde|startsb|endsb|lt|gt|apostrophe|zwsp|litdd)\}")
_A_MAIL = "Content-type: text/asciidoc"
# What asciidoc defines for HTML, and what decides in Git's sources which manual is built.
_A_DEFINED = frozenset({"basebackend-html", "backend-xhtml11", "doctype-manpage", "asciidoc"})


def asciidoc(path: Path) -> Source:
    """Plain text and headings of one AsciiDoc file, its includes read."""
    try:
        lines = _adoc_lines(path, set(_A_DEFINED), MAX_INCLUDES)
    except FileNotFoundError:
        return Source(None)
    if _A_MAIL in lines:  # a mail made a document: its header is not shown
        lines = lines[lines.index(_A_MAIL) + 1 :]
    return _adoc_plain(lines)


def _adoc_lines(path: Path, defined: set[str], depth: int) -> list[str]:
    """Lines after conditions and includes. Raises FileNotFoundError for an include that is not there."""
    found: list[str] = []
    shown = [True]
    for line in path.read_text("utf-8", "replace").split("\n"):
        if condition := _A_CONDITION.match(line):
            kind, name, inline = condition[1], condition[2], condition[3]
            if kind == "endif":
                shown[1:] = shown[1:-1]
            elif inline:
                if (name in defined) == (kind == "ifdef") and all(shown):
                    found.append(inline)
            else:
                shown.append((name in defined) == (kind == "ifdef"))
        elif not all(shown):
            continue
        elif (include := _A_INCLUDE.match(line)) and depth:
            found.extend(_adoc_lines(path.parent / include[1], defined, depth - 1))
        else:
            if attribute := re.match(r"^:([\w-]+):", line):
                defined.add(attribute[1])
            found.append(line)
    return found


def _adoc_plain(lines: list[str]) -> Source:
    source = Source("")
    kept: list[str] = []
    fence = ""  # the delimiter of an open listing, in which nothing is markup
    for index, line in enumerate(lines):
        following = lines[index + 1] if index + 1 < len(lines) else ""
        if fence:
            fence = "" if line.rstrip() == fence else fence
            kept.append("" if _A_VERBATIM.match(line) else line)
        elif _is_underlined(line, following):
            source.headings.append(_adoc_inline(line))
            kept.append(_adoc_inline(line))
        elif index and _is_underlined(lines[index - 1], line):
            continue
        elif title := _A_TITLE.match(line):
            source.headings.append(_adoc_inline(title[1]))
            kept.append(_adoc_inline(title[1]))
        elif verbatim := _A_VERBATIM.match(line):
            fence = verbatim[1]
        elif not (_A_BLOCK.match(line) or _A_ATTRIBUTES.match(line)):
            kept.append(_adoc_inline(re.sub(r"::\s*$", "", line)))
    source.text = "\n".join(kept)
    return source


def _is_underlined(line: str, rule: str) -> bool:
    """A title in AsciiDoc's two-line form: the rule is as long as the title, give or take two."""
    if not line.strip() or line[0] in " \t[" or not _A_RULE.match(rule) or len(rule.strip()) < 3:
        return False
    return abs(len(line.rstrip()) - len(rule.rstrip())) <= 2 and any(c.isalnum() for c in line)


def _adoc_inline(line: str) -> str:
    for pattern, replacement in _A_INLINE:
        line = pattern.sub(replacement, line)
    return _A_SIGN.sub(" ", line)


# reStructuredText

_R_RULE = re.compile(r"^([=\-~^\"'`#*+.:_<>])\1{2,}\s*$")
_R_DIRECTIVE = re.compile(r"^(\s*)(?:\.\.|[-*] \.\.)\s+(?:\|[^|]+\|\s+)?([\w:+.-]+?)::(?:\s+(.*))?$")
_R_TARGET = re.compile(r"^\s*\.\. _`?([^:`]+)`?:\s*(.*)$")
_R_FOOTNOTE = re.compile(r"^(\s*)\.\. \[([^\]]+)\]\s*(.*)$")
_R_COMMENT = re.compile(r"^(\s*)\.\.(?:\s|$)")
_R_OPTION = re.compile(r"^\s+:[\w-]+:(?:\s.*)?$")
_R_ROLE = re.compile(r":([a-zA-Z0-9:+-]+):`([^`]+)`", re.DOTALL)
_R_TITLED = re.compile(r"^(.*?)\s*<([^>]+)>$", re.DOTALL)
_R_LINK = re.compile(r"`([^`<]+?)\s*<[^>`]+>`__?", re.DOTALL)
_R_TABLE = re.compile(r"^\s*\+(?:[-=]+\+)+\s*$|^\s*=+(?:\s+=+)+\s*$")
_R_WORDS = {
    "versionadded": "New in version {}:",
    "versionchanged": "Changed in version {}:",
    "deprecated": "Deprecated since version {}:",
    "availability": "Availability: {}",
    "note": "Note {}",
    "warning": "Warning {}",
    "seealso": "See also {}",
    "important": "Important {}",
    "caution": "Caution {}",
    "impl-detail": "CPython implementation detail: {}",
    "rubric": "{}",
    "topic": "{}",
    "sidebar": "{}",
    "table": "{}",
    "list-table": "{}",
    "figure": "",
    "decorator": "@{}",
    "only": "",
    "code-block": "",
    "sourcecode": "",
    "doctest": "",
    "testcode": "",
    "testoutput": "",
    "parsed-literal": "",
    "highlight": "",
    "productionlist": "",
    "glossary": "",
    "miscnews": "{}",
}
_R_HIDDEN = names(
    "index module moduleauthor sectionauthor currentmodule highlightlang testsetup testcleanup tabularcolumns contents "
    "image program replace unicode meta py:module py:currentmodule role default-role"
)
_R_UNKNOWABLE = names("toctree include literalinclude audit-event-table csv-table limited-api-list")
_R_PREFIX = {"pep": "PEP ", "rfc": "RFC ", "issue": "bpo-", "gh": "gh-"}


def rst(path: Path, titles: dict[str, str]) -> Source:
    """Plain text and headings of one reST file. ``titles``: see ``rst_titles``."""
    lines = path.read_text("utf-8", "replace").replace("\t", "        ").split("\n")
    if lines[0].startswith(":orphan:"):
        lines[0] = ""
    if any((found := _R_DIRECTIVE.match(line)) and found[2] in _R_UNKNOWABLE for line in lines):
        return Source(None)
    source = Source("")
    kept: list[str] = []
    index = 0
    while index < len(lines):
        index = _rst_line(lines, index, kept, source)
    source.headings = [_rst_inline(heading, titles) for heading in source.headings]
    source.text = _rst_inline("\n".join(kept), titles)
    return source


def rst_titles(root: Path) -> dict[str, str]:
    """Label to the heading after it, over all sources: the words that ``:ref:`label``` stands for."""
    titles: dict[str, str] = {}
    for path in root.rglob("*.rst.txt"):
        lines = path.read_text("utf-8", "replace").split("\n")
        waiting: list[str] = []
        for index, line in enumerate(lines):
            if target := _R_TARGET.match(line):
                waiting.append(target[1].lower())
            elif waiting and line.strip() and not _R_RULE.match(line):
                if index + 1 < len(lines) and _R_RULE.match(lines[index + 1]):
                    titles.update(dict.fromkeys(waiting, line.strip()))
                waiting = []
    return titles


def _rst_line(lines: list[str], index: int, kept: list[str], source: Source) -> int:
    """Reads what begins at ``index``; where to go on."""
    line = lines[index]
    following = lines[index + 1] if index + 1 < len(lines) else ""
    if directive := _R_DIRECTIVE.match(line):
        return _rst_directive(lines, index, directive, kept)
    if footnote := _R_FOOTNOTE.match(line):
        kept.append(f"[{footnote[2].lstrip('#')}] {footnote[3]}")
        return index + 1
    if _R_TARGET.match(line):
        return index + 1
    if comment := _R_COMMENT.match(line):
        return _after_block(lines, index + 1, len(comment[1]))
    if _is_rst_title(line, following):
        source.headings.append(line.strip())
        kept.append(line)
        return index + 2
    if not (_R_RULE.match(line) or _R_TABLE.match(line)):
        kept.append(line.removesuffix("::"))
    return index + 1


def _is_rst_title(line: str, rule: str) -> bool:
    if not line.strip() or line[0] == " " or _R_RULE.match(line) or not _R_RULE.match(rule):
        return False
    return len(rule.strip()) >= len(line.strip()) - 1


def _rst_directive(lines: list[str], index: int, directive: re.Match[str], kept: list[str]) -> int:
    indent, name, argument = len(directive[1]), directive[2], directive[3] or ""
    end = index + 1
    if name in _R_HIDDEN or (lines[end : end + 1] and lines[end].strip() == ":hide:"):
        return _after_block(lines, end, indent)
    while end < len(lines) and (_R_OPTION.match(lines[end]) or _is_signature(lines, end, indent, name)):
        if not _R_OPTION.match(lines[end]):
            kept.append(lines[end].strip())
        end += 1
    if name == "audit-event":
        event, _, rest = argument.partition(" ")
        arguments = rest.partition(" ")[0].replace(",", " ")
        word = "arguments" if " " in arguments else "argument" if arguments else "no arguments"
        kept.append(f"Raises an auditing event {event} with {word} {arguments}.")
        return _after_block(lines, end, indent)
    if name == "deprecated-removed":
        versions, _, rest = argument.partition(" ")
        until, _, rest = rest.partition(" ")
        kept.append(f"Deprecated since version {versions}, will be removed in version {until}: {rest}")
    elif name in ("versionadded", "versionchanged", "deprecated"):
        version, _, rest = argument.partition(" ")
        kept.append(f"{_R_WORDS[name].format(version)} {rest}")
    else:
        kept.append(_R_WORDS.get(name, "{}").format(argument))
    return end


def _is_signature(lines: list[str], index: int, indent: int, name: str) -> bool:
    """Whether the line goes on with the argument of a directive: no empty line came in between."""
    if name in _R_WORDS:
        return False
    line = lines[index]
    return bool(line.strip()) and len(line) - len(line.lstrip()) > indent and bool(lines[index - 1].strip())


def _after_block(lines: list[str], index: int, indent: int) -> int:
    """The first line at or after ``index`` that is indented no more than ``indent``."""
    while index < len(lines) and (not lines[index].strip() or len(lines[index]) - len(lines[index].lstrip()) > indent):
        index += 1
    return index


def _rst_inline(text: str, titles: dict[str, str]) -> str:
    text = _R_ROLE.sub(lambda match: _role(match[1], match[2], titles), text)
    text = _R_LINK.sub(r"\1", text)
    return re.sub(r"\[#\w*\]_|\|version\||\|release\||\[\d+\]_", " ", text)


def _role(role: str, content: str, titles: dict[str, str]) -> str:
    """The words that a role shows."""
    kind = role.rpartition(":")[2]
    if kind == "abbr":
        return content
    if titled := _R_TITLED.match(content):
        return titled[1]
    if kind in ("ref", "numref"):
        return _rst_inline(titles.get(content.lower(), content), {})
    if kind in _R_PREFIX:
        return _R_PREFIX[kind] + content
    content = content.removeprefix("!")
    return content.rpartition(".")[2] if content.startswith("~") else content
