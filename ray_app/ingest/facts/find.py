"""What a document says about products: which it is about, which models it names, parts, error codes, whether it is old.

Every identifier is kept as the document spells it.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from itertools import islice

from ray_app.ingest.facts.designations import Shape, designations, key, plain
from ray_app.ingest.facts.discontinued import is_discontinued
from ray_app.ingest.facts.error_codes import error_codes, is_error_heading, listed_errors
from ray_app.ingest.facts.labels import Lines, Table, labelled_models, listed_parts, part_numbers, tables_in
from ray_app.ingest.facts.product_names import first_heading, product_names, split_title, steps, without_manual
from ray_app.ingest.page.structured import Hints
from ray_app.records import Document, Facts, Section

MAX_CHARS = 2_000_000  # of a document that are searched; the longest manual has half of them
MAX_FOUND = 50_000  # designations with their repeats; a manual of 1,000 pages has fewer
# A page that holds more is a list of everything there is; what it says of each is found by its words.
MAX_PRODUCTS = 8
MAX_MODELS = 100
MAX_PARTS = 100
MAX_ERRORS = 200  # a printer's manual has as many
TIMES = {Shape.STRONG: 1, Shape.FAIR: 2}  # how often a model must be named

_SERIES = re.compile(r"(E[Rr]{0,2}[-:.]|[A-Z]-|E|[A-Z]{2}(?=[0-9]{4}))([0-9]{2,5})")
_DIGIT = re.compile(r"[0-9]").search
_FENCE = re.compile(r"\n *`{3,}")
_INLINE_CODE = re.compile(r"`[^`\n]*`")
_ADDRESS = re.compile(r"(?:https?://|www\.)\S+")


@dataclass(frozen=True, slots=True)
class _Text:
    """What is searched: titles, headings, and those lines outside code that hold a digit."""

    lines: Lines
    errors: Lines  # those under headings that speak of errors
    tables: list[Table]


def find(document: Document, hints: Hints | None = None) -> Facts:
    """The facts of ``document``, with the images and PDFs that it has already. Never raises for what it holds.

    ``hints`` are what the page says about itself (``structured.read``); a PDF has none.
    """
    hints = hints or Hints()
    titles = list(dict.fromkeys((document.title, *(hints.headings or first_heading(document)))))
    places = plain("\n".join((*titles, *hints.titles, *hints.crumbs, *hints.products)))
    text = _searched(places, document.sections)
    found = list(islice(designations(_prose(f"{text.lines.text}\n{text.errors.text}")), MAX_FOUND))
    errors = _errors(text, found)
    parts = [*hints.part_numbers, *part_numbers(text.lines), *listed_parts(text.tables)]
    sure = [*hints.models, *labelled_models(text.lines)]
    named = {key(token) for token, _ in designations(places)}
    models = _models(found, sure, named, _subjects(document, hints, titles))
    left_out = {*map(key, errors), *(key(part) for part in parts if part not in places)}
    models = [model for model in models if key(model) not in left_out]
    body = "\n".join(section.text for section in document.sections)[:MAX_CHARS]
    products = product_names(document, hints, models, body if plain(document.title) == document.title else plain(body))
    own = [*products, *(model for model in models if any(key(model) in key(product) for product in products))]
    return replace(
        document.facts,
        products=products[:MAX_PRODUCTS],
        models=_distinct(models, MAX_MODELS),
        part_numbers=_distinct(parts, MAX_PARTS),
        error_codes=_distinct(errors, MAX_ERRORS),
        discontinued=hints.discontinued or is_discontinued(titles, body, own),
    )


def _searched(places: str, sections: Sequence[Section]) -> _Text:
    others: list[str] = [places]
    errors: list[str] = []
    left = MAX_CHARS
    for section in sections:
        heading = section.path[-1] if section.path else ""
        (errors if is_error_heading(heading) else others).extend((heading, section.text[:left]))
        left -= len(section.text)
        if left <= 0:
            break
    texts = [_outside_code("\n".join(parts)) for parts in (others, errors)]
    lines, under_errors = (Lines.of(plain("\n".join(filter(_DIGIT, text.split("\n"))))) for text in texts)
    return _Text(lines, under_errors, [table for text in texts for table in tables_in(text)])


def _outside_code(text: str) -> str:
    """Without blocks of code; a term and its definition are one line."""
    if "```" in text:
        text = "".join(_FENCE.split(f"\n{text}")[::2])
    return text.replace("\n: ", ": ")


def _prose(text: str) -> str:
    """Without code in lines, and addresses."""
    text = _INLINE_CODE.sub(" ", text) if "`" in text else text
    return _ADDRESS.sub(" ", text) if "://" in text or "www." in text else text


def _models(found: Iterable[tuple[str, Shape]], sure: Iterable[str], places: set[str], subjects: set[str]) -> list[str]:
    """The models, those of the ``places`` that name the document first, then by how often they are named.

    ``subjects`` are keys of what a title, a trail or an address consists of; a designation as short as M1 must be one.
    """
    spellings: dict[str, Counter[str]] = {}
    shapes: dict[str, Shape] = {}
    for token, shape in (*found, *((model, Shape.STRONG) for model in sure)):
        name = key(token)
        spellings.setdefault(name, Counter())[token] += 1
        shapes[name] = min(shape, shapes.get(name, shape))
    named = {name: spelt.total() for name, spelt in spellings.items()}
    kept = [
        name
        for name, shape in shapes.items()
        if name in subjects or (shape in TIMES and (name in places or named[name] >= TIMES[shape]))
    ]
    kept.sort(key=lambda name: (name not in places, -named[name]))
    return [spellings[name].most_common(1)[0][0] for name in kept]


def _subjects(document: Document, hints: Hints, titles: Iterable[str]) -> set[str]:
    """Keys of whole parts of titles, of steps of the trail and the address, and of named products."""
    texts = [part for title in titles for part in split_title(title)]
    texts += [name for text in texts if (name := without_manual(text))]
    return {key(text) for text in (*texts, *hints.crumbs, *hints.products, *steps(document.url)) if text}


def _errors(text: _Text, found: Iterable[tuple[str, Shape]]) -> list[str]:
    """Error codes, and what is written like them elsewhere in the document: "codes E-17 to E-19"."""
    codes = error_codes(text.errors, listed=True) if text.errors.text else []
    codes += [*error_codes(text.lines, listed=False), *listed_errors(text.tables)]
    families = {_family(code) for code in codes} - {""}
    return codes + [token for token, _ in found if families and _family(token) in families]


def _family(code: str) -> str:
    """E-07 and E-12 are of one kind; "" for codes that are too short to tell, or too long to be of a kind."""
    match = _SERIES.fullmatch(code)
    return f"{match[1]}{len(match[2])}" if match else ""


def _distinct(values: Iterable[str], limit: int) -> tuple[str, ...]:
    """The first spelling of each."""
    found: dict[str, str] = {}
    for value in values:
        found.setdefault(key(value), value)
    return tuple(found.values())[:limit]
