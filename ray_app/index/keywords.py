"""BM25 over memory-mapped postings.

rank-bm25 gives the model (idf, average length, k1, b) and is the oracle the scores are held to; its own
scoring loops over every document in Python, which takes 150 ms a query at 50,000 chunks. Here the part of
the formula that does not depend on the query is computed once per posting and stored term by term, so a
query reads only the postings of its own words (the idea of bm25s, https://arxiv.org/abs/2407.03618).

What rank-bm25 does oddly `scores` does as well: a word of exactly half of the documents has an idf of zero, one of more
than half a quarter of the average idf, which in a corpus of a few documents is itself zero or negative, so that a
document scores nothing, or less, for holding the very word that was asked. `search` counts such words with IDF_FLOOR.

Skipping postings that cannot matter (MaxScore) was tried: at 200,000 and 500,000 documents it saved nothing, since
adding up a posting takes less than a nanosecond, and looking one up thirty.
"""

from __future__ import annotations

import threading
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_app.index.postings import FILES, Run, find, heads, mapped, merged, run_of
from ray_app.index.tokens import TOKENISER_VERSION, stemmer, tokenise
from ray_app.index.vectors import Indices

try:
    from scipy.sparse._sparsetools import csc_matvec
except ImportError:  # it is no part of scipy's interface; without it queries take up to twice as long
    csc_matvec = None

__all__ = ["FILES", "TOKENISER_VERSION", "KeywordIndex", "tokenise"]

Floats = NDArray[np.float64]
Scores = NDArray[np.float32]
Rows = NDArray[np.int64]  # (n, 2), see index/rows.py

_Entry = tuple[int, int, float]  # of a term: where its postings start and end, its idf
NOTHING: _Entry = (0, 0, 0.0)
RECENT = 20_000  # entries kept, some 5 MB; finding one in the files takes four microseconds

IDF_FLOOR = 1e-3  # far below that of any word that tells documents apart, and above zero, so that it is found

TOGETHER = 20_000  # postings up to which copying them side by side is faster than a call for each word
# Of the two ways to the best documents one looks at all of them, but fast, the other at those touched.
DENSE = 20  # at so many documents for each one touched both take as long
ERASE = 32  # the same for setting scores back to zero
GROUPS = 3  # times k: so many maxima tell nearly where the k-th value is
SMALL = 40_000  # documents up to which looking at all is always best, and a table does not pay
MOST_ROWS = 64  # of the table in which the maxima of all scores are looked for
FEW_GAPS = 500  # between ranges of rows; more are cleared with a mask
SLACK = 1e-5  # relative: more than sums in float32 are off

_THREAD = threading.local()  # holds `zeros`: 4 bytes per document of the largest index that the thread searched


@dataclass(frozen=True)
class KeywordIndex:
    """Postings of a fixed list of documents, which are known by their position in it."""

    postings: NDArray[np.int32]  # documents that hold a term, ascending, all terms one after the other
    saturation: NDArray[np.float32]  # beside it: BM25's factor for that term in that document, without the idf
    counts: NDArray[Any]  # beside it: how often; uint16, or int32 where that does not do
    offsets: Indices  # term i owns postings[offsets[i]:offsets[i + 1]]
    idf: Floats  # of each term, as rank-bm25 has it
    terms: NDArray[np.uint8]  # UTF-8 of all terms one after the other, in byte order
    term_offsets: Indices
    heads: NDArray[np.uint64]  # of each term: its first bytes as a number
    lengths: NDArray[np.int32]  # tokens of each document
    shape: Indices  # (documents, 1 when terms are stems)
    recent: dict[str, _Entry] = field(default_factory=dict, repr=False, compare=False)  # of words asked lately

    @classmethod
    def build(cls, documents: Iterable[list[str]], k1: float, b: float, *, stemming: bool = False) -> KeywordIndex:
        """Read each document's tokens once, in memory; an empty list of documents is fine."""
        run = run_of(documents, stemming=stemming)
        columns: dict[str, list[NDArray[Any]]] = defaultdict(list)
        for block in merged([(run, np.arange(len(run), dtype=np.int32))], len(run), k1, b):
            for name, values in block.items():
                columns[name].append(values)
        arrays: dict[str, Any] = {name: np.concatenate(pieces) for name, pieces in columns.items()}
        return cls(**arrays)

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
        """How many documents hold ``term``, a token as ``tokenise`` gives it."""
        return sum(len(word.postings) for word in self._words([term], -np.inf))

    def scores(self, query: Sequence[str]) -> Scores:
        """BM25Okapi.get_scores of every document (within 1e-5), its odd values in tiny corpora included."""
        scores = np.zeros(len(self), np.float64)
        for word in self._words(query, -np.inf):
            np.add.at(scores, word.postings.astype(np.intp), word.weight * word.saturation.astype(np.float64))
        return scores.astype(np.float32)

    def scores_at(self, query: Sequence[str], places: NDArray[np.integer[Any]]) -> Scores:
        """``search``'s scores of the documents ``places``, in their order, without touching the others."""
        wanted = np.asarray(places, np.int32)
        scores = np.zeros(len(wanted), np.float32)
        for word in self._words(query, IDF_FLOOR):
            scores += word.gains_at(wanted)
        return scores

    def search(self, query: Sequence[str], k: int, rows: Rows | None = None) -> tuple[Indices, Scores]:
        """The ``k`` best documents with a score above zero, best first, those of the same score by row; their scores.

        The scores are those of ``scores``, but for words whose idf is below IDF_FLOOR. ``rows`` (n, 2): sorted
        disjoint ranges [start, stop) of the documents that count; None: all. Safe in threads.
        """
        words = self._words(query, IDF_FLOOR, rows) if k > 0 and (rows is None or len(rows)) else []
        if not words:
            return np.empty(0, np.int64), np.empty(0, np.float32)
        touched = sum(len(word.postings) for word in words)
        scores = _take_zeros(len(self))
        _add(words, scores)
        _clear_gaps(scores, rows)
        dense = len(scores) < SMALL or touched * DENSE > len(scores)
        places = _highest(scores, k) if dense else _highest_touched(words, scores, k)
        values = scores[places]
        _erase(words, scores, touched)
        _THREAD.zeros = scores if scores.base is None else scores.base
        return _best(places, values, k)

    def _words(self, query: Sequence[str], floor: float, rows: Rows | None = None) -> list[_Word]:
        """The words of the query, each once, that documents from the first to the last of ``rows`` hold."""
        fold = stemmer() if self.stemmed else None
        times = Counter(map(fold, query) if fold else query)
        hull = None if rows is None else np.array([rows[0, 0], rows[-1, 1]], np.int32)
        found: list[_Word] = []
        for (start, stop, idf), often in zip(self._looked_up(times), times.values(), strict=True):
            postings, saturation = self.postings[start:stop], self.saturation[start:stop]
            if hull is not None:
                first, last = np.searchsorted(postings, hull).tolist()
                postings, saturation = postings[first:last], saturation[first:last]
            if len(postings):
                found.append(_Word(postings, saturation, often * max(idf, floor)))
        return found

    def _looked_up(self, terms: Collection[str]) -> list[_Entry]:
        """What is stored of each term; dictionaries are safe in threads, and an entry never changes."""
        known = {term: entry for term in terms if (entry := self.recent.get(term)) is not None}
        if len(known) < len(terms):
            unknown = [term for term in terms if term not in known]
            fresh = dict(zip(unknown, self._search_terms(unknown), strict=True))
            if len(self.recent) > RECENT:
                self.recent.clear()
            self.recent.update(fresh)
            known.update(fresh)
        return [known[term] for term in terms]

    def _search_terms(self, terms: Sequence[str]) -> list[_Entry]:
        """What is stored of each term; an empty span of a term that is not known."""
        names = [term.encode(errors="surrogatepass") for term in terms]
        if not len(self.heads):
            return [NOTHING] * len(names)
        known = np.minimum(np.searchsorted(self.heads, heads(names)), len(self.heads) - 1)
        starts, ends = self.term_offsets[known].tolist(), self.term_offsets[known + 1].tolist()
        entries = []
        for name, first, start, end in zip(names, known.tolist(), starts, ends, strict=True):
            same = self.terms[start:end].tobytes() == name
            at = first if same else self._among_alike(name, first)
            entries.append(NOTHING if at is None else (*self.offsets[at : at + 2].tolist(), float(self.idf[at])))
        return entries

    def _among_alike(self, wanted: bytes, first: int) -> int | None:
        """Position of a term that is not ``first``, the first one that begins as it does."""
        end = int(np.searchsorted(self.heads, heads([wanted])[0], "right"))
        at = find(self.terms, self.term_offsets, wanted, first, end)
        same = at < end and self.terms[self.term_offsets[at] : self.term_offsets[at + 1]].tobytes() == wanted
        return at if same else None


@dataclass(slots=True)
class _Word:
    """Postings of one word of a query."""

    postings: NDArray[np.int32]
    saturation: Scores
    weight: float  # idf, times how often the query says the word

    def gains_at(self, rows: NDArray[np.int32]) -> Scores:
        """What each of ``rows`` gets; searches for each of them."""
        where = np.searchsorted(self.postings, rows)
        where[where == len(self.postings)] = 0
        gains = self.saturation[where] * np.float32(self.weight)
        gains[self.postings[where] != rows] = 0.0
        return gains


def _add(words: Sequence[_Word], scores: Scores) -> None:
    """Give each document what it gets from each of the words, in their order."""
    ends = list(accumulate([len(word.postings) for word in words]))
    if len(words) > 1 and ends[-1] > TOGETHER:
        for word in words:
            _add([word], scores)
        return
    offsets = np.array([0, *ends], np.int32)
    postings = words[0].postings if len(words) == 1 else np.concatenate([word.postings for word in words])
    saturation = words[0].saturation if len(words) == 1 else np.concatenate([word.saturation for word in words])
    weights = np.array([word.weight for word in words], np.float32)
    if csc_matvec is None:
        np.add.at(scores, postings.astype(np.intp), saturation * np.repeat(weights, np.diff(offsets)))
    else:  # a matrix with one column for each word, times the weights
        csc_matvec(len(scores), len(words), offsets, postings, saturation, weights, scores)


def _clear_gaps(scores: Scores, rows: Rows | None) -> None:
    """Take away what documents between the ranges got; outside of all of them nothing was added."""
    if rows is None or len(rows) < 2:
        return
    if len(rows) <= FEW_GAPS:
        for start, stop in zip(rows[:-1, 1].tolist(), rows[1:, 0].tolist(), strict=True):
            scores[start:stop] = 0
    else:
        lengths = np.diff(np.concatenate(([0], rows.ravel(), [len(scores)])))
        scores *= np.repeat(np.arange(len(lengths)) % 2 == 1, lengths)


def _reached(values: Scores, k: int) -> float:
    """A value which at least ``k`` of ``values`` have, nearly the highest such; 0 if there are fewer than ``k``."""
    if len(values) < k:
        return 0.0
    groups = GROUPS * k
    if len(values) > 2 * groups:  # the maxima of some groups are different values, so k of them will do
        values = values[: len(values) // groups * groups].reshape(-1, groups).max(axis=0)
    return float(np.partition(values, len(values) - k)[len(values) - k])


def _highest(scores: Scores, k: int) -> Indices:
    """Places of the ``k`` highest of all scores, those with the same, and some more; none with zero."""
    if len(scores) < SMALL:
        least = _reached(scores, k) * (1 - SLACK)
        return np.flatnonzero(scores >= least if least > 0 else scores)
    depth = 1 << (max(1, min(MOST_ROWS, len(scores) // (GROUPS * k))).bit_length() - 1)
    table = scores.reshape(depth, -1)
    peaks = table.max(axis=0)
    least = _reached(peaks, k) * (1 - SLACK)
    if least <= 0:
        return np.flatnonzero(scores)
    columns = np.flatnonzero(peaks >= least)
    row, column = np.divmod(np.flatnonzero(table.take(columns, axis=1) >= least), len(columns))
    return row * table.shape[1] + columns[column]


def _highest_touched(words: Sequence[_Word], scores: Scores, k: int) -> Indices:
    """The same without looking at documents that hold no word."""
    values = [scores[word.postings] for word in words]
    least = max(_reached(some, k) for some in values) * (1 - SLACK)
    kept: list[NDArray[np.int32]] = []
    for word, some in zip(words, values, strict=True):
        found = word.postings[some >= least]
        kept.append(found[scores[found] > 0])
        scores[kept[-1]] *= -1  # a document that holds several words is taken once
    places = np.concatenate(kept)
    scores[places] *= -1
    return places.astype(np.int64)


def _erase(words: Sequence[_Word], scores: Scores, touched: int) -> None:
    if touched * ERASE > len(scores):
        scores.fill(0)
    else:
        for word in words:
            scores[word.postings] = 0


def _best(places: Indices, values: Scores, k: int) -> tuple[Indices, Scores]:
    if len(values) > 4 * k:
        kept = np.flatnonzero(values >= np.partition(values, len(values) - k)[len(values) - k])
        places, values = places[kept], values[kept]
    order = np.lexsort((places, -values))[:k]
    return places[order], values[order]


def _take_zeros(size: int) -> Scores:
    """At least ``size`` zeros; whoever has set them back to zero may leave them to the thread's next search."""
    size = -(-size // MOST_ROWS) * MOST_ROWS
    left: Scores | None = _THREAD.__dict__.pop("zeros", None)
    if left is None or len(left) < size:
        return np.zeros(size, np.float32)
    return left[:size]
