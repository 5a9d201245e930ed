"""The Serve application over real HTTP: the demo's questions, tasks as Ray jobs, what health says."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import httpx
import pytest
import yaml
from pydantic import ValidationError

from ray_app.config import Settings
from ray_app.demo.questions import DEMO_QUESTIONS, UNANSWERABLE, DemoQuestion
from ray_app.demo.server import DemoSite
from ray_app.ingest.brands import make_brand
from ray_app.on_ray.pipeline import Pipeline, Steps
from ray_app.on_ray.serve_app import DEFAULTS, ServeArgs, build_app, deploy, undeploy
from ray_app.store.stores import open_stores

pytestmark = [pytest.mark.on_ray, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
JOB_S = 90  # a job's driver needs seconds to start on a busy machine


@pytest.fixture(scope="module")
def site() -> Iterator[DemoSite]:
    with DemoSite() as running:
        yield running


@pytest.fixture(scope="module")
def api(cluster: Settings, site: DemoSite) -> Iterator[httpx.Client]:
    """Both demo brands published under names of this module, and the application over them."""
    opened = open_stores(cluster)
    configs = [
        make_brand(f"{name}-served", {"start_urls": (url,), "allow_hosts": ("127.0.0.1",)}, cluster.crawl)
        for name, url in site.urls().items()
    ]
    done = Pipeline(cluster, opened).run(configs, Steps())
    assert [result.error for result in done] == ["", ""]
    opened.close()
    deploy(cluster)
    with httpx.Client(base_url=cluster.api_url, timeout=60) as client:
        yield client
    undeploy()


def ask(api: httpx.Client, question: DemoQuestion, **fields: Any) -> dict[str, Any]:
    request = {"question": question.text, "brand": f"{question.brand}-served", **fields}
    response = api.post("/v1/ask", json=request)
    assert response.status_code == 200, response.text
    return dict(response.json())


def wait_for(api: httpx.Client, task_id: str) -> dict[str, Any]:
    deadline = time.monotonic() + JOB_S
    while time.monotonic() < deadline:
        task = dict(api.get(f"/tasks/{task_id}").json())
        if task["state"] in ("done", "failed"):
            return task
        time.sleep(0.5)
    raise AssertionError(f"task {task_id} did not end: {task}")


@pytest.mark.parametrize("question", DEMO_QUESTIONS, ids=lambda q: q.text)
def test_a_question_is_answered_from_the_page_that_answers_it(api: httpx.Client, question: DemoQuestion) -> None:
    answer = ask(api, question)
    assert answer["mode"] == "extractive"
    links = [urlsplit(citation["url"]) for citation in answer["citations"]]
    assert question.expect_url_suffix in [f"{link.path}#{link.fragment}" for link in links]
    assert all(word in answer["answer"] for word in question.expect_words)
    assert [citation["n"] for citation in answer["citations"]] == list(range(1, len(links) + 1))


@pytest.mark.parametrize("question", UNANSWERABLE, ids=lambda q: q.text)
def test_what_the_site_does_not_say_is_not_answered(api: httpx.Client, question: DemoQuestion) -> None:
    answer = ask(api, question)
    assert answer["mode"] == "abstained"
    assert answer["citations"] == []
    assert answer["reason"]


def test_a_repeated_question_comes_from_the_cache(api: httpx.Client) -> None:
    first, second = (ask(api, DEMO_QUESTIONS[0], k=5) for _ in range(2))
    assert (first["cache"], second["cache"]) == (None, "exact")
    assert first["answer"] == second["answer"]
    assert first["answer_id"] != second["answer_id"]


def test_search_finds_the_error_code_and_explains_itself(api: httpx.Client) -> None:
    found = api.post("/v1/search", json={"query": "ERR 41", "brand": "tarnwald-served", "k": 5, "explain": True}).json()
    assert any("ERR 41" in hit["text"] for hit in found["hits"][:2])
    assert {"dense", "bm25", "fused", "rerank"} <= set(found["hits"][0]["scores"])


def test_health_names_the_reranker_that_is_live(api: httpx.Client) -> None:
    body = api.get("/health").json()
    assert body["details"]["reranker"] == {"name": "maxsim", "kind": "maxsim"}
    assert body["details"]["generator"] == "extractive"
    assert api.get("/livez").status_code == api.get("/readyz").status_code == 200


def test_metrics_count_the_answers(api: httpx.Client) -> None:
    ask(api, DEMO_QUESTIONS[1])
    text = api.get("/metrics").text
    assert 'rag_queries_total{from_cache="false",status="ok"}' in text
    assert 'backline_generation_chunks{brand="tarnwald-served"}' in text


def test_a_bad_request_is_a_problem_that_says_what_to_do(api: httpx.Client) -> None:
    response = api.post("/v1/ask", json={"question": "Is it?", "brand": "nobody"})
    assert response.status_code == 404
    assert response.headers["content-type"].startswith("application/problem+json")
    assert response.json()["type"] == "urn:backline:problem:unknown-brand"


def test_a_question_as_a_task(api: httpx.Client) -> None:
    request = {"query": DEMO_QUESTIONS[3].text, "brand": "tarnwald-served"}
    task = wait_for(api, api.post("/tasks/rag-query", json=request).json()["task_id"])
    assert task["state"] == "done"
    assert "word clock" in task["result"]["answer"]


def test_a_crawl_and_an_embedding_run_as_jobs_one_after_the_other(api: httpx.Client) -> None:
    crawl = api.post("/tasks/scrape", json={"brand": "tarnwald-served"})
    embed = api.post("/tasks/embed", json={"brand": "tarnwald-served"})
    assert (crawl.status_code, embed.status_code) == (202, 202)
    assert ask(api, DEMO_QUESTIONS[4], k=4)["citations"], "questions are answered meanwhile"
    done = [wait_for(api, response.json()["task_id"]) for response in (crawl, embed)]
    assert [task["state"] for task in done] == ["done", "done"], done
    (crawled,), (embedded,) = (task["result"]["brands"] for task in done)
    assert crawled["crawl"]["complete"]
    assert embedded["embed"]["embedded"] == 0


def test_serve_config_yaml_says_what_the_code_does_by_default() -> None:
    config = yaml.safe_load((ROOT / "serve_config.yaml").read_text("utf-8"))
    (application,) = config["applications"]
    assert application["import_path"] == "ray_app.on_ray.serve_app:build_app"
    assert ServeArgs(**application["args"]) == ServeArgs()
    assert {d.pop("name"): d for d in application["deployments"]} == DEFAULTS


def test_serve_builds_the_application_from_typed_arguments() -> None:
    from ray.serve._private.api import call_user_app_builder_with_args_if_necessary as build

    assert build(build_app, {"reranker": "maxsim"})
    with pytest.raises(ValidationError, match="rerankr"):
        build(build_app, {"rerankr": "maxsim"})
