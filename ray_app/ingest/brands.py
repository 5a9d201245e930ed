"""Brands as data: what ``brands.yaml`` says about each site, checked, and the scope that follows from it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import AfterValidator, BaseModel, ConfigDict, Field, SecretStr, ValidationError

from ray_app.config import CrawlSettings, secret
from ray_app.errors import BadUrl, ConfigError
from ray_app.ingest.clean import names
from ray_app.ingest.page.content import check_selector
from ray_app.ingest.urls import authority, normalise, parse_host, path_of

SLUG = re.compile(r"[a-z0-9][a-z0-9_-]{0,63}")  # becomes a folder, a collection and a metric label

# Endings that never hold HTML or a manual; anything else is asked for and judged by its media type.
BINARY_ENDINGS = frozenset(
    f".{ending}"
    for kind in (
        "avif bmp gif heic ico jpeg jpg png svg tif tiff webp psd eps",
        "aac flac m4a mid mp3 ogg opus wav wma",
        "avi flv m4v mkv mov mp4 mpeg mpg ogv webm wmv",
        "7z apk bz2 cab deb dmg exe gz img iso jar msi pkg rar rpm tar tgz whl xz zip zst",
        "css eot js map mjs otf ttf wasm woff woff2",
        "bin dll doc docx dwg hex odp ods odt ppt pptx so step stl xls xlsx",
    )
    for ending in kind.split()
)

_TOKEN = re.compile(r"[!#$%&'*+.^_`|~0-9A-Za-z-]{1,100}")  # RFC 9110, 5.6.2
# What the crawler itself sends, or what would change the meaning of the request.
_OWN_HEADERS = names(
    "accept accept-encoding connection content-length content-type cookie expect host if-match if-modified-since "
    "if-none-match if-range if-unmodified-since keep-alive proxy-authorization range te trailer transfer-encoding "
    "upgrade user-agent"
)

_DEFAULTS = CrawlSettings.model_validate({})
# What a brand may set for itself; without that the crawl settings in force hold.
_FROM_SETTINGS = ("max_pages", "max_depth", "rate", "user_agent")


def _slug(value: str) -> str:
    if not SLUG.fullmatch(value):
        raise ValueError("must be 1-64 of a-z, 0-9, _ and -, starting with a letter or digit")
    return value


def _start_url(value: str) -> str:
    try:
        return normalise(value)
    except BadUrl as error:
        raise ValueError(error.message) from None


def _host(value: str) -> str:
    try:
        host, port = parse_host(value)
    except BadUrl as error:
        raise ValueError(error.message) from None
    return host if port is None else f"{host}:{port}"


def _pattern(value: str) -> str:
    try:
        re.compile(value)
    except re.error as error:
        raise ValueError(f"is not a regular expression: {error}") from None
    return value


def _header_text(value: str) -> str:
    if not value.strip() or not value.isascii() or not value.isprintable():
        raise ValueError("must be printable ASCII, for it is sent as a header")
    return value


def _selector(value: str) -> str:
    check_selector(value)
    return value


def _header_name(value: str) -> str:
    if not _TOKEN.fullmatch(value) or value.lower() in _OWN_HEADERS:
        raise ValueError("is not a header that a brand may set")
    return value


def _cookie_name(value: str) -> str:
    if not _TOKEN.fullmatch(value):
        raise ValueError("is not the name of a cookie")
    return value


Selector = Annotated[str, AfterValidator(_selector)]
HeaderName = Annotated[str, AfterValidator(_header_name)]
HeaderValue = Annotated[str, AfterValidator(_header_text)]
CookieName = Annotated[str, AfterValidator(_cookie_name)]
StartUrl = Annotated[str, AfterValidator(_start_url)]
HostEntry = Annotated[str, AfterValidator(_host)]
UrlPattern = Annotated[str, AfterValidator(_pattern)]


class BrandConfig(BaseModel):
    """One brand. Built by ``make_brand`` or ``load_brands``, which fill in the crawl settings in force."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: Annotated[str, AfterValidator(_slug)]
    title: str = Field(default="", max_length=200, description="name shown to people; empty: the brand's own name")
    start_urls: tuple[StartUrl, ...] = Field(min_length=1, description="where the crawl begins")
    hosts: tuple[HostEntry, ...] = Field(
        default=(), description="further hosts (host or host:port) that belong to the site"
    )
    include: tuple[UrlPattern, ...] = Field(
        default=(), description="regular expressions; a URL must match one, if any are set"
    )
    exclude: tuple[UrlPattern, ...] = Field(
        default=(), description="regular expressions; a URL that matches one is left out"
    )
    max_pages: int = Field(default=_DEFAULTS.max_pages, ge=1, description="pages fetched in one cycle")
    max_depth: int = Field(default=_DEFAULTS.max_depth, ge=0, description="links away from a start URL")
    rate: float = Field(default=_DEFAULTS.rate, ge=0, description="requests per second to one host; 0: no pause")
    user_agent: Annotated[str, AfterValidator(_header_text)] = Field(
        default=_DEFAULTS.user_agent, description="User-Agent"
    )
    lang: str = Field(default="", pattern=r"^([a-z]{2,3})?$", description="language of the site; empty: found per page")
    allow_hosts: tuple[HostEntry, ...] = Field(default=(), description="private hosts the crawler may connect to")
    sitemaps: bool = Field(default=True, description="read the sitemaps that robots.txt names, or /sitemap.xml")
    content: tuple[Selector, ...] = Field(
        default=(), description="CSS selectors of what is read of a page; none, or none that match: found by itself"
    )
    remove: tuple[Selector, ...] = Field(default=(), description="CSS selectors of what is left out of every page")
    headers: dict[HeaderName, HeaderValue] = Field(
        default={}, description="headers sent to the hosts of the start URLs; env:NAME and file:PATH name secrets"
    )
    cookies: dict[CookieName, HeaderValue] = Field(default={}, description="cookies sent there, likewise")
    render: Literal["off", "auto", "always"] = Field(
        default="off", description="read pages through a browser: never, when they are empty without scripts, always"
    )

    def secret_headers(self) -> tuple[tuple[str, SecretStr], ...]:
        """The headers and cookies with their values, read from where they lie. Raises ConfigError."""
        found = {name: secret(value) for name, value in self.headers.items()}
        if self.cookies:
            pairs = (f"{name}={secret(value).get_secret_value()}" for name, value in self.cookies.items())
            found["Cookie"] = SecretStr("; ".join(pairs))
        return tuple(found.items())


class DocumentBrand(BrandConfig):
    """A brand without a site, whose documents are handed over (see ``handed``). Nothing of it is crawled."""

    start_urls: tuple[StartUrl, ...] = ()


def make_brand(
    name: str, fields: Mapping[str, Any], crawl: CrawlSettings, source: str = "", *, site: bool = True
) -> BrandConfig:
    """A checked brand; fields it leaves out come from ``crawl``, whose allowed hosts it always shares.

    ``site``: it must have start URLs. Raises ConfigError naming ``source``, the brand and each wrong field.
    """
    given = {key: getattr(crawl, key) for key in _FROM_SETTINGS} | dict(fields)
    kind = BrandConfig if site else DocumentBrand
    try:
        brand = kind(**(given | {"name": name}))
        allowed = tuple(dict.fromkeys((*map(_host, crawl.allow_hosts), *brand.allow_hosts)))
    except ValidationError as error:
        raise ConfigError(_explain(source, name, error)) from None
    except ValueError as error:
        raise ConfigError(f"crawl.allow_hosts: {error}") from None
    return brand.model_copy(update={"allow_hosts": allowed})


def own_fields(name: str, fields: Mapping[str, Any], source: str = "") -> dict[str, Any]:
    """Just these fields of a brand, checked and as JSON, without what settings add. Raises ConfigError."""
    return make_brand(name, fields, _DEFAULTS, source).model_dump(mode="json", include=set(fields))


def load_brands(path: Path, crawl: CrawlSettings | None = None) -> dict[str, BrandConfig]:
    """The brands of a YAML file ``brands: {name: {start_urls: [...], ...}}``, by name.

    Raises ConfigError naming the file, the brand and the field.
    """
    limits = crawl or _DEFAULTS
    return {name: make_brand(name, fields, limits, source=f"{path}: ") for name, fields in read_brands(path).items()}


def read_brands(path: Path) -> dict[str, dict[str, Any]]:
    """The fields that the file gives each brand, not yet checked. Raises ConfigError when they are no fields at all."""
    entries = _entries(path)
    for name, fields in entries.items():
        if not isinstance(name, str) or not isinstance(fields, dict) or not all(isinstance(k, str) for k in fields):
            raise ConfigError(f"{path}: brand {name!r} must be a name (quote numbers) with fields under it.")
    return entries


def _entries(path: Path) -> dict[Any, Any]:
    try:
        tree = yaml.safe_load(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise ConfigError(f"{path}: cannot be read ({error.strerror}).") from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ConfigError(f"{path}: is not valid YAML: {' '.join(str(error).split())}") from None
    if not isinstance(tree, dict) or set(tree) != {"brands"} or not isinstance(tree["brands"], dict):
        raise ConfigError(f"{path}: must hold one key, 'brands', with the brands by name under it.")
    return tree["brands"]


def _explain(source: str, name: str, error: ValidationError) -> str:
    lines = [
        f"{'.'.join(map(str, e['loc']))}: {e['msg']}" for e in error.errors(include_input=False, include_url=False)
    ]
    return f"{source}brand {name!r}: " + "; ".join(lines)


class Scope:
    """Which URLs belong to a brand's crawl: the sites of its start URLs (with and without ``www.``) and ``hosts``."""

    def __init__(self, config: BrandConfig, crawl: CrawlSettings | None = None) -> None:
        self._max_url_length = (crawl or _DEFAULTS).max_url_length
        self._max_depth = config.max_depth
        self.sites = frozenset(_sites(config))  # hosts, as ``urls.authority`` spells them
        self._starts = frozenset(config.start_urls)
        self._include = [re.compile(pattern) for pattern in config.include]
        self._exclude = [re.compile(pattern) for pattern in config.exclude]

    def judge(self, url: str, depth: int) -> str:
        """ "" when a normalised URL is to be crawled, else why not: url_too_long, scope, depth or media_type."""
        if len(url) > self._max_url_length:
            return "url_too_long"
        if not self.covers(url):
            return "scope"
        if depth > self._max_depth:
            return "depth"
        return "media_type" if is_binary(url) else ""

    def covers(self, url: str) -> bool:
        """Whether a normalised URL belongs to the brand's site, however deep it lies."""
        if authority(url) not in self.sites:
            return False
        if any(pattern.search(url) for pattern in self._exclude):
            return False
        # A start URL is often the home page, which leads to the included part without being in it.
        return not self._include or url in self._starts or any(pattern.search(url) for pattern in self._include)


def is_binary(url: str) -> bool:
    """Whether the ending of a normalised URL's path says that it holds no text to index."""
    name = path_of(url).rpartition("/")[2]
    dot = name.rfind(".")
    return dot >= 0 and name[dot:].lower() in BINARY_ENDINGS


def _sites(config: BrandConfig) -> list[str]:
    sites = [authority(url) for url in config.start_urls]
    sites += [site.removeprefix("www.") if site.startswith("www.") else f"www.{site}" for site in sites]
    return sites + [entry.removesuffix(":80").removesuffix(":443") for entry in config.hosts]
