"""Settings for commands that try Backline out beside whatever runs on this machine."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import SecretStr

from ray_app.commands.output import settings_for
from ray_app.config import Settings, with_changes

_NOTHING_SHARED: dict[str, dict[str, Any]] = {
    "store": {"database_url": SecretStr("")},
    "ray": {"address": "", "jobs_address": ""},
    "redis": {"url": SecretStr(""), "host": ""},
    "chroma": {"host": ""},
    "llm": {"api_key": SecretStr(""), "ollama_base_url": ""},
    "serve": {"url": ""},
    "crawl": {"allow_hosts": ()},
}


def settings_apart(folder: Path, **sections: Mapping[str, Any]) -> Settings:
    """The settings of this machine with all state in ``folder`` and no service from outside; ``sections`` on top."""
    base = settings_for().model_copy(update={"data_dir": folder, "brands_file": ""})
    return with_changes(with_changes(base, **_NOTHING_SHARED), **sections)
