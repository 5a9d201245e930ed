from __future__ import annotations

import logging
import threading
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest

from ray_app.errors import ChecksumMismatch, NoGeneration, StoreUnavailable, UnknownBrand
from ray_app.index.depot import Depot
from ray_app.index.embedders import Embedders
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_path, remove_generation
from ray_app.index.manifest import MANIFEST, Manifest
from ray_app.index.reader import RECHECK_S, RETRY_S, IndexReader, open_checked
from ray_app.records import ModelId
from ray_app.store.catalog import Catalog
from ray_app.testing.fakes import HashEmbedder

from .conftest import MODEL, NOW, Build, vectors_of

Live = Callable[..., str]
WAIT_S = 30  # for a thread that is sure to come; never waited for in full


class Clock:
    now = 0.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def reader(catalog: Catalog, root: Path, clock: Clock) -> IndexReader:
    return IndexReader(catalog, Depot(root), clock=clock)


@pytest.fixture
def live(catalog: Catalog, build: Build) -> Live:
    """``live("a", "b", at=1)``: build a generation of these texts and have the pointer name it."""

    def make(*texts: str, at: float = 0, brand: str = "acme", model: ModelId = MODEL) -> str:
        vectors = partial(vectors_of, dim=model.dim)
        manifest: Manifest = build(texts, brand, now=NOW + at, model=model, vector_of=vectors)
        catalog.add_generation(brand, manifest.generation, manifest.summary())
        catalog.publish(brand, manifest.generation, NOW + at)
        return manifest.generation

    return make


def damage(root: Path, name: str) -> None:
    (generation_path(root, "acme", name) / MANIFEST).write_bytes(b"{")


def break_off(file: Path) -> None:
    file.write_bytes(file.read_bytes()[:-1])


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


def test_a_refresh_follows_the_pointer(reader: IndexReader, live: Live) -> None:
    first = live("a")
    held = reader.get("acme")
    second = live("b", at=1)
    assert reader.get("acme") is held
    reader.refresh()
    assert (held.name, reader.get("acme").name) == (first, second)
    assert held.chunk(0).text == "a"  # whoever still answers from it can go on


def test_a_refresh_opens_brands_that_nobody_asked_for_yet(reader: IndexReader, live: Live, root: Path) -> None:
    name = live("a")
    reader.refresh()
    remove_generation(root, "acme", name)
    assert reader.get("acme").name == name


def test_what_is_held_costs_no_query(
    reader: IndexReader, live: Live, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    live("a")
    held = reader.get("acme")
    asked: list[str] = []
    monkeypatch.setattr(catalog, "live", asked.append)
    monkeypatch.setattr(catalog, "pointers", lambda: asked.append("all"))
    assert all(reader.get("acme") is held for _ in range(50))
    assert asked == []


def test_brands_and_what_is_missing(reader: IndexReader, live: Live, catalog: Catalog) -> None:
    assert reader.brands() == []
    live("a", brand="zeta")
    live("a")
    catalog.save_brand("empty", {})
    assert reader.get("acme").chunk(0).text == "a"  # published since the last look
    reader.refresh()
    assert reader.brands() == ["acme", "zeta"]
    with pytest.raises(NoGeneration, match="empty"):
        reader.get("empty")
    with pytest.raises(UnknownBrand, match="nobody"):
        reader.get("nobody")


def test_a_forgotten_brand_is_gone_with_the_next_look(
    reader: IndexReader, live: Live, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    live("a")
    live("b", brand="bolt")
    reader.refresh()
    gone: list[str] = []
    reader.on_gone = gone.append
    others = {name: pointer for name, pointer in catalog.pointers().items() if name != "acme"}
    monkeypatch.setattr(catalog, "pointers", lambda: others)
    monkeypatch.setattr(catalog, "live", others.get)
    reader.look()
    assert reader.brands() == ["bolt"]
    assert gone == ["acme"]
    with pytest.raises(UnknownBrand):
        reader.get("acme")


def test_sql_that_goes_away_does_not_stop_answers(
    reader: IndexReader, live: Live, catalog: Catalog, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def down(*_: object) -> dict[str, str]:
        raise StoreUnavailable

    def no_sql(patch: pytest.MonkeyPatch) -> None:
        patch.setattr(catalog, "pointers", down)
        patch.setattr(catalog, "live", down)

    name = live("a")
    with monkeypatch.context() as patch:
        no_sql(patch)
        for ask in (reader.brands, lambda: reader.get("acme")):
            with pytest.raises(StoreUnavailable):
                ask()
    assert reader.get("acme").name == name
    reader.refresh()
    no_sql(monkeypatch)
    reader.refresh()
    reader.refresh()
    assert reader.get("acme").name == name
    assert reader.brands() == ["acme"]
    assert caplog.text.count("pointers_not_read") == 1


@pytest.mark.parametrize("harm", [Path.unlink, break_off, flip], ids=["missing", "truncated", "flipped"])
def test_whatever_file_of_a_new_generation_is_damaged_the_old_one_is_served_aloud(
    reader: IndexReader, live: Live, root: Path, caplog: pytest.LogCaptureFixture, harm: Callable[[Path], None]
) -> None:
    first = live("a", "b")
    reader.refresh()
    second = live("a", "b", "c", at=1)
    folder = generation_path(root, "acme", second)
    files = sorted(path for path in folder.rglob("*") if path.is_file() and path.stat().st_size)
    assert {"chunks.arrow", "vectors.npy", "manifest.json", "documents.parquet"} <= {file.name for file in files}
    for file in files:
        whole = file.read_bytes()
        harm(file)
        caplog.clear()
        reader.refresh()
        assert reader.get("acme").name == first, file
        assert second in reader.damaged["acme"]
        assert "generation_damaged" in caplog.text
        file.write_bytes(whole)
    reader.refresh()
    assert reader.get("acme").name == second
    assert reader.damaged == {}


def test_damaged_files_are_read_again_when_they_change_or_after_a_while(
    catalog: Catalog, root: Path, live: Live, clock: Clock
) -> None:
    read: list[str] = []

    def opener(path: Path) -> Generation:
        read.append(path.name)
        return open_checked(path)

    reader = IndexReader(catalog, Depot(root), opener=opener, clock=clock)
    live("a")
    reader.refresh()
    second = live("b", at=1)
    flip(generation_path(root, "acme", second) / "vectors.npy")
    for clock.now in (0, 1, RECHECK_S - 1):
        reader.refresh()
    assert read.count(second) == 1
    clock.now = RECHECK_S + 1
    reader.refresh()
    assert read.count(second) == 2
    flip(generation_path(root, "acme", second) / "vectors.npy")
    reader.refresh()
    assert reader.get("acme").name == second


def test_a_damaged_generation_is_left_behind_by_the_next(reader: IndexReader, live: Live, root: Path) -> None:
    live("a")
    reader.refresh()
    damage(root, live("b", at=1))
    reader.refresh()
    third = live("c", at=2)
    reader.refresh()
    assert reader.get("acme").name == third
    assert reader.damaged == {}


def test_a_pointer_that_goes_back_ends_the_complaint(
    reader: IndexReader, live: Live, root: Path, catalog: Catalog
) -> None:
    first = live("a")
    reader.refresh()
    damage(root, live("b", at=1))
    reader.refresh()
    assert reader.damaged
    catalog.publish("acme", first, NOW + 2)
    reader.refresh()
    assert reader.get("acme").name == first
    assert reader.damaged == {}


def test_after_a_restart_the_newest_good_one_stands_in(reader: IndexReader, live: Live, root: Path) -> None:
    _, good, bad, newest = (live(str(i), at=i) for i in range(4))
    damage(root, bad)
    damage(root, newest)
    assert reader.get("acme").name == good
    assert newest in reader.damaged["acme"]
    reader.refresh()
    assert reader.get("acme").name == good


def test_with_no_good_one_left_it_says_so_without_reading_it_all_each_time(
    catalog: Catalog, root: Path, live: Live, clock: Clock
) -> None:
    read: list[Path] = []

    def opener(path: Path) -> Generation:
        read.append(path)
        return open_checked(path)

    reader = IndexReader(catalog, Depot(root), opener=opener, clock=clock)
    damage(root, live("a"))
    for _ in range(3):
        with pytest.raises(ChecksumMismatch):
            reader.get("acme")
    assert len(read) == 1


def test_a_generation_replaced_and_collected_while_the_pointer_was_known(
    catalog: Catalog, root: Path, live: Live
) -> None:
    old = live("a")
    new = ""

    def opener(path: Path) -> Generation:
        nonlocal new
        if path.name == old:
            new = live("b", at=1)
            remove_generation(root, "acme", old)
        return open_checked(path)

    reader = IndexReader(catalog, Depot(root), opener=opener)
    assert reader.get("acme").name == new
    reader.refresh()
    assert reader.get("acme").name == new
    assert reader.damaged == {}


def test_a_collected_generation_stays_readable_while_it_is_held(reader: IndexReader, live: Live, root: Path) -> None:
    name = live("alpha", "beta")
    held = reader.get("acme")
    live("gamma", at=1)
    remove_generation(root, "acme", name)
    reader.refresh()
    assert [chunk.text for chunk in held.chunks()] == ["alpha", "beta"]
    assert len(held.dense(vectors_of(["0" * 32])[0], 2)[0]) == 2
    assert len(held.keywords.search(["alpha"], 2)[0]) == 1
    assert len(held.documents()) == 1


class Gate:
    """An opener that waits to be let through, but for the first generation."""

    def __init__(self) -> None:
        self.reached, self.open = threading.Event(), threading.Event()
        self.opened: list[str] = []

    def __call__(self, path: Path) -> Generation:
        if self.opened:
            self.reached.set()
            assert self.open.wait(WAIT_S)
        self.opened.append(path.name)
        return open_checked(path)


def test_no_question_waits_for_the_opening(catalog: Catalog, root: Path, live: Live) -> None:
    gate = Gate()
    reader = IndexReader(catalog, Depot(root), opener=gate)
    first = live("a")
    reader.refresh()
    second = live("b", at=1)
    follower = threading.Thread(target=reader.refresh)
    follower.start()
    assert gate.reached.wait(WAIT_S)
    assert reader.get("acme").name == first  # here, while the opener stands still
    gate.open.set()
    follower.join(WAIT_S)
    assert reader.get("acme").name == second


def test_many_first_questions_open_it_once(catalog: Catalog, root: Path, live: Live) -> None:
    gate = Gate()
    reader = IndexReader(catalog, Depot(root), opener=gate)
    name = live("a")
    threads = [threading.Thread(target=reader.get, args=("acme",)) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert gate.opened == [name]


def test_switches_under_a_stream_of_questions_fail_none(
    reader: IndexReader, live: Live, root: Path, catalog: Catalog
) -> None:
    names = [live("steady", "n0", at=0)]
    reader.refresh()
    question, stop, trouble = vectors_of(["0" * 32])[0], threading.Event(), []
    seen: set[str] = set()

    def ask() -> None:
        try:
            while not stop.is_set():
                generation = reader.get("acme")
                places, _ = generation.keywords.search(["steady"], 3)
                assert generation.chunk(int(places[0])).text == "steady"
                assert len(generation.dense(question, 2)[0]) == 2
                seen.add(generation.name)
        except Exception as error:  # noqa: BLE001  # whatever it is, it is what this test looks for
            trouble.append(error)

    threads = [threading.Thread(target=ask) for _ in range(3)]
    for thread in threads:
        thread.start()
    for n in range(1, 8):
        names.append(live("steady", f"n{n}", at=n))
        reader.refresh()
        assert reader.get("acme").name == names[-1]
        remove_generation(root, "acme", names[-2])
    stop.set()
    for thread in threads:
        thread.join(WAIT_S)
    assert trouble == []
    assert seen <= set(names)


def test_the_watcher_follows_by_itself_and_stops(
    reader: IndexReader, live: Live, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_app.index.reader.LOOK_EVERY_S", 0.01)
    switched = threading.Event()
    follow = reader.follow

    def noted(brand: str) -> None:
        follow(brand)
        switched.set()

    monkeypatch.setattr(reader, "follow", noted)
    live("a")
    reader.refresh()
    switched.clear()
    reader.start()
    name = live("b", at=1)
    assert switched.wait(WAIT_S)
    reader.close()
    reader.close()
    assert reader.get("acme").name == name
    assert not [thread for thread in threading.enumerate() if thread.name.startswith("index-")]


def fake(model: ModelId) -> HashEmbedder:
    embedder = HashEmbedder(model.dim)
    embedder.model = model
    return embedder


OTHER = ModelId("other", "r1", 16)


@pytest.fixture
def loaded() -> Iterator[list[str]]:
    yield []


def test_another_model_is_loaded_before_the_switch_and_the_old_one_dropped_after(
    catalog: Catalog, root: Path, live: Live, loaded: list[str]
) -> None:
    def load(source: str) -> HashEmbedder:
        loaded.append(source)
        assert reader.get("acme").name == first  # the old one is served while it loads
        return fake(OTHER)

    embedders = Embedders(fake(MODEL), load)
    reader = IndexReader(catalog, Depot(root), embedders)
    first = live("a")
    reader.refresh()
    second = live("a", at=1, model=OTHER)
    for brand in reader.look():
        reader.follow(brand)
    assert reader.get("acme").name == second
    assert embedders.held(OTHER) is not None
    assert embedders.held(MODEL) is not None  # a question may be on its way with it
    reader.tidy()
    assert embedders.held(MODEL) is None
    assert embedders.main.model == OTHER
    assert loaded == ["other"]


def test_a_model_that_is_not_here_keeps_the_old_generation_and_is_tried_again(
    catalog: Catalog, root: Path, live: Live, clock: Clock, caplog: pytest.LogCaptureFixture
) -> None:
    weights = ModelId("other", "r2", 16)
    opened: list[str] = []

    def opener(path: Path) -> Generation:
        opened.append(path.name)
        return open_checked(path)

    embedders = Embedders(fake(MODEL), lambda source: fake(weights))
    reader = IndexReader(catalog, Depot(root), embedders, opener=opener, clock=clock)
    first = live("a")
    reader.refresh()
    second = live("a", at=1, model=OTHER)
    for clock.now in (0.0, RETRY_S + 1):
        caplog.clear()
        reader.refresh()
        assert reader.get("acme").name == first
        assert "other@r1" in reader.damaged["acme"]
        assert "other@r2" in reader.damaged["acme"]
        assert "generation_damaged" in caplog.text
    assert opened == [first]  # nothing is read for a model that is not here
    weights = OTHER
    reader.refresh()
    assert reader.get("acme").name == first  # not asked at every look
    clock.now = 2 * RETRY_S + 2
    reader.refresh()
    assert reader.get("acme").name == second
    assert reader.damaged == {}


def test_with_nothing_else_a_generation_is_served_without_its_model_until_that_comes(
    catalog: Catalog, root: Path, live: Live, clock: Clock
) -> None:
    weights = ModelId("other", "r2", 16)
    embedders = Embedders(fake(MODEL), lambda source: fake(weights))
    reader = IndexReader(catalog, Depot(root), embedders, clock=clock)
    name = live("a", model=OTHER)
    assert reader.get("acme").name == name
    assert "other@r2" in reader.damaged["acme"]
    assert embedders.held(OTHER) is None
    weights, clock.now = OTHER, RETRY_S + 1
    reader.refresh()
    assert embedders.held(OTHER) is not None
    assert reader.damaged == {}


def test_opening_checks_every_file(build: Build, root: Path) -> None:
    path = generation_path(root, "acme", build(["a"]).generation)
    assert np.shape(open_checked(path).vectors) == (1, MODEL.dim)
    flip(path / "chunks.arrow")
    with pytest.raises(ChecksumMismatch, match=r"chunks\.arrow"):
        open_checked(path)


@pytest.fixture(autouse=True)
def seen_in_logs(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ray_app")
