from __future__ import annotations

import re
from pathlib import Path

import pytest

from ray_app import errors
from ray_app.api import schemas
from ray_app.api.problems import TITLES

PATHS = {
    "/v1/ask": "post",
    "/v1/search": "post",
    "/v1/brands": "get",
    "/v1/brands/{brand}/coverage": "get",
    "/v1/brands/{brand}/why": "get",
    "/tasks/scrape": "post",
    "/tasks/embed": "post",
    "/tasks/rag-query": "post",
    "/tasks/{task_id}": "get",
    "/livez": "get",
    "/readyz": "get",
    "/health": "get",
    "/metrics": "get",
}


async def test_every_operation_is_described_with_an_example(client):
    paths = (await client.get("/openapi.json")).json()["paths"]
    assert {path: next(iter(methods)) for path, methods in paths.items()} == PATHS
    for path, methods in paths.items():
        for operation in methods.values():
            assert operation["description"]
            success = next(r for code, r in operation["responses"].items() if code.startswith("2"))
            assert all(media["example"] for media in success["content"].values())
            if "requestBody" in operation:
                assert operation["requestBody"]["content"]["application/json"]["examples"]["example"]["value"]
            for code, response in operation["responses"].items():
                if not code.startswith("2") and path != "/health":
                    assert list(response["content"]) == ["application/problem+json"]


@pytest.mark.parametrize(
    ("path", "request_schema", "response_schema"),
    [
        ("/v1/ask", schemas.AskRequest, schemas.AskResponse),
        ("/v1/search", schemas.SearchRequest, schemas.SearchResponse),
        ("/v1/brands", None, schemas.BrandsResponse),
        ("/v1/brands/{brand}/coverage", None, schemas.CoverageResponse),
        ("/v1/brands/{brand}/why", None, schemas.WhyResponse),
        ("/tasks/scrape", schemas.ScrapeRequest, schemas.TaskResponse),
        ("/tasks/embed", schemas.EmbedRequest, schemas.TaskResponse),
        ("/tasks/rag-query", schemas.RagQueryRequest, schemas.TaskResponse),
        ("/tasks/{task_id}", None, schemas.TaskResponse),
        ("/livez", None, schemas.AliveResponse),
        ("/readyz", None, schemas.ReadyResponse),
        ("/health", None, schemas.HealthResponse),
    ],
)
async def test_examples_fit_their_schemas(client, path, request_schema, response_schema):
    operation = (await client.get("/openapi.json")).json()["paths"][path][PATHS[path]]
    success = next(r for code, r in operation["responses"].items() if code.startswith("2"))
    assert response_schema.model_validate(success["content"]["application/json"]["example"], extra="forbid")
    if request_schema:
        examples = operation["requestBody"]["content"]["application/json"]["examples"]
        assert request_schema.model_validate(examples["example"]["value"])


def test_the_documentation_names_what_there_is():
    text = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
    named = set(re.findall(r"\b(GET|POST) (/[\w/{}.-]+)", text)) - {("GET", "/openapi.json")}
    assert named == {(method.upper(), path) for path, method in PATHS.items()}


def test_the_documented_problem_kinds_exist():
    text = (Path(__file__).parents[3] / "docs" / "api.md").read_text(encoding="utf-8")
    rows = [line.split("|")[2] for line in text.splitlines() if re.match(r"\| [45]\d\d \|", line)]
    kinds = {kind for row in rows for kind in re.findall(r"`([\w-]+)`", row)}
    assert kinds
    assert kinds <= set(TITLES) | {e.kind for e in vars(errors).values() if hasattr(e, "kind")}
