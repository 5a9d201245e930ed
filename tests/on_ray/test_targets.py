"""Which brands a run works on and what is kept of what was said about them. Starts no Ray."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from ray_app.config import Settings, load, with_changes
from ray_app.errors import BadUrl, ConfigError, InputError, UnknownBrand
from ray_app.ingest.brands import make_brand
from ray_app.on_ray.targets import Order, Target, find, known, remember, resolve, resolve_all
from ray_app.store.catalog import Catalog
from ray_app.store.db import Database

START = "https://acme.example/"
MANUAL = "https://acme.example/manual.pdf"
FILE = """
brands:
  acme:
    title: Acme
    start_urls: [https://acme.example/]
    include: ['^https://acme.example/(support/|manual)']
    rate: 0.5
    allow_hosts: [intranet.example]
  broken:
    start_urls: []
"""


@pytest.fixture
def catalog(settings: Settings) -> Iterator[Catalog]:
    db = Database(settings.database_url)
    yield Catalog(db)
    db.close()


def run(settings: Settings, catalog: Catalog, target: Target) -> Order:
    """What a run does with a target, as far as the catalog is concerned."""
    order = resolve(settings, catalog, target)
    remember(catalog, order)
    return order


def test_a_new_brand_keeps_its_start_and_its_hosts_and_no_limit(settings: Settings, catalog: Catalog) -> None:
    told = with_changes(settings, crawl={"rate": 7.0, "user_agent": "Us", "allow_hosts": ("other.example",)})
    order = run(told, catalog, Target("acme", (START,), ("127.0.0.1",), max_pages=10, max_depth=2, rate=0.0))
    config = order.config
    assert (config.max_pages, config.max_depth, config.rate, config.user_agent) == (10, 2, 0.0, "Us")
    assert config.allow_hosts == ("other.example", "127.0.0.1")
    assert order.also == ()
    assert catalog.brand("acme") == {"start_urls": [START], "allow_hosts": ["127.0.0.1"]}


def test_a_saved_brand_needs_only_its_name_and_follows_the_settings(settings: Settings, catalog: Catalog) -> None:
    run(settings, catalog, Target("acme", (START,), ("127.0.0.1",), max_pages=10))
    config = resolve(with_changes(settings, crawl={"rate": 7.0}), catalog, Target("acme")).config
    assert (config.start_urls, config.allow_hosts, config.rate) == ((START,), ("127.0.0.1",), 7.0)
    assert config.max_pages == settings.crawl.max_pages


def test_what_is_said_of_a_known_brand_holds_for_the_run(settings: Settings, catalog: Catalog) -> None:
    run(settings, catalog, Target("acme", (START,), ("127.0.0.1",)))
    saved = catalog.brand("acme")
    order = run(settings, catalog, Target("acme", (MANUAL, START), ("10.0.0.1",), max_pages=1, rate=9.0))
    assert order.config.start_urls == (START,), "the brand still begins where it began"
    assert order.also == (MANUAL,)
    assert order.config.allow_hosts == ("127.0.0.1", "10.0.0.1")
    assert (order.config.max_pages, order.config.rate) == (1, 9.0)
    assert catalog.brand("acme") == saved


@pytest.mark.parametrize(
    ("url", "words"),
    [("https://else.example/a", "outside the brand's scope"), ("https://acme.example/a.zip", "neither HTML nor PDF")],
)
def test_a_url_that_a_known_brand_leaves_out_is_refused_in_words(
    settings: Settings, catalog: Catalog, url: str, words: str
) -> None:
    run(settings, catalog, Target("acme", (START,)))
    with pytest.raises(InputError, match=words) as caught:
        resolve(settings, catalog, Target("acme", (url,)))
    assert START in caught.value.hint
    with pytest.raises(BadUrl):
        resolve(settings, catalog, Target("acme", ("ftp://acme.example/",)))


def test_two_first_runs_at_once_keep_the_start_of_the_first(settings: Settings, catalog: Catalog) -> None:
    orders = [resolve(settings, catalog, Target("acme", (url,))) for url in (START, MANUAL)]
    for order in orders:
        remember(catalog, order)
    assert catalog.brand("acme")["start_urls"] == [START]


def test_brands_yaml_is_kept_as_it_is_written(tmp_path: Path, settings: Settings, catalog: Catalog) -> None:
    Path("brands.yaml").write_text(FILE, encoding="utf-8")
    told = with_changes(settings, crawl={"max_pages": 5, "allow_hosts": ("other.example",)})
    order = run(told, catalog, Target("acme", (MANUAL,), max_depth=1))
    assert (order.config.max_pages, order.config.max_depth, order.config.rate) == (5, 1, 0.5)
    assert order.also == (MANUAL,)
    saved = catalog.brand("acme")
    assert saved == {
        "title": "Acme",
        "start_urls": [START],
        "include": ["^https://acme.example/(support/|manual)"],
        "rate": 0.5,
        "allow_hosts": ["intranet.example"],
    }
    Path("brands.yaml").write_text(FILE.replace("0.5", "4"), encoding="utf-8")
    run(settings, catalog, Target("acme"))
    assert catalog.brand("acme")["rate"] == 4
    with pytest.raises(InputError, match="scope"):
        resolve(settings, catalog, Target("acme", ("https://acme.example/news/",)))
    with pytest.raises(ConfigError, match=r"brands.yaml: brand 'broken': start_urls"):
        resolve(settings, catalog, Target("broken"))


def test_rows_of_older_versions_do_not_hold_the_limits_of_their_run(settings: Settings, catalog: Catalog) -> None:
    old = make_brand("acme", {"start_urls": [START], "max_pages": 10, "rate": 0, "lang": "de"}, settings.crawl)
    catalog.save_brand("acme", old.model_dump(mode="json"))
    for config in (resolve(settings, catalog, Target("acme")).config, known(settings, catalog)["acme"]):
        assert (config.max_pages, config.rate) == (settings.crawl.max_pages, settings.crawl.rate)
        assert (config.start_urls, config.lang) == ((START,), "de")


def test_an_unknown_brand_wants_a_start(settings: Settings, catalog: Catalog) -> None:
    with pytest.raises(UnknownBrand, match="nobody"):
        resolve(settings, catalog, Target("nobody"))
    with pytest.raises(ConfigError, match="a-z"):
        resolve(settings, catalog, Target("Bad Name", (START,)))
    with pytest.raises(ConfigError, match="max_pages"):
        resolve(settings, catalog, Target("acme", (START,), max_pages=0))


def test_several_brands_share_limits_and_no_url(catalog: Catalog) -> None:
    settings = load(crawl={"rate": 1.0}, data_dir="data")
    for name in ("a", "b"):
        catalog.save_brand(name, {"start_urls": [f"https://{name}.example/"]})
    targets = Target("", (), ("10.0.0.1",), max_pages=3).each(["a", "b"])
    configs = [order.config for order in resolve_all(settings, catalog, targets)]
    assert [(c.name, c.max_pages, c.allow_hosts, c.rate) for c in configs] == [
        ("a", 3, ("10.0.0.1",), 1.0),
        ("b", 3, ("10.0.0.1",), 1.0),
    ]
    with pytest.raises(InputError, match="single"):
        Target("", (START,)).each(["a", "b"])


def test_a_brand_of_documents_alone_is_known_and_gets_a_site_when_one_is_named(
    settings: Settings, catalog: Catalog
) -> None:
    catalog.save_brand("acme", {})
    assert known(settings, catalog)["acme"].start_urls == ()
    assert resolve(settings, catalog, Target("acme")).config.start_urls == ()
    order = run(settings, catalog, Target("acme", (START,)))
    assert order.config.start_urls == (START,)
    assert resolve(settings, catalog, Target("acme")).config.start_urls == (START,), "from then on"


def test_a_saved_brand_that_is_wrong_stops_no_other(settings: Settings, catalog: Catalog) -> None:
    catalog.save_brand("acme", {"start_urls": [START]})
    catalog.save_brand("misled", {"start_urls": [START], "allow_hosts": ["no host/at all"]})
    assert list(known(settings, catalog)) == ["acme"]
    acme = find(settings, catalog, "acme")
    assert acme is not None
    assert acme.start_urls == (START,)
    assert find(settings, catalog, "nobody") is None
    with pytest.raises(ConfigError, match="misled"):
        find(settings, catalog, "misled")
