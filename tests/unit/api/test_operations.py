from __future__ import annotations

import pytest

from ray_app.observe.health import HealthCheck


async def test_livez_asks_nobody(client, twins):
    twins.health = None
    assert (await client.get("/livez")).json() == {"status": "ok"}


async def test_readyz(client, twins):
    assert (await client.get("/readyz")).json() == {"status": "ready", "writes": True, "reasons": []}
    twins.health.reasons = ("The index is loading.",)
    response = await client.get("/readyz")
    assert response.status_code == 503
    assert response.json()["type"] == "urn:backline:problem:not-ready"
    assert response.json()["detail"] == "The index is loading."
    assert "retry-after" in response.headers


async def test_readyz_tells_of_writes_and_is_still_about_questions(client, twins):
    assert (await client.get("/readyz?for=writes")).status_code == 200
    twins.health.unwritable = ("The data directory cannot be written: No space left on device.",)
    response = await client.get("/readyz")
    assert response.status_code == 200
    assert response.json() == {"status": "ready", "writes": False, "reasons": list(twins.health.unwritable)}
    response = await client.get("/readyz?for=writes")
    assert (response.status_code, response.json()["type"]) == (503, "urn:backline:problem:not-writable")
    assert "No space left on device" in response.json()["detail"]
    assert "retry-after" in response.headers
    assert (await client.get("/readyz?for=fun")).status_code == 422


async def test_writes_may_be_possible_while_no_question_can_be_answered(client, twins):
    twins.health.reasons = ("The index is loading.",)
    assert (await client.get("/readyz?for=writes")).status_code == 200


@pytest.mark.parametrize(("state", "status"), [("ok", 200), ("degraded", 200), ("down", 503)])
async def test_health_is_as_bad_as_its_worst_check(client, twins, state, status):
    twins.health.checks = (HealthCheck("store", "ok", "", 1.0), HealthCheck("redis", state, "why", 2.0))
    response = await client.get("/health")
    assert response.status_code == status
    body = response.json()
    assert body["status"] == state
    assert body["checks"][1] == {"name": "redis", "state": state, "reason": "why", "latency_ms": 2.0}
    assert body["details"] == {"reranker": "maxsim"}


async def test_metrics_are_prometheus_text(client):
    await client.post("/v1/ask", json={"question": "How?"})
    response = await client.get("/metrics")
    assert response.headers["content-type"].startswith("text/plain; version=")
    assert 'rag_queries_total{from_cache="false",status="ok"} 1.0' in response.text
    assert 'backline_build_info{version="1.2.3"} 1.0' in response.text
