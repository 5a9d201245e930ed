from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest

from ray_app.config import EmbeddingSettings, load
from ray_app.errors import BadVector, ModelMismatch, TokenizerFailed
from ray_app.index.digests import Digests, words
from ray_app.index.ports import Vectors
from ray_app.index.staging import Staging, to_table
from ray_app.ingest.chunk import Chunker
from ray_app.ingest.stages import (
    MAX_PRODUCTS,
    ChunkStage,
    EmbedOrder,
    EmbedStage,
    embed_here,
    parts,
    products_of,
    references,
    stage,
)
from ray_app.records import CHUNK_REASONS, Chunk, Document, Facts, ModelId, PageRef, Section
from ray_app.store.ledger import StoredDocument
from ray_app.store.pages import PageStore
from ray_app.testing.fakes import HashEmbedder

NO_FACTS = Facts()
NOTHING = Digests.of(words(b""))


class Moody(HashEmbedder):
    """A twin that fails on some words, and counts what it was asked."""

    def __init__(self) -> None:
        super().__init__()
        self.asked: list[int] = []

    def encode(self, texts: Sequence[str]) -> Vectors:
        self.asked.append(len(texts))
        if any("nan" in text for text in texts):
            raise BadVector("1 of so many vectors is NaN.")
        return super().encode(texts)

    def count(self, text: str) -> int:
        if "panic" in text:
            raise TokenizerFailed("The tokenizer failed: panicked")
        return super().count(text)


def chunk(number: int, text: str) -> Chunk:
    return Chunk(
        chunk_id=f"{number:032x}",
        brand="acme",
        url="https://acme.example/a",
        title="",
        section=(),
        anchor="",
        text=text,
        lang="en",
        kind="html",
        ordinal=number,
        embedding_key=f"{abs(hash(text)):032x}"[-32:],
        doc_hash="0" * 32,
    )


def rows(*texts: str) -> pa.Table:
    return to_table([chunk(number, text) for number, text in enumerate(texts)])


def document(name: str, text: str, facts: Facts = NO_FACTS) -> Document:
    section = Section(("Setup",), "#setup", text)
    return Document("acme", f"https://acme.example/{name}", name, "en", "html", (section,), "h" * 32, facts=facts)


def stored(pages: PageStore, documents: list[Document]) -> list[StoredDocument]:
    part = pages.write_part("acme", documents)
    return [
        StoredDocument(url=one.url, title=one.title, content_hash=one.content_hash, page=PageRef(part, row))
        for row, one in enumerate(documents)
    ]


class TestBadRows:
    def test_each_has_its_reason_and_takes_no_other_along(self) -> None:
        texts = ["reset it", "gives nan", " \n", "word " * 300, "makes it panic", "clean it", "..." * 300, "nan too"]
        done = EmbedStage(Moody(), NOTHING)(rows(*texts))
        reasons = done.column("reject").to_pylist()
        assert reasons == [None, "bad_vector", "empty", "too_long", "tokenizer", None, "too_long", "bad_vector"]
        assert set(reasons) - {None} == set(CHUNK_REASONS)
        assert [vector is not None for vector in done.column("vector").to_pylist()] == [r is None for r in reasons]
        details = done.column("detail").to_pylist()
        assert "300 tokens, 254 are read" in details[3]
        assert "panicked" in details[4]
        assert [detail is None for detail in details] == [reason is None for reason in reasons]

    def test_good_rows_have_the_vectors_they_would_have_alone(self) -> None:
        texts = [f"text number {n}" for n in range(20)] + ["gives nan"] + [f"more {n}" for n in range(11)]
        done = EmbedStage(Moody(), NOTHING)(rows(*texts))
        for text, raw in zip(texts, done.column("vector").to_pylist(), strict=True):
            if "nan" not in text:
                expected = HashEmbedder().encode([text]).astype("<f2")[0]
                np.testing.assert_array_equal(np.frombuffer(raw, "<f2"), expected)

    def test_every_row_of_a_bad_text_is_rejected(self) -> None:
        done = EmbedStage(Moody(), NOTHING)(rows("nan", "fine", "nan"))
        assert done.column("reject").to_pylist() == ["bad_vector", None, "bad_vector"]


class TestVectors:
    def test_equal_texts_are_embedded_once_and_known_ones_not_at_all(self) -> None:
        table = rows("reset it", "clean it", "reset it", "known")
        embedder = Moody()
        known = Digests.of(words([table.column("embedding_key")[3].as_py()]))
        done = EmbedStage(embedder, known)(table)
        assert [vector is not None for vector in done.column("vector").to_pylist()] == [True, True, False, False]
        assert done.column("reject").null_count == 4
        assert embedder.asked == [2]

    def test_again_gives_the_same(self) -> None:
        embed = EmbedStage(Moody(), NOTHING)
        table = rows("reset it", "nan", "clean it")
        assert embed(table).equals(embed(table))


class TestParts:
    def test_they_are_bounded_by_rows_and_bytes(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("ray_app.ingest.stages.PART_ROWS", 10)
        monkeypatch.setattr("ray_app.ingest.stages.PART_BYTES", 20_000)
        table = rows(*[f"short {n}" for n in range(25)], *["long " * 1_000 for _ in range(9)], "huge " * 10_000)
        found = list(parts(table))
        assert pa.concat_tables(found).equals(table)
        assert all(part.num_rows <= 10 for part in found)
        assert all(part.nbytes <= 20_000 or part.num_rows == 1 for part in found)
        assert len(found) < 20

    def test_what_was_staged_is_counted(self, tmp_path: Path) -> None:
        staging = Staging(tmp_path, "acme", HashEmbedder().model)
        run = staging.new_run()
        done = stage(staging, run, EmbedStage(Moody(), NOTHING)(rows("reset it", "nan", "reset it", " ")))
        assert (done.rows, done.embedded, done.rejected) == (4, 1, 2)
        assert sum(table.num_rows for table in staging.tables(run)) == 4


class TestChunks:
    def test_each_row_has_the_products_of_its_document(self, tmp_path: Path) -> None:
        pages = PageStore(tmp_path)
        facts = Facts(products=("Groovebox", "Mixer"), models=("MC-707", "Mixer"))
        found = stored(pages, [document("a", "Press reset. " * 200, facts), document("b", "Clean the filter.")])
        cut = ChunkStage(tmp_path, "acme", HashEmbedder(), EmbeddingSettings(), HashEmbedder().model)
        table = cut(references(found))
        by_url = {(row["url"][-1], tuple(row["products"])) for row in table.to_pylist()}
        assert by_url == {("a", ("Groovebox", "Mixer", "MC-707")), ("b", ())}
        assert table.num_rows > 2

    def test_products_are_few(self) -> None:
        facts = Facts(products=tuple("abcde"), models=tuple("fghijk"))
        assert products_of(document("a", "text", facts)) == tuple("abcdefgh")
        assert MAX_PRODUCTS == 8

    @pytest.mark.parametrize("chunk_tokens", [40, 120])
    def test_chunk_tokens_bounds_what_is_embedded(self, chunk_tokens: int) -> None:
        text = " ".join(f"Sentence number {n} says something." for n in range(80))
        counter = HashEmbedder()
        found = Chunker(counter, chunk_tokens, 0).chunks(document("a", text), counter.model)
        sizes = [counter.count(one.embedding_text) for one in found]
        assert max(sizes) <= chunk_tokens
        assert max(sizes) > chunk_tokens * 0.8

    @pytest.mark.parametrize("overlap", [0, 12])
    def test_overlap_tokens_are_repeated(self, overlap: int) -> None:
        text = " ".join(f"Sentence number {n} says something." for n in range(80))
        counter = HashEmbedder()
        found = Chunker(counter, 60, overlap).chunks(document("a", text), counter.model)
        for before, after in pairwise(found):
            last = before.text.split(". ")[-1].rstrip(".")
            assert (last in after.text) == (overlap > 0)


class TestEmbedHere:
    def order(self, tmp_path: Path, count: int, model: ModelId | None = None) -> EmbedOrder:
        found = stored(PageStore(tmp_path / "pages"), [document(f"d{n}", f"Text of {n}.") for n in range(count)])
        model = model or HashEmbedder().model
        staging = Staging(tmp_path / "staging", "acme", model)
        return EmbedOrder("acme", found, model, staging, staging.new_run())

    def test_everything_is_staged_as_the_cluster_would(self, tmp_path: Path) -> None:
        order = self.order(tmp_path, 150)
        embedder = Moody()
        assert embed_here(load(data_dir=tmp_path), order, embedder) == {"cpu": 150}
        table = pa.concat_tables(order.staging.tables(order.run))
        assert len(set(table.column("chunk_id").to_pylist())) == table.num_rows == 150
        assert table.column("vector").null_count == 0
        assert max(embedder.asked) <= 64

    def test_what_an_earlier_run_staged_is_not_embedded_again(self, tmp_path: Path) -> None:
        order = self.order(tmp_path, 20)
        embed_here(load(data_dir=tmp_path), order, Moody())
        again = EmbedOrder("acme", order.documents, order.model, order.staging, order.staging.new_run())
        embedder = Moody()
        assert embed_here(load(data_dir=tmp_path), again, embedder) == {"cpu": 0}
        assert embedder.asked == []
        assert sum(table.num_rows for table in order.staging.tables(again.run)) == 20

    def test_vectors_of_another_model_are_refused(self, tmp_path: Path) -> None:
        order = self.order(tmp_path, 1, ModelId("other", "1", 128))
        with pytest.raises(ModelMismatch):
            embed_here(load(data_dir=tmp_path), order, Moody())
