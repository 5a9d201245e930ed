from __future__ import annotations

import math
import os
import re
from pathlib import Path

import pytest

from ray_app.errors import NoGeneration
from ray_app.index.layout import (
    generation_name,
    generation_names,
    generation_path,
    last_change,
    remove_generation,
    stale_names,
)
from ray_app.index.manifest import MANIFEST

from .conftest import NOW, Build


def test_names_sort_by_time() -> None:
    names = [generation_name(NOW + i) for i in range(5)]
    assert names == sorted(names)
    assert re.fullmatch(r"20261123T190501Z-[0-9a-f]{6}", names[0])
    assert generation_name(NOW) != generation_name(NOW)


@pytest.mark.parametrize("brand", ["", "..", "a/b", "/etc", "A", "-a", "a\0", "a" * 65])
@pytest.mark.parametrize("name", ["20261123T190501Z-ab12cd", "..", "", "x"])
def test_no_name_leads_elsewhere(root: Path, brand: str, name: str) -> None:
    with pytest.raises(NoGeneration):
        generation_path(root, brand, name)
    with pytest.raises(NoGeneration):
        generation_path(root, "acme", name + "/..")


def test_only_complete_generations_are_listed(root: Path, build: Build) -> None:
    assert generation_names(root, "acme") == []
    later, earlier = build(["a"], now=NOW + 60).generation, build(["a"]).generation
    (root / "acme" / generation_name(NOW)).mkdir()
    (root / "acme" / "notes").mkdir()
    assert generation_names(root, "acme") == [earlier, later]


def test_what_the_catalog_does_not_know_is_stale_when_it_is_old(root: Path, build: Build) -> None:
    known, unknown, torn = build(["a"]).generation, build(["b"]).generation, generation_name(NOW)
    (root / "acme" / torn / "keywords").mkdir(parents=True)
    for path in (root / "acme").rglob("*"):
        os.utime(path, (NOW, NOW))
    assert stale_names(root, "acme", {known}, NOW) == []
    assert stale_names(root, "acme", {known}, NOW + 1) == sorted([unknown, torn])
    os.utime(root / "acme" / torn / "keywords", (NOW + 5, NOW + 5))  # still being written
    assert stale_names(root, "acme", {known}, NOW + 1) == [unknown]


def test_a_removal_cut_short_leaves_no_damaged_generation(
    root: Path, build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = build(["a"]).generation

    def killed(path: Path) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr("ray_app.index.layout.shutil.rmtree", killed)
        with pytest.raises(KeyboardInterrupt):
            remove_generation(root, "acme", name)
    assert not (root / "acme" / name / MANIFEST).exists()
    assert generation_names(root, "acme") == []
    remove_generation(root, "acme", name)
    remove_generation(root, "acme", name)
    assert not (root / "acme" / name).exists()


def test_what_vanishes_while_it_is_looked_at_is_not_stale(tmp_path: Path) -> None:
    assert last_change(tmp_path / "renamed") == math.inf
