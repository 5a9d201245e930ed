"""Two fences round every test outside tests/on_ray and tests/e2e: no Ray, no address but loopback."""

from __future__ import annotations

import ipaddress
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import hypothesis
import pytest

from ray_app.config import Settings, load

RAY_FOLDERS = ("on_ray", "e2e")

# How long an example takes says more about what else the machine does than about us.
hypothesis.settings.register_profile("any-machine", deadline=None)
hypothesis.settings.load_profile("any-machine")


# In these folders Ray runs in the same process, and its warnings are not ours to mend.
RAY_WARNINGS = (
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore::pytest.PytestUnraisableExceptionWarning",
)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if any(folder in item.path.parts for folder in RAY_FOLDERS):
            for line in RAY_WARNINGS:
                item.add_marker(pytest.mark.filterwarnings(line))


def _uses_ray(request: pytest.FixtureRequest) -> bool:
    return any(folder in Path(request.node.fspath).parts for folder in RAY_FOLDERS)


@pytest.fixture(autouse=True)
def no_ray(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """A unit test that starts Ray fails at once."""
    if _uses_ray(request):
        return

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("this test must not start Ray")

    import sys

    if "ray" in sys.modules:
        monkeypatch.setattr(sys.modules["ray"], "init", refuse)


@pytest.fixture(autouse=True)
def loopback_only(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """A connection to anything but loopback fails at once."""
    connect = socket.socket.connect

    def guarded(self: socket.socket, address: Any) -> None:
        if self.family in (socket.AF_INET, socket.AF_INET6) and not ipaddress.ip_address(address[0]).is_loopback:
            raise AssertionError(f"this test must not connect to {address[0]}")
        connect(self, address)

    monkeypatch.setattr(socket.socket, "connect", guarded)
    yield


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Settings of the person who runs the tests must not reach them."""
    import os

    from ray_app.config import CONVENTIONAL

    for name in list(os.environ):
        if name.startswith("BACKLINE_") or name in CONVENTIONAL:
            monkeypatch.delenv(name)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    """Settings whose state lives in the test's own folder."""
    return load(data_dir=tmp_path / "data")
