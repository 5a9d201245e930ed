from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from ray_app.config import IndexSettings
from ray_app.errors import ChecksumMismatch, LeaseLost, VectorStoreDown
from ray_app.index import publish as module
from ray_app.index.depot import Depot
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_names, generation_path
from ray_app.index.manifest import MANIFEST
from ray_app.index.memory import MemoryVectorStore
from ray_app.index.ports import VectorStore
from ray_app.index.publish import Published, Publisher, collection_name
from ray_app.index.reader import IndexReader
from ray_app.records import ModelId
from ray_app.store.catalog import Catalog

from .conftest import MODEL, NOW, Build, chunk, digest, vectors_of

Publish = Callable[..., Published]
COLLECTION = collection_name("acme", MODEL)


@pytest.fixture
def go(catalog: Catalog, root: Path) -> Publish:
    def run(
        generation: str, store: VectorStore | None, brand: str = "acme", keep: int = 2, exact: int = 9
    ) -> Published:
        settings = IndexSettings(keep_generations=keep, exact_max_chunks=exact)
        return Publisher(catalog, Depot(root), store, settings).publish(brand, generation, fence=None, now=NOW + 100)

    return run


def ids(texts: Sequence[str], brand: str = "acme") -> set[str]:
    return {chunk(text, brand).chunk_id for text in texts}


def test_it_fills_the_store_and_switches(catalog: Catalog, build: Build, go: Publish) -> None:
    store = MemoryVectorStore()
    name = build(["a", "b"]).generation
    assert go(name, store) == Published(name, upserted=2, deleted=0, removed=())
    assert catalog.live("acme") == name
    assert store.ids(COLLECTION) == ids(["a", "b"])


@pytest.mark.parametrize("exact", [1, 2])
def test_a_brand_that_is_searched_through_the_store_is_filled_before_the_switch(
    catalog: Catalog, build: Build, go: Publish, monkeypatch: pytest.MonkeyPatch, exact: int
) -> None:
    live_then: list[str | None] = []

    class Store(MemoryVectorStore):
        def upsert(self, collection: str, names: Sequence[str], vectors: Any) -> None:
            live_then.append(catalog.live("acme"))
            super().upsert(collection, names, vectors)

    name = build(["a", "b"]).generation
    go(name, Store(), exact=exact)
    assert live_then == [None if exact < 2 else name]


def test_a_store_that_lost_something_gets_it_back(build: Build, go: Publish) -> None:
    store = MemoryVectorStore()
    go(build(["a", "b"]).generation, store)
    store.delete(COLLECTION, sorted(ids(["a"])))
    assert go(build(["a", "b", "c"], now=NOW + 1).generation, store).upserted == 2


def test_only_new_chunks_are_sent_and_again_nothing(build: Build, go: Publish, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "BATCH", 2)
    store = MemoryVectorStore()
    go(build(["a", "b"]).generation, store)
    name = build(["b", "c", "d", "e"], now=NOW + 1).generation
    assert go(name, store).upserted == 3
    assert go(name, store) == Published(name, upserted=0, deleted=0, removed=())


def test_the_oldest_generations_are_removed_and_their_vectors(
    catalog: Catalog, root: Path, build: Build, go: Publish
) -> None:
    store = MemoryVectorStore()
    done = [go(build([f"text {i}", "common"], now=NOW + i).generation, store) for i in range(4)]
    names = [d.generation for d in done]
    assert [d.removed for d in done] == [(), (), (names[0],), (names[1],)]
    assert [d.deleted for d in done] == [0, 0, 1, 1]
    assert generation_names(root, "acme") == names[2:]
    assert sorted(r.generation for r in catalog.generations("acme")) == names[2:]
    assert store.ids(COLLECTION) == ids(["text 2", "text 3", "common"])


def test_going_back_keeps_the_older_one(root: Path, build: Build, catalog: Catalog, go: Publish) -> None:
    names = [build([f"text {i}"], now=NOW + i).generation for i in range(3)]
    for name in names:
        go(name, None, keep=3)
    assert go(names[0], None, keep=2).removed == (names[1],)
    assert generation_names(root, "acme") == [names[0], names[2]]
    assert catalog.live("acme") == names[0]


def test_keeping_one_keeps_the_live_one(root: Path, build: Build, go: Publish) -> None:
    names = [go(build([str(i)], now=NOW + i).generation, None, keep=1).generation for i in range(2)]
    assert generation_names(root, "acme") == [names[1]]


def test_a_generation_that_was_never_published_does_not_count_and_goes_when_it_is_old(
    root: Path, build: Build, go: Publish
) -> None:
    first = go(build(["a"]).generation, None).generation
    abandoned, fresh = build(["b"], now=NOW + 1).generation, build(["c"], now=NOW + 2).generation
    for path in (root / "acme" / abandoned, *(root / "acme" / abandoned).rglob("*")):
        os.utime(path, (NOW - module.STALE_AGE_S, NOW - module.STALE_AGE_S))
    done = go(build(["d"], now=NOW + 3).generation, None, keep=2)
    assert done.removed == (abandoned,)
    assert generation_names(root, "acme") == [first, fresh, done.generation]


def test_the_collection_of_a_model_no_longer_used_is_dropped(build: Build, go: Publish) -> None:
    store = MemoryVectorStore()
    other = ModelId("toy", "r2", 8)
    go(build(["a"], "acme-2").generation, store, brand="acme-2")
    go(build(["a", "b"]).generation, store)
    done = go(build(["a"], model=other, now=NOW + 1).generation, store, keep=1)
    assert done.deleted == 2
    assert store.collections() == sorted([collection_name("acme", other), collection_name("acme-2", MODEL)])


def test_damage_and_a_lost_lease_stop_it_before_the_switch(
    catalog: Catalog, root: Path, build: Build, go: Publish
) -> None:
    first, second = build(["a"]).generation, build(["b"], now=NOW + 1).generation
    go(first, None)
    vectors = generation_path(root, "acme", second) / "vectors.npy"
    whole = vectors.read_bytes()
    vectors.write_bytes(whole[:-1] + bytes([whole[-1] ^ 1]))
    with pytest.raises(ChecksumMismatch):
        go(second, None)
    vectors.write_bytes(whole)
    with pytest.raises(LeaseLost):
        Publisher(catalog, Depot(root), None, IndexSettings(keep_generations=1)).publish(
            "acme", second, fence=41, now=NOW
        )
    assert catalog.live("acme") == first
    assert generation_names(root, "acme") == [first, second]


class DownStore(MemoryVectorStore):
    def ids(self, collection: str) -> set[str]:
        raise VectorStoreDown

    def collections(self) -> list[str]:
        raise VectorStoreDown


def test_a_vector_store_that_is_down_does_not_stop_it(catalog: Catalog, build: Build, go: Publish) -> None:
    name = build(["a"]).generation
    assert go(name, DownStore()).degraded == str(VectorStoreDown())
    assert catalog.live("acme") == name


def test_a_damaged_older_generation_does_not_stop_it(root: Path, build: Build, go: Publish) -> None:
    store = MemoryVectorStore()
    old = build(["a"]).generation
    go(old, store)
    (generation_path(root, "acme", old) / MANIFEST).write_bytes(b"{")
    assert go(build(["b"], now=NOW + 1).generation, store).deleted == 1


def test_collection_names_tell_brands_and_models_apart() -> None:
    models = [MODEL, ModelId("toy", "r2", 8), ModelId("toy", "r1", 9), ModelId("Toy", "r1", 8)]
    names = {collection_name(brand, model) for brand in ("a", "a-b", "ab") for model in models}
    assert len(names) == 12
    assert collection_name("a" * 64, MODEL).startswith("a" * 64 + ".")


class Killed(BaseException):
    """Nothing of ours catches it."""


def fail_after(monkeypatch: pytest.MonkeyPatch, steps: int, *places: tuple[Any, str]) -> None:
    """Let ``steps`` calls of the named methods pass, and raise Killed instead of the next."""
    left = steps

    def counted(method: Callable[..., Any]) -> Callable[..., Any]:
        def call(*args: Any, **kwargs: Any) -> Any:
            nonlocal left
            left -= 1
            if left < 0:
                raise Killed
            return method(*args, **kwargs)

        return call

    for owner, name in places:
        monkeypatch.setattr(owner, name, counted(getattr(owner, name)))


STEPS = (
    (MemoryVectorStore, "upsert"),
    (MemoryVectorStore, "delete"),
    (MemoryVectorStore, "drop"),
    (Catalog, "add_generation"),
    (Catalog, "publish"),
    (Catalog, "drop_generation"),
    (Path, "unlink"),
    (os, "fsync"),
)


def test_killed_at_any_step_it_can_be_repeated(
    catalog: Catalog, root: Path, build: Build, go: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BATCH", 1)
    reached = 0
    for steps in range(100):
        brand, store = f"brand-{steps}", MemoryVectorStore()
        other_model = build(["z"], brand, model=ModelId("old", "r0", 8), now=NOW - 1).generation
        old = build(["a", "b", "c"], brand).generation
        go(other_model, store, brand)
        go(old, store, brand)
        new = build(["c", "d", "e"], brand, now=NOW + 1).generation
        with monkeypatch.context() as patch:
            fail_after(patch, steps, *STEPS, (Publisher, "_kept"), (module, "stale_names"), (shutil, "rmtree"))
            try:
                go(new, store, brand, keep=1, exact=2)
                reached = steps
            except Killed:
                pass
        live = catalog.live(brand)
        assert live in (old, new)
        served = Generation.open(generation_path(root, brand, str(live)))
        assert IndexReader(catalog, Depot(root)).get(brand).name == live
        held = store.ids(collection_name(brand, MODEL))
        assert set(served.chunk_ids()) <= held  # what is served can be found
        go(new, store, brand, keep=1)
        assert catalog.live(brand) == new
        assert generation_names(root, brand) == [r.generation for r in catalog.generations(brand)] == [new]
        assert store.collections() == [collection_name(brand, MODEL)]
        assert store.ids(store.collections()[0]) == ids(["c", "d", "e"], brand)
        if reached:
            break
    assert reached > 12


def test_nodes_read_from_the_store_what_another_has_published(catalog: Catalog, root: Path, build: Build) -> None:
    """Pushed before the pointer, removed with the generation, and left-overs of killed runs after a while."""
    store = (root.parent / "store").as_uri()
    here, there = Depot(root, store), Depot(root.parent / "elsewhere", store)
    settings = IndexSettings(keep_generations=1)
    orphan = build(["x"], now=NOW - module.STALE_AGE_S).generation
    here.push("acme", orphan)
    first = build(["a"]).generation
    done = Publisher(catalog, here, None, settings).publish("acme", first, fence=None, now=NOW + 1)
    assert done.removed == (orphan,)
    assert IndexReader(catalog, there).get("acme").chunk(0).text == "a"
    second = build(["b"], now=NOW + 2).generation
    done = Publisher(catalog, here, None, settings).publish("acme", second, fence=None, now=NOW + 200)
    assert done.removed == (first,)
    assert there.names("acme") == [second]
    assert IndexReader(catalog, there).get("acme").chunk(0).text == "b"


def test_a_store_that_was_down_for_one_publication_is_not_believed_by_its_count(
    catalog: Catalog, build: Build, go: Publish
) -> None:
    """As many ids as there should be, and others."""
    store = MemoryVectorStore()
    for number, texts in enumerate((["a", "b"], ["b", "c"])):
        go(build(texts, now=NOW + number).generation, store)
        assert catalog.aligned() == {"acme": catalog.live("acme")}
    third = build(["c", "d"], now=NOW + 2).generation
    assert go(third, DownStore()).degraded
    assert catalog.aligned().get("acme") != third
    fourth = build(["d", "e"], now=NOW + 3).generation
    go(fourth, store)
    assert store.ids(COLLECTION) == ids(["c", "d", "e"])
    assert catalog.aligned() == {"acme": fourth}


def test_vectors_computed_anew_reach_the_store_under_the_same_ids(catalog: Catalog, root: Path, build: Build) -> None:
    store, settings = MemoryVectorStore(), IndexSettings()
    publisher = Publisher(catalog, Depot(root), store, settings)
    publisher.publish("acme", build(["a"]).generation, fence=None, now=NOW)

    def turned(keys: Sequence[str]) -> Any:
        return -vectors_of(keys)

    again = build(["a"], vector_of=turned, now=NOW + 1).generation
    publisher.publish("acme", again, fence=None, now=NOW + 1, refill=True)
    ((_, cosine),) = store.query(COLLECTION, turned([digest("a")])[0], 1)
    assert cosine == pytest.approx(1, abs=2e-3)


def test_what_others_publish_meanwhile_is_not_collected(
    catalog: Catalog, root: Path, build: Build, go: Publish, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A run that lost its brand while it filled the store, and the one that took the brand over."""
    go(build(["a"]).generation, None, keep=1)
    mine, theirs = build(["b"], now=NOW + 1).generation, build(["c"], now=NOW + 2).generation

    class Slow(MemoryVectorStore):
        def upsert(self, collection: str, names: Sequence[str], vectors: Any) -> None:
            super().upsert(collection, names, vectors)
            if catalog.live("acme") == mine:
                go(theirs, None, keep=1)

    go(mine, Slow(), keep=1)
    assert catalog.live("acme") == theirs
    assert Generation.open(generation_path(root, "acme", theirs)).chunk(0).text == "c"
