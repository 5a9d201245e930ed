"""Nothing private is reachable, however it is spelt; what a person allows is, and nothing beside it."""

from __future__ import annotations

import asyncio
import socket
from ipaddress import ip_address
from typing import Any

import pytest

from ray_app.errors import BadUrl, BlockedAddress, ConfigError
from ray_app.ingest.guard import Guard, GuardedResolver, is_public, is_reachable
from ray_app.ingest.urls import normalise

# Each is refused either before parsing (BadUrl) or by the guard (BlockedAddress), and never let through.
PAYLOADS = [
    "http://127.0.0.1/",
    "http://127.1/",
    "http://127.0.1/",
    "http://127.255.255.254/",
    "http://2130706433/",
    "http://017700000001/",
    "http://0177.0.0.1/",
    "http://0x7f000001/",
    "http://0x7f.0x0.0x0.0x1/",
    "http://127.0.0.1./",
    "http://%31%32%37.0.0.1/",
    "http://127%2e0%2e0%2e1/",
    "http://１２７.0.0.1/",
    "http://127。0。0。1/",
    "http://①②⑦.0.0.1/",
    "http://0/",
    "http://0.0.0.0/",
    "http://0.1.2.3/",
    "http://localhost/",
    "http://LOCALHOST/",
    "http://localhost./",
    "http://localhost../",
    "http://a.localhost/",
    "http://ⓛocalhost/",
    "http://10.0.0.1/",
    "http://172.16.0.1/",
    "http://172.31.255.255/",
    "http://192.168.1.1/",
    "http://100.64.0.1/",
    "http://169.254.169.254/latest/meta-data/",
    "http://2852039166/",
    "http://0xa9fea9fe/",
    "http://192.0.0.8/",
    "http://198.18.0.1/",
    "http://203.0.113.5/",
    "http://224.0.0.1/",
    "http://239.255.255.250/",
    "http://240.0.0.1/",
    "http://255.255.255.255/",
    "http://[::]/",
    "http://[::1]/",
    "http://[0:0:0:0:0:0:0:1]/",
    "http://[::ffff:127.0.0.1]/",
    "http://[::ffff:10.0.0.1]/",
    "http://[::ffff:a9fe:a9fe]/",
    "http://[::ffff:0:7f00:1]/",
    "http://[::127.0.0.1]/",
    "http://[::7f00:1]/",
    "http://[64:ff9b::a9fe:a9fe]/",
    "http://[64:ff9b::10.0.0.1]/",
    "http://[64:ff9b:1::1]/",
    "http://[2002:a9fe:a9fe::]/",
    "http://[2002:7f00:1::]/",
    "http://[2001:0:7f00:1::]/",
    "http://[2607:f8b0::5efe:10.0.0.1]/",
    "http://[fe80::1]/",
    "http://[fe80::1%25eth0]/",
    "http://[fec0::1]/",
    "http://[fc00::1]/",
    "http://[fd00:ec2::254]/",
    "http://[ff02::1]/",
    "http://[ff0e::1]/",
    "http://[2001:db8::1]/",
    "http://[3fff::1]/",
    "http://[100::1]/",
    "http://93.184.216.34:22/",
    "http://93.184.216.34:25/",
    "http://93.184.216.34:6379/",
    "http://example.com:11211/",
    "http://user@93.184.216.34/",
    "http://93.184.216.34@127.0.0.1/",
    "http://93.184.216.34:80@127.0.0.1/",
    "http://127.0.0.1:6666\\@1.1.1.1/",
    "http://1.1.1.1\\@127.0.0.1/",
    "http:\\\\127.0.0.1\\",
    "http:/\\/127.0.0.1/",
    "http://127.0.0.1\r\n.example.com/",
    "http://example.com/\r\nHost: 127.0.0.1",
    "http://exam\tple.com/",
    "http://127.0.0.1\x00.example.com/",
    "http://127.0.0.1%00.example.com/",
    "file:///etc/passwd",
    "ftp://93.184.216.34/",
    "gopher://127.0.0.1:6379/_INFO",
    "data:text/html,hello",
    "javascript:alert(1)",
]


@pytest.mark.parametrize("url", PAYLOADS)
def test_payload_is_refused(url: str) -> None:
    with pytest.raises((BadUrl, BlockedAddress)):
        Guard().check_url(normalise(url))


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


@pytest.mark.parametrize("text", ["169.254.169.254", "fe80::1%2", "0.0.0.0", "::", "224.0.0.1", "::ffff:169.254.0.1"])
def test_even_an_allowed_name_does_not_lead_to_metadata(text: str) -> None:
    assert not is_reachable(ip_address(text))
    assert not is_public(ip_address(text))


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
        [["10.0.0.1"], ["93.184.216.34", "127.0.0.1"], ["93.184.216.34", "::1"], ["64:ff9b::a9fe:a9fe"], []],
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
