"""Postings of a keyword index, built in bounded memory: sorted runs are spilled, then merged.

A run holds the postings of some consecutive documents, term by term. A saved index is a run, too, so an update merges
it with the runs of what is new; no text is tokenised twice. The memory of both passes is bounded by constants of this
file and some 20 bytes a document; the vocabulary of a run is held while it is written, never that of the corpus.

The model is rank-bm25's BM25Okapi, whose formulas stand here over arrays: its `_calc_idf` wants a dictionary of the
whole vocabulary. What does not depend on the question is computed per posting (the idea of bm25s,
https://arxiv.org/abs/2407.03618), but without the idf, so that one below zero can be raised when it is searched.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass
from itertools import chain, islice, pairwise
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from ray_app.index.npy import NpyWriter
from ray_app.index.tokens import stemmer

Rows32 = NDArray[np.int32]
Indices = NDArray[np.int64]
Floats = NDArray[np.float64]
Block = dict[str, NDArray[Any]]  # piece of each column, of some consecutive terms

RUN_TOKENS = 1_000_000  # of a run before it is spilled: 8 MB of sort keys and some 60,000 words
BATCH = 4_096  # documents turned into numbers at once
BLOCK_POSTINGS = 2_000_000  # merged at once: some 100 MB with the work space
BLOCK_TERMS = 65_536  # of a block at most
HEAD_BYTES = 8  # of a term, as a big-endian number: what a lookup searches before it compares terms
EPSILON = 0.25  # rank-bm25's: share of the average idf that a term held by over half of the documents gets

RUN_FILES = ("terms", "term_offsets", "offsets", "postings", "counts", "lengths")
FILES = (*RUN_FILES, "heads", "saturation", "idf", "shape")  # of a keyword index, each FILE.npy

Fold = Callable[[str], str]


@dataclass(frozen=True, slots=True)
class Run:
    """Postings of some documents, which are known by their position (row) among them."""

    terms: NDArray[np.uint8]  # UTF-8 of all terms one after the other, in byte order
    term_offsets: Indices
    offsets: Indices  # term i owns postings[offsets[i]:offsets[i + 1]]
    postings: Rows32  # rows that hold a term, ascending
    counts: NDArray[Any]  # beside it: how often; uint16, or int32 where that does not do
    lengths: Rows32  # tokens of each row
    stemmed: bool = False

    def __len__(self) -> int:
        return len(self.lengths)

    @property
    def vocabulary(self) -> int:
        return len(self.offsets) - 1

    def names(self, start: int, stop: int) -> list[bytes]:
        """The terms ``start``..``stop``."""
        edges = self.term_offsets[start : stop + 1].tolist()
        text = self.terms[edges[0] : edges[-1]].tobytes()
        return [text[a - edges[0] : b - edges[0]] for a, b in pairwise(edges)]

    def find(self, name: bytes, start: int) -> int:
        """Position from ``start`` of the first term that is not below ``name``."""
        return find(self.terms, self.term_offsets, name, start, self.vocabulary)


class _Vocabulary(dict[str, int]):
    """Numbers of tokens in the order in which they appear; with ``fold`` of what they are folded to."""

    def __init__(self, fold: Fold | None) -> None:
        super().__init__()
        self._fold = fold
        self.names: dict[str, int] = {} if fold else self

    def __missing__(self, token: str) -> int:
        if self._fold is None:
            self[token] = number = len(self)
        else:
            self[token] = number = self.names.setdefault(self._fold(token), len(self.names))
        return number


class _Batch:
    """Documents as numbers, until there are enough for a run."""

    def __init__(self, fold: Fold | None) -> None:
        self._vocabulary = _Vocabulary(fold)
        self._ids: list[Rows32] = []
        self._lengths: list[Rows32] = []
        self._stemmed = fold is not None
        self.tokens = 0

    def add(self, documents: Sequence[list[str]]) -> None:
        lengths = np.fromiter(map(len, documents), np.int32, len(documents))
        tokens = map(self._vocabulary.__getitem__, chain.from_iterable(documents))
        self._ids.append(np.fromiter(tokens, np.int32, int(lengths.sum())))
        self._lengths.append(lengths)
        self.tokens += len(self._ids[-1])

    def run(self) -> Run:
        """Counted by sorting one number per token: term above, row below."""
        names = sorted(self._vocabulary.names)  # strings sort like their UTF-8
        rank = np.empty(len(names), np.uint64)
        rank[[self._vocabulary.names[name] for name in names]] = np.arange(len(names), dtype=np.uint64) << 32
        lengths = np.concatenate(self._lengths) if self._lengths else np.empty(0, np.int32)
        keys = rank[np.concatenate(self._ids)] if self.tokens else np.empty(0, np.uint64)
        keys |= np.repeat(np.arange(len(lengths), dtype=np.uint64), lengths)
        keys.sort()
        first = np.flatnonzero(np.concatenate(([True], keys[1:] != keys[:-1]))) if len(keys) else np.empty(0, np.int64)
        counts = np.diff(first, append=len(keys))
        keys = keys[first]
        encoded = [name.encode(errors="surrogatepass") for name in names]
        return Run(
            terms=np.frombuffer(b"".join(encoded), np.uint8),
            term_offsets=starts(np.fromiter(map(len, encoded), np.int64, len(encoded))),
            offsets=starts(np.bincount((keys >> 32).astype(np.int64), minlength=len(names))),
            postings=(keys & 0xFFFFFFFF).astype(np.int32),
            counts=counts.astype(_count_type(counts)),
            lengths=lengths,
            stemmed=self._stemmed,
        )


class RunWriter:
    """Turns documents into runs, which lie in ``folder`` once they are complete."""

    def __init__(self, folder: Path, *, stemming: bool = False, run_tokens: int = RUN_TOKENS) -> None:
        """``folder`` exists. With ``stemming`` English words are indexed under their stem."""
        self._folder = folder
        self._fold = stemmer() if stemming else None
        self._run_tokens = run_tokens
        self._batch = _Batch(self._fold)
        self._runs: list[Run] = []
        self._rows = 0  # in the batch

    def add(self, documents: Iterable[list[str]]) -> None:
        """Tokens of the next rows, in order."""
        rest = iter(documents)
        while some := list(islice(rest, BATCH)):
            self._batch.add(some)
            self._rows += len(some)
            if self._batch.tokens >= self._run_tokens:
                self._spill()

    def close(self) -> list[Run]:
        """The runs; the rows of each follow those of the one before, from 0. At least one, maybe of no rows."""
        if self._rows or not self._runs:
            self._spill()
        return self._runs

    def _spill(self) -> None:
        target = self._folder / f"run-{len(self._runs):04}"
        target.mkdir()
        run = self._batch.run()
        for name in RUN_FILES:
            np.save(target / f"{name}.npy", getattr(run, name), allow_pickle=False)
        self._runs.append(Run(**mapped(target, RUN_FILES), stemmed=run.stemmed))
        self._batch, self._rows = _Batch(self._fold), 0


def run_of(documents: Iterable[list[str]], *, stemming: bool = False) -> Run:
    """One run of all ``documents``, in memory."""
    batch, rest = _Batch(stemmer() if stemming else None), iter(documents)
    while some := list(islice(rest, BATCH)):
        batch.add(some)
    return batch.run()


def mapped(folder: Path, names: Iterable[str]) -> dict[str, Any]:
    """The arrays NAME.npy of ``folder``, memory-mapped. Raises OSError or ValueError."""
    return {n: np.asarray(np.load(folder / f"{n}.npy", mmap_mode="r", allow_pickle=False)) for n in names}


def merge(runs: Sequence[tuple[Run, Rows32]], size: int, folder: Path, k1: float, b: float) -> list[Path]:
    """Write the files of a keyword index of ``size`` rows into ``folder``; the caller makes them durable.

    Each run comes with a map from its rows to those of the result, -1: dropped; maps need not be monotone. A row that
    no map leads to is an empty document. Idf, average length and saturation are those of rank-bm25 over what remains.
    Raises ValueError when two rows are mapped to one, a row is out of range, or only some runs are stemmed.
    """
    columns: dict[str, NpyWriter] = {}
    with ExitStack() as opened:
        for block in merged(runs, size, k1, b):
            for name, values in block.items():
                if name not in columns:
                    columns[name] = opened.enter_context(NpyWriter(folder / f"{name}.npy", values.dtype))
                columns[name].append(values)
    return [folder / f"{name}.npy" for name in FILES]


def merged(runs: Sequence[tuple[Run, Rows32]], size: int, k1: float, b: float) -> Iterator[Block]:
    """Pieces of the columns FILES, to be put one after the other. Raises ValueError as ``merge``."""
    stemmed = _stemmed(runs)
    lengths = _lengths(runs, size)
    average = float(lengths.sum(dtype=np.int64)) / max(1, size)
    norm = k1 * (1 - b + b * lengths / (average or 1.0))
    counted = np.dtype(np.int32 if any(run.counts.dtype != np.uint16 for run, _ in runs) else np.uint16)
    yield _empty(counted)
    frequencies = [np.empty(0, np.int64)]
    for block in _blocks(runs, counted):
        frequencies.append(block.pop("frequency"))
        occurs = block["counts"].astype(np.float64)
        saturation = occurs * (k1 + 1)
        occurs += norm[block["postings"]]
        saturation /= occurs
        block["saturation"] = saturation.astype(np.float32)
        yield block
    frequency = np.concatenate(frequencies)
    yield {
        "offsets": starts(frequency),
        "idf": _idf(frequency, size),
        "lengths": lengths,
        "shape": np.array([size, stemmed], np.int64),
    }


def _stemmed(runs: Sequence[tuple[Run, Rows32]]) -> bool:
    kinds = {run.stemmed for run, places in runs if (places >= 0).any()} or {any(run.stemmed for run, _ in runs)}
    if len(kinds) > 1:
        raise ValueError("Stemmed and unstemmed postings cannot be merged.")
    return kinds.pop()


def _empty(counted: np.dtype[Any]) -> Block:
    """The columns before the first term."""
    types = {"terms": np.uint8, "heads": np.uint64, "postings": np.int32, "saturation": np.float32}
    nothing: Block = {name: np.empty(0, dtype) for name, dtype in types.items()}
    return {**nothing, "counts": np.empty(0, counted), "term_offsets": np.zeros(1, np.int64)}


def _lengths(runs: Sequence[tuple[Run, Rows32]], size: int) -> Rows32:
    lengths = np.zeros(size, np.int32)
    free = np.ones(size, np.bool_)
    for run, places in runs:
        if len(places) != len(run):
            raise ValueError(f"A map of {len(places)} rows does not fit a run of {len(run)}.")
        kept = places[places >= 0]
        if len(kept) and int(kept.max()) >= size:
            raise ValueError(f"Row {int(kept.max())} is not among {size}.")
        before = np.count_nonzero(free)
        free[kept] = False
        if before - np.count_nonzero(free) != len(kept):
            raise ValueError("Two rows are mapped to the same row.")
        lengths[kept] = run.lengths[places >= 0]
    return lengths


def _idf(frequency: Indices, size: int) -> Floats:
    """BM25Okapi._calc_idf: terms of over half of the documents get EPSILON of the average, which may be below zero."""
    idf = np.log(size - frequency + 0.5) - np.log(frequency + 0.5)
    if len(idf):
        idf[idf < 0] = EPSILON * idf.mean()
    return np.asarray(idf, np.float64)


def _blocks(runs: Sequence[tuple[Run, Rows32]], counted: np.dtype[Any]) -> Iterator[Block]:
    """Terms with their postings in the result's rows, without those that nothing holds any more."""
    orderly = [_ascending(places) for _, places in runs]
    written = 0  # bytes of terms
    for spans in _spans([run for run, _ in runs]):
        parts = [part for part in zip(runs, spans, orderly, strict=True) if part[1].start < part[1].stop]
        names, numbers = _union([run.names(span.start, span.stop) for (run, _), span, _ in parts])
        gathered = [_moved(run, places, span, at) for ((run, places), span, _), at in zip(parts, numbers, strict=True)]
        term, row, count = _in_order(gathered, sort=len(parts) > 1 or not parts[0][2])
        frequency = np.bincount(term, minlength=len(names))
        held = np.flatnonzero(frequency)
        if not len(held):
            continue
        kept = [names[i] for i in held.tolist()] if len(held) < len(names) else names
        ends = written + np.cumsum(np.fromiter(map(len, kept), np.int64, len(kept)))
        written = int(ends[-1])
        yield {
            "terms": np.frombuffer(b"".join(kept), np.uint8),
            "term_offsets": ends,
            "heads": heads(kept),
            "postings": row,
            "counts": count.astype(counted, copy=False),
            "frequency": frequency[held],
        }


def _ascending(places: Rows32) -> bool:
    kept = places[places >= 0]
    return bool((kept[1:] > kept[:-1]).all())


def _spans(runs: Sequence[Run]) -> Iterator[list[slice]]:
    """Spans of terms, one of each run, that hold the same part of the alphabet and few enough postings."""
    share = max(1, len(runs))
    pivots = {name for run in runs for name in _pivots(run, BLOCK_POSTINGS // share, BLOCK_TERMS // share)}
    at = [0] * len(runs)
    for pivot in sorted(pivots):
        ends = [
            find(run.terms, run.term_offsets, pivot, start, run.vocabulary) for run, start in zip(runs, at, strict=True)
        ]
        if ends != at:
            yield [slice(start, stop) for start, stop in zip(at, ends, strict=True)]
        at = ends
    if any(start < run.vocabulary for run, start in zip(runs, at, strict=True)):
        yield [slice(start, run.vocabulary) for run, start in zip(runs, at, strict=True)]


def _pivots(run: Run, postings: int, terms: int) -> Iterator[bytes]:
    at = 0
    while True:
        full = int(np.searchsorted(run.offsets, run.offsets[at] + max(1, postings), "right")) - 1
        at = max(at + 1, min(full, at + max(1, terms)))
        if at >= run.vocabulary:
            return
        yield run.names(at, at + 1)[0]


def _union(names: Sequence[list[bytes]]) -> tuple[list[bytes], list[Indices]]:
    """All names in order, and where those of each list are among them."""
    if len(names) == 1:
        return names[0], [np.arange(len(names[0]))]
    union = sorted(set().union(*names))
    at = {name: i for i, name in enumerate(union)}
    return union, [np.fromiter(map(at.__getitem__, some), np.int64, len(some)) for some in names]


def _moved(run: Run, places: Rows32, span: slice, numbers: Indices) -> tuple[Indices, Rows32, NDArray[Any]]:
    """Term, row of the result and count of each posting that is kept."""
    edges = run.offsets[span.start : span.stop + 1]
    whole = slice(int(edges[0]), int(edges[-1]))
    row = places[run.postings[whole]]
    term, count = np.repeat(numbers, np.diff(edges)), run.counts[whole]
    kept = row >= 0
    return (term, row, count) if kept.all() else (term[kept], row[kept], count[kept])


def _in_order(
    parts: Sequence[tuple[Indices, Rows32, NDArray[Any]]], *, sort: bool
) -> tuple[Indices, Rows32, NDArray[Any]]:
    if not sort:
        return parts[0]
    term, row, count = (np.concatenate([part[i] for part in parts]) for i in range(3))
    order = np.argsort(term << 32 | row, kind="stable")  # merges what is sorted in pieces
    return term[order], row[order], count[order]


def heads(names: Sequence[bytes]) -> NDArray[np.uint64]:
    """The first HEAD_BYTES of each name as a number; in the same order as the names."""
    text = b"".join([name[:HEAD_BYTES].ljust(HEAD_BYTES, b"\0") for name in names])
    return np.frombuffer(text, ">u8").astype(np.uint64)


def find(terms: NDArray[np.uint8], term_offsets: Indices, wanted: bytes, low: int, high: int) -> int:
    """Position of the first term from ``low`` to ``high`` that is not below ``wanted``."""
    while low < high:
        middle = (low + high) // 2
        if terms[term_offsets[middle] : term_offsets[middle + 1]].tobytes() < wanted:
            low = middle + 1
        else:
            high = middle
    return low


def starts(lengths: NDArray[Any]) -> Indices:
    """Where each of some pieces starts that lie one after the other, and where the last one ends."""
    edges = np.zeros(len(lengths) + 1, np.int64)
    np.cumsum(lengths, out=edges[1:])
    return edges


def _count_type(counts: NDArray[Any]) -> type[np.uint16] | type[np.int32]:
    return np.int32 if len(counts) and int(counts.max()) > np.iinfo(np.uint16).max else np.uint16
