"""The settings tree: where values come from, in which order, and what is refused."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import pytest
from pydantic import BaseModel

from ray_app.config import CONVENTIONAL, Section, Settings, load, share_with_children, with_changes
from ray_app.errors import ConfigError


def sections() -> dict[str, type[BaseModel]]:
    return {
        name: field.annotation
        for name, field in Settings.model_fields.items()
        if isinstance(field.annotation, type) and issubclass(field.annotation, BaseModel)
    }


def value(settings: Settings, dotted: str) -> Any:
    found: Any = settings
    for part in dotted.split("."):
        found = getattr(found, part)
    return found.get_secret_value() if hasattr(found, "get_secret_value") else found


def test_the_defaults_run_on_a_laptop() -> None:
    settings = load()
    assert settings.data_dir == Path.home() / ".backline"
    assert settings.database_url == f"sqlite:///{settings.data_dir / 'backline.db'}"
    assert settings.redis_url == ""
    assert settings.api_url == "http://127.0.0.1:8000"
    assert settings.serve.host == "127.0.0.1"
    assert settings.crawl.allow_hosts == ()


def test_every_field_has_a_description_and_refuses_unknown_keys() -> None:
    for name, section in {"": Settings, **sections()}.items():
        for field, info in section.model_fields.items():
            assert info.description or field in sections(), f"{name}.{field}"
        assert section.model_config.get("extra") == "forbid"
        assert section.model_config.get("frozen") is True
    assert all(issubclass(section, Section) for section in sections().values())


@pytest.mark.parametrize("name", sorted(CONVENTIONAL))
def test_a_conventional_name_lands_where_it_says(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    given = {"LOG_LEVEL": "ERROR", "LOG_FORMAT": "json", "DATA_DIR": "/srv/b"}.get(name, "4711")
    monkeypatch.setenv(name, given)
    assert str(value(load(), CONVENTIONAL[name])) == given


def test_an_empty_conventional_name_counts_as_absent(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("REDIS_PORT", "")
    assert load().redis.port == 6379


def test_the_first_source_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each step adds the next stronger source."""
    Path("backline.toml").write_text("[redis]\nport = 1\nhost = 'toml'\n", encoding="utf-8")
    assert load().redis.port == 1
    Path(".env").write_text("REDIS_PORT=2\n", encoding="utf-8")
    assert load().redis.port == 2
    Path(".env").write_text("REDIS_PORT=2\nBACKLINE_REDIS__PORT=3\n", encoding="utf-8")
    assert load().redis.port == 3
    monkeypatch.setenv("REDIS_PORT", "4")
    assert load().redis.port == 4
    monkeypatch.setenv("BACKLINE_REDIS__PORT", "5")
    assert load().redis.port == 5
    assert load(redis={"port": 6}).redis.port == 6
    assert load(redis={"port": 6}).redis.host == "toml"


def test_another_toml_file_can_be_named(monkeypatch: pytest.MonkeyPatch) -> None:
    Path("other.toml").write_text("[crawl]\nrate = 0.5\n", encoding="utf-8")
    monkeypatch.setenv("BACKLINE_CONFIG", "other.toml")
    assert load().crawl.rate == 0.5


def test_a_list_comes_as_json(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BACKLINE_CRAWL__ALLOW_HOSTS", '["wiki:8080", "10.0.0.7"]')
    assert load().crawl.allow_hosts == ("wiki:8080", "10.0.0.7")


def test_other_programs_variables_in_dotenv_are_left_alone() -> None:
    Path(".env").write_text("SHARED_NFS=fs:/\nPOSTGRES_PASSWORD=x\n", encoding="utf-8")
    assert load() == load()


@pytest.mark.parametrize("name", ["BACKLINE_CRAWL__RATEE", "BACKLINE_LLM__KEY"])
def test_a_misspelt_setting_is_refused_by_name(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    dotted = name.removeprefix("BACKLINE_").lower().replace("__", ".")
    Path(".env").write_text(f"{name}=1\n", encoding="utf-8")
    with pytest.raises(ConfigError, match=dotted):
        load()
    Path(".env").unlink()
    monkeypatch.setenv(name, "1")
    with pytest.raises(ConfigError, match=dotted):
        load()


@pytest.mark.parametrize(
    ("overrides", "field"),
    [
        ({"crawl": {"rate": -1}}, "crawl.rate"),
        ({"crawl": {"max_attempts": 11}}, "crawl.max_attempts"),
        ({"retrieval": {"fusion": "magic"}}, "retrieval.fusion"),
        ({"serve": {"port": 70_000}}, "serve.port"),
        ({"serv": {"port": 1}}, "serv"),
        ({"log": {"level": "LOUD"}}, "log.level"),
    ],
)
def test_a_wrong_value_is_refused_by_name(overrides: dict[str, Any], field: str) -> None:
    with pytest.raises(ConfigError, match=field):
        load(**overrides)


def test_every_wrong_field_is_named_at_once() -> None:
    with pytest.raises(ConfigError, match=r"crawl\.rate.*; .*serve\.port"):
        load(crawl={"rate": -1}, serve={"port": 0})


def test_no_secret_is_shown() -> None:
    settings = load(
        llm={"api_key": "sk-hush"},
        redis={"url": "redis://:hush@h/0"},
        store={"database_url": "postgresql://u:hush@h/d"},
    )
    assert "hush" not in repr(settings) + str(settings) + str(settings.model_dump(mode="json"))
    assert settings.redis_url == "redis://:hush@h/0"
    assert settings.database_url == "postgresql://u:hush@h/d"
    with pytest.raises(ConfigError) as caught:
        load(llm={"api_key": ["sk-hush"]})
    assert "hush" not in str(caught.value)


def test_redis_by_host_and_port() -> None:
    assert load(redis={"host": "cache", "port": 7}).redis_url == "redis://cache:7/0"


@pytest.mark.parametrize("url", ["localhost:6379", "http://cache", "redis://:hush@cache:hush/0"])
def test_what_is_no_redis_url_is_refused_when_redis_is_wanted(url: str) -> None:
    settings = load(redis={"url": url})
    with pytest.raises(ConfigError, match="REDIS_URL") as caught:
        _ = settings.redis_url
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize("url", ["redis://cache", "rediss://:p@cache:6380/1", "unix:///run/redis.sock?db=1"])
def test_a_redis_url_is_taken_as_it_is(url: str) -> None:
    assert load(redis={"url": url}).redis_url == url


def test_the_api_url_follows_host_and_port_unless_it_is_given() -> None:
    assert load(serve={"port": 9}).api_url == "http://127.0.0.1:9"
    assert load(serve={"url": "https://support.example.com/"}).api_url == "https://support.example.com"


def test_the_data_folder_is_absolute(tmp_path: Path) -> None:
    assert load(data_dir="~/b").data_dir == Path.home() / "b"
    assert load(data_dir="b").data_dir == tmp_path / "b"


def test_processes_in_another_folder_find_the_same_files(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BACKLINE_CONFIG", "ours.toml")
    monkeypatch.setenv("BACKLINE_DATA_DIR", "./data")
    monkeypatch.setenv("BACKLINE_BRANDS_FILE", "")
    Path("ours.toml").write_text("brands_file = 'many.yaml'\n[crawl]\nrate = 7\n", encoding="utf-8")
    Path("many.yaml").write_text("brands: {}\n", encoding="utf-8")
    monkeypatch.delenv("BACKLINE_BRANDS_FILE")
    share_with_children(load())
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    monkeypatch.chdir(elsewhere)
    shared = load()
    assert shared.data_dir == tmp_path / "data"
    assert shared.brands_file == str(tmp_path / "many.yaml")
    assert shared.crawl.rate == 7


def test_settings_are_frozen_and_travel_to_workers() -> None:
    settings = load(llm={"api_key": "sk-1"})
    with pytest.raises(ValueError, match="frozen"):
        settings.crawl.rate = 3.0
    copy = pickle.loads(pickle.dumps(settings))
    assert copy == settings
    assert copy.llm.api_key.get_secret_value() == "sk-1"


def test_with_changes_touches_only_what_it_is_told(settings: Settings) -> None:
    changed = with_changes(settings, crawl={"rate": 0.0}, index={"keep_generations": 2})
    assert (changed.crawl.rate, changed.index.keep_generations) == (0.0, 2)
    assert changed.crawl.max_pages == settings.crawl.max_pages
    assert changed.llm == settings.llm
    assert settings.crawl.rate == 2.0


def test_a_list_in_dotenv_is_json_too() -> None:
    Path(".env").write_text("BACKLINE_CRAWL__ALLOW_HOSTS='[\"wiki:8080\"]'\n", encoding="utf-8")
    assert load().crawl.allow_hosts == ("wiki:8080",)


def test_a_list_that_is_not_json_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    Path(".env").write_text("BACKLINE_CRAWL__ALLOW_HOSTS=wiki,intra\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="allow_hosts"):
        load()
    Path(".env").unlink()
    monkeypatch.setenv("BACKLINE_CRAWL__ALLOW_HOSTS", "wiki,intra")
    with pytest.raises(ConfigError, match="crawl"):
        load()


def test_a_broken_toml_file_is_a_config_error() -> None:
    Path("backline.toml").write_text("[crawl\n", encoding="utf-8")
    with pytest.raises(ConfigError, match="TOML"):
        load()


@pytest.mark.parametrize("fields", [{"rat": 0}, {"rate": -1}, {"rate": "fast"}])
def test_with_changes_checks_what_it_is_told(settings: Settings, fields: dict[str, Any]) -> None:
    with pytest.raises(ConfigError, match="rat"):
        with_changes(settings, crawl=fields)
