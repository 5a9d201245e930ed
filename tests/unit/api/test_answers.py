from __future__ import annotations

import json

import pytest

from ray_app.errors import GeneratorDown, NoGeneration, StoreUnavailable
from ray_app.records import Turn


def counted(twins, name, **labels):
    return twins.metrics.registry.get_sample_value(name, labels)


async def test_ask_gives_the_answer_with_its_citations(client, twins):
    body = {"question": "How do I reset it?", "brand": "acme", "k": 3, "history": [{"role": "user", "content": "Hi"}]}
    response = await client.post("/v1/ask", json=body)
    assert response.status_code == 200
    got = response.json()
    names = "answer_id answer mode citations confidence generation reason cache degraded timings_ms"
    assert list(got) == names.split()
    assert got["mode"] == "extractive"
    assert got["citations"][0]["url"] == "https://acme.test/reset#reset"
    assert got["cache"] is None
    (asked,) = twins.answers.asked
    assert (asked.text, asked.brand, asked.k, asked.history) == (body["question"], "acme", 3, (Turn("user", "Hi"),))
    assert counted(twins, "rag_queries_total", status="ok", from_cache="false") == 1
    assert counted(twins, "rag_stage_latency_seconds_count", stage="retrieve") == 1


async def test_search_gives_hits_with_scores_and_times_on_demand(client):
    response = await client.post("/v1/search", json={"query": "reset", "k": 1})
    assert response.status_code == 200
    assert response.json() == {
        "hits": [
            {
                "chunk_id": "c" * 32,
                "url": "https://acme.test/reset#reset",
                "title": "MC-707",
                "section": "Care > Reset",
                "text": "Hold [SHIFT] while switching on.",
                "score": 0.9,
                "scores": {"dense": 0.5, "fused": 0.9},
            }
        ],
        "degraded": ["chroma"],
        "timings_ms": None,
    }
    explained = await client.post("/v1/search", json={"query": "reset", "explain": True})
    assert explained.json()["timings_ms"] == {"retrieve": 2.0}


@pytest.mark.parametrize(("lang", "kept"), [("", ""), ("en", "en"), ("DE-at", "de")])
async def test_the_primary_tag_of_a_language_is_what_counts(client, twins, lang, kept):
    assert (await client.post("/v1/ask", json={"question": "How?", "lang": lang})).status_code == 200
    assert twins.answers.asked[0].lang == kept


async def test_brands(client):
    (brand,) = (await client.get("/v1/brands")).json()["brands"]
    assert brand["name"] == "acme"
    assert brand["urls"] == {"fetched": 3}


async def test_streaming_is_refused_in_words(client, twins):
    response = await client.post("/v1/ask", json={"question": "How?", "stream": True})
    assert response.status_code == 400
    assert response.json()["type"] == "urn:backline:problem:unsupported-value"
    assert "streaming is not available" in response.json()["detail"]
    assert twins.answers.asked == []


@pytest.mark.parametrize("text", ["", "   ", "?!", "🙂🙃", "\u200b\u200d", "x" * 101])
@pytest.mark.parametrize(
    ("path", "name"), [("/v1/ask", "question"), ("/v1/search", "query"), ("/tasks/rag-query", "query")]
)
async def test_useless_questions_are_refused(client, twins, path, name, text):
    response = await client.post(path, json={name: text})
    assert response.status_code == 422
    assert response.json()["type"] == "urn:backline:problem:bad-question"
    assert twins.answers.asked == []


@pytest.mark.parametrize(
    "text", ["重置", "إعادة الضبط", "how \u202e reset", "'; DROP TABLE urls; --", "MC-707", "नमस्ते"]
)
async def test_any_script_and_syntax_is_a_question(client, text):
    assert (await client.post("/v1/ask", json={"question": text})).status_code == 200


@pytest.mark.parametrize("odd", ["\\ud800", "\\u0000"])
@pytest.mark.parametrize("field", ["question", "brand", "product", "lang", "extra\\ud800"])
async def test_half_surrogates_and_nul_are_refused(client, field, odd):
    body = '{"question": "How?", "%s": "a%s"}' % (field, odd)  # noqa: UP031 -- braces
    response = await client.post("/v1/ask", content=body, headers={"Content-Type": "application/json"})
    assert response.status_code == 422
    assert response.json()["type"] == "urn:backline:problem:invalid-request"


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (NoGeneration(hint="Run `backline embed`."), 409, "no-generation"),
        (StoreUnavailable("cannot reach postgres at 10.0.0.7"), 503, "store-unavailable"),
        (GeneratorDown(), 503, "generator-down"),
    ],
)
async def test_errors_keep_their_kind(client, twins, error, status, kind):
    twins.answers.error = error
    response = await client.post("/v1/ask", json={"question": "How?"})
    assert response.status_code == status
    assert response.json()["type"] == f"urn:backline:problem:{kind}"
    assert ("retry-after" in response.headers) == (status == 503)
    assert "10.0.0.7" not in response.text
    assert counted(twins, "rag_queries_total", status="error", from_cache="false") == 1


async def test_unknown_brand(client, twins):
    response = await client.post("/v1/ask", json={"question": "How?", "brand": "nobody"})
    assert response.status_code == 404
    assert response.json()["type"] == "urn:backline:problem:unknown-brand"
    assert counted(twins, "rag_queries_total", status="rejected", from_cache="false") == 1


@pytest.mark.parametrize(("path", "name"), [("/v1/ask", "question"), ("/v1/search", "query")])
async def test_a_late_answer_is_given_up(client, twins, path, name):
    twins.answers.hang = True
    response = await client.post(path, json={name: "How?"})
    assert response.status_code == 503
    assert response.json()["type"] == "urn:backline:problem:answer-timeout"
    assert int(response.headers["Retry-After"]) > 0


async def test_not_a_number_leaves_as_valid_json(client, twins):
    twins.answers.search = _search_nan
    response = await client.post("/v1/search", json={"query": "How?"})
    assert response.status_code == 200
    assert json.loads(response.text, parse_constant=pytest.fail)["hits"] == []


async def _search_nan(_question):
    return [], [], {"retrieve": float("nan")}
