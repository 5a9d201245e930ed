"""The schedule by hand: list, run, history."""

from __future__ import annotations

import time
from dataclasses import asdict
from typing import Annotated

import typer

from ray_app.commands.output import AsJson, clock, emit, emit_lines, say, settings_for, table
from ray_app.errors import ClusterUnavailable, InputError

schedule_app = typer.Typer(help="The recurring jobs.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    app.add_typer(schedule_app, name="schedule")


@schedule_app.command("list")
def schedule_list(as_json: AsJson = False) -> None:
    """List the recurring jobs with their last and next run."""
    from ray_app.on_ray.scheduler import schedule
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        rows = [
            (job, opened.runs.last_slot(job.name), job.next_tick(time.time()) if job.enabled else None)
            for job in schedule(settings)
        ]
    if as_json:
        emit_lines({**asdict(job), "last": last, "next": following} for job, last, following in rows)
        return
    table(
        ("job", "cron", "zone", "runs", "last (UTC)", "next (UTC)"),
        (
            (job.name, job.cron, job.timezone, " ".join([job.job, *job.args]), clock(last), clock(following))
            for job, last, following in rows
        ),
    )


@schedule_app.command("run")
def schedule_run(
    name: Annotated[str, typer.Argument(help="A job of `backline schedule list`.")], as_json: AsJson = False
) -> None:
    """Submit one recurring job now, as a Ray job of its own."""

    from ray_app.on_ray.scheduler import run_now, schedule
    from ray_app.on_ray.session import cluster_address, connect, running_head

    settings = settings_for()
    names = [job.name for job in schedule(settings)]
    if name not in names:
        raise InputError(f"No recurring job is called {name!r}.", hint=f"There are: {', '.join(names)}.")
    if not running_head(settings) and not cluster_address(settings):
        raise ClusterUnavailable("The scheduler is not running.", hint="Start it with `backline up`.")
    with connect(settings):
        submission = run_now(settings, name)
    if as_json:
        emit({"job": name, "submission_id": submission})
    else:
        say(f"submitted {submission}; follow it in the dashboard or with `ray job logs -f {submission}`")


@schedule_app.command("history")
def schedule_history(
    name: Annotated[str, typer.Option("--job", help="One job.")] = "",
    limit: Annotated[int, typer.Option("--limit", min=1, max=1000, help="Rows.")] = 20,
    as_json: AsJson = False,
) -> None:
    """Show past runs, newest first."""
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        runs = opened.runs.history(name or None, limit=limit)
    if as_json:
        emit_lines(asdict(run) for run in runs)
        return
    table(
        ("job", "slot (UTC)", "state", "submission", "detail"),
        ((run.job, clock(run.slot), run.state, run.submission_id, run.detail) for run in runs),
    )
