"""The Serve application over real HTTP: the demo's questions, tasks as Ray jobs, what health says."""

from __future__ import annotations

import shutil
import time
from collections.abc import Iterator
from dataclasses import replace
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
from ray_app.index.layout import generation_name, generation_path
from ray_app.index.manifest import MANIFEST, read_manifest, write_manifest
from ray_app.index.models import BUNDLED, find_model
from ray_app.ingest.brands import make_brand
from ray_app.on_ray.pipeline import Pipeline, Steps
from ray_app.on_ray.serve_app import DEFAULTS, ServeArgs, build_app, deploy, undeploy
from ray_app.records import ModelId
from ray_app.store.stores import open_stores

pytestmark = [pytest.mark.on_ray, pytest.mark.timeout(300)]

ROOT = Path(__file__).parents[2]
SWITCH_S = 60  # a model is loaded meanwhile, on a busy machine
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


def republish(cluster: Settings, brand: str, **changes: Any) -> str:
    """The live generation once more under a new name, as a publisher leaves it; returns the name."""
    opened = open_stores(cluster)
    live = opened.catalog.live(brand)
    assert live is not None
    source = generation_path(opened.index_root, brand, live)
    name = generation_name(time.time())
    target = generation_path(opened.index_root, brand, name)
    shutil.copytree(source, target, ignore=shutil.ignore_patterns(MANIFEST))
    manifest = replace(read_manifest(source), generation=name, parent=live, **changes)
    write_manifest(target, manifest)
    opened.catalog.add_generation(brand, name, manifest.summary())
    opened.catalog.publish(brand, name, time.time())
    opened.close()
    return name


def ask_until(api: httpx.Client, generation: str) -> dict[str, Any]:
    """Ask without a pause until the answer is from ``generation``; none of the answers may lack anything."""
    deadline = time.monotonic() + SWITCH_S
    while time.monotonic() < deadline:
        answer = ask(api, DEMO_QUESTIONS[0], k=4)
        assert (answer["mode"], answer["degraded"]) == ("extractive", [])
        if answer["generation"].endswith(generation):
            return answer
    raise AssertionError(f"{generation} is not served: {answer['generation']}")


def test_a_new_generation_is_picked_up_under_a_stream_of_questions(api: httpx.Client, cluster: Settings) -> None:
    before = ask(api, DEMO_QUESTIONS[0], k=4)
    name = republish(cluster, f"{DEMO_QUESTIONS[0].brand}-served")
    assert name not in before["generation"]
    assert ask_until(api, name)["answer"] == before["answer"]


def test_another_model_is_switched_to_under_a_stream_of_questions(
    api: httpx.Client, cluster: Settings, tmp_path: Path
) -> None:
    shutil.copytree(find_model(BUNDLED).folder, tmp_path / "another-model")
    files = find_model(str(tmp_path / "another-model"))
    model = ModelId(files.name, files.revision, files.dim)
    before = ask(api, DEMO_QUESTIONS[0], k=4)
    brand = f"{DEMO_QUESTIONS[0].brand}-served"
    name = republish(cluster, brand, model=model, model_source=str(files.folder))
    assert ask_until(api, name)["answer"] == before["answer"]


def test_weights_that_changed_are_not_mixed_and_the_old_generation_answers(
    api: httpx.Client, cluster: Settings
) -> None:
    brand = f"{DEMO_QUESTIONS[0].brand}-served"
    opened = open_stores(cluster)
    good = opened.catalog.live(brand)
    files = find_model(BUNDLED)
    refused = republish(cluster, brand, model=ModelId(files.name, "other", files.dim), model_source=BUNDLED)
    deadline = time.monotonic() + SWITCH_S
    while refused not in (told := health(api, "index")["reason"]) and time.monotonic() < deadline:
        time.sleep(0.2)
    assert "cannot be compared" in told
    answer = ask(api, DEMO_QUESTIONS[0], k=3)
    assert (answer["generation"], answer["degraded"]) == (f"{brand}:{good}", [])
    opened.catalog.publish(brand, str(good), time.time())  # the pointer goes back, the complaint with it
    while health(api, "index")["reason"] and time.monotonic() < deadline:
        time.sleep(0.2)
    assert health(api, "index")["state"] == "ok"
    opened.close()


def health(api: httpx.Client, check: str) -> dict[str, Any]:
    checks = api.get("/health").json()["checks"]
    return next(dict(one) for one in checks if one["name"] == check)


def test_a_document_that_is_handed_over_is_found(api: httpx.Client) -> None:
    document = {"title": "Notes on the QX-17", "markdown": "# Care\n\nThe QX-17 must never be polished with vinegar."}
    request = {"brand": "noted-served", "document": document}
    posted = api.post("/tasks/embed", json=request)
    assert posted.status_code == 202, posted.text
    address = posted.json()["payload"]["document"]["url"]
    assert address == "document://noted-served/Notes%20on%20the%20QX-17"
    task = wait_for(api, posted.json()["task_id"])
    assert (task["state"], task["result"]["chunks"], task["result"]["embedded"]) == ("done", 1, 1)
    hit = first_hit(api, "polish QX-17", "noted-served")
    assert (hit["url"], hit["title"]) == (f"{address}#care", "Notes on the QX-17")
    assert "vinegar" in hit["text"]
    told = api.get("/v1/brands/noted-served/why", params={"url": address}).json()
    assert told["reason"] == "handed"
    assert "It is in the live index." in told["story"]
    again = wait_for(api, api.post("/tasks/embed", json=request).json()["task_id"])
    assert (again["result"]["generation"], again["result"]["published"]) == (task["result"]["generation"], False)


def first_hit(api: httpx.Client, query: str, brand: str) -> dict[str, Any]:
    """Once the replica has picked the generation up."""
    deadline = time.monotonic() + JOB_S
    while time.monotonic() < deadline:
        found = api.post("/v1/search", json={"query": query, "brand": brand})
        if found.status_code == 200 and found.json()["hits"]:
            return dict(found.json()["hits"][0])
        time.sleep(0.2)
    raise AssertionError(f"{query} is not found in {brand}")


def test_what_can_be_stored_is_told(api: httpx.Client) -> None:
    assert api.get("/readyz").json() == {"status": "ready", "writes": True, "reasons": []}
    assert api.get("/readyz", params={"for": "writes"}).status_code == 200
    assert {"name": "writes", "state": "ok"}.items() <= next(
        check for check in api.get("/health").json()["checks"] if check["name"] == "writes"
    ).items()


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
