"""Embedding on a real Ray: kinds of workers side by side, kills, and what a run leaves behind."""

from __future__ import annotations

import os
import pickle
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections import Counter
from dataclasses import replace
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
import ray

from ray_app.config import Settings, load
from ray_app.errors import ClusterError, ConfigError
from ray_app.index.embedder import model_id
from ray_app.index.staging import Staging
from ray_app.ingest.stages import EmbedOrder
from ray_app.on_ray import embed_data
from ray_app.on_ray.embed_data import EmbedWorker, Node, WorkerPlan, embed_documents, plan_workers
from ray_app.records import Document, ModelId, PageRef, Section
from ray_app.store.ledger import StoredDocument
from ray_app.store.pages import PageStore

pytestmark = [pytest.mark.on_ray, pytest.mark.timeout(400)]


def embedding(settings: Settings, **changes: object) -> Settings:
    return settings.model_copy(update={"embedding": settings.embedding.model_copy(update=changes)})


class TestPlan:
    head, laptop = Node("head", 0, 0), Node("laptop", 2, 0)
    large, gpus = Node("large", 32, 0), Node("gpus", 16, 2)

    def test_gpus_and_the_cpus_of_other_nodes_together(self) -> None:
        plans = plan_workers(load(), [self.head, self.large, self.gpus])
        assert Counter(plan.kind for plan in plans) == {"gpu": 4, "cpu": 4}
        assert {(plan.num_gpus, plan.node) for plan in plans} == {(0.5, ""), (0.0, "large")}
        assert sum(plan.num_cpus for plan in plans if plan.kind == "cpu") == 16, "half stays for the rest"

    def test_without_gpus_nothing_asks_for_one(self) -> None:
        (plan,) = plan_workers(load(), [self.laptop])
        assert (plan.kind, plan.num_gpus, plan.threads, plan.node) == ("cpu", 0.0, 2, "laptop")
        assert plan.num_cpus < 1

    def test_the_configured_device_decides(self) -> None:
        nodes = [self.large, self.gpus]
        on_cpu = plan_workers(embedding(load(), device="cpu"), nodes)
        assert {(plan.kind, plan.num_gpus) for plan in on_cpu} == {("cpu", 0.0)}
        assert {plan.node for plan in on_cpu} == {"large", "gpus"}
        assert {plan.kind for plan in plan_workers(embedding(load(), device="cuda"), nodes)} == {"gpu"}
        with pytest.raises(ConfigError, match="no node has a GPU"):
            plan_workers(embedding(load(), device="cuda"), [self.large])

    @pytest.mark.parametrize("workers", [1, 3, 11])
    def test_the_configured_number_decides(self, workers: int) -> None:
        assert len(plan_workers(embedding(load(), workers=workers), [self.large, self.gpus])) == workers


def make_order(settings: Settings, brand: str, documents: int, words: int = 60) -> EmbedOrder:
    """Documents of one chunk each, and an order to embed them."""
    made = [
        Document(
            brand=brand,
            url=f"https://acme.example/{n}",
            title=f"Manual {n}",
            lang="en",
            kind="html",
            sections=(Section(("Setup",), "", f"Unit {n}: " + f"press button {n} twice. " * (words // 5)),),
            content_hash=f"{n:032x}",
        )
        for n in range(documents)
    ]
    part = PageStore(settings.data_dir / "pages").write_part(brand, made)
    stored = [StoredDocument(one.url, one.content_hash, PageRef(part, n), one.title) for n, one in enumerate(made)]
    model = model_id(settings.embedding)
    staging = Staging(settings.data_dir / "staging", brand, model)
    return EmbedOrder(brand, stored, model, staging, staging.new_run())


def again(order: EmbedOrder) -> EmbedOrder:
    """The next run over the same documents."""
    return EmbedOrder(order.brand, order.documents, order.model, order.staging, order.staging.new_run())


def staged(order: EmbedOrder) -> pa.Table:
    return pa.concat_tables(order.staging.tables(order.run))


def kill_when_something_is_staged(order: EmbedOrder, title: str) -> tuple[threading.Thread, list[int]]:
    """A thread that kills a process of this title, and the list in which it leaves its id."""
    folder, killed = order.staging._dir / order.run, list[int]()

    def kill_one() -> None:
        while not list(folder.glob("*.parquet")):
            time.sleep(0.01)
        for process in psutil.Process().children(recursive=True):
            if process.cmdline()[:1] and title in process.cmdline()[0]:
                process.kill()
                killed.append(process.pid)
                return

    killer = threading.Thread(target=kill_one)
    killer.start()
    return killer, killed


def check(order: EmbedOrder, documents: int, *, twice: int = 0) -> None:
    """Each chunk and its vector are there, and no more than ``twice`` rows came again."""
    table = staged(order)
    embedded = table.filter(table.column("vector").is_valid())
    assert len(set(table.column("chunk_id").to_pylist())) == documents, "nothing is lost"
    assert set(embedded.column("chunk_id").to_pylist()) == set(table.column("chunk_id").to_pylist())
    assert embedded.num_rows == documents, "nothing is embedded that is staged"
    assert table.num_rows <= documents + twice
    tries = (order.staging._dir / order.run).glob("*.tries")
    assert not [file for file in tries if not file.name.startswith("start-")], "but for workers that came too late"


def test_a_killed_worker_costs_no_more_than_the_batch_in_its_hand(
    cluster: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(embed_data, "CHUNKS_PER_BATCH", 16)
    settings = embedding(cluster, precision="fp32")
    order = make_order(settings, "killed-worker", 160)
    killer, killed = kill_when_something_is_staged(order, "EmbedWorker")
    made = embed_documents(settings, order)
    killer.join()
    assert killed
    check(order, 160, twice=32)  # one whose answer was under way, and one that was just written
    assert set(made) == {"cpu"}
    assert 160 - 32 <= made["cpu"] <= 160


def test_a_killed_driver_leaves_what_was_computed(cluster: Settings, tmp_path: Path) -> None:
    """The next run embeds only the rest."""
    settings = embedding(cluster, precision="fp32")
    order = make_order(settings, "killed-driver", 160)
    script = textwrap.dedent("""
        import pickle, sys
        import ray_app.on_ray
        import ray
        from ray_app.on_ray import embed_data
        embed_data.CHUNKS_PER_BATCH = 16
        settings, order, address = pickle.load(open(sys.argv[1], "rb"))
        ray.init(address=address, log_to_driver=False)
        embed_data.embed_documents(settings, order)
    """)
    (tmp_path / "order").write_bytes(pickle.dumps((settings, order, ray.get_runtime_context().gcs_address)))
    driver = subprocess.Popen([sys.executable, "-c", script, str(tmp_path / "order")], cwd=Path(__file__).parents[2])
    folder = order.staging._dir / order.run
    while len(list(folder.glob("*.parquet"))) < 3:
        assert driver.poll() is None, "it ended too early"
        time.sleep(0.01)
    driver.kill()
    driver.wait()
    time.sleep(1)  # its workers end a moment later; what they have in hand they may still write
    survived = staged(order).num_rows
    assert 48 <= survived < 160
    rest = again(order)
    made = embed_documents(settings, rest)
    assert made["cpu"] <= 160 - survived
    assert len(set(staged(rest).column("chunk_id").to_pylist())) == 160


class Told:
    """Does with a batch what a word in it says; in place of an embedder, whose model takes seconds to load."""

    def __call__(self, batch: pa.Table) -> pa.Table:
        texts = " ".join(batch.column("text").to_pylist())
        if "Unit 3:" in texts:
            os.kill(os.getpid(), signal.SIGKILL)
        if "Unit 130:" in texts:
            raise OSError(28, "No space left on device")
        return batch


class TellWorker(EmbedWorker):
    def __init__(self, _: Settings, staging: Staging, run: str, model: ModelId, plan: WorkerPlan) -> None:
        embed_data.DEATHS = 2  # here, in the worker's process
        self._staging, self._run, self._kind, self._stage = staging, run, plan.kind, Told()  # type: ignore[assignment]


ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file


class TestWhatEndsARun:
    @pytest.fixture(autouse=True)
    def told(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr(embed_data, "EmbedWorker", TellWorker)
        monkeypatch.setattr(embed_data, "CHUNKS_PER_BATCH", 64)

    def test_a_batch_that_kills_every_worker(self, cluster: Settings) -> None:
        order = make_order(cluster, "poison", 64)
        with pytest.raises(ClusterError, match="2 embedding workers died over one batch"):
            embed_documents(cluster, order)
        assert not list(order.staging.tables(order.run))

    def test_a_full_disk_which_is_told_as_such(self, cluster: Settings) -> None:
        order = make_order(cluster, "full", 192)
        with pytest.raises(OSError, match="No space left"):
            embed_documents(cluster, replace(order, documents=order.documents[64:]))


GPU, CPU = (WorkerPlan(kind, 0.1, 0.0, 1, "") for kind in ("gpu", "cpu"))  # a GPU in name: the session has none


@pytest.mark.parametrize("plans", [[GPU], [GPU, CPU]], ids=["alone", "mixed"])
def test_a_kind_that_cannot_start_leaves_the_work_to_the_other_or_ends_the_run(
    cluster: Settings, monkeypatch: pytest.MonkeyPatch, plans: list[WorkerPlan]
) -> None:
    monkeypatch.setattr(embed_data, "plan_workers", lambda *_: plans)
    monkeypatch.setattr(embed_data, "CHUNKS_PER_BATCH", 16)
    settings = embedding(cluster, precision="fp32", device="cuda")  # which torch does not have
    order = make_order(settings, f"no-gpu-{len(plans)}", 64)
    if plans == [GPU]:
        with pytest.raises(ClusterError, match="No embedding worker could start"):
            embed_documents(settings, order)
    else:
        assert embed_documents(settings, order) == {"cpu": 64}
        check(order, 64)


def test_a_node_with_other_weights_under_the_name_makes_no_vectors(cluster: Settings) -> None:
    order = make_order(cluster, "weights", 8)
    other = replace(order, model=replace(order.model, revision="other"))
    with pytest.raises(ClusterError, match="the model of this node is"):
        embed_documents(cluster, other)
    assert not list(order.staging.tables(order.run))


MIXED = """
import sys
from pathlib import Path
import ray_app.on_ray
import psutil
import ray
from ray.cluster_utils import Cluster
sys.path.insert(0, sys.argv[2])
from test_embed_data import check, embedding, make_order
from ray_app.config import load
from ray_app.on_ray import embed_data

counts, seen, killed = embed_data._counts, set(), []

def counts_and_a_kill(results):
    for row in counts(results):
        seen.add(row["kind"])
        if len(seen) == 2 and not killed:
            below = psutil.Process().children(recursive=True)
            killed.append(next(p for p in below if "ray::EmbedWorker" in " ".join(p.cmdline())))
            killed[0].kill()
        yield row

embed_data._counts = counts_and_a_kill
embed_data.CHUNKS_PER_BATCH = 8
embed_data.GPU_SHARE = 1.0
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1, "object_store_memory": 2**27})
cluster.add_node(num_cpus=2, num_gpus=0, object_store_memory=2**27)
ray.init(address=cluster.address, log_to_driver=False)
settings = embedding(load(data_dir=Path(sys.argv[1])), precision="fp32")
order = make_order(settings, "mixed", 240)
made = embed_data.embed_documents(settings, order)
check(order, 240, twice=16)
assert killed
assert 240 - 16 <= sum(made.values()) <= 240, made
assert made["cpu"] > 0 and made["gpu"] > 0, made
print("mixed", made)
ray.shutdown()
cluster.shutdown()
"""


def test_a_mixed_cluster_embeds_on_gpu_and_cpu_nodes_at_once_and_through_a_kill(tmp_path: Path) -> None:
    """Two nodes in processes of their own; the GPU is one in name, so its worker computes on the CPU, too."""
    environment = {**os.environ, "BACKLINE_EMBEDDING__WORKERS": "0"}
    environment.pop("RAY_ADDRESS", None)
    here = Path(__file__).parent
    ran = subprocess.run(
        [sys.executable, "-c", MIXED, str(tmp_path), str(here)],
        cwd=here.parents[1],
        env=environment,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr[-3000:]
    assert "mixed" in ran.stdout
