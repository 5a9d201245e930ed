"""Generations where every node can reach them, and checked copies of them on this node.

On one machine there is no store: generations lie under one folder and are read in place. In a cluster the publisher
puts a finished generation into the store, its manifest last, and each node copies it once, however many processes ask.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from pathlib import Path, PurePosixPath
from typing import IO, Any

from pyarrow import fs

from ray_app.config import Settings
from ray_app.errors import ChecksumMismatch, ConfigError, StoreUnavailable
from ray_app.index.files import digest, sync_file, sync_folder
from ray_app.index.layout import (
    brand_path,
    generation_names,
    generation_path,
    last_change,
    remove_generation,
    stale_names,
)
from ray_app.index.manifest import MANIFEST, Manifest, check_files, read_manifest
from ray_app.index.models import first_line
from ray_app.observe.log import get_logger

log = get_logger(__name__)

BLOCK_BYTES = 4 * 2**20  # copied at once; object stores take parts of 5 MB and more, which pyarrow gathers
TRIES = 2  # of one download: what broke on the way is whole the second time, what lies broken is not
CHECKERS = 4  # files hashed at once; hashing lets go of the GIL
POLITE = 10  # niceness of the threads that hash: questions go first

LOCK = ".pull.lock"  # in a brand's folder: one process of the node copies, the others wait and find it done
PART = ".part"  # ends the name of what is being copied
STALE_S = 3600.0  # without a change for so long, nobody copies or builds it any more


class Depot:
    """Paths of generations on this node, whether or not there is a store. Safe in threads and processes."""

    def __init__(self, root: Path, store: str = "") -> None:
        """``root`` is this node's folder; ``store`` a URI of pyarrow's filesystems, "" for none."""
        self.root = root
        self._uri = store
        self._connecting = threading.Lock()
        self._connected: tuple[Any, PurePosixPath] | None = None

    @property
    def shared(self) -> bool:
        """Whether generations lie in a store and this node has copies of them."""
        return bool(self._uri)

    def path(self, brand: str, name: str) -> Path:
        """Where a generation lies on this node, or will lie. Raises NoGeneration for names that lead elsewhere."""
        return generation_path(self.root, brand, name)

    def fetch(self, brand: str, name: str) -> Path:
        """The path of a generation, copied from the store first when this node lacks it. Raises like ``pull``."""
        path = self.path(brand, name)
        return self.pull(brand, name) if self.shared and not (path / MANIFEST).is_file() else path

    def names(self, brand: str) -> list[str]:
        """The complete generations of a brand, oldest first. Raises StoreUnavailable."""
        if not self.shared:
            return generation_names(self.root, brand)
        with self._reaching() as (files, base):
            found = files.get_file_info(fs.FileSelector(str(base / brand_path(Path(), brand)), allow_not_found=True))
            folders = [info.path for info in found if info.type is fs.FileType.Directory]
            manifests = files.get_file_info([f"{folder}/{MANIFEST}" for folder in folders])
        return sorted(PurePosixPath(m.path).parent.name for m in manifests if m.type is fs.FileType.File)

    def push(self, brand: str, name: str) -> None:
        """Put a finished generation of this node into the store; it is there for all when this returns.

        May be repeated. Raises ChecksumMismatch when the local files are damaged, StoreUnavailable when the store is.
        """
        if not self.shared:
            return
        path = self.path(brand, name)
        manifest = read_manifest(path)
        with self._reaching() as (files, base):
            target = base / brand / name
            if _complete(files, target, manifest):
                return
            for file, expected in manifest.files.items():
                self._upload(files, path / file, target / file, expected.sha256)
            partial = target / (MANIFEST + PART)
            self._upload(files, path / MANIFEST, partial, digest(path / MANIFEST))
            files.move(str(partial), str(target / MANIFEST))
        log.info("generation_pushed", brand=brand, generation=name)

    def pull(self, brand: str, name: str, *, again: bool = False) -> Path:
        """Copy a generation from the store to this node; every checksum holds when it returns. ``again``: anew.

        One process copies, the others wait for it. Raises ChecksumMismatch when what the store has is damaged or
        gone, StoreUnavailable when the store or this disk cannot be used.
        """
        path = self.path(brand, name)
        with self._alone(brand):
            if (path / MANIFEST).is_file() and not again:
                return path
            partial = path.with_name(f".{name}{PART}")
            try:
                self._copy(brand, name, partial)
                remove_generation(self.root, brand, name)  # or what a removal cut short has left of it
                partial.rename(path)
                sync_folder(path.parent)
            finally:
                shutil.rmtree(partial, ignore_errors=True)
        log.info("generation_pulled", brand=brand, generation=name)
        return path

    def remove(self, brand: str, name: str) -> None:
        """Out of the store, manifest first, and off this node. Raises StoreUnavailable."""
        path = self.path(brand, name)
        if self.shared:
            with self._reaching() as (files, base):
                self._delete(files, base / brand / name)
        if path.parent.is_dir():
            with self._alone(brand):
                remove_generation(self.root, brand, name)

    def forget(self, brand: str) -> None:
        """Everything of a brand, complete or not, out of the store and off this node. Raises StoreUnavailable."""
        folder = brand_path(self.root, brand)
        for name in self.names(brand):
            self.remove(brand, name)
        if self.shared:
            with self._reaching() as (files, base):
                self._delete(files, base / brand)
        shutil.rmtree(folder, ignore_errors=True)

    def trim(self, brand: str, live: str) -> list[str]:
        """Remove this node's copies but for the live one, the one before it, and newer ones; returns their names.

        The one before goes, too, when the store has it no longer: it may hold what was forgotten. Newer ones are on
        their way: built here and not yet published. What a copy that was cut short has left goes when it is stale.
        Without a store nothing is a copy.
        """
        if not self.shared:
            return []
        older = [name for name in generation_names(self.root, brand) if name < live]
        kept = {live, *older[-1:]}
        gone = [name for name in older if name not in kept or not self._stored(brand, name)]
        before = time.time() - STALE_S
        left = stale_names(self.root, brand, kept.union(generation_names(self.root, brand)), before)
        if gone or left or self._parts(brand, before):
            with self._alone(brand):
                for name in (*gone, *left):
                    remove_generation(self.root, brand, name)
                for part in self._parts(brand, before):
                    shutil.rmtree(part, ignore_errors=True)
        return gone

    def drop_copies(self, brand: str) -> None:
        """Remove this node's copies of a brand that is no longer published. Without a store nothing is a copy."""
        folder = brand_path(self.root, brand)
        if self.shared and folder.is_dir():
            with self._alone(brand):
                for name in generation_names(self.root, brand):
                    remove_generation(self.root, brand, name)
                before = time.time() - STALE_S
                for name in stale_names(self.root, brand, frozenset(), before):
                    remove_generation(self.root, brand, name)
                for part in self._parts(brand, before):
                    shutil.rmtree(part, ignore_errors=True)

    def _stored(self, brand: str, name: str) -> bool:
        """Whether the store has a generation; True when it cannot be asked, for the next trim asks again."""
        try:
            return name in self.names(brand)
        except StoreUnavailable as error:
            log.warning("copies_not_compared", brand=brand, error=str(error))
            return True

    def _parts(self, brand: str, before: float) -> list[Path]:
        """What is being copied, last changed before ``before`` (POSIX seconds)."""
        found = brand_path(self.root, brand).glob(f".*{PART}")
        return [path for path in found if path.is_dir() and last_change(path) < before]

    def _copy(self, brand: str, name: str, partial: Path) -> None:
        for left in reversed(range(TRIES)):
            shutil.rmtree(partial, ignore_errors=True)
            try:
                with self._reaching() as (files, base):
                    self._download(files, base / brand / name, partial)
                check_folder(partial)
            except (ChecksumMismatch, StoreUnavailable) as error:
                log.warning("generation_not_pulled", brand=brand, generation=name, error=str(error), tries_left=left)
                if left:
                    continue
                if isinstance(error, StoreUnavailable):
                    raise
                raise ChecksumMismatch(
                    f"Generation {name} of {brand!r} cannot be copied from the store: {error.message}",
                    hint=f"backline index verify --brand {brand}",
                ) from error
            return

    def _download(self, files: Any, source: PurePosixPath, target: Path) -> None:
        target.mkdir(parents=True)
        try:
            _receive(files, source / MANIFEST, target / MANIFEST)
            for file in read_manifest(target).files:
                (target / file).parent.mkdir(parents=True, exist_ok=True)
                _receive(files, source / file, target / file)
        except FileNotFoundError as error:
            raise ChecksumMismatch(f"The store lacks {error.args[-1] if error.args else source}.") from error
        for folder in sorted({path.parent for path in target.rglob("*")}):
            sync_folder(folder)

    @staticmethod
    def _upload(files: Any, source: Path, target: PurePosixPath, expected: str) -> None:
        files.create_dir(str(target.parent), recursive=True)
        total = hashlib.sha256()
        with source.open("rb") as local, files.open_output_stream(str(target)) as remote:
            _pour(local, remote.write, total.update)
        if total.hexdigest() != expected:
            raise ChecksumMismatch(f"{source.name} of generation {source.parent.name} was altered.")

    @staticmethod
    def _delete(files: Any, target: PurePosixPath) -> None:
        with suppress(FileNotFoundError):
            files.delete_file(str(target / MANIFEST))
        with suppress(FileNotFoundError):
            files.delete_dir(str(target))

    @contextmanager
    def _alone(self, brand: str) -> Iterator[None]:
        """Nobody else on this node copies or removes generations of the brand meanwhile."""
        folder = brand_path(self.root, brand)
        try:
            folder.mkdir(parents=True, exist_ok=True)
            with (folder / LOCK).open("ab") as lock:
                fcntl.flock(lock, fcntl.LOCK_EX)
                yield
        except OSError as error:
            raise StoreUnavailable(f"Copies of {brand!r} cannot be kept on this node: {error.strerror}.") from error

    @contextmanager
    def _reaching(self) -> Iterator[tuple[Any, PurePosixPath]]:
        """The store's filesystem and the path within it; what goes wrong there is StoreUnavailable."""
        try:
            yield self._connection()
        except OSError as error:
            raise StoreUnavailable(f"The store of generations failed: {first_line(error)}.") from error

    def _connection(self) -> tuple[Any, PurePosixPath]:
        """Made at first use: for some stores it asks the network."""
        with self._connecting:
            if self._connected is None:
                try:
                    files, base = fs.FileSystem.from_uri(self._uri)
                except ValueError as error:
                    hint = "It is like s3://bucket/prefix, gs://bucket/prefix or file:///nfs/index."
                    raise ConfigError("index.store is not the address of a filesystem.", hint=hint) from error
                self._connected = files, PurePosixPath(base)
            return self._connected


def open_depot(settings: Settings) -> Depot:
    """The depot of these settings."""
    return Depot(settings.index_root, settings.index.store)


def check_folder(path: Path) -> Manifest:
    """Compare every file with the manifest, several at once and out of the way of other work.

    Raises ChecksumMismatch naming the first wrong file.
    """
    manifest = read_manifest(path)
    check_files(path, manifest, contents=False)
    with ThreadPoolExecutor(CHECKERS, thread_name_prefix="check", initializer=_be_polite) as threads:
        try:
            sums = list(threads.map(lambda name: digest(path / name), manifest.files))
        except OSError as error:
            raise ChecksumMismatch(f"Generation {path.name} cannot be read: {error}") from error
    for (name, expected), found in zip(manifest.files.items(), sums, strict=True):
        if found != expected.sha256:
            raise ChecksumMismatch(f"{name} of generation {path.name} was altered.")
    return manifest


def _be_polite() -> None:
    """Lower the priority of this thread alone, which Linux can and others refuse."""
    with suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), POLITE)


def _complete(files: Any, target: PurePosixPath, manifest: Manifest) -> bool:
    """Whether the store has a manifest there, and every file in its length; its bytes are looked at by who copies."""
    names = [MANIFEST, *manifest.files]
    found = files.get_file_info([str(target / name) for name in names])
    if not all(info.type is fs.FileType.File for info in found):
        return False
    return all(info.size == manifest.files[name].bytes for name, info in zip(names[1:], found[1:], strict=True))


def _receive(files: Any, source: PurePosixPath, target: Path) -> None:
    with files.open_input_stream(str(source)) as remote, target.open("wb") as local:
        _pour(remote, local.write)
    sync_file(target)


def _pour(source: IO[bytes], *sinks: Callable[[bytes], Any]) -> None:
    while block := source.read(BLOCK_BYTES):
        for sink in sinks:
            sink(block)
