"""Which brands a job or command works on, and what is kept of what it says about them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from ray_app.config import Settings
from ray_app.errors import ConfigError, InputError, UnknownBrand
from ray_app.ingest.brands import BrandConfig, Scope, load_brands, make_brand, own_fields, read_brands
from ray_app.ingest.urls import normalise
from ray_app.observe.log import get_logger
from ray_app.records import REASONS
from ray_app.store.catalog import Catalog
from ray_app.store.tombstones import gone_error

log = get_logger(__name__)

# Rows that Backline 0.1 saved hold every field, these with what held for the run that wrote them.
_OF_A_RUN = ("max_pages", "max_depth", "rate", "user_agent")


@dataclass(frozen=True, slots=True)
class Target:
    """What a caller says about one brand for one run; empty fields leave the brand's own configuration as it is."""

    brand: str
    urls: tuple[str, ...] = ()  # where a new brand begins; of a known one, what is looked at beside its start URLs
    allow_hosts: tuple[str, ...] = ()  # beside the brand's own
    max_pages: int | None = None
    max_depth: int | None = None
    rate: float | None = None

    def limits(self) -> dict[str, Any]:
        """The limits that are set, by their names in BrandConfig."""
        given = {"max_pages": self.max_pages, "max_depth": self.max_depth, "rate": self.rate}
        return {name: value for name, value in given.items() if value is not None}

    def each(self, brands: Sequence[str]) -> list[Target]:
        """The same said about each of these brands. Raises InputError when that would share URLs among several."""
        if self.urls and len(brands) > 1:
            raise InputError("--url goes with a single --brand.")
        return [replace(self, brand=brand) for brand in brands]


@dataclass(frozen=True, slots=True)
class Order:
    """One brand as one run works on it."""

    config: BrandConfig  # with the settings in force and what the caller said
    own: Mapping[str, Any]  # what the brand says itself, as JSON
    configured: bool = False  # brands.yaml says so
    also: tuple[str, ...] = ()  # URLs that this run looks at beside the start URLs
    receipt: str = ""  # of the brand's tombstone when this run was planned; "": there was none

    @classmethod
    def of(cls, config: BrandConfig) -> Order:
        """For a brand that nothing but this configuration tells about."""
        return cls(config, config.model_dump(mode="json", include={"start_urls", "allow_hosts"}))


def configured(settings: Settings) -> dict[str, BrandConfig]:
    """The brands of brands.yaml, if there is one. Raises ConfigError."""
    path = _file(settings)
    return load_brands(path, settings.crawl) if path else {}


def known(settings: Settings, catalog: Catalog) -> dict[str, BrandConfig]:
    """Every brand by name: those once crawled, with brands.yaml on top. Without what was forgotten on request.

    A brand whose saved configuration no longer holds is left out, loudly: it must not stop the others. Raises
    ConfigError for brands.yaml.
    """
    listed = configured(settings)
    saved: dict[str, BrandConfig] = {}
    for name in catalog.brands():
        try:
            saved[name] = listed.get(name) or _from_catalog(settings, catalog, name)
        except ConfigError as error:
            log.error("brand_left_out", brand=name, error=str(error))
    gone = catalog.forgotten().keys() - saved.keys()
    return {name: brand for name, brand in (saved | listed).items() if name not in gone}


def find(settings: Settings, catalog: Catalog, name: str) -> BrandConfig | None:
    """One brand as ``known`` has it, whatever is wrong with others; None for one that nobody knows. ConfigError."""
    path = _file(settings)
    listed = read_brands(path) if path else {}
    if name in listed:
        return make_brand(name, listed[name], settings.crawl, f"{path}: ")
    return _from_catalog(settings, catalog, name) if name in catalog.brands() else None


def _from_catalog(settings: Settings, catalog: Catalog, name: str) -> BrandConfig:
    return make_brand(name, _saved(catalog, name), settings.crawl, "saved configuration, ", site=False)


def resolve(settings: Settings, catalog: Catalog, target: Target) -> Order:
    """One brand with what the caller says about it. Raises UnknownBrand, ConfigError, InputError.

    A brand that was forgotten on request begins anew with ``target.urls``, but not while brands.yaml lists it: a
    schedule that runs every night must not bring back what somebody asked to forget.
    """
    return resolve_all(settings, catalog, [target])[0]


def resolve_all(settings: Settings, catalog: Catalog, targets: Sequence[Target]) -> list[Order]:
    """See ``resolve``."""
    path = _file(settings)
    in_file = read_brands(path) if path else {}
    receipts, saved = catalog.forgotten(), frozenset(catalog.brands())
    orders = []
    for target in targets:
        gone = target.brand in receipts and target.brand not in saved
        if gone and target.brand in in_file:
            raise _forgotten_but_listed(target.brand, path)
        if gone and not target.urls:
            raise gone_error(target.brand)
        if target.brand in in_file:
            own = own_fields(target.brand, in_file[target.brand], f"{path}: ")
            orders.append(_known(settings, target, own, configured=True))
        elif target.brand in saved and not (target.urls and not _saved(catalog, target.brand).get("start_urls")):
            orders.append(_known(settings, target, _saved(catalog, target.brand), configured=False))
        else:
            orders.append(_new(settings, target))
    return [replace(order, receipt=receipts.get(order.config.name, "")) for order in orders]


def _forgotten_but_listed(brand: str, path: Path | None) -> InputError:
    return InputError(
        f"The brand {brand} was forgotten on request, and {path} still lists it.",
        hint=f"Take it out of the file, or let it in again: `backline forget --lift --brand {brand}`.",
    )


def remember(catalog: Catalog, order: Order, fence: int | None = None) -> None:
    """Keep what the brand says itself, for commands that only name it. Call this under the brand's lease.

    Raises LeaseLost when the brand was forgotten since the order was made.

    What was said of it for one run is not kept, nor is what settings say, which holds while they say it. A brand that
    is known already stays as it is unless brands.yaml says otherwise.
    """
    name = order.config.name
    if order.configured or name not in catalog.brands() or not catalog.brand(name).get("start_urls"):
        catalog.save_brand(order.config.name, order.own, fence, order.receipt)


def _new(settings: Settings, target: Target) -> Order:
    if not target.urls:
        raise UnknownBrand(
            f"No brand is called {target.brand!r}.", hint="Name its start page with --url, or add it to brands.yaml."
        )
    own = own_fields(target.brand, {"start_urls": target.urls, "allow_hosts": target.allow_hosts})
    return Order(make_brand(target.brand, own | target.limits(), settings.crawl), own)


def _known(settings: Settings, target: Target, own: Mapping[str, Any], *, configured: bool) -> Order:
    hosts = (*own.get("allow_hosts", ()), *target.allow_hosts)
    fields = {**own, **target.limits(), "allow_hosts": hosts}
    config = make_brand(target.brand, fields, settings.crawl, site=configured)
    return Order(config, own, configured, _also(config, target.urls, settings))


def _also(config: BrandConfig, urls: Sequence[str], settings: Settings) -> tuple[str, ...]:
    """The URLs that are not start URLs anyway. Raises BadUrl, and InputError for those that the brand leaves out."""
    scope = Scope(config, settings.crawl)
    wanted = [url for url in dict.fromkeys(map(normalise, urls)) if url not in config.start_urls]
    for url in wanted:
        if reason := scope.judge(url, 0):
            raise InputError(
                f"{url} is left out of the brand {config.name!r}: {REASONS[reason]}.",
                hint=f"The brand is known and begins at {', '.join(config.start_urls)}; to crawl another site, give it "
                "another name. brands.yaml can change its start_urls, hosts, include and exclude.",
            )
    return tuple(wanted)


def _saved(catalog: Catalog, name: str) -> dict[str, Any]:
    fields = catalog.brand(name)
    if "name" not in fields:
        return fields
    return {field: value for field, value in fields.items() if field not in ("name", *_OF_A_RUN)}


def _file(settings: Settings) -> Path | None:
    """brands.yaml; None when there is none and nobody named one."""
    path = Path(settings.brands_file or "brands.yaml").expanduser()
    return path if settings.brands_file or path.exists() else None
