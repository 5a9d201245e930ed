"""From what a fetch brought to what the ledger is told; without the libraries that reading a body takes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from ray_app.records import FetchResult, Kind, PageOutcome, UrlState


def outcome_of(result: FetchResult) -> PageOutcome:
    """The outcome as far as the fetch alone decides it."""
    return PageOutcome(
        task=result.task,
        state=result.state,
        reason=result.reason,
        status=result.status,
        etag=result.etag,
        last_modified=result.last_modified,
        location=result.location,
        retry_at=result.retry_at,
        fetched_at=result.fetched_at,
        seconds=result.seconds,
        bytes_received=result.bytes_received,
        detail=result.detail,
        media_type=result.media_type,
        links=result.sitemaps or _moved_sitemap(result),
    )


def _moved_sitemap(result: FetchResult) -> tuple[str, ...]:
    """Where a sitemap has moved to, which is like an index that names it; never from https to http."""
    downgrade = result.task.url.startswith("https://") and result.location.startswith("http://")
    if result.task.kind is not Kind.SITEMAP or downgrade:
        return ()
    return (result.location,) if result.location else ()


def needs_reading(result: FetchResult) -> bool:
    """Whether there is a body to extract; of everything else the outcome is known."""
    return result.state is UrlState.FETCHED and bool(result.body)


def divide(results: Sequence[FetchResult]) -> tuple[list[FetchResult], list[PageOutcome]]:
    """Results whose bodies are still to be read, and the outcomes of the others."""
    bodies = [result for result in results if needs_reading(result)]
    return bodies, [_settled(result) for result in results if not needs_reading(result)]


def _settled(result: FetchResult) -> PageOutcome:
    outcome = outcome_of(result)
    empty = result.state is UrlState.FETCHED and result.reason == "ok" and result.task.kind is not Kind.ROBOTS
    return replace(outcome, reason="empty") if empty else outcome
