"""What `backline doctor` looks at."""

from __future__ import annotations

import importlib.metadata
import shutil
import socket
import stat
import sys
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path

from ray_app.config import Settings
from ray_app.errors import BacklineError

# A disk this full stops crawls soon; the figures of features O3.
DISK_WARN, DISK_BAD = 0.20, 0.10
CONNECT_S = 2.0


@dataclass(frozen=True, slots=True)
class Finding:
    """One thing looked at: ``ok``, ``warn`` or ``bad``, and why."""

    name: str
    state: str
    reason: str

    def as_dict(self) -> dict[str, str]:
        return asdict(self)


def diagnose(settings: Settings) -> list[Finding]:
    """Every check; one that fails never hides the others."""
    checks: tuple[Callable[[Settings], Iterator[Finding]], ...] = (
        _versions,
        _data_dir,
        _database,
        _model,
        _brands,
        _schedule,
        _ports,
        _redis,
        _chroma,
        _llm,
        _ray_token,
    )
    return [finding for check in checks for finding in _guarded(check, settings)]


def _guarded(check: Callable[[Settings], Iterator[Finding]], settings: Settings) -> list[Finding]:
    try:
        return list(check(settings))
    except BacklineError as error:
        return [Finding(check.__name__.strip("_"), "bad", str(error))]


def _versions(_: Settings) -> Iterator[Finding]:
    names = ("ray", "chromadb", "sentence-transformers", "torch")
    versions = "  ".join(f"{name} {importlib.metadata.version(name)}" for name in names)
    yield Finding("versions", "ok", f"python {sys.version.split()[0]}  {versions}")


def _data_dir(settings: Settings) -> Iterator[Finding]:
    directory = settings.data_dir
    try:
        directory.mkdir(parents=True, exist_ok=True)
        probe = directory / ".doctor"
        probe.write_bytes(b"x")
        probe.unlink()
    except OSError as error:
        yield Finding("data_dir", "bad", f"{directory} cannot be written: {error.strerror}. Set BACKLINE_DATA_DIR.")
        return
    yield Finding("data_dir", "ok", str(directory))
    usage = shutil.disk_usage(directory)
    share = usage.free / usage.total
    state = "bad" if share < DISK_BAD else "warn" if share < DISK_WARN else "ok"
    yield Finding("disk", state, f"{share:.0%} free, {usage.free / 2**30:.1f} GiB")


def _database(settings: Settings) -> Iterator[Finding]:
    from ray_app.store.stores import stores

    with stores(settings) as opened:
        brands = opened.catalog.brands()
    kind = settings.database_url.split(":", 1)[0]
    yield Finding("database", "ok", f"{kind}, {len(brands)} brand(s)")


def _model(settings: Settings) -> Iterator[Finding]:
    from ray_app.index.models import find_model

    files = find_model(settings.embedding.model)
    yield Finding("embedding model", "ok", f"{files.name} revision {files.revision}")


def _brands(settings: Settings) -> Iterator[Finding]:
    from ray_app.on_ray.targets import configured

    names = configured(settings)
    yield Finding("brands.yaml", "ok", f"{len(names)} brand(s)" if names else "none; brands can be named by --url")


def _schedule(settings: Settings) -> Iterator[Finding]:
    from ray_app.on_ray.scheduler import schedule

    yield Finding("schedule", "ok", f"{len(schedule(settings))} jobs in {settings.schedule.timezone}")


def _ports(settings: Settings) -> Iterator[Finding]:
    from ray_app.on_ray.session import running_head

    if running_head(settings):
        yield Finding("ports", "ok", "in use by this Backline")
        return
    for name, port in (("serve.port", settings.serve.port), ("serve.dashboard_port", settings.serve.dashboard_port)):
        with socket.socket() as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind(("127.0.0.1", port))
            except OSError:
                yield Finding(name, "bad", f"port {port} is taken by another program")
            else:
                yield Finding(name, "ok", f"port {port} is free")


def _redis(settings: Settings) -> Iterator[Finding]:
    if url := settings.redis_url:
        yield _ping(url)
    else:
        yield Finding("redis", "ok", "not configured; answers are cached in the process")


def _chroma(settings: Settings) -> Iterator[Finding]:
    if settings.chroma.host:
        yield _reach("chroma", settings.chroma.host, settings.chroma.port)
    else:
        yield Finding("chroma", "ok", "embedded, owned by the vector-owner actor")


def _ping(url: str) -> Finding:
    import redis

    try:
        with redis.Redis.from_url(url, socket_timeout=CONNECT_S, socket_connect_timeout=CONNECT_S) as client:
            client.ping()
    except redis.RedisError as error:
        return Finding("redis", "bad", f"does not answer ({type(error).__name__}); answers are not cached")
    return Finding("redis", "ok", "answers")


def _reach(name: str, host: str, port: int) -> Finding:
    try:
        socket.create_connection((host, port), timeout=CONNECT_S).close()
    except (OSError, UnicodeError):  # the latter of names that no host can have
        return Finding(name, "bad", f"{host}:{port} does not answer")
    return Finding(name, "ok", f"{host}:{port} answers")


def _llm(settings: Settings) -> Iterator[Finding]:
    if settings.llm.api_key.get_secret_value():
        yield Finding("llm", "ok", f"{settings.llm.model} at {settings.llm.base_url or 'the OpenAI API'}")
    elif settings.llm.ollama_base_url:
        yield Finding("llm", "ok", f"{settings.llm.ollama_model} at {settings.llm.ollama_base_url}")
    else:
        yield Finding("llm", "ok", "none; answers quote the sources (mode: extractive)")


def _ray_token(_: Settings) -> Iterator[Finding]:
    token = Path.home() / ".ray" / "auth_token"
    if not token.exists():
        yield Finding("ray token", "ok", "made on the first start")
    elif token.stat().st_mode & (stat.S_IRWXG | stat.S_IRWXO):
        yield Finding("ray token", "warn", f"{token} can be read by others; chmod 600 it")
    else:
        yield Finding("ray token", "ok", "in place; the cluster asks for it")
