"""From the documents of a brand to its next generation, live. Pure: whoever calls says where embedding runs."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace

import pyarrow as pa
import pyarrow.compute as pc

from ray_app.config import Settings
from ray_app.errors import BacklineError, ChecksumMismatch, LeaseLost, PublishRefused, StoreError
from ray_app.index.build import Recipe, Sources, write_generation
from ray_app.index.depot import open_depot
from ray_app.index.digests import Digests, Words
from ray_app.index.embedder import model_id
from ray_app.index.generation import Generation
from ray_app.index.manifest import Manifest, hash_documents
from ray_app.index.ports import Gate, VectorStore
from ray_app.index.publish import Publisher
from ray_app.index.staging import Staging
from ray_app.index.tokens import tokeniser_version
from ray_app.index.vectors import Half
from ray_app.ingest.chunk import CHUNKER_VERSION
from ray_app.ingest.stages import EmbedOrder
from ray_app.observe.log import get_logger
from ray_app.records import ModelId
from ray_app.store.lease import Lease
from ray_app.store.ledger import StoredDocument
from ray_app.store.lost import LOST
from ray_app.store.rejects import Reject
from ray_app.store.stores import Stores

log = get_logger(__name__)

# Cuts and embeds the documents of an order into its staging run; returns the vectors made by each kind of worker.
EmbedRunner = Callable[[EmbedOrder], Mapping[str, int]]

DONOR_ROWS = 65_536  # vectors of an earlier generation looked up at once


@dataclass(frozen=True, slots=True)
class EmbedReport:
    """What embedding and publishing one brand did."""

    brand: str
    generation: str
    published: bool  # False: the live generation stays, ``why`` tells
    documents: int
    chunks: int
    embedded: int  # vectors computed
    reused: int  # chunks whose vector existed already
    seconds: float
    rejected: int = 0  # chunks left out; the table of rejects says why
    why: str = ""  # "unchanged" or "held"
    workers: Mapping[str, int] = field(default_factory=dict)  # vectors by kind of worker, cpu or gpu
    figures: Mapping[str, float] = field(default_factory=dict)  # what the publish gate measured
    degraded: str = ""  # why the vector store is not filled; searches are exact until it is

    def as_dict(self) -> dict[str, object]:
        return asdict(self)


class BrandIndexer:
    """Brings the index of a brand in line with its stored documents, embedding only what no generation has."""

    def __init__(
        self,
        settings: Settings,
        stores: Stores,
        embed: EmbedRunner,
        vectors: VectorStore | None = None,
        gate: Gate | None = None,
    ) -> None:
        """Without ``vectors`` no vector store is kept filled; without ``gate`` everything built is published."""
        self._settings = settings
        self._stores = stores
        self._embed = embed
        self._gate = gate
        self._depot = open_depot(settings)
        self._publisher = Publisher(stores.catalog, self._depot, vectors, settings.index)

    def index(
        self, brand: str, lease: Lease, *, force: bool = False, again: bool = False, embed_anew: bool = False
    ) -> EmbedReport:
        """Build and publish under ``lease``. Nothing is built when nothing changed, unless ``again`` or ``force``.

        ``again`` cuts and tokenises every document anew; vectors are reused all the same, unless ``embed_anew`` has
        them computed, too, whatever is staged. ``force`` publishes what the gate refuses, and ends the hold of a
        rollback. Raises PublishRefused, IndexingError, BadVector, LeaseLost, StoreError, OSError; then the live
        generation stays, and what was embedded is not lost. What goes wrong after the switch is told as degraded.
        """
        started = time.monotonic()
        self._stores.ledger.consolidate(brand, lease.fence)  # a crawl that was killed has not come to it
        again = again or embed_anew
        work = self._work(brand, again=again, embed_anew=embed_anew)
        held = self._stores.catalog.held(brand)
        if held and not force:
            return work.stays("held", time.monotonic() - started)
        if work.live is not None and not again and not (held and force) and work.is_live():
            degraded = self._finish(work, lease)
            return replace(work.stays("unchanged", time.monotonic() - started), degraded=degraded)
        return self._build(work, lease, started, force=force)

    def _work(self, brand: str, *, again: bool, embed_anew: bool) -> _Work:
        settings = self._settings.embedding
        live, earlier = self._generations(brand)
        work = _Work(
            brand,
            documents=self._stores.ledger.documents(brand),
            model=model_id(settings),
            recipe=f"{CHUNKER_VERSION}/{settings.chunk_tokens}/{settings.overlap_tokens}",
            tokeniser=tokeniser_version(self._settings.index.stemming),
            live=live,
            earlier=earlier,
            again=again,
            embed_anew=embed_anew,
        )
        return work.without_lost()

    def _generations(self, brand: str) -> tuple[Generation | None, list[Generation]]:
        """The live generation, and when it is damaged or missing, others whose vectors may serve."""
        live = self._stores.catalog.live(brand)
        names = [row.generation for row in self._stores.catalog.generations(brand) if row.generation != live]
        if live is not None and (opened := self._open(brand, live)) is not None:
            return opened, []
        return None, [found for name in names if (found := self._open(brand, name)) is not None]

    def _open(self, brand: str, name: str) -> Generation | None:
        """None when it is damaged: nothing of it is trusted then."""
        try:
            return Generation.open(self._depot.fetch(brand, name), verify=True)
        except ChecksumMismatch as error:
            log.error("generation_damaged", brand=brand, generation=name, error=str(error))
            return None

    def _build(self, work: _Work, lease: Lease, started: float, *, force: bool) -> EmbedReport:
        staging = Staging(self._stores.staging_root, work.brand, work.model)
        if work.embed_anew:
            staging.clear()
        kept = work.kept()
        changed = [document for document in work.documents if document.url not in kept]
        run = staging.new_run([donor.keys.digests for donor in work.donors()])
        workers = self._embed(EmbedOrder(work.brand, changed, work.model, staging, run)) if changed else {}
        lease.check()
        intake = _Intake(staging, run, str(work.model))
        manifest = write_generation(
            self._depot.root,
            work.brand,
            Recipe(work.model, self._settings.index, work.recipe, self._settings.embedding.model),
            work.sources(kept, intake),
            parent=work.live.name if work.live else "",
            now=time.time(),
            check=lease.confirm,
        )
        name = manifest.generation
        try:
            figures = self._judge(work, manifest, force=force)
            self._stores.rejects.replace(work.brand, kept, intake.rejects, lease.fence)
            done = self._publisher.publish(
                work.brand, name, fence=lease.fence, now=time.time(), figures=figures, refill=work.embed_anew
            )
        except (BacklineError, OSError) as error:
            self._discard(work.brand, name, error)
            raise
        staging.clear(finished=not done.degraded)
        return EmbedReport(
            brand=work.brand,
            generation=name,
            published=True,
            documents=manifest.documents,
            chunks=manifest.chunks,
            embedded=intake.embedded,
            reused=max(0, manifest.chunks - intake.embedded),
            seconds=time.monotonic() - started,
            rejected=len(intake.rejects),
            workers=workers,
            figures=figures,
            degraded=done.degraded,
        )

    def _discard(self, brand: str, name: str, error: Exception) -> None:
        """Remove what was built and not switched to: nobody judged it good, or it holds what somebody forgets."""
        try:
            recorded = any(row.generation == name for row in self._stores.catalog.generations(brand))
            if not recorded or (isinstance(error, LeaseLost) and self._stores.catalog.live(brand) != name):
                self._depot.remove(brand, name)
        except (StoreError, OSError) as problem:  # it is collected later, as what a killed run leaves is
            log.warning("built_generation_stays", brand=brand, generation=name, error=str(problem))

    def _finish(self, work: _Work, lease: Lease) -> str:
        """Do what a run left that was killed after the switch or had no vector store; why there is still none."""
        staging = Staging(self._stores.staging_root, work.brand, work.model)
        if not staging.unfinished():
            return ""
        done = self._publisher.tidy(work.brand, time.time(), lease.fence)
        problem = done.degraded if done is not None else ""
        staging.clear(finished=not problem)
        return problem

    def _judge(self, work: _Work, manifest: Manifest, *, force: bool) -> Mapping[str, float]:
        """What the gate measured. Raises PublishRefused, unless forced."""
        if self._gate is None:
            return {}
        path = self._depot.path(work.brand, manifest.generation)
        former = work.live or next(iter(work.earlier), None)  # the newest good one, when the live one is damaged
        verdict = self._gate.judge(Generation.open(path, verify=False), former)
        log.info("generation_judged", brand=work.brand, passed=verdict.passed, why=verdict.why, **verdict.figures)
        if not verdict.passed and not force:
            raise PublishRefused(verdict.why, hint="Look into it, or publish all the same with --force.")
        return verdict.figures


@dataclass(frozen=True, slots=True)
class _Work:
    """What the next generation is made from."""

    brand: str
    documents: Sequence[StoredDocument]
    model: ModelId
    recipe: str  # how documents are cut
    tokeniser: str
    live: Generation | None
    earlier: Sequence[Generation]  # good ones, when the live one is not
    again: bool
    embed_anew: bool  # no vector is taken from anywhere

    def without_lost(self) -> _Work:
        """Without documents whose text is lost until it is fetched anew, but for those that are taken over uncut."""
        if not any(document.page.part == LOST for document in self.documents):
            return self
        kept = self.kept()
        there = [document for document in self.documents if document.page.part != LOST or document.url in kept]
        log.warning("lost_texts_left_out", brand=self.brand, documents=len(self.documents) - len(there))
        return replace(self, documents=there)

    def is_live(self) -> bool:
        """Whether the live generation already holds just these documents, cut, tokenised and embedded this way."""
        corpus = hash_documents((document.url, document.content_hash) for document in self.documents)
        return self._alike() and self.live is not None and self.live.manifest.corpus_hash == corpus

    def _alike(self) -> bool:
        """Whether the live generation was made by the same model, cut and tokenised the same way."""
        if self.live is None:
            return False
        held = self.live.manifest
        now = (self.model, self.recipe, self.tokeniser)
        return (held.model, held.chunker_version, held.tokeniser_version) == now

    def kept(self) -> set[str]:
        """URLs whose chunks are taken from the live generation as they are; ``again`` only those of lost texts."""
        if self.live is None or not self._alike():
            return set()
        held = self.live.documents()
        wanted = [one for one in self.documents if not self.again or one.page.part == LOST]
        return {document.url for document in wanted if held.get(document.url) == document.content_hash}

    def donors(self) -> list[Generation]:
        """Generations whose vectors the same model made."""
        if self.embed_anew:
            return []
        every = [self.live, *self.earlier] if self.live else list(self.earlier)
        return [one for one in every if one.manifest.model == self.model]

    def sources(self, kept: set[str], intake: _Intake) -> Sources:
        """For the builder."""

        def find(wanted: Digests) -> Iterator[tuple[Words, Half]]:
            yield from intake.staging.find(wanted)
            for donor in self.donors():
                yield from _donated(donor, wanted)

        return Sources(
            documents=[(document.url, document.content_hash) for document in self.documents],
            added=intake.tables(),
            base=self.live if kept else None,
            kept=kept,
            find=find,
        )

    def stays(self, why: str, seconds: float) -> EmbedReport:
        """The report when the live generation stays. Raises ChecksumMismatch when it is held and damaged."""
        if self.live is None:
            raise ChecksumMismatch(
                f"The live generation of {self.brand!r} is damaged, and a rollback holds it.",
                hint=f"backline index verify --brand {self.brand}",
            )
        held = self.live.manifest
        return EmbedReport(
            self.brand, held.generation, False, held.documents, held.chunks, 0, held.chunks, seconds, why=why
        )


def _donated(donor: Generation, wanted: Digests) -> Iterator[tuple[Words, Half]]:
    for start in range(0, len(wanted), DONOR_ROWS):
        keys = wanted.words[:, start : start + DONOR_ROWS]
        rows = donor.keys.rows_of(keys)
        yield keys[:, rows >= 0], donor.vectors[rows[rows >= 0]]


class _Intake:
    """The staged rows of one run on their way into a generation; those that were rejected stay behind."""

    def __init__(self, staging: Staging, run: str, model: str) -> None:
        self.staging = staging
        self._run = run
        self._model = model
        self.rejects: list[Reject] = []
        self.embedded = 0

    def tables(self) -> Iterator[pa.Table]:
        """Rows that have, or will find, a vector."""
        for table in self.staging.tables(self._run):
            fine = pc.is_null(table.column("reject"))
            self.embedded += table.num_rows - table.column("vector").null_count
            bad = table.filter(pc.invert(fine)).select(["chunk_id", "url", "reject", "detail"])
            self.rejects += [
                Reject(row["chunk_id"], row["url"], row["reject"], row["detail"] or "", self._model, time.time())
                for row in bad.to_pylist()
            ]
            yield table.filter(fine)
