from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace

from ray_app.store.rows import Holder


def test_this_process_is_alive_and_named() -> None:
    holder = Holder.current("crawl")
    assert holder.alive()
    assert holder.pid == os.getpid()
    assert str(holder) == f"crawl (process {holder.pid} on {holder.host})"


def test_a_pid_that_is_used_again_is_another_process() -> None:
    assert not replace(Holder.current("crawl"), started=1.0).alive()


def test_a_killed_process_is_dead_even_before_its_parent_took_note() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as child:
        import psutil

        holder = Holder("here", child.pid, psutil.Process(child.pid).create_time(), "crawl")
        assert holder.alive()
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)  # dead, but still a zombie
        assert not holder.alive()
    assert not holder.alive()
