"""Brands from YAML: errors that name the place, and the scope that follows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from ray_app.config import CrawlSettings
from ray_app.errors import ConfigError
from ray_app.ingest.brands import BrandConfig, Scope, load_brands, make_brand

CRAWL = CrawlSettings(max_pages=77, rate=3.0, allow_hosts=("127.0.0.1:9000",))


def written(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "brands.yaml"
    path.write_text(text, encoding="utf-8")
    return path


def brand(**fields: Any) -> BrandConfig:
    return make_brand("acme", {"start_urls": ["https://www.example.com/support/"], **fields}, CrawlSettings())


def test_loads_and_normalises(tmp_path: Path) -> None:
    path = written(
        tmp_path,
        """
brands:
  acme:
    title: Acme
    start_urls: ["HTTPS://Support.Example.com:443/en?utm_source=x"]
    hosts: [Docs.Example.com]
    exclude: ['/login']
    max_depth: 4
    lang: en
    allow_hosts: ["intranet.example"]
  beta:
    start_urls: [http://beta.example/]
    rate: 0
""",
    )
    brands = load_brands(path, CRAWL)
    assert list(brands) == ["acme", "beta"]
    acme = brands["acme"]
    assert acme.start_urls == ("https://support.example.com/en",)
    assert acme.hosts == ("docs.example.com",)
    assert (acme.max_depth, acme.max_pages, acme.rate) == (4, 77, 3.0)
    assert acme.allow_hosts == ("127.0.0.1:9000", "intranet.example")
    assert brands["beta"].rate == 0


def test_survives_a_round_trip_through_a_store() -> None:
    config = brand(exclude=["/login"])
    assert BrandConfig(**config.model_dump(mode="json")) == config


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("brands: {acme: {start_urls: []}}", ["brands.yaml", "'acme'", "start_urls"]),
        ("brands: {acme: {}}", ["brands.yaml", "'acme'", "start_urls"]),
        ("brands: {acme: {start_urls: ['ftp://a/']}}", ["'acme'", "start_urls.0", "http"]),
        ("brands: {acme: {start_urls: ['http://a/'], depth: 3}}", ["'acme'", "depth"]),
        ("brands: {acme: {start_urls: ['http://a/'], max_pages: many}}", ["max_pages"]),
        ("brands: {acme: {start_urls: ['http://a/'], include: ['(']}}", ["include.0", "regular expression"]),
        ("brands: {acme: {start_urls: ['http://a/'], hosts: ['http://b/']}}", ["hosts.0"]),
        ("brands: {acme: {start_urls: ['http://a/'], user_agent: \"a\\r\\nX: y\"}}", ["user_agent"]),
        ("brands: {acme: {start_urls: ['http://a/'], lang: english}}", ["lang"]),
        ("brands: {'../etc': {start_urls: ['http://a/']}}", ["../etc", "name"]),
        ("brands: {Acme: {start_urls: ['http://a/']}}", ["Acme", "name"]),
        ("brands: {7: {start_urls: ['http://a/']}}", ["7"]),
        ("brands: {acme: 3}", ["acme"]),
        ("brands: [1]", ["brands"]),
        ("acme: {start_urls: ['http://a/']}", ["brands"]),
        ("", ["brands"]),
        ("brands: {acme: [", ["YAML"]),
        ("!!python/object/apply:os.system ['true']", ["YAML"]),
    ],
)
def test_errors_name_the_place(tmp_path: Path, text: str, parts: list[str]) -> None:
    with pytest.raises(ConfigError) as caught:
        load_brands(written(tmp_path, text))
    assert all(part in str(caught.value) for part in parts), str(caught.value)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"nothing\.yaml"):
        load_brands(tmp_path / "nothing.yaml")


@pytest.mark.parametrize("name", ["", "a\n", "-a", "a/b", "a" * 65, "ä", "A"])
def test_names_are_slugs(name: str) -> None:
    with pytest.raises(ConfigError):
        make_brand(name, {"start_urls": ["http://a/"]}, CrawlSettings())


@pytest.mark.parametrize(
    ("url", "depth", "reason"),
    [
        ("https://www.example.com/support/a", 3, ""),
        ("http://www.example.com/", 1, ""),
        ("https://example.com/a", 1, ""),
        ("https://docs.example.com/a", 1, ""),
        ("https://docs.example.com:8443/a", 1, "scope"),
        ("https://shop.example.com/", 1, "scope"),
        ("https://www.example.com.evil.example/", 1, "scope"),
        ("https://xn--exmple-4nf.com/", 1, "scope"),
        ("https://www.example.com/support/login", 1, "scope"),
        ("https://www.example.com/a", 6, "depth"),
        ("https://www.example.com/" + "a" * 3000, 1, "url_too_long"),
        ("https://www.example.com/a/photo.JPG", 1, "media_type"),
        ("https://www.example.com/a/app.js?v=1", 1, "media_type"),
        ("https://www.example.com/a/manual.pdf", 1, ""),
        ("https://www.example.com/release-1.0", 1, ""),
        ("https://www.example.com/a.zip/page", 1, ""),
        ("https://www.example.com/view?file=a.zip", 1, ""),
    ],
)
def test_scope(url: str, depth: int, reason: str) -> None:
    config = brand(hosts=["docs.example.com"], exclude=["/login"], max_depth=5)
    assert Scope(config).judge(url, depth) == reason


def test_include_narrows_but_keeps_the_start() -> None:
    scope = Scope(brand(include=["/manuals/"]))
    assert scope.judge("https://www.example.com/support/", 0) == ""
    assert scope.judge("https://www.example.com/manuals/a", 1) == ""
    assert scope.judge("https://www.example.com/news/a", 1) == "scope"


def test_the_length_cap_comes_from_the_settings() -> None:
    assert (
        Scope(brand(), CrawlSettings(max_url_length=100)).judge("https://example.com/" + "a" * 90, 1) == "url_too_long"
    )
