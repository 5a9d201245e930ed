"""What an outcome or a discovery changes in the ledger's row of a URL: pure rules, no SQL.

**Replays.** A URL is settled once in a cycle; what comes later for the same cycle changes nothing, so a
commit that is repeated after a crash has no effect.

**Stored text.** A row keeps its text and validators until the server takes the text away: by a redirect, noindex,
robots.txt, another media type or another text at once; by "not found", an empty page or a wall only when two cycles
in a row say so. A failure, a retry, an unreachable robots.txt, a name that leads to a forbidden address or the page
limit takes nothing away, else one bad night of a server or of a resolver would empty the index.

**Handed over.** A text may also be handed over by its owner, for any address; it has a negative ``extractor``. A crawl
replaces it only by a text that it reads at that address itself. What it hears instead (not found, a redirect, a wall)
is noted and takes nothing away: the owner knows. A row that no crawl has found has ``cycle_done`` UNFOUND.

**Next visit.** A delta crawl looks at a page again when a tenth of the time for which it has not changed is over
(the heuristic freshness of RFC 9111, 4.2.2), at the latest after a week, and at each crawl while that is under an hour.
What says nothing about the page is no visit: the next delta crawl looks again.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from hashlib import blake2b
from typing import Any

from ray_app.records import Fingerprint, PageOutcome, UrlState
from ray_app.store.rows import Cycle, Discovery, Mode

# PostgreSQL takes no index entry over 2,704 bytes; brand, host and numbers need about 400 of them.
URL_BYTES = 2_048
TEXT_CHARS = 500  # titles and details longer than this help nobody in a table
VALIDATOR_CHARS = 1_000  # a longer validator would bloat every request; a cut one would never match

# Reasons that a discovery gives for the address alone, before any fetch. Such a URL is not due again by itself;
# a discovery that judges it otherwise (a shorter way to it, another configuration) puts it into the queue.
# No reason that a fetch gives without a status may stand here, or each link to the URL would queue it again.
JUDGED = frozenset({"scope", "depth", "url_too_long", "media_type", "trap", "forgotten"})
CONFIRMED = frozenset({"not_modified", "unchanged"})  # FETCHED reasons that vouch for the stored text
# SKIPPED: they say nothing about the text. An address may be forbidden for a night, when a resolver answers with a
# sinkhole, or for a run that was started without the host's permission.
KEPT_SKIPS = frozenset({"robots_unreachable", "blocked_address", "page_cap", "host_down"})
# They say that the text is not there, and servers say so by mistake: believed the second time.
MISSED = frozenset({"http_404", "http_410", "soft_404", "login_wall", "cookie_wall", "js_shell", "empty"})
MISSES = 2
# What may go better in the next crawl: a crawl that met it was not complete.
TRANSIENT = frozenset(
    {"timeout", "connect", "dns", "http_5xx", "http_429", "protocol", "slow_body", "bot_wall", "host_down"}
    | {"robots_unreachable", "blocked_address", "extract_crashed", "fetch_crashed"}
)

UNASKED = frozenset({"lastmod", "host_down"})  # settled without a request, whatever a former one said

REVISIT_SHARE = 0.1
REVISIT_FLOOR_S = 3_600.0  # a shorter wait is none: who crawls twice in an hour wants to see what changed
REVISIT_CAP_S = 7 * 86_400.0

UNFOUND = -1  # cycle_done of a row that was only handed over: no crawl has found a way to it
# Depth of such a row: behind all pages of a crawl, so that of equal texts the one that others can open stands for both.
HANDED_DEPTH = 1_000_000

_TEXT = ("content_hash", "page_part", "page_row", "title", "etag", "last_modified", "lang", "extractor")
_PRINT = ("words_hash", "numbers_hash", "simhash", "shape", "declared_canonical", "alias_of", "alias_reason")


@dataclass(frozen=True, slots=True)
class Known:
    """The columns of a row that the rules read."""

    url: str
    state: str
    reason: str
    status: int = 0
    depth: int = 0
    hops: int = 0
    attempts: int = 0
    fetched_at: float = 0.0
    cycle_done: int = 0
    cycle_due: int = 0
    misses: int = 0
    changed_at: float = 0.0
    content_hash: str = ""
    page_part: str | None = None
    page_row: int | None = None
    title: str = ""
    etag: str = ""
    last_modified: str = ""
    lang: str = ""
    extractor: int = 0
    words_hash: str = ""
    numbers_hash: str = ""
    simhash: int = 0
    shape: str = ""
    declared_canonical: str = ""
    alias_of: str = ""
    alias_reason: str = ""
    sitemap: str = ""
    lastmod: float = 0.0
    template: str = ""


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


def host_of(url: str) -> str:
    """``host`` or ``host:port`` of a normalised URL, by which its row waits; "" for what is none."""
    return url.partition("://")[2].partition("/")[0][:300]


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


def meet(known: Known, found: Discovery, cycle: Cycle) -> dict[str, Any]:
    """What finding a known URL (again) changes in its row; nothing, for most."""
    if found.state is not UrlState.QUEUED:
        return {}
    changes: dict[str, Any] = {}
    if known.cycle_done == UNFOUND:
        return _found_at_last(found, cycle)
    judged = is_judged(known)
    first = cycle.mode is Mode.FULL and known.cycle_due != cycle.number and known.cycle_done < cycle.number
    forced = found.forced and cycle.mode is not Mode.RETRY and known.cycle_due != cycle.number
    newer = found.lastmod > known.fetched_at > 0 and cycle.mode is not Mode.RETRY
    if judged:
        queued = {"state": UrlState.QUEUED.value, "reason": "discovered", "detail": "", "cycle_done": cycle.number - 1}
        changes |= queued | _waits(cycle)
    elif known.cycle_done < cycle.number and known.cycle_due != cycle.number and (first or forced or newer):
        changes |= _waits(cycle)
    if judged or first or (found.depth, found.hops) < (known.depth, known.hops):
        changes |= way(found)
    if found.sitemap and (found.sitemap, found.lastmod) != (known.sitemap, known.lastmod):
        changes |= {"sitemap": found.sitemap, "lastmod": found.lastmod}
    if changes and cycle.mode is Mode.FULL:
        changes["cycle_seen"] = cycle.number
    return changes


def is_judged(known: Known) -> bool:
    """Whether the address alone has ruled it out, before any fetch."""
    return known.state == UrlState.SKIPPED and known.status == 0 and known.reason in JUDGED


def _found_at_last(found: Discovery, cycle: Cycle) -> dict[str, Any]:
    """A crawl comes to what was handed over before: it is asked for like any new URL, and keeps its text meanwhile."""
    place = {"template": found.template, "sitemap": found.sitemap, "lastmod": found.lastmod}
    seen = {"cycle_done": cycle.number - 1, "cycle_seen": cycle.number}
    return _waits(cycle) | way(found) | place | seen


def hand_over(known: Known | None, outcome: PageOutcome, now: float) -> dict[str, Any]:
    """The columns to write when a text is handed over; those of a row that is not there yet, too.

    What a crawl knows of the URL beside its text stays, so the crawl goes on looking at it. Raises ValueError without a
    stored text.
    """
    if outcome.page is None:
        raise ValueError("what is handed over has a text")
    page = {"page_part": outcome.page.part, "page_row": outcome.page.row}
    text = {"content_hash": outcome.content_hash, "title": plain(outcome.title, TEXT_CHARS), **page}
    row = {
        "state": outcome.state.value,
        "reason": outcome.reason,
        "detail": plain(outcome.detail, TEXT_CHARS),
        "fetched_at": now,
        "changed_at": now,
        "revisit_at": 0.0,
        "misses": 0,
        "bytes": outcome.bytes_received,
        "seconds": outcome.seconds,
        "media_type": plain(outcome.media_type, TEXT_CHARS),
        "canonical_url": "",
        **NO_TEXT,
        **text,
        **_reading(outcome),
    }
    if known is None:
        return row | {"cycle_done": UNFOUND, "depth": HANDED_DEPTH}
    return row | ({"cycle_done": UNFOUND} if is_judged(known) else {})


def _waits(cycle: Cycle) -> dict[str, Any]:
    return {"cycle_due": cycle.number, "attempts": 0, "due_at": 0.0}


def way(found: Discovery) -> dict[str, Any]:
    """How a URL is reached."""
    return {"depth": found.depth, "hops": found.hops, "parent": plain(found.parent, len(found.parent))}


def settle(known: Known, outcome: PageOutcome, cycle: int, now: float) -> dict[str, Any] | None:
    """The columns to write, always the same ones; None when the outcome is an old one or a repeated one."""
    retry = outcome.state is UrlState.QUEUED
    if known.cycle_done >= cycle or (retry and known.attempts > outcome.task.attempts):
        return None
    state, reason, detail = outcome.state, outcome.reason, outcome.detail
    if _vouches_for_nothing(known, outcome):
        state, reason = UrlState.FAILED, "protocol"
        detail = "the server confirmed a text that is not the stored one"
    failed = state in (UrlState.QUEUED, UrlState.FAILED) and not untried(outcome)
    unvisited = failed or retry or reason in KEPT_SKIPS
    missed = _missed(known, state, reason)
    text = _text(known, outcome, state, reason, missed)
    changed = text["content_hash"] != known.content_hash or (not text["content_hash"] and reason != known.reason)
    changed_at = now if changed or not known.changed_at else known.changed_at
    return {
        "state": state.value,
        "reason": reason,
        "detail": plain(detail, TEXT_CHARS),
        "status": outcome.status,
        "attempts": outcome.task.attempts + failed,
        "due_at": (outcome.retry_at if outcome.retry_at is not None else now) if retry else 0.0,
        "cycle_done": known.cycle_done if retry else cycle,
        "cycle_due": cycle if retry else 0,
        "misses": known.misses if state in (UrlState.QUEUED, UrlState.FAILED) else missed,
        "changed_at": known.changed_at if retry else changed_at,
        "revisit_at": 0.0 if unvisited or missed else next_visit(reason, outcome.status, changed_at, now),
        "fetched_at": outcome.fetched_at or known.fetched_at,
        "bytes": outcome.bytes_received,
        "seconds": outcome.seconds,
        "media_type": plain(outcome.media_type, TEXT_CHARS),
        "canonical_url": address(outcome.location),
        **text,
    }


def untried(outcome: PageOutcome) -> bool:
    """Whether its host asked for a pause or is down, so that nothing was sent: that is no failure of this URL."""
    return outcome.state is UrlState.QUEUED and not outcome.status and outcome.reason in ("http_429", "host_down")


def spent(outcome: PageOutcome) -> bool:
    """Whether the URL is settled after having been asked for. ``url_rows.spent`` says the same of a row."""
    unsent = outcome.state is UrlState.SKIPPED and not outcome.status
    return outcome.state is not UrlState.QUEUED and not unsent and outcome.reason not in UNASKED


def next_visit(reason: str, status: int, changed_at: float, now: float) -> float:
    """When a delta crawl looks again at a URL that is as it is since ``changed_at``; 0: at the next one."""
    if reason == "media_type" and status:
        return now + REVISIT_CAP_S  # a picture hardly ever turns into a page
    wait = min(REVISIT_SHARE * (now - changed_at), REVISIT_CAP_S)
    return now + wait if wait >= REVISIT_FLOOR_S else 0.0


def _missed(known: Known, state: UrlState, reason: str) -> int:
    """How often in a row the server now has said that the stored text is not there."""
    gone = state not in (UrlState.QUEUED, UrlState.FAILED) and reason in MISSED
    return known.misses + 1 if gone and known.content_hash and not was_handed(known) else 0


def was_handed(known: Known) -> bool:
    """Whether the stored text was handed over instead of being read by a crawl."""
    return known.extractor < 0


def _vouches_for_nothing(known: Known, outcome: PageOutcome) -> bool:
    """A "still the same" for a text that is not here: believing it would lose the page without a trace."""
    if outcome.state is not UrlState.FETCHED or outcome.reason not in CONFIRMED:
        return False
    return not known.content_hash or outcome.task.content_hash not in ("", known.content_hash)


def _text(known: Known, outcome: PageOutcome, state: UrlState, reason: str, missed: int) -> dict[str, Any]:
    """All columns about the stored text."""
    held = {name: getattr(known, name) for name in (*_TEXT, *_PRINT)}
    if outcome.page is not None and state is UrlState.FETCHED:
        page = {"page_part": outcome.page.part, "page_row": outcome.page.row}
        found = {"content_hash": outcome.content_hash, "title": plain(outcome.title, TEXT_CHARS), **page}
        return held | found | _validators(outcome) | _reading(outcome) | {"alias_of": "", "alias_reason": ""}
    if state is UrlState.FETCHED and reason in CONFIRMED:
        fresh = _validators(outcome)
        if reason == "unchanged":  # an answer with a body that has no validators has given them up
            return held | fresh | _reading(outcome)
        return held | (fresh if any(fresh.values()) else {})  # a 304 need not repeat them
    if state in (UrlState.QUEUED, UrlState.FAILED) or (state is UrlState.SKIPPED and reason in KEPT_SKIPS):
        return held | ({"etag": "", "last_modified": ""} if reason == "protocol" else {})
    if 0 < missed < MISSES or (was_handed(known) and reason != "forgotten"):
        return held
    return {**NO_TEXT, "title": plain(outcome.title, TEXT_CHARS)}


def _reading(outcome: PageOutcome) -> dict[str, Any]:
    """What extraction found beside the text; nothing when the outcome carries none of it."""
    if outcome.fingerprint is None:
        return {}
    return {
        "lang": plain(outcome.lang, 16),
        "extractor": outcome.extractor,
        "declared_canonical": address(outcome.canonical),
        **_print(outcome.fingerprint),
    }


def _print(found: Fingerprint) -> Mapping[str, Any]:
    return {
        "words_hash": found.words,
        "numbers_hash": found.numbers,
        "simhash": found.simhash,
        "shape": found.shape,
    }


NO_TEXT: Mapping[str, Any] = {
    "content_hash": "",
    "page_part": None,
    "page_row": None,
    "title": "",
    "etag": "",
    "last_modified": "",
    "lang": "",
    "extractor": 0,
    "words_hash": "",
    "numbers_hash": "",
    "simhash": 0,
    "shape": "",
    "declared_canonical": "",
    "alias_of": "",
    "alias_reason": "",
}


def _validators(outcome: PageOutcome) -> dict[str, str]:
    return {"etag": _validator(outcome.etag), "last_modified": _validator(outcome.last_modified)}


def _validator(value: str) -> str:
    return "" if len(value) > VALIDATOR_CHARS else plain(value, VALIDATOR_CHARS)
