"""What a question asks for: its text made comparable, and its search words."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace

from ray_app.errors import BadQuestion
from ray_app.index.tokens import STOP_WORDS, tokenise
from ray_app.records import Question, Turn

MAX_K = 20  # passages for one answer: more than any prompt budget here holds
MAX_TURNS = 6  # earlier messages of a conversation that are read: three exchanges
MAX_TURN_CHARS = 2_000  # of one earlier message
MAX_TERMS = 256  # search words of one question; a pasted log file must not become a thousand postings
MAX_NAME_CHARS = 200  # of a product name

_JOINERS = frozenset("\u200c\u200d")  # zero-width, but part of Persian and Indic spelling
_WORD = re.compile(r"\w")
# Words that ask, beyond the stop words: a passage need not hold them to hold the answer.
_ASKING = (
    "about also any anyone anything being best both cannot doing done explain get gets getting give given go help "
    "however instead itself just kind know let like list made make makes many may mean means might mine much must "
    "name named need off one only other out over please possible problem provide say see show so some someone "
    "something still tell than them thing things those through too trying type use used using various very want way "
    "ways whats whether while whom whose without work"
)
ASKING = STOP_WORDS | frozenset(_ASKING.split())


@dataclass(frozen=True, slots=True)
class Ask:
    """A question ready for the answer lane."""

    question: Question  # cleaned; ``text`` as the person wrote it, made of printable characters
    text: str  # what is embedded, reranked and searched: the product named, then the question
    terms: tuple[str, ...]  # search words with repeats, at most MAX_TERMS
    content: tuple[str, ...]  # distinct terms that an answer has to be about
    weights: Mapping[str, float] = field(default_factory=dict)  # inverse document frequency of ``content``

    def weighted(self, weights: Mapping[str, float]) -> Ask:
        """The same question with what the index knows about its words."""
        return replace(self, weights=weights)


def understand(question: Question, *, max_chars: int) -> Ask:
    """Raises BadQuestion for a question without words, too long, or with values out of range."""
    if len(question.text) > max_chars:
        raise BadQuestion(f"The question is longer than {max_chars} characters.")
    if not 1 <= question.k <= MAX_K:
        raise BadQuestion(f"k must lie between 1 and {MAX_K}.")
    text = clean(question.text)
    if not _WORD.search(text):
        raise BadQuestion("The question holds no words.")
    product = clean(question.product)[:MAX_NAME_CHARS]
    cleaned = replace(question, text=text, product=product, history=_bounded(question.history))
    search = f"{product} {text}" if product.casefold() not in text.casefold() else text
    terms = tuple(tokenise(search)[:MAX_TERMS])
    return Ask(
        question=cleaned,
        text=search,
        terms=terms,
        content=content_terms(terms),
    )


def clean(text: str) -> str:
    """``text`` in NFC on one line, without control, format, private and unassigned characters.

    Lone surrogates, bidirectional overrides, Unicode tags and zero-width characters do not survive:
    a person cannot see them, so they are not part of the question.
    """
    kept = (c if c in _JOINERS or not _is_odd(c) else " " if c.isspace() else "" for c in text)
    return " ".join(unicodedata.normalize("NFC", "".join(kept)).split())


def _is_odd(character: str) -> bool:
    return unicodedata.category(character)[0] == "C"


def content_terms(terms: Iterable[str]) -> tuple[str, ...]:
    """``terms`` without repeats and without words that only ask; all of them when nothing else is left."""
    distinct = tuple(dict.fromkeys(terms))
    return tuple(t for t in distinct if t not in ASKING) or distinct


def _bounded(history: tuple[Turn, ...]) -> tuple[Turn, ...]:
    if any(turn.role not in ("user", "assistant") for turn in history):
        raise BadQuestion("A message of the history has a role other than user and assistant.")
    recent = history[-MAX_TURNS:]
    return tuple(Turn(turn.role, clean(turn.content)[:MAX_TURN_CHARS]) for turn in recent)
