"""Two nodes and a store between them: what one publishes, the other reads, whole or not at all."""

from __future__ import annotations

import fcntl
import os
import shutil
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from ray_app.config import Settings, with_changes
from ray_app.errors import ChecksumMismatch, ConfigError, NoGeneration, StoreUnavailable
from ray_app.index import depot as module
from ray_app.index.depot import Depot, check_folder, open_depot
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_names, generation_path
from ray_app.index.manifest import MANIFEST
from ray_app.index.reader import IndexReader
from ray_app.store.catalog import Catalog

from .conftest import NOW, Build

WAIT_S = 30


@pytest.fixture
def shelf(tmp_path: Path) -> Path:
    """What the file:// address of the store points to."""
    return tmp_path / "nfs" / "index"


@pytest.fixture
def here(root: Path, shelf: Path) -> Depot:
    """The node that builds."""
    return Depot(root, shelf.as_uri())


@pytest.fixture
def there(tmp_path: Path, shelf: Path) -> Depot:
    """The node that only reads."""
    return Depot(tmp_path / "other-node", shelf.as_uri())


def flip(file: Path) -> None:
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


@pytest.fixture
def copied(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[str]]:
    """Names of the files that any node receives, as they come."""
    names: list[str] = []

    def receive(files: Any, source: Any, target: Path, real: Any = module._receive) -> None:
        names.append(source.name)
        real(files, source, target)

    monkeypatch.setattr(module, "_receive", receive)
    yield names


def test_what_one_node_pushes_another_reads(here: Depot, there: Depot, build: Build) -> None:
    name = build(["a", "b"]).generation
    assert there.names("acme") == []
    here.push("acme", name)
    assert there.names("acme") == [name]
    path = there.fetch("acme", name)
    assert path == there.path("acme", name) != here.path("acme", name)
    assert [chunk.text for chunk in Generation.open(path).chunks()] == ["a", "b"]
    assert generation_names(there.root, "acme") == [name]


def test_a_copy_is_made_once(here: Depot, there: Depot, build: Build, copied: list[str]) -> None:
    name = build(["a"]).generation
    here.push("acme", name)
    threads = [threading.Thread(target=there.fetch, args=("acme", name)) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(WAIT_S)
    assert copied.count(MANIFEST) == 1
    here.fetch("acme", name)
    assert copied.count(MANIFEST) == 1, "the node that built it has it"


def test_what_another_process_copied_meanwhile_is_taken(
    here: Depot, there: Depot, build: Build, copied: list[str]
) -> None:
    name = build(["a"]).generation
    here.push("acme", name)
    path = there.path("acme", name)
    path.parent.mkdir(parents=True)
    with (path.parent / module.LOCK).open("ab") as lock:  # locks of two files exclude each other in one process, too
        fcntl.flock(lock, fcntl.LOCK_EX)
        puller = threading.Thread(target=there.pull, args=("acme", name))
        puller.start()
        shutil.copytree(here.path("acme", name), path)
        assert copied == []
    puller.join(WAIT_S)
    assert copied == []


def test_the_manifest_comes_last(here: Depot, there: Depot, build: Build, monkeypatch: pytest.MonkeyPatch) -> None:
    name = build(["a"]).generation

    uploaded: list[str] = []
    upload = Depot._upload

    def counted(files: Any, source: Path, target: Any, expected: str) -> None:
        uploaded.append(source.name)
        if source.name == MANIFEST:
            raise OSError("the link went down")
        upload(files, source, target, expected)

    monkeypatch.setattr(Depot, "_upload", staticmethod(counted))
    with pytest.raises(StoreUnavailable, match="link"):
        here.push("acme", name)
    assert len(uploaded) > 5
    assert there.names("acme") == []
    monkeypatch.undo()
    here.push("acme", name)
    assert there.names("acme") == [name]


def test_pushing_again_sends_nothing_unless_something_is_missing(
    here: Depot, there: Depot, build: Build, shelf: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = build(["a"]).generation
    here.push("acme", name)
    sent: list[str] = []
    upload = Depot._upload

    def counted(files: Any, source: Path, target: Any, expected: str) -> None:
        sent.append(source.name)
        upload(files, source, target, expected)

    monkeypatch.setattr(Depot, "_upload", staticmethod(counted))
    here.push("acme", name)
    assert sent == []
    (shelf / "acme" / name / "vectors.npy").write_bytes(b"half")
    here.push("acme", name)
    assert "vectors.npy" in sent
    check_folder(there.pull("acme", name))


def test_what_is_damaged_here_is_not_pushed(here: Depot, there: Depot, build: Build) -> None:
    name = build(["a"]).generation
    flip(here.path("acme", name) / "vectors.npy")
    with pytest.raises(ChecksumMismatch, match=r"vectors\.npy"):
        here.push("acme", name)
    assert there.names("acme") == []


@pytest.mark.parametrize("file", ["vectors.npy", "chunks.arrow", MANIFEST])
def test_a_damaged_upload_is_refused_after_a_second_try(
    here: Depot, there: Depot, build: Build, shelf: Path, copied: list[str], file: str
) -> None:
    name = build(["a"]).generation
    here.push("acme", name)
    flip(shelf / "acme" / name / file)
    with pytest.raises(ChecksumMismatch, match="cannot be copied"):
        there.fetch("acme", name)
    assert copied.count(MANIFEST) == 2
    assert generation_names(there.root, "acme") == []
    assert [path.name for path in (there.root / "acme").iterdir()] == [module.LOCK]


def test_a_download_that_breaks_is_tried_again(
    here: Depot, there: Depot, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = build(["a"]).generation
    here.push("acme", name)
    broken = ["vectors.npy"]

    def receive(files: Any, source: Any, target: Path, real: Any = module._receive) -> None:
        real(files, source, target)
        if source.name in broken:
            broken.remove(source.name)
            target.write_bytes(b"half")

    monkeypatch.setattr(module, "_receive", receive)
    check_folder(there.fetch("acme", name))
    assert broken == []


def test_what_the_store_lacks_is_said(here: Depot, there: Depot, build: Build, shelf: Path) -> None:
    name = build(["a"]).generation
    with pytest.raises(ChecksumMismatch, match="lacks"):
        there.fetch("acme", name)
    here.push("acme", name)
    (shelf / "acme" / name / "ids.npy").unlink()
    with pytest.raises(ChecksumMismatch, match="lacks"):
        there.fetch("acme", name)


def test_a_copy_damaged_on_this_node_is_copied_anew(here: Depot, there: Depot, build: Build, catalog: Catalog) -> None:
    manifest = build(["a"])
    here.push("acme", manifest.generation)
    catalog.add_generation("acme", manifest.generation, manifest.summary())
    catalog.publish("acme", manifest.generation, NOW)
    flip(there.fetch("acme", manifest.generation) / "vectors.npy")
    assert IndexReader(catalog, there).get("acme").name == manifest.generation
    check_folder(there.path("acme", manifest.generation))


def test_copies_beyond_the_live_and_the_previous_one_go(here: Depot, there: Depot, build: Build) -> None:
    names = [build([str(n)], now=NOW + n).generation for n in range(4)]
    for name in names:
        here.push("acme", name)
    for name in names:
        there.fetch("acme", name)
    assert there.trim("acme", names[2]) == names[:1]
    assert generation_names(there.root, "acme") == names[1:]  # what is newer than the live one is on its way
    assert there.names("acme") == names
    there.drop_copies("acme")
    assert generation_names(there.root, "acme") == []
    assert there.names("acme") == names


def test_copies_that_the_store_lacks_and_leftovers_go(here: Depot, there: Depot, build: Build) -> None:
    names = [build([str(n)], now=NOW + n).generation for n in range(2)]
    for name in names:
        here.push("acme", name)
        there.fetch("acme", name)
    here.remove("acme", names[0])  # it holds what is forgotten
    left, partial, fresh = (there.root / "acme" / n for n in ("20250101T000000Z-abcdef", ".x.part", ".y.part"))
    for folder in (left, partial, fresh):
        folder.mkdir()
    for folder in (left, partial):
        os.utime(folder, (NOW, time.time() - module.STALE_S - 1))
    assert there.trim("acme", names[1]) == names[:1]
    assert {p.name for p in (there.root / "acme").iterdir()} == {names[1], module.LOCK, fresh.name}


def test_removing_takes_it_out_of_the_store_and_off_the_node(
    here: Depot, there: Depot, build: Build, shelf: Path
) -> None:
    names = [build([str(n)], now=NOW + n).generation for n in range(2)]
    for name in names:
        here.push("acme", name)
    here.remove("acme", names[0])
    here.remove("acme", names[0])
    assert here.names("acme") == there.names("acme") == generation_names(here.root, "acme") == names[1:]
    assert not (shelf / "acme" / names[0]).exists()
    here.forget("acme")
    assert not (shelf / "acme").exists()
    assert not (here.root / "acme").exists()
    here.forget("acme")


def test_a_reader_on_another_node_follows_the_publisher(
    here: Depot, there: Depot, build: Build, catalog: Catalog
) -> None:
    reader = IndexReader(catalog, there)
    names = []
    for n in range(3):
        manifest = build([str(n)], now=NOW + n)
        names.append(manifest.generation)
        here.push("acme", names[-1])
        catalog.add_generation("acme", names[-1], manifest.summary())
        catalog.publish("acme", names[-1], NOW + n)
        reader.refresh()
        assert reader.get("acme").name == names[-1]
        assert reader.get("acme").path.is_relative_to(there.root)
    assert generation_names(there.root, "acme") == names[1:]


def test_a_store_that_cannot_be_reached_leaves_what_is_open(
    here: Depot, there: Depot, build: Build, catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    reader = IndexReader(catalog, there)
    first, second = (build([str(n)], now=NOW + n) for n in range(2))
    for at, manifest in enumerate((first, second)):
        here.push("acme", manifest.generation)
        catalog.add_generation("acme", manifest.generation, manifest.summary())
        catalog.publish("acme", manifest.generation, NOW + at)
        if not at:
            reader.refresh()

            def down(*_: object) -> None:
                raise OSError("no route to host")

            monkeypatch.setattr(module, "_receive", down)
    reader.refresh()
    assert reader.get("acme").name == first.generation
    assert "no route to host" in reader.damaged["acme"]


def test_without_a_store_generations_are_read_where_they_lie(root: Path, build: Build) -> None:
    names = [build([str(n)], now=NOW + n).generation for n in range(3)]
    depot = Depot(root)
    depot.push("acme", names[0])
    assert depot.fetch("acme", names[0]) == depot.path("acme", names[0]) == generation_path(root, "acme", names[0])
    assert depot.names("acme") == names
    assert depot.trim("acme", names[2]) == []
    depot.drop_copies("acme")
    depot.remove("acme", names[0])
    assert depot.names("acme") == names[1:]
    depot.forget("acme")
    assert depot.names("acme") == []


def test_names_that_lead_elsewhere_are_refused(here: Depot) -> None:
    for call in (here.path, here.fetch, here.remove):
        with pytest.raises(NoGeneration):
            call("acme", "../../etc")
        with pytest.raises(NoGeneration):
            call("..", "20261123T190501Z-abcdef")
    for brand in ("..", "/etc", ""):
        with pytest.raises(NoGeneration):
            here.forget(brand)


@pytest.mark.parametrize("uri", ["nowhere", "ftp://host/x", "s3//bucket"])
def test_a_store_that_is_no_address_is_a_mistake_of_the_configuration(root: Path, uri: str) -> None:
    with pytest.raises(ConfigError, match=r"index\.store"):
        Depot(root, uri).names("acme")


def test_settings_say_where_generations_lie(tmp_path: Path) -> None:
    settings = Settings(data_dir=tmp_path)
    assert settings.index_root == tmp_path / "index"
    shared = with_changes(settings, index={"store": "file:///nfs"})
    assert shared.index_root == tmp_path / "cache" / "index"
    assert open_depot(shared).shared
    assert with_changes(shared, index={"cache_dir": str(tmp_path / "fast")}).index_root == tmp_path / "fast"
