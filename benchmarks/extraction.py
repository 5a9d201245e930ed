"""Our extraction of HTML against trafilatura, on articles with human gold text and on documentation with its sources.

python benchmarks/extraction.py SITES GOLD [--sample 1]

SITES holds sites unpacked by data/sites/get.sh: git (AsciiDoc beside the pages), python (reST in _sources), and csound
(no sources, but tables and anchors). GOLD holds gold.jsonl and html/ID.html. Both sides read the same bytes in one
process, one page after the other. Articles that ask not to be indexed are read all the same, which `extract` refuses.

Measures. Articles: precision, recall and F1 of 4-token shingles, averaged over pages, as the published benchmark
computes them; of ours each section counts as its heading and its text. Documentation: F1 of words against the source
(markup_sources.py says what is undone); share of the source's headings that are headings of the output; share of the
filled cells of data tables that are cells of a table row of the output; share of sections with an anchor whose words
stand at that id in the page (trafilatura has no anchors).
"""

from __future__ import annotations

import argparse
import json
import re
import statistics
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from urllib.parse import unquote

import trafilatura
from markup_sources import Source, asciidoc, rst, rst_titles
from selectolax.lexbor import LexborHTMLParser

from ray_app.ingest.charset import decode
from ray_app.ingest.extract_html import extract
from ray_app.records import Section

GIT = Path("git/usr/share/doc/git-doc")
PYTHON = Path("python/usr/share/doc/python3.11/html")
CSOUND = Path("csound/usr/share/doc/csound-doc/html")
SHINGLE = 4
_NOINDEX = re.compile(rb"noindex", re.IGNORECASE)
_TOKEN = re.compile(r"\w+")
_WORD = re.compile(r"[^\W_]+")
_MARKER = re.compile(r"^\s*(?:\d+\.|[-*])\s", re.MULTILINE)  # of list items, which the sources do not number
_ROW = re.compile(r"^\s*\|.*\|\s*$")
_CELL = re.compile(r"(?<!\\)\|")
_NUMBER = re.compile(
    r"^(?:(?:Chapter|Appendix)\s+)?(?:[A-Z]\.|\d+\.)+\s+"
)  # of a section, which the sources do not have
_NO_DATA = {"navheader", "navfooter", "note", "warning", "tip", "caution", "important"}
_HEADING = re.compile(r"^#{1,6}\s+(.*)$")


@dataclass(slots=True)
class Read:
    """What one side made of a page."""

    text: str = ""
    headings: list[str] = field(default_factory=list)
    sections: tuple[Section, ...] = ()


@dataclass(slots=True)
class Side:
    """One of the two that are compared, and what it scored."""

    name: str
    read: Callable[[bytes, str], Read]
    seconds: float = 0.0
    pages: int = 0
    scores: dict[str, list[float]] = field(default_factory=dict)

    def run(self, body: bytes, url: str) -> Read:
        """Reads a page and takes the time."""
        started = time.perf_counter()
        found = self.read(body, url)
        self.seconds += time.perf_counter() - started
        self.pages += 1
        return found

    def note(self, measure: str, value: float) -> None:
        self.scores.setdefault(measure, []).append(value)

    def mean(self, measure: str) -> float | None:
        values = self.scores.get(measure)
        return statistics.mean(values) if values else None


def ours(body: bytes, url: str) -> Read:
    """Sections, each after the headings that are new with it."""
    document = extract(body, brand="b", url=url, charset="", fetched_at=0.0).document
    if document is None:
        return Read()
    parts: list[str] = []
    before: tuple[str, ...] = ()
    for section in document.sections:
        known = next((i for i, (a, b) in enumerate(zip(before, section.path, strict=False)) if a != b), len(before))
        parts += [*section.path[known:], section.text]
        before = section.path
    headings = dict.fromkeys(heading for section in document.sections for heading in section.path)
    return Read("\n\n".join(parts), [document.title, *headings], document.sections)


def theirs_plain(body: bytes, url: str) -> Read:
    """Text as trafilatura writes it by default, without comments: what its published figures are for."""
    return Read(trafilatura.extract(body, url=url, include_comments=False) or "")


def theirs(body: bytes, url: str) -> Read:
    """The same as Markdown, which has headings and tables."""
    text = trafilatura.extract(body, url=url, include_comments=False, output_format="markdown") or ""
    headings = [found[1] for line in text.split("\n") if (found := _HEADING.match(line))]
    return Read(re.sub(r"\*\*|^#+\s", "", text, flags=re.MULTILINE), headings)


# Articles


def articles(folder: Path, sides: list[Side]) -> None:
    """Shingle scores over the gold set, all pages and each half."""
    for number, line in enumerate((folder / "gold.jsonl").read_text("utf-8").splitlines()):
        gold = json.loads(line)
        body = _NOINDEX.sub(b"xxindex", (folder / gold["file"]).read_bytes())
        expected = shingles(gold["text"])
        for side in sides:
            found = shingles(side.run(body, gold["url"]).text)
            for part in ("all", "even" if number % 2 == 0 else "odd"):
                note_shingles(side, part, expected, found)


def shingles(text: str) -> Counter[tuple[str, ...]]:
    """Runs of 4 words with their counts; a shorter text is one run."""
    words = _TOKEN.findall(text)
    if len(words) < SHINGLE:
        return Counter([tuple(words)] if words else [])
    return Counter(tuple(words[i : i + SHINGLE]) for i in range(len(words) - SHINGLE + 1))


def note_shingles(side: Side, part: str, expected: Counter[tuple[str, ...]], found: Counter[tuple[str, ...]]) -> None:
    """The published metric: a page without output has no precision and no recall of its own but 0."""
    common = sum((expected & found).values())
    if found:
        side.note(f"P {part}", common / sum(found.values()))
    if expected:
        side.note(f"R {part}", common / sum(expected.values()))


def f1(precision: float, recall: float) -> float:
    return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


# Documentation


def documentation(name: str, pages: Iterable[tuple[Path, Source]], sides: list[Side]) -> None:
    """Words, headings, table cells and anchors of pages whose source is known."""
    for path, source in pages:
        body = path.read_bytes()
        tree = LexborHTMLParser(decode(body).encode("utf-8", "replace"))
        cells = filled_cells(tree)
        for side in sides:
            read = side.run(body, f"https://docs.example.org/{path.name}")
            if source.text is not None:
                side.note(f"{name} words", word_f1(source.text, _MARKER.sub("", read.text)))
                if source.headings:
                    side.note(f"{name} headings", headings_kept(source.headings, read.headings))
            if cells:
                side.note(f"{name} cells", cells_kept(cells, read.text))
            for right in anchors_right(tree, read.sections):
                side.note(f"{name} anchors", right)


def words(text: str) -> list[str]:
    return [word.lower() for word in _WORD.findall(text)]


def word_f1(expected: str, found: str) -> float:
    a, b = Counter(words(expected)), Counter(words(found))
    common = sum((a & b).values())
    return 2 * common / max(1, sum(a.values()) + sum(b.values()))


def headings_kept(expected: list[str], found: list[str]) -> float:
    """A heading counts when one of the output has its words; a title may have more ("Manual Page")."""
    kept = {tuple(words(_NUMBER.sub("", heading))) for heading in found}
    title = tuple(words(found[0])) if found else ()
    asked = [tuple(words(heading)) for heading in expected if words(heading)]
    return statistics.mean(h in kept or h == title[: len(h)] for h in asked) if asked else 1.0


def filled_cells(tree: LexborHTMLParser) -> list[tuple[str, ...]]:
    """Words of the filled cells of tables with rows and columns that hold no other table.

    DocBook sets notes and pagers in tables, too; those are not counted.
    """
    found: list[tuple[str, ...]] = []
    for table in tree.css("table"):
        if table.parent is not None and table.parent.attributes.get("class") in _NO_DATA:
            continue
        if table.css_first("table table, td table, th table") is not None or table.attributes.get("role"):
            continue
        rows = [row.css("td, th") for row in table.css("tr")]
        if len(rows) < 2 or max(map(len, rows), default=0) < 2:
            continue
        found += [cell for row in rows for node in row if (cell := tuple(words(node.text(separator=""))))]
    return found


def cells_kept(expected: list[tuple[str, ...]], text: str) -> float:
    """Share of the cells that are found as cells of a row, each as often as it stands there."""
    rows = [line for line in text.split("\n") if _ROW.match(line)]
    found = Counter(tuple(words(cell)) for row in rows for cell in _CELL.split(row))
    asked = Counter(expected)
    return sum((asked & found).values()) / len(expected)


def anchors_right(tree: LexborHTMLParser, sections: Sequence[Section]) -> Iterator[float]:
    """For each section with an anchor: 1 when its heading or text is what stands at that id, else 0."""
    where, all_words = flat(tree) if sections else ({}, [])
    for section in sections:
        if not section.anchor:
            continue
        start = where.get(unquote(section.anchor[1:]))
        here = all_words[start : start + 40] if start is not None else []
        heading = words(section.path[-1]) if section.path else []
        yield float(any(begins(here, asked[:6]) for asked in (heading, words(_MARKER.sub("", section.text)))))


def begins(here: list[str], asked: list[str]) -> bool:
    """Whether the words stand there at once, or after a permalink's or a number's word or two."""
    return bool(asked) and any(here[skip : skip + len(asked)] == asked for skip in range(3))


def flat(tree: LexborHTMLParser) -> tuple[dict[str, int], list[str]]:
    """All words of the page in order, and where in them each id and name stands."""
    where: dict[str, int] = {}
    found: list[str] = []
    body = tree.body
    for node in body.traverse(include_text=True) if body is not None else ():
        if node.tag == "-text":
            if node.parent is not None and node.parent.tag not in ("script", "style"):
                found += words(node.text_content or "")
        elif node.tag and node.tag[0] != "-":
            attributes = node.attributes
            for name in (attributes.get("id"), attributes.get("name") if node.tag == "a" else None):
                if name:
                    where.setdefault(name, len(found))
    return where, found


def git_pages(sites: Path) -> Iterator[tuple[Path, Source]]:
    for path in sorted((sites / GIT).rglob("*.html")):
        source = path.with_suffix(".txt")
        if source.exists():
            yield path, asciidoc(source)


def python_pages(sites: Path) -> Iterator[tuple[Path, Source]]:
    root = sites / PYTHON
    titles = rst_titles(root / "_sources")
    for source in sorted((root / "_sources").rglob("*.rst.txt")):
        path = root / source.relative_to(root / "_sources").with_name(source.name.replace(".rst.txt", ".html"))
        if path.exists():
            yield path, rst(source, titles)


def csound_pages(sites: Path) -> Iterator[tuple[Path, Source]]:
    for path in sorted((sites / CSOUND).glob("*.html")):
        yield path, Source(None)


# Report


def report(sides: list[Side]) -> None:
    """One row a measure, one column a side."""
    rows: list[tuple[str, list[str]]] = []
    for part in ("all", "even", "odd"):
        if sides[0].mean(f"R {part}") is not None:
            pairs = [(side.mean(f"P {part}") or 0.0, side.mean(f"R {part}") or 0.0) for side in sides]
            rows.append((f"articles {part}: F1 (P, R)", [f"{f1(p, r):.4f} ({p:.4f}, {r:.4f})" for p, r in pairs]))
    for name in ("git", "python", "csound"):
        for measure in ("words", "headings", "cells", "anchors"):
            means = [side.mean(f"{name} {measure}") for side in sides]
            if any(mean is not None for mean in means):
                count = max(len(side.scores.get(f"{name} {measure}", ())) for side in sides)
                rows.append((f"{name} {measure} ({count})", ["none" if m is None else f"{m:.4f}" for m in means]))
    rows.append(("pages a second", [f"{side.pages / side.seconds:.1f}" for side in sides]))
    print(f"| | {' | '.join(side.name for side in sides)} |\n|---|{'---|' * len(sides)}")
    for label, cells in rows:
        print(f"| {label} | {' | '.join(cells)} |")


def main() -> None:
    """Run both sides over everything and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sites", type=Path)
    parser.add_argument("gold", type=Path)
    parser.add_argument("--sample", type=int, default=1, help="of documentation pages, read every so many")
    arguments = parser.parse_args()
    sides = [Side("ours", ours), Side(f"trafilatura {trafilatura.__version__}", theirs)]
    plain = Side("", theirs_plain)
    theirs(b"<p>warm up</p>", "https://docs.example.org/")
    articles(arguments.gold, [sides[0], plain])
    sides[1].scores.update(plain.scores)
    sides[1].pages, sides[1].seconds = plain.pages, plain.seconds
    for name, pages in (("git", git_pages), ("python", python_pages), ("csound", csound_pages)):
        documentation(name, islice(pages(arguments.sites), 0, None, arguments.sample), sides)
    report(sides)


if __name__ == "__main__":
    main()
