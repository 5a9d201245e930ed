"""What `doctor` finds, and that `demo` and `selftest` use nothing of this machine but its programs. Starts no Ray."""

from __future__ import annotations

from pathlib import Path

import pytest

from ray_app.commands.apart import settings_apart
from ray_app.commands.doctor import diagnose
from ray_app.config import load
from ray_app.on_ray.services import generator_name


def test_nothing_from_outside_is_used_by_what_tries_backline_out(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    outside = {
        "CHROMA_HOST": "chroma",
        "REDIS_URL": "redis://cache/0",
        "REDIS_HOST": "cache",
        "OPENAI_API_KEY": "sk-1",
        "OLLAMA_BASE_URL": "http://ollama",
        "DATABASE_URL": "postgresql://db/backline",
        "RAY_ADDRESS": "head:6379",
        "BACKLINE_RAY__JOBS_ADDRESS": "http://head:8265",
        "BACKLINE_SERVE__URL": "https://support.example.com",
        "BACKLINE_CRAWL__ALLOW_HOSTS": '["intranet"]',
        "BACKLINE_CRAWL__MAX_ATTEMPTS": "7",
    }
    for name, value in outside.items():
        monkeypatch.setenv(name, value)
    settings = settings_apart(tmp_path / "own", crawl={"rate": 0.0}, serve={"port": 1})
    assert settings.data_dir == tmp_path / "own"
    assert settings.database_url == f"sqlite:///{tmp_path / 'own' / 'backline.db'}"
    assert (settings.redis_url, settings.chroma.host, generator_name(settings)) == ("", "", "extractive")
    assert (settings.ray.address, settings.ray.jobs_address, settings.api_url) == ("", "", "http://127.0.0.1:1")
    assert (settings.crawl.rate, settings.crawl.allow_hosts, settings.crawl.max_attempts) == (0.0, (), 7)


@pytest.mark.parametrize("url", ["localhost:6379", "redis://:hush@cache:hush/0"])
def test_what_is_wrong_hides_no_other_finding(monkeypatch: pytest.MonkeyPatch, url: str) -> None:
    monkeypatch.setenv("REDIS_URL", url)
    monkeypatch.setenv("CHROMA_HOST", "chroma..example")
    found = {finding.name: finding for finding in diagnose(load(data_dir="data"))}
    assert (found["redis"].state, found["chroma"].state) == ("bad", "bad")
    assert "redis://host:6379/0" in found["redis"].reason
    assert "hush" not in found["redis"].reason
    assert {"versions", "data_dir", "database", "embedding model", "schedule", "llm"} <= set(found)
