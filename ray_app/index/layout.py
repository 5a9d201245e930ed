"""Where generations lie, which of them exist, and how they are removed.

``index/<brand>/<generation>/`` holds chunks.arrow, documents.parquet, vectors.npy, ids.npy and keys.npy (where each
chunk id and embedding key stands), keywords/ and manifest.json.
A directory without a manifest is not a generation: it is being written, or was left behind by a crash.
"""

from __future__ import annotations

import math
import re
import secrets
import shutil
from collections.abc import Set
from datetime import UTC, datetime
from pathlib import Path

from ray_app.errors import NoGeneration
from ray_app.index.files import sync_folder
from ray_app.index.manifest import MANIFEST

CHUNKS, DOCUMENTS, VECTORS, KEYWORDS = "chunks.arrow", "documents.parquet", "vectors.npy", "keywords"
IDS, KEYS = "ids.npy", "keys.npy"
SCRATCH = "scratch"  # within a generation's directory while it is written; never in its manifest

_BRAND = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_NAME = re.compile(r"\d{8}T\d{6}Z-[0-9a-f]{6}")


def generation_name(now: float) -> str:
    """Sorts by time; the random part keeps two of the same second apart."""
    return f"{datetime.fromtimestamp(now, UTC):%Y%m%dT%H%M%SZ}-{secrets.token_hex(3)}"


def made_at(name: str) -> float:
    """When a generation was named (POSIX seconds)."""
    return datetime.strptime(name.partition("-")[0], "%Y%m%dT%H%M%SZ").replace(tzinfo=UTC).timestamp()


def generation_path(root: Path, brand: str, name: str) -> Path:
    """Where a generation lies. Raises NoGeneration for names that could lead elsewhere."""
    if not _NAME.fullmatch(name):
        raise NoGeneration(f"{name[:64]!r} is not the name of a generation.")
    return brand_path(root, brand) / name


def brand_path(root: Path, brand: str) -> Path:
    """Raises NoGeneration for names that could lead elsewhere."""
    if not _BRAND.fullmatch(brand):
        raise NoGeneration(f"{brand[:64]!r} is not the name of a brand.")
    return root / brand


def generation_names(root: Path, brand: str) -> list[str]:
    """The complete generations of a brand, oldest first."""
    folder = brand_path(root, brand)
    found = folder.iterdir() if folder.is_dir() else ()
    return sorted(p.name for p in found if _NAME.fullmatch(p.name) and (p / MANIFEST).is_file())


def stale_names(root: Path, brand: str, known: Set[str], before: float) -> list[str]:
    """Directories not ``known``, complete or not, whose last change lies before ``before`` (POSIX seconds)."""
    folder = brand_path(root, brand)
    found = folder.iterdir() if folder.is_dir() else ()
    names = (p for p in found if _NAME.fullmatch(p.name) and p.name not in known)
    return sorted(p.name for p in names if last_change(p) < before)


def remove_generation(root: Path, brand: str, name: str) -> None:
    """Manifest first, so that a removal cut short leaves an orphan and not a damaged generation."""
    folder = generation_path(root, brand, name)
    if not folder.is_dir():
        return
    (folder / MANIFEST).unlink(missing_ok=True)
    sync_folder(folder)
    shutil.rmtree(folder)
    sync_folder(folder.parent)


def last_change(folder: Path) -> float:
    """When a folder or something in it was last changed (POSIX seconds); inf when it vanishes meanwhile."""
    try:
        return max(p.stat().st_mtime for p in (folder, *folder.rglob("*")))
    except FileNotFoundError:  # it is being renamed or removed, and so not stale
        return math.inf
