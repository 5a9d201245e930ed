"""The manifest of a generation: what it holds and the checksum of every file. Its rename makes the generation exist."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from ray_app.errors import ChecksumMismatch
from ray_app.index.files import digest, replace_file
from ray_app.records import ModelId

MANIFEST = "manifest.json"
FORMAT = 2  # of the directory; a reader refuses any other


@dataclass(frozen=True, slots=True)
class FileSum:
    sha256: str
    bytes: int


@dataclass(frozen=True, slots=True)
class Manifest:
    """What one generation of one brand holds."""

    brand: str
    generation: str
    created_at: float  # POSIX seconds
    model: ModelId  # that made the vectors
    chunker_version: str
    tokeniser_version: str
    chunks: int
    documents: int
    corpus_hash: str  # of what the generation was made from; nothing need be built while it stays the same
    parent: str  # the generation live when this one was built, "" for none
    files: dict[str, FileSum]  # by path within the directory
    model_source: str = ""  # the name or path by which the model was loaded, "" when not known

    def summary(self) -> dict[str, Any]:
        """What the catalog keeps of it."""
        return {
            "chunks": self.chunks,
            "documents": self.documents,
            "model": str(self.model),
            "created_at": self.created_at,
        }


def hash_documents(documents: Iterable[tuple[str, str]]) -> str:
    """Of (url, content_hash) in any order: 32 hex digits."""
    total = hashlib.blake2b(digest_size=16)
    for url, content in sorted(documents):
        total.update(f"{url}\0{content}\n".encode(errors="replace"))
    return total.hexdigest()


def file_sums(folder: Path, files: Iterable[Path]) -> dict[str, FileSum]:
    return {p.relative_to(folder).as_posix(): FileSum(digest(p), p.stat().st_size) for p in files}


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """The commit point: every file named in it must be durable already."""
    content = {"format": FORMAT, **asdict(manifest)}
    document = {**content, "checksum": _checksum(content)}
    replace_file(folder / MANIFEST, json.dumps(document, indent=1, sort_keys=True).encode())


def read_manifest(folder: Path) -> Manifest:
    """Raises ChecksumMismatch when it is missing, torn or altered."""
    try:
        content = json.loads((folder / MANIFEST).read_bytes())
        checksum = content.pop("checksum")
        if checksum != _checksum(content):
            raise ChecksumMismatch(f"The manifest of generation {folder.name} was altered.")
        if content.pop("format") != FORMAT:
            raise ChecksumMismatch(
                f"Generation {folder.name} has a format this version cannot read.", hint="Embed the brand again."
            )
        content["model"] = ModelId(**content["model"])
        content["files"] = {name: FileSum(**entry) for name, entry in content["files"].items()}
        return Manifest(**content)
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ChecksumMismatch(f"The manifest of generation {folder.name} cannot be read: {error}") from error


def check_files(folder: Path, manifest: Manifest, *, contents: bool) -> None:
    """Compare sizes, and with ``contents`` checksums. Raises ChecksumMismatch naming the first wrong file."""
    for name, expected in manifest.files.items():
        path = folder / name
        size = path.stat().st_size if path.is_file() else -1
        if size != expected.bytes:
            found = "is missing" if size < 0 else f"has {size} bytes instead of {expected.bytes}"
            raise ChecksumMismatch(f"{name} of generation {folder.name} {found}.")
        if contents and digest(path) != expected.sha256:
            raise ChecksumMismatch(f"{name} of generation {folder.name} was altered.")


def _checksum(content: dict[str, Any]) -> str:
    return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()
