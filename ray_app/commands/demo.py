"""`backline demo`: the whole product on two bundled brands, from crawl to cited answers, in one process."""

from __future__ import annotations

import socket
import tempfile
import time
from collections.abc import Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlsplit

import httpx

from ray_app.commands.answers import show_answer
from ray_app.commands.apart import settings_apart
from ray_app.commands.output import EXIT_FAILED, EXIT_OK, err, note, out, say
from ray_app.commands.progress import shown
from ray_app.config import Settings
from ray_app.demo.questions import DEMO_QUESTIONS
from ray_app.demo.server import DemoSite
from ray_app.on_ray.jobs import results
from ray_app.on_ray.pipeline import Pipeline, Steps
from ray_app.on_ray.serve_app import deploy, undeploy
from ray_app.on_ray.session import connect
from ray_app.on_ray.targets import Target, resolve_all
from ray_app.store.stores import stores

LOOPBACK = "127.0.0.1"


def run(*, keep: bool) -> int:
    """Run the demo in a throw-away data directory; returns the exit code."""
    started = time.monotonic()
    with tempfile.TemporaryDirectory(prefix="backline-demo-") as folder, DemoSite() as site:
        settings = settings_apart(
            Path(folder),
            crawl={"rate": 0.0, "allow_hosts": (LOOPBACK,)},
            serve={"host": LOOPBACK, "port": _free_port()},
        )
        note("Starting Ray on this machine...")
        with connect(settings):
            try:
                failed = _ingest_and_serve(settings, site.urls()) or _ask(settings)
                if keep:
                    _wait(settings)
            finally:
                undeploy()
    say(f"Done in {time.monotonic() - started:.0f} s. Everything is stopped; nothing was left behind.", "dim")
    return EXIT_FAILED if failed else EXIT_OK


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((LOOPBACK, 0))
        return int(probe.getsockname()[1])


def _ingest_and_serve(settings: Settings, urls: Mapping[str, str]) -> bool:
    """Crawl, embed and publish both brands while the API starts; True when a brand failed."""
    targets = [Target(brand, (url,)) for brand, url in urls.items()]
    with ThreadPoolExecutor(1, "deploy") as background, stores(settings) as opened:
        serving = background.submit(deploy, settings)
        orders = resolve_all(settings, opened.catalog, targets)
        note(f"Crawling {' and '.join(urls)}, embedding, publishing; the API starts beside it...")
        with shown() as show:
            done = Pipeline(settings, opened, show).run(orders, Steps())
        serving.result()
    for brand in results(done)["brands"]:
        if brand["error"]:
            say(f"{brand['brand']}: {brand['error']}", "red")
        else:
            crawl, embed = brand["crawl"], brand["embed"]
            say(
                f"{brand['brand']}: {crawl['handled']} URLs, {embed['documents']} documents, "
                f"{embed['chunks']} chunks in generation {embed['generation']}",
                "bold",
            )
    return any(brand["error"] for brand in results(done)["brands"])


def _ask(settings: Settings) -> bool:
    """Ask the five questions over HTTP; True when an answer lacks the citation it should have."""
    missed = []
    with httpx.Client(base_url=settings.api_url, timeout=settings.serve.answer_timeout_s) as client:
        for number, question in enumerate(DEMO_QUESTIONS, start=1):
            out.print()
            out.rule(f"{number}. {question.text}  ({question.brand})", align="left")
            response = client.post("/v1/ask", json={"question": question.text, "brand": question.brand})
            answer = response.json()
            if not response.is_success:
                say(f"HTTP {response.status_code}: {answer.get('detail')}", "red")
                missed.append(number)
                continue
            show_answer(answer)
            if not _cites([citation["url"] for citation in answer["citations"]], question.expect_url_suffix):
                missed.append(number)
    out.print()
    for number in missed:
        say(f"Question {number} was not answered from the page that answers it.", "red")
    return bool(missed)


def _cites(urls: Sequence[str], suffix: str) -> bool:
    """Whether a citation opens at the page and anchor that answer the question."""
    return any(
        (parts := urlsplit(url)).path + (f"#{parts.fragment}" if parts.fragment else "") == suffix for url in urls
    )


def _wait(settings: Settings) -> None:
    say(f"The API stays at {settings.api_url} until you press Ctrl-C.", "bold")
    try:
        while True:
            time.sleep(1)
    except KeyboardInterrupt:
        err.print()
