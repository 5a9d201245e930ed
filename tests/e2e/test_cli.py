"""The program as a person uses it: separate processes, nothing running before or after."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest

from ray_app.demo.server import DemoSite

pytestmark = [pytest.mark.e2e, pytest.mark.timeout(300)]

BACKLINE = str(Path(sys.executable).with_name("backline"))


@pytest.fixture(scope="module")
def site() -> Iterator[DemoSite]:
    with DemoSite() as running:
        yield running


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("home")


def environment(folder: Path) -> dict[str, str]:
    kept = {name: value for name, value in os.environ.items() if not name.startswith(("BACKLINE_", "RAY_"))}
    return kept | {"BACKLINE_DATA_DIR": str(folder / "data"), "BACKLINE_RETRIEVAL__RERANKER": "maxsim"}


def backline(folder: Path, *args: str, code: int = 0) -> str:
    """Standard output of a command that ends with ``code``."""
    done = subprocess.run(
        [BACKLINE, *args], cwd=folder, env=environment(folder), capture_output=True, text=True, check=False
    )
    assert done.returncode == code, f"{args}: {done.returncode}\n{done.stdout}\n{done.stderr}"
    return done.stdout if code == 0 else done.stderr


def ingest_arguments(site: DemoSite, brand: str, rate: str = "0") -> list[str]:
    url = site.urls()["pellandine"]
    return ["ingest", "--brand", brand, "--url", url, "--allow-host", "127.0.0.1", "--rate", rate]


def outcome(folder: Path, brand: str) -> dict[str, Any]:
    rows = [json.loads(line) for line in backline(folder, "urls", "--brand", brand, "--json").splitlines()]
    return {row["url"]: (row["state"], row["reason"], row["content_hash"]) for row in rows}


def test_init_writes_what_it_says_and_leaves_what_is_there(folder: Path) -> None:
    assert "wrote brands.yaml" in backline(folder, "init")
    assert "left as it is" in backline(folder, "init")
    assert (folder / "backline.toml").exists()


def test_ingest_then_ask_without_anything_running(folder: Path, site: DemoSite) -> None:
    (brand,) = json.loads(backline(folder, *ingest_arguments(site, "pellandine"), "--json"))["brands"]
    assert brand["error"] is None
    assert brand["embed"]["published"]
    answer = json.loads(
        backline(
            folder, "ask", "Which buttons do I hold to factory reset the PL-61?", "--brand", "pellandine", "--json"
        )
    )
    assert "LAYER" in answer["answer"]
    assert answer["citations"][0]["url"].endswith("/support/factory-reset.html#reset-pl-61")
    shown = backline(folder, "ask", "Which buttons do I hold to factory reset the PL-61?", "--brand", "pellandine")
    assert "[1]" in shown
    assert "factory-reset.html#reset-pl-61" in shown


def test_a_brand_once_crawled_needs_only_its_name(folder: Path, site: DemoSite) -> None:
    first = ["crawl", *ingest_arguments(site, "returning")[1:], "--max-pages", "2", "--json"]
    (brand,) = json.loads(backline(folder, *first))["brands"]
    assert (brand["error"], brand["crawl"]["complete"]) == (None, False)
    (brand,) = json.loads(backline(folder, "crawl", "--brand", "returning", "--rate", "0", "--json"))["brands"]
    assert (brand["error"], brand["crawl"]["complete"]) == (None, True), "the limit was that of the first run"
    assert set(outcome(folder, "returning")) == set(outcome(folder, "pellandine"))


def test_killed_at_any_moment_the_same_command_completes_it(folder: Path, site: DemoSite) -> None:
    command = [BACKLINE, *ingest_arguments(site, "killed", rate="8")]
    process = subprocess.Popen(command, cwd=folder, env=environment(folder), stderr=subprocess.PIPE, text=True)
    assert process.stderr
    children: list[psutil.Process] = []
    for line in process.stderr:
        if '"crawl_progress"' in line and json.loads(line)["handled"] >= 3:
            children = psutil.Process(process.pid).children(recursive=True)
            process.send_signal(signal.SIGKILL)
            break
    process.wait()
    process.stderr.close()
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == [], "Ray must end with the process that started it"
    done = json.loads(backline(folder, *ingest_arguments(site, "killed"), "--json"))["brands"][0]
    assert done["crawl"]["resumed"]
    assert done["crawl"]["complete"]
    assert outcome(folder, "killed") == outcome(folder, "pellandine")


# What a shell starts in the background is told to ignore ctrl-C, and so would be all that it starts.
AT_A_TERMINAL = (
    "import os, signal, sys; signal.signal(signal.SIGINT, signal.SIG_DFL); os.execv(sys.argv[1], sys.argv[1:])"
)


def test_ctrl_c_stops_within_seconds_and_the_same_command_goes_on(folder: Path, site: DemoSite) -> None:
    command = [sys.executable, "-c", AT_A_TERMINAL, str(BACKLINE), *ingest_arguments(site, "stopped", rate="8")]
    process = subprocess.Popen(
        command, cwd=folder, env=environment(folder), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )
    assert process.stderr
    for line in process.stderr:
        if '"crawl_progress"' in line and json.loads(line)["handled"] >= 3:
            break
    children = psutil.Process(process.pid).children(recursive=True)
    asked = time.monotonic()
    process.send_signal(signal.SIGINT)
    _, told = process.communicate(timeout=20)
    assert time.monotonic() - asked < 5, told
    assert process.returncode == 130
    assert "The same command goes on where it stopped." in told
    assert "Traceback" not in told
    _, alive = psutil.wait_procs(children, timeout=20)
    assert alive == []
    done = json.loads(backline(folder, *ingest_arguments(site, "stopped"), "--json"))["brands"][0]
    assert done["crawl"]["resumed"]
    assert outcome(folder, "stopped") == outcome(folder, "pellandine")


def test_many_brands_side_by_side_show_each_and_one_table(folder: Path, site: DemoSite) -> None:
    names = [f"many-{number}" for number in range(10)]
    brands = {name: {"start_urls": [site.urls()["pellandine"]], "allow_hosts": ["127.0.0.1"]} for name in names}
    (folder / "many.yaml").write_text(
        json.dumps({"brands": {**brands, "dead": {"start_urls": ["http://127.0.0.1:9/"]}}})
    )
    wanted = [option for name in (*names, "dead") for option in ("--brand", name)]
    done = subprocess.run(
        [BACKLINE, "crawl", *wanted, "--rate", "0", "--allow-host", "127.0.0.1"],
        cwd=folder,
        env=environment(folder) | {"BACKLINE_BRANDS_FILE": "many.yaml"},
        capture_output=True,
        text=True,
        check=False,
    )
    progress = [json.loads(line) for line in done.stderr.splitlines() if '"crawl_progress"' in line]
    assert {one["brand"] for one in progress if one["done"]} == {*names, "dead"}
    assert [one["errors"] for one in progress if one["done"] and one["brand"] == "dead"] == [{"connect": 1}]
    assert done.returncode == 3, "some went well, one did not"
    table = done.stdout[done.stdout.index("brand ") :].splitlines()
    assert len(table) == 12
    assert table[0].split()[:3] == ["brand", "URLs", "new"]
    assert "Nothing at the site answered (connect)." in table[-1]
    assert all(outcome(folder, name) == outcome(folder, "pellandine") for name in names[:2])


def test_selftest_proves_an_install(folder: Path) -> None:
    findings = [json.loads(line) for line in backline(folder, "selftest", "--json").splitlines()]
    assert {finding["state"] for finding in findings} == {"ok"}
    assert {"crawl.fates", "crawl.hidden", "index", "answer.extractive", "answer.llm"} <= {f["name"] for f in findings}


def test_commands_that_look(folder: Path, site: DemoSite) -> None:
    url = site.urls()["pellandine"]
    assert "start URL" in backline(folder, "why", url)
    assert "robots.txt does not allow it" in backline(folder, "why", url + "internal/dealer-notes.html")
    names = [json.loads(line)["brand"] for line in backline(folder, "brands", "--json").splitlines()]
    assert {"killed", "pellandine"} <= set(names)
    (covered,) = map(json.loads, backline(folder, "coverage", "--brand", "pellandine", "--json").splitlines())
    assert covered["documents"] == covered["indexed"] > 10
    assert covered["reasons"]["skipped"]["robots"] == 1
    robots = backline(folder, "urls", "--brand", "pellandine", "--reason", "robots", "--json").splitlines()
    assert [json.loads(line)["url"] for line in robots] == [url + "internal/dealer-notes.html"]
    generations = backline(folder, "index", "list", "--json").splitlines()
    assert all(json.loads(line)["live"] for line in generations)
    hits = json.loads(backline(folder, "search", "E-07", "--brand", "pellandine", "--json"))["hits"]
    assert any("E-07" in hit["text"] for hit in hits[:3])
    assert len(backline(folder, "schedule", "list", "--json").splitlines()) == 7
    assert json.loads(backline(folder, "status", "--json")) == {"running": False}


@pytest.mark.parametrize(("redis", "state"), [("", "ok"), ("localhost:6379", "bad")])
def test_doctor_tells_all_it_finds(folder: Path, redis: str, state: str) -> None:
    done = subprocess.run(
        [BACKLINE, "doctor", "--json"],
        cwd=folder,
        env=environment(folder) | {"REDIS_URL": redis},
        capture_output=True,
        text=True,
        check=False,
    )
    found = {one["name"]: one["state"] for one in map(json.loads, done.stdout.splitlines())}
    told = {"versions", "data_dir", "database", "embedding model", "brands.yaml", "schedule", "chroma", "llm"}
    assert told <= {name for name, what in found.items() if what == "ok"}, done.stdout + done.stderr
    assert {"disk", "ray token"} <= set(found)
    assert "serve.port" in found
    assert found["redis"] == state
    assert done.returncode == ("bad" in found.values())


@pytest.mark.parametrize(
    ("arguments", "code", "words"),
    [
        (["ask", "Is it?", "--brand", "nobody"], 2, "No such brand"),
        (["crawl", "--brand", "nobody"], 2, "--url"),
        (["crawl", "--brand", "Bad Name", "--url", "http://x.example/"], 2, "a-z"),
        (["crawl", "--brand", "x", "--url", "ftp://x.example/"], 2, "http"),
        (["crawl", "--brand", "pellandine", "--url", "http://else.example/"], 2, "outside the brand's scope"),
        (["crawl", "--brand", "a", "--brand", "b", "--url", "http://x.example/"], 2, "single --brand"),
        (["why", "http://never.example/"], 2, "No crawl has ever seen"),
        (["urls", "--brand", "pellandine", "--reason", "because"], 2, "Reasons are"),
        (["crawl", "--brand", "pellandine", "--full", "--retry-failed"], 2, "exclude each other"),
        (["eval", "--beir", "/nowhere"], 2, "nowhere"),
    ],
)
def test_wrong_use_is_told_in_words(folder: Path, arguments: list[str], code: int, words: str) -> None:
    told = backline(folder, *arguments, code=code)
    assert words in told
    assert "Traceback" not in told


def test_the_demo_answers_and_leaves_nothing_behind(folder: Path) -> None:
    def rays() -> set[int]:
        return {p.pid for p in psutil.process_iter(["name"]) if p.info["name"] in ("raylet", "gcs_server", "haproxy")}

    before = rays()
    started = time.monotonic()
    shown = backline(folder, "demo")
    assert shown.count("[1]") >= 5
    assert "was not answered" not in shown
    assert time.monotonic() - started < 240
    deadline = time.monotonic() + 20
    while rays() - before and time.monotonic() < deadline:
        time.sleep(0.5)
    assert rays() - before == set()
