"""What a killed or degraded publication leaves is done by the next run."""

from __future__ import annotations

from typing import Any

import pytest
from workshop import BRAND, Workshop

from ray_app.config import with_changes
from ray_app.errors import VectorStoreDown
from ray_app.index.layout import generation_names
from ray_app.store.catalog import Catalog


def test_a_run_killed_after_the_switch_is_brought_to_its_end_by_the_next(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    shop.settings = with_changes(shop.settings, index={"keep_generations": 1})
    shop.put({"a": "Press reset."})
    first = shop.index().generation
    shop.put({"a": "Press reset.", "b": "Clean the filter."})
    whole = Catalog.publish

    def killed(*args: Any, **kwargs: Any) -> None:
        whole(*args, **kwargs)
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(Catalog, "publish", killed)
        shop.index()
    (collection,) = shop.vectors.collections()
    assert (len(shop.texts()), shop.vectors.count(collection), len(shop.staged())) == (2, 1, 1)
    report = shop.index()
    assert (report.published, report.why, report.degraded) == (False, "unchanged", "")
    assert shop.vectors.ids(collection) == set(shop.live().chunk_ids())
    assert shop.staged() == []
    assert first not in generation_names(shop.stores.index_root, BRAND)
    assert [row.generation for row in shop.stores.catalog.generations(BRAND)] == [report.generation]


def test_a_vector_store_that_was_down_is_filled_though_nothing_changed(
    shop: Workshop, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down(*_: object) -> None:
        raise VectorStoreDown("It is out.")

    shop.put({"a": "Press reset."})
    with monkeypatch.context() as patch:
        patch.setattr(shop.vectors, "upsert", down)
        assert "out" in shop.index().degraded
        assert shop.staged() == [], "what is published is staged no longer"
        again = shop.index()
        assert (again.why, "out" in again.degraded) == ("unchanged", True)
    assert shop.index().degraded == ""
    (collection,) = shop.vectors.collections()
    assert shop.vectors.ids(collection) == set(shop.live().chunk_ids())
    monkeypatch.setattr(shop.vectors, "collections", down)
    assert shop.index().degraded == "", "once that is done, nobody asks the vector store again"
