"""What an outcome or a discovery changes in the ledger's row of a URL: pure rules, no SQL.

**Replays.** A URL is settled once in a cycle; what comes later for the same cycle changes nothing, so a
commit that is repeated after a crash has no effect.

**Stored text.** A row keeps its text and validators until the server takes the text away: GONE, FETCHED
without text, or SKIPPED. A failure, a retry, an unreachable robots.txt or the page limit takes nothing
away, else one bad night of a server would empty the index.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from ray_app.records import PageOutcome, UrlState
from ray_app.store.rows import Discovery

# PostgreSQL takes no index entry over 2,704 bytes; brand, hash and numbers need about 150 of them.
URL_BYTES = 2_048
TEXT_CHARS = 500  # titles and details longer than this help nobody in a table
VALIDATOR_CHARS = 1_000  # a longer validator would bloat every request; a cut one would never match

# Reasons that a discovery gives for the address alone, before any fetch. Such a URL is not due again by itself;
# a discovery that judges it otherwise (a shorter way to it, another configuration) puts it into the queue.
# No reason that a fetch gives without a status may stand here, or each link to the URL would queue it again.
JUDGED = frozenset({"scope", "depth", "url_too_long", "media_type"})
CONFIRMED = frozenset({"not_modified", "unchanged"})  # FETCHED reasons that vouch for the stored text
KEPT_SKIPS = frozenset({"robots_unreachable", "page_cap"})  # SKIPPED reasons that say nothing about the text


@dataclass(frozen=True, slots=True)
class Known:
    """The columns of a row that the rules read."""

    url: str
    state: str
    reason: str
    status: int
    depth: int
    hops: int
    attempts: int
    fetched_at: float
    cycle_done: int
    content_hash: str
    page_part: str | None
    page_row: int | None
    title: str
    etag: str
    last_modified: str


def plain(text: str, cap: int) -> str:
    """At most ``cap`` characters that every database takes: no NUL, no lone surrogates."""
    return text[:cap].encode("utf-8", "replace").decode().replace("\0", "")


def address(url: str) -> str:
    """The URL as the ledger's key: itself, or a stem and a hash when it is longer than an index entry may be."""
    key = plain(url, len(url))
    if len(key) * 4 <= URL_BYTES or len(key.encode()) <= URL_BYTES:
        return key
    digest = "#" + blake2b(key.encode(), digest_size=16).hexdigest()
    return key.encode()[: URL_BYTES - len(digest)].decode("utf-8", "ignore") + digest


def best(found: Iterable[Discovery]) -> dict[str, Discovery]:
    """One discovery per URL, the most favourable: to be queued before skipped, then least depth, then hops."""
    chosen: dict[str, Discovery] = {}
    for one in found:
        fitted = _fitted(one)
        held = chosen.get(fitted.url)
        if held is None or _rank(fitted) < _rank(held):
            chosen[fitted.url] = fitted
    return chosen


def _fitted(found: Discovery) -> Discovery:
    key = address(found.url)
    if key == found.url:
        return found
    return replace(found, url=key, state=UrlState.SKIPPED, reason="url_too_long")


def _rank(found: Discovery) -> tuple[bool, int, int]:
    return (found.state is not UrlState.QUEUED, found.depth, found.hops)


def revives(known: Known, found: Discovery) -> bool:
    """Whether the URL was ruled out by its address and ``found`` says it should be crawled after all."""
    judged = known.state == UrlState.SKIPPED and known.status == 0 and known.reason in JUDGED
    return judged and found.state is UrlState.QUEUED


def shortens(known: Known, found: Discovery) -> bool:
    """Whether ``found`` is a shorter way to a URL that takes part in the crawl."""
    return found.state is UrlState.QUEUED and (found.depth, found.hops) < (known.depth, known.hops)


def settle(known: Known, outcome: PageOutcome, cycle: int, now: float) -> dict[str, Any] | None:
    """The columns to write, always the same ones; None when the outcome is an old one or a repeated one."""
    retry = outcome.state is UrlState.QUEUED
    if known.cycle_done >= cycle or (retry and known.attempts > outcome.task.attempts):
        return None
    state, reason, detail = outcome.state, outcome.reason, outcome.detail
    if _vouches_for_nothing(known, outcome):
        state, reason = UrlState.FAILED, "protocol"
        detail = "the server confirmed a text that is not the stored one"
    # A host that asked for a pause was not tried at all: that is no failure of this URL.
    untried = retry and outcome.status == 0 and reason == "http_429"
    failed = state in (UrlState.QUEUED, UrlState.FAILED) and not untried
    return {
        "state": state,
        "reason": reason,
        "detail": plain(detail, TEXT_CHARS),
        "status": outcome.status,
        "attempts": outcome.task.attempts + failed,
        "due_at": (outcome.retry_at if outcome.retry_at is not None else now) if retry else 0.0,
        "cycle_done": known.cycle_done if retry else cycle,
        "fetched_at": outcome.fetched_at or known.fetched_at,
        "bytes": outcome.bytes_received,
        "seconds": outcome.seconds,
        "media_type": plain(outcome.media_type, TEXT_CHARS),
        "canonical_url": address(outcome.location),
        **_text(known, outcome, state, reason),
    }


def _vouches_for_nothing(known: Known, outcome: PageOutcome) -> bool:
    """A "still the same" for a text that is not here: believing it would lose the page without a trace."""
    if outcome.state is not UrlState.FETCHED or outcome.reason not in CONFIRMED:
        return False
    return not known.content_hash or outcome.task.content_hash not in ("", known.content_hash)


def _text(known: Known, outcome: PageOutcome, state: UrlState, reason: str) -> dict[str, Any]:
    if outcome.page is not None and state is UrlState.FETCHED:
        return _text_columns(
            outcome.content_hash, (outcome.page.part, outcome.page.row), outcome.title, _validators(outcome)
        )
    if state is UrlState.FETCHED and reason in CONFIRMED:
        fresh, held = _validators(outcome), (known.etag, known.last_modified)
        # A 304 need not repeat the validators; an answer with a body that has none has given them up.
        validators = held if reason == "not_modified" and not any(fresh) else fresh
        return _text_columns(known.content_hash, (known.page_part, known.page_row), known.title, validators)
    if state in (UrlState.QUEUED, UrlState.FAILED) or (state is UrlState.SKIPPED and reason in KEPT_SKIPS):
        validators = ("", "") if reason == "protocol" else (known.etag, known.last_modified)
        return _text_columns(known.content_hash, (known.page_part, known.page_row), known.title, validators)
    return _text_columns("", (None, None), outcome.title, ("", ""))


def _validators(outcome: PageOutcome) -> tuple[str, str]:
    return (_validator(outcome.etag), _validator(outcome.last_modified))


def _validator(value: str) -> str:
    return "" if len(value) > VALIDATOR_CHARS else plain(value, VALIDATOR_CHARS)


def _text_columns(
    content_hash: str, page: tuple[str | None, int | None], title: str, validators: tuple[str, str]
) -> dict[str, Any]:
    return {
        "content_hash": content_hash,
        "page_part": page[0],
        "page_row": page[1],
        "title": plain(title, TEXT_CHARS),
        "etag": validators[0],
        "last_modified": validators[1],
    }
