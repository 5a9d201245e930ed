"""Crawl, embed and publish on a real Ray, with the bundled sites and a real Chroma."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import threading
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace

import psutil
import pytest
import ray

from ray_app.config import Settings
from ray_app.demo.server import SITE, DemoSite
from ray_app.index.generation import Generation
from ray_app.index.layout import generation_path
from ray_app.index.publish import collection_name
from ray_app.ingest.brands import BrandConfig, make_brand
from ray_app.on_ray.pipeline import Pipeline, Steps
from ray_app.on_ray.scrape_pool import fetch_actor
from ray_app.on_ray.targets import Target, resolve
from ray_app.on_ray.vector_owner import vector_store
from ray_app.records import UrlState
from ray_app.store.lease import Lease
from ray_app.store.ledger import Mode
from ray_app.store.stores import Stores

pytestmark = [pytest.mark.on_ray, pytest.mark.timeout(300)]


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory) -> Iterator[DemoSite]:
    """The bundled sites in a copy that a test may change."""
    root = tmp_path_factory.mktemp("site") / "copy"
    shutil.copytree(SITE, root)
    with DemoSite(root) as running:
        yield running


def brand(settings: Settings, site: DemoSite, name: str, of: str = "pellandine") -> BrandConfig:
    fields = {"start_urls": (site.urls()[of],), "allow_hosts": ("127.0.0.1",), "rate": 0.0}
    return make_brand(name, fields, settings.crawl)


def live(stores: Stores, name: str) -> Generation:
    generation = stores.catalog.live(name)
    assert generation
    return Generation.open(generation_path(stores.index_root, name, generation))


def test_two_brands_side_by_side_and_again(cluster: Settings, stores: Stores, site: DemoSite) -> None:
    configs = [brand(cluster, site, name, name) for name in ("pellandine", "tarnwald")]
    first = Pipeline(cluster, stores).run(configs, Steps())
    assert [result.error for result in first] == ["", ""]
    assert all(result.embed and result.embed.published and result.embed.embedded > 50 for result in first)
    generation = live(stores, "pellandine")
    assert "marzipan-0417" not in " ".join(chunk.text for chunk in generation.chunks()), "robots.txt forbids that page"
    assert any(chunk.anchor == "#page=7" and "Rotary speaker speed" in chunk.text for chunk in generation.chunks())

    second = Pipeline(cluster, stores).run(configs, Steps())
    for before, after in zip(first, second, strict=True):
        assert before.embed and after.embed and after.crawl
        assert not after.embed.published
        assert after.embed.embedded == 0
        assert after.embed.generation == before.embed.generation
        assert after.crawl.stored == 0


def test_chroma_holds_what_the_generation_holds(cluster: Settings, stores: Stores) -> None:
    generation = live(stores, "pellandine")
    store = vector_store(cluster)
    collection = collection_name("pellandine", generation.manifest.model)
    assert store.ids(collection) == set(generation.chunk_ids())
    found = store.query(collection, generation.vectors[3].astype("float32"), 1)
    assert found[0][0] == generation.chunk_ids()[3]
    assert found[0][1] == pytest.approx(1.0, abs=1e-2)


def test_the_vector_owner_comes_back_after_a_kill(cluster: Settings, stores: Stores) -> None:
    generation = live(stores, "tarnwald")
    store = vector_store(cluster)
    collection = collection_name("tarnwald", generation.manifest.model)
    held = store.count(collection)
    owner = ray.get_actor("vector-owner", namespace=cluster.ray.namespace)
    os.kill(pid_of(owner), signal.SIGKILL)
    assert store.count(collection) == held > 0


def test_killed_workers_lose_nothing(cluster: Settings, stores: Stores, site: DemoSite) -> None:
    config = brand(cluster, site, "wounded").model_copy(update={"rate": 15.0})  # slowly, or it is over before
    scraper = fetch_actor(cluster, 0)
    ray.get(scraper.__ray_ready__.remote())
    stop, killed = threading.Event(), Counter[str]()

    def kill_now_and_then() -> None:
        """Each kind in turn, when there is one."""
        while not stop.wait(0.7) and killed.total() < 4:
            wanted = ("ray::FetchActor", "ray::ExtractActor")[killed.total() % 2]
            for process in psutil.Process().children(recursive=True):
                with contextlib.suppress(psutil.NoSuchProcess):  # it ended by itself just now
                    if process.cmdline()[:1] and process.cmdline()[0].startswith(wanted):
                        process.kill()
                        killed[wanted] += 1
                        break

    killer = threading.Thread(target=kill_now_and_then)
    killer.start()
    try:
        (result,) = Pipeline(cluster, stores).run([config], Steps(embed=False))
    finally:
        stop.set()
        killer.join()
    assert len(killed) == 2, f"only {dict(killed)} were killed"
    assert result.crawl and result.crawl.complete
    states = {row.url.rsplit("/", 1)[-1]: row.state for row in stores.ledger.urls("wounded")}
    reference = {row.url.rsplit("/", 1)[-1]: row.state for row in stores.ledger.urls("pellandine")}
    assert states == reference
    assert UrlState.FAILED not in states.values()
    assert ray.get(scraper.__ray_ready__.remote())


def test_a_second_run_on_a_brand_is_refused(cluster: Settings, stores: Stores, site: DemoSite) -> None:
    config = brand(cluster, site, "pellandine")
    with Lease(stores.ledger, "pellandine", label="ingest", ttl_s=60):
        (result,) = Pipeline(cluster, stores).run([config], Steps())
    assert "held by ingest" in result.error


def test_a_changed_page_embeds_only_what_is_new(cluster: Settings, stores: Stores, site: DemoSite) -> None:
    before = live(stores, "tarnwald")
    page = site.root / "tarnwald" / "support" / "error-codes.html"
    page.write_bytes(
        page.read_bytes().replace(b"</main>", b"<h2 id=new>ERR 99</h2><p>The reverb tank is empty.</p></main>")
    )
    os.utime(page, (time.time() + 5, time.time() + 5))
    (result,) = Pipeline(cluster, stores).run([brand(cluster, site, "tarnwald", "tarnwald")], Steps())
    assert result.crawl and result.crawl.stored == 1, result.crawl
    assert result.embed and result.embed.published
    assert 1 <= result.embed.embedded <= 3
    after = live(stores, "tarnwald")
    assert any(chunk.anchor == "#new" for chunk in after.chunks())
    assert after.manifest.parent == before.name


def test_a_page_that_is_gone_twice_leaves_vectors_and_keywords(
    cluster: Settings, stores: Stores, site: DemoSite
) -> None:
    config, url = brand(cluster, site, "tarnwald", "tarnwald"), f"{site.urls()['tarnwald']}support/warranty.html"
    before = live(stores, "tarnwald")
    lost = {chunk.chunk_id for chunk in before.chunks() if chunk.url == url}
    assert lost
    (site.root / "tarnwald" / "support" / "warranty.html").unlink()
    (first,) = Pipeline(cluster, stores).run([config], Steps())
    assert first.crawl and first.crawl.reasons["gone/http_404"] >= 1
    assert live(stores, "tarnwald").name == before.name, "once may be a mistake of the site"
    (second,) = Pipeline(cluster, stores).run([config], Steps())
    assert second.embed and second.embed.published
    assert second.embed.embedded == 0
    after = live(stores, "tarnwald")
    assert set(before.chunk_ids()) - set(after.chunk_ids()) == lost
    assert len(after.keywords) == len(before.keywords) - len(lost)
    assert url not in after.documents()


def test_what_is_said_for_one_run_changes_no_later_one(cluster: Settings, stores: Stores, site: DemoSite) -> None:
    start = site.urls()["tarnwald"]
    first = resolve(cluster, stores.catalog, Target("said", (start,), ("127.0.0.1",)))
    (crawled,) = Pipeline(cluster, stores).run([first], Steps(embed=False))
    assert crawled.crawl and crawled.crawl.complete
    saved, texts = stores.catalog.brand("said"), stores.ledger.documents("said")
    (site.root / "tarnwald" / "alone.html").write_text("<main><h1>Alone</h1><p>Nothing links to this page.</p></main>")
    named = resolve(cluster, stores.catalog, Target("said", (start + "alone.html",), ("127.0.0.1",), max_pages=500))
    (again,) = Pipeline(cluster, stores).run([named], Steps(embed=False, mode=Mode.FULL))
    assert again.crawl and again.crawl.unlinked == 0
    assert {one.url for one in stores.ledger.documents("said")} == {one.url for one in texts} | {start + "alone.html"}
    assert stores.catalog.brand("said") == saved == {"start_urls": [start], "allow_hosts": ["127.0.0.1"]}


def test_nothing_is_kept_of_a_brand_that_another_run_holds(cluster: Settings, stores: Stores, site: DemoSite) -> None:
    order = resolve(cluster, stores.catalog, Target("held", (site.urls()["tarnwald"],)))
    with Lease(stores.ledger, "held", label="ingest", ttl_s=60):
        (result,) = Pipeline(cluster, stores).run([order], Steps())
    assert "held by ingest" in result.error
    assert "held" not in stores.catalog.brands()


def test_a_disk_that_fails_one_brand_stops_no_other(cluster: Settings, stores: Stores, site: DemoSite) -> None:
    stores.index_root.mkdir(parents=True, exist_ok=True)
    (stores.index_root / "in-the-way").write_text("a file where the brand's folder should be")
    start = site.urls()["tarnwald"]
    wanted = Target("", (), ("127.0.0.1",), max_pages=2).each(["in-the-way", "unharmed"])
    orders = [resolve(cluster, stores.catalog, replace(target, urls=(start,))) for target in wanted]
    failed, fine = Pipeline(cluster, stores).run(orders, Steps())
    assert "The system refused" in failed.error
    assert "in-the-way" in failed.error
    assert fine.error == ""
    assert fine.embed and fine.embed.published


def pid_of(actor: object) -> int:
    """The process of an actor, as the cluster knows it."""
    from ray.util.state import get_actor

    address = ray.get_runtime_context().gcs_address  # others may run on this machine
    state = get_actor(actor._actor_id.hex(), address=address)  # type: ignore[attr-defined]
    assert state and state.pid
    return int(state.pid)
