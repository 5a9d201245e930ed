"""Case 45: a disk that refuses at any write of taking a document in and publishing it.

Whatever write it refuses: the error says what to do, the generation that was live still answers, no half of another
is visible, and once the disk takes writes again the same calls succeed.
"""

from __future__ import annotations

import ctypes
import errno
import os
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from itertools import count
from pathlib import Path

import pytest

from ray_app.config import Settings, load
from ray_app.errors import BacklineError, StoreError, StoreUnavailable
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_names, generation_path
from ray_app.ingest import indexing
from ray_app.ingest.handed import Handed
from ray_app.on_ray import indexer
from ray_app.store import lease
from ray_app.store.db import Database
from ray_app.store.stores import Stores, open_stores
from ray_app.store.writable import WriteProbe
from ray_app.testing.fakes import HashEmbedder

# A file whose last bytes cannot be written cannot be closed properly either.
pytestmark = [
    pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning"),
    pytest.mark.filterwarnings("ignore::ResourceWarning"),
]

BRAND = "acme"
DISK_KB = 6 * 1024
STEP_KB = 8  # two pages of tmpfs; most files of a small generation take one
MS_RDONLY, MS_REMOUNT, MNT_DETACH = 1, 32, 2
LEASE_S = 0.2  # a lease that cannot be given back frees itself
WAIT_S = 10.0
# What the system, or SQLite in its own words, says.
REFUSALS = (
    *(os.strerror(code) for code in (errno.ENOSPC, errno.EROFS, errno.EIO)),
    "database or disk is full",
    "readonly database",
    "disk I/O error",
    "unable to open database file",
)


class Disk:
    """A file system of a few MB of its own."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._libc = ctypes.CDLL(None, use_errno=True)
        folder.mkdir()

    def mount(self, *, again: bool = False, readonly: bool = False) -> None:
        """Raises PermissionError where that is not permitted."""
        flags = (MS_REMOUNT if again else 0) | (MS_RDONLY if readonly else 0)
        target, options = str(self.folder).encode(), f"size={DISK_KB}k".encode()
        if self._libc.mount(b"tmpfs", target, b"tmpfs", flags, options):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number))

    def unmount(self) -> None:
        self._libc.umount2(str(self.folder).encode(), MNT_DETACH)

    @property
    def free_kb(self) -> int:
        found = os.statvfs(self.folder)
        return found.f_bavail * found.f_frsize // 1024

    @contextmanager
    def left(self, kb: int) -> Iterator[None]:
        """The disk with ``kb`` of room for the length of a block."""
        ballast = self.folder / "ballast"
        ballast.write_bytes(b"x" * 1024 * max(0, self.free_kb - kb))
        try:
            yield
        finally:
            ballast.unlink()

    @contextmanager
    def readonly(self) -> Iterator[None]:
        self.mount(again=True, readonly=True)
        try:
            yield
        finally:
            self.mount(again=True)


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Disk]:
    made = Disk(tmp_path / "disk")
    try:
        made.mount()
    except OSError as error:
        pytest.skip(f"a file system cannot be mounted here: {error}")
    try:
        yield made
    finally:
        made.unmount()


class House:
    """A brand that takes in one document after the other; the first is published before anything goes wrong."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.stores: Stores = open_stores(settings)
        self.number = 0
        self.take_in()

    def take_in(self) -> None:
        """The present document, stored and published."""
        self.hand_over()
        self.publish()

    def hand_over(self) -> None:
        text = f"# Part {self.number}\n\nHold SHIFT for part {self.number}.\n" + "It glows.\n\n" * 20
        given = Handed(text.encode(), "markdown", name=f"{self.number}.md")
        indexer.store_document(self.settings, self.stores, BRAND, given)

    def publish(self) -> None:
        indexer.publish_here(self.settings, self.stores, BRAND, WAIT_S)

    def live(self) -> str:
        name = self.stores.catalog.live(BRAND)
        assert name is not None
        return name

    def documents(self) -> int:
        """Of the live generation, of which every file is checked."""
        opened = Generation.open(generation_path(self.stores.index_root, BRAND, self.live()), verify=True)
        rows, _ = opened.dense(HashEmbedder().encode(["Hold SHIFT for part 0"])[0], 1)
        assert "Hold SHIFT" in opened.chunk(int(rows[0])).text, "it answers"
        return len({chunk.url for chunk in opened.chunks()})

    def refused(self) -> bool:
        """Whether taking the next document in is refused; checks what holds then."""
        self.number += 1
        before = self.live()
        try:
            self.take_in()
        except BacklineError as error:
            assert isinstance(error, StoreError)
            assert any(words in str(error) for words in REFUSALS), str(error)
        else:
            return False
        # It may be refused after the switch, at the clearing up.
        assert self.documents() == self.number + (self.live() != before)
        for name in generation_names(self.stores.index_root, BRAND):
            Generation.open(generation_path(self.stores.index_root, BRAND, name), verify=True)
        return True

    def check_recovered(self) -> None:
        """The same calls again, now that the disk takes writes."""
        self.take_in()
        assert self.documents() == len(self.stores.ledger.documents(BRAND)) == self.number + 1

    def refusals(self, hindrances: Iterator[AbstractContextManager[None]]) -> int:
        """How many hindrances refuse, one after the other, until one does not."""
        for number, hindrance in enumerate(hindrances):
            with hindrance:
                refused = self.refused()
            if not refused:
                return number
            self.check_recovered()
        raise AssertionError("every one refused")


@pytest.fixture
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(indexing, "model_id", lambda _: HashEmbedder().model)
    monkeypatch.setattr(lease, "WAIT_STEP_S", LEASE_S / 4)
    monkeypatch.setattr(indexer, "load_embedder", lambda _: HashEmbedder())


@pytest.fixture
def house(disk: Disk, quick: None) -> Iterator[House]:
    made = House(load(data_dir=disk.folder / "data", index={"keep_generations": 1}, crawl={"lease_s": LEASE_S}))
    yield made
    made.stores.close()


def test_wherever_the_disk_gets_full_the_old_generation_serves(house: House, disk: Disk) -> None:
    assert house.refusals(disk.left(kb) for kb in range(0, DISK_KB, STEP_KB)) > 10, "at different writes"


def test_a_full_disk_is_told_before_anything_is_tried(house: House, disk: Disk) -> None:
    with disk.left(0):
        problem = WriteProbe(house.stores.db, house.settings.data_dir).problem()
        assert problem == "The data directory cannot be written: No space left on device."
    assert WriteProbe(house.stores.db, house.settings.data_dir).problem() == ""


def test_on_a_disk_that_only_reads_the_old_generation_serves(disk: Disk, quick: None, tmp_path: Path) -> None:
    # The database lies elsewhere: a file system with files open for writing is not made read-only on request.
    outside = {"database_url": f"sqlite:///{tmp_path / 'elsewhere.db'}"}
    house = House(load(data_dir=disk.folder / "data", store=outside, crawl={"lease_s": LEASE_S}))
    with disk.readonly():
        problem = WriteProbe(house.stores.db, house.settings.data_dir).problem()
        assert problem == "The data directory cannot be written: Read-only file system."
        assert house.refused(), "it cannot be stored"
    house.hand_over()
    with disk.readonly(), pytest.raises(StoreError, match=r"Read-only file system.*BACKLINE_DATA_DIR"):
        house.publish()
    assert house.documents() == 1
    house.check_recovered()
    assert WriteProbe(house.stores.db, house.settings.data_dir).problem() == ""
    house.stores.close()


def test_a_database_that_cannot_be_written_is_told(disk: Disk, tmp_path: Path) -> None:
    url = f"sqlite:///{disk.folder / 'backline.db'}"
    Database(url).close()
    with disk.readonly(), pytest.raises(StoreUnavailable, match=r"unable to open|readonly"):
        Database(url)
    db = Database(url)
    with disk.left(0):
        # Whatever has room in the log already is written; the pages of one transaction more do not fit.
        problems = {WriteProbe(db, tmp_path).problem() for _ in range(20)}
    assert any("database or disk is full" in problem for problem in problems)
    db.close()


def test_whichever_flush_fails_the_old_generation_serves(
    tmp_path: Path, quick: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = os.fsync

    @contextmanager
    def failing(after: int) -> Iterator[None]:
        """With a disk that refuses once, after so many flushes."""
        calls = count()

        def fsync(descriptor: int) -> None:
            if next(calls) == after:
                raise OSError(errno.EIO, os.strerror(errno.EIO))
            real(descriptor)

        with monkeypatch.context() as patch:
            patch.setattr(os, "fsync", fsync)
            yield

    house = House(load(data_dir=tmp_path / "data", index={"keep_generations": 1}, crawl={"lease_s": LEASE_S}))
    assert house.refusals(failing(after) for after in count()) > 10, "parts, files of the generation, folders, manifest"
    house.stores.close()
