"""From stored documents to a live generation: what is embedded, what is kept, what is refused."""

from __future__ import annotations

import pytest
from sqlalchemy import update
from workshop import BRAND, Workshop

from ray_app.config import with_changes
from ray_app.errors import ChecksumMismatch, LeaseLost, PublishRefused, StoreUnavailable
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_names, generation_path
from ray_app.index.ports import Verdict
from ray_app.ingest import indexing
from ray_app.ingest.indexing import BrandIndexer
from ray_app.ingest.stages import EmbedOrder
from ray_app.records import ModelId
from ray_app.store.lease import Lease
from ray_app.store.lost import LOST
from ray_app.store.schema import urls


def test_the_documents_become_searchable_and_again_nothing_happens(shop: Workshop) -> None:
    shop.put({"a": "Press reset.", "b": "Clean the filter."})
    report = shop.index()
    assert (report.published, report.documents, report.chunks, report.embedded) == (True, 2, 2, 2)
    assert shop.texts() == ["Clean the filter.", "Press reset."]
    assert shop.live().manifest.model_source == shop.settings.embedding.model
    assert shop.vectors.count(shop.vectors.collections()[0]) == 2
    assert shop.staged() == []
    again = shop.index()
    assert (again.published, again.why, again.embedded, again.generation) == (False, "unchanged", 0, report.generation)
    assert shop.orders == [2]


def test_only_what_changed_is_cut_and_only_what_is_new_embedded(shop: Workshop) -> None:
    shop.put({"a": "Press reset.", "b": "Clean the filter.", "c": "Never mind."})
    shop.index()
    shop.put({"a": "Press reset.", "b": "Clean the filter twice."})
    report = shop.index()
    assert shop.orders == [3, 1]
    assert (report.documents, report.chunks, report.embedded, report.reused) == (2, 2, 1, 1)
    assert shop.texts() == ["Clean the filter twice.", "Press reset."]
    shop.put({})
    assert shop.index().chunks == 0


def test_another_way_of_cutting_embeds_only_other_texts(shop: Workshop) -> None:
    shop.put({"a": "Press reset.", "b": "Clean the filter."})
    shop.index()
    shop.settings = with_changes(shop.settings, embedding={"chunk_tokens": 100})
    report = shop.index()
    assert (report.published, report.embedded, report.reused) == (True, 0, 2)
    again = shop.index(again=True)
    assert (again.published, again.embedded, shop.orders) == (True, 0, [2, 2, 2])


def test_a_killed_run_embeds_what_is_left(shop: Workshop) -> None:
    shop.put({name: f"Text {name}." for name in "abcde"})
    shop.fail_after = 3
    with pytest.raises(KeyboardInterrupt):
        shop.index()
    assert shop.stores.catalog.live(BRAND) is None
    shop.fail_after = None
    report = shop.index()
    assert (report.chunks, report.embedded) == (5, 2)
    assert shop.texts() == [f"Text {name}." for name in "abcde"]


def test_a_rejected_chunk_is_written_down_until_its_document_is_cut_again(shop: Workshop) -> None:
    shop.put({"a": "Press reset.", "b": "Bad numbers.", "c": "Worse numbers."})
    shop.spoil = {"numbers": "bad_vector"}
    report = shop.index()
    assert (report.documents, report.chunks, report.rejected) == (3, 1, 2)
    (reject,) = shop.stores.rejects.of_url(BRAND, "https://acme.example/b")
    assert (reject.reason, reject.detail, reject.model) == ("bad_vector", "as a test wants", str(shop.embedder.model))
    assert shop.stores.rejects.counts(BRAND) == {"bad_vector": 2}
    shop.put({"a": "Press reset.", "b": "Bad numbers.", "c": "Better."})
    shop.index()
    assert shop.stores.rejects.counts(BRAND) == {"bad_vector": 1}, "b was kept as it is"
    shop.spoil = {}
    shop.index(again=True)
    assert shop.stores.rejects.counts(BRAND) == {}
    assert shop.texts() == ["Bad numbers.", "Better.", "Press reset."]


class FixedGate:
    """Says what it is told to say."""

    def __init__(self, *, passed: bool) -> None:
        self.passed = passed
        self.seen: list[tuple[int, int | None]] = []

    def judge(self, built: Generation, live: Generation | None) -> Verdict:
        self.seen.append((len(built), len(live) if live else None))
        return Verdict(self.passed, {"ndcg@10": 0.25}, "It finds a quarter of what it should.")


def test_what_the_gate_refuses_is_not_published_and_not_embedded_again(shop: Workshop) -> None:
    shop.put({"a": "Press reset."})
    first = shop.index(FixedGate(passed=True))
    shop.put({"a": "Press reset.", "b": "Clean the filter."})
    gate = FixedGate(passed=False)
    with pytest.raises(PublishRefused, match=r"a quarter.*--force"):
        shop.index(gate)
    assert gate.seen == [(2, 1)]
    assert generation_names(shop.stores.index_root, BRAND) == [first.generation]
    assert shop.texts() == ["Press reset."]
    forced = shop.index(gate, force=True)
    assert (forced.published, forced.embedded, forced.figures) == (True, 0, {"ndcg@10": 0.25})
    assert [row.figures for row in shop.stores.catalog.generations(BRAND)] == [{"ndcg@10": 0.25}] * 2


def test_a_held_brand_stays_as_it_is_until_forced(shop: Workshop) -> None:
    shop.put({"a": "Press reset."})
    first = shop.index().generation
    shop.stores.catalog.publish(BRAND, first, 1.0, hold=True)
    shop.put({"a": "Press reset twice."})
    report = shop.index()
    assert (report.published, report.why, report.generation, shop.orders) == (False, "held", first, [1])
    assert shop.index(force=True).published
    assert not shop.stores.catalog.held(BRAND)


def test_another_model_builds_beside_the_old_and_takes_nothing_from_it(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.put({"a": "Press reset.", "b": "Clean the filter."})
    shop.index()
    served = shop.live()
    other = ModelId("other", "r9", served.manifest.model.dim)
    monkeypatch.setattr(indexing, "model_id", lambda _: other)
    report = shop.index()
    assert (report.published, report.embedded, report.reused) == (True, 2, 0)
    assert shop.live().manifest.model == other
    assert len(shop.vectors.collections()) == 2, "the old generation is kept, and so are its vectors"
    assert len(served.dense(served.vectors[0].astype("float32"), 2)[0]) == 2


def test_a_damaged_live_generation_is_built_anew_from_what_others_hold(shop: Workshop) -> None:
    shop.put({"a": "Press reset.", "b": "Clean the filter."})
    shop.index()
    shop.put({"a": "Press reset.", "c": "Turn it off."})
    damaged = shop.index().generation
    path = generation_path(shop.stores.index_root, BRAND, damaged) / "chunks.arrow"
    content = bytearray(path.read_bytes())
    content[len(content) // 2] ^= 1
    path.write_bytes(content)
    report = shop.index()
    assert (report.published, report.embedded) == (True, 1), "one text stands in the older generation, too"
    assert shop.texts() == ["Press reset.", "Turn it off."]


def test_a_run_that_was_taken_over_publishes_nothing(shop: Workshop) -> None:
    shop.put({"a": "Press reset."})
    indexer = BrandIndexer(shop.settings, shop.stores, shop.run, shop.vectors)
    with Lease(shop.stores.ledger, BRAND, label="test", ttl_s=60) as lease:
        shop.stores.ledger.release(BRAND, lease.fence)
        with pytest.raises(LeaseLost):
            indexer.index(BRAND, lease)
    assert shop.stores.catalog.live(BRAND) is None


@pytest.mark.parametrize("when", ["embedding", "judging"])
def test_a_run_that_is_taken_over_meanwhile_leaves_no_generation(shop: Workshop, when: str) -> None:
    """Whoever took over may be forgetting what this run has just built in."""
    shop.put({"a": "Press reset."})
    lease = Lease(shop.stores.ledger, BRAND, label="test", ttl_s=60)

    def take_over() -> None:
        shop.stores.ledger.release(BRAND, lease.fence)

    class Gate(FixedGate):
        def judge(self, built: Generation, live: Generation | None) -> Verdict:
            take_over()
            return super().judge(built, live)

    def run(order: EmbedOrder) -> dict[str, int]:
        if when == "embedding":
            take_over()
        return shop.run(order)

    gate = Gate(passed=True) if when == "judging" else None
    with lease, pytest.raises(LeaseLost):
        BrandIndexer(shop.settings, shop.stores, run, shop.vectors, gate).index(BRAND, lease)
    assert [path for path in (shop.stores.index_root / BRAND).iterdir() if path.is_dir()] == []
    assert shop.stores.catalog.generations(BRAND) == []


def test_a_held_brand_whose_generation_is_damaged_is_not_published_over(shop: Workshop) -> None:
    shop.put({"a": "Press reset."})
    first = shop.index().generation
    shop.put({"a": "Press reset twice."})
    shop.index()
    shop.stores.catalog.publish(BRAND, first, 1.0, hold=True)
    path = generation_path(shop.stores.index_root, BRAND, first) / "vectors.npy"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(ChecksumMismatch, match=r"rollback holds it.*verify"):
        shop.index()
    assert (shop.stores.catalog.live(BRAND), shop.stores.catalog.held(BRAND)) == (first, True)


def test_force_ends_a_hold_also_when_nothing_changed(shop: Workshop) -> None:
    shop.put({"a": "Press reset."})
    first = shop.index().generation
    shop.stores.catalog.publish(BRAND, first, 1.0, hold=True)
    assert shop.index(force=True).published
    assert not shop.stores.catalog.held(BRAND)


def test_a_lost_text_stays_in_the_index_or_is_left_out_and_stops_nobody(shop: Workshop) -> None:
    shop.put({"a": "Press reset.", "b": "Clean the filter."})
    shop.index()
    with shop.stores.db.write() as conn:
        conn.execute(update(urls).where(urls.c.url.endswith("/b")).values(page_part=LOST))
    assert shop.index().why == "unchanged"
    assert shop.index(again=True).documents == 2
    assert shop.texts() == ["Clean the filter.", "Press reset."], "what the index holds of it stays"
    shop.settings = with_changes(shop.settings, embedding={"chunk_tokens": 100})
    report = shop.index()
    assert (report.documents, shop.texts()) == (1, ["Press reset."]), "it cannot be cut another way"


def test_what_was_built_and_could_not_be_judged_does_not_stay(shop: Workshop) -> None:
    class Broken(FixedGate):
        def judge(self, built: Generation, live: Generation | None) -> Verdict:
            raise StoreUnavailable

    shop.put({"a": "Press reset."})
    with pytest.raises(StoreUnavailable):
        shop.index(Broken(passed=True))
    assert generation_names(shop.stores.index_root, BRAND) == []
