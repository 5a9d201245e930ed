"""Write .env.example from the settings tree: every setting, its meaning and its default.

python tools/env_example.py            writes .env.example at the root of the repository
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal, get_args, get_origin

from pydantic import BaseModel, SecretStr
from pydantic.fields import FieldInfo

from ray_app.config import CONVENTIONAL, Settings

TARGET = Path(__file__).parents[1] / ".env.example"

HEADER = """\
# Settings of Backline. Copy to .env and uncomment what you change; what is shown is the default.
# Made from ray_app/config.py by tools/env_example.py: do not edit by hand.
#
# The first source that names a setting wins: command line, environment, .env, backline.toml, default.
# A setting with a second name may be given under either; the BACKLINE_ name wins.
# Quote values with spaces or any of # $ & ; so that a shell reads the file as well.
# BACKLINE_CONFIG names another file instead of backline.toml; only the environment is asked for it.
"""


def render() -> str:
    """The whole file, ending in a newline."""
    sections = {name: kind for name, field in Settings.model_fields.items() if (kind := section(field))}
    plain = {name: field for name, field in Settings.model_fields.items() if name not in sections}
    parts = [HEADER, "\n".join(lines("", plain))]
    for name, kind in sections.items():
        parts.append(f"# --- {name} ---\n" + "\n".join(lines(f"{name}.", kind.model_fields)))
    return "\n\n".join(part.rstrip("\n") for part in parts) + "\n"


def section(field: FieldInfo) -> type[BaseModel] | None:
    """The model of a field that is a section of the tree."""
    kind: Any = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, BaseModel) else None


def lines(prefix: str, fields: dict[str, FieldInfo]) -> Iterator[str]:
    also = {dotted: name for name, dotted in CONVENTIONAL.items()}
    for name, field in fields.items():
        dotted = prefix + name
        choices = ", ".join(get_args(field.annotation)) if get_origin(field.annotation) is Literal else ""
        notes = [f"one of {choices}"] * bool(choices) + [f"also {also.get(dotted)}"] * (dotted in also)
        yield f"# {field.description}" + "".join(f" ({note})" for note in notes)
        yield f"#BACKLINE_{dotted.replace('.', '__').upper()}={shown(field)}"


def shown(field: FieldInfo) -> str:
    """A default as it would be typed. Home folders are shown as ~, so the file is the same everywhere."""
    value: Any = field.get_default(call_default_factory=True)
    if isinstance(value, SecretStr):
        value = value.get_secret_value()
    if isinstance(value, Path):
        home = Path.home()
        return f"~/{value.relative_to(home)}" if value.is_relative_to(home) else str(value)
    if isinstance(value, tuple | list):
        return json.dumps(value)
    if isinstance(value, bool):
        return str(value).lower()
    return f'"{value}"' if " " in str(value) else str(value)


if __name__ == "__main__":
    TARGET.write_text(render(), encoding="utf-8")
