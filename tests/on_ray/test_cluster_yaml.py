"""cluster.yaml against Ray's own schema and against what Backline needs of it. Starts no Ray."""

from __future__ import annotations

import copy
import re
import subprocess
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from ray._private.label_utils import validate_node_labels
from ray.autoscaler._private.util import prepare_config, validate_config

from ray_app.on_ray import CLUSTER_ENVIRONMENT

FILE = Path(__file__).parents[2] / "cluster.yaml"
COMMANDS = ("setup_commands", "head_setup_commands", "head_start_ray_commands", "worker_start_ray_commands")


@pytest.fixture
def cluster() -> dict[str, Any]:
    found = yaml.safe_load(FILE.read_text(encoding="utf-8"))
    assert isinstance(found, dict)
    return found


def check(cluster: dict[str, Any]) -> dict[str, Any]:
    """What `ray up` does with a file before it talks to the cloud."""
    prepared: dict[str, Any] = prepare_config(copy.deepcopy(cluster))
    validate_config(prepared)
    return prepared


def starts(cluster: dict[str, Any]) -> list[str]:
    return [cluster[f"{role}_start_ray_commands"][-1] for role in ("head", "worker")]


def test_ray_accepts_the_file(cluster: dict[str, Any]) -> None:
    prepared = check(cluster)
    types = prepared["available_node_types"]
    assert set(types) == {"head", "cpu", "gpu"}
    assert prepared["head_node_type"] == "head"
    assert types["head"]["max_workers"] == 0
    for node in types.values():
        validate_node_labels(node["labels"])


@pytest.mark.parametrize(
    "path", [("max_workerz",), ("auth", "ssh_usr"), ("available_node_types", "cpu", "min_worker"), ("docker", "imag")]
)
def test_ray_refuses_a_misspelt_key(cluster: dict[str, Any], path: tuple[str, ...]) -> None:
    *parents, leaf = path
    place = cluster
    for parent in parents:
        place = place.setdefault(parent, {})
    place[leaf] = 1
    with pytest.raises(jsonschema.ValidationError, match=leaf):
        check(cluster)


def test_ray_refuses_a_head_type_that_is_not_there(cluster: dict[str, Any]) -> None:
    cluster["head_node_type"] = "hat"
    with pytest.raises(ValueError, match="head_node_type"):
        check(cluster)


def test_batch_work_stays_off_the_head(cluster: dict[str, Any]) -> None:
    assert cluster["available_node_types"]["head"]["resources"] == {"CPU": 0}


def test_the_caps_leave_room_for_every_worker_type(cluster: dict[str, Any]) -> None:
    types = cluster["available_node_types"]
    assert cluster["max_workers"] == types["cpu"]["max_workers"] + types["gpu"]["max_workers"]
    assert types["cpu"]["min_workers"] >= 1  # else nothing could answer after the start
    assert types["gpu"]["min_workers"] == 0


def test_every_node_starts_with_the_same_environment(cluster: dict[str, Any]) -> None:
    exports = [re.findall(r"export ([^;]+);", command) for command in starts(cluster)]
    assert exports[0] == exports[1]
    given = " ".join(exports[0]).split()
    wanted = [f"{name}={value}" for name, value in CLUSTER_ENVIRONMENT.items() if name.startswith("RAY_SERVE_")]
    assert len(wanted) == 2
    assert {*wanted, "DATABASE_URL", "REDIS_URL", "CHROMA_HOST", "RAY_AUTH_MODE=token"} <= set(given)
    # Jobs must agree on the number of fetch actors whatever the size of the cluster when they start.
    assert any(re.fullmatch(r"BACKLINE_CRAWL__FETCH_WORKERS=[1-9]\d*", item) for item in given)


def test_the_dashboard_and_the_jobs_api_listen_on_loopback(cluster: dict[str, Any]) -> None:
    head, worker = starts(cluster)
    assert "--dashboard-host=127.0.0.1" in head
    assert "dashboard" not in worker
    assert "IpPermissions" not in cluster["provider"]["security_group"]  # Ray's default opens SSH and nothing else


def test_the_file_holds_no_secret(cluster: dict[str, Any]) -> None:
    text = yaml.safe_dump(cluster)
    assert "://" not in text.replace("https://astral.sh/uv/install.sh", "")
    assert not re.search(r"(?i)(password|secret|api_key|AKIA[0-9A-Z]{16})", text)


@pytest.mark.parametrize("section", COMMANDS)
def test_the_commands_are_shell(cluster: dict[str, Any], section: str) -> None:
    for command in cluster[section]:
        subprocess.run(["bash", "-n", "-c", command], check=True)


@pytest.mark.parametrize("missing", ["DATABASE_URL", "REDIS_URL", "CHROMA_HOST"])
def test_a_node_refuses_to_start_without_the_operators_values(
    cluster: dict[str, Any], tmp_path: Path, missing: str
) -> None:
    values = {"DATABASE_URL": "postgresql://h/d", "REDIS_URL": "redis://h", "CHROMA_HOST": "h"}
    (tmp_path / "backline").mkdir()
    lines = [f"{name}='{value}'" for name, value in values.items() if name != missing]
    (tmp_path / "backline" / ".env").write_text("\n".join(lines), encoding="utf-8")
    for command in starts(cluster):
        script = command.replace("ray start", "echo started")
        ran = subprocess.run(
            ["bash", "-c", script], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=False
        )
        assert ran.returncode != 0
        assert missing in ran.stderr
        assert "started" not in ran.stdout


def test_a_node_starts_with_the_operators_values(cluster: dict[str, Any], tmp_path: Path) -> None:
    (tmp_path / "backline").mkdir()
    (tmp_path / "backline" / ".env").write_text(
        "DATABASE_URL='postgresql://h/d'\nREDIS_URL=redis://h\nCHROMA_HOST=h\nOPENAI_MODEL='a b'\n", encoding="utf-8"
    )
    for command in starts(cluster):
        script = command.replace("ray start", "env; echo started")
        ran = subprocess.run(
            ["bash", "-c", script], env={"HOME": str(tmp_path)}, capture_output=True, text=True, check=True
        )
        assert "OPENAI_MODEL=a b" in ran.stdout
        assert "DATA_DIR=/mnt/backline" in ran.stdout
        assert "started" in ran.stdout
