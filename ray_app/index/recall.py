"""How much of what the exact search finds the approximate one finds, too."""

from __future__ import annotations

from collections.abc import Callable, Collection
from itertools import count
from typing import TypeVar

EVERY = 50  # one query in so many is also searched exactly: 40 ms for a million vectors, 0.8 ms a query

Id = TypeVar("Id", str, int)


def recall(found: Collection[Id], exact: Collection[Id]) -> float:
    """The share of ``exact`` that is among ``found``; 1 when there was nothing to find."""
    wanted = set(exact)
    return len(wanted.intersection(found)) / len(wanted) if wanted else 1.0


class RecallSampler:
    """Measures the recall of one approximate query in ``every``, the first included. Safe in threads.

    The caller asks ``due()`` once with every approximate query, and when it says yes calls ``measure`` in a thread
    after the answer is out, for an exact search takes time that no question should wait for::

        sampler = RecallSampler(metrics.vector_recall)
        found = store.query(collection, vector, k)
        if sampler.due():
            later(sampler.measure, rows_of(found), lambda: generation.dense(vector, k)[0].tolist())
    """

    def __init__(self, observe: Callable[[float], None], every: int = EVERY) -> None:
        """``observe`` takes each recall, 0 to 1."""
        self._observe = observe
        self._every = every
        self._asked = count()

    def due(self) -> bool:
        """Whether this query is one to measure; each call counts one query."""
        return next(self._asked) % self._every == 0

    def measure(self, found: Collection[Id], exact: Callable[[], Collection[Id]]) -> float:
        """Search exactly, compare, observe. ``exact`` returns as many as were asked of the approximate search."""
        value = recall(found, exact())
        self._observe(value)
        return value
