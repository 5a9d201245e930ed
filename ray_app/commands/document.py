"""``backline embed --file``: one document handed over, and published."""

from __future__ import annotations

import time
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from ray_app.commands.output import emit, note, say
from ray_app.errors import ClusterUnavailable, IndexingError, InputError

if TYPE_CHECKING:
    import httpx

    from ray_app.config import Settings
    from ray_app.ingest.handed import Handed
    from ray_app.store.stores import Stores

POLL_S = 0.1  # a document is published within a second or two
REQUEST_S = 60.0  # one request; the task itself may take as long as it takes
STORED = "The document is stored all the same; the next `backline embed` publishes it."
WAIT_S = 3600.0  # for another run on the brand, without a running Backline; a crawl may take so long


def embed_file(settings: Settings, brand: str, path: Path, url: str, title: str, lang: str, *, as_json: bool) -> None:
    """Take a file into a brand and wait until it is searchable.

    It is stored by this process, where the running Backline finds it, and published by that one, which has the model
    at hand; by this process when none runs. Where only the address of an API is known, the API gets all of it.
    """
    from ray_app.on_ray.indexer import store_document
    from ray_app.on_ray.session import running_head
    from ray_app.store.stores import stores

    given = _read(path, url, title, lang)
    head = running_head(settings)
    if settings.serve.url and head is None:
        document, report = _over_http(settings, brand, given)
    else:
        with stores(settings) as opened:
            document = asdict(store_document(settings, opened, brand, given))
            up = head is not None and head.complete
            report = _by_api(settings, {"brand": brand})[1] if up else _here(settings, opened, brand)
    if as_json:
        emit({"brand": brand, "document": document, "embed": report})
    else:
        _tell(brand, document, report)


MAX_FILE_BYTES = 512 * 2**20  # read at once; extraction has smaller caps of its own


def _read(path: Path, url: str, title: str, lang: str) -> Handed:
    from ray_app.ingest.handed import Handed, form_of

    form = form_of(path.name)
    if path.exists() and not path.is_file():
        raise InputError(f"{path} is no regular file.")
    try:
        if path.stat().st_size > MAX_FILE_BYTES:
            raise InputError(f"{path} is larger than {MAX_FILE_BYTES >> 20} MB.")
        body = path.read_bytes()
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}.") from None
    return Handed(body, form, url=url, name=path.name, title=title, lang=lang.partition("-")[0].lower())


def _over_http(settings: Settings, brand: str, given: Handed) -> tuple[dict[str, Any], dict[str, Any]]:
    from ray_app.ingest.charset import decode
    from ray_app.ingest.handed import address

    if given.form == "pdf":
        raise InputError(
            "A PDF can only be taken in where Backline keeps its state.", hint="Run this there, or hand over its text."
        )
    about = {"url": address(brand, given), "title": given.title, "lang": given.lang}
    text = decode(given.body).replace("\0", "")
    return _by_api(settings, {"brand": brand, "document": {**about, given.form: text}})


def _by_api(settings: Settings, request: dict[str, Any]) -> tuple[dict[str, Any], dict[str, Any]]:
    """The document as the task has it, and what publishing did. Raises IndexingError with the words of the task."""
    import httpx

    from ray_app.commands.answers import API_HINT, checked

    try:
        with httpx.Client(base_url=settings.api_url, timeout=REQUEST_S) as client:
            task = checked(client.post("/tasks/embed", json=request))
            task = _ended(client, task)
    except (httpx.HTTPError, httpx.InvalidURL) as error:
        raise ClusterUnavailable(
            f"The API at {settings.api_url} does not answer ({type(error).__name__}).", hint=API_HINT
        ) from error
    if task["state"] != "done":
        raise IndexingError(task["error"] or f"The task is {task['state']}.", hint=STORED)
    result = task["result"]
    return task["payload"].get("document", {}), result["brands"][0]["embed"] if "brands" in result else result


def _ended(client: httpx.Client, task: dict[str, Any]) -> dict[str, Any]:
    from ray_app.commands.answers import checked

    told = ""
    while task["state"] in ("queued", "running"):
        why = (task["result"] or {}).get("waiting", "")
        if why and why != told:
            note(f"Stored; it waits to be published: {why}")
            told = why
        time.sleep(POLL_S)
        task = checked(client.get(f"/tasks/{task['task_id']}"))
    return task


def _here(settings: Settings, opened: Stores, brand: str) -> dict[str, Any]:
    """Publish in this process, or with a Ray of its own when a crawl has left more than a few documents."""
    from ray_app.on_ray.indexer import TooMany, publish_here

    note("Backline is not up; publishing in this process (loading the model takes a few seconds).")
    try:
        return publish_here(settings, opened, brand, WAIT_S).as_dict()
    except TooMany:
        return _with_ray(settings, opened, brand)


def _with_ray(settings: Settings, opened: Stores, brand: str) -> dict[str, Any]:
    from ray_app.on_ray.gates import publish_gate
    from ray_app.on_ray.pipeline import Pipeline, Steps
    from ray_app.on_ray.session import connect
    from ray_app.on_ray.targets import Target, resolve

    note("Many documents wait to be embedded; starting Ray...")
    order = resolve(settings, opened.catalog, Target(brand))
    with connect(settings):
        (done,) = Pipeline(settings, opened, gate=publish_gate(settings)).run([order], Steps(crawl=False))
    if done.embed is None:
        raise IndexingError(done.error, hint=STORED)
    return done.embed.as_dict()


def _tell(brand: str, document: dict[str, Any], report: dict[str, Any]) -> None:
    changed = "taken in" if document["changed"] else "was there already, unchanged"
    say(f"{brand}: {document['title']} {changed}", "bold")
    say(f"  {document['url']}", "cyan")
    if document["detail"]:
        say(f"  {document['detail']}", "yellow")
    if report["published"]:
        figures = f"{report['documents']} documents, {report['chunks']} chunks, {report['embedded']} embedded"
        say(f"  published generation {report['generation']}: {figures}, {report['seconds']:.1f} s")
    elif report["why"] == "held":
        say(f"  generation {report['generation']} is held by a rollback; it is published when the hold ends", "yellow")
    else:
        say(f"  generation {report['generation']} stays")
