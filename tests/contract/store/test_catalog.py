from __future__ import annotations

import pytest

from ray_app.errors import LeaseLost, NoGeneration, StoreError, UnknownBrand
from ray_app.store.catalog import Catalog, GenerationRow
from ray_app.store.ledger import Holder, Ledger

SUMMARY = {"chunks": 12, "documents": 3, "model": "m@1", "created_at": 5.0, "corpus_hash": "x"}


def test_brands_keep_their_latest_configuration(catalog: Catalog) -> None:
    catalog.save_brand("b", {"start_urls": ["https://b.example/"], "title": "Bücher\0"})
    catalog.save_brand("a", {})
    catalog.save_brand("b", {"start_urls": []})
    assert catalog.brands() == ["a", "b"]
    assert catalog.brand("b") == {"start_urls": []}
    assert catalog.brand("a") == {}


def test_an_unknown_brand(catalog: Catalog) -> None:
    with pytest.raises(UnknownBrand, match="nope"):
        catalog.brand("nope")


def test_publishing_switches_the_pointer(catalog: Catalog) -> None:
    catalog.add_generation("a", "g1", SUMMARY)
    catalog.add_generation("a", "g2", SUMMARY | {"created_at": 6.0})
    assert catalog.live("a") is None
    catalog.publish("a", "g1", now=7.0)
    catalog.publish("a", "g2", now=8.0)
    assert catalog.live("a") == "g2"
    assert [(row.generation, row.published_at) for row in catalog.generations("a")] == [("g2", 8.0), ("g1", None)]
    catalog.publish("a", "g1", now=9.0)
    assert catalog.pointers() == {"a": "g1"}


def test_a_generation_is_recorded_once(catalog: Catalog) -> None:
    catalog.add_generation("a", "g1", SUMMARY)
    catalog.add_generation("a", "g1", SUMMARY | {"chunks": 99})
    assert catalog.generations("a") == [GenerationRow("a", "g1", 12, 3, "m@1", 5.0, None)]
    assert catalog.generations("b") == []


def test_a_summary_must_be_whole(catalog: Catalog) -> None:
    with pytest.raises(StoreError, match="chunks, model"):
        catalog.add_generation("a", "g1", {"documents": 1, "created_at": 1.0})


def test_only_a_recorded_generation_of_that_brand_is_published(catalog: Catalog) -> None:
    catalog.add_generation("b", "g1", SUMMARY)
    with pytest.raises(NoGeneration):
        catalog.publish("a", "g1", now=1.0)
    assert catalog.pointers() == {}


def test_a_run_that_was_taken_over_cannot_publish(catalog: Catalog, ledger: Ledger) -> None:
    catalog.add_generation("a", "g1", SUMMARY)
    old = ledger.acquire("a", Holder("h1", 1, 1.0, "embed"), now=0.0, ttl_s=10.0)
    new = ledger.acquire("a", Holder("h2", 1, 1.0, "embed"), now=20.0, ttl_s=10.0)
    with pytest.raises(LeaseLost):
        catalog.publish("a", "g1", now=21.0, fence=old)
    assert catalog.live("a") is None
    catalog.publish("a", "g1", now=21.0, fence=new)
    assert catalog.live("a") == "g1"


def test_the_live_generation_cannot_be_dropped(catalog: Catalog) -> None:
    for name in ("g1", "g2"):
        catalog.add_generation("a", name, SUMMARY)
    catalog.publish("a", "g2", now=1.0)
    catalog.drop_generation("a", "g1")
    catalog.drop_generation("a", "g1")
    with pytest.raises(StoreError, match="live"):
        catalog.drop_generation("a", "g2")
    assert [row.generation for row in catalog.generations("a")] == ["g2"]
