"""One request on its way out: past the guard, through the host's gate, onto a socket."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from time import monotonic

import aiohttp
from yarl import URL

from ray_app.ingest.lanes import Lane
from ray_app.ingest.pacing import Gates, HostGate, Pace
from ray_app.ingest.urls import host_key

SILENT = ("dns", "connect", "timeout")  # reasons that mean that no answer came
MAX_SOCKETS = 400  # requests in flight of one Fetcher; under the usual limit of 1,024 open files


class Transport:
    """Sends requests for pages and robots.txt alike, so that no request can miss the guard or the pace."""

    def __init__(self) -> None:
        self._gates = Gates()
        self._sockets = asyncio.Semaphore(MAX_SOCKETS)

    def gate(self, url: str) -> HostGate:
        """The gate of a normalised URL's host."""
        return self._gates.of(host_key(url))

    @asynccontextmanager
    async def request(
        self,
        lane: Lane,
        url: str,
        pace: Pace,
        *,
        extra_headers: dict[str, str] | None = None,
        limits: aiohttp.ClientTimeout | None = None,
        on_turn: Callable[[], None] | None = None,
    ) -> AsyncIterator[aiohttp.ClientResponse]:
        """The answer to a GET of a normalised URL, body unread; an unread rest closes the connection.

        ``on_turn`` is called when the wait for the host's turn is over and the request goes out.
        Raises BlockedAddress, HostPaused, HostDown, and what aiohttp raises (``reason_of`` names it).
        """
        lane.guard.check_url(url)
        gate = self.gate(url)
        async with gate.passing(pace, monotonic), self._sockets:
            if on_turn:
                on_turn()
            async with await _reach(gate, lane, url, extra_headers, limits) as response:
                yield response


async def _reach(
    gate: HostGate, lane: Lane, url: str, extra_headers: dict[str, str] | None, limits: aiohttp.ClientTimeout | None
) -> aiohttp.ClientResponse:
    """The answer's head; the host's breaker learns whether one came."""
    gate.admit(monotonic())
    try:
        response = await lane.session.get(
            URL(url, encoded=True),  # the server gets, byte for byte, the URL that was checked and is stored
            headers={**lane.headers_for(url), **(extra_headers or {})},
            allow_redirects=False,
            timeout=limits or lane.session.timeout,
        )
    except (aiohttp.ClientError, OSError) as error:
        if reason_of(error) in SILENT:
            gate.breaker.failed(monotonic())
        else:
            gate.breaker.abandoned()
        raise
    except BaseException:  # cancelled, or refused by the guard: that says nothing about the host
        gate.breaker.abandoned()
        raise
    gate.breaker.succeeded()
    return response


def reason_of(error: aiohttp.ClientError | OSError) -> str:
    """The reason code for an error that a request raised."""
    if isinstance(error, TimeoutError):
        return "timeout"
    if isinstance(error, aiohttp.ClientConnectorDNSError):
        return "dns"
    if isinstance(error, aiohttp.InvalidURL):
        return "bad_url"
    if isinstance(error, aiohttp.ClientPayloadError | aiohttp.ClientResponseError | aiohttp.ServerDisconnectedError):
        return "protocol"
    return "connect"
