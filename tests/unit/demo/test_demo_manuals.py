"""The tool writes the same manuals every time, and the bundled ones are its output."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pypdfium2
import pytest

from ray_app.demo.server import SITE

pytest.importorskip("reportlab")

TOOL = Path(__file__).parents[3] / "tools" / "make_demo_manuals.py"


def _make(site: Path, hash_seed: str) -> dict[str, bytes]:
    """Run the tool; path below ``site`` -> bytes."""
    command = [sys.executable, str(TOOL), "--site", str(site)]
    subprocess.run(command, check=True, capture_output=True, env={"PYTHONHASHSEED": hash_seed})
    return {file.relative_to(site).as_posix(): file.read_bytes() for file in site.rglob("*.pdf")}


def _text(pdf: bytes) -> list[str]:
    manual = pypdfium2.PdfDocument(pdf)
    try:
        return [page.get_textpage().get_text_bounded() for page in manual]
    finally:
        manual.close()


def test_same_bytes_again_and_same_text_as_the_bundled_manuals(tmp_path: Path) -> None:
    first = _make(tmp_path / "first", "1")
    assert first == _make(tmp_path / "second", "2")
    bundled = {file.relative_to(SITE).as_posix(): file.read_bytes() for file in SITE.rglob("*.pdf")}
    # Text, not bytes: another release of reportlab may draw the same page with other operators.
    assert {name: _text(pdf) for name, pdf in first.items()} == {name: _text(pdf) for name, pdf in bundled.items()}
