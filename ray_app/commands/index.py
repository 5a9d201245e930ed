"""The generations of a brand: list, go back, check and repair, tidy up, build anew."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from dataclasses import asdict
from typing import TYPE_CHECKING, Annotated

import typer

from ray_app.commands.output import (
    EXIT_FAILED,
    EXIT_PARTLY,
    AsJson,
    clock,
    emit,
    emit_lines,
    note,
    say,
    settings_for,
    table,
)

if TYPE_CHECKING:
    from ray_app.config import Settings
    from ray_app.index.ports import Gate, VectorStore
    from ray_app.ingest.rollback import RolledBack
    from ray_app.ingest.verify import Finding
    from ray_app.store.stores import Stores

Brand = Annotated[str, typer.Option("--brand", "-b", help="Brand.")]
Brands = Annotated[list[str] | None, typer.Option("--brand", "-b", help="Brand; repeatable. None: every brand.")]
Wait = Annotated[float, typer.Option("--wait", min=0, metavar="S", help="Wait so long for another run to end.")]

MIB = 2**20

index_app = typer.Typer(help="The index of a brand.", no_args_is_help=True)


def register(app: typer.Typer) -> None:
    """Add the commands of this module."""
    index_app.command("list")(list_generations)
    index_app.command()(rollback)
    index_app.command()(verify)
    index_app.command()(optimize)
    index_app.command()(reindex)
    app.add_typer(index_app, name="index")


def list_generations(brand: Brands = None, as_json: AsJson = False) -> None:
    """List the generations kept: the live one, whether a rollback holds it, and what the publish gate measured."""
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        live = opened.catalog.pointers()
        rows = [
            {**asdict(row), "live": live.get(name) == row.generation}
            for name in _known(opened, brand)
            for row in opened.catalog.generations(name)
        ]
    if as_json:
        emit_lines(rows)
        return
    columns = ("", "brand", "generation", "documents", "chunks", "nDCG@10", "model", "made (UTC)")
    table(columns, (_row(row) for row in rows))


def _row(row: Mapping[str, object]) -> tuple[object, ...]:
    figures = row["figures"] if isinstance(row["figures"], Mapping) else {}
    mark = "held" if row["held"] else "*" if row["live"] else ""
    measured = figures.get("ndcg@10")
    gate = "-" if measured is None else f"{measured:.3f}"
    made = row["created_at"] if isinstance(row["created_at"], float) else None
    return (
        *(mark, row["brand"], row["generation"], row["documents"], row["chunks"]),
        *(gate, row["model"], clock(made)),
    )


def rollback(
    brand: Brand,
    to: Annotated[str, typer.Option("--to", help="This generation; without it the newest earlier one.")] = "",
    hold: Annotated[
        bool, typer.Option("--hold", help="Publish nothing until `backline embed --force` is run for the brand.")
    ] = False,
    wait: Wait = 0.0,
    as_json: AsJson = False,
) -> None:
    """Make an earlier generation the live one, at once. Its checksums are compared first."""
    from ray_app.ingest.rollback import roll_back
    from ray_app.store.lease import Lease
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        opened.catalog.brand(brand)
        # The vectors of kept generations are in the store already; only a brand searched through it is looked at again.
        largest = max((row.chunks for row in opened.catalog.generations(brand)), default=0)
        searched = settings.chroma.fill and largest > settings.index.exact_max_chunks
        ttl_s = settings.crawl.lease_s
        with (
            _vectors(settings, wanted=searched) as store,
            Lease(opened.ledger, brand, label="rollback", ttl_s=ttl_s, wait_s=wait) as lease,
        ):
            done = roll_back(settings, opened, lease, brand, to=to, hold=hold, vectors=store)
    if as_json:
        emit(done.as_dict())
    else:
        _tell_rollback(done)
    if done.degraded:
        raise typer.Exit(EXIT_PARTLY)


def _tell_rollback(done: RolledBack) -> None:
    brand = done.brand
    say(f"{brand}: generation {done.generation} is live, with {done.documents} documents and {done.chunks} chunks")
    if done.held:
        say(f"It is held: nothing is published until `backline embed --brand {brand} --force`.")
    else:
        say(
            "It is not held: the next scheduled embedding or crawl publishes the stored texts again, at most six hours "
            "later, even if nothing changed."
        )
        say(f"Keep it with `backline index rollback --brand {brand} --to {done.generation} --hold`.")
    if done.degraded:
        say(f"The vector store is not in line: {done.degraded}", "red")


def verify(
    brand: Brands = None,
    repair: Annotated[
        bool, typer.Option("--repair/--no-repair", help="Repair what is found, or only tell of it.")
    ] = True,
    wait: Wait = 0.0,
    as_json: AsJson = False,
) -> None:
    """Compare SQL, stored texts, generations and the vector store with one another, to the last byte, and repair."""
    from ray_app.on_ray.gates import publish_gate
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        names = _known(opened, brand)
        with _vectors(settings, wanted=settings.chroma.fill, session=repair) as store:
            gate = publish_gate(settings)
            found = {n: _verified(settings, opened, n, store, gate, repair=repair, wait_s=wait) for n in names}
    findings = [one for own in found.values() for one in own]
    if as_json:
        emit({"brands": names, "findings": [one.as_dict() for one in findings]})
    else:
        for one in findings:
            say(f"{one.brand}: {one.what}", "" if one.repaired else "red")
            if one.how:
                say(f"  {one.how}")
        left = sum(not one.repaired for one in findings)
        said = f"{len(findings)} differences, {left} of them not repaired" if findings else "everything agrees"
        say(f"{len(names)} brands: {said}", "bold")
    bad = sum(any(not one.repaired for one in own) for own in found.values())
    _exit(bad, len(found))


def _verified(
    settings: Settings,
    opened: Stores,
    brand: str,
    store: VectorStore | None,
    gate: Gate | None,
    *,
    repair: bool,
    wait_s: float,
) -> list[Finding]:
    """What goes wrong with one brand is a finding, so that those of the others are told all the same."""
    from dataclasses import replace

    from ray_app.errors import BacklineError, LeaseHeld
    from ray_app.ingest.verify import Finding, Verifier
    from ray_app.on_ray.pipeline import WORKER_FAILED, indexer
    from ray_app.store.lease import Lease

    verifier = Verifier(settings, opened, indexer(settings, opened, store, gate), store)
    try:
        if not repair:
            return verifier.verify(brand, None)
        with Lease(opened.ledger, brand, label="verify", ttl_s=settings.crawl.lease_s, wait_s=wait_s) as lease:
            return verifier.verify(brand, lease)
    except LeaseHeld as error:  # what a run is at work on is only looked at
        return [replace(one, how=error.message) for one in verifier.verify(brand, None)]
    except (BacklineError, OSError, WORKER_FAILED) as error:
        return [Finding(brand, "unfinished", "The check was cut short.", False, str(error))]


def optimize(brand: Brands = None, as_json: AsJson = False) -> None:
    """Give back space: old generations, vectors of none, stored texts that were replaced, free pages of SQL."""
    from ray_app.on_ray.maintenance import optimize as run
    from ray_app.store.stores import stores

    settings = settings_for()
    with stores(settings) as opened:
        names = _known(opened, brand)
        with _vectors(settings, wanted=settings.chroma.fill):
            done = run(settings, opened, names)
    brands = done["brands"]
    if as_json:
        emit(done)
    else:
        columns = ("brand", "before", "after", "generations", "vectors", "page parts", "problem")
        table(columns, (_optimized(one) for one in brands))
        say(f"data directory {done['bytes_before'] / MIB:.1f} -> {done['bytes_after'] / MIB:.1f} MiB", "bold")
    _exit(sum(bool(one["error"] or one["problem"]) for one in brands), len(brands))


def _optimized(one: Mapping[str, object]) -> tuple[object, ...]:
    if one["error"]:
        return (one["brand"], *("-",) * 5, one["error"])
    sizes = (f"{int(str(one[name])) / MIB:.1f} MiB" for name in ("bytes_before", "bytes_after"))
    parts = f"-{one['parts_removed']}, {one['parts_rewritten']} rewritten"
    vectors = f"+{one['vectors_upserted']} -{one['vectors_deleted']}"
    return (one["brand"], *sizes, f"-{one['generations_removed']}", vectors, parts, one["problem"] or one["note"])


def reindex(
    brand: Annotated[list[str], typer.Option("--brand", "-b", help="Brand; repeatable.")],
    embed_anew: Annotated[bool, typer.Option("--embed-anew", help="Compute every vector anew, too.")] = False,
    force: Annotated[
        bool, typer.Option("--force", help="Publish what the gate refuses, and end the hold of a rollback.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Cut, tokenise and publish the stored texts anew, without crawling. Vectors of the same texts are reused."""
    from ray_app.commands.lane import run_targets
    from ray_app.on_ray.pipeline import Steps
    from ray_app.on_ray.targets import Target

    steps = Steps(crawl=False, again=True, embed_anew=embed_anew, force=force)
    run_targets(Target("").each(brand), steps, as_json)


def _known(opened: Stores, brands: Sequence[str] | None) -> list[str]:
    """The brands named, or all. Raises UnknownBrand."""
    for name in brands or ():
        opened.catalog.brand(name)
    return list(brands or opened.catalog.brands())


@contextmanager
def _vectors(settings: Settings, *, wanted: bool, session: bool = False) -> Iterator[VectorStore | None]:
    """The vector store when it is ``wanted``, in a Ray session when its owner or the caller needs one."""
    from ray_app.on_ray.session import connect
    from ray_app.on_ray.vector_owner import vector_store

    needed = session or (wanted and not settings.chroma.host)
    if needed:
        note("Starting Ray...")
    with connect(settings) if needed else nullcontext():
        yield vector_store(settings) if wanted else None


def _exit(bad: int, of: int) -> None:
    if bad:
        raise typer.Exit(EXIT_FAILED if bad == of else EXIT_PARTLY)
