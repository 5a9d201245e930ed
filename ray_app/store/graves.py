"""Files by which whoever writes pages, knowing no SQL, learns that a URL was forgotten on request.

``<folder>/forgotten/<hash of the URL>``, empty. The forgetting makes the file and then looks for parts that hold the
URL; a writer gives its part a name and then looks for the file. Whatever the order, one of the two sees the other.
"""

from __future__ import annotations

from collections.abc import Iterable
from hashlib import blake2b
from pathlib import Path

FOLDER = "forgotten"


class Graves:
    """The forgotten URLs of one brand's folder of pages."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder / FOLDER

    def add(self, urls: Iterable[str]) -> None:
        """Have the URLs refused from now on."""
        self._folder.mkdir(parents=True, exist_ok=True)
        for url in urls:
            (self._folder / _name(url)).touch()

    def remove(self, url: str) -> None:
        """Let a URL in again."""
        (self._folder / _name(url)).unlink(missing_ok=True)

    def among(self, urls: Iterable[str]) -> set[str]:
        """Those of the URLs that were forgotten."""
        if not self._folder.is_dir():
            return set()
        return {url for url in urls if (self._folder / _name(url)).exists()}


def _name(url: str) -> str:
    return blake2b(url.encode(errors="replace"), digest_size=16).hexdigest()
