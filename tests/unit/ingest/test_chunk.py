"""Chunks: within budget, within sections, nothing lost, the same ids every time."""

from __future__ import annotations

import re
import time
from collections.abc import Sequence
from itertools import pairwise

from hypothesis import given, settings
from hypothesis import strategies as st

from ray_app.ingest.blocks import Kind, parse, sentences
from ray_app.ingest.chunk import Chunker
from ray_app.records import Chunk, Document, ModelId, Section

MODEL = ModelId("m", "r1", 4)
WORD = re.compile(r"\w+")


class Words:
    """Counts words and signs, like a word-piece model with a large vocabulary."""

    def count(self, text: str) -> int:
        return len(re.findall(r"\w+|[^\w\s]", text))


class Quarters:
    """Counts characters, white space included: the harshest kind of counter."""

    def __init__(self) -> None:
        self.calls = 0

    def count(self, text: str) -> int:
        return -(-len(text) // 4)

    def counts(self, texts: list[str]) -> list[int]:
        self.calls += 1
        return [self.count(text) for text in texts]


def document(*texts: str, title: str = "Fan X100", path: Sequence[str] = ("Care",)) -> Document:
    sections = tuple(Section(tuple(path), f"#s{i}", text) for i, text in enumerate(texts))
    return Document("b", "https://x.org/p", title, "en", "html", sections, "h" * 32)


def chunks(*texts: str, tokens: int = 40, overlap: int = 8, title: str = "Fan X100") -> list[Chunk]:
    return Chunker(Words(), tokens, overlap).chunks(document(*texts, title=title), MODEL)


def texts(*sections: str, tokens: int = 40, overlap: int = 8) -> list[str]:
    return [chunk.text for chunk in chunks(*sections, tokens=tokens, overlap=overlap)]


def test_blocks_are_packed_whole_and_never_over_sections() -> None:
    first, second = "One two.\n\nThree four.", "Five."
    found = chunks(first, second)
    assert [(c.text, c.anchor, c.ordinal) for c in found] == [(first, "#s0", 0), (second, "#s1", 1)]
    assert found[0].section == ("Care",)
    assert found[0].embedding_text == f"Fan X100 > Care\n{first}"


def test_a_block_that_does_not_fit_begins_the_next_chunk() -> None:
    blocks = [" ".join(f"w{i}{j}" for j in range(20)) for i in range(3)]
    assert texts("\n\n".join(blocks)) == blocks


def test_a_lead_in_moves_to_what_it_leads_in() -> None:
    filler, items = " ".join(["word"] * 24), "\n".join(f"- item number {i}" for i in range(5))
    assert texts(f"{filler}\n\nDo this:\n\n{items}") == [filler, f"Do this:\n\n{items}"]


def test_long_paragraphs_are_cut_at_sentences_that_overlap() -> None:
    found = texts(" ".join(f"Sentence number {i} has six words." for i in range(9)))
    assert all(text.endswith(".") for text in found)
    for before, after in pairwise(found):
        assert before.endswith(after[: after.index(".") + 1])


def test_without_overlap_nothing_is_repeated() -> None:
    text = " ".join(f"Sentence number {i} has six words." for i in range(9))
    assert " ".join(texts(text, overlap=0)) == text


def test_tables_are_cut_by_rows_under_their_header() -> None:
    header = "| Code | Meaning |\n|-|-|"
    body = [f"| E{i} | fault number {i} |" for i in range(12)]
    found = texts("\n".join([header, *body]))
    assert len(found) > 2
    assert all(text.startswith(header + "\n| E") for text in found)
    assert [line for text in found for line in text.split("\n")[2:]] == body


def test_a_row_too_long_for_a_chunk_is_told_as_text() -> None:
    long = " ".join(f"word{i}" for i in range(90))
    found = texts(f"| Code | Meaning |\n|-|-|\n| E1 | short |\n| E2 | {long} |")
    assert found[0].endswith("| E1 | short |")
    assert found[1].startswith("Code Meaning: E2 word0")
    assert set(WORD.findall(long)) <= set(WORD.findall(" ".join(found)))


def test_code_is_cut_by_lines_and_stays_fenced() -> None:
    lines = [f"call({i}, x)" for i in range(20)]
    found = texts("````\n" + "\n".join(lines) + "\n````")
    assert all(text.startswith("````\n") and text.endswith("\n````") for text in found)
    assert [line for text in found for line in text.split("\n")[1:-1]] == lines


def test_a_fence_that_leaves_its_code_no_room_is_dropped() -> None:
    lines = [f"abc{i} def{i}" for i in range(30)]
    found = texts("\n".join(["`" * 60, *lines, "`" * 60]), overlap=0)
    assert "\n".join(found) == "\n".join(lines)
    assert len(found) < 5


def test_fences_that_never_close_are_read_in_time() -> None:
    started = time.process_time()
    blocks = parse("\n".join(f"``` {i}" for i in range(10_000)))
    assert len(blocks) == 10_000
    assert time.process_time() - started < 1.0  # a few hundredths


def test_code_ends_at_the_next_fence_of_its_length() -> None:
    text = "```\na\n````\nb\n```\n\n````\nc\n```\nd\n````"
    assert [(block.kind, block.text[-5:]) for block in parse(text)] == [(Kind.CODE, "b\n```"), (Kind.CODE, "\n````")]


def test_lists_are_cut_by_items() -> None:
    items = [f"- item {i} is here\n  - with more" for i in range(12)]
    found = texts("\n".join(items))
    assert len(found) > 2
    assert all(text.startswith("- item") for text in found)
    assert "\n".join(found) == "\n".join(items)


def test_text_without_spaces_is_cut_anyway() -> None:
    text = "".join(f"x{i}" for i in range(1_000))
    found = Chunker(Quarters(), 40, 0).chunks(document(text), MODEL)
    assert "".join(chunk.text for chunk in found) == text
    assert all(Quarters().count(chunk.embedding_text) <= 40 for chunk in found)


def test_the_gap_before_a_cut_block_counts() -> None:
    code, rest = f"```\n{'a' * 12}\n```", "c" * 20  # 5 tokens; the gap makes 22 of the 21 that follow
    for long in (f"{'b' * 83}. {rest}", f"- {'b' * 81}\n- {rest}"):
        source = document(f"{code}\n\n{long}", title="", path=("Car",))
        found = Chunker(Quarters(), 27, 0).chunks(source, MODEL)
        assert all(Quarters().count(chunk.embedding_text) <= 27 for chunk in found)


def test_signs_alone_are_no_chunk() -> None:
    assert texts("---\n\n***", "Words.", "```\n{}\n```") == ["Words."]


def test_a_passage_that_stands_twice_is_kept_once() -> None:
    twice = document("Same.", "Other.")
    again = Section(("Care",), "#s0", "Same.")
    found = Chunker(Words(), 40, 0).chunks(
        Document("b", twice.url, twice.title, "", "html", (*twice.sections, again), ""), MODEL
    )
    assert [(chunk.text, chunk.ordinal) for chunk in found] == [("Same.", 0), ("Other.", 1)]


def test_headings_leave_room_for_the_text() -> None:
    long = tuple(f"{name} {'heading words ' * 20}" for name in "ABC")
    found = Chunker(Words(), 40, 0).chunks(document("Some text.", title="T " * 90, path=long), MODEL)
    assert [chunk.text for chunk in found] == ["Some text."]
    assert Words().count(found[0].embedding_text) <= 40
    assert found[0].section[-1].startswith("C heading")


def test_ids_follow_content_place_and_model() -> None:
    base = chunks("Text.")[0]
    assert len(base.chunk_id) == len(base.embedding_key) == 32
    assert chunks("Text.")[0] == base
    other_title = chunks("Text.", title="Fan X200")[0]
    assert other_title.chunk_id != base.chunk_id
    assert other_title.embedding_key != base.embedding_key
    elsewhere = chunks("Else.", "Text.")[1]
    assert elsewhere.chunk_id != base.chunk_id
    assert elsewhere.embedding_key == base.embedding_key
    other_model = Chunker(Words(), 40, 8).chunks(document("Text."), ModelId("m", "r2", 4))[0]
    assert other_model.chunk_id == base.chunk_id
    assert other_model.embedding_key != base.embedding_key


def test_blocks_of_a_document_are_counted_in_one_call() -> None:
    counter = Quarters()
    Chunker(counter, 400, 8).chunks(document(*["One.\n\nTwo."] * 50), MODEL)
    assert counter.calls == 1


def test_blocks_join_to_the_text_again() -> None:
    text = "Para\nline\n\n- a\n  ```\n  x\n\n  y\n  ```\n- b\n\n```\nc\n\nd\n```\n| x | y |\n|-|-|\n| 1 | 2 |\n\n\nEnd"
    blocks = parse(text)
    assert "".join(block.glue + block.text for block in blocks) == text
    assert [block.kind for block in blocks] == [Kind.PARAGRAPH, Kind.LIST, Kind.CODE, Kind.TABLE, Kind.PARAGRAPH]


@given(st.text(alphabet="aB.!。？ \n\"'1", max_size=60))
def test_sentences_join_to_the_text_again(text: str) -> None:
    assert "".join(part.glue + part.text for part in sentences(text)).strip() == text.strip()


_word = st.text(alphabet="abcdefgh_é", min_size=1, max_size=9)
_line = st.lists(_word, min_size=1, max_size=25).map(" ".join)
_block = st.one_of(
    st.lists(_line, min_size=1, max_size=6).map(lambda lines: ". ".join(lines) + "."),
    st.lists(_line, min_size=1, max_size=6).map(lambda lines: "\n".join(f"- {line}" for line in lines)),
    st.lists(_line, min_size=1, max_size=8).map(lambda lines: "\n".join(["```", *lines, "```"])),
    st.lists(_line, min_size=2, max_size=8).map(
        lambda lines: "\n".join([f"| {lines[0]} | k |", "|-|-|", *(f"| {line} | v |" for line in lines[1:])])
    ),
    _line.map(lambda line: f"{line}:"),
)
_section = st.lists(_block, min_size=1, max_size=5).map("\n\n".join)


@settings(max_examples=60, deadline=None)
@given(st.lists(_section, min_size=1, max_size=3), st.integers(32, 90), st.integers(0, 60), st.booleans())
def test_nothing_is_lost_and_nothing_too_long(parts: list[str], tokens: int, overlap: int, by_words: bool) -> None:
    counter = Words() if by_words else Quarters()
    source = document(*parts)
    found = Chunker(counter, tokens, overlap).chunks(source, MODEL)
    assert all(counter.count(chunk.embedding_text) <= tokens for chunk in found)
    assert len({chunk.chunk_id for chunk in found}) == len(found)
    assert found == Chunker(counter, tokens, overlap).chunks(source, MODEL)
    for section in source.sections:
        kept = {word for chunk in found if chunk.anchor == section.anchor for word in WORD.findall(chunk.text)}
        assert {word for word in WORD.findall(section.text) if word.strip("_")} <= kept
