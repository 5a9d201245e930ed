"""Answers written by a language model behind an OpenAI-compatible endpoint."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any, cast

from ray_app.answer.ports import Draft
from ray_app.answer.prompt import NO_ANSWER, build
from ray_app.answer.understand import Ask
from ray_app.config import LlmSettings
from ray_app.errors import ConfigError, GeneratorDown
from ray_app.records import AnswerMode, Hit

if TYPE_CHECKING:
    from openai import AsyncOpenAI
    from openai.types.chat import ChatCompletionMessageParam

RETRIES = 1  # of the client, within the one deadline
CHARS_PER_TOKEN = 8  # no tokeniser makes longer tokens on average: a longer reply ignores max_tokens


class LlmGenerator:
    """One completion per answer, within ``timeout_s`` whatever the server does."""

    def __init__(self, settings: LlmSettings) -> None:
        """Raises ConfigError without an endpoint: no ``api_key`` and no ``ollama_base_url``."""
        from openai import AsyncOpenAI

        self._settings = settings
        url, key, self.model = _endpoint(settings)
        self._client: AsyncOpenAI = AsyncOpenAI(
            base_url=url or None, api_key=key, timeout=settings.timeout_s, max_retries=RETRIES
        )

    async def generate(self, ask: Ask, passages: Sequence[Hit]) -> Draft:
        """A draft with markers of passages, empty when the model finds no answer. Raises GeneratorDown."""
        prompt = build(ask, passages, self._settings.context_tokens)
        text = await self._complete(list(prompt.messages))
        if NO_ANSWER in text:
            text = ""
        return Draft(text, AnswerMode.LLM, passages=prompt.passages)

    async def close(self) -> None:
        """Close the connections."""
        await self._client.close()

    async def _complete(self, messages: list[dict[str, str]]) -> str:
        from openai import APIStatusError, OpenAIError

        try:
            async with asyncio.timeout(self._settings.timeout_s):
                completion = await self._client.chat.completions.create(
                    model=self.model,
                    messages=cast("list[ChatCompletionMessageParam]", messages),
                    max_tokens=self._settings.max_tokens,
                    temperature=0,
                )
        except TimeoutError:
            raise GeneratorDown(f"no answer within {self._settings.timeout_s:g} s") from None
        except APIStatusError as error:  # its text repeats the server's, which may repeat the key
            raise GeneratorDown(f"status {error.status_code}") from None
        except (OpenAIError, ValueError) as error:  # ValueError: a body that is not JSON
            raise GeneratorDown(type(error).__name__) from None
        return _content(completion)[: self._settings.max_tokens * CHARS_PER_TOKEN]


def _endpoint(settings: LlmSettings) -> tuple[str, str, str]:
    """Base URL, key and model of the endpoint configured."""
    if key := settings.api_key.get_secret_value():
        return settings.base_url, key, settings.model
    if settings.ollama_base_url:
        base = settings.ollama_base_url.rstrip("/").removesuffix("/v1")
        return f"{base}/v1", "ollama", settings.ollama_model  # Ollama wants a key and reads none
    raise ConfigError("No language model is configured.", hint="Set OPENAI_API_KEY or OLLAMA_BASE_URL.")


def _content(completion: Any) -> str:
    """The text of the first choice. The client does not validate what a server sends, so nothing is sure here."""
    choices = getattr(completion, "choices", None)
    first = choices[0] if isinstance(choices, list) and choices else None
    content = getattr(getattr(first, "message", None), "content", None)
    if not isinstance(content, str) or not content.strip():
        raise GeneratorDown("no text in the reply")
    return content.strip()
