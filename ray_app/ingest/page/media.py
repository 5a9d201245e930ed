"""Images and PDFs that a page shows or links to, with the section they stand in."""

from __future__ import annotations

import re

from selectolax.lexbor import LexborNode

from ray_app.errors import BadUrl
from ray_app.ingest.clean import one_line
from ray_app.ingest.page.dom import Attributes
from ray_app.ingest.urls import normalise, path_of
from ray_app.records import Media

MAX_MEDIA = 50  # of a kind: a page with more is a gallery or a list of files, which has pages of its own
MAX_TEXT_CHARS = 300
MAX_SOURCE_CHARS = 8_192  # longer ones are data
SMALL_PX = 32  # icons and bullets; a picture that explains something is larger
CAPTION_LEVELS = 4  # above an image, where its caption is looked for

_SOURCES = ("src", "data-src", "data-original", "data-lazy-src", "data-lazy")
_SOURCE_SETS = ("srcset", "data-srcset", "data-lazy-srcset")
_PIXELS = re.compile(r"\s*(\d{1,5})(?:\.\d+)?\s*(?:px)?\s*$", re.IGNORECASE)
_STYLE_PIXELS = re.compile(r"(?:^|[;\s])(?:width|height)\s*:\s*(\d{1,5})(?:\.\d+)?px", re.IGNORECASE)
# Signs of the page's dress, and of what counts its readers: in a class, and in the name of a file, where "button" may
# well be what the picture shows.
_DRESS = re.compile(
    r"(?:^|[-_\s])(?:spacer|pixel|tracking|icons?|sprite|emoji|smiley|avatar|gravatar|logo|badge|bullet|arrow|button|btn"
    r"|spinner)s?(?:$|[-_\s\d])",
    re.IGNORECASE,
)
_DRESS_FILE = re.compile(
    r"(?:^|[-_.])(?:spacer|blank|clear(?:dot|pixel)?|pixel|transparent|tracking|beacon|1x1|icon|favicon|sprite|emoji"
    r"|smiley|avatar|gravatar|logo|loading|placeholder|spinner)s?(?:$|[-_.\d])"
    r"|^(?:note|warning|tip|caution|important|info)\.(?:png|gif|svg)$"
    r"|^(?:next|prev|up|down|left|right|back|forward|home|toc)(?:[-_]\w+)?\.gif$",
    re.IGNORECASE,
)
_COUNTERS = re.compile(
    r"^https?://(?:[^/]*\.)?(?:doubleclick\.net|google-analytics\.com|googletagmanager\.com|scorecardresearch\.com"
    r"|quantserve\.com|facebook\.com/tr|gravatar\.com|shields\.io|badge\.fury\.io|pixel\.[^/]+)",
    re.IGNORECASE,
)
_CAPTIONS = 'figcaption, [class*="caption"]'
_FILE_NAME = re.compile(r"\.(?:jpe?g|png|gif|webp|svg|bmp)$|^(?:img|dsc|image)[_\d-]*$", re.IGNORECASE)


class MediaCollector:
    """Notes images and PDF links as a page is read. ``base`` is what addresses are relative to."""

    def __init__(self, base: str) -> None:
        self._base = base
        self._images: dict[str, Media] = {}
        self._pdfs: dict[str, Media] = {}
        self._captions: dict[int, str] = {}  # by ``mem_id`` of the figure

    @property
    def images(self) -> tuple[Media, ...]:
        """In page order, each address once."""
        return tuple(self._images.values())

    @property
    def pdfs(self) -> tuple[Media, ...]:
        """In page order, each address once."""
        return tuple(self._pdfs.values())

    def image(self, node: LexborNode, attributes: Attributes, anchor: str) -> None:
        """Notes an <img> that shows something."""
        if len(self._images) >= MAX_MEDIA or _is_dress(attributes):
            return
        for source in _sources(attributes):
            url = self._resolved(source)
            if url and not _COUNTERS.search(url):
                if url not in self._images:
                    self._add_image(url, node, attributes, anchor)
                return

    def _add_image(self, url: str, node: LexborNode, attributes: Attributes, anchor: str) -> None:
        file = path_of(url).rpartition("/")[2]
        if _DRESS_FILE.search(file):
            return
        text = _text_of(attributes, self._caption(node))
        bullet = not text and file[-4:].lower() == ".gif"  # nobody has said what it shows since such files were new
        if not bullet:
            self._images[url] = Media(url, text, anchor)

    def link(self, node: LexborNode, attributes: Attributes, anchor: str) -> None:
        """Notes an <a> that leads to a PDF."""
        href = attributes.get("href") or ""
        if len(self._pdfs) >= MAX_MEDIA or not _names_pdf(href, attributes):
            return
        url = self._resolved(href)
        if url and url not in self._pdfs:
            text = one_line(node.text()) or one_line(attributes.get("title") or "")
            self._pdfs[url] = Media(url, text[:MAX_TEXT_CHARS].strip(), anchor)

    def _caption(self, node: LexborNode) -> str:
        """Of the figure or captioned box around an image."""
        around = node.parent
        for _ in range(CAPTION_LEVELS):
            if around is None:
                return ""
            if around.tag == "figure" or "caption" in (around.attributes.get("class") or ""):
                if around.mem_id not in self._captions:
                    self._captions[around.mem_id] = _caption_in(around)
                return self._captions[around.mem_id]
            around = around.parent
        return ""

    def _resolved(self, source: str) -> str:
        if len(source) > MAX_SOURCE_CHARS:
            return ""
        try:
            return normalise(source, self._base)
        except BadUrl:
            return ""


def _names_pdf(href: str, attributes: Attributes) -> bool:
    path = href.partition("#")[0].partition("?")[0].rstrip()
    return path[-4:].lower() == ".pdf" or (attributes.get("type") or "").strip().lower() == "application/pdf"


def _is_dress(attributes: Attributes) -> bool:
    """Decoration, by its size, role or class."""
    if (attributes.get("role") or "").lower() in ("presentation", "none"):
        return True
    sizes = [found[1] for key in ("width", "height") if (found := _PIXELS.match(attributes.get(key) or ""))]
    sizes += _STYLE_PIXELS.findall(attributes.get("style") or "")
    if any(int(size) <= SMALL_PX for size in sizes):
        return True
    return _DRESS.search(attributes.get("class") or "") is not None


def _sources(attributes: Attributes) -> list[str]:
    """Addresses to try, best first; a page that loads images late has a placeholder in ``src``."""
    sets = (_largest(attributes.get(key) or "") for key in _SOURCE_SETS)
    return [source for source in (*((attributes.get(key) or "").strip() for key in _SOURCES), *sets) if source]


def _largest(source_set: str) -> str:
    """The address with the greatest width or density in a ``srcset``."""
    best, most = "", -1.0
    for candidate in source_set[:MAX_SOURCE_CHARS].split(", "):
        source, _, size = candidate.strip(" ,\n\t").partition(" ")
        number = re.match(r"\s*(\d+(?:\.\d+)?)[wx]", size)
        weight = float(number[1]) if number else 0.0
        if source and weight > most:
            best, most = source, weight
    return best


def _text_of(attributes: Attributes, caption: str) -> str:
    """Alternative text and caption, one when they say the same."""
    alternative = one_line(attributes.get("alt") or "")
    if _FILE_NAME.search(alternative):
        alternative = ""
    if alternative in caption:
        text = caption
    else:
        text = alternative if caption in alternative else f"{alternative} - {caption}"
    return (text or one_line(attributes.get("title") or ""))[:MAX_TEXT_CHARS].strip()


def _caption_in(figure: LexborNode) -> str:
    captions = (node for node in figure.css(_CAPTIONS) if node.mem_id != figure.mem_id)
    return next((text for caption in captions if (text := one_line(caption.text()))), "")
