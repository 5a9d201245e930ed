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
from collections.abc import Iterator
from pathlib import Path

import psutil
import pyarrow as pa
import pytest
import ray

from ray_app.config import Settings, load
from ray_app.errors import ClusterError, ConfigError
from ray_app.index.embedder import model_id
from ray_app.index.staging import Staging
from ray_app.ingest.stages import EmbedOrder, Staged
from ray_app.on_ray.embed_data import DEATHS, EmbedPool, Node, WorkerPlan, embed_documents, plan_workers
from ray_app.records import Document, PageRef, Section
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


class Hand:
    """A worker that notes what it was given, and may be told to die of a word."""

    def __init__(self, folder: Path, plan: WorkerPlan, deadly: str = "", slow_s: float = 0.0, fails: bool = False):
        if fails:
            raise ConfigError("torch sees no GPU")
        self._folder, self._plan, self._deadly, self._slow_s = folder, plan, deadly, slow_s

    def ready(self) -> None:
        pass

    def embed(self, batch: pa.Table) -> Staged:
        (text,) = batch.column("text").to_pylist()
        if self._deadly and text.startswith(self._deadly):
            once = self._folder / f"killed-{text}"
            if "always" in text or not once.exists():
                once.touch()
                os.kill(os.getpid(), signal.SIGKILL)
        if text == "full":
            raise OSError(28, "No space left on device")
        time.sleep(self._slow_s)
        with (self._folder / f"{self._plan.kind}-{text}").open("x"):
            pass  # fails when it was done before
        return Staged(1, 1, 0)


ray.cloudpickle.register_pickle_by_value(sys.modules[__name__])  # workers cannot import this file

CPU = WorkerPlan("cpu", 0.1, 0.0, 1, "")
OTHER = WorkerPlan("gpu", 0.1, 0.0, 1, "")  # in name only: the shared session has no GPU


def texts(*names: str) -> Iterator[pa.Table]:
    yield from (pa.table({"text": [name]}) for name in names)


@pytest.mark.usefixtures("cluster")
class TestPool:
    def pool(self, folder: Path, *plans: WorkerPlan, **options: object) -> EmbedPool:
        def start(plan: WorkerPlan) -> object:
            own = {**options, "fails": options.get("fails") == plan.kind}
            return ray.remote(num_cpus=plan.num_cpus)(Hand).remote(folder, plan, **own)

        return EmbedPool(plans, start)

    def done(self, folder: Path) -> list[str]:
        return sorted(file.name.split("-", 1)[1] for file in folder.glob("*pu-*"))

    def test_both_kinds_share_the_work_and_each_batch_is_done_once(self, tmp_path: Path) -> None:
        pool = self.pool(tmp_path, CPU, OTHER, slow_s=0.05)
        names = [f"t{n:02}" for n in range(40)]
        pool.run(texts(*names))
        pool.close()
        assert self.done(tmp_path) == names
        assert pool.made.total() == pool.rows == 40
        assert set(pool.made) == {"cpu", "gpu"}

    def test_a_kind_that_cannot_start_leaves_the_work_to_the_other(self, tmp_path: Path) -> None:
        pool = self.pool(tmp_path, CPU, OTHER, fails="gpu")
        pool.run(texts("a", "b", "c"))
        pool.close()
        assert self.done(tmp_path) == ["a", "b", "c"]
        pool = self.pool(tmp_path, OTHER, fails="gpu")
        with pytest.raises(ClusterError, match="torch sees no GPU"):
            pool.run(texts("d"))
        pool.close()

    def test_what_a_dead_worker_had_goes_to_another(self, tmp_path: Path) -> None:
        pool = self.pool(tmp_path, CPU, deadly="k")
        pool.run(texts("a", "k1", "b", "k2", "c"))
        pool.close()
        assert self.done(tmp_path) == ["a", "b", "c", "k1", "k2"]
        assert pool.deaths == 2

    def test_a_batch_that_kills_every_worker_ends_the_run(self, tmp_path: Path) -> None:
        pool = self.pool(tmp_path, CPU, deadly="k")
        with pytest.raises(ClusterError, match=f"{DEATHS} embedding workers died over one batch"):
            pool.run(texts("a", "k-always", "b"))
        pool.close()

    def test_a_full_disk_is_told_as_such(self, tmp_path: Path) -> None:
        pool = self.pool(tmp_path, CPU)
        with pytest.raises(OSError, match="No space left"):
            pool.run(texts("full"))
        pool.close()

    def test_no_more_is_taken_than_is_in_the_workers_hands(self, tmp_path: Path) -> None:
        pool, ahead = self.pool(tmp_path, CPU, slow_s=0.02), []

        def counted() -> Iterator[pa.Table]:
            for number, batch in enumerate(texts(*[f"t{n:02}" for n in range(20)])):
                ahead.append(number - len(self.done(tmp_path)))
                yield batch

        pool.run(counted())
        pool.close()
        assert max(ahead) <= 3


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


def test_a_killed_worker_costs_no_more_than_the_batch_in_its_hand(
    cluster: Settings, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("ray_app.on_ray.embed_data.CHUNKS_PER_BATCH", 32)
    order = make_order(embedding(cluster, precision="fp32"), "killed-worker", 320)
    folder = order.staging._dir / order.run
    killed: list[int] = []

    def kill_one() -> None:
        """As soon as something is written."""
        while not list(folder.glob("*.parquet")):
            time.sleep(0.01)
        for process in psutil.Process().children(recursive=True):
            if process.cmdline()[:1] and process.cmdline()[0].startswith("ray::EmbedWorker"):
                process.kill()
                killed.append(process.pid)
                return

    killer = threading.Thread(target=kill_one)
    killer.start()
    made = embed_documents(embedding(cluster, precision="fp32"), order)
    killer.join()
    assert killed
    table = staged(order)
    assert len(set(table.column("chunk_id").to_pylist())) == 320, "nothing is lost"
    assert table.num_rows <= 320 + 32, "only a batch that was written but not answered for comes twice"
    assert table.column("vector").null_count == 0
    assert set(made) == {"cpu"}
    assert embed_documents(embedding(cluster, precision="fp32"), again(order)) == {"cpu": 0}


def test_a_killed_driver_leaves_what_was_computed(cluster: Settings, tmp_path: Path) -> None:
    """The next run embeds only the rest."""
    settings = embedding(cluster, precision="fp32")
    order = make_order(settings, "killed-driver", 320)
    script = textwrap.dedent("""
        import pickle, sys
        import ray_app.on_ray
        import ray
        from ray_app.on_ray import embed_data
        embed_data.CHUNKS_PER_BATCH = 32
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
    assert 96 <= survived < 320
    rest = again(order)
    made = embed_documents(settings, rest)
    assert made["cpu"] <= 320 - survived
    assert len(set(staged(rest).column("chunk_id").to_pylist())) == 320


MIXED = """
import sys
from collections import Counter
from pathlib import Path
import ray_app.on_ray
import ray
from ray.cluster_utils import Cluster
sys.path.insert(0, sys.argv[2])
from test_embed_data import embedding, make_order, staged
from ray_app.config import load
from ray_app.on_ray import embed_data

embed_data.CHUNKS_PER_BATCH = 8
cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 2, "num_gpus": 1, "object_store_memory": 2**27})
cluster.add_node(num_cpus=2, num_gpus=0, object_store_memory=2**27)
ray.init(address=cluster.address, log_to_driver=False)
settings = embedding(load(data_dir=Path(sys.argv[1])), precision="fp32")
order = make_order(settings, "mixed", 400)
made = embed_data.embed_documents(settings, order)
table = staged(order)
ids = table.column("chunk_id").to_pylist()
assert table.num_rows == len(set(ids)) == 400, (table.num_rows, len(set(ids)))
assert table.column("vector").null_count == 0
assert sum(made.values()) == 400, made
assert made["cpu"] > 0 and made["gpu"] > 0, made
print("mixed", made)
ray.shutdown()
cluster.shutdown()
"""


def test_a_mixed_cluster_embeds_on_gpu_and_cpu_nodes_at_once(tmp_path: Path) -> None:
    """Two nodes in processes of their own; the GPU is one in name, so its workers compute on the CPU, too."""
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
