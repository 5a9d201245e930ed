"""Documents to chunks: passages within one section that fit the embedding model.

A chunk holds whole blocks where they fit. A block that does not is cut: a table by rows under its repeated header,
code by lines inside its fence, a list by items, a paragraph by sentences that overlap.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from typing import Protocol, runtime_checkable

from ray_app.ingest.blocks import Block, Kind, cells, code_lines, items, parse, rows, sentences, split
from ray_app.records import Chunk, Document, ModelId, Section

CHUNKER_VERSION = "1"
HEADING_SHARE = 0.5  # of the budget at most for title and headings; longer ones lose words in the middle
HEADER_SHARE = 0.5  # of the room at most for a repeated table header or the fences around code
LEAD_IN_SHARE = 0.25  # of the room at most for a line ("Do this:") that is kept with what follows it
_WORD = re.compile(r"[^\W_]")


class TokenCounter(Protocol):
    """Counts a model's tokens. The count of two texts joined is at most the sum of their counts."""

    def count(self, text: str) -> int: ...


@runtime_checkable
class BatchTokenCounter(TokenCounter, Protocol):
    """Counts many texts in one call, which is several times faster."""

    def counts(self, texts: list[str]) -> list[int]: ...


@dataclass(frozen=True, slots=True)
class _Piece:
    """A block or part of one, with its tokens. ``whole`` pieces are not repeated as overlap."""

    text: str
    glue: str
    tokens: int
    whole: bool = True


@dataclass(frozen=True, slots=True)
class _Heading:
    """Title and section path as they enter the chunk, and what they leave for its text."""

    title: str
    path: tuple[str, ...]
    room: int  # tokens


class Chunker:
    """``chunk_tokens`` bounds the tokens of ``Chunk.embedding_text``; a cut paragraph repeats ``overlap_tokens``."""

    def __init__(self, counter: TokenCounter, chunk_tokens: int, overlap_tokens: int) -> None:
        self._counter = counter
        self._batched = counter if isinstance(counter, BatchTokenCounter) else None
        self._budget = chunk_tokens
        self._overlap = min(overlap_tokens, chunk_tokens // 4)  # more would repeat more than it adds

    def chunks(self, document: Document, model: ModelId) -> list[Chunk]:
        """The chunks of a document in reading order. A passage that stands twice under one heading is kept once."""
        parsed = [(section, parse(section.text)) for section in document.sections]
        counts = iter(self._counts([f"{block.glue}{block.text}" for _, blocks in parsed for block in blocks]))
        found: dict[str, Chunk] = {}
        headings: dict[tuple[str, ...], _Heading] = {}
        for section, blocks in parsed:
            pieces = [_Piece(block.text, block.glue, next(counts)) for block in blocks]
            heading = headings.get(section.path) or self._heading(document.title, section.path)
            headings[section.path] = heading
            for text in self._texts(blocks, pieces, heading.room):
                chunk = _chunk(document, section, heading, text, model)
                found.setdefault(chunk.chunk_id, chunk)
        return [replace(chunk, ordinal=ordinal) for ordinal, chunk in enumerate(found.values())]

    def _counts(self, texts: list[str]) -> list[int]:
        if self._batched is not None:
            return self._batched.counts(texts)
        return [self._counter.count(text) for text in texts]

    def _heading(self, title: str, path: tuple[str, ...]) -> _Heading:
        """Shortened until it leaves room: first the middle of the path goes, then ends of the titles."""
        limit = int(self._budget * HEADING_SHARE)
        while (used := self._counter.count(_heading_text(title, path))) > limit:
            if len(path) > 1:
                path = (*path[: (len(path) - 1) // 2], *path[(len(path) + 1) // 2 :])
            elif path and len(path[0]) >= len(title):
                path = (_shorter(path[0]),) if len(path[0]) > 1 else ()
            elif len(title) > 1:
                title = _shorter(title)
            else:
                return _Heading("", (), self._budget - self._counter.count(""))
        return _Heading(title, path, self._budget - used)

    # Packing

    def _texts(self, blocks: Sequence[Block], pieces: Sequence[_Piece], room: int) -> Iterator[str]:
        """The texts of a section's chunks."""
        for packed in self._packed(self._fitting(blocks, pieces, room), room):
            text = "".join([packed[0].text, *(f"{piece.glue}{piece.text}" for piece in packed[1:])])
            if _WORD.search(text):
                yield text

    def _fitting(self, blocks: Sequence[Block], pieces: Sequence[_Piece], room: int) -> Iterator[_Piece]:
        for block, piece in zip(blocks, pieces, strict=True):
            if piece.tokens <= room:
                yield piece
            else:
                yield from self._cut(block, room)

    def _packed(self, pieces: Iterable[_Piece], room: int) -> Iterator[list[_Piece]]:
        """Groups of consecutive pieces that fit together."""
        current: list[_Piece] = []
        used = 0
        for piece in pieces:
            if current and used + piece.tokens > room:
                carried = self._carried(current, piece, room)
                moved = len(carried) if carried and carried[0].whole else 0
                yield current[: len(current) - moved]
                current, used = carried, sum(kept.tokens for kept in carried)
            current.append(piece)
            used += piece.tokens
        if current:
            yield current

    def _carried(self, current: Sequence[_Piece], following: _Piece, room: int) -> list[_Piece]:
        """What of a full chunk stands at the start of the next: a lead-in moves, sentences overlap."""
        last = current[-1]
        free = room - following.tokens
        if last.whole:
            moves = last.text.endswith(":") and len(current) > 1 and last.tokens <= min(free, room * LEAD_IN_SHARE)
            return [last] if moves else []
        if following.whole:
            return []
        kept: list[_Piece] = []
        left = min(self._overlap, free)
        for piece in reversed(current[1:]):
            if piece.whole or piece.tokens > left:
                break
            left -= piece.tokens
            kept.insert(0, piece)
        return kept

    # Cutting

    def _cut(self, block: Block, room: int) -> Iterator[_Piece]:
        block = replace(block, glue=block.glue or "\n\n")  # its parts need a gap even where the first has none
        if block.kind is Kind.CODE:
            yield from self._cut_code(block, room)
        elif block.kind is Kind.TABLE:
            yield from self._cut_table(block, room)
        elif block.kind is Kind.LIST:
            yield from self._cut_list(block, room)
        else:
            yield from self._cut_text(block, room)

    def _cut_text(self, block: Block, room: int) -> Iterator[_Piece]:
        """Sentences, and parts of those that are too long."""
        found = _glued(sentences(block.text), block.glue)
        for part, tokens in zip(found, self._counted(found), strict=True):
            if tokens <= room:
                yield _Piece(part.text, part.glue, tokens, whole=False)
                continue
            for piece in split(part, lambda text: self._fits(text, room)):
                yield _Piece(piece.text, piece.glue, self._counter.count(f"{piece.glue}{piece.text}"), whole=False)

    def _cut_list(self, block: Block, room: int) -> Iterator[_Piece]:
        parts = _glued([Block(Kind.PARAGRAPH, text, "\n") for text in items(block.text)], block.glue)
        for part, tokens in zip(parts, self._counted(parts), strict=True):
            if tokens <= room:
                yield _Piece(part.text, part.glue, tokens)
            else:
                yield from self._cut_text(part, room)

    def _cut_table(self, block: Block, room: int) -> Iterator[_Piece]:
        """Groups of rows under the header; a row too long for that is told as text."""
        header, body = rows(block.text)
        head = self._counter.count(f"{block.glue}{header}\n") if header else 0
        if head > room * HEADER_SHARE:
            yield from self._cut_text(Block(Kind.PARAGRAPH, cells(header), block.glue), room)
            header, head = "", 0
        prefix = f"{header}\n" if header else ""
        yield from self._cut_lines(block.glue, body, room - head, prefix, "")

    def _cut_code(self, block: Block, room: int) -> Iterator[_Piece]:
        """Groups of lines, each inside a fence of its own; a line too long for that is broken.

        Code that holds many backticks in a row has a fence longer still, which would leave its lines no room.
        """
        fence, lines = code_lines(block.text)
        around = self._counter.count(f"{block.glue}{fence}\n") + self._counter.count(f"\n{fence}")
        if around > room * HEADER_SHARE:
            yield from self._cut_text(Block(Kind.PARAGRAPH, "\n".join(lines), block.glue), room)
            return
        yield from self._cut_lines(block.glue, lines, room - around, f"{fence}\n", f"\n{fence}")

    def _cut_lines(self, glue: str, lines: Sequence[str], room: int, prefix: str, suffix: str) -> Iterator[_Piece]:
        """Lines in groups between ``prefix`` and ``suffix``; a table row that fits nowhere is told as text."""
        extra = self._counter.count(f"{glue}{prefix}") + self._counter.count(suffix)
        group: list[str] = []
        used = 0
        for line, tokens in self._measured(lines, room, broken=bool(suffix)):
            if group and (used + tokens > room or tokens > room):
                yield _Piece(f"{prefix}{_lines(group)}{suffix}", glue, used + extra)
                group, used = [], 0
            if tokens > room:
                told = ": ".join(filter(None, (cells(prefix.partition("\n")[0]), cells(line))))
                yield from self._cut_text(Block(Kind.PARAGRAPH, told, glue), room)
                continue
            group.append(line)
            used += tokens
        if group:
            yield _Piece(f"{prefix}{_lines(group)}{suffix}", glue, used + extra)

    def _measured(self, lines: Sequence[str], room: int, *, broken: bool) -> Iterator[tuple[str, int]]:
        """Lines with their tokens; when ``broken``, long ones in parts that fit."""
        parts = [Block(Kind.PARAGRAPH, line, "\n") for line in lines]
        for part, tokens in zip(parts, self._counted(parts), strict=True):
            if tokens <= room or not broken:
                yield part.text, tokens
                continue
            for piece in split(part, lambda text: self._fits(text, room)):
                yield piece.text, self._counter.count(f"\n{piece.text}")

    def _counted(self, parts: Sequence[Block]) -> list[int]:
        return self._counts([f"{part.glue}{part.text}" for part in parts])

    def _fits(self, text: str, room: int) -> bool:
        return self._counter.count(f" {text}") <= room


def chunk_id(document: Document, section: Section, embedding_text: str) -> str:
    """32 hex digits. Covers the headings too: a chunk whose embedding changes is another chunk."""
    return _digest(document.brand, document.url, section.anchor, embedding_text, CHUNKER_VERSION)


def embedding_key(embedding_text: str, model: ModelId) -> str:
    """32 hex digits: the same text under the same model has the same vector, on any page."""
    return _digest(embedding_text, model.name, model.revision)


def _digest(*parts: str) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        raw = part.encode("utf-8", "replace")
        digest.update(len(raw).to_bytes(8, "big"))
        digest.update(raw)
    return digest.hexdigest()


def _chunk(document: Document, section: Section, heading: _Heading, text: str, model: ModelId) -> Chunk:
    draft = Chunk(
        chunk_id="",
        brand=document.brand,
        url=document.url,
        title=heading.title,
        section=heading.path,
        anchor=section.anchor,
        text=text,
        lang=document.lang,
        kind=document.kind,
        ordinal=0,
        embedding_key="",
        doc_hash=document.content_hash,
    )
    whole = draft.embedding_text
    return replace(draft, chunk_id=chunk_id(document, section, whole), embedding_key=embedding_key(whole, model))


def _heading_text(title: str, path: tuple[str, ...]) -> str:
    """As in ``Chunk.embedding_text``, with the line's end."""
    parts = dict.fromkeys(part for part in (title, *path) if part)
    return f"{' > '.join(parts)}\n" if parts else ""


def _shorter(text: str) -> str:
    """Three quarters of it, whole words if there are some."""
    cut = text[: max(1, len(text) * 3 // 4)]
    return cut.rpartition(" ")[0] or cut


def _glued(parts: Sequence[Block], glue: str) -> list[Block]:
    """The same, the first of them after that glue."""
    return [*(replace(part, glue=glue) for part in parts[:1]), *parts[1:]]


def _lines(group: Sequence[str]) -> str:
    """Without empty lines at the ends."""
    return "\n".join(group).strip("\n")
