"""Reads each PDF in a process of its own, with limits on memory, CPU, time and answer: whatever the file does to its
reader, it does to that document only.

The child is started afresh, not forked: this process has threads, and PDFium must not inherit what it holds. What
comes back is JSON whose shape is checked, for the reader of a hostile file may write anything.
"""

from __future__ import annotations

import contextlib
import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path

import orjson
from pydantic import TypeAdapter, ValidationError

from ray_app.errors import ExtractError
from ray_app.ingest.pdf.document import extracted
from ray_app.ingest.pdf.records import DEFAULT_LIMITS, PdfLimits, PdfRefusal, PdfText
from ray_app.observe.log import get_logger
from ray_app.records import REASONS, Extracted

__all__ = ["PdfLimits", "extract", "read"]

log = get_logger(__name__)

READER = "ray_app.ingest.pdf.child"
MAX_REPLY_BYTES = 64 << 20  # a manual of 2,400 pages gives 5 MB
MAX_STDERR_BYTES = 16_384  # of which the end is logged when the reader failed
READ_BYTES = 1 << 16  # the size of a pipe
# Alone, without site packages of its own: its search path is this process's, given on the command line.
_BOOT = "import sys; sys.path[:] = sys.argv[3:]; __import__(sys.argv[1], fromlist=['main']).main(sys.argv[2])"
_ANCHOR = re.compile(r"#page=[1-9]\d{0,6}")
_REPLY: TypeAdapter[PdfText | PdfRefusal] = TypeAdapter(PdfText | PdfRefusal)


def extract(body: bytes, *, brand: str, url: str, fetched_at: float, limits: PdfLimits = DEFAULT_LIMITS) -> Extracted:
    """The text of a PDF as a Document, one or more sections a page, anchored ``#page=N``.

    Raises ExtractError, whose hint says more: pdf_encrypted, pdf_broken, pdf_no_text, pdf_timeout, pdf_crashed (it
    died of a signal, wanted too much memory or gave no sensible answer), extract_failed (a defect of ours).
    """
    return extracted(read(body, limits), brand=brand, url=url, fetched_at=fetched_at)


def read(body: bytes, limits: PdfLimits, reader: str = READER) -> PdfText:
    """The text of a PDF. ``reader`` is the module whose ``main`` the child calls. Raises ExtractError as above."""
    if not body:
        raise ExtractError("pdf_broken")
    reply = _checked(_run(body, limits, reader))
    if isinstance(reply, PdfRefusal):
        raise ExtractError(reply.reason, hint=reply.detail)
    return reply


def _run(body: bytes, limits: PdfLimits, reader: str) -> bytes:
    """What the child answered. It is dead when this returns or raises."""
    deadline = time.monotonic() + limits.timeout_s
    child = _started(body, limits, reader)
    try:
        answer, complaint = _listen(child, deadline)
        code = child.wait(max(0.0, deadline - time.monotonic()))
    except subprocess.TimeoutExpired:
        raise ExtractError("pdf_timeout") from None
    finally:
        child.kill()
        child.wait()
        for pipe in (child.stdout, child.stderr):
            if pipe:
                pipe.close()
    _check_code(code, complaint)
    return answer


def _started(body: bytes, limits: PdfLimits, reader: str) -> subprocess.Popen[bytes]:
    order = orjson.dumps({**asdict(limits), "parent": os.getpid()}).decode()
    try:
        with _file(body) as stdin:
            return subprocess.Popen(  # noqa: S603 - no word of the command comes from outside
                [sys.executable, "-I", "-S", "-c", _BOOT, reader, order, *_search_path()],
                stdin=stdin,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                env={},  # it needs nothing, and this process's holds secrets
                cwd="/",
                start_new_session=True,  # a Ctrl-C is for this process, which then ends the child
            )
    except OSError as error:
        log.warning("pdf_process_not_started", error=error.strerror)
        raise ExtractError("extract_failed", hint="no process could be started") from None


def _search_path() -> list[str]:
    """This process's, without what depends on its current directory."""
    root = str(Path(__file__).parents[2])
    return list(dict.fromkeys([*(path for path in sys.path if Path(path).is_absolute()), root]))


@contextlib.contextmanager
def _file(body: bytes) -> Iterator[int]:
    """A file without a name that holds the body: in memory where the system can do that."""
    if sys.platform == "linux":
        descriptor = os.memfd_create("pdf")
        try:
            with os.fdopen(descriptor, "wb", closefd=False) as file:
                file.write(body)
            yield descriptor
        finally:
            os.close(descriptor)
    else:
        with tempfile.TemporaryFile() as file:
            file.write(body)
            file.flush()
            yield file.fileno()


def _listen(child: subprocess.Popen[bytes], deadline: float) -> tuple[bytes, bytes]:
    """All the child says on its standard output, and the last it says on its standard error.

    Raises TimeoutExpired, and ExtractError when it says too much.
    """
    heard = {child.stdout: bytearray(), child.stderr: bytearray()}
    with selectors.DefaultSelector() as selector:
        for pipe in heard:
            selector.register(pipe, selectors.EVENT_READ)  # type: ignore[arg-type]
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                raise subprocess.TimeoutExpired(child.args, 0)
            for key, _ in selector.select(left):
                data = os.read(key.fd, READ_BYTES)
                if not data:
                    selector.unregister(key.fileobj)
                heard[key.fileobj] += data  # type: ignore[index]
            del heard[child.stderr][:-MAX_STDERR_BYTES]
            if len(heard[child.stdout]) > MAX_REPLY_BYTES:
                raise ExtractError("pdf_crashed", hint="its reader wrote more than allowed")
    return bytes(heard[child.stdout]), bytes(heard[child.stderr])


def _check_code(code: int, complaint: bytes) -> None:
    """Raises ExtractError unless the child ended well."""
    if code == -signal.SIGXCPU:
        raise ExtractError("pdf_timeout")
    if code < 0:
        raise ExtractError("pdf_crashed", hint=f"its reader died of {signal.Signals(-code).name}")
    if code > 0:
        text = complaint.decode("utf-8", "replace").strip()
        log.warning("pdf_reader_failed", code=code, stderr=text[-2000:])
        raise ExtractError("extract_failed", hint=text.rpartition("\n")[2].partition(":")[0][:80])


def _checked(answer: bytes) -> PdfText | PdfRefusal:
    """The answer if it has the shape that the reader gives it, word for word. Raises ExtractError otherwise."""
    with contextlib.suppress(ValidationError):
        reply = _REPLY.validate_json(answer, strict=True)
        if isinstance(reply, PdfRefusal):
            sound = reply.reason in REASONS and reply.reason.startswith("pdf_")
        else:
            sound = bool(reply.sections) and all(_ANCHOR.fullmatch(section.anchor) for section in reply.sections)
        if sound:
            return reply
    raise ExtractError("pdf_crashed", hint="its reader gave no sensible answer")
