"""What became of a brand's site: GET /v1/brands/{brand}/coverage, GET /v1/brands/{brand}/why."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Path, Query

from ray_app.api import examples
from ray_app.api.openapi import responses
from ray_app.api.ports import Services
from ray_app.api.problems import ProblemError
from ray_app.api.schemas import MAX_URL_CHARS, CoverageResponse, Text, WhyResponse

_Brand = Annotated[Text, Path(min_length=1, max_length=64, description="name of a brand, as in GET /v1/brands")]
_Url = Annotated[Text, Query(max_length=MAX_URL_CHARS, description="the URL to explain, whole")]


def router(services: Services) -> APIRouter:
    """The routes over ``services``."""
    routes = APIRouter(prefix="/v1/brands/{brand}", tags=["crawls"])

    @routes.get("/coverage", responses=responses(200, examples.COVERAGE, 404, 422, 503))
    async def coverage(brand: _Brand) -> CoverageResponse:
        """What became of every URL known of a brand: discovered, fetched, indexed, skipped and why."""
        return CoverageResponse.model_validate(await services.brands.coverage(brand))

    @routes.get("/why", responses=responses(200, examples.WHY, 404, 422, 503))
    async def why(brand: _Brand, url: _Url) -> WhyResponse:
        """The story of one URL: how it was found, what happened to it, and why."""
        found = await services.brands.why(brand, url)
        if found is None:
            raise ProblemError(404, "unknown-url", "No crawl of this brand has ever seen the URL.")
        return WhyResponse.model_validate(found)

    return routes
