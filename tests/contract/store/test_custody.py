"""`backline backup`, `restore` and `forget` as a person types them, and the jobs around them."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from installation import SITE, Installation, files_with
from typer.testing import CliRunner, Result

from ray_app.cli import app
from ray_app.config import load
from ray_app.errors import BacklineError, InputError, LeaseLost
from ray_app.index.chroma import ChromaStore
from ray_app.ingest.forget import Forgetter
from ray_app.on_ray import jobs
from ray_app.on_ray.custody import backup_path, clear_cache, reach
from ray_app.on_ray.maintenance import cleanup
from ray_app.on_ray.targets import Target, known, remember, resolve
from ray_app.records import Document, Section

SECRET = "xylophonequince"
URL = f"{SITE}/private"
TEXTS = {URL: f"{SECRET} lives here", f"{SITE}/power": "hold the power key"}


@pytest.fixture(autouse=True)
def no_disk_wait(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", lambda fd: None)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Installation]:
    monkeypatch.setenv("BACKLINE_DATA_DIR", str(tmp_path / "data"))
    made = Installation(tmp_path / "data")
    made.crawl(TEXTS)
    made.index()
    yield made
    made.close()


def run(*words: str) -> Result:
    return CliRunner().invoke(app, list(words))


def told(*words: str, code: int = 0) -> dict[str, Any]:
    done = run(*words, "--json")
    assert done.exit_code == code, done.output
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def test_backup_and_restore(place: Installation, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "all.tar.zst"
    report = told("backup", str(file))
    assert (report["file"], report["snapshots"], report["rows"]["urls"]) == (str(file), 1, 2)
    assert isinstance(run("restore", str(file)).exception, BacklineError)  # main() tells it in words: code 1
    monkeypatch.setenv("BACKLINE_DATA_DIR", str(tmp_path / "elsewhere"))
    report = told("restore", str(file))
    assert report["generations"] == place.stores.catalog.pointers()
    assert "acme" in run("restore", str(file), "--force").stdout


def test_what_is_damaged_already_makes_the_backup_partly(place: Installation, tmp_path: Path) -> None:
    (part,) = place.stores.ledger.parts("acme")
    place.stores.pages.remove("acme", part)
    done = run("backup", str(tmp_path / "all.tar"))
    assert done.exit_code == 3
    assert "missing" in done.stdout


def test_forget_with_a_receipt(place: Installation) -> None:
    (receipt,) = told("forget", "--url", URL)["receipts"]
    assert receipt["complete"]
    assert receipt["removed"]["page_texts"] == 1
    assert files_with(place.settings.data_dir, SECRET) == []
    again = run("forget", "--url", URL)
    assert again.exit_code == 0
    assert f"nothing was left of {URL}" in again.stdout
    assert receipt["receipt"] in again.stdout


def test_forget_lift(place: Installation) -> None:
    told("forget", "--url", URL, "--brand", "acme")
    assert told("forget", "--lift", "--url", URL) == {"lifted": {"acme": True}}
    assert "was not forgotten" in run("forget", "--lift", "--url", URL).stdout


@pytest.mark.parametrize("words", [[], ["--url", f"{SITE}/nobody-knows"], ["--brand", "nobody"]])
def test_forget_needs_to_know_what(place: Installation, words: list[str]) -> None:
    assert isinstance(run("forget", *words).exception, InputError)  # code 2


def test_forget_that_cannot_reach_chroma_fails_and_says_so(place: Installation) -> None:
    folder = place.settings.data_dir / "chroma"
    owner = ChromaStore(folder)
    try:
        done = run("forget", "--url", URL)
    finally:
        owner.close()
    assert done.exit_code == 1
    assert "vectors: Process" in done.stdout
    assert "not complete" in done.stdout
    assert told("forget", "--url", URL)["receipts"][0]["complete"]


def test_embedded_chroma_is_opened_where_nothing_runs(place: Installation) -> None:
    ChromaStore(place.settings.data_dir / "chroma").close()
    with reach(place.settings) as outside:
        assert isinstance(outside.vectors, ChromaStore)
    ChromaStore(place.settings.data_dir / "chroma").close()  # its lock is free again


def test_a_redis_that_is_down_is_a_problem_of_the_receipt(place: Installation) -> None:
    settings = load(data_dir=place.settings.data_dir, redis={"url": "redis://127.0.0.1:1/0"})
    with pytest.raises(BacklineError, match="Redis"):
        clear_cache(settings, "acme")
    with reach(settings) as outside:
        receipt = Forgetter(settings, place.stores, outside).forget("acme", URL)
    assert receipt.problems == ["cache: Redis, which keeps answers, does not answer."]


def test_the_backup_job(place: Installation, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert jobs.main("backup", [str(tmp_path / "b-%Y.tar")]) == 0
    report = json.loads(capsys.readouterr().out)
    assert Path(report["file"]).name.startswith("b-20")
    assert Path(report["file"]).exists()
    assert backup_path("/b/%Y%m%d.tar", 0.0) == Path("/b/19700101.tar")
    assert jobs.main("backup", [str(tmp_path / "no" / "where.tar")]) == jobs.USAGE


def test_cleanup_sweeps_what_came_late(place: Installation) -> None:
    told("forget", "--brand", "acme")
    section = Section((), "", f"{SECRET} came late")
    late = Document("acme", URL, "", "en", "html", (section,), "hash")
    place.stores.pages.write_part("acme", [late])
    settings = load(data_dir=place.settings.data_dir, chroma={"fill": False})  # its owner would need Ray
    assert cleanup(settings, place.stores)["removed"]["forgotten"] == 1
    assert files_with(place.settings.data_dir, SECRET) == []


# -- brands that come again


def target(*urls: str) -> Target:
    return Target("acme", urls)


def listed(tmp_path: Path) -> None:
    (tmp_path / "brands.yaml").write_text(f"brands: {{acme: {{start_urls: ['{SITE}/']}}}}")


def test_a_forgotten_brand_is_refused_in_words_until_it_is_begun_anew(place: Installation) -> None:
    told("forget", "--brand", "acme")
    catalog = place.stores.catalog
    with pytest.raises(InputError, match="forgotten"):
        resolve(place.settings, catalog, target())
    order = resolve(place.settings, catalog, target(f"{SITE}/"))
    with place.lease() as lease:
        remember(catalog, order, lease.fence)
    assert resolve(place.settings, catalog, target()).config.start_urls == (f"{SITE}/",)


def test_brands_yaml_does_not_bring_it_back(place: Installation, tmp_path: Path) -> None:
    listed(tmp_path)
    catalog = place.stores.catalog
    assert list(known(place.settings, catalog)) == ["acme"]
    told("forget", "--brand", "acme")
    assert list(known(place.settings, catalog)) == []  # --all passes it over
    for urls in ((), (f"{SITE}/",)):
        with pytest.raises(InputError, match="still lists it"):
            resolve(place.settings, catalog, target(*urls))
    told("forget", "--lift", "--brand", "acme")
    assert resolve(place.settings, catalog, target()).configured


def test_a_run_that_was_planned_before_stops(place: Installation, tmp_path: Path) -> None:
    listed(tmp_path)
    order = resolve(place.settings, place.stores.catalog, target())
    told("forget", "--brand", "acme")
    with place.lease() as lease, pytest.raises(LeaseLost, match="forgotten"):
        remember(place.stores.catalog, order, lease.fence)
    assert place.stores.catalog.brands() == []
