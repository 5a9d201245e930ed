"""What a page needs to become readable: the scripts and data that a browser asks for while it runs the page.

They go the way of pages: past the guard and robots.txt, at the host's pace, within bounds on bytes. A request is a GET
and one hop; whoever follows a redirect asks again, and so passes every gate again. Nothing is kept between requests:
cookies are neither taken nor sent.

Two things are stricter than for pages, for here a stranger's script chooses the URL and reads the answer. A page on a
public host never reaches the private hosts that a person has allowed (or it could read the intranet and carry what it
finds away in its next request). And the brand's secret headers go along only for pages of the sites that may see them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from time import monotonic
from typing import Protocol
from urllib.parse import urljoin

import aiohttp

from ray_app.config import CrawlSettings
from ray_app.errors import BadUrl, BlockedAddress
from ray_app.ingest import headers
from ray_app.ingest.body import SLOW_AFTER_S, BodyLimits, BodyReader, BodyRefused
from ray_app.ingest.clean import names
from ray_app.ingest.lanes import HostProfile, Lane
from ray_app.ingest.pacing import HostDown, HostPaused
from ray_app.ingest.transport import Transport, reason_of
from ray_app.ingest.urls import host_and_port, normalise, origin

MAX_URL_CHARS = 8_192  # queries of search services are longer than any page's URL; servers refuse more
RESOURCE_CAP_BYTES = 8 * 2**20  # of one script or answer; the largest bundles have 5 MB
MAX_HEADERS = 24  # set by scripts; real pages set under ten

_SENDABLE = re.compile(r"[!-~]+")  # as it stands, in a request line
_NAME = re.compile(r"[!#$%&'*+.^_`|~0-9a-z-]{1,80}")  # RFC 9110, 5.6.2
_VALUE = re.compile(r"[\x20-\x7e]{1,4096}")  # a long token has 2,000 characters

_KEPT = names(
    "content-type cache-control content-language link access-control-allow-origin access-control-allow-credentials "
    "access-control-expose-headers x-total-count x-wp-total x-wp-totalpages"
)
# The browser's own words, what the fetcher says itself, and what would change which request this is.
_NOT_SENT = names(
    "accept-charset accept-encoding accept-language connection content-length content-type cookie date dnt expect "
    "forwarded host if-match if-modified-since if-none-match if-range if-unmodified-since keep-alive origin pragma "
    "cache-control priority range referer save-data te trailer transfer-encoding upgrade upgrade-insecure-requests "
    "user-agent via x-http-method x-http-method-override x-method-override x-real-ip"
)
_NOT_SENT_PREFIXES = ("sec-", "proxy-", "x-forwarded-", "access-control-")


@dataclass(frozen=True, slots=True)
class ResourceTask:
    """One thing that a page asks for. ``url`` is as the browser spells it; ``page`` is normalised."""

    url: str
    page: str  # URL of the page that asks
    cap_bytes: int  # a larger body is refused
    headers: tuple[tuple[str, str], ...] = ()  # as the browser would send them, names in lower case
    shareable: bool = False  # the same for every page of its site: a script


@dataclass(frozen=True, slots=True)
class Resource:
    """What came back. ``reason`` is ``ok`` for any answer with a body, whatever its status, ``redirect`` with
    ``location``, else a key of ``records.REASONS`` that says why there is no answer.
    """

    url: str  # that was asked
    reason: str
    status: int = 0
    headers: tuple[tuple[str, str], ...] = ()  # those a page may see, names in lower case
    body: bytes = b""  # decompressed
    location: str = ""  # absolute, not yet checked
    bytes_received: int = 0  # on the wire


class ResourceGetter(Protocol):
    """Reaches the Fetcher that paces the host of ``task.url``."""

    async def get(self, task: ResourceTask, profile: HostProfile) -> Resource:
        """One hop. Never raises for what a URL or a server does."""
        ...


class ResourceReader:
    """Fetches resources on a lane."""

    def __init__(self, transport: Transport, settings: CrawlSettings, slow_after_s: float = SLOW_AFTER_S) -> None:
        self._transport = transport
        self._settings = settings
        self._slow_after_s = slow_after_s

    async def read(self, lane: Lane, task: ResourceTask, now: float) -> Resource:
        """The answer to a GET; ``now`` is in POSIX seconds. Any error of the way becomes a reason here."""
        try:
            return await self._follow_rules(lane, task, exact(task.url), now)
        except BadUrl:
            return Resource(task.url, "bad_url")
        except BlockedAddress:
            return Resource(task.url, "blocked_address")
        except HostPaused as error:
            return Resource(task.url, "host_down" if isinstance(error, HostDown) else "http_429")
        except BodyRefused as error:
            return Resource(task.url, error.message)
        except (aiohttp.ClientError, OSError) as error:
            return Resource(task.url, reason_of(error))

    async def _follow_rules(self, lane: Lane, task: ResourceTask, url: str, now: float) -> Resource:
        """The guard, then robots.txt, which holds for scripts and data as for pages."""
        lane.guard.check_url(url)
        _refuse_inward(lane, task.page, url)
        rules = await lane.robots.get(origin(url))
        if rules.reason or not rules.allowed(url, lane.profile.user_agent):
            return Resource(url, rules.reason or "robots")
        sent = request_headers(task, lane.headers_for(url))
        async with self._transport.request(lane, url, lane.pace(rules, self._settings), extra_headers=sent) as response:
            self._note_pace(url, response, now)
            if 300 <= response.status < 400:
                target = _location(response.headers.get("Location", ""), url)
                return Resource(url, "redirect" if target else "protocol", response.status, location=target)
            return await self._answer(task, url, response)

    def _note_pace(self, url: str, response: aiohttp.ClientResponse, now: float) -> None:
        """429 and 503 speak for the whole host, as they do for pages."""
        gate = self._transport.gate(url)
        if response.status in (429, 503):
            cap = self._settings.retry_after_cap_s
            gate.slow_down(monotonic(), headers.retry_after(response.headers.get("Retry-After", ""), now, cap) or 0.0)
        elif response.status < 500:
            gate.recover()

    async def _answer(self, task: ResourceTask, url: str, response: aiohttp.ClientResponse) -> Resource:
        if (response.content_length or 0) > task.cap_bytes:
            raise BodyRefused("too_large")
        limits = BodyLimits(task.cap_bytes, self._settings.min_bytes_per_s, self._slow_after_s)
        reader = BodyReader(", ".join(response.headers.getall("Content-Encoding", ())), limits)
        body = await reader.read(response.content)
        kept = tuple((name.lower(), value) for name, value in response.headers.items() if name.lower() in _KEPT)
        return Resource(url, "ok", response.status, kept, body, bytes_received=reader.received)


def profile_for(task: ResourceTask, profile: HostProfile) -> HostProfile:
    """The profile without its secrets, unless the page itself is on a site that may see them."""
    if not profile.headers or origin(task.page) in profile.headers_to:
        return profile
    return replace(profile, headers=(), headers_to=frozenset())


def exact(url: str) -> str:
    """A URL that has passed the checks of ``normalise`` but keeps every parameter: a session id may be an API's key.

    Raises BadUrl.
    """
    clean = normalise(url)
    plain = url.partition("#")[0]
    if len(plain) > MAX_URL_CHARS:
        raise BadUrl("The URL is longer than servers take.")
    # Both begin with the same host, read by the same parser, or the clean one stands.
    return plain if plain.startswith(f"{origin(clean)}/") and _SENDABLE.fullmatch(plain) else clean


def request_headers(task: ResourceTask, ours: Mapping[str, str]) -> dict[str, str]:
    """What of the browser's headers is sent: those that the page's scripts have set, but for those in ``ours``."""
    taken = {name.lower() for name in ours}
    found: dict[str, str] = {}
    for name, value in task.headers:
        if name == "origin" and value == origin(task.page):
            found["Origin"] = value  # without it no server says who may read its answer
        elif _may_send(name, value) and name not in taken and len(found) < MAX_HEADERS:
            found["Accept" if name == "accept" else name] = value  # spelt like the lane's own, which it replaces
    return found


def _may_send(name: str, value: str) -> bool:
    if name in _NOT_SENT or name.startswith(_NOT_SENT_PREFIXES):
        return False
    return _NAME.fullmatch(name) is not None and _VALUE.fullmatch(value) is not None


def _refuse_inward(lane: Lane, page: str, url: str) -> None:
    """Raises BlockedAddress when a page that is not on an allowed private host asks for one."""
    if lane.guard.is_allowed(*host_and_port(url)) and not lane.guard.is_allowed(*host_and_port(page)):
        raise BlockedAddress


def _location(value: str, base: str) -> str:
    """Absolute target of a redirect with every parameter, "" when it is none that may be asked for."""
    try:
        return exact(urljoin(base, value)) if value else ""
    except (BadUrl, ValueError):
        return ""
