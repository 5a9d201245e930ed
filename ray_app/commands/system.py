"""The installation itself: init, up, down, restart, status, doctor, selftest, demo."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ray_app.commands.output import EXIT_FAILED, AsJson, emit, emit_lines, note, say, settings_for, table

if TYPE_CHECKING:
    from ray_app.commands.doctor import Finding
    from ray_app.config import Settings

BRANDS_TEMPLATE = """\
# The brands to support. Every field: brands.example.yaml in the project.
brands: {}
#  acme:
#    title: Acme Instruments
#    start_urls: [https://support.acme.example/]
"""
CONFIG_TEMPLATE = """\
# Settings; .env.example in the project names them all. Secrets belong into the environment or into .env.
# data_dir = "/var/lib/backline"

[crawl]
# rate = 2.0
"""
MIB = 2**20


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    for command in (init, doctor, selftest, up, down, restart, status, demo):
        app.command()(command)


def init() -> None:
    """Write brands.yaml and backline.toml into the current directory and make the data directory."""
    from ray_app.store.stores import stores

    settings = settings_for()
    for name, text in (("brands.yaml", BRANDS_TEMPLATE), ("backline.toml", CONFIG_TEMPLATE)):
        path = Path(name)
        if path.exists():
            say(f"{name} is there already; left as it is")
        else:
            path.write_text(text, encoding="utf-8")
            say(f"wrote {name}")
    with stores(settings):
        say(f"state lives in {settings.data_dir}")


def up(as_json: AsJson = False) -> None:
    """Start Ray, the HTTP API and the scheduler on this machine, or the latter two on the cluster of RAY_ADDRESS."""
    from ray_app.on_ray.head import launch, raise_on_cluster
    from ray_app.on_ray.session import cluster_address

    settings = settings_for()
    if address := cluster_address(settings):
        note(f"Deploying the API and the scheduler to {address}...")
        raise_on_cluster(settings)
        shown: dict[str, object] = {"address": address, "api": settings.api_url}
    else:
        note("Starting Ray, the API and the scheduler (about 30 s)...")
        head = launch(settings)
        shown = {"pid": head.pid, "address": head.address, "dashboard": head.dashboard, "api": head.api}
    if as_json:
        emit(shown)
        return
    for name, value in shown.items():
        say(f"{name:10} {value}")


def down() -> None:
    """Stop what `backline up` started, and nothing else."""
    from ray_app.on_ray.head import lower_on_cluster, stop
    from ray_app.on_ray.session import cluster_address

    settings = settings_for()
    if cluster_address(settings):
        lower_on_cluster(settings)
        say("the API and the scheduler are gone from the cluster")
    else:
        say("stopped" if stop(settings) else "nothing was running")


def restart() -> None:
    """Stop and start again."""
    down()
    up(as_json=False)


def status(as_json: AsJson = False) -> None:
    """Show what runs, its memory, and the health of each part."""
    settings = settings_for()
    found = _status(settings)
    if as_json:
        emit(found)
        return
    if not found["running"]:
        say("Backline is not up. Start it with `backline up`.")
        return
    say(f"API {found['api']}  dashboard {found['dashboard']}  process {found['pid']}")
    table(("process", "memory (PSS)"), ((name, f"{mib} MiB") for name, mib in found["memory_mib"].items()))
    say(f"total {found['memory_total_mib']} MiB, shared pages counted once", "bold")
    health = found["health"]
    if health is None:
        say("the API does not answer", "red")
        return
    say(f"health {health['status']}", "bold")
    table(
        ("check", "state", "ms", "reason"),
        ((c["name"], c["state"], c["latency_ms"], c["reason"]) for c in health["checks"]),
    )


def _status(settings: Settings) -> dict[str, Any]:
    from ray_app.on_ray.head import memory_pss
    from ray_app.on_ray.session import running_head

    head = running_head(settings)
    if head is None:
        return {"running": False}
    memory = {name: size // MIB for name, size in sorted(memory_pss(head.pid).items(), key=lambda item: -item[1])}
    return {
        "running": True,
        "pid": head.pid,
        "parts": head.parts,
        "api": head.api,
        "dashboard": head.dashboard,
        "address": head.address,
        "memory_mib": memory,
        "memory_total_mib": sum(memory.values()),
        "health": _health(head.api),
    }


def _health(api: str) -> dict[str, Any] | None:
    import httpx

    try:
        body: dict[str, Any] = httpx.get(f"{api}/health", timeout=15).json()
    except (httpx.HTTPError, ValueError):
        return None
    return body


def doctor(as_json: AsJson = False) -> None:
    """Check this installation: versions, data directory, models, ports, services, secrets."""
    from ray_app.commands.doctor import diagnose

    _show_findings(diagnose(settings_for()), as_json)


def selftest(as_json: AsJson = False) -> None:
    """Prove this installation: crawl a bundled site that misbehaves, index it, ask it. No key, no network."""
    from ray_app.commands.selftest import run

    _show_findings(run(), as_json)


def _show_findings(findings: Sequence[Finding], as_json: bool) -> None:
    if as_json:
        emit_lines(finding.as_dict() for finding in findings)
    else:
        table(("", "check", "finding"), ((f.state, f.name, f.reason) for f in findings))
    if any(finding.state == "bad" for finding in findings):
        raise typer.Exit(EXIT_FAILED)


def demo(
    keep: Annotated[bool, typer.Option("--keep", help="Leave it running until Ctrl-C after the questions.")] = False,
) -> None:
    """Crawl two bundled brands, answer five questions over HTTP, clean up. No key, no network."""
    from ray_app.commands.demo import run

    raise typer.Exit(run(keep=keep))
