"""The page store: extracted documents in immutable Parquet parts, ``<root>/<brand>/<part>``.

A part is whole and durable before its name exists, so whoever holds a PageRef can read it. A part that no
ledger row points to is an orphan of a crash, or was replaced, and is collected.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
import shutil
from collections import defaultdict
from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from ray_app.errors import StoreError, StoreUnavailable
from ray_app.records import Document, Facts, Media, PageRef, Quarantined, Section
from ray_app.store.graves import Graves

SCHEMA = pa.schema(
    [
        ("url", pa.string()),
        ("title", pa.string()),
        ("lang", pa.string()),
        ("kind", pa.string()),
        ("content_hash", pa.string()),
        ("fetched_at", pa.float64()),
        (
            "sections",
            pa.list_(pa.struct([("path", pa.list_(pa.string())), ("anchor", pa.string()), ("text", pa.string())])),
        ),
        # JSON, for they are read whole and seldom; parts of Backline 0.1 lack them.
        ("facts", pa.string()),
        ("quarantine", pa.string()),
    ]
)
_BRAND = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")
_PART = re.compile(r"[0-9a-f]{32}\.parquet")
_UNFINISHED = ".tmp"


@dataclass(frozen=True, slots=True)
class Holding:
    """Where texts of some URLs lie."""

    rows: dict[str, set[int]]  # by part
    unreadable: tuple[str, ...]  # parts of which nobody can say


class PageStore:
    """Safe in several processes at once: parts are never changed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write_part(self, brand: str, documents: Sequence[Document]) -> str:
        """Stores documents in one part, in order; returns its name. Durable when it returns.

        The place of one that was forgotten on request is held by an empty document. Raises StoreUnavailable when the
        disk refuses, ValueError without documents or with a foreign one.
        """
        if not documents or any(document.brand != brand for document in documents):
            raise ValueError("a part holds the documents of one brand, at least one")
        name = self._write(brand, pa.Table.from_pylist([_row(document) for document in documents], schema=SCHEMA))
        if gone := self.graves(brand).among(document.url for document in documents):
            self.remove(brand, name)
            rows = [_row(_emptied(document) if document.url in gone else document) for document in documents]
            return self._write(brand, pa.Table.from_pylist(rows, schema=SCHEMA))
        return name

    def _write(self, brand: str, table: pa.Table) -> str:
        folder, name = self._folder(brand), f"{uuid4().hex}.parquet"
        unfinished = folder / f"{name}{_UNFINISHED}"
        try:
            self._make_folder(folder)
            with unfinished.open("xb") as file:
                pq.write_table(table, file, compression="zstd", write_page_checksum=True)
                file.flush()
                os.fsync(file.fileno())
            unfinished.rename(folder / name)
            _sync(folder)
        except OSError as error:
            _discard(unfinished)
            raise StoreUnavailable(f"The pages of {brand} cannot be written: {error}") from None
        return name

    def read(self, brand: str, refs: Sequence[PageRef]) -> list[Document]:
        """The documents of ``refs``, in that order; each part is opened once.

        Raises StoreError when a part is missing, damaged or shorter than its reference says.
        """
        wanted: dict[str, list[int]] = defaultdict(list)
        for ref in refs:
            wanted[ref.part].append(ref.row)
        found: dict[tuple[str, int], Document] = {}
        for part, rows in wanted.items():
            found.update({(part, row): document for row, document in self._read_part(brand, part, rows).items()})
        return [found[ref.part, ref.row] for ref in refs]

    def is_lost(self, brand: str, refs: Sequence[PageRef]) -> bool:
        """Whether what ``read`` refuses is gone for good: all of one part, which is not there or holds something else.

        False when nobody can say: the folder is missing, cannot be listed or holds no part at all, as with a disk that
        is not mounted, or the system does not let the part be read.
        """
        folder, part = self._folder(brand), refs[0].part
        try:
            there = {path.name for path in folder.iterdir() if _PART.fullmatch(path.name)}
            if part not in there:
                return bool(there)
            content = (folder / part).read_bytes()
        except OSError:
            return False
        try:
            _documents(brand, pa.BufferReader(content), [ref.row for ref in refs])
        except MemoryError:
            return False
        except (OSError, pa.ArrowException, ValueError, TypeError):
            return True
        return False

    def parts(self, brand: str) -> list[str]:
        """The names of the brand's complete parts, sorted."""
        folder = self._folder(brand)
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if _PART.fullmatch(path.name))

    def rows(self, brand: str, part: str) -> int:
        """How many documents a part holds. Raises StoreError when it cannot be read."""
        try:
            return int(pq.read_metadata(self._folder(brand) / part).num_rows)
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"The page part {brand}/{part} cannot be read: {error}") from None

    def collect(self, brand: str, live: Set[str], now: float, min_age_s: float) -> int:
        """Removes what is not ``live`` and older than ``min_age_s``; returns how many files that were.

        The age must be longer than a batch takes from its write to its commit, for a part is not yet live
        in between.
        """
        orphans = self.orphans(brand, live, now, min_age_s)
        for name in orphans:
            (self._folder(brand) / name).unlink(missing_ok=True)
        return len(orphans)

    def orphans(self, brand: str, live: Set[str], now: float, min_age_s: float) -> list[str]:
        """What ``collect`` would remove, sorted."""
        folder = self._folder(brand)
        ours = [path for path in folder.iterdir() if _is_ours(path)] if folder.is_dir() else []
        return sorted(p.name for p in ours if p.name not in live and now - _changed_at(p, now) >= min_age_s)

    # -- forgetting

    def graves(self, brand: str) -> Graves:
        """The URLs of which this store takes no text."""
        return Graves(self._folder(brand))

    def brands(self) -> list[str]:
        """Brands with a folder here, whether or not anybody knows them."""
        found = self._root.iterdir() if self._root.is_dir() else ()
        return sorted(path.name for path in found if path.is_dir() and _BRAND.fullmatch(path.name))

    def holding(self, brand: str, urls: Set[str]) -> Holding:
        """Every text of the URLs, whether or not a ledger row points to it."""
        found: dict[str, set[int]] = {}
        unreadable = []
        for part in self.parts(brand):
            try:
                table = pq.read_table(self._folder(brand) / part, columns=["url", "content_hash"], partitioning=None)
            except (OSError, pa.ArrowException):
                unreadable.append(part)
                continue
            pairs = zip(*(table.column(name).to_pylist() for name in ("url", "content_hash")), strict=True)
            # An emptied document has a URL without a hash.
            if rows := {row for row, (url, text) in enumerate(pairs) if url in urls and text}:
                found[part] = rows
        return Holding(found, tuple(unreadable))

    def without(self, brand: str, part: str, rows: Set[int]) -> tuple[str, dict[int, int]]:
        """A copy of a part that lacks ``rows``: its name, "" when nothing is left, and where the other rows are now."""
        table = pq.ParquetFile(self._folder(brand) / part, page_checksum_verification=True).read()
        kept = [row for row in range(table.num_rows) if row not in rows]
        moved = {row: place for place, row in enumerate(kept)}
        return (self._write(brand, table.take(kept)) if kept else ""), moved

    def remove(self, brand: str, part: str) -> None:
        """Delete a part that nothing points to any more."""
        folder = self._folder(brand)
        if not _PART.fullmatch(part):
            raise StoreError(f"{part!r} is not the name of a page part.")
        (folder / part).unlink(missing_ok=True)
        _sync(folder)

    def remove_unfinished(self, brand: str) -> int:
        """Delete what killed writers left behind; returns how many files. Nobody may be writing."""
        folder = self._folder(brand)
        left = list(folder.glob(f"*{_UNFINISHED}")) if folder.is_dir() else []
        for path in left:
            path.unlink(missing_ok=True)
        return len(left)

    def remove_brand(self, brand: str) -> int:
        """Delete everything of a brand; returns how many parts that were."""
        folder, parts = self._folder(brand), len(self.parts(brand))
        if folder.is_dir():
            remove_tree(folder)
        return parts

    def _folder(self, brand: str) -> Path:
        if not _BRAND.fullmatch(brand):
            raise StoreError(f"{brand!r} is not a brand name.")
        return self._root / brand

    def _make_folder(self, folder: Path) -> None:
        if not folder.is_dir():
            folder.mkdir(parents=True, exist_ok=True)
            _sync(self._root)

    def _read_part(self, brand: str, part: str, rows: list[int]) -> dict[int, Document]:
        path = self._folder(brand) / part
        if not _PART.fullmatch(part):
            raise StoreError(f"{part!r} is not the name of a page part.")
        try:
            return _documents(brand, path, rows)
        except FileNotFoundError:
            raise StoreError(f"The page part {brand}/{part} is missing.") from None
        except (OSError, pa.ArrowException, ValueError, TypeError) as error:
            raise StoreError(f"The page part {brand}/{part} cannot be read: {error}") from None


def _documents(brand: str, source: Path | pa.BufferReader, rows: list[int]) -> dict[int, Document]:
    table = pq.ParquetFile(source, page_checksum_verification=True).read()
    taken = table.take(rows).to_pylist()
    return {row: _document(brand, values) for row, values in zip(rows, taken, strict=True)}


def remove_tree(folder: Path) -> None:
    """Delete a folder into which others may still write: under another name first, where they do not find it."""
    aside = folder.with_name(f".{folder.name}-{uuid4().hex[:8]}{_UNFINISHED}")
    folder.rename(aside)
    shutil.rmtree(aside)
    _sync(folder.parent)


def remove_aside(root: Path, brands: Iterable[str]) -> int:
    """Delete what a ``remove_tree`` that was cut short left of these brands; returns how many folders."""
    left = [path for brand in brands for path in root.glob(f".{brand}-????????{_UNFINISHED}")]
    for path in left:
        shutil.rmtree(path)
    return len(left)


def _emptied(document: Document) -> Document:
    return dataclasses.replace(document, title="", sections=(), content_hash="", facts=Facts(), quarantine=())


def _row(document: Document) -> dict[str, Any]:
    return {
        "url": document.url,
        "title": _valid(document.title),
        "lang": document.lang,
        "kind": document.kind,
        "content_hash": document.content_hash,
        "fetched_at": document.fetched_at,
        "sections": [
            {
                "path": [_valid(heading) for heading in section.path],
                "anchor": _valid(section.anchor),
                "text": _valid(section.text),
            }
            for section in document.sections
        ],
        "facts": _json(document.facts) if document.facts != Facts() else "",
        "quarantine": _json(document.quarantine) if document.quarantine else "",
    }


def _valid(text: str) -> str:
    """Without lone surrogates, which a broken page may bring and Parquet does not take."""
    return text if text.isascii() else text.encode("utf-8", "replace").decode()


def _document(brand: str, row: dict[str, Any]) -> Document:
    sections = tuple(Section(tuple(part["path"]), part["anchor"], part["text"]) for part in row["sections"])
    return Document(
        brand=brand,
        url=row["url"],
        title=row["title"],
        lang=row["lang"],
        kind=row["kind"],
        sections=sections,
        content_hash=row["content_hash"],
        fetched_at=row["fetched_at"],
        facts=_facts(row.get("facts")),
        quarantine=_quarantine(row.get("quarantine")),
    )


def _json(value: object) -> str:
    return _valid(json.dumps(value, default=dataclasses.asdict, ensure_ascii=False))


def _facts(text: str | None) -> Facts:
    fields: dict[str, Any] = json.loads(text or "{}")
    media = {name: [Media(**one) for one in fields.get(name, ())] for name in ("images", "pdfs")}
    given: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in (fields | media).items()}
    return Facts(**given)


def _quarantine(text: str | None) -> tuple[Quarantined, ...]:
    return tuple(Quarantined(**{**one, "signals": tuple(one["signals"])}) for one in json.loads(text or "[]"))


def _sync(folder: Path) -> None:
    """A new name in a folder is durable only when the folder is."""
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _is_ours(path: Path) -> bool:
    """Whether this store has written it, or begun to."""
    return _PART.fullmatch(path.name.removesuffix(_UNFINISHED)) is not None


def _changed_at(path: Path, now: float) -> float:
    """When a file was written; ``now`` when its name has gone since the folder was read, as a finished part's does."""
    try:
        return path.stat().st_mtime
    except FileNotFoundError:
        return now


def _discard(path: Path) -> None:
    try:
        path.unlink(missing_ok=True)
    except OSError:
        return  # the collector takes it later
