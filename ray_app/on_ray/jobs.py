"""The entry points behind ``jobs/*.py``: one job per process, its result one JSON line on standard output.

``python -m ray_app.on_ray.jobs NAME ARGS`` runs the same code wherever the package is installed.
"""

from __future__ import annotations

import argparse
import sys
import time
from collections.abc import Callable, Sequence
from typing import Any

import orjson

from ray_app.config import Settings, load
from ray_app.errors import BacklineError, InputError
from ray_app.observe.log import configure, get_logger
from ray_app.on_ray import custody, maintenance
from ray_app.on_ray.gates import publish_gate
from ray_app.on_ray.pipeline import BrandResult, Pipeline, Steps
from ray_app.on_ray.session import connect
from ray_app.on_ray.targets import Target, known, resolve_all
from ray_app.records import TaskState
from ray_app.store.ledger import Mode
from ray_app.store.stores import Stores, stores

log = get_logger(__name__)

OK, FAILED, USAGE, PARTLY = 0, 1, 2, 3  # exit codes of every command

MODES = {
    "--full": (Mode.FULL, "everything that links lead to, asked for anew"),
    "--delta": (Mode.DELTA, "what may have changed and what is new (default)"),
    "--retry-failed": (Mode.RETRY, "what failed in the last crawl"),
}


def main(job: str, argv: Sequence[str] | None = None) -> int:
    """Run one job by name; returns its exit code."""
    arguments = _parser(job).parse_args(argv)
    settings = load()
    configure(settings.log, component=f"job:{job}")
    with stores(settings) as opened:
        task = arguments.task_id if "task_id" in arguments else None
        _note(opened, task, TaskState.RUNNING)
        try:
            result = _JOBS[job](settings, opened, arguments)
        except BacklineError as error:
            _note(opened, task, TaskState.FAILED, error=str(error))
            log.error("job_failed", job=job, error=error.kind, detail=str(error))
            return USAGE if isinstance(error, InputError) else FAILED
        code = exit_code(result)
        problems = "; ".join(brand["error"] for brand in result.get("brands", []) if brand["error"])
        _note(opened, task, TaskState.FAILED if code == FAILED else TaskState.DONE, result=result, error=problems)
    sys.stdout.write(orjson.dumps(result).decode() + "\n")
    return code


def exit_code(result: dict[str, Any]) -> int:
    """0 when all went well, 3 when some brands failed or there were problems, 1 when all brands failed."""
    brands = result.get("brands", [])
    failed = sum(bool(brand["error"]) for brand in brands)
    if not failed:
        return PARTLY if result.get("problems") else OK
    return FAILED if failed == len(brands) else PARTLY


def _note(opened: Stores, task: str | None, state: TaskState, **fields: Any) -> None:
    if task:
        opened.tasks.update(task, state=state, now=time.time(), **fields)


def _parser(job: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog=f"jobs/{job}.py", description=_JOBS[job].__doc__)
    if job in ("scrape", "embed", "ingest", "reindex"):
        parser.add_argument("--brand", action="append", default=[], help="brand; repeatable")
        parser.add_argument("--all", action="store_true", help="every known brand")
        parser.add_argument("--task-id", help="task row that follows this job")
        parser.add_argument(
            "--wait", type=float, default=0.0, metavar="S", help="wait so long for another run on the brand to end"
        )
    if job in ("embed", "ingest", "reindex"):
        parser.add_argument(
            "--force", action="store_true", help="publish what the gate refuses, and end the hold of a rollback"
        )
    if job == "reindex":
        parser.add_argument("--embed-anew", action="store_true", help="compute every vector anew, too")
    if job == "backup":
        parser.add_argument("file", help="where it goes; %%Y, %%m and %%d in its name stand for the day")
        parser.add_argument("--all-generations", action="store_true", help="not only the live ones")
    if job in ("scrape", "ingest"):
        parser.add_argument(
            "--url",
            action="append",
            default=[],
            help="start URL of a single new --brand, further URL of a known one; repeatable",
        )
        parser.add_argument("--allow-host", action="append", default=[], help="private host that may be reached")
        parser.add_argument("--max-pages", type=int)
        parser.add_argument("--max-depth", type=int)
        parser.add_argument("--rate", type=float, help="requests per second to one host; 0: no pause")
        mode = parser.add_mutually_exclusive_group()
        for flag, (one, told) in MODES.items():
            mode.add_argument(flag, dest="mode", action="store_const", const=one, default=Mode.DELTA, help=told)
    return parser


def _run_brands(settings: Settings, opened: Stores, arguments: argparse.Namespace, steps: Steps) -> dict[str, Any]:
    orders = resolve_all(settings, opened.catalog, _targets(settings, opened, arguments))
    with connect(settings):
        return results(Pipeline(settings, opened, gate=publish_gate(settings)).run(orders, steps))


def _targets(settings: Settings, opened: Stores, arguments: argparse.Namespace) -> list[Target]:
    """The brands that are named, or all, each with the options given. Raises InputError."""
    if not arguments.brand and not arguments.all:
        raise InputError("No brand is named.", hint="Give --brand NAME or --all.")
    said = Target("")
    if "url" in arguments:
        limits = (arguments.max_pages, arguments.max_depth, arguments.rate)
        said = Target("", tuple(arguments.url), tuple(arguments.allow_host), *limits)
    return said.each(arguments.brand or list(known(settings, opened.catalog)))


def results(brands: Sequence[BrandResult]) -> dict[str, Any]:
    """The JSON document of a run over brands."""
    return {"brands": [brand.as_dict() for brand in brands]}


def scrape(settings: Settings, opened: Stores, arguments: argparse.Namespace) -> dict[str, Any]:
    """Crawl brands into the page store."""
    return _run_brands(settings, opened, arguments, Steps(embed=False, mode=arguments.mode, wait_s=arguments.wait))


def embed(settings: Settings, opened: Stores, arguments: argparse.Namespace) -> dict[str, Any]:
    """Embed what was crawled and publish it."""
    return _run_brands(settings, opened, arguments, Steps(crawl=False, force=arguments.force, wait_s=arguments.wait))


def reindex(settings: Settings, opened: Stores, arguments: argparse.Namespace) -> dict[str, Any]:
    """Cut, tokenise and publish the stored texts anew, without crawling."""
    steps = Steps(
        crawl=False, again=True, embed_anew=arguments.embed_anew, force=arguments.force, wait_s=arguments.wait
    )
    return _run_brands(settings, opened, arguments, steps)


def ingest(settings: Settings, opened: Stores, arguments: argparse.Namespace) -> dict[str, Any]:
    """Crawl, embed and publish brands."""
    steps = Steps(mode=arguments.mode, force=arguments.force, wait_s=arguments.wait)
    return _run_brands(settings, opened, arguments, steps)


def _maintain(work: Callable[[Settings, Stores], dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    def run(settings: Settings, opened: Stores, _: argparse.Namespace) -> dict[str, Any]:
        with connect(settings):
            return work(settings, opened)

    run.__doc__ = work.__doc__
    return run


_JOBS: dict[str, Callable[[Settings, Stores, argparse.Namespace], dict[str, Any]]] = {
    "scrape": scrape,
    "embed": embed,
    "ingest": ingest,
    "reindex": reindex,
    "backup": custody.backup,
    "cleanup": _maintain(maintenance.cleanup),
    "health_check": _maintain(maintenance.health_check),
    "retention": _maintain(maintenance.retention),
    "optimize": _maintain(maintenance.optimize),
}

if __name__ == "__main__":
    if len(sys.argv) < 2 or sys.argv[1] not in _JOBS:
        sys.exit(f"usage: python -m ray_app.on_ray.jobs {{{','.join(_JOBS)}}} ...")
    sys.exit(main(sys.argv[1], sys.argv[2:]))
