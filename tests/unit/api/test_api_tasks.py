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
        ("/tasks/rag-query", {"query": "How?", "question": "How?"}, 422),
        ("/tasks/rag-query", {}, 422),
    ],
)
async def test_bad_tasks_are_refused(client, twins, path, body, status):
    response = await client.post(path, json=body)
    assert response.status_code == status
    assert response.headers["content-type"] == "application/problem+json"
    assert twins.tasks.kept == {}
