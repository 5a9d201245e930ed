"""A short run of the chaos target for embedding and publishing, at kill points chosen anew each time. See index.py."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.on_ray, pytest.mark.timeout(600)]


def test_an_index_whose_makers_are_killed_is_the_same_as_any_other() -> None:
    script = Path(__file__).with_name("index.py")
    command = [sys.executable, str(script), "--rounds", "1", "--points", "3", "--phases", "3"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    killed = re.search(r"^([0-9]+) kills in ", done.stdout, re.MULTILINE)
    assert killed, done.stdout
    assert int(killed[1]) > 0, done.stdout
    print(done.stdout)
    assert "all invariants hold" in done.stdout
    assert "never let down" in done.stdout
