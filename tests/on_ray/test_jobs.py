"""What the entry points behind jobs/*.py make of their arguments. Starts no Ray."""

from __future__ import annotations

import pytest

from ray_app.config import Settings
from ray_app.errors import ConfigError, InputError
from ray_app.on_ray.jobs import USAGE, _parser, _targets, main
from ray_app.on_ray.targets import Target, resolve_all
from ray_app.store.stores import stores


@pytest.mark.parametrize("brands", [["--all"], ["--brand", "a", "--brand", "b"]])
def test_options_hold_for_every_brand(settings: Settings, brands: list[str]) -> None:
    given = ["--rate", "0.5", "--max-pages", "3", "--max-depth", "0", "--allow-host", "10.0.0.1"]
    with stores(settings) as opened:
        for name in ("a", "b"):
            opened.catalog.save_brand(name, {"start_urls": [f"https://{name}.example/"]})
        found = _targets(settings, opened, _parser("scrape").parse_args([*brands, *given]))
        assert found == [Target(name, (), ("10.0.0.1",), 3, 0, 0.5) for name in ("a", "b")]
        assert [target.brand for target in _targets(settings, opened, _parser("embed").parse_args(brands))] == [
            "a",
            "b",
        ]
        with pytest.raises(ConfigError, match="max_pages"):
            wrong = _parser("ingest").parse_args([*brands, "--max-pages", "0"])
            resolve_all(settings, opened.catalog, _targets(settings, opened, wrong))


def test_urls_go_with_one_brand(settings: Settings, monkeypatch: pytest.MonkeyPatch) -> None:
    arguments = _parser("ingest").parse_args(["--brand", "a", "--brand", "b", "--url", "https://a.example/"])
    with stores(settings) as opened, pytest.raises(InputError, match="single"):
        _targets(settings, opened, arguments)
    monkeypatch.setenv("BACKLINE_DATA_DIR", str(settings.data_dir))  # jobs load their settings
    assert main("ingest", ["--brand", "a", "--brand", "b", "--url", "https://a.example/"]) == USAGE
    assert main("ingest", []) == USAGE
