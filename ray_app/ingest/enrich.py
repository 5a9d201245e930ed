"""What is done to every document, be it a page or a PDF, before it is stored: screening, language, facts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace
from urllib.parse import urlsplit

from ray_app.ingest import lang
from ray_app.ingest.facts.find import find as find_facts
from ray_app.ingest.fingerprint import content_hash
from ray_app.ingest.injection.screen import screen, speaking
from ray_app.ingest.page.structured import Hints
from ray_app.ingest.pdf.document import file_name
from ray_app.records import Document, Extracted, Facts, Quarantined, Section

_WORD = re.compile(r"[^\W_]")


def enriched(found: Extracted, hints: Hints | None = None) -> Extracted:
    """The same with its document screened for text that speaks to language models, its language and its facts.

    Reason ``quarantined``, without a document, when nothing is left of it.
    """
    if found.document is None:
        return found
    document = _screened(found.document)
    aside = document.quarantine
    if not says_something(document.sections):
        told = f"{len(aside)} passages: {', '.join(dict.fromkeys(signal for one in aside for signal in one.signals))}"
        return replace(found, reason="quarantined", document=None, detail=told)
    detail = found.detail
    if aside:
        told = f"{len(aside)} passage{'s' * (len(aside) != 1)} set aside, speaking to a language model"
        detail = "; ".join(filter(None, (detail, told)))
    document = replace(document, lang=lang.detect(document.sections, document.lang))
    return replace(found, document=replace(document, facts=_facts(document, hints)), detail=detail)


def _screened(document: Document) -> Document:
    """Without what speaks to language models: passages, headings, its title, what is said of images and files."""
    sections, aside = screen(document.sections)
    facts = document.facts
    said = [("", document.title), *((one.anchor, one.text) for one in (*facts.images, *facts.pdfs))]
    bad = speaking(text for _, text in said)
    aside += tuple(Quarantined(anchor, text, *bad[text]) for anchor, text in said if text in bad)
    if not aside:
        return document
    title = _other_title(document.url, document.kind, sections) if document.title in bad else document.title
    images, pdfs = (
        tuple(replace(one, text="") if one.text in bad else one for one in media)
        for media in (facts.images, facts.pdfs)
    )
    return replace(
        document,
        title=title,
        sections=sections,
        content_hash=content_hash(title, sections),
        facts=replace(facts, images=images, pdfs=pdfs),
        quarantine=aside,
    )


def _other_title(url: str, kind: str, sections: Sequence[Section]) -> str:
    """The first heading of a page, the name of a file, or the host: as if there were no title."""
    heading = next((heading for section in sections for heading in section.path), "") if kind == "html" else ""
    name = file_name(url)
    return heading or (urlsplit(url).netloc if speaking([name]) else name)


def _facts(document: Document, hints: Hints | None) -> Facts:
    """What a page says about itself out of sight may speak to language models too."""
    facts = find_facts(document, hints)
    bad = speaking(facts.products)
    return replace(facts, products=tuple(name for name in facts.products if name not in bad)) if bad else facts


def says_something(sections: Sequence[Section]) -> bool:
    """Whether there is a word in it."""
    return any(_WORD.search(section.text) for section in sections)
