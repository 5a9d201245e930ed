"""How operations are described: one example each, and the problems they may answer with."""

from __future__ import annotations

from typing import Any

from fastapi import Body

from ray_app.api.problems import MEDIA_TYPE
from ray_app.api.schemas import Problem

Responses = dict[int | str, dict[str, Any]]


def body(example: dict[str, Any]) -> Any:
    """The parameter default of a JSON body with its example."""
    return Body(openapi_examples={"example": {"value": example}})


def responses(status: int, example: Any, *problem_statuses: int, media_type: str = "application/json") -> Responses:
    """What an operation may answer: ``status`` with ``example``, and problems."""
    described: Responses = {status: {"content": {media_type: {"example": example}}}}
    for code in problem_statuses:
        described[code] = {"description": _MEANING[code], "content": {MEDIA_TYPE: {"schema": _PROBLEM}}}
    return described


_PROBLEM = Problem.model_json_schema()
_MEANING = {
    400: "The body is not JSON, or asks for something that is not available.",
    404: "No such brand, task or URL.",
    409: "Nothing is published for the brand yet, or another run works on it.",
    413: "The body is too large.",
    415: "The body is not sent as application/json.",
    422: "The request does not fit the schema, or the question cannot be used.",
    503: "It cannot be done now; Retry-After says when to come back.",
}
