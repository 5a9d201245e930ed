"""PDFs, each in its process: how they end, how long that takes, and what of a manual is found.

python benchmarks/pdf.py FOLDER              outcomes of every PDF below it, the slowest, the largest
python benchmarks/pdf.py FOLDER --manuals    pages a second with and without a process, headings, tables
"""

from __future__ import annotations

import argparse
import os
import resource
import time
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import pypdfium2

from ray_app.errors import ExtractError
from ray_app.ingest import extract_pdf
from ray_app.ingest.blocks import Kind, parse
from ray_app.ingest.pdf import inline
from ray_app.ingest.pdf.records import PdfLimits
from ray_app.records import Extracted

SHOWN = 5  # of the slowest files


@dataclass(frozen=True)
class Ending:
    """What became of one file."""

    name: str
    reason: str
    detail: str
    seconds: float
    found: Extracted | None


def ending(path: Path, name: str, extract: Callable[..., Extracted], limits: PdfLimits) -> Ending:
    body = path.read_bytes()
    started = time.perf_counter()
    try:
        found = extract(body, brand="b", url=f"https://example.org/{path.name}", fetched_at=0.0, limits=limits)
    except ExtractError as error:
        return Ending(name, error.message, error.hint, time.perf_counter() - started, None)
    return Ending(name, found.reason, found.detail, time.perf_counter() - started, found)


def pdfs(folder: Path) -> list[Path]:
    return sorted(path for path in folder.rglob("*.pdf") if path.is_file())


def endings(folder: Path, limits: PdfLimits) -> None:
    """One line a file, then the sums."""
    ends = []
    for path in pdfs(folder):
        end = ending(path, str(path.relative_to(folder)), extract_pdf.extract, limits)
        characters = sum(len(section.text) for section in end.found.document.sections) if end.found else 0  # type: ignore[union-attr]
        print(f"{end.reason:14} {end.seconds:7.2f} s {characters:8} characters  {end.name}  {end.detail}")
        ends.append(end)
    print()
    for reason, count in Counter(end.reason for end in ends).most_common():
        print(f"{count:5} {reason}")
    times = sorted(end.seconds for end in ends)
    print(f"seconds: median {times[len(times) // 2]:.2f}, worst {times[-1]:.2f}")
    for end in sorted(ends, key=lambda end: -end.seconds)[:SHOWN]:
        print(f"  {end.seconds:.2f} s {end.name}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss // 1024
    own = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
    print(f"peak of a child {peak} MB (at least this process's own at its start, now {own} MB)")
    print(f"processes left: {len(list(children()))}")


def children() -> Iterator[str]:
    """Process ids of this process's children, dead ones that nobody asked for included."""
    yield from Path(f"/proc/self/task/{os.getpid()}/children").read_text("ascii").split()


def manuals(folder: Path, limits: PdfLimits) -> None:
    """What is found in each document, and how fast."""
    print(f"{'pages':>6} {'alone/s':>8} {'here/s':>8} {'headings':>9} {'levels':>7} {'tables':>7} {'rows':>6}  file")
    for path in pdfs(folder):
        apart = ending(path, path.name, extract_pdf.extract, limits)
        here = ending(path, path.name, inline.extract, limits)
        if apart.found is None or apart.found.document is None:
            print(f"{apart.reason}  {path.name}")
            continue
        sections = apart.found.document.sections
        pages = len(pypdfium2.PdfDocument(path))
        headings = {section.path[: depth + 1] for section in sections for depth in range(len(section.path))}
        tables = [block for s in sections for block in parse(s.text) if block.kind is Kind.TABLE]
        rows = sum(table.text.count("\n") - 1 for table in tables)
        print(
            f"{pages:6} {pages / apart.seconds:8.0f} {pages / here.seconds:8.0f} {len(headings):9} "
            f"{max(map(len, headings)):7} {len(tables):7} {rows:6}  {path.name}"
        )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--manuals", action="store_true")
    parser.add_argument("--timeout", type=float, default=PdfLimits().timeout_s)
    arguments = parser.parse_args()
    (manuals if arguments.manuals else endings)(arguments.folder, PdfLimits(timeout_s=arguments.timeout))


if __name__ == "__main__":
    main()
