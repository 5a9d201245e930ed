"""Forgetting reaches everything, wins over whatever runs at the same time, and survives being cut short."""

from __future__ import annotations

import json
import os
import shutil
import threading
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow.parquet as pq
import pytest
from installation import MODEL, SITE, Installation, digest, document, files_with, outcome

from ray_app.config import with_changes
from ray_app.errors import BadUrl, InputError, LeaseHeld, LeaseLost, StoreUnavailable, UnknownBrand, VectorStoreDown
from ray_app.index.chroma import ChromaStore
from ray_app.index.depot import open_depot
from ray_app.index.layout import generation_path
from ray_app.index.memory import MemoryVectorStore
from ray_app.index.publish import collection_name
from ray_app.index.staging import Staging, to_table
from ray_app.ingest.forget import Forgetter, Reach
from ray_app.records import PageRef, TaskState, UrlState
from ray_app.store.ledger import Discovery, Mode
from ray_app.store.receipts import Receipts, read_receipt
from ray_app.store.rejects import Reject
from ray_app.store.tombstones import Tombstones

SECRET = "xylophonequince"  # a word that stands in one page only
URL = f"{SITE}/private"
TEXTS = {
    URL: f"{SECRET} lives here",
    f"{SITE}/power": "hold the power key",
    f"{SITE}/reset": "press reset twice",
    f"{SITE}/volume": "turn the volume down",
}
COLLECTION = collection_name("acme", MODEL)


@pytest.fixture(autouse=True)
def no_disk_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    """A build waits for the disk some twenty times; only the order of that matters here."""
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def place(tmp_path: Path, db_url: str) -> Iterator[Installation]:
    made = Installation(tmp_path / "data", db_url, MemoryVectorStore())
    yield made
    made.close()


@pytest.fixture
def filled(place: Installation) -> Installation:
    """Two generations of four pages, with what else a page leaves behind."""
    fill(place)
    return place


def fill(place: Installation) -> None:
    place.crawl(TEXTS)
    place.index()
    place.index(now=1_795_460_801.0)
    place.stores.pages.write_part("acme", [document(URL, f"{SECRET} in an orphan")])
    staging = Staging(place.stores.staging_root, "acme", MODEL)
    table = to_table([place.live().chunk(0)])
    staging.write(staging.new_run(), table)
    told = f"{SECRET} is too long"
    lost = Reject(digest(told), URL, "too_long", told, str(MODEL), 3.0)
    place.stores.rejects.replace("acme", [], [lost])
    tasks = place.stores.tasks
    asked = tasks.create("rag-query", {"question": "where?"}, 1.0)
    cited = {"answer": f"{SECRET}!", "citations": [{"url": f"{URL}#top"}], "generation": "acme:x"}
    tasks.update(asked, state=TaskState.DONE, result=cited, now=2.0)
    tasks.create("scrape", {"brand": "acme", "urls": [URL]}, 1.0)
    tasks.create("scrape", {"brand": "other", "urls": [f"{URL}/longer"]}, 1.0)


def forgetter(place: Installation, **how: object) -> Forgetter:
    return Forgetter(place.settings, place.stores, Reach(place.vectors, lambda brand: 1), **how)  # type: ignore[arg-type]


def traces(place: Installation) -> list[str]:
    """Files that hold the word. On PostgreSQL its own files are not ours to look into."""
    return files_with(place.settings.data_dir, SECRET)


def test_nothing_of_a_url_is_left(filled: Installation) -> None:
    before = filled.answers("power reset volume")
    receipt = forgetter(filled).forget("acme", URL)
    assert receipt.complete
    assert traces(filled) == []
    row = filled.stores.ledger.url("acme", URL)
    assert row is not None
    assert (row.state, row.reason, row.title, row.etag, row.detail) == (UrlState.SKIPPED, "forgotten", "", "", "")
    assert row.page_part is None
    assert [d.url for d in filled.stores.ledger.documents("acme")] == sorted(set(TEXTS) - {URL})
    assert [hit for hit in filled.answers("power reset volume") if hit[0] == "dense"] == [
        hit for hit in before if hit[0] == "dense" and SECRET not in hit[1]
    ]
    assert filled.answers(SECRET)[3:] == []
    assert digest("acme" + URL + TEXTS[URL]) not in filled.vectors.ids(COLLECTION)  # type: ignore[union-attr]
    assert len(filled.vectors.ids(COLLECTION)) == 3  # type: ignore[union-attr]


def test_the_texts_beside_it_stay_readable(filled: Installation) -> None:
    forgetter(filled).forget("acme", URL)
    held = filled.stores.ledger.documents("acme")
    texts = filled.stores.pages.read("acme", [one.page for one in held])
    assert {one.url: one.sections[0].text for one in texts} == {u: t for u, t in TEXTS.items() if u != URL}


def test_the_receipt_says_what_was_removed_where(filled: Installation) -> None:
    receipt = forgetter(filled).forget("acme", URL)
    assert receipt.removed == {
        "ledger_rows": 1,
        "ledger_mentions": 0,
        "rejects": 1,
        "generations": 2,
        "rebuilt": 1,
        "vectors": 1,
        "cached_answers": 1,
        "page_texts": 2,
        "unfinished_parts": 0,
        "staged_parts": 1,
        "folders": 0,
        "tasks": 2,
    }
    saved = read_receipt(Receipts(filled.settings.data_dir / "receipts").path(receipt.receipt))
    assert saved == receipt
    assert Tombstones(filled.stores.db).find("acme", URL) == saved.tombstone()


@pytest.mark.parametrize("url", [URL, ""])
def test_a_task_that_waits_says_for_whom_or_is_cancelled(filled: Installation, url: str) -> None:
    task = filled.stores.tasks.create("embed", {"brand": "acme", "document": {"url": URL}}, 1.0)
    forgetter(filled).forget("acme", url)
    left = filled.stores.tasks.get(task)
    assert left is not None
    wanted = ({"brand": "acme"}, TaskState.QUEUED) if url else ({}, TaskState.CANCELLED)
    assert (left.payload, left.state) == wanted


def test_again_there_is_nothing_left_and_the_receipt_is_the_same(filled: Installation) -> None:
    first = forgetter(filled).forget("acme", URL)
    counts = dict(first.removed)
    again = Forgetter(filled.settings, filled.stores, Reach(filled.vectors)).forget("acme", URL)
    assert again.receipt == first.receipt
    assert (again.removed, again.runs, again.complete) == (counts, 2, True)


def test_a_brand_goes_as_a_whole(filled: Installation) -> None:
    filled.crawl({"https://other.example/a": "another brand stays"}, "other")
    filled.index("other")
    with filled.lease() as lease:
        fence = lease.fence
    receipt = forgetter(filled).forget("acme")
    assert receipt.complete
    assert traces(filled) == []
    assert files_with(filled.settings.data_dir, "power key") == []
    assert filled.stores.catalog.brands() == ["other"]
    assert filled.stores.catalog.live("acme") is None
    assert filled.vectors.collections() == [collection_name("other", MODEL)]  # type: ignore[union-attr]
    assert filled.live("other").chunk(0).text == "another brand stays"
    assert [task.payload["brand"] for task in filled.stores.tasks.recent() if "brand" in task.payload] == ["other"]
    with filled.lease() as lease:
        assert lease.fence > fence


@pytest.mark.parametrize("url", [URL, ""])
def test_cut_short_anywhere_it_is_finished_by_the_next_run(tmp_path: Path, url: str) -> None:
    steps: list[str] = []
    made = Installation(tmp_path / "all", vectors=MemoryVectorStore())
    fill(made)
    made.stores.db.scrub()  # its log is empty, so that copies are whole
    shutil.copytree(tmp_path / "all", tmp_path / "filled")
    forgetter(made, on_step=steps.append).forget("acme", url)
    made.close()
    for number, step in enumerate(steps):
        shutil.copytree(tmp_path / "filled", tmp_path / str(number))
        place = Installation(tmp_path / str(number), vectors=MemoryVectorStore())

        def die(name: str, at: str = step) -> None:
            if name == at:
                raise KeyboardInterrupt

        with pytest.raises(KeyboardInterrupt):
            forgetter(place, on_step=die).forget("acme", url)
        assert forgetter(place).forget("acme", url).complete
        assert traces(place) == [], step
        place.close()


def test_a_part_that_was_replaced_but_not_deleted_is_found(
    filled: Installation, monkeypatch: pytest.MonkeyPatch
) -> None:
    def die(*_: object) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        patch.setattr(filled.stores.pages.__class__, "remove", die)
        forgetter(filled).forget("acme", URL)
    assert traces(filled)
    assert forgetter(filled).forget("acme", URL).complete
    assert traces(filled) == []


def test_a_running_crawl_loses_the_brand_and_brings_nothing_back(filled: Installation) -> None:
    with pytest.raises(LeaseLost), filled.lease() as lease:
        cycle = filled.stores.ledger.open_cycle("acme", 30.0, lease.fence, Mode.FULL)
        forgetter(filled).forget("acme", URL)
        filled.commit("acme", cycle, lease.fence, {URL: f"{SECRET} fetched meanwhile", f"{SITE}/new": "new page"})
    assert traces(filled) == []


def test_a_later_crawl_records_that_it_is_forgotten_and_never_asks(filled: Installation) -> None:
    forgetter(filled).forget("acme", URL)
    with filled.lease() as lease:
        ledger = filled.stores.ledger
        cycle = ledger.open_cycle("acme", 30.0, lease.fence, Mode.FULL)
        ledger.discover("acme", cycle, [Discovery(URL, forced=True), Discovery(f"{SITE}/power")], 31.0, lease.fence)
        assert [task.url for task in ledger.due("acme", cycle.number, "acme.example", 9, 99.0)] == [f"{SITE}/power"]
        filled.commit("acme", cycle, lease.fence, {URL: f"{SECRET} was in flight"})
    row = ledger.url("acme", URL)
    assert row is not None
    assert (row.reason, row.title, row.page_part) == ("forgotten", "", None)
    assert traces(filled) == []


def test_a_url_nobody_has_found_yet_is_refused_when_it_is(filled: Installation) -> None:
    new = f"{SITE}/tomorrow"
    forgetter(filled).forget("acme", new)
    filled.crawl({new: "not wanted"})
    row = filled.stores.ledger.url("acme", new)
    assert row is not None
    assert (row.state, row.reason) == (UrlState.SKIPPED, "forgotten")


def test_what_a_forgotten_page_led_to_is_not_recorded(filled: Installation) -> None:
    forgetter(filled).forget("acme", URL)
    with filled.lease() as lease:
        cycle = filled.stores.ledger.open_cycle("acme", 30.0, lease.fence)
        done = [outcome(URL, SECRET, PageRef("0" * 32 + ".parquet", 0))]
        found = [Discovery(f"{SITE}/of-the-private-page", 2, URL)]
        assert filled.stores.ledger.commit("acme", cycle, lease.fence, done, found, 40.0) == 0


def test_lifted_it_is_fetched_by_the_next_crawl(filled: Installation) -> None:
    forgetter(filled).forget("acme", URL)
    assert forgetter(filled).lift("acme", URL)
    assert not forgetter(filled).lift("acme", URL)
    with filled.lease() as lease:
        cycle = filled.stores.ledger.open_cycle("acme", 30.0, lease.fence)
        due = filled.stores.ledger.due("acme", cycle.number, "acme.example", 9, 99.0)
        assert URL in [task.url for task in due]
        filled.commit("acme", cycle, lease.fence, {URL: "harmless now"})
    (held,) = [one for one in filled.stores.ledger.documents("acme") if one.url == URL]
    assert filled.stores.pages.read("acme", [held.page])[0].sections[0].text == "harmless now"


def test_a_text_is_not_handed_over_under_a_forgotten_address(filled: Installation) -> None:
    forgetter(filled).forget("acme", URL)
    part = filled.stores.pages.write_part("acme", [document(URL, SECRET)])
    with pytest.raises(InputError, match="forgotten"):
        filled.stores.ledger.hand_over("acme", outcome(URL, SECRET, PageRef(part, 0)), 50.0)
    assert traces(filled) == []


def test_an_alias_gets_the_text_and_the_receipt_names_it(place: Installation) -> None:
    twin = f"{SITE}/zz-twin"
    place.crawl({URL: SECRET, twin: SECRET})
    row = place.stores.ledger.url("acme", twin)
    assert row is not None and row.canonical_url == URL
    receipt = forgetter(place).forget("acme", URL)
    assert receipt.same_text == [twin]
    assert [one.url for one in place.stores.ledger.documents("acme")] == [twin]
    forgetter(place).forget("acme", twin)
    assert traces(place) == []


def test_a_store_of_generations_is_reached_too(tmp_path: Path) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    place = Installation(tmp_path / "data")
    place.settings = with_changes(place.settings, index={"store": shared.as_uri()})
    fill(place)
    depot = open_depot(place.settings)
    for row in place.stores.catalog.generations("acme"):
        source = generation_path(place.stores.index_root, "acme", row.generation)
        shutil.copytree(source, depot.path("acme", row.generation))
        depot.push("acme", row.generation)
    assert files_with(shared, SECRET)
    stores = replace(place.stores, index_root=place.settings.index_root)
    assert Forgetter(place.settings, stores).forget("acme", URL).complete
    assert files_with(shared, SECRET) == []
    assert depot.names("acme") == [stores.catalog.live("acme")]
    Forgetter(place.settings, stores).forget("acme")
    assert list(shared.rglob("*.arrow")) == []
    place.close()


def test_what_a_run_that_lost_the_brand_leaves_later_is_swept(filled: Installation) -> None:
    name = filled.stores.catalog.live("acme")
    path = filled.stores.index_root / "acme"
    kept = {file.relative_to(path): file.read_bytes() for file in (path / str(name)).rglob("*") if file.is_file()}
    forgetter(filled).forget("acme", URL)
    for relative, content in kept.items():  # a build that ends after it was taken over
        (path / relative).parent.mkdir(parents=True, exist_ok=True)
        (path / relative).write_bytes(content)
    assert traces(filled)
    assert forgetter(filled).sweep()["generations"] == 1
    assert traces(filled) == []


def test_a_build_of_a_forgotten_brand_that_ends_late_is_swept(filled: Installation) -> None:
    name = str(filled.stores.catalog.live("acme"))
    path, aside = filled.stores.index_root / "acme" / name, filled.settings.data_dir.with_name("aside")
    summary = filled.live().manifest.summary()
    shutil.copytree(path, aside)
    forgetter(filled).forget("acme")
    shutil.copytree(aside, path)
    filled.stores.catalog.add_generation("acme", name, summary)  # before the pointer, which asks for the lease
    forgetter(filled).sweep()
    assert traces(filled) == []
    assert filled.stores.catalog.generations("acme") == []


def test_the_sweep_leaves_a_brand_that_was_begun_anew(filled: Installation) -> None:
    forgetter(filled).forget("acme")
    filled.crawl({f"{SITE}/fresh": "a new beginning"})
    forgetter(filled).sweep()
    assert len(filled.stores.ledger.documents("acme")) == 1


def test_a_brand_begun_anew_can_be_forgotten_again(filled: Installation) -> None:
    first = forgetter(filled).forget("acme")
    filled.crawl({f"{SITE}/fresh": "a new beginning"})
    second = forgetter(filled).forget("acme")
    assert first.receipt != second.receipt
    assert filled.stores.ledger.documents("acme") == []
    assert filled.stores.catalog.forgotten() == {"acme": second.receipt}


def test_a_run_planned_before_does_not_save_the_brand_again(filled: Installation) -> None:
    forgetter(filled).forget("acme")
    with filled.lease() as lease, pytest.raises(LeaseLost, match="forgotten"):
        filled.stores.catalog.save_brand("acme", {}, lease.fence, "")
    assert filled.stores.catalog.brands() == []


def test_a_damaged_live_generation_is_withdrawn(filled: Installation) -> None:
    (filled.live().path / "chunks.arrow").write_bytes(b"broken")
    forgetter(filled).forget("acme", URL)
    assert filled.stores.catalog.live("acme") is None
    assert traces(filled) == []


def test_the_last_page_of_a_brand_leaves_nothing_live(place: Installation) -> None:
    place.crawl({URL: SECRET})
    place.index()
    assert forgetter(place).forget("acme", URL).complete
    assert place.stores.catalog.live("acme") is None
    assert place.vectors.collections() == []  # type: ignore[union-attr]


def test_a_store_that_is_down_makes_the_receipt_incomplete(filled: Installation) -> None:
    class Down(MemoryVectorStore):
        def collections(self) -> list[str]:
            raise VectorStoreDown("no answer")

    broken = Forgetter(filled.settings, filled.stores, Reach(Down())).forget("acme", URL)
    assert not broken.complete
    assert broken.problems == ["vectors: no answer"]
    assert traces(filled) == []
    mended = forgetter(filled).forget("acme", URL)
    assert mended.complete
    assert mended.receipt == broken.receipt
    assert len(filled.vectors.ids(COLLECTION)) == 3  # type: ignore[union-attr]


def test_an_unreadable_part_that_is_in_use_is_not_passed_over(filled: Installation) -> None:
    (part, *_) = sorted(filled.stores.ledger.parts("acme"))
    (filled.settings.data_dir / "pages" / "acme" / part).write_bytes(b"torn")
    receipt = forgetter(filled).forget("acme", URL)
    assert not receipt.complete
    assert "damaged" in receipt.problems[0]


@pytest.mark.parametrize(("brand", "url", "error"), [("nobody", "", UnknownBrand), ("acme", "no url", BadUrl)])
def test_what_nobody_knows_is_refused(filled: Installation, brand: str, url: str, error: type[Exception]) -> None:
    with pytest.raises(error):
        forgetter(filled).forget(brand, url)


def test_two_at_once_do_not_cut_each_other_off(filled: Installation) -> None:
    inside, go = threading.Event(), threading.Event()

    def hold(step: str) -> None:
        if step == "index":
            inside.set()
            assert go.wait(30)

    results: list[bool] = []
    slow = threading.Thread(target=lambda: results.append(forgetter(filled, on_step=hold).forget("acme", URL).complete))
    slow.start()
    assert inside.wait(30)
    other = threading.Thread(target=lambda: results.append(forgetter(filled).forget("acme", f"{SITE}/power").complete))
    other.start()
    go.set()
    slow.join()
    other.join()
    assert results == [True, True]
    assert sorted(one.url for one in filled.stores.ledger.documents("acme")) == [f"{SITE}/reset", f"{SITE}/volume"]


def test_it_wins_over_crawls_that_commit_the_url_all_the_time(tmp_path: Path) -> None:
    """With Chroma's real files; every byte of the data directory is the judge."""
    chroma = ChromaStore(tmp_path / "data" / "chroma")
    place = Installation(tmp_path / "data", vectors=chroma)
    fill(place)
    over, commits = threading.Event(), [0]

    def crawl() -> None:
        mine = Installation(tmp_path / "data")
        while not over.is_set():
            try:
                with mine.lease() as lease:
                    cycle = mine.stores.ledger.open_cycle("acme", 30.0, lease.fence, Mode.FULL)
                    for number in range(20):
                        texts = {URL: f"{SECRET} {number}", f"{SITE}/n{number}": f"page {number}"}
                        mine.commit("acme", cycle, lease.fence, texts)
                        commits[0] += 1
                    mine.stores.ledger.finish_cycle("acme", cycle, lease.fence, 40.0)
            except (LeaseLost, LeaseHeld):
                over.wait(0.01)
            except StoreUnavailable:  # the part that it was writing was swept away, as may happen to a worker
                over.wait(0.01)
        mine.close()

    thread = threading.Thread(target=crawl)
    thread.start()
    try:
        while not commits[0] > 5:
            over.wait(0.01)
        # The crawl may hold the brand again as soon as it is free.
        receipt = forgetter(place).forget("acme", URL)
        after = commits[0]
        while commits[0] < after + 5:
            over.wait(0.01)
    finally:
        over.set()
        thread.join()
    assert receipt.complete
    place.stores.db.scrub()
    chroma_ids = chroma.ids(COLLECTION)
    chroma.close()
    assert digest("acme" + URL + TEXTS[URL]) not in chroma_ids
    assert traces(place) == []
    parts = (tmp_path / "data" / "pages" / "acme").glob("*.parquet")
    held = [row for part in parts for row in pq.read_table(part).to_pylist() if row["url"] == URL]
    assert not any(row["sections"] or row["title"] for row in held)
    place.close()
    assert np.isfinite(receipt.finished_at)
    assert json.loads((tmp_path / "data" / "receipts" / f"{receipt.receipt}.json").read_text())["complete"]
