"""Which brands a job or command works on."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ray_app.config import Settings
from ray_app.errors import UnknownBrand
from ray_app.ingest.brands import BrandConfig, load_brands, make_brand
from ray_app.store.catalog import Catalog


@dataclass(frozen=True, slots=True)
class Target:
    """What a caller says about one brand; empty fields leave the brand's own configuration as it is."""

    brand: str
    urls: tuple[str, ...] = ()
    allow_hosts: tuple[str, ...] = ()
    max_pages: int | None = None
    max_depth: int | None = None
    rate: float | None = None

    def changes(self) -> dict[str, Any]:
        """The fields that are set, by their names in BrandConfig."""
        given = {
            "start_urls": self.urls,
            "allow_hosts": self.allow_hosts,
            "max_pages": self.max_pages,
            "max_depth": self.max_depth,
            "rate": self.rate,
        }
        return {name: value for name, value in given.items() if value not in (None, ())}


def configured(settings: Settings) -> dict[str, BrandConfig]:
    """The brands of brands.yaml, if there is one. Raises ConfigError."""
    path = Path(settings.brands_file or "brands.yaml").expanduser()
    if not settings.brands_file and not path.exists():
        return {}
    return load_brands(path, settings.crawl)


def known(settings: Settings, catalog: Catalog) -> dict[str, BrandConfig]:
    """Every brand by name: those once crawled, with brands.yaml on top."""
    saved = {name: _saved(settings, catalog, name) for name in catalog.brands()}
    return saved | configured(settings)


def resolve(settings: Settings, catalog: Catalog, target: Target) -> BrandConfig:
    """The configuration of one brand with the caller's changes. Raises UnknownBrand, ConfigError."""
    base = configured(settings).get(target.brand)
    if base is None and target.brand in catalog.brands():
        base = _saved(settings, catalog, target.brand)
    if base is None and not target.urls:
        raise UnknownBrand(
            f"No brand is called {target.brand!r}.", hint="Name its start page with --url, or add it to brands.yaml."
        )
    fields = base.model_dump(exclude={"name"}) if base else {}
    return make_brand(target.brand, fields | target.changes(), settings.crawl)


def resolve_all(settings: Settings, catalog: Catalog, names: Sequence[str]) -> list[BrandConfig]:
    """The named brands, or every known one when none is named."""
    if names:
        return [resolve(settings, catalog, Target(name)) for name in names]
    return list(known(settings, catalog).values())


def _saved(settings: Settings, catalog: Catalog, name: str) -> BrandConfig:
    return make_brand(name, catalog.brand(name), settings.crawl, source="saved configuration, ")
