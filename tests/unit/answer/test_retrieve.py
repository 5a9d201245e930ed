from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from answer_parts import FixedIndex, asked, chunk
from numpy.typing import NDArray

from ray_app.answer.retrieve import Opened, Retriever, fuse, trusted
from ray_app.config import Settings, with_changes
from ray_app.errors import BadVector, NoGeneration, VectorStoreDown
from ray_app.index.generation import Generation
from ray_app.index.memory import MemoryVectorStore
from ray_app.index.publish import collection_name
from ray_app.records import Chunk, ModelId
from ray_app.testing.fakes import HashEmbedder

Build = Callable[[str, Sequence[Chunk]], Generation]


@pytest.fixture
def retriever(index: FixedIndex, embedder: HashEmbedder, settings: Settings) -> Retriever:
    return Retriever(index, embedder, settings)


async def test_both_retrievers_find_and_every_hit_knows_both_scores(retriever: Retriever, opened: Opened) -> None:
    got = await retriever.search(asked("How do I reset the router?"), opened)
    assert got.dense[0].chunk.title == got.bm25[0].chunk.title == "Factory reset"
    assert all(h.scores.keys() == {"dense", "bm25"} for h in (*got.dense, *got.bm25))
    assert got.degraded == ()
    assert got.timings_ms.keys() == {"embed", "retrieve"}
    assert got.weights.keys() == {"reset", "router"}


async def test_scores_are_those_of_the_generation(retriever: Retriever, opened: Opened, embedder: HashEmbedder) -> None:
    ask = asked("warranty of the printer")
    got = await retriever.search(ask, opened)
    generation = opened.generations[0][1]
    exact = generation.vectors.astype(np.float32) @ embedder.encode([ask.text])[0]
    for found in (*got.dense, *got.bm25):
        place = generation.index_of(found.chunk.chunk_id)
        assert found.scores["dense"] == pytest.approx(float(exact[place]), abs=1e-5)


async def test_every_brand_is_asked_when_none_is_named(retriever: Retriever) -> None:
    opened = retriever.open("")
    assert [part.split(":")[0] for part in opened.name.split(",")] == ["acme", "bolt"]
    got = await retriever.search(asked("descale the kettle"), opened)
    assert got.bm25[0].chunk.brand == "bolt"
    assert {h.chunk.brand for h in got.dense} == {"acme", "bolt"}
    assert [h.score for h in got.dense] == sorted((h.score for h in got.dense), reverse=True)


async def test_candidates_are_counted_over_all_brands(
    index: FixedIndex, embedder: HashEmbedder, settings: Settings
) -> None:
    retriever = Retriever(index, embedder, with_changes(settings, retrieval={"candidates": 2}))
    got = await retriever.search(asked("reset kettle printer warranty"), retriever.open(""))
    assert (len(got.dense), len(got.bm25)) == (2, 2)


def test_an_empty_catalog_says_so(embedder: HashEmbedder, settings: Settings) -> None:
    with pytest.raises(NoGeneration):
        Retriever(FixedIndex({}), embedder, settings).open("")


async def test_a_language_leaves_out_the_others(retriever: Retriever, opened: Opened) -> None:
    got = await retriever.search(asked("printer drucker", lang="de"), opened)
    assert {h.chunk.lang for h in (*got.dense, *got.bm25)} == {"de"}


async def test_a_question_without_search_words_is_answered_by_vectors(retriever: Retriever, opened: Opened) -> None:
    got = await retriever.search(asked("how is it"), opened)
    assert got.bm25 == ()
    assert got.dense


class Blind(HashEmbedder):
    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        raise BadVector


async def test_without_vectors_keywords_answer(index: FixedIndex, settings: Settings, opened: Opened) -> None:
    got = await Retriever(index, Blind(), settings).search(asked("reset router"), opened)
    assert got.dense == ()
    assert got.bm25[0].chunk.title == "Factory reset"
    assert got.degraded == ("embedder",)
    assert fuse(got, settings.retrieval)[0].chunk.title == "Factory reset"


async def test_vectors_of_another_model_are_never_compared(
    index: FixedIndex, settings: Settings, opened: Opened
) -> None:
    other = HashEmbedder()
    other.model = ModelId("hash", "2", other.model.dim)
    got = await Retriever(index, other, settings).search(asked("reset router"), opened)
    assert got.dense == ()
    assert all("dense" not in h.scores for h in got.bm25)
    assert got.degraded == ("embedder: the index was made with another model",)


async def test_where_the_embedder_knows_no_word_keywords_lead(
    index: FixedIndex, embedder: HashEmbedder, settings: Settings, opened: Opened
) -> None:
    class Foreign(HashEmbedder):
        def count(self, text: str) -> int:
            return len(text)  # every letter a piece

    got = await Retriever(index, Foreign(), settings).search(asked("printer paper"), opened)
    assert got.foreign == 1.0
    fused = fuse(got, with_changes(settings, retrieval={"dense_weight": 1.0}).retrieval)
    best = max(h.scores["bm25"] for h in fused)
    assert fused[0].scores["bm25"] == best
    assert fused[0].score == pytest.approx(trusted(1.0, 1.0) + 1 - trusted(1.0, 1.0))
    assert trusted(0.5, 0.0) == 0.5


class Down(MemoryVectorStore):
    def query(self, collection: str, vector: NDArray[np.float32], k: int) -> list[tuple[str, float]]:
        raise VectorStoreDown


@pytest.fixture
def large(settings: Settings) -> Settings:
    return with_changes(settings, index={"exact_max_chunks": 0})


async def test_a_large_brand_is_asked_through_the_store_and_foreign_ids_are_dropped(
    build: Build, embedder: HashEmbedder, large: Settings
) -> None:
    generation = build("acme", [chunk("reset the router"), chunk("paper for the printer")])
    store = MemoryVectorStore()
    name = collection_name("acme", embedder.model)
    store.upsert(name, generation.chunk_ids(), generation.vectors.astype(np.float32))
    store.upsert(name, ["f" * 32], embedder.encode(["reset the router"]))
    opened = Opened((("acme", generation),))
    got = await Retriever(FixedIndex({"acme": generation}), embedder, large, store).search(
        asked("reset router"), opened
    )
    assert [h.chunk.text for h in got.dense] == ["reset the router", "paper for the printer"]
    assert got.degraded == ()


async def test_a_store_that_is_down_is_replaced_by_exact_search(
    index: FixedIndex, embedder: HashEmbedder, large: Settings, opened: Opened
) -> None:
    exact = await Retriever(index, embedder, large).search(asked("reset router"), opened)
    got = await Retriever(index, embedder, large, Down()).search(asked("reset router"), opened)
    assert got.dense == exact.dense
    assert got.degraded == ("chroma",)


@pytest.mark.parametrize("fusion", ["convex", "rrf"])
async def test_fused_hits_keep_the_scores_of_each_stage(
    retriever: Retriever, opened: Opened, settings: Settings, fusion: str
) -> None:
    got = await retriever.search(asked("how do I reset the router"), opened)
    fused = fuse(got, with_changes(settings, retrieval={"fusion": fusion}).retrieval)
    assert fused[0].chunk.title == "Factory reset"
    assert all(h.scores.keys() == {"dense", "bm25", "fused"} and h.score == h.scores["fused"] for h in fused)
    assert [h.score for h in fused] == sorted((h.score for h in fused), reverse=True)
    assert len({h.chunk.chunk_id for h in fused}) == len(fused)
