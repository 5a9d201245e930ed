"""Our archives are plain tar; the reader takes what the writer writes and what `tar` writes of plain files."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from ray_app.errors import InputError
from ray_app.store.tarball import ArchiveReader, ArchiveWriter, _header, _parse

LONG = "index/" + "b" * 64 + "/20260101T000000Z-abcdef/keywords/" + "k" * 40 + ".npy"


def packed(files: dict[str, bytes]) -> bytes:
    stream = io.BytesIO()
    archive = ArchiveWriter(stream)
    for name, content in files.items():
        archive.add_bytes(name, content)
    archive.close()
    return stream.getvalue()


def unpacked(content: bytes) -> dict[str, bytes]:
    reader = ArchiveReader(io.BytesIO(content))
    found = {}
    for name, _ in reader:
        parts = []
        while block := reader.read(100):
            parts.append(block)
        found[name] = b"".join(parts)
    return found


FILES = {"a.txt": b"", LONG: b"x" * 513, "sql/urls/000000.jsonl.gz": b"y" * 512}


def test_what_is_written_is_read() -> None:
    assert unpacked(packed(FILES)) == FILES


def test_tar_reads_it() -> None:
    with tarfile.open(fileobj=io.BytesIO(packed(FILES))) as tar:
        assert {one.name: tar.extractfile(one).read() for one in tar} == FILES  # type: ignore[union-attr]


def test_the_same_files_make_the_same_archive() -> None:
    assert packed(FILES) == packed(FILES)


def test_what_is_not_read_is_passed_over() -> None:
    assert [name for name, _ in ArchiveReader(io.BytesIO(packed(FILES)))] == list(FILES)


@pytest.mark.parametrize("size", [0, 8**11 - 1, 8**11, 2**40])
def test_sizes_of_any_length(size: int) -> None:
    assert _parse(_header("vectors.npy", size)) == ("vectors.npy", size)
    assert tarfile.TarInfo.frombuf(_header("vectors.npy", size), "utf-8", "strict").size == size


@pytest.mark.parametrize("name", ["", "/a", "a/", "../a", "a/../b", ".a", "a b", "ä", "a" * 101, "p" * 200 + "/a"])
def test_other_names_are_not_written(name: str) -> None:
    with pytest.raises(ValueError, match=r"name|long"):
        packed({name: b""})


def test_a_file_that_is_not_there_writes_nothing(tmp_path: Path) -> None:
    stream = io.BytesIO()
    archive = ArchiveWriter(stream)
    with pytest.raises(FileNotFoundError):
        archive.add_file("f", tmp_path / "none")
    assert stream.getvalue() == b""
    (tmp_path / "f").write_bytes(b"x" * 2_000_000)
    assert archive.add_file("f", tmp_path / "f").bytes == 2_000_000


def test_the_end_is_wanted() -> None:
    whole = packed(FILES)
    for cut in (len(whole) - 1_024, 600, 100):
        with pytest.raises(InputError):
            unpacked(whole[:cut])
