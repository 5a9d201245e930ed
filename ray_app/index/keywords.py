"""BM25 over memory-mapped postings.

rank-bm25 gives the model (idf, average length, k1, b) and is the oracle the scores are held to; its own
scoring loops over every document in Python, which takes 150 ms a query at 50,000 chunks. Here the part of
the formula that does not depend on the query is computed once per posting and stored term by term, so a
query reads only the postings of its own words (the idea of bm25s, https://arxiv.org/abs/2407.03618).
"""

from __future__ import annotations

from array import array
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from rank_bm25 import BM25Okapi

from ray_app.index.tokens import TOKENISER_VERSION, tokenise
from ray_app.index.vectors import Indices, best

__all__ = ["TOKENISER_VERSION", "KeywordIndex", "tokenise"]

Floats = NDArray[np.float64]

FILES = ("postings", "saturation", "offsets", "idf", "terms", "term_offsets", "shape")  # each FILE.npy

# rank-bm25 gives a word held by over half of the documents a quarter of the average idf. In corpora of a few
# documents the average is itself zero or negative, so a document would score nothing, or less, for holding
# the very word that was asked. `search` therefore counts such words with this idf: far below that of any
# word that tells documents apart, and above zero, so that the document is found.
IDF_FLOOR = 1e-3


class _Okapi(BM25Okapi):  # type: ignore[misc]  # rank-bm25 has no types
    """rank-bm25's model over flat arrays: its own dictionary per document takes 5 KB per chunk."""

    def _initialize(self, corpus: Iterable[list[str]]) -> dict[str, int]:
        self.vocabulary: dict[str, int] = {}
        self.posting_terms = array("i")
        self.posting_counts = array("i")
        self.distinct = array("i")  # postings of each document
        for tokens in corpus:
            counts = Counter(tokens)
            self.doc_len.append(len(tokens))
            self.posting_terms.extend(self.vocabulary.setdefault(t, len(self.vocabulary)) for t in counts)
            self.posting_counts.extend(counts.values())
            self.distinct.append(len(counts))
        self.corpus_size = len(self.doc_len)
        self.avgdl = sum(self.doc_len) / max(1, self.corpus_size)
        frequencies = np.bincount(np.frombuffer(self.posting_terms, np.int32), minlength=len(self.vocabulary))
        return dict(zip(self.vocabulary, frequencies.tolist(), strict=True))

    def _calc_idf(self, nd: dict[str, int]) -> None:
        if nd:  # rank-bm25 divides by the number of words
            super()._calc_idf(nd)


@dataclass(frozen=True)
class KeywordIndex:
    """Postings of a fixed list of documents, which are known by their position in it."""

    postings: NDArray[np.int32]  # documents that hold a term, ascending, all terms one after the other
    saturation: NDArray[np.float32]  # beside it: BM25's factor for that term in that document, without the idf
    offsets: Indices  # term i owns postings[offsets[i]:offsets[i + 1]]
    idf: Floats  # of each term, as rank-bm25 has it
    terms: NDArray[np.uint8]  # UTF-8 of all terms one after the other, in byte order
    term_offsets: Indices
    shape: Indices  # (documents,)

    @classmethod
    def build(cls, documents: Iterable[list[str]], k1: float, b: float) -> KeywordIndex:
        """Read each document's tokens once; an empty list of documents is fine."""
        model = _Okapi(documents, k1=k1, b=b)
        words = sorted((word.encode(), i) for word, i in model.vocabulary.items())
        rank = np.empty(len(words), np.int32)
        rank[[i for _, i in words]] = np.arange(len(words), dtype=np.int32)
        term_of = rank[np.frombuffer(model.posting_terms, np.int32)]
        order = np.argsort(term_of, kind="stable")  # stable: documents stay ascending within a term
        holders = np.repeat(np.arange(model.corpus_size, dtype=np.int32), np.frombuffer(model.distinct, np.int32))
        frequency = np.frombuffer(model.posting_counts, np.int32).astype(np.float32)
        length = (np.asarray(model.doc_len) / (model.avgdl or 1.0)).astype(np.float32)[holders]
        saturation = frequency * (k1 + 1) / (frequency + k1 * (1 - b + b * length))
        return cls(
            postings=holders[order],
            saturation=np.asarray(saturation[order], np.float32),
            offsets=_starts(np.bincount(term_of, minlength=len(words))),
            idf=np.array([model.idf[word.decode()] for word, _ in words], np.float64),
            terms=np.frombuffer(b"".join(word for word, _ in words), np.uint8),
            term_offsets=_starts([len(word) for word, _ in words]),
            shape=np.array([model.corpus_size], np.int64),
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
        arrays: dict[str, Any] = {
            name: np.asarray(np.load(folder / f"{name}.npy", mmap_mode="r", allow_pickle=False)) for name in FILES
        }
        return cls(**arrays)

    def __len__(self) -> int:
        return int(self.shape[0])

    def df(self, term: str) -> int:
        """How many documents hold ``term``."""
        at = self._find(term)
        return 0 if at is None else int(self.offsets[at + 1] - self.offsets[at])

    def scores(self, query: Sequence[str]) -> NDArray[np.float32]:
        """BM25Okapi.get_scores of every document (within float32), its odd values in tiny corpora included."""
        return self._accumulate(query, -np.inf)

    def search(self, query: Sequence[str], k: int) -> tuple[Indices, NDArray[np.float32]]:
        """The ``k`` best documents with a score above zero, best first, and their scores.

        The scores are those of ``scores``, but for words whose idf is below IDF_FLOOR.
        """
        scores = self._accumulate(query, IDF_FLOOR)
        return best(scores, k, np.flatnonzero(scores > 0))

    def _accumulate(self, query: Sequence[str], floor: float) -> NDArray[np.float32]:
        scores = np.zeros(len(self), np.float32)
        for term, times in Counter(query).items():
            at = self._find(term)
            if at is not None:
                span = slice(self.offsets[at], self.offsets[at + 1])
                scores[self.postings[span]] += np.float32(times * max(self.idf[at], floor)) * self.saturation[span]
        return scores

    def _find(self, term: str) -> int | None:
        wanted, low, high = term.encode(errors="replace"), 0, len(self.idf)
        while low < high:
            middle = (low + high) // 2
            if self._term(middle) < wanted:
                low = middle + 1
            else:
                high = middle
        return low if low < len(self.idf) and self._term(low) == wanted else None

    def _term(self, at: int) -> bytes:
        return self.terms[self.term_offsets[at] : self.term_offsets[at + 1]].tobytes()


def _starts(lengths: Sequence[int] | NDArray[np.int64]) -> Indices:
    return np.concatenate(([0], np.cumsum(lengths, dtype=np.int64))).astype(np.int64)
