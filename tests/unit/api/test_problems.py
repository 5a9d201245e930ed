from __future__ import annotations

import pytest
from structlog.testing import capture_logs

from ray_app import errors
from ray_app.api.problems import status_of

JSON = {"Content-Type": "application/json"}


def check(response, status, kind):
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == "application/problem+json"
    body = response.json()
    assert body["type"] == f"urn:backline:problem:{kind}"
    assert body["status"] == status
    assert body["title"].endswith(".")
    assert body["request_id"] == response.headers["x-request-id"]
    return body


async def test_unknown_path(client):
    check(await client.get("/v2/nothing"), 404, "not-found")
    check(await client.post("/v1/ask/", json={"question": "How?"}), 404, "not-found")


async def test_wrong_method_names_the_right_one(client):
    response = await client.get("/v1/ask")
    check(response, 405, "method-not-allowed")
    assert response.headers["allow"] == "POST"


@pytest.mark.parametrize("body", [b"{", b"{'question': 1}", b"nope", b'{"question": "how"} x'])
async def test_broken_json(client, body):
    check(await client.post("/v1/ask", content=body, headers=JSON), 400, "bad-json")


@pytest.mark.parametrize("body", [b'{"question": "\xff"}', b"[" * 2_000])
async def test_unreadable_body(client, body):
    check(await client.post("/v1/ask", content=body, headers=JSON), 400, "bad-request")


@pytest.mark.parametrize("media", ["text/plain", "application/x-www-form-urlencoded", ""])
async def test_other_media_types(client, media):
    headers = {"Content-Type": media} if media else {}
    response = await client.post("/v1/ask", content=b'{"question": "how"}', headers=headers)
    assert "application/json" in check(response, 415, "unsupported-media-type")["detail"]


async def test_wrong_fields_are_named_with_advice(client):
    body = check(await client.post("/v1/ask", json={"k": 99, "brnd": "x"}), 422, "invalid-request")
    assert {e["field"]: e["message"] for e in body["errors"]} == {
        "question": "this field is required",
        "k": "Input should be less than or equal to 20",
        "brnd": "this field is not known; leave it out",
    }
    assert "question: this field is required" in body["detail"]


async def test_missing_and_foreign_bodies(client):
    assert check(await client.post("/v1/ask"), 422, "invalid-request")["errors"][0]["field"] == "body"
    check(await client.post("/v1/ask", json=[1, 2]), 422, "invalid-request")
    check(await client.post("/v1/ask", json=None, headers=JSON), 422, "invalid-request")


async def test_problems_stay_small(client):
    many = {f"f{i}" + "x" * 20: 1 for i in range(60)}
    body = check(await client.post("/v1/ask", json=many), 422, "invalid-request")
    assert len(body["errors"]) == 20
    assert len(body["detail"]) < 1_100


async def test_a_crash_shows_only_the_request_id(client, twins):
    twins.answers.error = KeyError("secret internals")
    with capture_logs() as logs:
        response = await client.post("/v1/ask", json={"question": "How?"}, headers={"X-Request-Id": "req-1"})
    body = check(response, 500, "internal")
    assert body["request_id"] == "req-1"
    assert "secret" not in response.text
    (crash,) = [e for e in logs if e["event"] == "request_crashed"]
    assert crash["route"] == "/v1/ask"
    assert crash["log_level"] == "error"


async def test_our_own_failures_keep_their_kind_but_not_their_text(client, twins):
    twins.answers.error = errors.ChecksumMismatch("/srv/data/index/acme/g1/vectors.npy")
    with capture_logs() as logs:
        response = await client.post("/v1/ask", json={"question": "How?"})
    check(response, 500, "checksum-mismatch")
    assert "/srv" not in response.text
    assert logs[0]["event"] == "request_failed"


def test_every_error_has_a_status():
    found = {cls.__name__: status_of(cls()) for cls in vars(errors).values() if _is_error(cls)}
    assert found["BadUrl"] == found["BadQuestion"] == found["InputError"] == 422
    assert found["UnknownBrand"] == 404
    assert found["NoGeneration"] == found["LeaseHeld"] == 409
    assert {name for name, status in found.items() if status == 503} == {
        cls.__name__ for cls in vars(errors).values() if _is_error(cls) and cls.retryable
    }
    assert set(found.values()) <= {404, 409, 422, 500, 503}


def _is_error(value):
    return isinstance(value, type) and issubclass(value, errors.BacklineError)
