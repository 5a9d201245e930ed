"""Measuring retrieval: eval --beir."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.progress import Progress as Bars
from rich.progress import TaskID

from ray_app.commands.output import AsJson, emit, err, note, say, settings_for, table


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.command("eval")(evaluate)


def evaluate(
    beir: Annotated[Path, typer.Option("--beir", help="Folder with corpus.jsonl, queries.jsonl and qrels.tsv.")],
    limit: Annotated[int | None, typer.Option("--limit", min=1, help="Only the first queries.")] = None,
    stages: Annotated[
        str, typer.Option("--stages", help="Comma-separated: dense, bm25, rrf, fused, reranked.")
    ] = "dense,bm25,rrf,fused,reranked",
    run: Annotated[Path | None, typer.Option("--run", help="Write a TREC run of each stage beside this name.")] = None,
    as_json: AsJson = False,
) -> None:
    """Measure each retrieval stage on a labelled set, in a throw-away index."""
    from ray_app.evaluate.run import evaluate_beir, write_runs
    from ray_app.index.embedder import load_embedder

    settings = settings_for()
    wanted = [stage.strip() for stage in stages.split(",") if stage.strip()]
    with Bars(console=err, disable=not err.is_terminal, transient=True) as bars:
        rows: dict[str, TaskID] = {}

        def progress(what: str, done: int, of: int) -> None:
            if what not in rows:
                rows[what] = bars.add_task(what, total=of)
            bars.update(rows[what], completed=done)

        report = evaluate_beir(
            beir, settings, load_embedder(settings.embedding), limit=limit, stages=wanted, progress=progress
        )
    for path in write_runs(report, run) if run else ():
        note(f"wrote {path}")
    if as_json:
        emit(report.as_dict())
        return
    say(f"{report.set}: {report.queries} queries, {report.documents} documents", "bold")
    names = list(next(iter(report.stages.values()), {}))
    table(
        ("stage", *names),
        ((stage, *(f"{measures[name]:.4f}" for name in names)) for stage, measures in report.stages.items()),
    )
    say("  ".join(f"{name} {seconds:.1f} s" for name, seconds in report.seconds.items()), "dim")
