"""The gate to the network: the crawler connects to public addresses and to hosts a person has allowed, nothing else.

Every request passes ``Guard.check_url`` (scheme, port, literal addresses). Names are judged where they are
resolved: ``GuardedResolver`` is the only resolver of the connection pool and hands out checked addresses only,
so the address that was checked is the address that is connected to. There is no second lookup to poison:
aiohttp's DNS cache and its kept-alive connections hold nothing but what this resolver returned, and a pool
belongs to one Guard, so what one brand is allowed never leaks to another. Redirects are not followed by the
pool; each hop is a request of its own and passes here again.
"""

from __future__ import annotations

import asyncio
import functools
import socket
from collections.abc import Iterable, Sequence
from ipaddress import IPv4Address, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final

from aiohttp.abc import AbstractResolver, ResolveResult

from ray_app.errors import BadUrl, BlockedAddress, ConfigError
from ray_app.ingest.urls import host_and_port, origin, parse_host

IPAddress = IPv4Address | IPv6Address

# Where web servers listen. Other ports reach mail, database and cache servers that may obey an HTTP request.
WEB_PORTS: Final = frozenset((80, 443, 8000, 8008, 8080, 8081, 8443, 8888))

# Each request passes here twice, nearly always to an origin that has just passed.
ORIGINS_REMEMBERED = 1_024

# Reserved, but taken for global by the ipaddress of Python 3.11 (IANA special-purpose registries, 2024).
_EXTRA_RESERVED = tuple(ip_network(n) for n in ("192.0.0.0/24", "192.88.99.0/24", "3fff::/20"))
# Where clouds give credentials and settings to their machines. One is a public address (Azure's wire server), the rest
# are private ones that an allowed name could be pointed at; no site and no intranet lives at any of them.
_METADATA = frozenset(
    ip_address(a)
    for a in (
        "169.254.169.254",  # AWS, Google, Azure, Oracle, DigitalOcean and others
        "169.254.170.2",  # AWS, credentials of containers
        "169.254.170.23",
        "168.63.129.16",  # Azure wire server
        "100.100.100.200",  # Alibaba
        "192.0.0.192",  # Oracle
        "fd00:ec2::254",  # AWS
        "fd00:ec2::23",
        "fd20:ce::254",  # Google
        "fe80::a9fe:a9fe",  # OpenStack
    )
)
_GLOBAL_UNICAST = IPv6Network("2000::/3")  # IANA hands out addresses from nowhere else
_NAT64 = IPv6Network("64:ff9b::/96")  # RFC 6052; networks without IPv4 reach it through these
_TEREDO = IPv6Network("2001::/32")
_ISATAP = (0x00005EFE, 0x02005EFE)  # RFC 5214: an interface id of this and an IPv4 address
_BLOCKED = "The address is not one the crawler may connect to."  # opaque: it must not tell what was resolved


class Guard:
    """What one brand or task may connect to.

    ``allow_hosts`` entries are ``host`` (any port) or ``host:port``. They admit the name they give and not other
    names for the same address, or any public name could be pointed at it. Metadata services stay out of reach
    whatever is allowed. Raises ConfigError for a bad entry.
    """

    def __init__(self, allow_hosts: Iterable[str] = ()) -> None:
        self._allowed = frozenset(_entry(text) for text in allow_hosts)
        self._check_origin = functools.lru_cache(ORIGINS_REMEMBERED)(self._check_unseen)  # errors are not remembered

    def check_url(self, url: str) -> None:
        """Refuse a normalised URL by its scheme, its port or its literal address. Raises BlockedAddress."""
        if not url.startswith(("http://", "https://")):
            raise BlockedAddress(_BLOCKED)
        self._check_origin(origin(url))

    def _check_unseen(self, site: str) -> None:
        host, port = host_and_port(site)
        address = _literal(host)
        if address is not None and _is_metadata(address):
            raise BlockedAddress(_BLOCKED)
        if self.is_allowed(host, port):
            return
        if port not in WEB_PORTS or is_loopback_name(host):
            raise BlockedAddress(_BLOCKED)
        if address is not None and not is_public(address):
            raise BlockedAddress(_BLOCKED)

    def is_allowed(self, host: str, port: int) -> bool:
        """Whether a person has allowed this host, IPv6 without brackets, on this port."""
        return (host, None) in self._allowed or (host, port) in self._allowed

    def check_answers(self, host: str, port: int, addresses: Sequence[str]) -> None:
        """Refuse a name if any of its addresses is out of bounds: mixed answers are how rebinding begins."""
        bounds = is_reachable if self.is_allowed(host, port) else is_public
        if not addresses or not all(bounds(ip_address(address)) for address in addresses):
            raise BlockedAddress(_BLOCKED)


class GuardedResolver(AbstractResolver):
    """Resolves names through the system and lets only checked addresses out."""

    def __init__(self, guard: Guard, timeout_s: float) -> None:
        self._guard = guard
        self._timeout_s = timeout_s

    async def resolve(
        self, host: str, port: int = 0, family: socket.AddressFamily = socket.AF_UNSPEC
    ) -> list[ResolveResult]:
        """Every address of ``host``. Raises BlockedAddress, OSError if the name has none, TimeoutError."""
        answers = await self._look_up(host, port, family)
        self._guard.check_answers(host.rstrip("."), port, [address for _, address in answers])
        return [
            ResolveResult(
                hostname=host,
                host=address,
                port=port,
                family=answer_family,
                proto=socket.IPPROTO_TCP,
                flags=socket.AI_NUMERICHOST | socket.AI_NUMERICSERV,
            )
            for answer_family, address in answers
        ]

    async def close(self) -> None:
        """Nothing to give back."""

    async def _look_up(self, host: str, port: int, family: int) -> list[tuple[int, str]]:
        loop = asyncio.get_running_loop()
        try:
            async with asyncio.timeout(self._timeout_s):
                infos = await loop.getaddrinfo(
                    host, port, type=socket.SOCK_STREAM, family=family, flags=socket.AI_ADDRCONFIG
                )
        except UnicodeError:  # a label over 63 characters
            raise socket.gaierror(socket.EAI_NONAME, "not a host name") from None
        return [(info[0], str(info[4][0])) for info in infos if info[0] in (socket.AF_INET, socket.AF_INET6)]


def is_public(address: IPAddress) -> bool:
    """Whether anybody on the internet could connect to ``address``, whatever IPv4 address it hides."""
    if _is_metadata(address):
        return False
    if isinstance(address, IPv6Address):
        embedded = _embedded(address)
        carrier = address in _NAT64 or address.ipv4_mapped is not None
        if not carrier and not _is_global(address):
            return False
        return all(_is_global(inner) for inner in embedded)
    return _is_global(address)


def is_reachable(address: IPAddress) -> bool:
    """Whether an allowed name may lead to ``address``: intranets and loopback yes, cloud metadata and groups no."""
    if _is_metadata(address):
        return False
    return not any(
        one.is_link_local or one.is_multicast or one.is_unspecified or one == IPv4Address("255.255.255.255")
        for one in _forms(address)
    )


def is_loopback_name(host: str) -> bool:
    """Names that mean this machine by definition (RFC 6761), whatever a resolver says."""
    return host == "localhost" or host.endswith(".localhost")


def _is_global(address: IPAddress) -> bool:
    if not address.is_global or address.is_multicast or any(address in network for network in _EXTRA_RESERVED):
        return False
    return address in _GLOBAL_UNICAST if isinstance(address, IPv6Address) else not address.is_reserved


def _is_metadata(address: IPAddress) -> bool:
    return any(one in _METADATA for one in _forms(address))


def _forms(address: IPAddress) -> list[IPAddress]:
    """The address, without its zone, and the IPv4 addresses in it."""
    if isinstance(address, IPv4Address):
        return [address]
    return [IPv6Address(int(address)), *_embedded(address)]


def _embedded(address: IPv6Address) -> list[IPv4Address]:
    """The IPv4 addresses that a gateway or the kernel would make of ``address``."""
    value = int(address)
    low = IPv4Address(value & 0xFFFFFFFF)
    found = [a for a in (address.ipv4_mapped, address.sixtofour) if a is not None]
    if address in _NAT64 or (value >> 32) & 0xFFFFFFFF in _ISATAP:
        found.append(low)
    if address in _TEREDO and address.teredo:
        found += address.teredo
    return found


def _literal(host: str) -> IPAddress | None:
    try:
        return ip_address(host)
    except ValueError:
        return None


def _entry(text: str) -> tuple[str, int | None]:
    try:
        host, port = parse_host(text)
    except BadUrl as error:
        raise ConfigError(f"allow_hosts: {error.message}") from None
    return host.strip("[]"), port
