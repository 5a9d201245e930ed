"""Serve handles dressed as the ports that the answer lane knows."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from ray.exceptions import RayError
from ray.serve.exceptions import RayServeException

from ray_app.answer.ports import RerankerKind
from ray_app.errors import RerankerDown


class HandleReranker:
    """A Reranker whose model lives in the Reranker deployment."""

    def __init__(self, handle: Any, name: str, kind: RerankerKind) -> None:
        self._handle = handle
        self.name = name
        self.kind: RerankerKind = kind

    async def score(self, question: str, passages: Sequence[str]) -> list[float]:
        """See answer.ports.Reranker."""
        try:
            return list(await self._handle.score.remote(question, list(passages)))
        except (RayError, RayServeException) as error:
            raise RerankerDown(f"The reranker deployment failed ({type(error).__name__}).") from error
