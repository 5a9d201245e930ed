"""What the browser gives up before it starts, seen by a program that tells what it has become."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from ray_app.ingest.render import browser_child


@pytest.mark.skipif(sys.platform != "linux", reason="the walls of the system are built on Linux only")
class TestChild:
    TELL = (
        "import json, os, resource, sys; print(json.dumps({'uid': os.getuid(), 'groups': os.getgroups(), "
        "'names': sorted(os.environ), 'home': os.environ['HOME'], 'arguments': sys.argv[1:], 'pid': os.getpid(), "
        "'data': resource.getrlimit(resource.RLIMIT_DATA)[0], 'network': os.readlink('/proc/self/ns/net'), "
        "'interfaces': [line.split()[0] for line in open('/proc/net/dev').readlines()[2:]]}))"
    )

    def become(self, tmp_path: Path, **order: object) -> dict[str, object]:
        profile = tmp_path / "profile"
        profile.mkdir(mode=0o700)
        program = tmp_path / "program"
        program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -I -S -c "{self.TELL}" "$@"\n', encoding="utf-8")
        program.chmod(0o755)
        wanted = {"browser": str(program), "pid_file": str(tmp_path / "pid"), "memory_mb": 600}
        file = tmp_path / "order"
        file.write_text(
            json.dumps({"no_network": False, "uid": 0, "sandbox": False, **wanted, **order}), encoding="utf-8"
        )
        child = [sys.executable, "-I", "-S", browser_child.__file__, str(file)]
        told = subprocess.run(
            [*child, "--no-sandbox", f"--user-data-dir={profile}"],
            capture_output=True,
            check=True,
            timeout=20,
            env={**os.environ, "A_SECRET": "x"},
        )
        found: dict[str, object] = json.loads(told.stdout)
        assert int((tmp_path / "pid").read_text("ascii")) == found["pid"]
        return found

    def test_it_has_a_place_of_its_own_and_no_secrets(self, tmp_path: Path) -> None:
        found = self.become(tmp_path)
        assert {"PATH", "HOME", "LANG", "TMPDIR"} <= set(found["names"])  # type: ignore[call-overload]
        assert "A_SECRET" not in found["names"]  # type: ignore[operator]
        assert (found["home"], found["data"]) == (str(tmp_path / "profile"), 600 << 20)
        assert "--no-sandbox" in found["arguments"]  # type: ignore[operator]

    def test_it_has_chromiums_sandbox_when_that_can_be_built(self, tmp_path: Path) -> None:
        found = self.become(tmp_path, sandbox=True)
        assert found["arguments"] == [f"--user-data-dir={tmp_path / 'profile'}"]

    def test_it_has_no_network(self, tmp_path: Path) -> None:
        if not self.permits()["no_network"]:
            pytest.skip("this system permits no network namespaces")
        found = self.become(tmp_path, no_network=True)
        assert found["network"] != os.readlink("/proc/self/ns/net")  # noqa: PTH115
        assert found["interfaces"] == ["lo:"]

    def test_an_order_that_cannot_be_carried_out_starts_nothing(self, tmp_path: Path) -> None:
        if os.geteuid() == 0:
            pytest.skip("root may become anybody")
        with pytest.raises(subprocess.CalledProcessError):
            self.become(tmp_path, uid=browser_child.BROWSER_UID)

    @staticmethod
    def permits() -> dict[str, bool]:
        told = subprocess.run(
            [sys.executable, "-I", "-S", browser_child.__file__, "probe"], capture_output=True, check=True, timeout=20
        )
        found: dict[str, bool] = json.loads(told.stdout)
        return found
