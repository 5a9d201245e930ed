from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import pytest
from answer_parts import FixedIndex, asked, chunk
from numpy.typing import NDArray

from ray_app.answer.retrieve import Opened, Retriever, fuse, trusted
from ray_app.config import Settings, with_changes
from ray_app.errors import (
    BacklineError,
    BadVector,
    ChecksumMismatch,
    NoGeneration,
    StoreUnavailable,
    UnknownBrand,
    VectorStoreDown,
)
from ray_app.index.embedders import Embedders
from ray_app.index.generation import Generation
from ray_app.index.keywords import KeywordIndex
from ray_app.index.memory import MemoryVectorStore
from ray_app.index.publish import collection_name
from ray_app.index.recall import RecallSampler
from ray_app.records import ModelId
from ray_app.testing.fakes import HashEmbedder

Build = Callable[..., Generation]


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


PRODUCTS = {
    "https://acme.example/mc-707": ("Groovebox", "MC-707"),
    "https://acme.example/mc-707-de": ("Groovebox", "MC-707"),
    "https://acme.example/mc-101": ("MC-101",),
}


@pytest.fixture
def shop(build: Build) -> Generation:
    """Texts of two products in two languages, one of no product, and one whose language nobody knows."""
    return build(
        "acme",
        [
            chunk("Hold the reset button of the groovebox.", page="mc-707"),
            chunk("Den Knopf der Groovebox halten: reset.", page="mc-707-de", lang="de"),
            chunk("Press the reset button of the small one.", page="mc-101"),
            chunk("The reset of a router.", page="router"),
            chunk("reset 0x41", page="codes", lang=""),
        ],
        PRODUCTS,
    )


@pytest.mark.parametrize(
    ("fields", "pages"),
    [
        ({}, {"mc-707", "mc-707-de", "mc-101", "router", "codes"}),
        ({"product": "mc-707"}, {"mc-707", "mc-707-de"}),
        ({"product": " GROOVEBOX "}, {"mc-707", "mc-707-de"}),
        ({"product": "MC-101"}, {"mc-101"}),
        ({"product": "MC-9"}, set()),
        ({"lang": "en"}, {"mc-707", "mc-101", "router", "codes"}),
        ({"lang": "fr"}, {"codes"}),
        ({"lang": "en", "product": "MC-101"}, {"mc-101"}),
        ({"lang": "fr", "product": "MC-101"}, set()),
    ],
)
@pytest.mark.parametrize("through_store", [False, True])
async def test_filters_hold_in_both_searches(
    shop: Generation,
    embedder: HashEmbedder,
    settings: Settings,
    fields: dict[str, str],
    pages: set[str],
    through_store: bool,
) -> None:
    store = MemoryVectorStore()
    store.upsert(collection_name("acme", embedder.model), shop.chunk_ids(), shop.vectors.astype(np.float32))
    limits = with_changes(settings, index={"exact_max_chunks": 0 if through_store else 99})
    retriever = Retriever(FixedIndex({"acme": shop}), embedder, limits, store)
    got = await retriever.search(asked("reset button", **fields), retriever.open("acme"))
    assert {h.chunk.url.rpartition("/")[2] for h in got.dense} == pages
    assert {h.chunk.url.rpartition("/")[2] for h in got.bm25} <= pages
    assert got.degraded == ()


async def test_a_filter_takes_no_place_of_what_it_lets_through(
    build: Build, embedder: HashEmbedder, settings: Settings
) -> None:
    crowd = [chunk(f"reset the router {n}", page=f"router-{n}") for n in range(30)]
    generation = build("acme", [*crowd, chunk("reset der router", page="de", lang="de")])
    store = MemoryVectorStore()
    store.upsert(collection_name("acme", embedder.model), generation.chunk_ids(), generation.vectors.astype(np.float32))
    for exact in (0, 99):
        limits = with_changes(settings, retrieval={"candidates": 3}, index={"exact_max_chunks": exact})
        retriever = Retriever(FixedIndex({"acme": generation}), embedder, limits, store)
        got = await retriever.search(asked("reset the router", lang="de"), retriever.open("acme"))
        assert [h.chunk.lang for h in got.dense] == [h.chunk.lang for h in got.bm25] == ["de"]
        got = await retriever.search(asked("reset the router", lang="en"), retriever.open("acme"))
        assert len(got.dense) == len(got.bm25) == 3


async def test_few_rows_of_a_large_brand_are_searched_exactly(
    build: Build, embedder: HashEmbedder, settings: Settings
) -> None:
    generation = build("acme", [chunk("reset"), chunk("paper"), chunk("ink"), chunk("Papier", page="de", lang="de")])
    limits = with_changes(settings, index={"exact_max_chunks": 1})
    retriever = Retriever(FixedIndex({"acme": generation}), embedder, limits, Down())
    got = await retriever.search(asked("reset", lang="de"), retriever.open("acme"))
    assert (len(got.dense), got.degraded) == (1, ())
    got = await retriever.search(asked("reset"), retriever.open("acme"))
    assert (len(got.dense), got.degraded) == (4, ("chroma",))


async def test_a_store_that_is_not_known_to_be_whole_is_not_asked(
    build: Build, embedder: HashEmbedder, settings: Settings
) -> None:
    """Of a half filled one the answer would be a half, and nobody would see it."""
    generation = build("acme", [chunk("reset"), chunk("paper"), chunk("ink")])
    store = MemoryVectorStore()
    store.upsert(collection_name("acme", embedder.model), generation.chunk_ids()[:2], generation.vectors[:2])
    limits = with_changes(settings, index={"exact_max_chunks": 0}, retrieval={"candidates": 2})
    retriever = Retriever(FixedIndex({"acme": generation}, whole=False), embedder, limits, store)
    for word in ("reset", "paper", "ink"):
        got = await retriever.search(asked(word), retriever.open("acme"))
        assert word in got.dense[0].chunk.text
        assert got.degraded == ("chroma",)


async def test_no_question_scores_the_whole_corpus(
    retriever: Retriever, opened: Opened, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delattr(KeywordIndex, "scores")
    got = await retriever.search(asked("reset the router"), opened)
    assert all("bm25" in h.scores for h in got.dense)


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


def fake(name: str, dim: int) -> HashEmbedder:
    embedder = HashEmbedder(dim)
    embedder.model = ModelId(name, "1", dim)
    return embedder


class Counting(HashEmbedder):
    """Notes every question; one of another width fails a comparison loudly."""

    def __init__(self, name: str, dim: int) -> None:
        super().__init__(dim)
        self.model = ModelId(name, "1", dim)
        self.asked: list[str] = []

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        self.asked += texts
        return super().encode(texts)


async def test_each_generation_is_asked_in_its_own_model_which_embeds_once(build: Build, settings: Settings) -> None:
    old, new = Counting("old", 64), Counting("new", 32)
    index = FixedIndex(
        {
            "acme": build("acme", [chunk("reset the router"), chunk("paper")], by=old),
            "bolt": build("bolt", [chunk("reset the kettle", brand="bolt"), chunk("lime", brand="bolt")], by=new),
            "cord": build("cord", [chunk("reset the cable", brand="cord"), chunk("plug", brand="cord")], by=new),
        }
    )
    old.asked, new.asked = [], []
    embedders = Embedders(old, lambda source: new)
    embedders.get(index.get("bolt").manifest)
    retriever = Retriever(index, old, settings, embedders=embedders)
    got = await retriever.search(asked("reset"), retriever.open(""))
    assert (old.asked, new.asked) == (["reset"], ["reset"])
    assert got.degraded == ()
    for hit in got.dense:
        model = old if hit.chunk.brand == "acme" else new
        text, question = model.encode([hit.chunk.embedding_text, "reset"])
        assert hit.scores["dense"] == pytest.approx(float(text @ question), abs=2e-3)
    assert {h.chunk.brand for h in fuse(got, settings.retrieval)[:3]} == {"acme", "bolt", "cord"}


async def test_no_model_crowds_out_another_by_higher_cosines(build: Build, settings: Settings) -> None:
    class Cone(HashEmbedder):
        """As some models do, it gives every pair of texts a cosine near 1."""

        def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
            rows = super().encode(texts) * 0.1
            rows[:, 0] += 1.0
            return np.asarray(rows / np.linalg.norm(rows, axis=1, keepdims=True), np.float32)

    plain, cone = HashEmbedder(64), Cone(32)
    index = FixedIndex(
        {
            "acme": build("acme", [chunk("reset the router"), chunk("paper")], by=plain),
            "bolt": build("bolt", [chunk(f"lime {n}", brand="bolt") for n in range(5)], by=cone),
        }
    )
    embedders = Embedders(plain, lambda source: cone)
    embedders.get(index.get("bolt").manifest)
    limits = with_changes(settings, retrieval={"candidates": 4})
    retriever = Retriever(index, plain, limits, embedders=embedders)
    got = await retriever.search(asked("how do I reset the router"), retriever.open(""))
    assert "acme" in {h.chunk.brand for h in got.dense}
    assert fuse(got, limits.retrieval)[0].chunk.text == "reset the router"


async def test_a_switch_to_another_model_degrades_no_question(build: Build, settings: Settings) -> None:
    old, new = fake("old", 64), fake("new", 32)
    texts = [chunk("reset the router"), chunk("paper")]
    index = FixedIndex({"acme": build("acme", texts, by=old)})
    after = build("acme", texts, by=new)
    embedders = Embedders(old, lambda source: new)
    retriever = Retriever(index, old, settings, embedders=embedders)

    def switch() -> None:
        embedders.get(after.manifest)
        index.generations["acme"] = after
        embedders.keep({new.model})

    before = retriever.open("acme")
    switch()
    got = await retriever.search(asked("reset"), before)  # on its way since before the switch
    assert (got.dense[0].chunk.text, got.degraded) == ("reset the router", ())
    got = await retriever.search(asked("reset"), retriever.open("acme"))
    assert (got.dense[0].chunk.text, got.degraded) == ("reset the router", ())
    assert embedders.held(old.model) is None


async def test_a_switch_between_generation_and_model_is_seen(build: Build, settings: Settings) -> None:
    old, new = fake("old", 64), fake("new", 32)
    before, after = (build("acme", [chunk("reset")], by=by) for by in (old, new))
    embedders = Embedders(old, lambda source: new)

    class Switching(FixedIndex):
        def get(self, brand: str) -> Generation:
            found = super().get(brand)
            if found is before:  # the switch comes right after this answer
                embedders.get(after.manifest)
                self.generations["acme"] = after
                embedders.keep({new.model})
            return found

    opened = Retriever(Switching({"acme": before}), old, settings, embedders=embedders).open("acme")
    assert opened.generations == (("acme", after),)
    assert opened.embedders == {new.model: new}


@pytest.mark.parametrize("error", [ChecksumMismatch, StoreUnavailable, NoGeneration, UnknownBrand])
def test_one_brand_that_cannot_be_opened_does_not_silence_the_others(
    index: FixedIndex, embedder: HashEmbedder, settings: Settings, error: type[BacklineError]
) -> None:
    class Broken(FixedIndex):
        broken: tuple[str, ...] = ("acme",)

        def get(self, brand: str) -> Generation:
            if brand in self.broken:
                raise error
            return super().get(brand)

    reader = Broken(index.generations)
    retriever = Retriever(reader, embedder, settings)
    assert [brand for brand, _ in retriever.open("").generations] == ["bolt"]
    with pytest.raises(error):
        retriever.open("acme")
    reader.broken = ("acme", "bolt")
    with pytest.raises(error if error is not UnknownBrand else NoGeneration):
        retriever.open("")


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


@pytest.mark.parametrize(("held", "degraded"), [(0, ("chroma",)), (1, ())])
async def test_a_store_that_lacks_much_of_a_brand_is_replaced_by_exact_search(
    build: Build, embedder: HashEmbedder, large: Settings, held: int, degraded: tuple[str, ...]
) -> None:
    generation = build("acme", [chunk("reset the router"), chunk("paper for the printer")])
    store = MemoryVectorStore()
    ids, vectors = generation.chunk_ids()[:held], generation.vectors[:held].astype(np.float32)
    store.upsert(collection_name("acme", embedder.model), ids, vectors)
    retriever = Retriever(FixedIndex({"acme": generation}), embedder, large, store)
    got = await retriever.search(asked("reset router"), retriever.open("acme"))
    assert [h.chunk.text for h in got.dense] == ["reset the router", "paper for the printer"]
    assert got.degraded == degraded


async def test_what_the_store_misses_is_measured_once_the_answer_is_out(
    build: Build, embedder: HashEmbedder, large: Settings
) -> None:
    class Forgetful(MemoryVectorStore):
        """Never finds the nearest, as an approximate search may."""

        def query(self, collection: str, vector: NDArray[np.float32], k: int) -> list[tuple[str, float]]:
            return super().query(collection, vector, k + 1)[1:]

    generation = build("acme", [chunk(text) for text in ("reset the router", "paper", "ink", "lime")])
    store = Forgetful()
    store.upsert(collection_name("acme", embedder.model), generation.chunk_ids(), generation.vectors.astype(np.float32))
    measured: list[float] = []
    retriever = Retriever(
        FixedIndex({"acme": generation}),
        embedder,
        with_changes(large, retrieval={"candidates": 2}),
        store,
        sampler=RecallSampler(measured.append, every=2),
    )
    first, second = [await retriever.search(asked("reset"), retriever.open("acme")) for _ in range(2)]
    assert measured == []
    assert (len(first.afterwards), len(second.afterwards)) == (1, 0)
    first.afterwards[0]()
    assert measured == [0.5]


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
