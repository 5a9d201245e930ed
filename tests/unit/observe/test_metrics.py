from __future__ import annotations

from dataclasses import dataclass

import pytest

from ray_app.errors import StoreUnavailable
from ray_app.observe.metrics import MAX_BRANDS, MAX_STAGES, LedgerCollector, Metrics
from ray_app.records import TaskState, UrlState


@dataclass
class Row:
    generation: str
    chunks: int
    documents: int


@dataclass
class Store:
    """Stands for the ledger, the catalog and the tasks."""

    names: tuple[str, ...] = ("acme", "zeta")
    down: bool = False

    def brands(self):
        if self.down:
            raise StoreUnavailable()
        return list(self.names)

    def pointers(self):
        return {"acme": "g2"}

    def generations(self, brand):
        return [Row("g1", 5, 1), Row("g2", 9, 3)]


@dataclass
class Ledger:
    def counts(self, brand):
        return {(UrlState.FETCHED, "ok"): 3, (UrlState.FETCHED, "unchanged"): 4, (UrlState.GONE, "http_404"): 1}


@dataclass
class Tasks:
    def counts(self):
        return {("scrape", TaskState.DONE): 2}


def sampled(metrics: Metrics) -> dict[str, float]:
    lines = metrics.render().decode().splitlines()
    return {name: float(value) for name, _, value in (line.rpartition(" ") for line in lines if line[0] != "#")}


def test_questions_are_counted():
    metrics = Metrics("1.2.3")
    metrics.answered("ok", from_cache=True, seconds=0.2, stages_ms={"retrieve": 12.0})
    metrics.not_answered("timeout")
    got = sampled(metrics)
    assert got['rag_queries_total{from_cache="true",status="ok"}'] == 1
    assert got['rag_queries_total{from_cache="false",status="timeout"}'] == 1
    assert got["rag_query_latency_seconds_count"] == 1
    assert got['rag_stage_latency_seconds_sum{stage="retrieve"}'] == pytest.approx(0.012)
    assert got['backline_build_info{version="1.2.3"}'] == 1


def test_labels_are_bounded():
    metrics = Metrics("1")
    odd = {"A b": 1.0, "é": 1.0, "x" * 40: 1.0}
    many = {f"stage_{i}": 1.0 for i in range(100)}
    metrics.answered("ok", from_cache=False, seconds=1.0, stages_ms=odd | many)
    metrics.http_request(route="/livez", method="BREW", status=405, seconds=0.1)
    got = sampled(metrics)
    stages = [name for name in got if name.startswith("rag_stage_latency_seconds_count")]
    assert len(stages) == MAX_STAGES + 1
    assert got['rag_stage_latency_seconds_count{stage="other"}'] == 3 + 100 - MAX_STAGES
    assert got['http_requests_total{method="other",route="/livez",status_class="4xx"}'] == 1


def test_two_registries_do_not_meet():
    first, second = Metrics("1"), Metrics("1")
    first.not_answered("error")
    assert 'rag_queries_total{from_cache="false",status="error"}' not in sampled(second)


def test_the_ledger_is_read_at_each_scrape():
    metrics, store = Metrics("1"), Store()
    metrics.registry.register(LedgerCollector(Ledger(), store, Tasks()))
    got = sampled(metrics)
    assert got['backline_urls{brand="acme",state="fetched"}'] == 7
    assert got['backline_urls{brand="zeta",state="gone"}'] == 1
    assert got['backline_generation_chunks{brand="acme"}'] == 9
    assert got['backline_generation_documents{brand="acme"}'] == 3
    assert 'backline_generation_chunks{brand="zeta"}' not in got
    assert got['backline_tasks{kind="scrape",state="done"}'] == 2
    assert got["backline_store_up"] == 1
    store.names = ("acme",)
    assert 'backline_urls{brand="zeta",state="gone"}' not in sampled(metrics)


def test_a_store_that_is_down_is_said_and_does_not_break_the_scrape():
    metrics = Metrics("1")
    metrics.registry.register(LedgerCollector(Ledger(), Store(down=True), Tasks()))
    got = sampled(metrics)
    assert got["backline_store_up"] == 0
    assert not [name for name in got if name.startswith(("backline_urls", "backline_tasks"))]
    assert "rag_query_latency_seconds_count" in got


def test_registering_reads_nothing():
    Metrics("1").registry.register(LedgerCollector(Ledger(), Store(down=True), Tasks()))


def test_brands_are_capped():
    metrics = Metrics("1")
    names = tuple(f"b{i:04}" for i in range(MAX_BRANDS + 10))
    metrics.registry.register(LedgerCollector(Ledger(), Store(names), Tasks()))
    got = sampled(metrics)
    assert got['backline_urls{brand="other",state="fetched"}'] == 70
    assert len({name for name in got if name.startswith("backline_urls{")}) == 2 * (MAX_BRANDS + 1)
