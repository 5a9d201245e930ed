from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

from ray_app.errors import ChecksumMismatch, NoGeneration, StoreUnavailable, UnknownBrand
from ray_app.index.layout import generation_path, remove_generation
from ray_app.index.manifest import MANIFEST
from ray_app.index.publish import publish
from ray_app.index.reader import IndexReader
from ray_app.store.catalog import Catalog

from .conftest import NOW, Build

Live = Callable[..., str]


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader(catalog: Catalog, root: Path, clock: Clock) -> IndexReader:
    return IndexReader(catalog, root, max_age_s=1, clock=clock)


@pytest.fixture
def live(catalog: Catalog, root: Path, build: Build) -> Live:
    """``live("a", "b", at=1, keep=3)``: build and publish a generation of these texts."""

    def make(*texts: str, at: float = 0, keep: int = 3, brand: str = "acme") -> str:
        name = build(texts, brand, now=NOW + at).generation
        publish(catalog, root, brand, name, None, fence=None, keep=keep, now=NOW + at)
        return name

    return make


def damage(root: Path, name: str) -> None:
    (generation_path(root, "acme", name) / MANIFEST).write_bytes(b"{")


def test_it_follows_the_pointer_after_max_age(reader: IndexReader, live: Live, clock: Clock) -> None:
    first = live("a")
    held = reader.get("acme")
    second = live("b", at=1)
    clock.now = 0.9
    assert reader.get("acme") is held
    clock.now = 1.0
    assert (held.name, reader.get("acme").name) == (first, second)
    assert held.chunk(0).text == "a"  # whoever still answers from it can go on


def test_the_pointers_are_asked_once_per_max_age(
    reader: IndexReader, live: Live, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    live("a")
    asked = []
    monkeypatch.setattr(catalog, "pointers", lambda ask=catalog.pointers: asked.append(1) or ask())
    assert len({id(reader.get("acme")) for _ in range(50)}) == 1
    assert len(asked) == 1


def test_brands_and_what_is_missing(reader: IndexReader, live: Live, catalog: Catalog, clock: Clock) -> None:
    assert reader.brands() == []
    live("a", brand="zeta")
    live("a")
    catalog.save_brand("empty", {})
    clock.now = 2
    assert reader.brands() == ["acme", "zeta"]
    with pytest.raises(NoGeneration, match="empty"):
        reader.get("empty")
    with pytest.raises(UnknownBrand, match="nobody"):
        reader.get("nobody")


def test_sql_that_goes_away_does_not_stop_answers(
    reader: IndexReader, live: Live, catalog: Catalog, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    def down() -> dict[str, str]:
        raise StoreUnavailable

    name = live("a")
    with monkeypatch.context() as patch:
        patch.setattr(catalog, "pointers", down)
        with pytest.raises(StoreUnavailable):
            reader.get("acme")
    assert reader.get("acme").name == name
    monkeypatch.setattr(catalog, "pointers", down)
    clock.now = 5
    assert reader.get("acme").name == name


def test_a_damaged_generation_is_not_served_and_said_aloud(
    reader: IndexReader, live: Live, root: Path, clock: Clock
) -> None:
    first = live("a")
    assert reader.get("acme").name == first
    second = live("b", at=1)
    damage(root, second)
    clock.now = 2
    assert reader.get("acme").name == first
    assert second in reader.damaged["acme"]
    third = live("c", at=2)
    clock.now = 4
    assert reader.get("acme").name == third
    assert reader.damaged == {}


def test_after_a_restart_the_newest_good_one_stands_in(reader: IndexReader, live: Live, root: Path) -> None:
    _, good, bad, newest = (live(str(i), at=i, keep=9) for i in range(4))
    damage(root, bad)
    damage(root, newest)
    assert reader.get("acme").name == good
    assert newest in reader.damaged["acme"]


def test_with_no_good_one_left_it_says_so(reader: IndexReader, live: Live, root: Path) -> None:
    damage(root, live("a"))
    with pytest.raises(ChecksumMismatch):
        reader.get("acme")


def test_a_generation_replaced_and_collected_while_the_pointer_was_known(
    reader: IndexReader, live: Live, root: Path
) -> None:
    old = live("a")
    reader.brands()  # the pointer is known, the files are not open yet
    new = live("b", at=1, keep=1)
    assert not generation_path(root, "acme", old).exists()
    assert reader.get("acme").name == new


def test_a_stand_in_is_not_looked_for_at_every_question(
    reader: IndexReader, live: Live, root: Path, clock: Clock, monkeypatch: pytest.MonkeyPatch
) -> None:
    good = live("a")
    damage(root, live("b", at=1))
    assert reader.get("acme").name == good
    remove_generation(root, "acme", good)
    assert reader.get("acme").name == good
