"""Every metric Backline exports, with the registry that holds them. Names follow ``component_event_unit``.

Two kinds: what this process counted, and what SQL knows, read when Prometheus asks.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import Any, Protocol

from prometheus_client import CollectorRegistry, Counter, Histogram, Info, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from ray_app.errors import StoreError
from ray_app.observe.log import get_logger

CONTENT_TYPE = "text/plain; version=0.0.4; charset=utf-8"
OTHER = "other"
MAX_BRANDS = 200  # brands with series of their own; the rest is summed under "other"
MAX_STAGES = 32  # stage names one process may introduce
METHODS = frozenset(("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"))
# An exact search answers in milliseconds, a language model in tens of seconds.
LATENCY_BUCKETS_S = (0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0)
# Under .9 answers suffer, and .95 to .99 is where an index of neighbours lies as it grows.
RECALL_BUCKETS = (0.5, 0.8, 0.9, 0.95, 0.98, 0.99, 1.0)

_STAGE = re.compile(r"[a-z][a-z0-9_]{0,31}")
_log = get_logger(__name__)


class Metrics:
    """The metrics of one process. Label values come from fixed or capped sets, never from a caller's text."""

    def __init__(self, version: str) -> None:
        self.registry = CollectorRegistry(auto_describe=True)
        self._stages: set[str] = set()
        self._build = Info("backline_build", "Version that runs.", registry=self.registry)
        self._build.info({"version": version})
        self._queries = Counter(
            "rag_queries_total",
            "Questions by outcome: ok, abstained, rejected, timeout, error.",
            ["status", "from_cache"],
            registry=self.registry,
        )
        self._latency = Histogram(
            "rag_query_latency_seconds", "Time to answer.", buckets=LATENCY_BUCKETS_S, registry=self.registry
        )
        self._stage_latency = Histogram(
            "rag_stage_latency_seconds", "Time by stage.", ["stage"], buckets=LATENCY_BUCKETS_S, registry=self.registry
        )
        self._requests = Counter(
            "http_requests_total",
            "HTTP requests by route template.",
            ["route", "method", "status_class"],
            registry=self.registry,
        )
        self._request_latency = Histogram(
            "http_request_duration_seconds",
            "Time to the end of the response.",
            ["route"],
            buckets=LATENCY_BUCKETS_S,
            registry=self.registry,
        )
        self._vector_recall = Histogram(
            "backline_vector_recall_ratio",
            "Share of the exact search's hits that Chroma found, of the queries sampled.",
            buckets=RECALL_BUCKETS,
            registry=self.registry,
        )

    def answered(self, status: str, *, from_cache: bool, seconds: float, stages_ms: Mapping[str, float]) -> None:
        """Count one question that got an answer (``ok``, ``abstained``) with its time by stage."""
        self._queries.labels(status, str(from_cache).lower()).inc()
        self._latency.observe(seconds)
        for stage, milliseconds in stages_ms.items():
            self._stage_latency.labels(self._stage(stage)).observe(milliseconds / 1000)

    def not_answered(self, status: str) -> None:
        """Count one question that got none (``rejected``, ``timeout``, ``error``)."""
        self._queries.labels(status, "false").inc()

    def http_request(self, *, route: str, method: str, status: int, seconds: float) -> None:
        """Count one HTTP request. ``route`` is the template (``/tasks/{task_id}``), never the path."""
        self._requests.labels(route, method if method in METHODS else OTHER, f"{status // 100}xx").inc()
        self._request_latency.labels(route).observe(seconds)

    def vector_recall(self, ratio: float) -> None:
        """Record what one sampled approximate search found of the exact one's hits, 0 to 1."""
        self._vector_recall.observe(ratio)

    def render(self) -> bytes:
        """Everything in Prometheus's text format. Reads SQL when a LedgerCollector is registered, so it blocks."""
        return generate_latest(self.registry)

    def _stage(self, name: str) -> str:
        if name in self._stages:
            return name
        if len(self._stages) >= MAX_STAGES or not _STAGE.fullmatch(name):
            return OTHER
        self._stages.add(name)
        return name


class GenerationFigures(Protocol):
    """What is exported about one generation; ``store.catalog.GenerationRow`` has it."""

    @property
    def generation(self) -> str: ...

    @property
    def chunks(self) -> int: ...

    @property
    def documents(self) -> int: ...


class LedgerFigures(Protocol):
    def counts(self, brand: str) -> Mapping[tuple[Any, str], int]:
        """URLs of a brand by (state, reason), perhaps as of a moment ago."""


class CatalogFigures(Protocol):
    def brands(self) -> Sequence[str]: ...

    def pointers(self) -> Mapping[str, str]:
        """The live generation of each brand that has one."""

    def generations(self, brand: str) -> Sequence[GenerationFigures]: ...


class TaskFigures(Protocol):
    def counts(self) -> Mapping[tuple[Any, Any], int]:
        """Tasks by (kind, state)."""


class LedgerCollector(Collector):
    """Asks the store at each scrape, so that the figures are right whatever process is asked.

    ``ledger`` had better remember what it said (``store.recent``): scrapes are frequent, and counting takes long.
    """

    def __init__(self, ledger: LedgerFigures, catalog: CatalogFigures, tasks: TaskFigures) -> None:
        self._ledger = ledger
        self._catalog = catalog
        self._tasks = tasks

    def describe(self) -> Iterator[Metric]:
        """The families without figures, so that registering does not touch SQL."""
        yield from (_store_up(), *_families())

    def collect(self) -> Iterator[Metric]:
        """The families with figures; only ``backline_store_up 0`` when the store fails."""
        up, families = _store_up(), _families()
        try:
            self._fill(*families)
        except StoreError as error:
            _log.warning("metrics_store_failed", error=str(error))
            up.add_metric([], 0)
            yield up
            return
        up.add_metric([], 1)
        yield from (up, *families)

    def _fill(
        self,
        urls: GaugeMetricFamily,
        chunks: GaugeMetricFamily,
        documents: GaugeMetricFamily,
        tasks: GaugeMetricFamily,
    ) -> None:
        live = self._catalog.pointers()
        url_sums: dict[tuple[str, ...], float] = {}
        chunk_sums: dict[tuple[str, ...], float] = {}
        document_sums: dict[tuple[str, ...], float] = {}
        for position, brand in enumerate(sorted(self._catalog.brands())):
            label = brand if position < MAX_BRANDS else OTHER
            for (state, _reason), count in self._ledger.counts(brand).items():
                _add(url_sums, (label, str(state)), count)
            for row in self._catalog.generations(brand):
                if row.generation == live.get(brand):
                    _add(chunk_sums, (label,), row.chunks)
                    _add(document_sums, (label,), row.documents)
        task_sums = {(str(kind), str(state)): float(n) for (kind, state), n in self._tasks.counts().items()}
        for family, sums in ((urls, url_sums), (chunks, chunk_sums), (documents, document_sums), (tasks, task_sums)):
            _write(family, sums.items())


def _store_up() -> GaugeMetricFamily:
    return GaugeMetricFamily("backline_store_up", "Whether the last read of the store worked.")


def _families() -> tuple[GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily, GaugeMetricFamily]:
    return (
        GaugeMetricFamily("backline_urls", "URLs known, by state.", labels=["brand", "state"]),
        GaugeMetricFamily("backline_generation_chunks", "Chunks of the live generation.", labels=["brand"]),
        GaugeMetricFamily("backline_generation_documents", "Documents of the live generation.", labels=["brand"]),
        GaugeMetricFamily("backline_tasks", "Tasks by kind and state.", labels=["kind", "state"]),
    )


def _add(sums: dict[tuple[str, ...], float], labels: tuple[str, ...], value: float) -> None:
    sums[labels] = sums.get(labels, 0.0) + value


def _write(family: GaugeMetricFamily, sums: Iterable[tuple[tuple[str, ...], float]]) -> None:
    for labels, value in sums:
        family.add_metric(list(labels), value)
