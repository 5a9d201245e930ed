"""Twins of outer parts for tests and the selftest: a language model server and a small embedder."""

from __future__ import annotations

import asyncio
import hashlib
import re
from collections.abc import Callable, Sequence
from functools import lru_cache
from types import TracebackType
from typing import Any, Literal

import numpy as np
from aiohttp import web
from numpy.typing import NDArray

from ray_app.index.ports import TokenVectors
from ray_app.records import ModelId

Mode = Literal["ok", "500", "timeout", "garbage", "empty"]
Messages = list[dict[str, str]]

_WORD = re.compile(r"\w+|[^\w\s]")
_FIRST_PASSAGE = re.compile(r"<passage 1 [^>]*>\n(.*?)\n</passage", re.DOTALL)


def quote_first_line(messages: Messages) -> str:
    """The reply of a model that copies the last line of the first passage and says where it stands."""
    found = _FIRST_PASSAGE.search(messages[-1]["content"]) if messages else None
    return f"{found.group(1).splitlines()[-1]} [1]" if found else "NO_ANSWER"


class FakeOpenAI:
    """An OpenAI-compatible server on a free loopback port: ``async with FakeOpenAI() as llm: llm.base_url``.

    ``mode`` may be changed while it runs: ``ok`` answers with ``reply``, ``500`` fails, ``timeout`` never
    answers, ``garbage`` sends what is not JSON, ``empty`` a completion without choices.
    """

    def __init__(self, mode: Mode = "ok", reply: str | Callable[[Messages], str] = quote_first_line) -> None:
        self.mode: Mode = mode
        self.reply = reply
        self.requests: list[dict[str, Any]] = []  # bodies in the order they came
        self.base_url = ""
        self._closing = asyncio.Event()
        self._runner: web.AppRunner | None = None

    async def __aenter__(self) -> FakeOpenAI:
        app = web.Application()
        app.router.add_post("/v1/chat/completions", self._complete)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=1.0)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.base_url = f"http://127.0.0.1:{self._runner.addresses[0][1]}/v1"
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._closing.set()
        if self._runner is not None:
            await self._runner.cleanup()

    async def _complete(self, request: web.Request) -> web.Response:
        body: dict[str, Any] = await request.json()
        self.requests.append(body)
        match self.mode:
            case "500":
                return web.json_response({"error": {"message": "the server failed"}}, status=500)
            case "timeout":
                await self._closing.wait()
                return web.Response(status=503)
            case "garbage":
                return web.Response(text='{"choices": [', content_type="application/json")
            case "empty":
                return web.json_response(_completion(body, []))
        text = self.reply if isinstance(self.reply, str) else self.reply(body["messages"])
        message = {"role": "assistant", "content": text}
        return web.json_response(_completion(body, [{"index": 0, "finish_reason": "stop", "message": message}]))


def _completion(body: dict[str, Any], choices: list[dict[str, Any]]) -> dict[str, Any]:
    prompt = sum(len(m["content"].split()) for m in body["messages"])
    reply = sum(len(c["message"]["content"].split()) for c in choices)
    usage = {"prompt_tokens": prompt, "completion_tokens": reply, "total_tokens": prompt + reply}
    return {
        "id": "chatcmpl-fake",
        "object": "chat.completion",
        "created": 0,
        "model": body["model"],
        "choices": choices,
        "usage": usage,
    }


class HashEmbedder:
    """A twin of the embedder that needs no model: texts are alike as far as they share words and parts of words."""

    max_tokens = 256

    def __init__(self, dim: int = 128) -> None:
        self.model = ModelId("hash", "1", dim)

    def encode(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """One vector of length 1 per text: the sum of its tokens' vectors."""
        rows = [_unit(sum(v * _weight(t) for t, v in zip(*self._tokens(text), strict=True))) for text in texts]
        return np.array(rows, np.float32).reshape(len(rows), self.model.dim)

    def encode_tokens(self, texts: Sequence[str]) -> list[TokenVectors]:
        """Each token's own vector; it does not depend on the other tokens."""
        return [TokenVectors(*self._tokens(text)) for text in texts]

    def count(self, text: str) -> int:
        """Words and punctuation marks."""
        return len(_WORD.findall(text))

    def describe(self) -> dict[str, str | int | float | bool]:
        """That it is a twin."""
        return {"model": "hash", "device": "cpu", "precision": "fp32"}

    def _tokens(self, text: str) -> tuple[list[str], NDArray[np.float32]]:
        tokens = _WORD.findall(text.casefold())[: self.max_tokens] or [""]
        return tokens, np.array([_token_vector(t, self.model.dim) for t in tokens], np.float32)


@lru_cache(maxsize=50_000)
def _token_vector(token: str, dim: int) -> NDArray[np.float32]:
    """A fixed pseudo-random direction for the word, bent towards those of its first letters, so "reset" ~ "resets"."""
    parts = [(token, 1.0), (token[:4], 0.6)] if len(token) > 4 else [(token, 1.0)]
    return _unit(sum(w * _direction(p, dim) for p, w in parts)).astype(np.float32)


def _weight(token: str) -> float:
    return 1.0 if len(token) > 3 else 0.4  # short words tell little, in any embedder


def _direction(part: str, dim: int) -> NDArray[np.float64]:
    seed = int.from_bytes(hashlib.blake2b(part.encode(errors="replace"), digest_size=8).digest())
    return np.random.default_rng(seed).standard_normal(dim)


def _unit(vector: Any) -> NDArray[np.float64]:
    array: NDArray[np.float64] = np.asarray(vector, np.float64)
    return array / np.linalg.norm(array)
