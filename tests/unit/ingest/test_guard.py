"""Nothing private is reachable, however it is spelt; what a person allows is, and nothing beside it."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import Any

import aiohttp
import pytest

from ray_app.errors import BadUrl, BlockedAddress, ConfigError
from ray_app.ingest.guard import Guard, GuardedResolver, is_public, is_reachable
from ray_app.ingest.urls import authority, normalise

# Each is refused either before parsing (BadUrl) or by the guard (BlockedAddress), and never let through.
PAYLOADS = {
    "loopback": [
        "http://127.0.0.1/",
        "http://127.1/",
        "http://127.0.1/",
        "http://127.255.255.254/",
        "http://127.0.0.1:8080/",
        "http:127.0.0.1/",
        "http:/127.0.0.1/",
        "http:////127.0.0.1/",
        "//127.0.0.1/",
        "http://localhost/",
        "http://LOCALHOST/",
        "http://localhost:8000/",
        "http://a.localhost/",
        "http://ⓛocalhost/",
        "http://[::1]/",
        "http://[0:0:0:0:0:0:0:1]/",
        "http://[::1]:443/",
    ],
    "numbers": [
        "http://2130706433/",
        "http://017700000001/",
        "http://0177.0.0.1/",
        "http://0177.0.0.01/",
        "http://00000000177.0.0.1/",
        "http://0x7f000001/",
        "http://0x7F000001/",
        "http://0x7f.0x0.0x0.0x1/",
        "http://0x7f.1/",
        "http://127.0.0x1/",
        "http://2852039166/",
        "http://0xa9fea9fe/",
        "http://0251.0376.0251.0376/",
        "http://169.254.43518/",
        "http://169.16689662/",
        "http://4294967296/",
        "http://1.2.3.4.5/",
    ],
    "unspecified": ["http://0/", "http://0.0.0.0/", "http://0.1.2.3/", "http://00/", "http://[::]/", "http://[0::0]/"],
    "private": [
        "http://10.0.0.1/",
        "http://10.255.255.255/",
        "http://172.16.0.1/",
        "http://172.31.255.255/",
        "http://192.168.1.1/",
        "http://3232235777/",
        "http://[fc00::1]/",
        "http://[fd12:3456:789a::1]/",
        "http://[fec0::1]/",
    ],
    "link-local": ["http://169.254.0.1/", "http://[fe80::1]/", "http://[fe80::1%25eth0]/", "http://[febf::1]/"],
    "metadata": [
        "http://169.254.169.254/latest/meta-data/",
        "http://169.254.169.254./latest/",
        "http://169.254.170.2/v2/credentials",
        "http://168.63.129.16/machine?comp=goalstate",
        "http://2822734096/",
        "http://100.100.100.200/latest/meta-data/",
        "http://192.0.0.192/opc/v1/",
        "http://[fd00:ec2::254]/latest/",
        "http://[fd20:ce::254]/",
        "http://[fe80::a9fe:a9fe]/",
        "http://[::ffff:168.63.129.16]/",
        "http://[64:ff9b::168.63.129.16]/",
    ],
    "special": [
        "http://100.64.0.1/",
        "http://100.127.255.255/",
        "http://192.0.0.8/",
        "http://192.0.2.1/",
        "http://192.88.99.1/",
        "http://198.18.0.1/",
        "http://198.19.255.255/",
        "http://198.51.100.7/",
        "http://203.0.113.5/",
        "http://224.0.0.1/",
        "http://239.255.255.250/",
        "http://240.0.0.1/",
        "http://255.255.255.255/",
        "http://[ff02::1]/",
        "http://[ff0e::1]/",
        "http://[2001:db8::1]/",
        "http://[2001:2::1]/",
        "http://[2001:10::1]/",
        "http://[2001:20::1]/",
        "http://[ff05::2]/",
        "http://[3fff::1]/",
        "http://[100::1]/",
        "http://[5f00::1]/",
        "http://[4000::1]/",
    ],
    "v4 in v6": [
        "http://[::ffff:127.0.0.1]/",
        "http://[::ffff:10.0.0.1]/",
        "http://[::ffff:a9fe:a9fe]/",
        "http://[::FFFF:7F00:1]/",
        "http://[0:0:0:0:0:ffff:127.0.0.1]/",
        "http://[::ffff:0:7f00:1]/",
        "http://[::ffff:0:0]/",
        "http://[::127.0.0.1]/",
        "http://[::7f00:1]/",
        "http://[::a9fe:a9fe]/",
        "http://[64:ff9b::a9fe:a9fe]/",
        "http://[64:ff9b::10.0.0.1]/",
        "http://[64:ff9b::127.0.0.1]/",
        "http://[64:ff9b:1::1]/",
        "http://[64:ff9b:1:a9fe:a9:fe00::]/",
        "http://[2002:a9fe:a9fe::]/",
        "http://[2002:7f00:1::]/",
        "http://[2002:c0a8:101::1]/",
        "http://[2001:0:7f00:1::]/",
        "http://[2001:0:5db8:d822::f5ff:fffe]/",
        "http://[2607:f8b0::5efe:10.0.0.1]/",
        "http://[2607:f8b0::200:5efe:169.254.169.254]/",
    ],
    "disguised names": [
        "http://127.0.0.1./",
        "http://127.0.0.1../",
        "http://localhost./",
        "http://localhost../",
        "http://.localhost/",
        "http://%31%32%37.0.0.1/",
        "http://127%2e0%2e0%2e1/",
        "http://%6c%6f%63%61%6c%68%6f%73%74/",
        "http://%5b::1%5d/",
        "http://127.0.0.1%00.example.com/",
        "http://127.0.0.1%23.example.com/",
        "http://example.com%2f@127.0.0.1/",
        "http://１２７.0.0.1/",
        "http://127。0。0。1/",
        "http://127．0．0．1/",
        "http://127｡0｡0｡1/",
        "http://①②⑦.0.0.1/",
        "http://loc\u00adalhost/",
        "http://ex\u0430mple.com/",
        "http://xn--80ak6aa92e.com/",
        "http://\u0440\u0430\u0443\u0440\u0430\u04cf.com/",
        "http://g\u03bf\u03bfgle.com/",
    ],
    "user names": [
        "http://user@93.184.216.34/",
        "http://93.184.216.34@127.0.0.1/",
        "http://93.184.216.34:80@127.0.0.1/",
        "http://93.184.216.34%2f@127.0.0.1/",
        "http://@127.0.0.1/",
        "http://a:b@c@127.0.0.1/",
    ],
    "backslashes": [
        "http://127.0.0.1:6666\\@1.1.1.1/",
        "http://1.1.1.1\\@127.0.0.1/",
        "http:\\\\127.0.0.1\\",
        "http:/\\/127.0.0.1/",
        "http://1.1.1.1\\.example.com/",
        "\\\\127.0.0.1\\share",
    ],
    "control characters": [
        "http://127.0.0.1\r\n.example.com/",
        "http://example.com/\r\nHost: 127.0.0.1",
        "http://example.com/%0d\nHost: 127.0.0.1",
        "http://exam\tple.com/",
        "http://127.0.0.1\x00.example.com/",
        "http://example.com\x0b/",
        "http://example.com/\x85",
        "http://example.com/\u2028x",
        "ht\ntp://127.0.0.1/",
    ],
    "ports": [
        *(f"http://93.184.216.34:{port}/" for port in (0, 1, 21, 22, 23, 25, 53, 110, 143, 445, 465, 587, 993)),
        *(f"http://93.184.216.34:{port}/" for port in (1433, 2375, 2379, 3306, 3389, 5432, 5900, 6379, 6443, 9200)),
        "http://example.com:11211/",
        "http://example.com:27017/",
        "https://example.com:10250/",
        "http://93.184.216.34:00022/",
        "http://93.184.216.34:80:22/",
        "http://93.184.216.34:0x16/",
        "http://example.com:65536/",
        "http://example.com:-80/",
        "http://example.com:٨٠/",
    ],
    "schemes": [
        "file:///etc/passwd",
        "file://127.0.0.1/etc/passwd",
        "ftp://93.184.216.34/",
        "gopher://127.0.0.1:6379/_INFO",
        "dict://127.0.0.1:11211/stats",
        "ldap://127.0.0.1/",
        "tftp://127.0.0.1/x",
        "ws://127.0.0.1/",
        "jar:http://127.0.0.1!/",
        "view-source:http://127.0.0.1/",
        "blob:http://127.0.0.1/x",
        "netdoc:///etc/passwd",
        "data:text/html,hello",
        "javascript:alert(1)",
    ],
}


@pytest.mark.parametrize("url", [pytest.param(url, id=f"{g}-{url!r}") for g, urls in PAYLOADS.items() for url in urls])
def test_payload_is_refused(url: str) -> None:
    with pytest.raises((BadUrl, BlockedAddress)):
        Guard().check_url(normalise(url))


@pytest.mark.parametrize("url", [url for urls in PAYLOADS.values() for url in urls])
def test_payload_is_refused_as_the_target_of_a_link(url: str) -> None:
    """Resolved against a page, some are paths of that page's own site: those may pass, nothing else may."""
    page = "https://www.example.com/docs/"
    try:
        target = normalise(url, page)
        Guard().check_url(target)
    except (BadUrl, BlockedAddress):
        return
    assert authority(target) == "www.example.com"


@pytest.mark.parametrize(
    "url",
    [
        "http://93.184.216.34/",
        "https://example.com/",
        "https://example.com:8443/a",
        "http://localhost.example.com/",
        "http://[2606:2800:220:1:248:1893:25c8:1946]/",
        "http://[::ffff:93.184.216.34]/",
        "http://[64:ff9b::93.184.216.34]/",
        "http://[2002:5db8:d822::1]/",
        "http://1.1.1.1./",
        "http://168.63.129.17/",
        "http://172.32.0.1/",
        "http://100.128.0.1/",
        "https://xn--bcher-kva.example/",
    ],
)
def test_public_is_let_through(url: str) -> None:
    Guard().check_url(normalise(url))


def test_the_error_does_not_tell_what_was_found() -> None:
    with pytest.raises(BlockedAddress) as caught:
        Guard().check_url("http://169.254.169.254/")
    assert "169" not in str(caught.value)


def test_schemes_are_checked_even_without_normalising() -> None:
    with pytest.raises(BlockedAddress):
        Guard().check_url("ftp://example.com/")


class TestAllowHosts:
    def test_host_with_a_port_admits_that_port_only(self) -> None:
        guard = Guard(["127.0.0.1:8080"])
        guard.check_url("http://127.0.0.1:8080/")
        for url in ("http://127.0.0.1/", "http://127.0.0.1:8081/", "http://[::1]:8080/", "http://localhost:8080/"):
            with pytest.raises(BlockedAddress):
                guard.check_url(url)

    def test_host_without_a_port_admits_any(self) -> None:
        guard = Guard(["127.0.0.1", "Intranet.Example."])
        guard.check_url("http://127.0.0.1:6379/")
        guard.check_url(normalise("http://intranet.example:9/"))
        with pytest.raises(BlockedAddress):
            guard.check_url("http://127.0.0.2/")

    def test_other_spellings_are_the_same_host(self) -> None:
        Guard(["2130706433:80"]).check_url(normalise("http://0x7f.1/"))
        Guard(["::1"]).check_url("http://[::1]:8000/")

    def test_an_entry_is_not_a_suffix(self) -> None:
        with pytest.raises(BlockedAddress):
            Guard(["example:9999"]).check_url("http://intranet.example:9999/")

    @pytest.mark.parametrize("entry", ["http://127.0.0.1/", "a b", "", "*", "10.0.0.0/8"])
    def test_bad_entries_are_named(self, entry: str) -> None:
        with pytest.raises(ConfigError, match="allow_hosts"):
            Guard([entry])


METADATA = ["169.254.169.254", "169.254.170.2", "168.63.129.16", "100.100.100.200", "192.0.0.192", "fd00:ec2::254"]
NOBODY = ["fe80::1%2", "fe80::a9fe:a9fe%eth0", "0.0.0.0", "::", "224.0.0.1", "255.255.255.255", "fd20:ce::254"]
EMBEDDED = ["::ffff:169.254.0.1", "::ffff:168.63.129.16", "64:ff9b::a9fe:a9fe", "2002:a9fe:a9fe::1"]


@pytest.mark.parametrize("text", METADATA + NOBODY + EMBEDDED)
def test_even_an_allowed_name_does_not_lead_to_metadata(text: str) -> None:
    assert not is_reachable(ip_address(text))
    assert not is_public(ip_address(text))


@pytest.mark.parametrize("text", METADATA)
def test_metadata_services_cannot_be_allowed(text: str) -> None:
    host = f"[{text}]" if ":" in text else text
    with pytest.raises(BlockedAddress):
        Guard([text]).check_url(f"http://{host}/")


@pytest.mark.parametrize("text", ["127.0.0.1", "::1", "10.0.0.1", "fd12::1", "100.64.0.9", "93.184.216.34"])
def test_an_allowed_name_leads_to_intranets(text: str) -> None:
    assert is_reachable(ip_address(text))


def answering(monkeypatch: pytest.MonkeyPatch, *answers: list[str]) -> list[str]:
    """The system resolver gives these answers, one per call, the last one for ever; returns the names asked for."""
    asked: list[str] = []
    remaining = list(answers)

    async def getaddrinfo(host: str, port: int, **_: Any) -> list[tuple[Any, ...]]:
        asked.append(host)
        addresses = remaining.pop(0) if len(remaining) > 1 else remaining[0]
        families = [socket.AF_INET6 if ":" in a else socket.AF_INET for a in addresses]
        return [(f, socket.SOCK_STREAM, 6, "", (a, port)) for f, a in zip(families, addresses, strict=True)]

    monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
    return asked


class TestResolver:
    async def test_gives_every_public_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answering(monkeypatch, ["93.184.216.34", "2606:2800:220:1:248:1893:25c8:1946"])
        found = await GuardedResolver(Guard(), 1).resolve("example.com", 443)
        assert [(a["host"], a["hostname"], a["port"]) for a in found] == [
            ("93.184.216.34", "example.com", 443),
            ("2606:2800:220:1:248:1893:25c8:1946", "example.com", 443),
        ]

    @pytest.mark.parametrize(
        "addresses",
        [
            ["10.0.0.1"],
            ["93.184.216.34", "127.0.0.1"],
            ["93.184.216.34", "::1"],
            ["2606:2800:220:1:248:1893:25c8:1946", "169.254.169.254"],
            ["93.184.216.34", "168.63.129.16"],
            ["64:ff9b::a9fe:a9fe"],
            ["::ffff:10.0.0.1"],
            ["fe80::1%2"],
            [],
        ],
    )
    async def test_refuses_a_name_for_one_bad_answer(
        self, addresses: list[str], monkeypatch: pytest.MonkeyPatch
    ) -> None:
        answering(monkeypatch, addresses)
        with pytest.raises(BlockedAddress) as caught:
            await GuardedResolver(Guard(), 1).resolve("example.com", 80)
        assert not any(address in str(caught.value) for address in addresses)

    async def test_rebinding_is_refused_at_the_second_look(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answering(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
        resolver = GuardedResolver(Guard(), 1)
        assert [a["host"] for a in await resolver.resolve("rebind.example", 80)] == ["93.184.216.34"]
        with pytest.raises(BlockedAddress):
            await resolver.resolve("rebind.example", 80)

    async def test_what_stands_behind_a_cname_counts(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """The system follows the chain; only the addresses at its end are judged, and none of its names."""
        infos = [(socket.AF_INET, socket.SOCK_STREAM, 6, "cdn.example.net", ("169.254.169.254", 80))]

        async def getaddrinfo(*_: Any, **__: Any) -> list[tuple[Any, ...]]:
            return infos

        monkeypatch.setattr(asyncio.get_running_loop(), "getaddrinfo", getaddrinfo)
        with pytest.raises(BlockedAddress):
            await GuardedResolver(Guard(["cdn.example.net"]), 1).resolve("www.example.com", 80)

    async def test_the_address_that_was_checked_is_connected_to(self, monkeypatch: pytest.MonkeyPatch) -> None:
        """Rebinding: public, then private. The pool connects to the first answer; a second look-up is refused."""
        asked = answering(monkeypatch, ["93.184.216.34"], ["127.0.0.1"])
        connected: list[tuple[str, int]] = []

        async def sock_connect(_: socket.socket, address: tuple[str, int]) -> None:
            connected.append(address[:2])
            raise OSError("no network in tests")

        monkeypatch.setattr(asyncio.get_running_loop(), "sock_connect", sock_connect)
        connector = aiohttp.TCPConnector(resolver=GuardedResolver(Guard(), 1), ttl_dns_cache=60)
        async with aiohttp.ClientSession(connector=connector, trust_env=False) as session:
            for _ in range(2):
                with pytest.raises(aiohttp.ClientConnectorError):
                    await session.get("http://rebind.example/")
            connector.clear_dns_cache()
            with pytest.raises(BlockedAddress):
                await session.get("http://rebind.example/")
        assert set(connected) == {("93.184.216.34", 80)}
        assert asked == ["rebind.example"] * 2

    async def test_an_allowed_name_may_be_private_but_not_metadata(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answering(monkeypatch, ["10.1.2.3"], ["169.254.169.254"])
        resolver = GuardedResolver(Guard(["intranet.example:8080"]), 1)
        assert [a["host"] for a in await resolver.resolve("intranet.example", 8080)] == ["10.1.2.3"]
        with pytest.raises(BlockedAddress):
            await resolver.resolve("intranet.example", 8080)

    async def test_a_public_name_cannot_be_pointed_at_an_allowed_address(self, monkeypatch: pytest.MonkeyPatch) -> None:
        answering(monkeypatch, ["127.0.0.1"])
        with pytest.raises(BlockedAddress):
            await GuardedResolver(Guard(["127.0.0.1:8080"]), 1).resolve("evil.example", 8080)

    async def test_a_name_that_is_too_long_has_no_address(self) -> None:
        with pytest.raises(OSError, match="not a host name"):
            await GuardedResolver(Guard(), 1).resolve("a" * 64 + ".example", 80)
