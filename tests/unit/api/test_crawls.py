from __future__ import annotations

import pytest


async def test_coverage(client):
    body = (await client.get("/v1/brands/acme/coverage")).json()
    assert body["brand"] == "acme"
    assert body["reasons"]["skipped"]["robots"] == 83


async def test_why(client):
    response = await client.get("/v1/brands/acme/why", params={"url": "https://x.example/internal/#a"})
    assert response.json()["url"] == "https://x.example/internal/"
    assert response.json()["story"]


@pytest.mark.parametrize(
    ("path", "params", "status", "kind"),
    [
        ("/v1/brands/nobody/coverage", {}, 404, "unknown-brand"),
        ("/v1/brands/nobody/why", {"url": "https://x.example/"}, 404, "unknown-brand"),
        ("/v1/brands/acme/why", {"url": "https://x.example/"}, 404, "unknown-url"),
        ("/v1/brands/acme/why", {"url": "ftp://x.example/"}, 422, "bad-url"),
        ("/v1/brands/acme/why", {"url": "x" * 3_000}, 422, "invalid-request"),
        ("/v1/brands/acme/why", {}, 422, "invalid-request"),
        ("/v1/brands/acme/why", {"url": "https://x.example/\0"}, 422, "invalid-request"),
        ("/v1/brands/%00/why", {"url": "https://x.example/"}, 422, "invalid-request"),
        ("/v1/brands/a%00/coverage", {}, 422, "invalid-request"),
        (f"/v1/brands/{'x' * 65}/coverage", {}, 422, "invalid-request"),
    ],
)
async def test_what_cannot_be_told_is_a_problem(client, path, params, status, kind):
    response = await client.get(path, params=params)
    assert (response.status_code, response.json()["type"]) == (status, f"urn:backline:problem:{kind}")
