"""Reads one PDF in a process of its own, which ``extract_pdf`` starts: the body comes by standard input, a file, and
the text goes out as JSON.

Nothing here trusts the parent to clean up: the process ends with its parent, and bounds itself before it looks at the
first byte of the file.
"""

from __future__ import annotations

import contextlib
import ctypes
import math
import mmap
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

import orjson

from ray_app.errors import ExtractError
from ray_app.ingest.pdf import reader as pdf_reader
from ray_app.ingest.pdf.records import PdfLimits, PdfRefusal, PdfText

CPU_GRACE_S = 1  # between the signal that can be told apart from others and the one that cannot be survived
_PR_SET_PDEATHSIG = 1  # prctl(2)

Body = ctypes.Array[ctypes.c_ubyte]
Read = Callable[[Body, PdfLimits], PdfText]


def main(order: str, read: Read = pdf_reader.read) -> None:
    """Does what ``order`` asks and ends the process. ``order`` is JSON: the fields of PdfLimits, and ``parent``."""
    wanted = orjson.loads(order)
    parent = wanted.pop("parent")
    limits = PdfLimits(**wanted)
    _die_with(parent)
    file = mmap.mmap(sys.stdin.fileno(), 0, access=mmap.ACCESS_COPY)
    _confine(limits, len(file))
    body = (ctypes.c_ubyte * len(file)).from_buffer(file)  # PDFium reads the mapped file itself, not a copy
    sys.stdout.buffer.write(_reply(body, limits, read))
    sys.stdout.buffer.flush()
    os._exit(0)  # PDFium's own end may fail after a broken file, and takes time


def _reply(body: Body, limits: PdfLimits, read: Read) -> bytes:
    """The text, or why there is none."""
    try:
        return orjson.dumps(read(body, limits))
    except ExtractError as error:
        return orjson.dumps(PdfRefusal(error.message, error.hint))
    except MemoryError:
        return orjson.dumps(PdfRefusal("pdf_crashed", "it wanted more memory than allowed"))


def _die_with(parent: int) -> None:
    """Has the kernel kill this process when the thread that started it ends."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:  # it ended before it could be watched
        os._exit(1)


def _confine(limits: PdfLimits, body_bytes: int) -> None:
    signal.pthread_sigmask(signal.SIG_SETMASK, [])  # a thread of the parent may have blocked what ends this process
    with contextlib.suppress(OSError):  # only Linux has it: when memory runs out, this process goes first
        Path("/proc/self/oom_score_adj").write_text("1000", encoding="ascii")
    seconds = math.ceil(limits.timeout_s) + CPU_GRACE_S
    bounds = {
        resource.RLIMIT_AS: (limits.memory_mb << 20) + body_bytes,  # the body is mapped, and not the file's fault
        resource.RLIMIT_CPU: seconds,
        resource.RLIMIT_CORE: 0,
        resource.RLIMIT_FSIZE: 0,  # it has nothing to write but its answer, which goes through a pipe
    }
    for what, most in bounds.items():
        hard = most + CPU_GRACE_S if what == resource.RLIMIT_CPU else most
        resource.setrlimit(what, (most, hard))
