"""``backline embed --file`` in this process, where no Backline runs and none is started."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from ray_app.cli import app
from ray_app.config import load
from ray_app.errors import BacklineError, InputError
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_path
from ray_app.ingest import indexing
from ray_app.on_ray import indexer
from ray_app.store.stores import stores
from ray_app.testing.fakes import HashEmbedder
from ray_app.testing.site.pages import pdf

FILES = {
    "reset.md": b"# Reset guide\n\n## Factory reset\n\nHold SHIFT while switching on.\n",
    "pads.html": "<title>Pads</title><main><p>Sixteen pads, lit in grün.</p></main>".encode("cp1252"),
    "weight.txt": "Вес устройства составляет четыре килограмма, без блока питания.\n".encode("cp1251"),
    "power.pdf": pdf("It needs twelve volts."),
}
TEXTS = {
    "document://acme/reset.md": "Hold SHIFT while switching on.",
    "document://acme/pads.html": "Sixteen pads, lit in grün.",
    "document://acme/weight.txt": "Вес устройства составляет четыре килограмма, без блока питания.",
    "document://acme/power.pdf": "It needs twelve volts.",
}


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("BACKLINE_DATA_DIR", str(tmp_path / "data"))
    monkeypatch.setattr(indexing, "model_id", lambda _: HashEmbedder().model)
    monkeypatch.setattr(indexer, "load_embedder", lambda _: HashEmbedder())
    for name, body in FILES.items():
        (tmp_path / name).write_bytes(body)
    return tmp_path


def backline(*words: str) -> Any:
    """What a command writes as JSON. Raises the error that it would tell in words."""
    done = CliRunner().invoke(app, [*words, "--json"])
    if isinstance(done.exception, BacklineError):
        raise done.exception
    assert done.exit_code == 0, done.output
    return json.loads(done.stdout)


def take_in(name: str, *words: str) -> Any:
    return backline("embed", "--brand", "acme", "--file", name, *words)


def live() -> dict[str, str]:
    with stores(load()) as opened:
        name = opened.catalog.live("acme")
        assert name is not None
        generation = Generation.open(generation_path(opened.index_root, "acme", name))
        return {chunk.url: chunk.text for chunk in generation.chunks()}


def test_each_kind_of_file_becomes_searchable() -> None:
    for count, name in enumerate(FILES, start=1):
        done = take_in(name)
        assert (done["embed"]["published"], done["embed"]["documents"], done["embed"]["embedded"]) == (True, count, 1)
    assert live() == TEXTS


def test_its_title_and_where_others_can_open_it_may_be_given() -> None:
    done = take_in("reset.md", "--url", "https://Acme.test/reset#x", "--title", "Resetting", "--lang", "en-GB")
    assert done["document"]["title"] == "Resetting"
    assert list(live()) == ["https://acme.test/reset"]
    assert backline("why", "https://acme.test/reset")["lang"] == "en"


def test_the_same_file_again_changes_nothing_and_a_changed_one_takes_its_place(folder: Path) -> None:
    first, second = take_in("reset.md"), take_in("reset.md")
    assert (second["document"]["changed"], second["embed"]["published"]) == (False, False)
    assert second["embed"]["generation"] == first["embed"]["generation"]
    (folder / "reset.md").write_bytes(b"Pull the plug.")
    assert take_in("reset.md")["embed"]["documents"] == 1
    assert live() == {"document://acme/reset.md": "Pull the plug."}


def test_what_is_known_of_it_is_told_like_that_of_any_page() -> None:
    take_in("reset.md")
    told = backline("why", "document://acme/reset.md")
    assert "It was handed over; no crawl has found it." in " ".join(told["story"])
    assert "It is in the live index." in told["story"]
    assert backline("coverage", "--brand", "acme")["reasons"] == {"fetched": {"handed": 1}}
    assert backline("urls", "--brand", "acme", "--reason", "handed")["url"] == "document://acme/reset.md"


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--file", "gone.md"], "cannot be read"),
        (["--file", "reset.docx"], "kind that cannot be read"),
        (["--file", "reset.md", "--brand", "other"], "single --brand"),
        (["--file", "reset.md", "--url", "ftp://acme.test/"], "http"),
        (["--title", "Reset"], "--file"),
    ],
)
def test_what_cannot_be_done_is_told(words: list[str], told: str) -> None:
    with pytest.raises(InputError, match=told):
        backline("embed", "--brand", "acme", *words)


def test_a_brand_of_documents_only_is_not_crawled() -> None:
    take_in("reset.md")
    with pytest.raises(InputError, match="no site"):
        backline("crawl", "--brand", "acme")
