"""Asking: over HTTP when Backline is up, else in this process straight from the index."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ray_app.commands.output import AsJson, emit, note, out, say, settings_for

if TYPE_CHECKING:
    from ray_app.config import Settings

API_HINT = "`backline status` shows what is up; where BACKLINE_SERVE__URL is set, it must name the API."

Brand = Annotated[str, typer.Option("--brand", "-b", help="Ask one brand only.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(ask)
    app.command()(search)


def ask(
    question: Annotated[str, typer.Argument(help="The question, in quotes.")],
    brand: Brand = "",
    no_llm: Annotated[bool, typer.Option("--no-llm", help="Quote the sources even when an LLM is configured.")] = False,
    k: Annotated[int, typer.Option("--k", min=1, max=20, help="Passages the answer is made from.")] = 6,
    as_json: AsJson = False,
) -> None:
    """Answer a question, with numbered citations."""
    settings = settings_for()
    request = {"question": question, "k": k, "use_llm": not no_llm} | ({"brand": brand} if brand else {})
    answer = _call(settings, "/v1/ask", request)
    if as_json:
        emit(answer)
    else:
        show_answer(answer)


def search(
    query: Annotated[str, typer.Argument(help="What to look for, in quotes.")],
    brand: Brand = "",
    k: Annotated[int, typer.Option("--k", min=1, max=100, help="Hits.")] = 10,
    explain: Annotated[bool, typer.Option("--explain", help="Show the score of each stage.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search the index and show the passages."""
    settings = settings_for()
    request = {"query": query, "k": k, "explain": explain} | ({"brand": brand} if brand else {})
    found = _call(settings, "/v1/search", request)
    if as_json:
        emit(found)
        return
    for number, hit in enumerate(found["hits"], start=1):
        say(f"{number:2}. {hit['title']}", "bold")
        say(f"    {hit['url']}", "cyan")
        if explain:
            scores = "  ".join(f"{stage} {score:.3f}" for stage, score in (hit.get("scores") or {}).items())
            say(f"    {hit['score']:.3f}  {scores}", "dim")
        say("    " + " ".join(hit["text"].split())[:240])
    if not found["hits"]:
        say("Nothing found.")


def show_answer(answer: dict[str, Any]) -> None:
    """An answer as a person reads it on a terminal."""
    say(answer["answer"])
    out.print()
    for citation in answer["citations"]:
        section = f", {citation['section']}" if citation["section"] else ""
        say(f"  [{citation['n']}] {citation['title']}{section}")
        say(f"      {citation['url']}", "cyan")
    timing = answer["timings_ms"].get("total")
    took = f", {timing:.0f} ms" if timing is not None else ""
    say(f"  {answer['mode']}, confidence {answer['confidence']:.2f}{took}", "dim")
    for part in answer["degraded"]:
        say(f"  degraded: {part}", "yellow")


def _call(settings: Settings, path: str, request: dict[str, Any]) -> dict[str, Any]:
    """The answer of the API: over HTTP when it is up, else from the same application in this process.

    Raises ClusterUnavailable when an API that should be up does not answer.
    """
    import httpx

    from ray_app.errors import ClusterUnavailable
    from ray_app.on_ray.session import running_head

    head = running_head(settings)
    if settings.serve.url or (head and head.complete):
        try:
            with httpx.Client(base_url=settings.api_url, timeout=settings.serve.answer_timeout_s + 5) as client:
                return checked(client.post(path, json=request))
        except (httpx.HTTPError, httpx.InvalidURL) as error:
            raise ClusterUnavailable(
                f"The API at {settings.api_url} does not answer ({type(error).__name__}).", hint=API_HINT
            ) from error
    note("Backline is not up; answering in this process (loading the model takes a few seconds).")
    return asyncio.run(_in_process(settings, path, request))


async def _in_process(settings: Settings, path: str, request: dict[str, Any]) -> dict[str, Any]:
    import httpx

    from ray_app.on_ray.services import local_app

    app, close = await local_app(settings)
    try:
        transport = httpx.ASGITransport(app=app)
        async with httpx.AsyncClient(transport=transport, base_url="http://backline") as client:
            return checked(await client.post(path, json=request))
    finally:
        await close()


def checked(response: Any) -> dict[str, Any]:
    """The body of a good response. Raises InputError or AnswerError with the words of the API.

    What is no JSON comes from something that stands before the API, or in its place: ClusterUnavailable.
    """
    from ray_app.errors import AnswerError, ClusterUnavailable, InputError

    try:
        body = response.json()
    except ValueError:
        body = None
    if not isinstance(body, dict):
        raise ClusterUnavailable(
            f"{response.url} answered {response.status_code}, and not as Backline answers.", hint=API_HINT
        )
    if response.is_success:
        return body
    kind = InputError if response.status_code < 500 else AnswerError
    raise kind(body.get("detail") or body.get("title", ""), hint=body.get("hint", ""))
