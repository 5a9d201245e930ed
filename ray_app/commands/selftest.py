"""`backline selftest`: proves an install on a site that misbehaves, with no network and no key.

The bundled site has one endpoint per misbehaviour and a table of what a crawl must make of each. It is crawled, crawled
again, embedded and published by the real pipeline on a private Ray, then asked, with and without a language model.
"""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import httpx
from pydantic import SecretStr

from ray_app.commands.apart import settings_apart
from ray_app.commands.doctor import Finding
from ray_app.commands.output import note
from ray_app.config import Settings, with_changes
from ray_app.errors import BacklineError
from ray_app.ingest.brands import BrandConfig, make_brand
from ray_app.ingest.urls import normalise
from ray_app.on_ray.pipeline import BrandResult, Pipeline, Steps
from ray_app.on_ray.services import local_app
from ray_app.on_ray.session import connect
from ray_app.store.stores import Stores, stores
from ray_app.testing.fakes import FakeOpenAI
from ray_app.testing.site import Site
from ray_app.testing.site.expected import ELSEWHERE, FATES, fits
from ray_app.testing.site.walls import CANARY

BRAND = "selftest"
QUESTION = "How do I reset? Hold SHIFT and press PLAY?"
# Small enough that what never ends is given up within seconds.
LIMITS = {"total_timeout_s": 2.0, "html_cap_bytes": 2**20, "min_bytes_per_s": 2_000.0, "retry_after_cap_s": 1.0}


def run() -> list[Finding]:
    """Every check, the failed ones with what they saw."""
    with tempfile.TemporaryDirectory(prefix="backline-selftest-") as folder, _site() as site:
        settings = settings_apart(Path(folder), crawl=LIMITS, retrieval={"reranker": "maxsim"})
        config = make_brand(
            BRAND,
            {"start_urls": (site.url("/everything"),), "allow_hosts": (site.authority,), "rate": 0.0},
            settings.crawl,
        )
        note("Starting Ray on this machine...")
        with stores(settings) as opened:
            with connect(settings):
                findings = [*_crawl(settings, opened, config, site)]
            return findings + asyncio.run(_ask(settings))


@contextmanager
def _site() -> Iterator[Site]:
    """The site, served by a thread."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name="selftest-site", daemon=True)
    thread.start()
    site = Site(log=False)
    asyncio.run_coroutine_threadsafe(site.start(), loop).result()
    try:
        yield site
    finally:
        asyncio.run_coroutine_threadsafe(site.stop(), loop).result()
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()


def _crawl(settings: Settings, opened: Stores, config: BrandConfig, site: Site) -> Iterator[Finding]:
    pipeline = Pipeline(settings, opened)
    note(f"Crawling {len(FATES)} kinds of pages, most of them bad; what never ends takes a few seconds each...")
    (first,) = pipeline.run([config], Steps(embed=False))
    yield _of(first, f"{first.crawl.handled} URLs in {first.crawl.seconds:.1f} s" if first.crawl else "")
    yield from _fates(opened, site)
    yield _hidden(opened)
    (again,) = pipeline.run([config], Steps())
    stored = again.crawl.stored if again.crawl else -1
    yield Finding("crawl.again", "ok" if stored == 0 else "bad", f"{stored} texts stored, none had changed")
    told = f"{again.embed.documents} documents, {again.embed.chunks} passages" if again.embed else "nothing published"
    yield Finding("index", "ok" if again.embed and again.embed.published else "bad", again.error or told)


def _of(result: BrandResult, told: str) -> Finding:
    return Finding("crawl", "bad" if result.error else "ok", result.error or told)


def _fates(opened: Stores, site: Site) -> Iterator[Finding]:
    """One line for all that went right, one for each that did not."""
    found = {row.url: (row.state, row.reason) for row in opened.ledger.urls(BRAND)}
    expected = {normalise(site.url(path)): fate for path, fate in FATES.items()} | ELSEWHERE
    wrong = {url: fate for url, fate in expected.items() if url not in found or not fits(fate, *found[url])}
    yield Finding(
        "crawl.fates", "bad" if wrong else "ok", f"{len(expected) - len(wrong)} of {len(expected)} as expected"
    )
    for url, (state, reason) in wrong.items():
        saw = "/".join(found[url]) if url in found else "nothing"
        yield Finding("crawl.fates", "bad", f"{url}: {state}/{reason} was expected, {saw} was seen")


def _hidden(opened: Stores) -> Finding:
    documents = opened.pages.read(BRAND, [one.page for one in opened.ledger.documents(BRAND)])
    leaks = [one.url for one in documents if CANARY in " ".join(section.text for section in one.sections)]
    aside = sum(len(one.quarantine) for one in documents)
    told = f"hidden text or orders reached {', '.join(leaks)}" if leaks else f"{aside} passages set aside, none indexed"
    return Finding("crawl.hidden", "bad" if leaks or not aside else "ok", told)


async def _ask(settings: Settings) -> list[Finding]:
    """The same question without and with a language model, which is the bundled fake one."""
    async with FakeOpenAI() as llm:
        with_llm = with_changes(settings, llm={"api_key": SecretStr("selftest"), "base_url": llm.base_url})
        return [
            await _asked(settings, "answer.extractive", "extractive"),
            await _asked(with_llm, "answer.llm", "llm"),
        ]


async def _asked(settings: Settings, name: str, mode: str) -> Finding:
    try:
        answer = await _answer(settings)
    except BacklineError as error:
        return Finding(name, "bad", str(error))
    cited = [citation["url"] for citation in answer.get("citations", ())]
    good = answer.get("mode") == mode and cited
    return Finding(name, "ok" if good else "bad", f"{answer.get('mode')}, citing {', '.join(cited) or 'nothing'}")


async def _answer(settings: Settings) -> dict[str, Any]:
    app, close = await local_app(settings)
    try:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://backline", timeout=60) as client:
            body: dict[str, Any] = (await client.post("/v1/ask", json={"question": QUESTION, "brand": BRAND})).json()
            return body
    finally:
        await close()
