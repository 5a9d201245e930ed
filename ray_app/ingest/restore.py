"""Restoring a backup: all of it or nothing, and nothing of what was forgotten.

1. The whole archive is unpacked beside the data and compared with its manifest.
2. What was forgotten, here or where it was made, is taken out of the unpacked files.
3. The files are put in place, where nothing points to them yet.
4. All rows are replaced in one transaction, the pointers among them. Until it ends everything is as it was; from then
   on everything is as it was backed up.

Cut short before the fourth step, the same command begins again. Something forgotten while it runs makes it begin again.
"""

from __future__ import annotations

import shutil
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path

from sqlalchemy import Connection, Table, delete, select
from sqlalchemy.exc import SQLAlchemyError

from ray_app.config import Settings
from ray_app.errors import ChecksumMismatch, InputError, StoreError
from ray_app.index.depot import check_folder, open_depot
from ray_app.index.files import sync_folder
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_name, generation_names, generation_path, remove_generation, stale_names
from ray_app.index.manifest import MANIFEST, Manifest
from ray_app.ingest.archive import Contents, unpack
from ray_app.ingest.brands import SLUG
from ray_app.ingest.forget import copy_without
from ray_app.observe.log import get_logger
from ray_app.records import TaskState
from ray_app.store.dump import TABLES, Row, add, clear, holds_data, lock, outgrow, rows
from ray_app.store.forgetting import BLANK, NAMED, named_in
from ray_app.store.pages import PageStore
from ray_app.store.receipts import read_receipt
from ray_app.store.restoring import FOLDER, alone
from ray_app.store.schema import urls as url_table
from ray_app.store.stores import Stores
from ray_app.store.tombstones import Tombstone, everything

log = get_logger(__name__)

TRIES = 3  # beginnings, each because something was forgotten during the one before
# A page part that no row of the replaced database pointed to, and younger than this, may belong to a text that is
# being handed over: the row that points to it comes after.
ORPHAN_AGE_S = 6 * 3600.0

_UNDER_WAY = (TaskState.QUEUED.value, TaskState.RUNNING.value)
_CANCELLED = {"state": TaskState.CANCELLED.value, "error": "It was under way when the backup was made."}


@dataclass(frozen=True, slots=True)
class RestoreReport:
    """What is there now."""

    file: str
    made_at: float
    seconds: float
    rows: dict[str, int]  # by table
    page_parts: int
    generations: dict[str, str]  # the live one, by brand
    forgotten: int  # tombstones that were honoured
    left_out: dict[str, int]  # what of the backup was not restored for them
    problems: tuple[str, ...]  # of the backup itself

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class _ForgottenMeanwhile(Exception):
    """A tombstone came that the unpacked files were not purged of."""


@dataclass(slots=True)
class _Plan:
    """What becomes of the rows of a backup."""

    contents: Contents
    folder: Path  # with its files
    stones: list[Tombstone]
    urls: dict[str, set[str]] = field(default_factory=dict)  # forgotten, by brand
    gone: set[str] = field(default_factory=set)  # brands forgotten as a whole
    parts: dict[tuple[str, str], tuple[str, dict[int, int]]] = field(default_factory=dict)  # rewritten ones
    copies: dict[tuple[str, str], Manifest | None] = field(default_factory=dict)  # of generations, likewise
    left_out: dict[str, int] = field(default_factory=dict)

    def leave_out(self, what: str, count: int = 1) -> None:
        """Count what is not restored."""
        self.left_out[what] = self.left_out.get(what, 0) + count


class Restore:
    """Restores into one installation."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        on_step: Callable[[str], None] = lambda _: None,
        clock: Callable[[], float] = time.time,
    ) -> None:
        """``on_step`` is told the name of each step before it is done."""
        self._settings = settings
        self._stores = stores
        self._depot = open_depot(settings)
        self._on_step = on_step
        self._clock = clock
        self._folder = settings.data_dir / FOLDER
        self._old: set[tuple[str, str]] = set()  # page parts that rows pointed to, or that this put in place

    def run(self, path: Path, *, force: bool = False, receipts: Sequence[Path] = ()) -> RestoreReport:
        """Make this installation what it was when the backup was made, but for what was forgotten.

        ``receipts``: files of what was forgotten elsewhere. ``force`` replaces what is here. Raises StoreError when
        data is here and it is not to be replaced, another restore runs, or the disk refuses; InputError when the file
        is no whole backup.
        """
        with alone(self._settings.data_dir):
            return self._run(path, force=force, receipts=receipts)

    def _run(self, path: Path, *, force: bool, receipts: Sequence[Path]) -> RestoreReport:
        started = time.monotonic()
        if not path.is_file():
            raise InputError(f"There is no file {path}.")
        self._refuse_to_replace(force=force)
        known = [read_receipt(receipt).tombstone() for receipt in receipts]
        try:
            for _ in range(TRIES):
                try:
                    plan, counts = self._restore(path, known, force=force)
                except _ForgottenMeanwhile:
                    log.info("restore_begun_again", reason="something was forgotten meanwhile")
                    continue
                return self._report(path, plan, counts, time.monotonic() - started)
        except OSError as error:
            raise StoreError(f"The backup cannot be restored: {error.strerror or error}.") from error
        except (KeyError, TypeError, ValueError) as error:  # rows whose checksums hold, but that nobody could have made
            raise InputError(f"{path} holds rows that make no sense ({type(error).__name__}).") from error
        raise StoreError("Things were forgotten faster than the backup was restored.", hint="Run the restore again.")

    def _restore(self, path: Path, known: Sequence[Tombstone], *, force: bool) -> tuple[_Plan, dict[str, int]]:
        self._on_step("unpack")
        shutil.rmtree(self._folder, ignore_errors=True)
        self._folder.mkdir(parents=True)
        contents = unpack(path, self._folder)
        self._on_step("purge")
        plan = self._plan(contents, known)
        self._purge(plan)
        self._on_step("place")
        self._place(plan)
        self._on_step("load")
        before = self._clock()
        counts = self._load(plan, force=force)
        self._on_step("tidy")
        self._tidy(before)
        return plan, counts

    def _refuse_to_replace(self, *, force: bool) -> None:
        with self._stores.db.read() as conn:
            if not force and holds_data(conn):
                raise StoreError(
                    "There is data here already, and a restore replaces all of it.",
                    hint="Restore into another BACKLINE_DATA_DIR and DATABASE_URL, or say --force.",
                )

    # -- what was forgotten

    def _plan(self, contents: Contents, known: Sequence[Tombstone]) -> _Plan:
        with self._stores.db.read() as conn:
            here = everything(conn)
        there = [Tombstone(**row) for row in self._rows(TABLES["tombstones"])]
        plan = _Plan(contents, self._folder, united((*here, *there, *known)))
        since = {stone.brand: stone.forgotten_at for stone in plan.stones if not stone.url}
        plan.gone = {brand for brand, began in self._beginnings(since, contents).items() if began < since[brand]}
        for stone in plan.stones:
            if stone.url:
                plan.urls.setdefault(stone.brand, set()).add(stone.url)
        return plan

    def _beginnings(self, brands: Iterable[str], contents: Contents) -> dict[str, float]:
        """Since when the backup knows each of these brands: after its forgetting if it was begun anew."""
        began = dict.fromkeys(brands, contents.made_at)
        for table, column in (("urls", "discovered_at"), ("cycles", "started_at"), ("generations", "created_at")):
            for row in self._rows(TABLES[table]) if began else ():
                if row["brand"] in began:
                    began[row["brand"]] = min(began[row["brand"]], float(row[column]))
        return began

    def _purge(self, plan: _Plan) -> None:
        """Takes what was forgotten out of the unpacked files."""
        pages = PageStore(plan.folder / "pages")
        for brand in plan.gone:
            for kind in ("pages", "index"):
                folder = plan.folder / kind / brand
                if folder.is_dir():
                    plan.leave_out(f"{kind}_files", sum(1 for _ in folder.rglob("*.*")))
                    shutil.rmtree(folder)
        for brand, urls in plan.urls.items():
            for part, found in pages.holding(brand, urls).rows.items():
                plan.parts[brand, part] = pages.without(brand, part, found)
                pages.remove(brand, part)
                plan.leave_out("page_texts", len(found))
            self._purge_generations(plan, brand, urls)

    def _purge_generations(self, plan: _Plan, brand: str, urls: set[str]) -> None:
        root = plan.folder / "index"
        for name in generation_names(root, brand):
            base = Generation.open(generation_path(root, brand, name), verify=False)
            if urls.isdisjoint(base.documents()):
                continue
            plan.copies[brand, name] = copy_without(base, root, urls, self._settings.index, self._clock())
            remove_generation(root, brand, name)
            plan.leave_out("generations")

    # -- files

    def _place(self, plan: _Plan) -> None:
        """Moves the unpacked files to where rows will point to. Those that are there already are the same ones."""
        root = plan.folder / "pages"
        for brand in _brands(root):
            target = self._settings.data_dir / "pages" / brand
            target.mkdir(parents=True, exist_ok=True)
            for part in (root / brand).glob("*.parquet"):
                self._old.add((brand, part.name))
                part.replace(target / part.name)
            sync_folder(target)
            sync_folder(target.parent)
        for brand, urls in plan.urls.items():
            if brand not in plan.gone:
                self._stores.pages.graves(brand).add(urls)
        root = plan.folder / "index"
        for brand in _brands(root):
            for name in generation_names(root, brand):
                self._place_generation(generation_path(root, brand, name), brand)

    def _place_generation(self, source: Path, brand: str) -> None:
        target = self._depot.path(brand, source.name)
        try:
            if (target / MANIFEST).read_bytes() == (source / MANIFEST).read_bytes():
                check_folder(target)
                self._depot.push(brand, source.name)  # one that was killed may not have come to it
                return
        except (OSError, ChecksumMismatch):
            remove_generation(target.parents[1], brand, source.name)
        target.parent.mkdir(parents=True, exist_ok=True)
        source.replace(target)
        sync_folder(target.parent)
        self._depot.push(brand, source.name)

    # -- rows

    def _load(self, plan: _Plan, *, force: bool) -> dict[str, int]:
        """Everything in one transaction."""
        try:
            with self._stores.db.write() as conn:
                lock(conn)
                if not force and holds_data(conn):
                    raise StoreError("Data came into this installation while the backup was unpacked.")
                if united((*plan.stones, *everything(conn))) != plan.stones:
                    raise _ForgottenMeanwhile
                outgrow(conn, {row["brand"]: int(row["fence"]) for row in self._rows(TABLES["leases"])})
                held = select(url_table.c.brand, url_table.c.page_part).where(url_table.c.page_part.is_not(None))
                self._old.update((brand, part) for brand, part in conn.execute(held.distinct()))
                clear(conn)
                conn.execute(delete(TABLES["tombstones"]))
                counts = {"tombstones": add(conn, TABLES["tombstones"], map(asdict, plan.stones))}
                for name, table in TABLES.items():
                    self._check_count(plan, table)
                    if name not in ("leases", "tombstones"):
                        counts[name] = self._load_table(conn, plan, table)
                return counts
        except SQLAlchemyError as error:
            raise InputError(f"The rows of the backup do not fit this database: {type(error).__name__}.") from None

    def _check_count(self, plan: _Plan, table: Table) -> None:
        said, found = plan.contents.rows.get(table.name, 0), sum(map(len, self._chunks(table)))
        if found != said:
            raise InputError(f"The backup holds {found} rows of {table.name}, but its manifest says {said}.")

    def _load_table(self, conn: Connection, plan: _Plan, table: Table) -> int:
        count = 0
        for chunk in self._chunks(table):
            kept = [row for row in (_restored(plan, table.name, row) for row in chunk) if row is not None]
            if len(kept) < len(chunk):
                plan.leave_out(table.name, len(chunk) - len(kept))
            count += add(conn, table, kept)
        return count

    def _chunks(self, table: Table) -> Iterator[list[Row]]:
        folder = self._folder / "sql" / table.name
        for file in sorted(folder.iterdir()) if folder.is_dir() else ():
            yield rows(file.read_bytes(), table)

    def _rows(self, table: Table) -> Iterator[Row]:
        for chunk in self._chunks(table):
            yield from chunk

    def _tidy(self, before: float) -> None:
        """Removes what was here and nothing points to any more; what is newer than ``before`` belongs to new runs."""
        catalog, pages = self._stores.catalog, self._stores.pages
        for brand in pages.brands():
            live, there = self._stores.ledger.parts(brand), set(pages.parts(brand))
            for part in sorted({part for name, part in self._old if name == brand} & there - live):
                pages.remove(brand, part)
            pages.collect(brand, live, before, ORPHAN_AGE_S)
        root, latest = self._stores.index_root, generation_name(before)
        for brand in _brands(root):
            known = {row.generation for row in catalog.generations(brand)}
            stored = {name for name in self._depot.names(brand) if name < latest} - known
            for name in stored.union(stale_names(root, brand, known, before)):
                self._depot.remove(brand, name)
                remove_generation(root, brand, name)

    def _report(self, path: Path, plan: _Plan, counts: dict[str, int], seconds: float) -> RestoreReport:
        live = self._stores.catalog.pointers()
        parts = sum(len(self._stores.ledger.parts(brand)) for brand in self._stores.pages.brands())
        log.info("restored", seconds=round(seconds, 1), page_parts=parts, forgotten=len(plan.stones))
        return RestoreReport(
            str(path),
            plan.contents.made_at,
            seconds,
            counts,
            parts,
            live,
            len(plan.stones),
            plan.left_out,
            plan.contents.problems,
        )


def united(stones: Iterable[Tombstone]) -> list[Tombstone]:
    """One of each: of a URL the earliest, of a whole brand the latest, for it may have been begun anew in between."""
    found: dict[tuple[str, str], Tombstone] = {}
    for stone in sorted(stones, key=lambda one: (one.forgotten_at, one.receipt)):
        if not stone.url or (stone.brand, stone.url) not in found:
            found[stone.brand, stone.url] = stone
    return sorted(found.values())


def _brands(root: Path) -> list[str]:
    found = root.iterdir() if root.is_dir() else ()
    return sorted(path.name for path in found if path.is_dir() and SLUG.fullmatch(path.name))


def _restored(plan: _Plan, table: str, row: Row) -> Row | None:
    """A row as it is written; None when it is left out."""
    brand = row.get("name" if table == "brands" else "brand", "")
    if brand in plan.gone:
        return None
    change = _CHANGES.get(table)
    return row if change is None else change(plan, brand, row)


def _url(plan: _Plan, brand: str, row: Row) -> Row:
    gone = plan.urls.get(brand, set())
    if row["url"] in gone:
        return {**row, **BLANK}
    for column, values in NAMED.items():
        if row.get(column) in gone:
            row = {**row, **values}
    if (moved := plan.parts.get((brand, row["page_part"]))) is not None:
        row = row | {"page_part": moved[0], "page_row": moved[1][row["page_row"]]}
    return row


def _reject(plan: _Plan, brand: str, row: Row) -> Row | None:
    return None if row["url"] in plan.urls.get(brand, ()) else row


def _generation(plan: _Plan, brand: str, row: Row) -> Row | None:
    """That of a copy is as the copy is; those whose files are not in the backup are none."""
    if row["generation"] not in plan.contents.generations.get(brand, ()):
        return None
    if (brand, row["generation"]) not in plan.copies:
        return row
    copy = plan.copies[brand, row["generation"]]
    return None if copy is None else {**row, "generation": copy.generation, "figures": None, **copy.summary()}


def _pointer(plan: _Plan, brand: str, row: Row) -> Row | None:
    found = _generation(plan, brand, {"generation": row["generation"]})
    # The vector store is not in a backup: nobody knows what it holds.
    return None if found is None else {**row, "generation": found["generation"], "aligned": ""}


def _task(plan: _Plan, _: str, row: Row) -> Row | None:
    told = (row["payload"], row["result"], row["error"])
    for brand in plan.gone:
        if any(named_in(value, brand, ()) for value in told):
            return None
    for brand, urls in plan.urls.items():
        if any(named_in(value, brand, urls) for value in told):
            return None
    return row | _CANCELLED if row["state"] in _UNDER_WAY else row


_CHANGES: Mapping[str, Callable[[_Plan, str, Row], Row | None]] = {
    "urls": _url,
    "rejects": _reject,
    "generations": _generation,
    "pointers": _pointer,
    "tasks": _task,
}
