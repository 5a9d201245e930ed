"""The ingest lane by hand: crawl, embed, ingest."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from ray_app.commands.output import AsJson, emit, note, say, settings_for
from ray_app.commands.progress import shown
from ray_app.errors import InputError

if TYPE_CHECKING:
    from ray_app.on_ray.pipeline import BrandResult, Steps
    from ray_app.on_ray.targets import Target

Brand = Annotated[list[str], typer.Option("--brand", "-b", help="Brand; repeatable.")]
Urls = Annotated[list[str] | None, typer.Option("--url", "-u", help="Start URL of a single brand; repeatable.")]
AllowHosts = Annotated[
    list[str] | None, typer.Option("--allow-host", help="Private host, or host:port, that may be reached; repeatable.")
]
MaxPages = Annotated[int | None, typer.Option("--max-pages", min=1, help="Pages fetched in one cycle.")]
MaxDepth = Annotated[int | None, typer.Option("--max-depth", min=0, help="Links away from a start URL.")]
Rate = Annotated[float | None, typer.Option("--rate", min=0, help="Requests per second to one host; 0: no pause.")]
Full = Annotated[
    bool, typer.Option("--full/--delta", help="Ask for every body again, or only for what changed (the default).")
]
Resume = Annotated[bool, typer.Option("--resume", help="Only finish a crawl that was cut off; never begin a new one.")]


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command()(crawl)
    app.command()(embed)
    app.command()(ingest)


def crawl(
    brand: Brand,
    url: Urls = None,
    allow_host: AllowHosts = None,
    full: Full = False,
    max_pages: MaxPages = None,
    max_depth: MaxDepth = None,
    rate: Rate = None,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Crawl brands into the page store. A crawl that was cut off goes on where it stopped."""
    from ray_app.on_ray.pipeline import Steps

    steps = Steps(embed=False, full=full, resume_only=resume)
    _run(_targets(brand, url, allow_host, max_pages, max_depth, rate), steps, as_json)


def embed(brand: Brand, as_json: AsJson = False) -> None:
    """Embed what was crawled and publish it as a new generation."""
    from ray_app.on_ray.pipeline import Steps

    _run(_targets(brand, None, None, None, None, None), Steps(crawl=False), as_json)


def ingest(
    brand: Brand,
    url: Urls = None,
    allow_host: AllowHosts = None,
    full: Full = False,
    max_pages: MaxPages = None,
    max_depth: MaxDepth = None,
    rate: Rate = None,
    as_json: AsJson = False,
) -> None:
    """Crawl, embed and publish brands: from a support site to answers in one command."""
    from ray_app.on_ray.pipeline import Steps

    _run(_targets(brand, url, allow_host, max_pages, max_depth, rate), Steps(full=full), as_json)


def _targets(
    brands: list[str],
    urls: list[str] | None,
    allow_hosts: list[str] | None,
    max_pages: int | None,
    max_depth: int | None,
    rate: float | None,
) -> list[Target]:
    from ray_app.on_ray.targets import Target

    if urls and len(brands) > 1:
        raise InputError("--url goes with a single --brand.")
    limits = (max_pages, max_depth, rate)
    return [Target(brand, tuple(urls or ()), tuple(allow_hosts or ()), *limits) for brand in brands]


def _run(targets: list[Target], steps: Steps, as_json: bool) -> None:
    from ray_app.on_ray.jobs import exit_code, results
    from ray_app.on_ray.pipeline import Pipeline
    from ray_app.on_ray.session import connect
    from ray_app.on_ray.targets import resolve
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        configs = [resolve(settings, opened.catalog, target) for target in targets]
        note("Starting Ray..." if not steps.resume_only else "Looking for a crawl to finish...")
        with connect(settings), shown() as show:
            done = Pipeline(settings, opened, show).run(configs, steps)
    document = results(done)
    if as_json:
        emit(document)
    else:
        for result in done:
            _tell(result)
    raise typer.Exit(exit_code(document))


def _tell(result: BrandResult) -> None:
    if result.crawl:
        crawl = result.crawl
        rate = crawl.handled / crawl.seconds if crawl.seconds else 0.0
        say(
            f"{result.brand}: {crawl.handled} URLs in {crawl.seconds:.1f} s ({rate:.0f}/s), "
            f"{crawl.stored} new or changed texts" + ("" if crawl.complete else ", not complete"),
            "bold",
        )
        for reason, count in sorted(crawl.reasons.items(), key=lambda item: -item[1]):
            say(f"  {count:6} {reason}")
    if result.embed:
        built = result.embed
        if built.published:
            say(
                f"{result.brand}: published generation {built.generation}: {built.documents} documents, "
                f"{built.chunks} chunks, {built.embedded} embedded, {built.reused} reused, {built.seconds:.1f} s",
                "bold",
            )
        else:
            say(f"{result.brand}: nothing changed; generation {built.generation} stays, nothing was embedded", "bold")
    if result.error:
        say(f"{result.brand}: failed: {result.error}", "red")
