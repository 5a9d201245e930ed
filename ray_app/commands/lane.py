"""The ingest lane by hand: crawl, embed, ingest."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from ray_app.commands.output import AsJson, emit, note, say, settings_for, table
from ray_app.commands.progress import shown
from ray_app.errors import InputError

if TYPE_CHECKING:
    from ray_app.ingest.crawl import CrawlReport
    from ray_app.on_ray.pipeline import BrandResult, Steps
    from ray_app.on_ray.targets import Order, Target
    from ray_app.store.ledger import Mode

Brand = Annotated[list[str], typer.Option("--brand", "-b", help="Brand; repeatable.")]
Urls = Annotated[
    list[str] | None,
    typer.Option(
        "--url",
        "-u",
        help="Where a new brand begins; of a known one, a page to look at in this run. One --brand only; repeatable.",
    ),
]
AllowHosts = Annotated[
    list[str] | None, typer.Option("--allow-host", help="Private host, or host:port, that may be reached; repeatable.")
]
MaxPages = Annotated[int | None, typer.Option("--max-pages", min=1, help="Pages fetched in one cycle.")]
MaxDepth = Annotated[int | None, typer.Option("--max-depth", min=0, help="Links away from a start URL.")]
Rate = Annotated[float | None, typer.Option("--rate", min=0, help="Requests per second to one host; 0: no pause.")]
Full = Annotated[
    bool,
    typer.Option(
        "--full/--delta",
        help="Everything that links lead to, asked for anew; or what may have changed and what is new (the default).",
    ),
]
Retry = Annotated[bool, typer.Option("--retry-failed", help="Only what failed in the last crawl.")]
Force = Annotated[bool, typer.Option("--force", help="Publish what the gate refuses, and end the hold of a rollback.")]
Again = Annotated[bool, typer.Option("--again", help="Cut and tokenise every stored text anew.")]
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
    retry_failed: Retry = False,
    resume: Resume = False,
    as_json: AsJson = False,
) -> None:
    """Crawl brands into the page store. A crawl that was cut off goes on where it stopped."""
    from ray_app.on_ray.pipeline import Steps

    steps = Steps(embed=False, mode=_mode(full, retry_failed), resume_only=resume)
    run_targets(_targets(brand, url, allow_host, max_pages, max_depth, rate), steps, as_json)


def embed(
    brand: Brand,
    file: Annotated[
        Path | None,
        typer.Option("--file", "-f", help="Take in this document instead: HTML, Markdown, plain text or PDF."),
    ] = None,
    url: Annotated[str, typer.Option("--url", "-u", help="Where others can open the file; it is cited by that.")] = "",
    title: Annotated[str, typer.Option("--title", help="Title of the file, in place of its own.")] = "",
    lang: Annotated[str, typer.Option("--lang", help="Language of the file, such as en.")] = "",
    force: Force = False,
    again: Again = False,
    as_json: AsJson = False,
) -> None:
    """Embed what was crawled, or one document from a file, and publish it as a new generation."""
    from ray_app.on_ray.pipeline import Steps

    if file is not None:
        from ray_app.commands.document import embed_file

        if len(brand) != 1:
            raise InputError("--file goes with a single --brand.")
        embed_file(settings_for(), brand[0], file, url, title, lang, as_json=as_json)
        return
    if url or title or lang:
        raise InputError("--url, --title and --lang say something about a --file.")
    run_targets(_targets(brand, None, None, None, None, None), Steps(crawl=False, force=force, again=again), as_json)


def ingest(
    brand: Brand,
    url: Urls = None,
    allow_host: AllowHosts = None,
    full: Full = False,
    max_pages: MaxPages = None,
    max_depth: MaxDepth = None,
    rate: Rate = None,
    retry_failed: Retry = False,
    force: Force = False,
    again: Again = False,
    as_json: AsJson = False,
) -> None:
    """Crawl, embed and publish brands: from a support site to answers in one command."""
    from ray_app.on_ray.pipeline import Steps

    steps = Steps(mode=_mode(full, retry_failed), force=force, again=again)
    run_targets(_targets(brand, url, allow_host, max_pages, max_depth, rate), steps, as_json)


def _mode(full: bool, retry_failed: bool) -> Mode:
    from ray_app.store.ledger import Mode

    if full and retry_failed:
        raise InputError("--full and --retry-failed exclude each other.")
    return Mode.FULL if full else Mode.RETRY if retry_failed else Mode.DELTA


def _targets(
    brands: list[str],
    urls: list[str] | None,
    allow_hosts: list[str] | None,
    max_pages: int | None,
    max_depth: int | None,
    rate: float | None,
) -> list[Target]:
    from ray_app.on_ray.targets import Target

    return Target("", tuple(urls or ()), tuple(allow_hosts or ()), max_pages, max_depth, rate).each(brands)


def run_targets(targets: list[Target], steps: Steps, as_json: bool) -> None:
    """Run the ingest lane for these brands, tell what it did, and exit."""
    from ray_app.on_ray.gates import publish_gate
    from ray_app.on_ray.jobs import exit_code, results
    from ray_app.on_ray.pipeline import Pipeline
    from ray_app.on_ray.session import connect
    from ray_app.on_ray.targets import resolve_all
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        orders = resolve_all(settings, opened.catalog, targets)
        if steps.crawl:
            _check_sites(orders)
        note("Starting Ray..." if not steps.resume_only else "Looking for a crawl to finish...")
        with connect(settings), shown() as show:
            done = Pipeline(settings, opened, show, publish_gate(settings)).run(orders, steps)
    document = results(done)
    if as_json:
        emit(document)
    else:
        for result in done:
            _tell(result)
        if len(done) > 1:
            _summarise(done)
    raise typer.Exit(exit_code(document))


def _check_sites(orders: Sequence[Order]) -> None:
    """Raises InputError for a brand that is to be crawled and has no site; a crawl of all brands passes over it."""
    for order in orders:
        if not order.config.start_urls:
            raise InputError(
                f"The brand {order.config.name} has no site: its documents are handed over.",
                hint="Name where a crawl of it begins with --url.",
            )


def _summarise(results: Sequence[BrandResult]) -> None:
    """One row per brand."""
    say("")
    columns = (
        "brand",
        "URLs",
        "new or changed",
        "failed",
        "gone",
        "seconds",
        "URLs/s",
        "chunks",
        "embedded",
        "outcome",
    )
    table(columns, (_row(result) for result in results))


def _row(result: BrandResult) -> tuple[object, ...]:
    crawl, built = result.crawl, result.embed
    gone = sum(n for key, n in crawl.reasons.items() if key.startswith("gone/")) if crawl else "-"
    crawled = (
        (crawl.handled, crawl.stored, sum(crawl.errors.values()), gone, f"{crawl.seconds:.1f}", f"{_rate(crawl):.0f}")
        if crawl
        else ("-",) * 6
    )
    outcome = result.error or ("complete" if crawl is None or crawl.complete else "page limit reached")
    return (result.brand, *crawled, built.chunks if built else "-", built.embedded if built else "-", outcome)


def _rate(crawl: CrawlReport) -> float:
    return crawl.handled / crawl.seconds if crawl.seconds else 0.0


def _tell(result: BrandResult) -> None:
    if result.crawl:
        crawl = result.crawl
        say(
            f"{result.brand}: {crawl.handled} URLs in {crawl.seconds:.1f} s ({_rate(crawl):.0f}/s), "
            f"{crawl.stored} new or changed texts" + ("" if crawl.complete else ", page limit reached"),
            "bold",
        )
        if crawl.unlinked:
            say(f"  {crawl.unlinked:6} texts left, for nothing links to them any more")
        if crawl.dropped:
            say(f"  {crawl.dropped:6} links were not recorded, over crawl.max_urls")
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
        elif built.why == "held":
            say(f"{result.brand}: a rollback holds generation {built.generation}; --force publishes anew", "bold")
        else:
            say(f"{result.brand}: nothing changed; generation {built.generation} stays, nothing was embedded", "bold")
        if built.rejected:
            say(f"  {built.rejected:6} passages could not be embedded; backline coverage tells why", "yellow")
        if built.degraded:
            say(f"  the vector store is not filled, searches are exact until it is: {built.degraded}", "yellow")
    if result.error:
        say(f"{result.brand}: failed: {result.error}", "red")
