"""What is done to every document, be it a page or a PDF, before it is stored: screening, language, facts."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from ray_app.ingest import lang
from ray_app.ingest.facts.find import find as find_facts
from ray_app.ingest.fingerprint import content_hash
from ray_app.ingest.injection.screen import screen
from ray_app.ingest.page.structured import Hints
from ray_app.records import Extracted, Section

_WORD = re.compile(r"[^\W_]")


def enriched(found: Extracted, hints: Hints | None = None) -> Extracted:
    """The same with its document screened for text that speaks to language models, its language and its facts.

    Reason ``quarantined``, without a document, when nothing is left of it.
    """
    document = found.document
    if document is None:
        return found
    sections, aside = screen(document.sections)
    if not says_something(sections):
        told = f"{len(aside)} passages: {', '.join(dict.fromkeys(signal for one in aside for signal in one.signals))}"
        return replace(found, reason="quarantined", document=None, detail=told)
    detail = found.detail
    if aside:
        digest = content_hash(document.title, sections)
        document = replace(document, sections=sections, quarantine=aside, content_hash=digest)
        told = f"{len(aside)} passage{'s' * (len(aside) != 1)} set aside, speaking to a language model"
        detail = "; ".join(filter(None, (detail, told)))
    document = replace(document, lang=lang.detect(sections, document.lang))
    return replace(found, document=replace(document, facts=find_facts(document, hints)), detail=detail)


def says_something(sections: Sequence[Section]) -> bool:
    """Whether there is a word in it."""
    return any(_WORD.search(section.text) for section in sections)
