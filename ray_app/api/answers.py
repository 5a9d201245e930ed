"""Questions: POST /v1/ask, POST /v1/search, GET /v1/brands."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Annotated

from fastapi import APIRouter

from ray_app.api import examples
from ray_app.api.openapi import body, responses
from ray_app.api.ports import AnswerService, MetricsService, Services
from ray_app.api.problems import ProblemError, unavailable
from ray_app.api.schemas import AskRequest, AskResponse, BrandOut, BrandsResponse, SearchRequest, SearchResponse
from ray_app.errors import InputError
from ray_app.records import Answer, AnswerMode, Question

_Ask = Annotated[AskRequest, body(examples.ASK)]
_Search = Annotated[SearchRequest, body(examples.SEARCH)]


def router(services: Services) -> APIRouter:
    """The routes over ``services``."""
    routes = APIRouter(tags=["questions"])
    limits = services.limits

    @routes.post("/v1/ask", responses=responses(200, examples.ANSWER, 400, 404, 409, 413, 415, 422, 503))
    async def ask(request: _Ask) -> AskResponse:
        """Answer a question from the indexed pages, with citations, or say that they hold no answer."""
        if request.stream:
            raise ProblemError(
                400, "unsupported-value", "stream: streaming is not available; leave it out or send false."
            )
        question = request.to_question(limits.max_question_chars)
        return AskResponse.of(await _counted(services.answers, services.metrics, question, limits.answer_timeout_s))

    @routes.post("/v1/search", responses=responses(200, examples.HITS, 400, 404, 409, 413, 415, 422, 503))
    async def search(request: _Search) -> SearchResponse:
        """Find the passages that fit a query best."""
        question = request.to_question(limits.max_question_chars)
        async with _in_time(limits.answer_timeout_s):
            hits, degraded, timings_ms = await services.answers.search(question)
        return SearchResponse.of(hits[: request.k], degraded, timings_ms if request.explain else None)

    @routes.get("/v1/brands", responses=responses(200, examples.BRANDS, 503))
    async def brands() -> BrandsResponse:
        """The configured brands and what is indexed of each."""
        return BrandsResponse(brands=[BrandOut.of(brand) for brand in await services.brands.brands()])

    return routes


async def _counted(answers: AnswerService, metrics: MetricsService, question: Question, timeout_s: float) -> Answer:
    started = time.perf_counter()
    status = "error"
    try:
        async with _in_time(timeout_s):
            answer = await answers.answer(question)
        status = "abstained" if answer.mode == AnswerMode.ABSTAINED else "ok"
    except InputError:
        status = "rejected"
        raise
    except ProblemError:
        status = "timeout"
        raise
    finally:
        if status not in ("ok", "abstained"):
            metrics.not_answered(status)
    seconds = time.perf_counter() - started
    metrics.answered(status, from_cache=answer.cache is not None, seconds=seconds, stages_ms=answer.timings_ms)
    return answer


@asynccontextmanager
async def _in_time(timeout_s: float) -> AsyncIterator[None]:
    """Raises a 503 problem, and cancels the work inside, when it takes longer."""
    try:
        async with asyncio.timeout(timeout_s):
            yield
    except TimeoutError:
        raise unavailable("answer-timeout", f"No answer within {timeout_s:g} s. Try again shortly.") from None
