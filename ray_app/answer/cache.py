"""Answers kept for a while: in the process or in Redis. What is in doubt is a miss."""

from __future__ import annotations

import asyncio
import dataclasses
import hashlib
import re
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson
from pydantic import TypeAdapter, ValidationError

from ray_app.answer.prompt import PROMPT_VERSION
from ray_app.observe.log import get_logger
from ray_app.records import Answer, AnswerMode, Question

FORMAT = 1  # of the stored value; another one is a miss
MAX_VALUE_BYTES = 256 * 1024  # an answer has 4 KB; a larger value is not ours
EVERY_BRAND = "@all"  # stands for the brand in keys of questions that ask all; no brand has such a name
SCAN_KEYS = 500  # that Redis looks at in one step of a scan; well under a millisecond of its time
REST_S = 2.0  # a Redis that failed is left alone so long, or every question would wait for its timeout

log = get_logger(__name__)


class LocalCache:
    """Least recently used values of this process."""

    down = ""

    def __init__(self, max_entries: int, clock: Callable[[], float] = time.monotonic) -> None:
        self._max_entries = max_entries
        self._clock = clock
        self._entries: OrderedDict[str, tuple[float, bytes]] = OrderedDict()

    async def get(self, key: str) -> bytes | None:
        entry = self._entries.get(key)
        if entry is None:
            return None
        if entry[0] <= self._clock():
            del self._entries[key]
            return None
        self._entries.move_to_end(key)
        return entry[1]

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        if ttl_s <= 0:
            return
        self._entries[key] = (self._clock() + ttl_s, value)
        self._entries.move_to_end(key)
        while len(self._entries) > self._max_entries:
            self._entries.popitem(last=False)

    async def forget(self, brand: str) -> int:
        starts = _prefixes(brand)
        gone = [key for key in self._entries if key.startswith(starts)]
        for key in gone:
            del self._entries[key]
        return len(gone)

    async def close(self) -> None:
        self._entries.clear()


class RedisCache:
    """Values in Redis. A Redis that is down or slow is a miss; that it is down is logged once, that it is back too."""

    def __init__(self, url: str, timeout_s: float, *, prefix: str = "backline:", rest_s: float = REST_S) -> None:
        """Connects at the first call. ``url`` may hold a password and is shown nowhere."""
        from redis.asyncio import Redis
        from redis.asyncio.retry import Retry
        from redis.backoff import NoBackoff

        self.down = ""
        self._timeout_s = timeout_s
        self._prefix = prefix
        self._rest_s = rest_s
        self._rest_until = 0.0
        self._client: Any = Redis.from_url(
            url, socket_timeout=timeout_s, socket_connect_timeout=timeout_s, retry=Retry(NoBackoff(), 0)
        )

    async def get(self, key: str) -> bytes | None:
        value = await self._ask(lambda: self._client.get(self._prefix + key))
        return value if isinstance(value, bytes) else None

    async def put(self, key: str, value: bytes, ttl_s: float) -> None:
        if ttl_s > 0:
            await self._ask(lambda: self._client.set(self._prefix + key, value, px=max(1, int(ttl_s * 1000))))

    async def forget(self, brand: str) -> int:
        gone = 0
        for start in _prefixes(brand):
            gone += await self._delete(_literal(self._prefix + start) + "*")
        return gone

    async def close(self) -> None:
        await self._client.aclose()

    async def _delete(self, pattern: str) -> int:
        cursor, gone = 0, 0
        while True:
            step = await self._ask(partial(self._client.scan, cursor, match=pattern, count=SCAN_KEYS))
            if step is None:
                return gone
            cursor, keys = step
            if keys:
                gone += await self._ask(partial(self._client.unlink, *keys)) or 0
            if not cursor:
                return gone

    async def _ask(self, call: Callable[[], Any]) -> Any:
        from redis.exceptions import RedisError

        if time.monotonic() < self._rest_until:
            return None
        try:
            async with asyncio.timeout(self._timeout_s):
                reply = await call()
        except (RedisError, OSError, TimeoutError) as error:
            self._failed(error)
            return None
        if self.down:
            self.down = ""
            log.info("redis_back")
        return reply

    def _failed(self, error: Exception) -> None:
        self._rest_until = time.monotonic() + self._rest_s
        if not self.down:
            self.down = "redis"
            log.warning("redis_down", error=type(error).__name__)  # the text may hold the address and the password


def cache_key(question: Question, *, generations: str, models: Sequence[str]) -> str:
    """One key per answer that could differ: question, filters, index generations, models, prompt, conversation.

    ``models`` names the embedder, the reranker and the language model. The parts are hashed as JSON, so no
    choice of texts makes two questions look alike. The brand stands before the hash, to be forgotten by it.
    """
    parts = [FORMAT, PROMPT_VERSION, dataclasses.asdict(question), generations, list(models)]
    return _key_start(question.brand) + hashlib.blake2b(orjson.dumps(parts), digest_size=16).hexdigest()


def _key_start(brand: str) -> str:
    return f"answer:{brand or EVERY_BRAND}:"


def _prefixes(brand: str) -> tuple[str, ...]:
    """How the keys begin of all answers that may hold something of ``brand``."""
    return _key_start(brand), _key_start("")


def _literal(text: str) -> str:
    """Of Redis's patterns, the one that only ``text`` matches."""
    return re.sub(r"([\\*?\[\]^])", r"\\\1", text)


def encode(answer: Answer) -> bytes:
    """An answer as it is stored."""
    return orjson.dumps({"format": FORMAT, "answer": dataclasses.asdict(answer)})


_STORED = TypeAdapter(Answer)


def decode(value: bytes | None) -> Answer | None:
    """The stored answer, None for anything that is not one: foreign bytes, another format, an abstention."""
    if value is None or len(value) > MAX_VALUE_BYTES:
        return None
    try:
        stored = orjson.loads(value)
        if not isinstance(stored, dict) or stored.get("format") != FORMAT:
            return None
        answer = _STORED.validate_python(stored.get("answer"))
    except (orjson.JSONDecodeError, ValidationError):
        return None
    return answer if storable(answer) else None


def storable(answer: Answer) -> bool:
    """Only full answers with sources are kept: never an abstention, never one made while a part was down."""
    return answer.mode is not AnswerMode.ABSTAINED and not answer.degraded and bool(answer.citations)
