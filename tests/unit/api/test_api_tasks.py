from __future__ import annotations

import pytest


@pytest.mark.parametrize(
    ("path", "body", "kind", "payload"),
    [
        ("/tasks/scrape", {"brand": "acme"}, "scrape", {"brand": "acme", "urls": [], "full": False}),
        (
            "/tasks/scrape",
            {"brand": "acme", "urls": ["https://acme.test/"], "full": True},
            "scrape",
            {"brand": "acme", "urls": ["https://acme.test/"], "full": True},
        ),
        ("/tasks/embed", {"brand": "acme"}, "embed", {"brand": "acme"}),
        (
            "/tasks/embed",
            {"brand": "acme", "document": {"text": "Words."}},
            "embed",
            {"brand": "acme", "document": {"url": "", "title": "", "lang": "", "text": "Words."}},
        ),
        (
            "/tasks/embed",
            {"brand": "acme", "document": {"url": "https://acme.test/x", "title": "X", "html": "<p>", "lang": "EN-us"}},
            "embed",
            {"brand": "acme", "document": {"url": "https://acme.test/x", "title": "X", "lang": "en", "html": "<p>"}},
        ),
        ("/tasks/rag-query", {"query": "How?"}, "rag-query", {"question": "How?", "brand": ""}),
        ("/tasks/rag-query", {"question": "How?", "brand": "acme"}, "rag-query", {"question": "How?", "brand": "acme"}),
    ],
)
async def test_a_task_is_accepted_and_found_again(client, path, body, kind, payload):
    response = await client.post(path, json=body)
    assert response.status_code == 202
    task = response.json()
    assert (task["kind"], task["payload"], task["state"]) == (kind, payload, "queued")
    again = await client.get(response.headers["Location"])
    assert again.status_code == 200
    assert again.json() == task


@pytest.mark.parametrize("task_id", ["0" * 32, "nope", "%00", "A" * 32, "..%2f..", "%ff"])
async def test_unknown_tasks(client, task_id):
    response = await client.get(f"/tasks/{task_id}")
    assert response.status_code == 404


@pytest.mark.parametrize(
    ("path", "body", "status"),
    [
        ("/tasks/scrape", {}, 422),
        ("/tasks/scrape", {"brand": ""}, 422),
        ("/tasks/scrape", {"brand": "nobody"}, 404),
        ("/tasks/scrape", {"brand": "acme", "urls": ["x\0"]}, 422),
        ("/tasks/scrape", {"brand": "acme", "urls": ["x"] * 1_001}, 413),
        ("/tasks/embed", {"brand": "acme", "full": True}, 422),
        ("/tasks/embed", {"brand": "acme", "document": {}}, 422),
        ("/tasks/embed", {"brand": "acme", "document": {"text": ""}}, 422),
        ("/tasks/embed", {"brand": "acme", "document": {"text": "x", "html": "<p>"}}, 422),
        ("/tasks/embed", {"brand": "acme", "document": {"text": "x\0"}}, 422),
        ("/tasks/embed", {"brand": "acme", "document": {"text": "x", "name": "x"}}, 422),
        ("/tasks/embed", {"brand": "acme", "document": {"markdown": "x" * 3_000}}, 413),
        ("/tasks/rag-query", {"query": "How?", "question": "How?"}, 422),
        ("/tasks/rag-query", {}, 422),
    ],
)
async def test_bad_tasks_are_refused(client, twins, path, body, status):
    response = await client.post(path, json=body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert twins.tasks.kept == {}


@pytest.mark.parametrize(
    ("path", "body"),
    [
        ("/tasks/scrape", {"brand": "acme"}),
        ("/tasks/embed", {"brand": "acme"}),
        ("/tasks/embed", {"brand": "acme", "document": {"text": "Words."}}),
        ("/tasks/rag-query", {"query": "How?"}),
    ],
)
async def test_nothing_is_kept_of_a_task_when_nothing_can_be_stored(client, twins, path, body):
    twins.health.unwritable = ("The data directory cannot be written: Read-only file system.",)
    response = await client.post(path, json=body)
    assert response.status_code == 503
    assert response.json()["type"] == "urn:backline:problem:not-writable"
    assert "Read-only file system" in response.json()["detail"]
    assert int(response.headers["Retry-After"]) > 0
    assert twins.tasks.kept == {}
