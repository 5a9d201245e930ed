"""Pure ASGI layers round the app: the request's id, log and metrics outside, the body's size inside."""

from __future__ import annotations

import re
import time
import uuid

import structlog
from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from ray_app.api.ports import MetricsService
from ray_app.api.problems import SCOPE_KEY, ProblemError, internal, problem
from ray_app.observe.log import get_logger

REQUEST_ID_HEADER = "X-Request-Id"
UNMATCHED = "unmatched"  # route label of everything that is no route, so that paths never become labels
QUIET_ROUTES = frozenset(("/livez", "/readyz", "/metrics"))  # asked every few seconds by machines

_REQUEST_ID = re.compile(r"[A-Za-z0-9._:-]{1,128}")
_log = get_logger(__name__)


class RequestContext:
    """Gives each request an id, binds it to every log event, counts the request, and answers crashes."""

    def __init__(self, app: ASGIApp, metrics: MetricsService) -> None:
        self._app = app
        self._metrics = metrics

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        given = Headers(scope=scope).get(REQUEST_ID_HEADER, "")
        scope[SCOPE_KEY] = given if _REQUEST_ID.fullmatch(given) else uuid.uuid4().hex
        with structlog.contextvars.bound_contextvars(request_id=scope[SCOPE_KEY]):
            await self._timed(scope, receive, _Reply(send, scope[SCOPE_KEY]))

    async def _timed(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        started = time.perf_counter()
        try:
            await self._guarded(scope, receive, reply)
        finally:
            self._record(scope, reply.status or 499, time.perf_counter() - started)

    async def _guarded(self, scope: Scope, receive: Receive, reply: _Reply) -> None:
        try:
            await self._app(scope, receive, reply)
        except Exception:  # the last line of defence: whatever it is, the caller gets a problem with an id
            _log.exception("request_crashed", route=_route(scope), method=scope["method"])
            if reply.status:
                raise  # half a response is out; the server must cut the connection
            await internal(scope)(scope, receive, reply)

    def _record(self, scope: Scope, status: int, seconds: float) -> None:
        route, method = _route(scope), scope["method"]
        self._metrics.http_request(route=route, method=method, status=status, seconds=seconds)
        write = _log.debug if route in QUIET_ROUTES else _log.info
        write("http_request", route=route, method=method, status=status, ms=round(1000 * seconds, 1))


class _Reply:
    """A ``send`` that adds headers and remembers the status; 0 until a response starts."""

    def __init__(self, send: Send, request_id: str) -> None:
        self._send = send
        self._request_id = request_id
        self.status = 0

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self.status = message["status"]
            headers = MutableHeaders(scope=message)
            headers[REQUEST_ID_HEADER] = self._request_id
            headers["X-Content-Type-Options"] = "nosniff"
            headers.setdefault("Cache-Control", "no-store")
        await self._send(message)


class BodyLimit:
    """Refuses bodies over ``max_bytes``: at once when announced, else as soon as that much was read."""

    def __init__(self, app: ASGIApp, max_bytes: int) -> None:
        self._app = app
        self._max_bytes = max_bytes

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length", "0")
        if announced.isascii() and announced.isdigit() and _exceeds(announced, self._max_bytes):
            await self._refusal(scope)(scope, receive, send)
            return
        await self._app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._max_bytes:
                # An HTTPException is the one error that FastAPI lets through while it reads a body.
                raise ProblemError(413, "body-too-large", self._detail())
            return message

        return counted

    def _refusal(self, scope: Scope) -> ASGIApp:
        return problem(scope, 413, "body-too-large", self._detail())

    def _detail(self) -> str:
        return f"The request body is larger than {self._max_bytes} bytes; send less."


def _exceeds(digits: str, limit: int) -> bool:
    """Whether a decimal number is over ``limit``, without converting thousands of digits."""
    digits = digits.lstrip("0")
    return len(digits) > len(str(limit)) or int(digits or "0") > limit


def _route(scope: Scope) -> str:
    return str(getattr(scope.get("route"), "path", UNMATCHED))
