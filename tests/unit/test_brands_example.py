"""brands.example.yaml loads, and shows every field there is."""

from __future__ import annotations

from pathlib import Path

import yaml

from ray_app.ingest.brands import BrandConfig, Scope, load_brands

FILE = Path(__file__).parents[2] / "brands.example.yaml"


def test_the_example_loads() -> None:
    brands = load_brands(FILE)
    assert set(brands) == {"acme", "globex", "intranet"}
    assert brands["acme"].rate == 1.0
    assert brands["globex"].max_pages == BrandConfig.model_fields["max_pages"].default
    assert brands["intranet"].allow_hosts == ("wiki.example.internal:8080",)


def test_the_example_shows_every_field() -> None:
    shown = yaml.safe_load(FILE.read_text("utf-8"))["brands"].values()
    assert {field for brand in shown for field in brand} == set(BrandConfig.model_fields) - {"name"}


def test_the_examples_scope_is_what_its_comments_say() -> None:
    scope = Scope(load_brands(FILE)["acme"])
    assert scope.judge("https://docs.example.com/help/a", 1) == ""
    assert scope.judge("https://www.support.example.com/support/a", 1) == ""
    assert scope.judge("https://docs.example.com/about", 1) == "scope"
    assert scope.judge("https://docs.example.com/help/a?print=1", 1) == "scope"
    assert scope.judge("https://other.example.org/help/a", 1) == "scope"
