"""Every difference between the stores is found, repaired, and not found again."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from sqlalchemy import select, update
from workshop import BRAND, Workshop

from ray_app.config import with_changes
from ray_app.errors import VectorStoreDown
from ray_app.index.build import Recipe, Sources, write_generation
from ray_app.index.chroma import ChromaStore
from ray_app.index.generation import Generation
from ray_app.index.layout import brand_path, generation_names, generation_path
from ray_app.index.manifest import MANIFEST
from ray_app.index.memory import MemoryVectorStore
from ray_app.index.ports import Gate, Verdict
from ray_app.index.publish import STALE_AGE_S
from ray_app.ingest.indexing import BrandIndexer
from ray_app.ingest.verify import KINDS, Finding, Verifier
from ray_app.records import ModelId
from ray_app.store.lease import Lease
from ray_app.store.ledger import Mode
from ray_app.store.lost import LOST, fetch_anew, stored_pages
from ray_app.store.schema import urls

FIRST = {"a": "Press reset.", "b": "Clean the filter."}
SECOND = {**FIRST, "c": "Turn it off."}
PARTS = ("chunks.arrow", "documents.parquet", "vectors.npy", "ids.npy", "keys.npy")


def verify(shop: Workshop, *, repair: bool = True, gate: Gate | None = None) -> list[Finding]:
    indexer = BrandIndexer(shop.settings, shop.stores, shop.run, shop.vectors, gate)
    verifier = Verifier(shop.settings, shop.stores, indexer, shop.vectors)
    if not repair:
        return verifier.verify(BRAND, None)
    with Lease(shop.stores.ledger, BRAND, label="test", ttl_s=60) as lease:
        return verifier.verify(BRAND, lease)


def repaired(shop: Workshop) -> list[str]:
    """The kinds that one pass repairs; a pass that only looks finds the same, a second nothing."""
    seen = verify(shop, repair=False)
    assert not any(one.repaired for one in seen)
    found = verify(shop)
    assert all(one.repaired for one in found), found
    assert {one.kind for one in found} <= KINDS.keys()
    assert verify(shop) == []
    assert [one.kind for one in seen] == [one.kind for one in found]
    return [one.kind for one in found]


def published(shop: Workshop) -> tuple[str, str]:
    """Two generations, the second one live."""
    names = []
    for texts in (FIRST, SECOND):
        shop.put(texts)
        names.append(shop.index().generation)
    shop.orders.clear()
    return names[0], names[1]


def path_of(shop: Workshop, generation: str) -> Path:
    return generation_path(shop.stores.index_root, BRAND, generation)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


def age(path: Path) -> None:
    old = time.time() - STALE_AGE_S - 60
    for one in (*path.rglob("*"), path) if path.is_dir() else (path,):
        os.utime(one, (old, old))


@pytest.fixture(autouse=True)
def no_disk_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture(params=["memory", "chroma"])
def stored(request: pytest.FixtureRequest, shop: Workshop, tmp_path: Path) -> Iterator[Workshop]:
    """With the twin, and with a real Chroma."""
    if request.param == "chroma":
        shop.vectors = ChromaStore(tmp_path / "chroma")
    yield shop
    shop.vectors.close()


def test_what_is_in_order_is_left_alone(stored: Workshop) -> None:
    published(stored)
    assert verify(stored, repair=False) == []
    assert verify(stored) == []
    assert stored.orders == []


def test_a_brand_of_which_nothing_is_published_is_in_order(shop: Workshop) -> None:
    assert verify(shop) == []
    shop.put(FIRST)
    assert verify(shop) == []


# Generations


@pytest.mark.parametrize("part", [*PARTS, "keywords", MANIFEST])
@pytest.mark.parametrize("how", ["flipped", "truncated", "missing"])
def test_a_damaged_live_generation_gives_way_and_is_built_anew(shop: Workshop, part: str, how: str) -> None:
    first, live = published(shop)
    path = path_of(shop, live) / part
    path = min(path.iterdir()) if path.is_dir() else path
    if how == "flipped":
        flip(path)
    elif how == "truncated":
        os.truncate(path, path.stat().st_size // 2)
    else:
        path.unlink()
    assert repaired(shop) == ["live_generation"]
    assert shop.texts() == sorted(SECOND.values())
    assert set(generation_names(shop.stores.index_root, BRAND)) == {first, shop.live().name}
    assert live not in {row.generation for row in shop.stores.catalog.generations(BRAND)}


def test_a_pointer_to_nothing_is_set_right(shop: Workshop) -> None:
    first, live = published(shop)
    for path in sorted(path_of(shop, live).rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    path_of(shop, live).rmdir()
    (found,) = verify(shop)
    assert (found.kind, found.what) == ("live_generation", f"Generation {live} is missing.")
    assert found.repaired
    assert shop.texts() == sorted(SECOND.values())
    assert verify(shop) == []
    assert first in generation_names(shop.stores.index_root, BRAND)


def test_the_older_generation_serves_when_nothing_can_be_built(shop: Workshop) -> None:
    first, live = published(shop)
    flip(path_of(shop, live) / "vectors.npy")

    class Closed:
        def judge(self, built: Generation, live: Generation | None) -> Verdict:
            return Verdict(False, {}, "It finds nothing.")

    found = verify(shop, gate=Closed())
    assert [(one.kind, one.repaired) for one in found[:2]] == [("live_generation", True), ("rebuild", False)]
    assert {one.kind for one in found[2:]} == {"vector_surplus"}, "those of what the damaged one alone held"
    assert "It finds nothing." in found[1].how
    assert shop.live().name == first
    assert [one.kind for one in verify(shop)] == []
    shop.index()
    assert shop.texts() == sorted(SECOND.values())


def test_vectors_that_are_whole_are_not_made_again(shop: Workshop) -> None:
    _, live = published(shop)
    flip(path_of(shop, live) / "chunks.arrow")
    (found,) = verify(shop)
    assert "0 of 3 vectors were made anew" in found.how
    assert shop.orders == [1], "the text of c was cut again, and nothing embedded"
    assert shop.staged() == []


def test_the_only_generation_is_built_anew_from_the_stored_texts(shop: Workshop) -> None:
    shop.put(FIRST)
    only = shop.index().generation
    flip(path_of(shop, only) / "vectors.npy")
    assert [one.kind for one in verify(shop, repair=False)] == ["live_generation"]
    (found,) = verify(shop)
    assert (found.kind, found.repaired) == ("live_generation", True)
    assert "2 of 2 vectors were made anew" in found.how
    assert (shop.texts(), verify(shop)) == (sorted(FIRST.values()), [])
    assert generation_names(shop.stores.index_root, BRAND) == [shop.live().name]


def test_a_generation_held_by_a_rollback_gives_way_to_an_older_one_that_is_held(shop: Workshop) -> None:
    first, second = published(shop)
    shop.put({**SECOND, "d": "Call us."})
    third = shop.index().generation
    shop.stores.catalog.publish(BRAND, second, 1.0, hold=True)
    flip(path_of(shop, second) / "chunks.arrow")
    (found,) = verify(shop)
    assert (found.repaired, shop.live().name) == (True, first)
    assert "held" in found.how
    assert shop.stores.catalog.held(BRAND)
    assert set(generation_names(shop.stores.index_root, BRAND)) == {first, third}
    assert verify(shop) == []


def test_a_damaged_older_generation_is_dropped(stored: Workshop) -> None:
    first, live = published(stored)
    flip(path_of(stored, first) / "chunks.arrow")
    (found,) = verify(stored)
    assert (found.kind, found.repaired) == ("kept_generation", True)
    assert "chunks.arrow" in found.what
    assert [row.generation for row in stored.stores.catalog.generations(BRAND)] == [live]
    assert verify(stored) == []
    assert stored.orders == []


def test_a_row_without_a_directory_is_dropped(shop: Workshop) -> None:
    published(shop)
    ghost = "20200101T000000Z-abcdef"
    summary = {"chunks": 1, "documents": 1, "model": "m", "created_at": 1.0}
    shop.stores.catalog.add_generation(BRAND, ghost, summary)
    assert repaired(shop) == ["catalog_row"]
    assert ghost not in {row.generation for row in shop.stores.catalog.generations(BRAND)}


@pytest.mark.parametrize("whole", [True, False])
def test_a_generation_nobody_knows_is_removed(shop: Workshop, whole: bool) -> None:
    published(shop)
    recipe = Recipe(shop.embedder.model, shop.settings.index, "1")
    name = write_generation(shop.stores.index_root, BRAND, recipe, Sources([]), parent="", now=time.time()).generation
    if not whole:
        (path_of(shop, name) / MANIFEST).unlink()
    assert verify(shop, repair=False) == [], "a run may be building it"
    age(path_of(shop, name))
    assert repaired(shop) == ["orphan_generation"]
    assert not path_of(shop, name).exists()


def test_a_generation_being_built_is_removed_only_under_the_lease(shop: Workshop) -> None:
    published(shop)
    folder = brand_path(shop.stores.index_root, BRAND) / "20990101T000000Z-abcdef" / "scratch"
    folder.mkdir(parents=True)
    assert verify(shop, repair=False) == []
    assert [one.kind for one in verify(shop)] == ["orphan_generation"]
    assert not folder.parent.exists()


def test_files_left_behind_are_removed(shop: Workshop) -> None:
    _, live = published(shop)
    stray = path_of(shop, live) / "manifest.json.part"
    staged = shop.stores.staging_root / BRAND / "model" / "run" / "0.part"
    staged.parent.mkdir(parents=True)
    copy = brand_path(shop.stores.index_root, BRAND) / ".20200101T000000Z-abcdef.part"
    copy.mkdir()
    for path in (stray, staged, copy / "chunks.arrow"):
        path.write_bytes(b"x")
        age(path)
    age(copy)
    whole = staged.with_name("1.parquet")
    whole.write_bytes(b"work of a run that will go on")
    assert repaired(shop) == ["leftover"] * 3
    assert not any(path.exists() for path in (stray, staged, copy))
    assert whole.exists()


# Texts


def page_rows(shop: Workshop) -> dict[str, tuple[str | None, str, str]]:
    with shop.stores.db.read() as conn:
        rows = conn.execute(select(urls.c.url, urls.c.page_part, urls.c.state, urls.c.content_hash))
        return {row[0].rpartition("/")[2]: (row[1], row[2], row[3]) for row in rows}


@pytest.mark.parametrize("how", ["missing", "flipped"])
def test_lost_texts_are_fetched_anew_and_stay_in_the_index(shop: Workshop, how: str) -> None:
    published(shop)
    (folder,) = (shop.settings.data_dir / "pages").iterdir()
    part = folder / next(iter(shop.stores.ledger.parts(BRAND)))
    with shop.stores.db.write() as conn:
        conn.execute(update(urls).values(etag="e", revisit_at=1e12, extractor=3))
    flip(part) if how == "flipped" else part.unlink()
    found = verify(shop)
    assert [one.kind for one in found] == ["page_part"]
    assert "The next crawl fetches 3 of them anew." in found[0].how
    age(part) if part.exists() else None
    assert [one.kind for one in verify(shop)] == (["orphan_page_part"] if how == "flipped" else [])
    assert not shop.index().published, "the index holds these texts itself"
    with Lease(shop.stores.ledger, BRAND, label="test", ttl_s=60) as lease:
        cycle = shop.stores.ledger.open_cycle(BRAND, time.time(), lease.fence, Mode.DELTA, extractor=3)
    due = shop.stores.ledger.due(BRAND, cycle.number, "", 9, time.time())
    assert {(task.etag, task.extractor) for task in due} == {("", 0)}, "asked for as if nothing were stored"
    assert len(due) == 3
    assert shop.index(again=True).documents == 3, "nothing to cut anew, and nothing lost"


def test_a_lost_text_that_the_index_lacks_is_forgotten_until_it_is_fetched(shop: Workshop) -> None:
    published(shop)
    shop.put({**SECOND, "d": "Call us."})
    (folder,) = (shop.settings.data_dir / "pages").iterdir()
    (folder / next(iter(shop.stores.ledger.parts(BRAND)))).unlink()
    assert repaired(shop) == ["page_part"]
    rows = page_rows(shop)
    assert rows["d"] == (None, "queued", "")
    assert [rows[name][0] for name in "abc"] == [LOST] * 3
    shop.index()
    assert shop.texts() == sorted(SECOND.values())


def test_a_row_that_points_to_another_text_is_found(shop: Workshop) -> None:
    published(shop)
    with shop.stores.db.write() as conn:
        conn.execute(update(urls).where(urls.c.url.like("%/a")).values(page_row=1))
    assert repaired(shop) == ["page_part"]
    assert page_rows(shop)["a"][0] == LOST


@pytest.mark.parametrize("how", ["no disk", "empty folder", "errno"])
def test_texts_of_which_nobody_can_say_are_left_alone(
    shop: Workshop, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    published(shop)
    (folder,) = (shop.settings.data_dir / "pages").iterdir()
    part = next(iter(shop.stores.ledger.parts(BRAND)))
    if how == "errno":
        (folder / part).unlink()
        (folder / part).mkdir()  # which no user can read as a file, not even root
    else:
        folder.rename(shop.settings.data_dir / "elsewhere")
        if how == "empty folder":
            folder.mkdir()
    before = page_rows(shop)
    found = [one for one in verify(shop) if one.kind == "page_part"]
    assert [one.repaired for one in found] == [False]
    assert "Nothing was changed" in found[0].how
    assert page_rows(shop) == before


def test_texts_that_were_handed_over_wait_for_their_owner(shop: Workshop) -> None:
    published(shop)
    with shop.stores.db.write() as conn:
        conn.execute(update(urls).values(cycle_done=-1, extractor=-1))
    (folder,) = (shop.settings.data_dir / "pages").iterdir()
    (folder / next(iter(shop.stores.ledger.parts(BRAND)))).unlink()
    (found,) = verify(shop)
    assert "fetches 0 of them anew. 3 were handed over and wait for their owner" in found.how
    assert verify(shop) == []


def test_a_text_that_was_handed_over_meanwhile_is_not_taken_for_the_lost_one(shop: Workshop) -> None:
    published(shop)
    lost = list(stored_pages(shop.stores.db, BRAND))
    with shop.stores.db.write() as conn:
        conn.execute(update(urls).where(urls.c.url.like("%/a")).values(page_part="f" * 32 + ".parquet"))
    with Lease(shop.stores.ledger, BRAND, label="test", ttl_s=60) as lease:
        fetch_anew(shop.stores.db, BRAND, lease.fence, lost, set())
    assert {name: row[0] for name, row in page_rows(shop).items()} == {"a": "f" * 32 + ".parquet", "b": None, "c": None}


def test_texts_nobody_points_to_are_removed_once_they_are_old(shop: Workshop) -> None:
    published(shop)
    (folder,) = (shop.settings.data_dir / "pages").iterdir()
    (orphan,) = {path.name for path in folder.iterdir()} - shop.stores.ledger.parts(BRAND)
    assert verify(shop) == [], "a crawl may have written it just now"
    half = folder / f"{'0' * 32}.parquet.tmp"
    half.write_bytes(b"x")
    age(half)
    age(folder / orphan)
    (found,) = verify(shop, repair=False)
    assert found.what.startswith("2 files")
    assert repaired(shop) == ["orphan_page_part"]
    assert {path.name for path in folder.iterdir()} == shop.stores.ledger.parts(BRAND)


# Vectors


def test_what_a_run_publishes_meanwhile_is_no_difference(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    published(shop)
    real = MemoryVectorStore.ids

    def slow(self: MemoryVectorStore, name: str) -> set[str]:
        monkeypatch.setattr(MemoryVectorStore, "ids", real)
        shop.put({**SECOND, "d": "Call us."})
        shop.index()
        return set(real(self, name))

    monkeypatch.setattr(MemoryVectorStore, "ids", slow)
    assert verify(shop, repair=False) == []


def test_an_older_generation_goes_live_though_no_vectors_can_be_staged(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, live = published(shop)
    flip(path_of(shop, live) / "chunks.arrow")

    def full(*_: object) -> str:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("ray_app.index.staging.Staging.new_run", full)
    found = verify(shop)
    assert {"salvage", "rebuild"} <= {one.kind for one in found}
    assert shop.live().name == first


def test_a_generation_that_the_system_does_not_let_be_read_is_kept(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = published(shop)
    real = Generation.open

    def refused(path: Path, *, verify: bool = True) -> Generation:
        if path.name == first and verify:
            raise OSError(24, "Too many open files")
        return real(path, verify=verify)

    monkeypatch.setattr(Generation, "open", refused)
    found = [one for one in verify(shop) if one.kind == "kept_generation"]
    assert [one.repaired for one in found] == [False]
    assert first in generation_names(shop.stores.index_root, BRAND)


def collection(shop: Workshop) -> str:
    (name,) = shop.vectors.collections()
    return name


def test_a_missing_vector_is_written_again(stored: Workshop) -> None:
    published(stored)
    gone = sorted(stored.vectors.ids(collection(stored)))[:2]
    stored.vectors.delete(collection(stored), gone)
    assert repaired(stored) == ["vector_missing"]
    assert stored.vectors.count(collection(stored)) == 3


def test_a_lost_collection_is_filled_again(stored: Workshop) -> None:
    published(stored)
    stored.vectors.drop(collection(stored))
    (found,) = verify(stored)
    assert (found.kind, found.repaired) == ("vector_missing", True)
    assert "3 vectors are missing" in found.what
    assert (stored.vectors.count(collection(stored)), verify(stored)) == (3, [])


def test_a_vector_of_no_generation_is_deleted(stored: Workshop) -> None:
    published(stored)
    stored.vectors.upsert(collection(stored), ["0" * 32], stored.embedder.encode(["stray"]))
    assert repaired(stored) == ["vector_surplus"]
    assert stored.vectors.count(collection(stored)) == 3


def test_an_altered_vector_is_written_again(stored: Workshop) -> None:
    published(stored)
    one = min(stored.vectors.ids(collection(stored)))
    stored.vectors.upsert(collection(stored), [one], stored.embedder.encode(["something else"]))
    assert repaired(stored) == ["vector_altered"]
    row = stored.live().index_of(one)
    _, found = stored.vectors.vectors(collection(stored), [one])
    np.testing.assert_allclose(found[0], stored.live().vectors[row], atol=1e-3)


def test_a_collection_of_no_generation_is_dropped(stored: Workshop) -> None:
    published(stored)
    stored.vectors.upsert(f"{BRAND}.0123456789ab", ["0" * 32], stored.embedder.encode(["stray"]))
    stored.vectors.upsert("acme-2.0123456789ab", ["0" * 32], stored.embedder.encode(["of another brand"]))
    assert repaired(stored) == ["collection"]
    assert len(stored.vectors.collections()) == 2


def test_generations_of_two_models_have_a_collection_each(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    published(shop)
    other = ModelId("other", "r9", shop.embedder.model.dim)
    monkeypatch.setattr("ray_app.ingest.indexing.model_id", lambda _: other)
    shop.index()
    assert verify(shop) == []
    for name in shop.vectors.collections():
        shop.vectors.delete(name, sorted(shop.vectors.ids(name))[:1])
    assert repaired(shop) == ["vector_missing"] * 2


def test_a_store_that_is_down_is_told(shop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    published(shop)

    def down(*_: object) -> None:
        raise VectorStoreDown("Chroma does not answer.")

    monkeypatch.setattr(MemoryVectorStore, "collections", down)
    (found,) = verify(shop)
    assert (found.kind, found.repaired, found.what) == ("vector_store", False, "Chroma does not answer.")


def test_several_faults_are_repaired_in_one_pass(stored: Workshop) -> None:
    first, live = published(stored)
    stored.settings = with_changes(stored.settings, index={"keep_generations": 5})
    stored.put({**SECOND, "d": "Call us."})
    third = stored.index().generation
    flip(min((path_of(stored, third) / "keywords").iterdir()))
    flip(path_of(stored, first) / "documents.parquet")
    stored.vectors.delete(collection(stored), sorted(stored.vectors.ids(collection(stored)))[:1])
    kinds = {one.kind for one in verify(stored)}
    assert {"live_generation", "kept_generation"} <= kinds <= {"live_generation", "kept_generation", "vector_missing"}
    assert verify(stored) == []
    assert stored.texts() == sorted([*SECOND.values(), "Call us."])
    assert live in generation_names(stored.stores.index_root, BRAND)
