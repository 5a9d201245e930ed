"""For those who run it: GET /livez, /readyz, /health, /metrics."""

from __future__ import annotations

import asyncio
from typing import Annotated, Literal

from fastapi import APIRouter, Query, Response

from ray_app.api import examples
from ray_app.api.openapi import responses
from ray_app.api.ports import Services
from ray_app.api.problems import not_writable, unavailable
from ray_app.api.schemas import AliveResponse, HealthResponse, ReadyResponse
from ray_app.observe.metrics import CONTENT_TYPE

_Wanted = Annotated[Literal["questions", "writes"], Query(alias="for", description="ready for what")]


def router(services: Services) -> APIRouter:
    """The routes over ``services``."""
    routes = APIRouter(tags=["operations"])

    @routes.get("/livez", responses=responses(200, examples.ALIVE))
    async def livez() -> AliveResponse:
        """Whether the process answers at all; looks at nothing else."""
        return AliveResponse()

    @routes.get("/readyz", responses=responses(200, examples.READY, 422, 503))
    async def readyz(wanted: _Wanted = "questions") -> ReadyResponse:
        """Whether questions can be answered now; with `for=writes`, whether anything can be stored."""
        ready, reasons = await services.health.ready()
        if not ready and wanted == "questions":
            raise unavailable("not-ready", " ".join(reasons) or "Not ready.")
        problems = await services.health.writes()
        if problems and wanted == "writes":
            raise not_writable(problems)
        return ReadyResponse(writes=not problems, reasons=list(problems))

    @routes.get("/health", responses=_HEALTH)
    async def health(response: Response) -> HealthResponse:
        """Every check with its state, reason and latency. 503 with the same body when a part is down."""
        report = await services.health.health()
        response.status_code = 503 if report.state == "down" else 200
        return HealthResponse.of(report)

    @routes.get("/metrics", response_class=Response, responses=_METRICS)
    async def metrics() -> Response:
        """Prometheus's text format."""
        return Response(await asyncio.to_thread(services.metrics.render), media_type=CONTENT_TYPE)

    return routes


_HEALTH = responses(200, examples.HEALTH) | {503: {"description": "A part is down.", "model": HealthResponse}}
_METRICS = responses(200, examples.METRICS, media_type="text/plain")
