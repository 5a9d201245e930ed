"""One round of the chaos target: three crawls of one brand, with kills at points and at random. See crawl.py."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

pytestmark = [pytest.mark.on_ray, pytest.mark.timeout(600)]


def test_a_crawl_whose_processes_are_killed_comes_to_the_same_end() -> None:
    script = Path(__file__).with_name("crawl.py")
    done = subprocess.run(
        [sys.executable, str(script), "--kills", "6", "--points", "5"], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-4000:]
    assert "all invariants hold" in done.stdout
