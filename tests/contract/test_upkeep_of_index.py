"""Going back, giving space back, computing vectors anew, and the publish gate at work in the indexer."""

from __future__ import annotations

import os
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from sqlalchemy import update
from workshop import BRAND, Workshop

from ray_app.config import with_changes
from ray_app.errors import ChecksumMismatch, LeaseLost, NoGeneration, PublishRefused
from ray_app.evaluate.gate import RetrievalGate
from ray_app.index.build import build_generation
from ray_app.index.embedder import SentenceEmbedder
from ray_app.index.embedders import Embedders
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_names, generation_path
from ray_app.index.ports import Vectors
from ray_app.index.publish import STALE_AGE_S
from ray_app.ingest.indexing import BrandIndexer
from ray_app.ingest.optimize import Optimized, bloated, optimize_brand
from ray_app.ingest.rollback import RolledBack, roll_back
from ray_app.records import Chunk
from ray_app.store.lease import Lease
from ray_app.store.schema import urls
from ray_app.store.settle import NO_TEXT
from ray_app.testing.fakes import HashEmbedder

PLACES = ("cellar", "attic", "garage", "kitchen", "hall", "shed", "balcony", "office", "workshop", "laundry", "porch")
MANUALS = {
    place: f"This part is about the {place}. Before you clean the filter in the {place}, switch the {place} pump off "
    f"and wait until its lamp turns green. Call the {place} hotline when the lamp stays red after the third try."
    for place in PLACES
}


@pytest.fixture(autouse=True)
def no_disk_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)


def three(shop: Workshop) -> list[str]:
    names = []
    for count in (1, 2, 3):
        shop.put({name: f"Text {name}." for name in "abc"[:count]})
        names.append(shop.index().generation)
    return names


def go_back(shop: Workshop, to: str = "", *, hold: bool = False) -> RolledBack:
    with Lease(shop.stores.ledger, BRAND, label="test", ttl_s=60) as lease:
        return roll_back(shop.settings, shop.stores, lease, BRAND, to=to, hold=hold, vectors=shop.vectors)


def optimize(shop: Workshop, *, refill: bool = False) -> Optimized:
    with Lease(shop.stores.ledger, BRAND, label="test", ttl_s=60) as lease:
        return optimize_brand(shop.settings, shop.stores, BRAND, lease, shop.vectors, refill=refill)


def flip(path: Path) -> None:
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)


# Going back


def test_it_goes_back_one_generation_at_a_time(shop: Workshop) -> None:
    first, second, third = three(shop)
    assert go_back(shop) == RolledBack(BRAND, second, third, held=False, documents=2, chunks=2)
    assert shop.texts() == ["Text a.", "Text b."]
    assert go_back(shop).generation == first
    with pytest.raises(NoGeneration, match="older than"):
        go_back(shop)
    assert set(generation_names(shop.stores.index_root, BRAND)) == {first, second, third}
    assert shop.index().published, "the next run that finds changes publishes anew"
    assert len(shop.texts()) == 3


def test_it_goes_to_a_generation_by_name_also_forward(shop: Workshop) -> None:
    first, _, third = three(shop)
    assert go_back(shop, first).chunks == 1
    assert go_back(shop, third).chunks == 3
    with pytest.raises(NoGeneration, match="20200101T000000Z-abcdef"):
        go_back(shop, "20200101T000000Z-abcdef")
    assert shop.stores.catalog.live(BRAND) == third


def test_a_held_generation_stays_until_it_is_forced(shop: Workshop) -> None:
    _, second, _ = three(shop)
    assert go_back(shop, hold=True).held
    assert (shop.index().why, shop.stores.catalog.live(BRAND)) == ("held", second)
    assert shop.index(force=True).published
    assert shop.index().why == "unchanged"


def test_another_rollback_does_not_lift_the_hold(shop: Workshop) -> None:
    first, _, _ = three(shop)
    go_back(shop, hold=True)
    assert go_back(shop, first).held
    assert shop.index().why == "held"


def test_a_damaged_generation_is_refused_and_the_live_one_stays(shop: Workshop) -> None:
    _, second, third = three(shop)
    flip(generation_path(shop.stores.index_root, BRAND, second) / "chunks.arrow")
    with pytest.raises(ChecksumMismatch, match=r"cannot be gone back to.*chunks\.arrow.*verify"):
        go_back(shop)
    assert shop.stores.catalog.live(BRAND) == third


def test_there_is_nothing_to_go_back_to_before_the_first(shop: Workshop) -> None:
    with pytest.raises(NoGeneration):
        go_back(shop)


def test_a_run_that_was_taken_over_does_not_go_back(shop: Workshop) -> None:
    _, _, third = three(shop)
    with Lease(shop.stores.ledger, BRAND, label="test", ttl_s=60) as lease:
        shop.stores.ledger.release(BRAND, lease.fence)
        with pytest.raises(LeaseLost):
            roll_back(shop.settings, shop.stores, lease, BRAND)
    assert shop.stores.catalog.live(BRAND) == third


# Giving space back


def test_what_is_in_order_costs_nothing(shop: Workshop) -> None:
    three(shop)
    done = optimize(shop)
    assert (done.generations_removed, done.vectors_upserted, done.vectors_deleted, done.parts_rewritten) == (0,) * 4
    assert (done.bytes_before, done.problem) == (done.bytes_after, "")


def test_generations_beyond_those_kept_go_with_their_vectors(shop: Workshop) -> None:
    third = three(shop)[-1]
    shop.put({"z": "Only this."})
    live = shop.index().generation
    shop.settings = with_changes(shop.settings, index={"keep_generations": 1})
    done = optimize(shop)
    assert (done.generations_removed, done.vectors_deleted, done.generation) == (2, 3, live)
    assert done.bytes_after < done.bytes_before
    assert generation_names(shop.stores.index_root, BRAND) == [live] != [third]


def test_the_store_is_brought_in_line(shop: Workshop) -> None:
    three(shop)
    (name,) = shop.vectors.collections()
    shop.vectors.delete(name, sorted(shop.vectors.ids(name))[:2])
    shop.vectors.upsert(f"{BRAND}.0123456789ab", ["0" * 32], shop.embedder.encode(["of an old model"]))
    done = optimize(shop)
    assert (done.vectors_upserted, done.vectors_deleted) == (2, 1)
    assert shop.vectors.collections() == [name]


def test_a_store_full_of_deleted_vectors_is_filled_anew(shop: Workshop) -> None:
    three(shop)
    done = optimize(shop, refill=True)
    assert (done.collections_refilled, done.vectors_upserted, done.problem) == (1, 3, "")
    shop.settings = with_changes(shop.settings, index={"exact_max_chunks": 2})
    done = optimize(shop, refill=True)
    assert (done.collections_refilled, done.vectors_upserted) == (0, 0)
    assert ("searched through it" in done.note, done.problem) == (True, "")


def test_an_index_is_bloated_when_its_files_are_far_larger_than_what_it_holds(shop: Workshop, tmp_path: Path) -> None:
    three(shop)
    (tmp_path / "segment").mkdir()
    file = tmp_path / "segment" / "data_level0.bin"
    for size, expected in ((10_000_000, False), (40_000_000, True)):
        with file.open("wb") as stream:
            stream.truncate(size)
        assert bloated(tmp_path, shop.vectors, 384) is expected


def test_a_part_of_replaced_texts_is_written_anew_and_the_old_one_goes_later(shop: Workshop) -> None:
    shop.put({name: f"Text {name}." for name in "abcde"})
    with shop.stores.db.write() as conn:  # three of the five have left
        conn.execute(update(urls).where(urls.c.url > "https://acme.example/b").values(**NO_TEXT))
    (old,) = shop.stores.ledger.parts(BRAND)
    assert optimize(shop).parts_rewritten == 1
    (new,) = shop.stores.ledger.parts(BRAND)
    assert shop.stores.pages.rows(BRAND, new) == 2
    shop.index()
    assert shop.texts() == ["Text a.", "Text b."]
    (path,) = (path for path in (shop.settings.data_dir / "pages").rglob(old))
    os.utime(path, (time.time() - STALE_AGE_S - 60,) * 2)
    done = optimize(shop)
    assert (done.parts_rewritten, done.parts_removed, path.exists()) == (0, 1, False)


# Anew


def test_every_vector_is_computed_anew_when_that_is_asked_for(shop: Workshop) -> None:
    three(shop)
    with Lease(shop.stores.ledger, BRAND, label="test", ttl_s=60) as lease:
        report = BrandIndexer(shop.settings, shop.stores, shop.run, shop.vectors).index(BRAND, lease, embed_anew=True)
    assert (report.published, report.embedded, report.reused) == (True, 3, 0)
    assert len(shop.texts()) == 3


# The publish gate


def test_a_broken_index_is_refused_and_what_was_embedded_is_kept_for_forcing(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    gate = RetrievalGate(shop.settings, lambda: Embedders(HashEmbedder()))
    shop.put(MANUALS)
    first = shop.index(gate)
    assert first.figures["ndcg@10"] > 0.5
    shop.put({**MANUALS, "roof": "The roof has no pump."})
    monkeypatch.setattr("ray_app.index.build.tokenise", lambda text: [])
    with pytest.raises(PublishRefused, match=r"keyword index fell.*--force"):
        shop.index(gate, again=True)
    assert generation_names(shop.stores.index_root, BRAND) == [first.generation]
    assert shop.stores.catalog.live(BRAND) == first.generation
    assert shop.staged()
    forced = shop.index(gate, again=True, force=True)
    assert (forced.published, forced.embedded, forced.documents) == (True, 0, len(MANUALS) + 1)
    newest = shop.stores.catalog.generations(BRAND)[0]
    assert (newest.generation, newest.figures) == (forced.generation, forced.figures)
    assert forced.figures["bm25_ndcg@10"] == 0.0


def test_the_real_model_tells_mixed_up_vectors_on_a_few_pages(
    tmp_path: Path, real_embedder: SentenceEmbedder, shop: Workshop
) -> None:
    gate = RetrievalGate(shop.settings, lambda: Embedders(real_embedder))
    chunks = [
        Chunk(
            chunk_id=f"{number:032x}",
            brand=BRAND,
            url=f"https://acme.example/{place}",
            title=f"Manual of the {place}",
            section=("Cleaning",),
            anchor="",
            text=text,
            lang="en",
            kind="html",
            ordinal=0,
            embedding_key=f"{number:032x}",
            doc_hash=place,
        )
        for number, (place, text) in enumerate(MANUALS.items())
    ]
    rows = real_embedder.encode([chunk.embedding_text for chunk in chunks])

    def build(vectors: Vectors, now: float, texts: Sequence[Chunk] = chunks) -> Generation:
        place = {chunk.embedding_key: number for number, chunk in enumerate(chunks)}
        given: dict[str, Any] = {
            "vector_of": lambda keys: np.stack([vectors[place[key]] for key in keys]),
            "model": real_embedder.model,
            "settings": shop.settings.index,
        }
        documents = [(chunk.url, chunk.doc_hash) for chunk in texts]
        manifest = build_generation(
            tmp_path / "mixed",
            BRAND,
            chunks=texts,
            documents=documents,
            chunker_version="1",
            parent="",
            now=now,
            **given,
        )
        return Generation.open(generation_path(tmp_path / "mixed", BRAND, manifest.generation))

    live = build(rows, 1e9)
    assert gate.judge(build(rows, 1e9 + 1), live).passed
    assert gate.judge(live, build(rows, 1e9 + 2, chunks[1:])).passed, "one page in ten is new"
    verdict = gate.judge(build(np.roll(rows, 1, axis=0), 1e9 + 3), live)
    assert not verdict.passed
    assert "vectors fell" in verdict.why
