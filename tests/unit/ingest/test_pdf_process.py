"""A process for each PDF: what a reader may do to it, and that nothing else is hurt.

Readers that misbehave are modules written by the test; the child is the real one, with the real limits.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from pdf_maker import Manual, empty_pages, flate_bomb, page_tree_loop

from ray_app.errors import ExtractError
from ray_app.ingest import extract_pdf
from ray_app.ingest.pdf import inline
from ray_app.ingest.pdf.records import PdfLimits

URL = "https://x.org/fan.pdf"
AMPLE = PdfLimits(timeout_s=30.0, memory_mb=400)
SHORT = PdfLimits(timeout_s=1.0, memory_mb=400)
BODY = b"%PDF, or so it says"
PRELUDE = """
import ctypes, json, mmap, os, resource, signal, sys, time
from ray_app.ingest.pdf import child as pdf_child
from ray_app.ingest.pdf.records import PdfText
from ray_app.records import Section
def told(what): return PdfText("", "", (Section((), "#page=1", json.dumps(what)),))
def read(body, limits):
"""
MAIN = """
def main(order): pdf_child.main(order, read)
"""

Hook = Callable[[str], str]


@pytest.fixture
def hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Hook:
    """Writes a reader with this body and gives the name of its module."""
    monkeypatch.syspath_prepend(tmp_path)

    def write(code: str) -> str:
        lines = "".join(f"    {line}\n" for line in code.splitlines())
        (tmp_path / "hostile.py").write_text(PRELUDE + lines + MAIN)
        return "hostile"

    return write


@pytest.fixture(autouse=True)
def nothing_is_left() -> Iterator[None]:
    """No child, no zombie, no open file."""
    before = what_is_held()
    yield
    assert what_is_held() == before


def what_is_held() -> tuple[list[str], int]:
    """Our children, living or not yet waited for, and the number of open files."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    return children, len(list(Path("/proc/self/fd").iterdir()))


def refusal(reader: str, limits: PdfLimits = AMPLE) -> tuple[str, str]:
    with pytest.raises(ExtractError) as caught:
        extract_pdf.read(BODY, limits, reader)
    return caught.value.message, caught.value.hint


def ending(body: bytes, limits: PdfLimits) -> str:
    try:
        return extract_pdf.extract(body, brand="b", url=URL, fetched_at=1.0, limits=limits).reason
    except ExtractError as error:
        return error.message


class TestWhatComesBack:
    def test_the_same_as_without_a_process(self) -> None:
        body = Manual(title="Fan", lang="de").page(["Erste Seite: 5 µm."], headings=[("Start", 0, 0)]).bytes()
        about = {"brand": "b", "url": URL, "fetched_at": 1.0}
        assert extract_pdf.extract(body, **about) == inline.extract(body, **about)  # type: ignore[arg-type]

    def test_the_same_refusals(self) -> None:
        locked = Manual(password="secret").page(["Hidden."]).bytes()
        bodies = [locked, Manual().page().bytes(), b"", b"<html><p>Not a PDF", page_tree_loop()]
        ends = [ending(body, AMPLE) for body in bodies]
        assert ends == ["pdf_encrypted", "pdf_no_text", "pdf_broken", "pdf_broken", "pdf_broken"]

    def test_what_was_read_when_the_time_is_up(self, hook: Hook) -> None:
        ticks = "iter([0, 0, 0, 99, 99]).__next__"
        reader = hook(
            f"from ray_app.ingest.pdf import reader as pdf_reader\nreturn pdf_reader.read(body, limits, {ticks})"
        )
        found = extract_pdf.read(Manual().page(["One."]).page(["Two."]).page(["Three."]).bytes(), AMPLE, reader)
        assert [section.text for section in found.sections] == ["One.", "Two."]
        assert found.detail == "only the first 2 of 3 pages were read: the time was up"

    def test_hostile_files_end_in_time(self) -> None:
        limits = PdfLimits(timeout_s=10.0, memory_mb=256)
        started = time.monotonic()
        assert ending(flate_bomb(400), limits) in ("pdf_crashed", "pdf_broken", "pdf_no_text", "pdf_timeout")
        assert ending(empty_pages(10_000), limits) == "pdf_no_text"
        assert time.monotonic() - started < 20


class TestLimits:
    def test_they_hold_before_the_file_is_looked_at(self, hook: Hook) -> None:
        names = ("AS", "CPU", "CORE", "FSIZE")
        reader = hook(f"return told([resource.getrlimit(getattr(resource, 'RLIMIT_' + n)) for n in {names}])")
        (section,) = extract_pdf.read(BODY, PdfLimits(timeout_s=1.5, memory_mb=500), reader).sections
        memory = 500 * 2**20 + len(BODY)
        assert json.loads(section.text) == [[memory, memory], [3, 4], [0, 0], [0, 0]]

    def test_the_child_is_bare(self, hook: Hook) -> None:
        reader = hook("return told([dict(os.environ), sorted(sys.modules), os.getcwd(), os.getsid(0) == os.getpid()])")
        environment, modules, folder, leads = json.loads(extract_pdf.read(BODY, AMPLE, reader).sections[0].text)
        assert set(environment) <= {"LC_CTYPE"}  # which Python itself sets
        assert not {"ray", "pandas", "numpy", "aiohttp", "pydantic", "selectolax", "structlog"} & set(modules)
        assert (folder, leads) == ("/", True)

    def test_it_gives_way_when_memory_runs_out(self, hook: Hook) -> None:
        reader = hook("return told(open('/proc/self/oom_score_adj').read().strip())")
        assert extract_pdf.read(BODY, AMPLE, reader).sections[0].text == '"1000"'

    def test_memory(self, hook: Hook) -> None:
        assert refusal(hook("bytearray(1 << 30)")) == ("pdf_crashed", "it wanted more memory than allowed")

    @pytest.mark.parametrize(
        "code",
        ["while True: pass", "while True: os.write(2, b'x' * 999)", "os.close(1); os.close(2); time.sleep(60)"],
    )
    def test_time(self, hook: Hook, code: str) -> None:
        reader = hook(code)
        started = time.monotonic()
        assert refusal(reader, SHORT)[0] == "pdf_timeout"
        assert time.monotonic() - started < 5

    def test_processor_time(self, hook: Hook) -> None:
        assert refusal(hook("os.kill(os.getpid(), signal.SIGXCPU)"))[0] == "pdf_timeout"

    def test_the_length_of_the_answer(self, hook: Hook, monkeypatch: pytest.MonkeyPatch) -> None:
        reader = hook("return told('x' * 3_000_000)")
        assert len(extract_pdf.read(BODY, AMPLE, reader).sections[0].text) > 3_000_000
        monkeypatch.setattr(extract_pdf, "MAX_REPLY_BYTES", 1_000_000)
        assert refusal(reader) == ("pdf_crashed", "its reader wrote more than allowed")


class TestCrashes:
    def test_a_process_that_does_not_start(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(sys, "executable", "/nowhere/python")
        assert refusal(extract_pdf.READER) == ("extract_failed", "no process could be started")

    def test_a_signal(self, hook: Hook) -> None:
        assert refusal(hook("os.abort()")) == ("pdf_crashed", "its reader died of SIGABRT")
        assert refusal(hook("ctypes.string_at(0)")) == ("pdf_crashed", "its reader died of SIGSEGV")
        assert refusal(hook("os.kill(os.getpid(), signal.SIGKILL)")) == ("pdf_crashed", "its reader died of SIGKILL")

    def test_a_defect_of_ours_is_not_the_file_s(self, hook: Hook) -> None:
        assert refusal(hook("raise ValueError('a secret of the file')")) == ("extract_failed", "ValueError")

    def test_much_said_on_standard_error_is_of_no_interest(self, hook: Hook) -> None:
        reader = hook("os.write(2, b'x' * 1_000_000)\nreturn told('fine')")
        assert extract_pdf.read(BODY, AMPLE, reader).sections[0].text == '"fine"'

    @pytest.mark.parametrize(
        "said",
        [
            b"",
            b"\x80\x02cposix\nsystem\n.",
            b"[1, 2]",
            b'{"title": 1, "lang": "", "sections": []}',
            b'{"title": "", "lang": "", "sections": [{"path": "x", "anchor": "", "text": ""}]}',
            b'{"title": "", "lang": "", "sections": [{"path": [], "anchor": "javascript:x", "text": ""}]}',
            b'{"reason": "ok"}',
            b'{"reason": "not one of ours"}',
            b'{"reason": "pdf_broken"} and more',
            b"[" * 100_000,
        ],
    )
    def test_nonsense(self, hook: Hook, said: bytes) -> None:
        reader = hook(f"os.write(1, {said!r})\nos._exit(0)")
        assert refusal(reader) == ("pdf_crashed", "its reader gave no sensible answer")


def test_the_child_ends_with_its_parent(hook: Hook, tmp_path: Path) -> None:
    reader = hook("time.sleep(60)")
    module = tmp_path / "hostile.py"
    note = tmp_path / "pid"
    module.write_text(f"import os\nopen({str(note)!r}, 'w').write(str(os.getpid()))\n" + module.read_text())
    code = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from ray_app.ingest.extract_pdf import PdfLimits, read\n"
        f"read(b'x', PdfLimits(), {reader!r})"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], cwd=Path(extract_pdf.__file__).parents[2])
    try:
        pid = int(until(lambda: note.read_text() if note.exists() else ""))
        assert until(lambda: "PdfLimits" if is_alive(pid) else "")
    finally:
        parent.send_signal(signal.SIGKILL)
        parent.wait()
    assert until(lambda: "" if is_alive(pid) else "gone")


def until(check: Callable[[], str], seconds: float = 10.0) -> str:
    end = time.monotonic() + seconds
    while not (found := check()) and time.monotonic() < end:
        time.sleep(0.02)
    return found


def is_alive(pid: int) -> bool:
    """Not so for a zombie that only waits for whoever adopted it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except FileNotFoundError:
        return False
