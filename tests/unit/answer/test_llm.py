from __future__ import annotations

from collections.abc import AsyncIterator

import pytest
from answer_parts import asked, hit
from pydantic import SecretStr

from ray_app.answer.llm import LlmGenerator
from ray_app.config import LlmSettings
from ray_app.errors import ConfigError, GeneratorDown
from ray_app.records import AnswerMode
from ray_app.testing.fakes import FakeOpenAI, Mode

HITS = [hit("The warranty lasts two years."), hit("Keep the receipt.")]
KEY = "sk-unit-test-0000000000"


@pytest.fixture
async def server() -> AsyncIterator[FakeOpenAI]:
    async with FakeOpenAI() as fake:
        yield fake


async def generator(server: FakeOpenAI, **fields: object) -> LlmGenerator:
    return LlmGenerator(LlmSettings(api_key=SecretStr(KEY), base_url=server.base_url, **fields))  # type: ignore[arg-type]


async def test_a_reply_becomes_a_draft(server: FakeOpenAI) -> None:
    llm = await generator(server, model="some-model", max_tokens=99)
    draft = await llm.generate(asked("How long is the warranty?"), HITS)
    await llm.close()
    assert (draft.text, draft.mode, draft.passages) == ("The warranty lasts two years. [1]", AnswerMode.LLM, 2)
    (request,) = server.requests
    assert (request["model"], request["max_tokens"], request["temperature"]) == ("some-model", 99, 0)


@pytest.mark.parametrize("reply", ["NO_ANSWER", " NO_ANSWER.\n", "Sorry: NO_ANSWER"])
async def test_a_model_that_finds_nothing_says_so(server: FakeOpenAI, reply: str) -> None:
    server.reply = reply
    llm = await generator(server)
    assert (await llm.generate(asked("What is love?"), HITS)).text == ""
    await llm.close()


@pytest.mark.parametrize(
    ("mode", "reason"), [("500", "status 500"), ("timeout", "0.3 s"), ("garbage", "^[A-Z]"), ("empty", "no text")]
)
async def test_a_failing_server_is_one_error_without_secrets(server: FakeOpenAI, mode: Mode, reason: str) -> None:
    server.mode = mode
    llm = await generator(server, timeout_s=0.3 if mode == "timeout" else 5.0)
    with pytest.raises(GeneratorDown, match=reason) as caught:
        await llm.generate(asked("How long is the warranty?"), HITS)
    assert KEY not in str(caught.value)
    await llm.close()


async def test_a_server_that_is_not_there_is_the_same_error() -> None:
    llm = LlmGenerator(LlmSettings(api_key=SecretStr(KEY), base_url="http://127.0.0.1:9/v1", timeout_s=2.0))
    with pytest.raises(GeneratorDown):
        await llm.generate(asked("How long is the warranty?"), HITS)
    await llm.close()


async def test_an_endless_reply_is_cut(server: FakeOpenAI) -> None:
    server.reply = "word " * 100_000
    llm = await generator(server, max_tokens=16)
    assert len((await llm.generate(asked("warranty"), HITS)).text) == 16 * 8
    await llm.close()


async def test_ollama_is_used_when_no_key_is_set(server: FakeOpenAI) -> None:
    base = server.base_url.removesuffix("/v1")
    llm = LlmGenerator(LlmSettings(ollama_base_url=base, ollama_model="tiny"))
    await llm.generate(asked("warranty"), HITS)
    await llm.close()
    assert server.requests[0]["model"] == "tiny"


def test_without_an_endpoint_there_is_no_generator() -> None:
    with pytest.raises(ConfigError, match="OPENAI_API_KEY"):
        LlmGenerator(LlmSettings())
