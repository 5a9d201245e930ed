"""The publish gate of a process that builds generations."""

from __future__ import annotations

from collections.abc import Callable

from ray_app.config import Settings
from ray_app.evaluate.gate import QUESTIONS, RetrievalGate
from ray_app.index.embedder import load_embedder, model_id
from ray_app.index.embedders import Embedders, by_source
from ray_app.index.ports import Embedder, Gate


def publish_gate(
    settings: Settings, first: Callable[[], Embedder] | None = None, questions: int = QUESTIONS
) -> Gate | None:
    """What judges generations before they are published; None when that is switched off.

    ``first`` gives a model that is loaded already; without it the configured one is loaded when something is judged.
    """
    if not settings.index.gate:
        return None

    def load() -> Embedders:
        return Embedders(
            first() if first is not None else load_embedder(settings.embedding),
            load=lambda source: load_embedder(by_source(settings.embedding, source)),
            identify=lambda source: model_id(by_source(settings.embedding, source)),
        )

    return RetrievalGate(settings, load, questions)
