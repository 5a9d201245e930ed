"""Backing up and restoring: all or nothing, from either database into either, and never what was forgotten."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from installation import MODEL, SITE, Installation, document, files_with

from ray_app.errors import InputError, LeaseLost, StoreError
from ray_app.index.memory import MemoryVectorStore
from ray_app.ingest import archive as archives
from ray_app.ingest.backup import Backup
from ray_app.ingest.forget import Forgetter, Reach
from ray_app.ingest.restore import Restore
from ray_app.records import TaskState, UrlState
from ray_app.store.ledger import Mode
from ray_app.store.receipts import Receipts
from ray_app.store.schema import VERSION
from ray_app.store.tarball import ArchiveReader, ArchiveWriter
from ray_app.store.tombstones import Tombstones

SECRET = "xylophonequince"
URL = f"{SITE}/private"
TEXTS = {
    URL: f"{SECRET} lives here",
    f"{SITE}/power": "hold the power key",
    f"{SITE}/reset": "press reset twice",
    f"{SITE}/volume": "turn the volume down",
}
OTHER = {"https://other.example/a": "another brand"}

Make = Callable[..., Installation]


@pytest.fixture(autouse=True)
def no_disk_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build waits for the disk some twenty times; only the order of that matters here."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def make(tmp_path: Path) -> Iterator[Make]:
    """``make(name, url="")``: an empty installation."""
    made: list[Installation] = []

    def one(name: str, url: str = "") -> Installation:
        made.append(Installation(tmp_path / name, url, MemoryVectorStore()))
        return made[-1]

    yield one
    for each in made:
        each.close()


def fill(place: Installation) -> Installation:
    place.crawl(TEXTS)
    place.index()
    place.index(now=1_795_460_801.0)
    place.crawl(OTHER, "other")
    place.index("other")
    tasks = place.stores.tasks
    tasks.create("scrape", {"brand": "acme"}, 1.0)
    tasks.update(
        tasks.create("ingest", {"brand": "other"}, 1.0), state=TaskState.DONE, result={"brands": [1.5, None]}, now=2.0
    )
    place.stores.runs.claim("nightly", 100.0, "sub", 3.0)
    return place


def backup(place: Installation, file: Path, **how: bool) -> Path:
    Backup(place.settings, place.stores).write(file, **how)
    return file


def restored(place: Installation, file: Path, **how: object) -> Installation:
    Restore(place.settings, place.stores).run(file, **how)  # type: ignore[arg-type]
    return place


def everything(place: Installation) -> dict[str, object]:
    """What a person can see of an installation."""
    stores = place.stores
    brands = stores.catalog.brands()
    return {
        "brands": {brand: stores.catalog.brand(brand) for brand in brands},
        "urls": {brand: list(stores.ledger.urls(brand)) for brand in brands},
        "texts": {
            brand: stores.pages.read(brand, [one.page for one in stores.ledger.documents(brand)]) for brand in brands
        },
        "live": stores.catalog.pointers(),
        "answers": {brand: place.answers("power reset another", brand) for brand in brands},
        "done": [task for task in stores.tasks.recent() if task.state is TaskState.DONE],
        "runs": stores.runs.history(),
        "cycles": {brand: stores.ledger.last_cycle(brand) for brand in brands},
    }


@pytest.mark.parametrize("name", ["all.tar", "all.tar.zst"])
def test_restored_elsewhere_it_is_the_same_bit_for_bit(
    make: Make, db_url: str, tmp_path: Path, request: pytest.FixtureRequest, name: str
) -> None:
    """SQLite into SQLite; PostgreSQL into SQLite and back into another PostgreSQL."""
    source = fill(make("source", db_url))
    before = everything(source)
    place = restored(make("target"), backup(source, tmp_path / name))
    assert everything(place) == before
    again = restored(make("again", request.getfixturevalue("db_url_2")), backup(place, tmp_path / f"again-{name}"))
    assert everything(again) == before


def test_any_tar_reads_it(make: Make, tmp_path: Path) -> None:
    file = backup(fill(make("source")), tmp_path / "all.tar")
    with tarfile.open(file) as tar:
        names = tar.getnames()
        manifest = json.load(tar.extractfile("manifest.json"))  # type: ignore[arg-type]
        (rows,) = (name for name in names if name.startswith("sql/urls/"))
        first = json.loads(gzip.decompress(tar.extractfile(rows).read()).splitlines()[0])  # type: ignore[union-attr]
    assert names[-1] == "manifest.json"
    assert {one["name"] for one in manifest["members"]} == set(names[:-1])
    assert manifest["rows"]["urls"] == 5
    assert first["brand"] == "acme"


def test_only_the_live_generation_is_in_it_unless_all_are_asked_for(make: Make, tmp_path: Path) -> None:
    source = fill(make("source"))
    place = restored(make("one"), backup(source, tmp_path / "one.tar"))
    assert len(place.stores.catalog.generations("acme")) == 1
    place = restored(make("all"), backup(source, tmp_path / "all.tar", every=True))
    assert len(place.stores.catalog.generations("acme")) == 2
    assert place.stores.catalog.pointers() == source.stores.catalog.pointers()


def test_no_secret_is_in_it(make: Make, tmp_path: Path) -> None:
    file = backup(make("source"), tmp_path / "all.tar")
    with tarfile.open(file) as tar:
        assert not [name for name in tar.getnames() if "setting" in name or name.endswith((".env", ".toml"))]


def test_work_that_was_under_way_is_cancelled_and_fences_grow(make: Make, tmp_path: Path) -> None:
    source = fill(make("source"))
    with source.lease() as lease:
        file, fence = backup(source, tmp_path / "all.tar"), lease.fence
    place = restored(make("target"), file)
    assert {task.state for task in place.stores.tasks.recent()} == {TaskState.DONE, TaskState.CANCELLED}
    with place.lease() as lease:
        assert lease.fence > fence


def test_a_file_collected_meanwhile_makes_it_take_a_newer_snapshot(
    make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = fill(make("source"))
    true = ArchiveWriter.add_file
    calls = [0]

    def slow(self: ArchiveWriter, name: str, path: Path) -> object:
        calls[0] += 1
        if calls[0] == 1:  # between the snapshot and the copying
            Forgetter(source.settings, source.stores, Reach(source.vectors)).forget("acme", URL)
        return true(self, name, path)

    monkeypatch.setattr(ArchiveWriter, "add_file", slow)
    report = Backup(source.settings, source.stores).write(tmp_path / "all.tar")
    assert (report.snapshots, report.problems) == (2, ())
    assert everything(restored(make("target"), tmp_path / "all.tar")) == everything(source)


def test_it_is_taken_while_crawls_and_publishes_go_on(make: Make, tmp_path: Path) -> None:
    source = fill(make("source"))
    over = threading.Event()

    def work() -> None:
        mine = Installation(source.settings.data_dir)
        turn = 0
        while not over.is_set():
            turn += 1
            mine.crawl({url: f"{text} {turn}" for url, text in TEXTS.items()})
            mine.index(now=1_795_470_000.0 + turn)
            mine.stores.pages.collect("acme", mine.stores.ledger.parts("acme"), 9e9, 0.0)
        mine.close()

    thread = threading.Thread(target=work)
    thread.start()
    try:
        files = [backup(source, tmp_path / f"{number}.tar") for number in range(5)]
    finally:
        over.set()
        thread.join()
    for number, file in enumerate(files):
        place = restored(make(f"target{number}"), file)
        everything(place)  # each row's text can be read, each generation is whole
        assert len(place.stores.ledger.documents("acme")) == len(TEXTS)


def test_what_is_lost_already_is_told_and_the_rest_backed_up(make: Make, tmp_path: Path) -> None:
    source = fill(make("source"))
    (part, *_) = sorted(source.stores.ledger.parts("acme"))
    source.stores.pages.remove("acme", part)
    (source.live("other").path / "chunks.arrow").write_bytes(b"broken")
    report = Backup(source.settings, source.stores).write(tmp_path / "all.tar")
    assert len(report.problems) == 2
    assert sorted(report.generations) == ["acme"]
    place = restored(make("target"), tmp_path / "all.tar")
    assert sorted(place.stores.catalog.pointers()) == ["acme"]


def test_a_backup_that_fails_leaves_the_old_file(make: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = fill(make("source"))
    file = backup(source, tmp_path / "all.tar")
    before = file.read_bytes()

    def full(*_: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ArchiveWriter, "add_file", full)
    with pytest.raises(StoreError, match="No space left"):
        backup(source, file)
    assert file.read_bytes() == before
    assert [path.name for path in tmp_path.glob("*.part")] == []
    with pytest.raises(InputError, match="no folder"):
        backup(source, tmp_path / "nowhere" / "all.tar")


# -- restoring where something is


def test_data_is_not_replaced_unless_that_is_said(make: Make, tmp_path: Path) -> None:
    file = backup(fill(make("source")), tmp_path / "all.tar")
    place = make("target")
    place.crawl({"https://mine.example/": "mine"}, "mine")
    place.index("mine")
    with pytest.raises(StoreError, match="--force"):
        restored(place, file)
    assert place.stores.catalog.brands() == ["mine"]
    restored(place, file, force=True)
    assert place.stores.catalog.brands() == ["acme", "other"]
    assert files_with(place.settings.data_dir / "pages", "PAR1") != []
    assert list((place.settings.data_dir / "pages").glob("mine/*.parquet")) == []
    assert list((place.settings.data_dir / "index").glob("mine/2*")) == []


def test_a_running_crawl_loses_its_brand_to_a_restore(make: Make, tmp_path: Path) -> None:
    place = fill(make("source"))
    file = backup(place, tmp_path / "all.tar")
    before = everything(place)
    with pytest.raises(LeaseLost), place.lease() as lease:
        cycle = place.stores.ledger.open_cycle("acme", 30.0, lease.fence, Mode.FULL)
        restored(place, file, force=True)
        place.commit("acme", cycle, lease.fence, {URL: "another text"})
    assert everything(place) == before | {"done": everything(place)["done"]}


def test_a_damaged_generation_here_is_replaced(make: Make, tmp_path: Path) -> None:
    place = fill(make("source"))
    file, before = backup(place, tmp_path / "all.tar"), everything(place)
    (place.live().path / "chunks.arrow").write_bytes(b"broken")
    assert everything(restored(place, file, force=True)) == before


def test_a_second_restore_at_the_same_time_is_refused(make: Make, tmp_path: Path) -> None:
    source = fill(make("source"))
    file, place = backup(source, tmp_path / "all.tar"), make("target")

    def another(step: str) -> None:
        if step == "load":
            with pytest.raises(StoreError, match="under way"):
                restored(place, file, force=True)

    Restore(place.settings, place.stores, another).run(file)
    assert everything(place) == everything(source)


def test_rows_that_are_not_there_replace_nothing(make: Make, tmp_path: Path) -> None:
    source = fill(make("source"))
    file, place = backup(source, tmp_path / "all.tar"), make("target")

    def lose(step: str) -> None:
        if step == "load":
            shutil.rmtree(place.settings.data_dir / "restoring" / "sql" / "urls")

    with pytest.raises(InputError, match="0 rows of urls"):
        Restore(place.settings, place.stores, lose).run(file)
    assert place.stores.catalog.brands() == []


def test_a_part_handed_over_meanwhile_stays(make: Make, tmp_path: Path) -> None:
    place = fill(make("source"))
    file = backup(place, tmp_path / "all.tar")
    parts: list[str] = []

    def meanwhile(step: str) -> None:
        if step == "load":  # its row is written when the restore has ended
            parts.append(place.stores.pages.write_part("acme", [document(URL, "handed over")]))

    Restore(place.settings, place.stores, meanwhile).run(file, force=True)
    assert set(parts) <= set(place.stores.pages.parts("acme"))


def test_what_the_vector_store_held_is_not_believed(make: Make, tmp_path: Path) -> None:
    source = fill(make("source"))
    source.stores.catalog.set_aligned("acme", str(source.stores.catalog.live("acme")))
    assert restored(make("target"), backup(source, tmp_path / "all.tar")).stores.catalog.aligned() == {}


def test_what_a_killed_restore_left_goes_with_what_is_forgotten(make: Make) -> None:
    place = fill(make("source"))
    left = place.settings.data_dir / "restoring" / "pages"
    left.mkdir(parents=True)
    (left / "part").write_text(SECRET)
    forget(place, "acme", URL)
    assert not left.parent.exists()


@pytest.mark.parametrize("step", ["unpack", "purge", "place", "load", "tidy"])
def test_killed_in_the_middle_nothing_half_is_served_and_the_next_run_works(
    make: Make, tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    source = fill(make("source"))
    file = backup(source, tmp_path / "all.tar")
    place = make("target")

    def die(name: str) -> None:
        if name == step:
            raise KeyboardInterrupt

    monkeypatch.setattr("ray_app.ingest.restore.shutil.rmtree", lambda *_, **__: None)  # a kill cleans nothing up
    with pytest.raises(KeyboardInterrupt):
        Restore(place.settings, place.stores, die).run(file)
    monkeypatch.undo()
    if step != "tidy":
        assert place.stores.catalog.brands() == []
        restored(place, file)
    assert everything(place) == everything(source)
    restored(place, file, force=True)
    assert not (place.settings.data_dir / "restoring").exists()


# -- what was forgotten


def forget(place: Installation, brand: str, url: str = "") -> Path:
    receipt = Forgetter(place.settings, place.stores, Reach(place.vectors)).forget(brand, url)
    return Receipts(place.settings.data_dir / "receipts").path(receipt.receipt)


def test_what_was_forgotten_since_is_not_brought_back(make: Make, tmp_path: Path) -> None:
    place = fill(make("source"))
    file = backup(place, tmp_path / "all.tar", every=True)
    forget(place, "acme", URL)
    report = Restore(place.settings, place.stores).run(file, force=True)
    assert report.left_out == {"page_texts": 1, "generations": 2}
    assert files_with(place.settings.data_dir, SECRET) == []
    row = place.stores.ledger.url("acme", URL)
    assert row is not None
    assert (row.state, row.reason, row.title) == (UrlState.SKIPPED, "forgotten", "")
    texts = place.stores.pages.read("acme", [one.page for one in place.stores.ledger.documents("acme")])
    assert {one.url: one.sections[0].text for one in texts} == {u: t for u, t in TEXTS.items() if u != URL}
    assert {hit[1] for hit in place.answers("power reset volume")} == {t for u, t in TEXTS.items() if u != URL}
    assert Tombstones(place.stores.db).find("acme", URL) is not None


def test_a_forgotten_brand_is_not_brought_back(make: Make, tmp_path: Path) -> None:
    place = fill(make("source"))
    file = backup(place, tmp_path / "all.tar")
    forget(place, "acme")
    restored(place, file, force=True)
    assert place.stores.catalog.brands() == ["other"]
    assert files_with(place.settings.data_dir, "power key") == []
    assert place.stores.ledger.documents("acme") == []


def test_a_receipt_makes_it_forgotten_elsewhere(make: Make, tmp_path: Path) -> None:
    source = fill(make("source"))
    file = backup(source, tmp_path / "all.tar")
    receipts = [forget(source, "acme", URL), forget(source, "other")]
    place = make("target")
    with pytest.raises(InputError, match="not a receipt"):
        restored(place, file, receipts=[file])
    restored(place, file, receipts=receipts)
    assert files_with(place.settings.data_dir, SECRET) == []
    assert place.stores.catalog.brands() == ["acme"]
    assert len(Tombstones(place.stores.db).all()) == 2


def test_a_backup_knows_what_was_forgotten_before_it(make: Make, tmp_path: Path) -> None:
    source = fill(make("source"))
    forget(source, "acme", URL)
    place = restored(make("target"), backup(source, tmp_path / "all.tar"))
    with place.lease() as lease:
        cycle = place.stores.ledger.open_cycle("acme", 30.0, lease.fence, Mode.FULL)
        place.commit("acme", cycle, lease.fence, {URL: f"{SECRET} again"})
    assert files_with(place.settings.data_dir, SECRET) == []


def test_a_brand_begun_anew_after_it_was_forgotten_is_restored(make: Make, tmp_path: Path) -> None:
    source = fill(make("source"))
    old = backup(source, tmp_path / "old.tar")
    Forgetter(source.settings, source.stores, Reach(source.vectors), clock=lambda: 5.0).forget("acme")
    source.crawl({f"{SITE}/fresh": "a new beginning"})  # at 10.0
    new = backup(source, tmp_path / "new.tar")
    assert len(restored(make("one"), new).stores.ledger.documents("acme")) == 1
    restored(source, new, force=True)
    assert len(source.stores.ledger.documents("acme")) == 1
    assert old.exists()


def test_something_forgotten_while_it_restores_is_forgotten(make: Make, tmp_path: Path) -> None:
    place = fill(make("source"))
    file = backup(place, tmp_path / "all.tar")
    done: list[str] = []

    def meanwhile(step: str) -> None:
        done.append(step)
        if done == ["unpack", "purge", "place"]:
            forget(place, "acme", URL)

    Restore(place.settings, place.stores, meanwhile).run(file, force=True)
    assert done == ["unpack", "purge", "place", "load", "unpack", "purge", "place", "load", "tidy"]
    assert files_with(place.settings.data_dir, SECRET) == []


def test_a_restore_in_the_middle_of_forgetting_does_not_bring_it_back(make: Make, tmp_path: Path) -> None:
    place = fill(make("source"))
    file = backup(place, tmp_path / "all.tar")
    done: list[str] = []

    def meanwhile(step: str) -> None:
        done.append(step)
        if step == "pages" and done.count("pages") == 1:
            restored(place, file, force=True)

    forgetter = Forgetter(place.settings, place.stores, Reach(place.vectors), meanwhile)
    assert forgetter.forget("acme", URL).complete
    assert files_with(place.settings.data_dir, SECRET) == []
    assert place.stores.catalog.live("acme") is not None


# -- files from anywhere


def hostile(path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    with tarfile.open(path, "w") as tar:
        for info, content in members:
            info.size = len(content) if info.isreg() else info.size
            tar.addfile(info, io.BytesIO(content))
    return path


def info(name: str, kind: bytes = tarfile.REGTYPE, link: str = "") -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.linkname = kind, link
    return made


PART = "pages/acme/" + "a" * 32 + ".parquet"


@pytest.mark.parametrize(
    "member",
    [
        info("/etc/passwd"),
        info("../escape"),
        info("pages/acme/../../escape"),
        info("pages/acme/.hidden"),
        info("pages/acme/x.parquet"),
        info("index/acme/20260101T000000Z-abcdef/../../../x"),
        info("index/acme/20260101T000000Z-abcdef/a/b/c"),
        info("pages/UPPER/" + "a" * 32 + ".parquet"),
        info("sql/layout/000000.jsonl.gz"),
        info("backline.db"),
        info(PART, tarfile.SYMTYPE, "/etc/passwd"),
        info(PART, tarfile.LNKTYPE, "manifest.json"),
        info(PART, tarfile.FIFOTYPE),
        info(PART, tarfile.CHRTYPE),
        info("pages/acme", tarfile.DIRTYPE),
        info(PART, tarfile.GNUTYPE_SPARSE),
        info("pages/" + "a" * 300),  # brings an extended header
        info("pages/acme/\udcff\n"),
    ],
)
def test_a_file_that_is_no_plain_file_of_a_backup_is_refused(
    make: Make, tmp_path: Path, member: tarfile.TarInfo
) -> None:
    file = hostile(tmp_path / "bad.tar", (member, b"x"))
    place = make("target")
    with pytest.raises(InputError):
        restored(place, file)
    assert not (tmp_path / "escape").exists()
    assert not (place.settings.data_dir / "restoring").exists()


@pytest.mark.parametrize("size", [10**15, 2**87])
def test_a_huge_member_is_refused_before_it_is_written(make: Make, tmp_path: Path, size: int) -> None:
    file = tmp_path / "huge.tar"
    header = bytearray(info(PART).tobuf(tarfile.USTAR_FORMAT))
    header[124:136] = b"\x80" + size.to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    file.write_bytes(bytes(header) + b"x" * 512)
    with pytest.raises(StoreError, match="no room"):
        restored(make("target"), file)


def test_every_cut_and_every_flipped_byte_is_found(make: Make, tmp_path: Path) -> None:
    whole = backup(fill(make("source")), tmp_path / "all.tar").read_bytes()
    place = make("target")
    file = tmp_path / "bad.tar"
    for at in range(0, len(whole) - 1_100, len(whole) // 40):
        file.write_bytes(whole[:at])
        with pytest.raises(InputError):
            restored(place, file)
    for at in range(100, len(whole) - 1_100, len(whole) // 60):
        damaged = bytearray(whole)
        damaged[at] ^= 0x41
        file.write_bytes(damaged)
        if _payload(whole, at):
            with pytest.raises((InputError, StoreError)):
                restored(place, file)
            assert place.stores.catalog.brands() == []


def _payload(whole: bytes, at: int) -> bool:
    """Whether a byte of the archive means anything: padding and unused fields of headers do not."""
    with tarfile.open(fileobj=io.BytesIO(whole)) as tar:
        return any(one.offset_data <= at < one.offset_data + one.size for one in tar.getmembers())


def test_a_damaged_compressed_backup_is_found(make: Make, tmp_path: Path) -> None:
    whole = backup(fill(make("source")), tmp_path / "all.tar.zst").read_bytes()
    place, file = make("target"), tmp_path / "bad.tar.zst"
    for damaged in (whole[: len(whole) // 2], whole[:200] + b"\0\xff\0" + whole[203:], whole[:4] + b"?" * 40):
        file.write_bytes(damaged)
        with pytest.raises(InputError):
            restored(place, file)


@pytest.mark.parametrize("content", [b"", b"no archive at all", b"\0" * 1024])
def test_what_is_no_archive_is_refused(make: Make, tmp_path: Path, content: bytes) -> None:
    file = tmp_path / "bad.tar"
    file.write_bytes(content)
    with pytest.raises(InputError):
        restored(make("target"), file)
    with pytest.raises(InputError):
        restored(make("other"), tmp_path / "missing.tar")
    with pytest.raises(InputError):
        restored(make("third"), tmp_path)


def rewritten(file: Path, target: Path, change: Callable[[dict[str, object], dict[str, bytes]], None]) -> Path:
    """A backup with other contents whose checksums all hold."""
    members: dict[str, bytes] = {}
    with file.open("rb") as stream:
        reader = ArchiveReader(stream)
        for name, size in reader:
            members[name] = b"".join(iter(lambda: reader.read(max(1, size)), b""))  # noqa: B023
    manifest = json.loads(members.pop("manifest.json"))
    change(manifest, members)
    with target.open("wb") as out:
        writer = ArchiveWriter(out)
        for name, content in members.items():
            writer.add_bytes(name, content)
        manifest["members"] = [{"name": one.name, "bytes": one.bytes, "sha256": one.sha256} for one in writer.members]
        manifest.pop("checksum")
        manifest["checksum"] = archives._checksum(manifest)
        writer.add_bytes("manifest.json", json.dumps(manifest).encode())
        writer.close()
    return target


@pytest.mark.parametrize(
    ("field", "value", "words"),
    [("schema", VERSION + 1, "newer Backline"), ("format", 99, "newer Backline"), ("schema", 3, "cannot read")],
)
def test_another_version_is_refused_in_words(make: Make, tmp_path: Path, field: str, value: int, words: str) -> None:
    file = backup(fill(make("source")), tmp_path / "all.tar")
    bad = rewritten(file, tmp_path / "bad.tar", lambda manifest, _: manifest.update({field: value}))
    with pytest.raises(InputError, match=words):
        restored(make("target"), bad)


@pytest.mark.parametrize(
    "row",
    [
        {"brand": "acme"},
        {"brand": "acme", "url": "u", "no_such_column": 1},
        {"brand": "acme", "url": "u", "state": "fetched", "reason": "ok", "cycle_done": 1, "content_hash": "x"},
        [],
    ],
)
def test_rows_that_do_not_fit_replace_nothing(make: Make, tmp_path: Path, row: object) -> None:
    file = backup(fill(make("source")), tmp_path / "all.tar")

    def spoil(_: dict[str, object], members: dict[str, bytes]) -> None:
        members["sql/urls/000000.jsonl.gz"] = gzip.compress(json.dumps(row).encode())

    bad = rewritten(file, tmp_path / "bad.tar", spoil)
    place = make("target")
    place.crawl({"https://mine.example/": "mine"}, "mine")
    with pytest.raises(InputError):
        restored(place, bad, force=True)
    assert place.stores.catalog.brands() == ["mine"]
    assert len(place.stores.ledger.documents("mine")) == 1


def test_the_model_is_kept(make: Make, tmp_path: Path) -> None:
    place = restored(make("target"), backup(fill(make("source")), tmp_path / "all.tar"))
    assert place.live().manifest.model == MODEL
