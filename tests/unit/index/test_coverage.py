from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from ray_app.config import load
from ray_app.index.coverage import coverage, explain
from ray_app.index.depot import Depot
from ray_app.index.layout import DOCUMENTS, generation_path
from ray_app.records import FetchTask, Kind, PageOutcome, PageRef, UrlState
from ray_app.store.catalog import Catalog
from ray_app.store.ledger import Discovery, Holder, Ledger
from ray_app.store.rejects import Reject
from ray_app.store.stores import Stores, stores

from .conftest import NOW, Build

URL = "https://acme.example/a"


@pytest.fixture
def opened(tmp_path: Path) -> Iterator[Stores]:
    with stores(load(data_dir=tmp_path)) as found:
        yield found


@pytest.fixture
def ledger(opened: Stores) -> Ledger:
    return opened.ledger


@pytest.fixture
def damage(catalog: Catalog, root: Path, build: Build) -> Callable[[int], None]:
    """A published generation whose documents lose one bit at the given place."""

    def flip(at: int) -> None:
        name = publish(catalog, build)
        path = generation_path(root, "acme", name) / DOCUMENTS
        content = bytearray(path.read_bytes())
        content[at % len(content)] ^= 0x10
        path.write_bytes(content)

    return flip


def publish(catalog: Catalog, build: Build, text: str = "old") -> str:
    manifest = build(["one"], documents=[(URL, text)])
    catalog.add_generation("acme", manifest.generation, manifest.summary())
    catalog.publish("acme", manifest.generation, NOW)
    return manifest.generation


def store(ledger: Ledger, text: str, brand: str = "acme") -> None:
    fence = ledger.acquire(brand, Holder("elsewhere", 1, 0.0, "t"), 0.0, 0.0)
    cycle = ledger.open_cycle(brand, 1.0, fence)
    ledger.discover(brand, cycle, [Discovery(URL)], 1.0, fence)
    page = {"page": PageRef("p", 0), "content_hash": text}
    outcome = PageOutcome(FetchTask(brand, URL), UrlState.FETCHED, "ok", 200, **page)
    ledger.commit(brand, cycle, fence, [outcome], (), 2.0)
    ledger.add_sitemaps(brand, cycle, [FetchTask(brand, URL, kind=Kind.SITEMAP)], fence)
    ledger.finish_cycle(brand, cycle, fence, 3.0)


@pytest.mark.parametrize(("text", "indexed"), [("old", True), ("new", False)])
def test_why_and_coverage_agree_on_what_is_indexed(
    opened: Stores, ledger: Ledger, catalog: Catalog, build: Build, text: str, indexed: bool
) -> None:
    publish(catalog, build, "old")
    store(ledger, text)
    assert coverage(opened, Depot(opened.index_root), "acme").indexed == indexed
    (page, _) = explain(opened, Depot(opened.index_root), URL, "acme")
    assert ("It is in the live index." in page.story) == indexed


@pytest.mark.parametrize("at", [*range(0, 600, 40), -3, -20])
def test_a_damaged_generation_counts_as_none(
    opened: Stores, ledger: Ledger, damage: Callable[[int], None], at: int
) -> None:
    damage(at)
    store(ledger, "old")
    found = coverage(opened, Depot(opened.index_root), "acme")
    assert (found.generation, found.indexed, found.chunks, found.documents) == (None, 0, 0, 1)
    assert [one.url for one in explain(opened, Depot(opened.index_root), URL)] == [URL, URL]


def test_a_story_is_asked_of_the_brand_that_is_named(opened: Stores, ledger: Ledger) -> None:
    store(ledger, "old")
    store(ledger, "old", "zeta")
    assert [one.brand for one in explain(opened, Depot(opened.index_root), URL)] == ["acme", "zeta", "acme", "zeta"]
    assert [one.brand for one in explain(opened, Depot(opened.index_root), URL, "zeta")] == ["zeta", "zeta"]
    assert explain(opened, Depot(opened.index_root), URL, "nobody") == []


def test_passages_that_could_not_be_embedded_are_told(opened: Stores, ledger: Ledger) -> None:
    store(ledger, "old")
    opened.rejects.replace("acme", [], [Reject(str(i), URL, "bad_vector", "NaN", "m", NOW) for i in range(2)])
    assert coverage(opened, Depot(opened.index_root), "acme").rejected == {"bad_vector": 2}
    assert any(
        line.startswith("2 passages of it left out") for line in explain(opened, Depot(opened.index_root), URL)[0].story
    )
