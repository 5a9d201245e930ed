"""What every cache must do, on the one in the process and on a real Redis."""

from __future__ import annotations

import asyncio
import logging
import shutil
import socket
import subprocess
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from ray_app.answer.cache import LocalCache, RedisCache, cache_key
from ray_app.answer.ports import Cache
from ray_app.records import Question

SERVER = shutil.which("redis-server")
needs_redis = pytest.mark.skipif(SERVER is None, reason="redis-server is not installed")


class RedisServer:
    """A redis-server on a free loopback port, without persistence."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port: int = probe.getsockname()[1]
        self.process: subprocess.Popen[bytes] | None = None
        self.start()

    @property
    def url(self) -> str:
        return f"redis://127.0.0.1:{self.port}/0"

    def start(self, *options: str) -> None:
        assert SERVER is not None
        command = [SERVER, "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir", str(self.folder)]
        self.process = subprocess.Popen([*command, *options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        deadline = time.monotonic() + 10
        while time.monotonic() < deadline:
            with socket.socket() as probe:
                if probe.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        raise AssertionError("redis-server did not start")

    def stop(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait(timeout=10)
            self.process = None


@pytest.fixture
def redis(tmp_path: Path) -> Iterator[RedisServer]:
    server = RedisServer(tmp_path)
    yield server
    server.stop()


@pytest.fixture(params=["local", pytest.param("redis", marks=needs_redis)])
async def cache(request: pytest.FixtureRequest) -> AsyncIterator[Cache]:
    made: Cache
    if request.param == "local":
        made = LocalCache(max_entries=100)
    else:
        made = RedisCache(request.getfixturevalue("redis").url, timeout_s=2.0)
    yield made
    await made.close()


class TestCache:
    async def test_what_was_put_is_there(self, cache: Cache) -> None:
        value = bytes(range(256)) * 100
        await cache.put("a", value, 60)
        assert await cache.get("a") == value
        assert await cache.get("b") is None
        assert cache.down == ""

    async def test_the_last_value_counts(self, cache: Cache) -> None:
        await cache.put("a", b"1", 60)
        await cache.put("a", b"2", 60)
        assert await cache.get("a") == b"2"

    async def test_values_expire(self, cache: Cache) -> None:
        await cache.put("a", b"1", 0.05)
        await asyncio.sleep(0.1)
        assert await cache.get("a") is None

    async def test_no_time_to_live_is_not_kept(self, cache: Cache) -> None:
        await cache.put("a", b"1", 0)
        assert await cache.get("a") is None

    async def test_many_at_once(self, cache: Cache) -> None:
        await asyncio.gather(*(cache.put(str(n), str(n).encode(), 60) for n in range(50)))
        assert await asyncio.gather(*(cache.get(str(n)) for n in range(50))) == [str(n).encode() for n in range(50)]

    async def test_a_brand_is_forgotten_and_no_other(self, cache: Cache) -> None:
        def key(brand: str, text: str = "how?") -> str:
            return cache_key(Question(text, brand=brand), generations="g", models=[])

        own = [key("acme"), key("acme", "why?"), key("")]  # a question to all brands may have been answered from it
        others = [key("acme-2"), key("bolt"), key("x"), "acme"]
        for one in (*own, *others):
            await cache.put(one, b"1", 60)
        assert await cache.forget("acme") == 3
        assert [await cache.get(one) for one in own] == [None] * 3
        assert [await cache.get(one) for one in others] == [b"1"] * 4
        assert await cache.forget("acme") == 0
        assert await cache.forget("*") == await cache.forget("[a-z]") == 0
        assert await cache.get(key("bolt")) == b"1"

    async def test_many_answers_of_a_brand_are_forgotten(self, cache: Cache) -> None:
        keys = [cache_key(Question(str(n), brand="acme"), generations="g", models=[]) for n in range(90)]
        await asyncio.gather(*(cache.put(key, b"1", 60) for key in keys))
        assert await cache.forget("acme") == 90

    async def test_closing_twice_is_fine(self, cache: Cache) -> None:
        await cache.close()
        await cache.close()


async def test_the_least_used_value_goes_first() -> None:
    cache = LocalCache(max_entries=2)
    await cache.put("a", b"1", 60)
    await cache.put("b", b"2", 60)
    await cache.get("a")
    await cache.put("c", b"3", 60)
    assert [await cache.get(k) for k in "abc"] == [b"1", None, b"3"]


async def test_local_time_is_an_argument() -> None:
    now = 100.0
    cache = LocalCache(max_entries=2, clock=lambda: now)
    await cache.put("a", b"1", 10)
    now = 109.9
    assert await cache.get("a") == b"1"
    now = 110.0
    assert await cache.get("a") is None


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def test_no_redis_is_a_miss_at_no_cost_and_logged_once(caplog: pytest.LogCaptureFixture) -> None:
    cache = RedisCache(f"redis://:hunter2@127.0.0.1:{_free_port()}/0", timeout_s=0.05)
    started = time.monotonic()
    for _ in range(100):
        await cache.put("a", b"1", 60)
        assert await cache.get("a") is None
    assert time.monotonic() - started < 1.0
    assert cache.down == "redis"
    assert caplog.text.count("redis_down") == 1
    assert "hunter2" not in caplog.text
    await cache.close()


async def test_a_redis_that_never_answers_costs_one_timeout() -> None:
    async def silent(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await closing.wait()
        writer.close()

    closing = asyncio.Event()
    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    cache = RedisCache(f"redis://127.0.0.1:{server.sockets[0].getsockname()[1]}/0", timeout_s=0.05)
    started = time.monotonic()
    for _ in range(20):
        assert await cache.get("a") is None
    assert await cache.forget("acme") == 0
    assert time.monotonic() - started < 0.5
    assert cache.down == "redis"
    await cache.close()
    closing.set()
    server.close()
    await server.wait_closed()


@needs_redis
async def test_a_redis_that_comes_back_is_used_again(redis: RedisServer, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "ray_app")
    cache = RedisCache(redis.url, timeout_s=2.0, rest_s=0.0)
    await cache.put("a", b"1", 60)
    redis.stop()
    assert await cache.get("a") is None
    assert cache.down == "redis"
    redis.start()
    assert await cache.get("a") is None  # it forgot
    await cache.put("a", b"2", 60)
    assert await cache.get("a") == b"2"
    assert cache.down == ""
    assert caplog.text.count("redis_down") == caplog.text.count("redis_back") == 1
    await cache.close()


@needs_redis
async def test_a_full_or_read_only_redis_serves_without_cache(redis: RedisServer) -> None:
    redis.stop()
    redis.start("--maxmemory", "1mb", "--maxmemory-policy", "noeviction")
    cache = RedisCache(redis.url, timeout_s=2.0, rest_s=0.0)
    for n in range(40):
        await cache.put(str(n), b"x" * 100_000, 60)
    assert cache.down == "redis"
    await cache.close()


@needs_redis
async def test_keys_say_their_brand(redis: RedisServer) -> None:
    from redis.asyncio import Redis

    cache = RedisCache(redis.url, timeout_s=2.0)
    await cache.put(cache_key(Question("how?", brand="acme"), generations="g", models=[]), b"1", 60)
    client = Redis.from_url(redis.url)
    keys: Any = await client.keys("backline:answer:acme:*")
    assert len(keys) == await client.dbsize() == 1
    await client.aclose()
    await cache.close()


@needs_redis
async def test_foreign_types_are_a_miss(redis: RedisServer) -> None:
    from redis.asyncio import Redis

    cache = RedisCache(redis.url, timeout_s=2.0, rest_s=0.0)
    client = Redis.from_url(redis.url)
    await client.lpush("backline:a", "x")
    assert await cache.get("a") is None
    await client.aclose()
    await cache.close()
