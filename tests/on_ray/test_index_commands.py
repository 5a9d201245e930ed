"""The commands of `backline index`, as a person and a script see them. Starts no Ray."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner, Result

from ray_app.cli import app
from ray_app.config import Settings, load
from ray_app.errors import ChecksumMismatch, InputError, LeaseHeld, LeaseLost
from ray_app.index.build import build_generation
from ray_app.index.depot import open_depot
from ray_app.index.layout import generation_path
from ray_app.index.publish import Publisher
from ray_app.ingest.verify import Finding, Verifier
from ray_app.on_ray import session
from ray_app.records import Chunk, ModelId
from ray_app.store.lease import Lease
from ray_app.store.stores import Stores, stores

MODEL = ModelId("toy", "1", 4)


def digest(text: str) -> str:
    return hashlib.blake2b(text.encode(), digest_size=16).hexdigest()


def publish(settings: Settings, opened: Stores, brand: str, now: float) -> str:
    text, url = f"Text of {now}.", f"https://{brand}.example/a"
    chunk = Chunk(digest(text), brand, url, "T", (), "", text, "en", "html", 0, digest(text), "h")
    manifest = build_generation(
        settings.index_root,
        brand,
        chunks=[chunk],
        documents=[(url, "h")],
        vector_of=lambda keys: np.eye(4)[: len(keys)],
        model=MODEL,
        settings=settings.index,
        chunker_version="1",
        parent="",
        now=now,
    )
    opened.catalog.save_brand(brand, {})
    publisher = Publisher(opened.catalog, open_depot(settings), None, settings.index)
    publisher.publish(brand, manifest.generation, fence=None, now=now, figures={"ndcg@10": 0.5})
    return manifest.generation


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Stores]:
    monkeypatch.setenv("BACKLINE_DATA_DIR", str(tmp_path))
    monkeypatch.setenv("BACKLINE_CHROMA__FILL", "false")
    monkeypatch.setattr(session, "connect", lambda settings: nullcontext())
    with stores(load()) as found:
        yield found


def run(*words: str) -> Result:
    return CliRunner().invoke(app, ["index", *words])


def rows(result: Result) -> list[dict[str, object]]:
    return [json.loads(line) for line in result.stdout.splitlines() if line.startswith("{")]


def findings(result: Result) -> list[dict[str, object]]:
    return json.loads(result.stdout.splitlines()[-1])["findings"]  # type: ignore[no-any-return]


def damage(settings: Settings, brand: str, name: str) -> None:
    (generation_path(settings.index_root, brand, name) / "chunks.arrow").write_bytes(b"x")


def test_the_list_shows_what_is_live_and_what_the_gate_measured(opened: Stores) -> None:
    first, second = (publish(load(), opened, "acme", 1e9 + day) for day in (0, 1))
    publish(load(), opened, "other", 1e9)
    shown = rows(run("list", "--brand", "acme", "--json"))
    assert [(r["generation"], r["live"], r["held"], r["figures"]) for r in shown] == [
        (second, True, False, {"ndcg@10": 0.5}),
        (first, False, False, {"ndcg@10": 0.5}),
    ]
    assert len(rows(run("list", "--json"))) == 3
    assert "0.500" in run("list").stdout


def test_a_rollback_is_told_and_held(opened: Stores) -> None:
    first, second = (publish(load(), opened, "acme", 1e9 + day) for day in (0, 1))
    back = run("rollback", "--brand", "acme")
    assert (back.exit_code, opened.catalog.live("acme")) == (0, first)
    assert "even if nothing changed" in back.stdout
    assert f"--to {first} --hold" in back.stdout
    (told,) = rows(run("rollback", "--brand", "acme", "--to", second, "--hold", "--json"))
    assert (told["generation"], told["former"], told["held"]) == (second, first, True)
    assert "held" in run("list").stdout


def test_what_cannot_be_rolled_back_is_said_in_words(opened: Stores) -> None:
    first, second = (publish(load(), opened, "acme", 1e9 + day) for day in (0, 1))
    damage(load(), "acme", first)
    assert isinstance(run("rollback", "--brand", "acme").exception, ChecksumMismatch)
    assert isinstance(run("rollback", "--brand", "nobody").exception, InputError)
    with Lease(opened.ledger, "acme", label="crawl", ttl_s=60):
        assert isinstance(run("rollback", "--brand", "acme").exception, LeaseHeld)
    assert opened.catalog.live("acme") == second


def test_verify_tells_by_its_exit_code(opened: Stores, monkeypatch: pytest.MonkeyPatch) -> None:
    first, _ = (publish(load(), opened, "acme", 1e9 + day) for day in (0, 1))
    publish(load(), opened, "other", 1e9)
    assert run("verify").exit_code == 0
    damage(load(), "acme", first)
    looked = run("verify", "--no-repair", "--json")
    assert looked.exit_code == 3, "one of two brands"
    assert [(r["brand"], r["kind"], r["repaired"]) for r in findings(looked)] == [("acme", "kept_generation", False)]
    assert run("verify", "--no-repair", "--brand", "acme").exit_code == 1
    with Lease(opened.ledger, "acme", label="crawl", ttl_s=60):
        busy = run("verify", "--brand", "acme", "--json")
    assert busy.exit_code == 1
    assert "is held by crawl" in str(findings(busy)[0]["how"])
    mended = run("verify", "--json")
    assert (mended.exit_code, findings(mended)[0]["repaired"]) == (0, True)
    assert run("verify").stdout.endswith("everything agrees\n")
    assert findings(run("verify", "--json")) == []


def test_what_goes_wrong_with_one_brand_takes_no_finding_of_another(
    opened: Stores, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, _ = (publish(load(), opened, "acme", 1e9 + day) for day in (0, 1))
    publish(load(), opened, "other", 1e9)
    damage(load(), "acme", first)
    real = Verifier.verify

    def broken(self: Verifier, brand: str, lease: Lease | None) -> list[Finding]:
        if brand == "other":
            raise LeaseLost("Somebody took it over.")
        return real(self, brand, lease)

    monkeypatch.setattr(Verifier, "verify", broken)
    done = run("verify", "--json")
    assert done.exit_code == 3
    assert [(r["brand"], r["kind"]) for r in findings(done)] == [("acme", "kept_generation"), ("other", "unfinished")]


def test_optimize_tells_sizes_and_passes_over_a_brand_at_work(opened: Stores) -> None:
    publish(load(), opened, "acme", 1e9)
    publish(load(), opened, "other", 1e9)
    with Lease(opened.ledger, "other", label="crawl", ttl_s=60):
        done = run("optimize", "--json")
    assert done.exit_code == 3
    (told,) = rows(done)
    brands = {str(one["brand"]): one for one in told["brands"]}  # type: ignore[attr-defined]
    assert brands["acme"]["bytes_after"] > 0
    assert "is held by crawl" in brands["other"]["problem"]
    assert (brands["acme"]["error"], brands["other"]["error"]) == (None, None)
    assert "data directory" in run("optimize").stdout
