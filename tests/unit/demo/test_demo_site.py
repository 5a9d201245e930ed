"""The bundled sites are what the demo and the crawl tests rely on."""

from __future__ import annotations

import re
from collections import deque
from dataclasses import dataclass, field
from functools import cache
from html.parser import HTMLParser
from pathlib import Path, PurePosixPath
from urllib.parse import unquote, urldefrag, urljoin

import pypdfium2
import pytest

from ray_app.demo.questions import DEMO_QUESTIONS, UNANSWERABLE, DemoQuestion
from ray_app.demo.server import SITE

BRANDS = ("pellandine", "tarnwald")
BROKEN = {"pellandine": {"/downloads/pl-editor.html"}, "tarnwald": {"/archive/tm-8-rack-drawing.html"}}
DEEP = {"pellandine": "/support/service/self-test.html", "tarnwald": "/support/noise/ground-loop.html"}
TWINS = {
    "pellandine": ("/support/bluetooth.html", "/support/bluetooth-pairing.html"),
    "tarnwald": ("/support/latency.html", "/support/buffer-settings.html"),
}
MANUALS = {
    "pellandine": "/manuals/cantata-pl-reference.pdf",
    "tarnwald": "/manuals/tarnwald-tw-reference.pdf",
}
# Brand, page and words that stand on that page of the manual and nowhere else on the site.
ONLY_IN_MANUAL = [
    ("pellandine", 2, "F1, 2.5 A slow"),
    ("pellandine", 4, "up to 48 held notes on the PL-61"),
    ("pellandine", 5, "lowers the polyphony by 24 voices"),
    ("pellandine", 7, "CC 82 Rotary speaker speed 0 to 63 slow, 64 to 127 fast"),
    ("pellandine", 9, "E-19 The velocity calibration table of the keyboard is missing"),
    ("tarnwald", 4, "600 ohms for old ribbon microphones"),
    ("tarnwald", 6, "Menu > Clock > Auto return"),
    ("tarnwald", 7, "ERR 73 The supply rail for the preamplifiers is below 14.2 V"),
    ("tarnwald", 8, "0.0012 %"),
]
VOID = {"area", "base", "br", "col", "embed", "hr", "img", "input", "link", "meta", "source", "track", "wbr"}


@dataclass
class Page:
    """What one HTML file holds."""

    ids: list[str] = field(default_factory=list)
    links: list[str] = field(default_factory=list)  # href and src as written
    canonical: str = ""
    tags: list[str] = field(default_factory=list)
    text: str = ""


class _Reader(HTMLParser):
    """Fails on tags that are not closed in the order in which they were opened."""

    def __init__(self) -> None:
        super().__init__()
        self.page = Page()
        self.open: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        named = {name: value or "" for name, value in attrs}
        assert len(named) == len(attrs), f"<{tag}> repeats an attribute"
        self.page.tags.append(tag)
        if tag not in VOID:
            self.open.append(tag)
        if "id" in named:
            self.page.ids.append(named["id"])
        if named.get("rel") == "canonical":
            self.page.canonical = named["href"]
        self.page.links += [named[name] for name in ("href", "src") if name in named]

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.page.text += data


def _read(file: Path) -> Page:
    reader = _Reader()
    reader.feed(file.read_text(encoding="utf-8"))
    reader.close()
    assert not reader.open
    return reader.page


@cache
def _pages(brand: str) -> dict[str, Page]:
    """URL path -> page; index files stand under their folder."""
    root = SITE / brand
    names = {file: "/" + file.relative_to(root).as_posix() for file in sorted(root.rglob("*.html"))}
    return {re.sub(r"/index\.html$", "/", name): _read(file) for file, name in names.items()}


@cache
def _manual_pages(brand: str) -> list[str]:
    """Text of each page of the brand's manual, runs of white space made one space."""
    manual = pypdfium2.PdfDocument(SITE / brand / MANUALS[brand].lstrip("/"))
    try:
        return [_plain(page.get_textpage().get_text_bounded()) for page in manual]
    finally:
        manual.close()


def _plain(text: str) -> str:
    return " ".join(text.split())


def _targets(path: str, page: Page) -> list[tuple[str, str]]:
    """Path and fragment of everything a page links to."""
    split = (urldefrag(urljoin(path, link)) for link in page.links)
    return [(unquote(url), fragment) for url, fragment in split]


@pytest.mark.parametrize("brand", BRANDS)
def test_pages_are_well_formed(brand: str) -> None:
    assert len(_pages(brand)) >= 15
    for path, page in _pages(brand).items():
        assert len(page.ids) == len(set(page.ids)), path
        assert page.tags.count("h1") == page.tags.count("title") == page.tags.count("main") == 1, path


@pytest.mark.parametrize("brand", BRANDS)
def test_every_heading_has_an_anchor(brand: str) -> None:
    for file in (SITE / brand).rglob("*.html"):
        assert not re.search(r"<h[1-6](?! id=)", file.read_text(encoding="utf-8")), file


@pytest.mark.parametrize("brand", BRANDS)
def test_links_are_relative_and_resolve_but_for_one(brand: str) -> None:
    pages = _pages(brand)
    broken = set()
    for path, page in pages.items():
        assert not [link for link in page.links if "://" in link or link.startswith("/")], path
        for target, fragment in _targets(path, page):
            if target in pages:
                assert not fragment or fragment in pages[target].ids, f"{path} -> {target}#{fragment}"
            elif not (SITE / brand / target.lstrip("/")).is_file():
                broken.add(target)
    assert broken == BROKEN[brand]


def _distances(brand: str) -> dict[str, int]:
    """Links away from the start page, for every page that can be reached."""
    pages, distances, waiting = _pages(brand), {"/": 0}, deque(["/"])
    while waiting:
        path = waiting.popleft()
        for target, _ in _targets(path, pages[path]):
            if target in pages and target not in distances:
                distances[target] = distances[path] + 1
                waiting.append(target)
    return distances


@pytest.mark.parametrize("brand", BRANDS)
def test_every_page_is_reached_and_one_lies_deep(brand: str) -> None:
    distances = _distances(brand)
    assert distances.keys() == _pages(brand).keys()
    assert [path for path, distance in distances.items() if distance >= 3] == [DEEP[brand]]


@pytest.mark.parametrize("brand", BRANDS)
def test_internal_pages_are_linked_and_disallowed(brand: str) -> None:
    assert "Disallow: /internal/" in (SITE / brand / "robots.txt").read_text(encoding="utf-8")
    assert [path for path in _distances(brand) if path.startswith("/internal/")]


@pytest.mark.parametrize("brand", BRANDS)
def test_twin_pages_name_the_same_original(brand: str) -> None:
    original, twin = TWINS[brand]
    assert (SITE / brand / original.lstrip("/")).read_bytes() == (SITE / brand / twin.lstrip("/")).read_bytes()
    for path, page in _pages(brand).items():
        assert urljoin(path, page.canonical) == (original if path == twin else path)


@pytest.mark.parametrize("brand", BRANDS)
def test_manuals_are_small_and_have_an_outline(brand: str) -> None:
    file = SITE / brand / MANUALS[brand].lstrip("/")
    assert file.stat().st_size < 150_000
    manual = pypdfium2.PdfDocument(file)
    chapters = [entry for entry in manual.get_toc() if entry.level == 0]
    assert [entry.get_dest().get_index() for entry in chapters] == list(range(len(manual)))
    assert 6 <= len(manual) <= 10
    for number, (entry, text) in enumerate(zip(chapters, _manual_pages(brand), strict=True), start=1):
        assert entry.get_title() in text
        assert f"Page {number} of {len(manual)}" in text
    manual.close()


@pytest.mark.parametrize(("brand", "number", "fact"), ONLY_IN_MANUAL)
def test_fact_stands_on_that_page_of_the_manual_only(brand: str, number: int, fact: str) -> None:
    assert [n for n, text in enumerate(_manual_pages(brand), start=1) if fact in text] == [number]
    assert not [path for path, page in _pages(brand).items() if fact in _plain(page.text)]


@pytest.mark.parametrize(
    ("brand", "words"),
    [("pellandine", ("rotary", "CC 82", "velocity calibration")), ("tarnwald", ("ERR 73", "Auto return"))],
)
def test_pages_do_not_give_the_manuals_away(brand: str, words: tuple[str, ...]) -> None:
    text = "".join(page.text for page in _pages(brand).values())
    assert not [word for word in words if word in text]


def _section(file: Path, anchor: str) -> str:
    """Markup from the heading with this id to the next heading."""
    _, _, rest = file.read_text(encoding="utf-8").partition(f'id="{anchor}">')
    return re.split(r"<h[1-6]", rest)[0]


@pytest.mark.parametrize("question", DEMO_QUESTIONS, ids=lambda question: question.text)
def test_expected_words_stand_at_the_expected_place(question: DemoQuestion) -> None:
    path, _, anchor = question.expect_url_suffix.partition("#")
    file = SITE / question.brand / path.lstrip("/")
    if PurePosixPath(path).suffix == ".pdf":
        text = _manual_pages(question.brand)[int(anchor.removeprefix("page=")) - 1]
    else:
        text = _plain(re.sub(r"<[^>]+>", "", _section(file, anchor)))
    assert question.expect_words
    assert not [word for word in question.expect_words if word not in text]


@pytest.mark.parametrize(("question", "missing"), list(zip(UNANSWERABLE, ("yen", "video"), strict=True)))
def test_what_is_unanswerable_is_not_on_the_site(question: DemoQuestion, missing: str) -> None:
    assert missing in question.text
    words = "".join(page.text for page in _pages(question.brand).values()) + "".join(_manual_pages(question.brand))
    assert not re.search(rf"\b{missing}\b", words, re.IGNORECASE)
