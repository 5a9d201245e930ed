"""BM25 over memory-mapped postings.

rank-bm25 gives the model (idf, average length, k1, b) and is the oracle the scores are held to; its own
scoring loops over every document in Python, which takes 150 ms a query at 50,000 chunks. Here the part of
the formula that does not depend on the query is computed once per posting and stored term by term, so a
query reads only the postings of its own words (the idea of bm25s, https://arxiv.org/abs/2407.03618).
"""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_app.index.postings import FILES, Run, find, heads, mapped, merged, run_of
from ray_app.index.tokens import TOKENISER_VERSION, tokenise
from ray_app.index.vectors import Indices, best

__all__ = ["FILES", "TOKENISER_VERSION", "KeywordIndex", "tokenise"]

Floats = NDArray[np.float64]

# rank-bm25 gives a word held by over half of the documents a quarter of the average idf. In corpora of a few
# documents the average is itself zero or negative, so a document would score nothing, or less, for holding
# the very word that was asked. `search` therefore counts such words with this idf: far below that of any
# word that tells documents apart, and above zero, so that the document is found.
IDF_FLOOR = 1e-3


@dataclass(frozen=True)
class KeywordIndex:
    """Postings of a fixed list of documents, which are known by their position in it."""

    postings: NDArray[np.int32]  # documents that hold a term, ascending, all terms one after the other
    saturation: NDArray[np.float32]  # beside it: BM25's factor for that term in that document, without the idf
    counts: NDArray[Any]  # beside it: how often; uint16, or int32 where that does not do
    offsets: Indices  # term i owns postings[offsets[i]:offsets[i + 1]]
    idf: Floats  # of each term, as rank-bm25 has it
    peak: NDArray[np.float32]  # of each term: its highest saturation
    terms: NDArray[np.uint8]  # UTF-8 of all terms one after the other, in byte order
    term_offsets: Indices
    heads: NDArray[np.uint64]  # of each term: its first bytes as a number
    lengths: NDArray[np.int32]  # tokens of each document
    shape: Indices  # (documents, 1 when terms are stems)

    @classmethod
    def build(cls, documents: Iterable[list[str]], k1: float, b: float) -> KeywordIndex:
        """Read each document's tokens once, in memory; an empty list of documents is fine."""
        run = run_of(documents)
        columns: dict[str, list[NDArray[Any]]] = defaultdict(list)
        for block in merged([(run, np.arange(len(run), dtype=np.int32))], len(run), k1, b):
            for name, values in block.items():
                columns[name].append(values)
        return cls(**{name: np.concatenate(pieces) for name, pieces in columns.items()})

    def as_run(self) -> Run:
        """What ``postings.merge`` makes the next index of, together with the runs of what is new."""
        return Run(
            terms=self.terms,
            term_offsets=self.term_offsets,
            offsets=self.offsets,
            postings=self.postings,
            counts=self.counts,
            lengths=self.lengths,
            stemmed=self.stemmed,
        )

    def save(self, folder: Path) -> list[Path]:
        """Write one .npy per array into the existing ``folder``; the caller makes them durable."""
        paths = [folder / f"{name}.npy" for name in FILES]
        for name, path in zip(FILES, paths, strict=True):
            np.save(path, getattr(self, name), allow_pickle=False)
        return paths

    @classmethod
    def open(cls, folder: Path) -> KeywordIndex:
        """Map a saved index. Raises OSError or ValueError when a file is missing or not what it should be."""
        return cls(**mapped(folder, FILES))

    @property
    def stemmed(self) -> bool:
        """Whether the terms are stems."""
        return bool(self.shape[1])

    def __len__(self) -> int:
        return int(self.shape[0])

    def df(self, term: str) -> int:
        """How many documents hold ``term``."""
        at = self._find(term)
        return 0 if at is None else int(self.offsets[at + 1] - self.offsets[at])

    def scores(self, query: Sequence[str]) -> NDArray[np.float32]:
        """BM25Okapi.get_scores of every document (within float32), its odd values in tiny corpora included."""
        return self._accumulate(query, -np.inf).astype(np.float32)

    def scores_at(self, query: Sequence[str], places: Indices) -> NDArray[np.float32]:
        """``search``'s scores of the documents ``places``, in their order, without touching all the others."""
        scores = np.zeros(len(places), np.float64)
        for term, times in Counter(query).items():
            at = self._find(term)
            if at is not None:
                holders = self.postings[self.offsets[at] : self.offsets[at + 1]]
                where = np.minimum(np.searchsorted(holders, places), len(holders) - 1)
                weight = times * max(self.idf[at], IDF_FLOOR)
                scores += np.where(holders[where] == places, weight * self.saturation[self.offsets[at] + where], 0.0)
        return scores.astype(np.float32)

    def search(self, query: Sequence[str], k: int, rows: Indices | None = None) -> tuple[Indices, NDArray[np.float32]]:
        """The ``k`` best documents with a score above zero, best first, and their scores.

        The scores are those of ``scores``, but for words whose idf is below IDF_FLOOR. ``rows`` (n, 2): sorted
        disjoint ranges [start, stop) of the documents that count; None: all.
        """
        scores = self._accumulate(query, IDF_FLOOR).astype(np.float32)
        if rows is not None:
            inside = np.zeros(len(self), np.bool_)
            for start, stop in rows.tolist():
                inside[start:stop] = True
            scores[~inside] = 0
        return best(scores, k, np.flatnonzero(scores > 0))

    def _accumulate(self, query: Sequence[str], floor: float) -> Floats:
        scores = np.zeros(len(self), np.float64)
        for term, times in Counter(query).items():
            at = self._find(term)
            if at is not None:
                span = slice(self.offsets[at], self.offsets[at + 1])
                scores[self.postings[span]] += times * max(self.idf[at], floor) * self.saturation[span]
        return scores

    def _find(self, term: str) -> int | None:
        wanted = term.encode(errors="surrogatepass")
        head = heads([wanted])[0]
        low, high = (int(np.searchsorted(self.heads, head, side)) for side in ("left", "right"))
        at = find(self.terms, self.term_offsets, wanted, low, high)
        return at if at < high and self._term(at) == wanted else None

    def _term(self, at: int) -> bytes:
        return self.terms[self.term_offsets[at] : self.term_offsets[at + 1]].tobytes()
