"""Becomes the browser, after giving up whatever a browser under our control does not need: the network, our user and
its rights, unbounded memory, and a life beyond its parent's.

Run as a plain script that imports next to nothing, by a launcher that ``browser`` writes:
``browser_child.py ORDER BROWSER-ARGUMENTS...`` where ORDER is a JSON file with the fields of ``browser.Order``, or
``browser_child.py probe``, which prints as JSON what of all this the system permits.
"""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import signal
import sys
from collections.abc import Callable
from pathlib import Path

# Of nobody else's: programs that run as `nobody` could be reached by the browser, and the other way round.
BROWSER_UID = 65_533
_PR_SET_PDEATHSIG = 1  # prctl(2)
_NEW_USER, _NEW_PID, _NEW_NET = 0x10000000, 0x20000000, 0x40000000  # CLONE_*, unshare(2)


def main(order_file: str, arguments: list[str]) -> None:
    """Do what the order asks and become the browser. Raises OSError when a wall that it asks for cannot be built."""
    order = json.loads(Path(order_file).read_text(encoding="utf-8"))
    signal.pthread_sigmask(signal.SIG_SETMASK, [])
    home = Path(_profile(arguments))  # made for this browser and removed after it: all that it writes goes there
    if order["no_network"]:
        leave_network()
    if order["uid"]:
        os.chown(home, order["uid"], order["uid"])
    _confine(order["memory_mb"])
    Path(order["pid_file"]).write_text(str(os.getpid()), encoding="ascii")
    if order["uid"]:
        become(order["uid"])
    _die_with_parent()  # asked for last, for a change of user undoes it
    if order["sandbox"]:
        arguments = [argument for argument in arguments if argument != "--no-sandbox"]
    environment = {"PATH": os.defpath, "HOME": str(home), "TMPDIR": str(home), "LANG": "C.UTF-8"}
    os.execve(order["browser"], [order["browser"], *arguments], environment)  # noqa: S606 - no shell


def probe() -> dict[str, bool]:
    """Which walls can be built here, tried in the order in which ``main`` builds them."""
    return {"no_network": _works(leave_network), "uid": _works(lambda: become(BROWSER_UID)), "sandbox": _sandbox()}


def leave_network() -> None:
    """Move into a network of this process's own, which has no interface that is up. Raises OSError."""
    if os.geteuid() == 0:
        _unshare(_NEW_NET)
        return
    uid, gid = os.geteuid(), os.getegid()
    _unshare(_NEW_USER | _NEW_NET)
    Path("/proc/self/setgroups").write_text("deny", encoding="ascii")
    Path("/proc/self/uid_map").write_text(f"{uid} {uid} 1", encoding="ascii")
    Path("/proc/self/gid_map").write_text(f"{gid} {gid} 1", encoding="ascii")


def become(uid: int) -> None:
    """Change from root to a user without rights. Raises OSError."""
    os.setgroups([])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)


def _unshare(what: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(what) != 0:
        raise OSError(ctypes.get_errno(), "unshare")


def _works(step: Callable[[], None]) -> bool:
    try:
        step()
    except OSError:
        return False
    return True


def _sandbox() -> bool:
    """Whether Chromium will be able to build its sandbox: not as root, and only with user namespaces."""
    return os.geteuid() != 0 and _works(lambda: _unshare(_NEW_USER | _NEW_PID | _NEW_NET))


def _profile(arguments: list[str]) -> str:
    return next(one for one in arguments if one.startswith("--user-data-dir=")).partition("=")[2]


def _confine(memory_mb: int) -> None:
    """Bounds for each process of the browser; what they use together is watched by ``browser``."""
    with contextlib.suppress(OSError):  # when memory runs out, the browser goes first
        Path("/proc/self/oom_score_adj").write_text("800", encoding="ascii")
    # Address space is reserved by the terabyte; data is what is really written to.
    resource.setrlimit(resource.RLIMIT_DATA, (memory_mb << 20, memory_mb << 20))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))


def _die_with_parent() -> None:
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() == 1:  # it ended before it could be watched
        os._exit(1)


if __name__ == "__main__":
    if sys.argv[1] == "probe":
        sys.stdout.write(json.dumps(probe()))
    else:
        main(sys.argv[1], sys.argv[2:])
