"""Passages that the tests of the answer lane share."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass

from ray_app.answer.understand import Ask, understand
from ray_app.errors import NoGeneration
from ray_app.index.generation import Generation
from ray_app.records import Chunk, Hit, Question


def asked(text: str, **fields: object) -> Ask:
    return understand(Question(text, **fields), max_chars=4_000)  # type: ignore[arg-type]


def chunk(text: str, *, brand: str = "acme", page: str = "manual", title: str = "", lang: str = "en") -> Chunk:
    key = hashlib.blake2b(f"{brand}{page}{title}{text}".encode(), digest_size=16).hexdigest()
    return Chunk(
        chunk_id=key,
        brand=brand,
        url=f"https://{brand}.example/{page}",
        title=title,
        section=("Setup",),
        anchor="#setup",
        text=text,
        lang=lang,
        kind="html",
        ordinal=0,
        embedding_key=key,
        doc_hash="",
    )


def hit(text: str, *, dense: float = 0.5, bm25: float = 1.0, page: str = "manual", title: str = "") -> Hit:
    return Hit(chunk(text, page=page, title=title), dense, {"dense": dense, "bm25": bm25})


CORPUS = {
    "acme": (
        chunk(
            "To reset the router to factory settings:\n\n1. Unplug every cable.\n2. Hold the reset button for ten "
            "seconds.\n3. Wait until the lamp turns green.\n\nAll passwords are lost.",
            page="reset",
            title="Factory reset",
        ),
        chunk(
            "The MC-707 groovebox weighs 3.0 kg. It runs on the PSB-1U adaptor.\n\n| Model | Power draw |\n|---|---|\n"
            "| MC-707 | 2,000 mA |\n| MC-101 | 500 mA |",
            page="specs",
            title="Specifications",
        ),
        chunk("Warranty lasts two years from the day of purchase. Keep the receipt.", page="warranty"),
        chunk("The printer prints in colour on glossy paper.", page="printer"),
        chunk("Der Drucker druckt farbig.", page="drucker", lang="de"),
    ),
    "bolt": (
        chunk("Bolt kettles switch themselves off when the water boils.", brand="bolt", page="kettle"),
        chunk("Descale the kettle with vinegar every month.", brand="bolt", page="descale"),
    ),
}


@dataclass
class FixedIndex:
    """Published generations without a catalog."""

    generations: dict[str, Generation]
    whole: bool = True  # the vector store holds them

    def get(self, brand: str) -> Generation:
        if brand not in self.generations:
            raise NoGeneration
        return self.generations[brand]

    def brands(self) -> list[str]:
        return sorted(self.generations)

    def in_store(self, brand: str, generation: str) -> bool:
        return self.whole
