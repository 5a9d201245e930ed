"""The page store: extracted documents in immutable Parquet parts, ``<root>/<brand>/<part>``.

A part is whole and durable before its name exists, so whoever holds a PageRef can read it. A part that no
ledger row points to is an orphan of a crash, or was replaced, and is collected.
"""

from __future__ import annotations

import dataclasses
import json
import os
import re
from collections import defaultdict
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any
from uuid import uuid4

import pyarrow as pa
import pyarrow.parquet as pq

from ray_app.errors import StoreError, StoreUnavailable
from ray_app.records import Document, Facts, Media, PageRef, Quarantined, Section

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


class PageStore:
    """Safe in several processes at once: parts are never changed."""

    def __init__(self, root: Path) -> None:
        self._root = root

    def write_part(self, brand: str, documents: Sequence[Document]) -> str:
        """Stores documents in one part, in order; returns its name. Durable when it returns.

        Raises StoreUnavailable when the disk refuses, ValueError without documents or with a foreign one.
        """
        if not documents or any(document.brand != brand for document in documents):
            raise ValueError("a part holds the documents of one brand, at least one")
        folder, name = self._folder(brand), f"{uuid4().hex}.parquet"
        table = pa.Table.from_pylist([_row(document) for document in documents], schema=SCHEMA)
        unfinished = folder / f"{name}{_UNFINISHED}"
        try:
            self._make_folder(folder)
            with unfinished.open("xb") as file:
                pq.write_table(table, file, compression="zstd")
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

    def parts(self, brand: str) -> list[str]:
        """The names of the brand's complete parts, sorted."""
        folder = self._folder(brand)
        if not folder.is_dir():
            return []
        return sorted(path.name for path in folder.iterdir() if _PART.fullmatch(path.name))

    def collect(self, brand: str, live: Set[str], now: float, min_age_s: float) -> int:
        """Removes what is not ``live`` and older than ``min_age_s``; returns how many files that were.

        The age must be longer than a batch takes from its write to its commit, for a part is not yet live
        in between.
        """
        folder, removed = self._folder(brand), 0
        for path in sorted(folder.iterdir()) if folder.is_dir() else ():
            ours = _PART.fullmatch(path.name.removesuffix(_UNFINISHED))
            if ours and path.name not in live and now - _changed_at(path, now) >= min_age_s:
                path.unlink(missing_ok=True)
                removed += 1
        return removed

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
            table = pq.ParquetFile(path).read()
            taken = table.take(rows).to_pylist()
        except FileNotFoundError:
            raise StoreError(f"The page part {brand}/{part} is missing.") from None
        except (OSError, pa.ArrowException) as error:
            raise StoreError(f"The page part {brand}/{part} cannot be read: {error}") from None
        return {row: _document(brand, values) for row, values in zip(rows, taken, strict=True)}


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
