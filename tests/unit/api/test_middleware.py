from __future__ import annotations

import re

import pytest
import structlog
from structlog.testing import capture_logs

from ray_app.api.middleware import BodyLimit, RequestContext

ASK = {"question": "How?"}


@pytest.mark.parametrize("given", ["abc-123", "01J:x.y_z", "a" * 128])
async def test_a_good_request_id_is_kept(client, given):
    assert (await client.get("/livez", headers={"X-Request-Id": given})).headers["x-request-id"] == given


@pytest.mark.parametrize("given", ["", "a" * 129, "a b", "é", "<x>", "a\tb"])
async def test_a_bad_request_id_is_replaced(client, given):
    headers = {b"X-Request-Id": given.encode()}
    got = (await client.get("/livez", headers=headers)).headers["x-request-id"]
    assert re.fullmatch(r"[0-9a-f]{32}", got)


async def test_the_request_id_is_bound_while_the_request_lasts(client, twins):
    seen = []
    twins.health.ready = _ready(seen)
    await client.get("/readyz", headers={"X-Request-Id": "r-7"})
    assert seen == [{"request_id": "r-7"}]
    assert structlog.contextvars.get_contextvars() == {}


def _ready(seen):
    async def ready():
        seen.append(dict(structlog.contextvars.get_contextvars()))
        return True, ()

    return ready


async def test_requests_are_counted_by_template(client, twins):
    await client.get("/tasks/" + "0" * 32)
    await client.get("/made/up/path")
    await client.request("BREW", "/livez")
    requests = {
        (s.labels["route"], s.labels["method"], s.labels["status_class"]): s.value
        for family in twins.metrics.registry.collect()
        for s in family.samples
        if s.name == "http_requests_total"
    }
    assert requests == {
        ("/tasks/{task_id}", "GET", "4xx"): 1,
        ("unmatched", "GET", "4xx"): 1,
        ("/livez", "other", "4xx"): 1,
    }


async def test_requests_are_logged_without_their_content(client):
    with capture_logs() as logs:
        await client.post("/v1/ask", json={"question": "my private question"})
    (event,) = [e for e in logs if e["event"] == "http_request"]
    assert (event["route"], event["status"], event["log_level"]) == ("/v1/ask", 200, "info")
    assert "private" not in str(logs)


async def test_an_announced_body_over_the_limit_is_refused_unread(client, twins):
    response = await client.post("/v1/ask", json={"question": "x" * 3_000})
    assert response.status_code == 413
    assert response.json()["type"] == "urn:backline:problem:body-too-large"
    assert response.headers["x-request-id"]


async def test_a_body_that_does_not_say_its_length_is_counted(client):
    sent = 0

    async def endless():
        nonlocal sent
        while True:
            sent += 1
            yield b"x" * 512

    response = await client.post("/v1/ask", content=endless(), headers={"Content-Type": "application/json"})
    assert response.status_code == 413
    assert sent == 5  # 2,048 bytes are allowed


@pytest.mark.parametrize("announced", ["9" * 5_000, "4096"])
async def test_lying_lengths(client, announced):
    response = await client.post("/v1/ask", content=b"{}", headers={"Content-Length": announced})
    assert response.status_code == 413


@pytest.mark.parametrize("announced", ["-1", "abc", "0" * 5_000, "٣"])
async def test_odd_lengths_do_not_crash(client, announced):
    headers = {b"Content-Length": announced.encode(), b"Content-Type": b"application/json"}
    response = await client.post("/v1/ask", content=b'{"question": "How?"}', headers=headers)
    assert response.status_code == 200


async def test_a_crash_after_the_response_began_is_raised():
    async def half(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})
        raise RuntimeError("later")

    sent = []

    async def send(message):
        sent.append(message)

    class Nothing:
        def http_request(self, **_labels):
            pass

    scope = {"type": "http", "method": "GET", "path": "/", "headers": []}
    with pytest.raises(RuntimeError):
        await RequestContext(half, Nothing())(scope, None, send)
    assert [m["type"] for m in sent] == ["http.response.start"]


async def test_other_scopes_pass_untouched():
    seen = []

    async def inner(scope, receive, send):
        seen.append(scope)

    scope = {"type": "lifespan"}
    await RequestContext(BodyLimit(inner, 1), None)(scope, None, None)
    assert seen == [{"type": "lifespan"}]
