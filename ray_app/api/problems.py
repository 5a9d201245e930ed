"""Every error leaves as RFC 9457 problem+json with a stable ``type``, the request's id, and what to do."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import HTTPException, RequestValidationError
from starlette.exceptions import HTTPException as StarletteHTTPException
from starlette.responses import Response
from starlette.types import Scope

from ray_app.errors import BacklineError, InputError, LeaseHeld, NoGeneration, UnknownBrand
from ray_app.observe.log import get_logger

MEDIA_TYPE = "application/problem+json"
TYPE_PREFIX = "urn:backline:problem:"
SCOPE_KEY = "backline.request_id"
RETRY_AFTER_S = 5  # a restarted broker or replica is back by then, and a person still waits
MAX_ERRORS = 20  # wrong fields named in one problem
MAX_TEXT = 1_000  # characters of one text that may quote the caller

# First match wins; everything retryable is 503, everything else of ours is 500.
_STATUS: tuple[tuple[type[BacklineError], int], ...] = (
    (UnknownBrand, 404),
    (NoGeneration, 409),
    (LeaseHeld, 409),
    (InputError, 422),
)
_KINDS: dict[int, str] = {  # of errors that the framework raises
    400: "bad-request",
    404: "not-found",
    405: "method-not-allowed",
    413: "body-too-large",
}
TITLES: dict[str, str] = {  # of kinds that no BacklineError has
    "answer-timeout": "The answer took too long.",
    "bad-json": "The body is not valid JSON.",
    "bad-request": "The request cannot be read.",
    "body-too-large": "The request body is too large.",
    "http-error": "The request failed.",
    "internal": "Something went wrong inside.",
    "invalid-request": "The request does not fit the schema.",
    "method-not-allowed": "This path does not take this method.",
    "not-found": "There is nothing at this path.",
    "not-ready": "The service is not ready.",
    "not-writable": "Nothing can be stored now.",
    "unknown-task": "No such task.",
    "unknown-url": "No such URL.",
    "unsupported-media-type": "The body is not JSON.",
    "unsupported-value": "This value is not supported.",
}
_ADVICE = {
    "missing": "this field is required",
    "extra_forbidden": "this field is not known; leave it out",
    "string_unicode": "holds half of a surrogate pair; send valid Unicode",
}

_log = get_logger(__name__)


class ProblemError(HTTPException):
    """An error of the HTTP layer itself. ``kind`` ends its ``type`` URI."""

    def __init__(self, status: int, kind: str, detail: str, headers: Mapping[str, str] | None = None) -> None:
        super().__init__(status, detail, dict(headers or {}))
        self.kind = kind


def unavailable(kind: str, detail: str) -> ProblemError:
    """A 503 that says when to come back."""
    return ProblemError(503, kind, detail, {"Retry-After": str(RETRY_AFTER_S)})


def not_writable(reasons: Sequence[str]) -> ProblemError:
    """A 503 that says why nothing can be stored now; questions are answered all the same."""
    return unavailable("not-writable", f"Nothing can be stored now. {' '.join(reasons)}")


def request_id(scope: Scope) -> str:
    """The id that the outermost layer gave the request."""
    return str(scope.get(SCOPE_KEY, ""))


def problem(
    scope: Scope,
    status: int,
    kind: str,
    detail: str,
    *,
    headers: Mapping[str, str] | None = None,
    errors: Sequence[Mapping[str, str]] = (),
) -> Response:
    """The response. ``detail`` may quote the caller, so it is cut and made valid UTF-8."""
    body: dict[str, Any] = {
        "type": TYPE_PREFIX + kind,
        "title": _title(kind),
        "status": status,
        "detail": _safe(detail),
        "instance": f"urn:backline:request:{request_id(scope)}",
        "request_id": request_id(scope),
    }
    if errors:
        body["errors"] = list(errors)
    return Response(json.dumps(body).encode(), status, dict(headers or {}), MEDIA_TYPE)


def internal(scope: Scope) -> Response:
    """The answer to an exception nobody expected: no internals, only the id to look for in the log."""
    return problem(scope, 500, "internal", "The error was logged under the request id.")


def install(app: FastAPI) -> None:
    """Have every error that reaches the app answered by this file."""
    app.exception_handler(BacklineError)(_on_backline_error)
    app.exception_handler(RequestValidationError)(_on_invalid)
    app.exception_handler(StarletteHTTPException)(_on_http_error)


def status_of(error: BacklineError) -> int:
    """The HTTP status that stands for an error."""
    if error.retryable:
        return 503
    return next((status for cls, status in _STATUS if isinstance(error, cls)), 500)


async def _on_backline_error(request: Request, error: BacklineError) -> Response:
    status = status_of(error)
    if status < 500:
        return problem(request.scope, status, error.kind, str(error))
    # Messages of our own failures may name hosts and paths: the log gets them, the caller gets the class's.
    _log.error(
        "request_failed", kind=error.kind, status=status, error=str(error), exc_info=error if status == 500 else None
    )
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status == 503 else None
    detail = type(error)().message + (" Try again shortly." if headers else " The error was logged.")
    return problem(request.scope, status, error.kind, detail, headers=headers)


async def _on_http_error(request: Request, error: StarletteHTTPException) -> Response:
    kind = error.kind if isinstance(error, ProblemError) else _KINDS.get(error.status_code, "http-error")
    detail = error.detail
    if error.status_code == 404 and not isinstance(error, ProblemError):
        detail = "There is nothing at this path; GET /openapi.json lists what there is."
    return problem(request.scope, error.status_code, kind, str(detail), headers=error.headers)


async def _on_invalid(request: Request, error: RequestValidationError) -> Response:
    found = error.errors()
    if any(e["type"] == "json_invalid" for e in found):
        position = found[0]["loc"][-1]
        return problem(request.scope, 400, "bad-json", f"The body is not valid JSON near character {position}.")
    if _is_other_media(request):
        return problem(request.scope, 415, "unsupported-media-type", "Send JSON with Content-Type: application/json.")
    errors = [_field_error(e) for e in found[:MAX_ERRORS]]
    detail = "; ".join(f"{e['field']}: {e['message']}" for e in errors)
    return problem(request.scope, 422, "invalid-request", detail, errors=errors)


def _is_other_media(request: Request) -> bool:
    """Whether there is a body that was not read as JSON because of its Content-Type."""
    media = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    is_json = media == "application/json" or (media.startswith("application/") and media.endswith("+json"))
    has_body = request.headers.get("content-length", "0") != "0" or "transfer-encoding" in request.headers
    return request.method == "POST" and has_body and not is_json


def _field_error(error: Mapping[str, Any]) -> dict[str, str]:
    message = _ADVICE.get(error["type"], str(error["msg"]).removeprefix("Value error, "))
    return {"field": _field(error["loc"]), "message": _safe(message)}


def _field(location: Iterable[Any]) -> str:
    parts = [str(part)[:80] for part in location]  # an unknown field's name is the caller's own text
    if len(parts) > 1 and parts[0] == "body":
        parts = parts[1:]
    return _safe(".".join(parts))


def _title(kind: str) -> str:
    if title := TITLES.get(kind):
        return title
    return next((cls().message for cls in _classes(BacklineError) if cls.kind == kind), TITLES["http-error"])


def _classes(root: type[BacklineError]) -> Iterable[type[BacklineError]]:
    yield root
    for child in root.__subclasses__():
        yield from _classes(child)


def _safe(text: str) -> str:
    shown = text if len(text) <= MAX_TEXT else text[:MAX_TEXT] + "..."
    return shown.encode("utf-8", "replace").decode()
