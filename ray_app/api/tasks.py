"""Work that goes on after the answer: POST /tasks/..., GET /tasks/{task_id}."""

from __future__ import annotations

import re
from typing import Annotated

from fastapi import APIRouter, Response

from ray_app.api import examples
from ray_app.api.openapi import body, responses
from ray_app.api.ports import Services, TaskRecord
from ray_app.api.problems import ProblemError, not_writable
from ray_app.api.schemas import EmbedRequest, RagQueryRequest, ScrapeRequest, TaskResponse

_Scrape = Annotated[ScrapeRequest, body(examples.SCRAPE)]
_Embed = Annotated[EmbedRequest, body(examples.EMBED)]
_RagQuery = Annotated[RagQueryRequest, body(examples.RAG_QUERY)]
_TASK_ID = re.compile(r"[0-9a-f]{32}")
_PROBLEMS = (400, 404, 409, 413, 415, 422, 503)


def router(services: Services) -> APIRouter:
    """The routes over ``services``."""
    routes = APIRouter(prefix="/tasks", tags=["tasks"])
    service = services.tasks

    @routes.post(
        "/scrape", status_code=202, responses=responses(202, examples.task("scrape", examples.SCRAPE), *_PROBLEMS)
    )
    async def scrape(response: Response, request: _Scrape) -> TaskResponse:
        """Crawl a brand's site."""
        await _check_writes(services)
        return _accepted(response, await service.submit("scrape", request.model_dump()))

    @routes.post(
        "/embed",
        status_code=202,
        responses=responses(202, examples.task("embed", examples.EMBED_ACCEPTED), *_PROBLEMS),
    )
    async def embed(response: Response, request: _Embed) -> TaskResponse:
        """Embed what changed on a brand's pages, or one document that is handed over, and publish it.

        The document is stored when this answers; the task says when it is published.
        """
        await _check_writes(services)
        return _accepted(response, await service.submit("embed", request.payload()))

    @routes.post(
        "/rag-query",
        status_code=202,
        responses=responses(202, examples.task("rag-query", examples.RAG_QUERY), *_PROBLEMS),
    )
    async def rag_query(response: Response, request: _RagQuery) -> TaskResponse:
        """Answer a question in the background; the answer is the task's result."""
        await _check_writes(services)
        payload = request.payload(services.limits.max_question_chars)
        return _accepted(response, await service.submit("rag-query", payload))

    @routes.get(
        "/{task_id}",
        responses=responses(200, examples.task("embed", examples.EMBED_ACCEPTED, "running"), 404, 422, 503),
    )
    async def task(task_id: str) -> TaskResponse:
        """How a task stands."""
        found = await service.get(task_id) if _TASK_ID.fullmatch(task_id) else None
        if found is None:
            raise ProblemError(404, "unknown-task", "There is no task of this id.")
        return TaskResponse.of(found)

    return routes


async def _check_writes(services: Services) -> None:
    """Nothing of a task is kept when its end could not be. Raises ProblemError."""
    if problems := await services.health.writes():
        raise not_writable(problems)


def _accepted(response: Response, task: TaskRecord) -> TaskResponse:
    response.headers["Location"] = f"/tasks/{task.task_id}"
    return TaskResponse.of(task)
