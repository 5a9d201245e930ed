""".env.example is what tools/env_example.py makes of the settings tree, and can be taken at its word."""

from __future__ import annotations

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import pytest

from ray_app.config import CONVENTIONAL, Settings, load

ROOT = Path(__file__).parents[2]
FILE = ROOT / ".env.example"


@pytest.fixture(scope="module")
def tool() -> ModuleType:
    spec = importlib.util.spec_from_file_location("env_example", ROOT / "tools" / "env_example.py")
    assert spec and spec.loader
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


def assignments() -> dict[str, str]:
    """NAME -> value of every commented-out setting, as a shell would read it."""
    found = re.findall(r"^#([A-Z][A-Z0-9_]*)=(.*)$", FILE.read_text("utf-8"), re.MULTILINE)
    assert len({name for name, _ in found}) == len(found)
    return {name: value.strip('"') for name, value in found}


def dotted(name: str) -> str:
    return name.removeprefix("BACKLINE_").lower().replace("__", ".")


def leaves() -> set[str]:
    tree = Settings.model_construct().model_dump()
    return {
        f"{name}.{field}" if field else name
        for name, value in tree.items()
        for field in (value if isinstance(value, dict) else [""])
    }


def test_the_file_is_up_to_date(tool: ModuleType) -> None:
    assert FILE.read_text("utf-8") == tool.render(), "run: python tools/env_example.py"


def test_every_setting_is_named_once_with_its_description() -> None:
    assert {dotted(name) for name in assignments()} == leaves()
    text = FILE.read_text("utf-8").splitlines()
    for number, line in enumerate(text):
        if line.startswith("#BACKLINE_"):
            assert re.match(r"# \S", text[number - 1]), line


def test_every_conventional_name_is_shown() -> None:
    text = FILE.read_text("utf-8")
    assert all(f"(also {name})" in text for name in CONVENTIONAL)


def test_nothing_is_set_until_it_is_uncommented() -> None:
    assert all(line.startswith("#") for line in FILE.read_text("utf-8").splitlines() if line)


def test_it_names_no_machine() -> None:
    assert str(Path.home()) not in FILE.read_text("utf-8")


def test_the_values_shown_are_the_defaults(monkeypatch: pytest.MonkeyPatch) -> None:
    defaults = load()
    for name, value in assignments().items():
        monkeypatch.setenv(name, value)
    assert load() == defaults
