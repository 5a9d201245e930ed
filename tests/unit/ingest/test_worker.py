"""From fetch results to outcomes and stored pages."""

from __future__ import annotations

import io
from dataclasses import replace
from pathlib import Path

import pytest
from reportlab.pdfgen.canvas import Canvas

from ray_app.config import CrawlSettings
from ray_app.ingest.brands import BrandConfig, make_brand
from ray_app.ingest.worker import PageWorker
from ray_app.records import FetchResult, FetchTask, PageOutcome, UrlState
from ray_app.store.pages import PageStore

CRAWL = CrawlSettings.model_validate({})
PAGE = b"<html lang=en><title>Fan</title><h1>Fan</h1><p>Hold the button.</p><a href=/next>next</a>"
NEXT = "https://x.org/next"


@pytest.fixture
def pages(tmp_path: Path) -> PageStore:
    return PageStore(tmp_path / "pages")


@pytest.fixture
def worker(pages: PageStore) -> PageWorker:
    return PageWorker(pages, CRAWL)


@pytest.fixture
def brand() -> BrandConfig:
    return make_brand("b", {"start_urls": ["https://x.org/"], "lang": "de"}, CRAWL)


def fetched(body: bytes, name: str = "a", media_type: str = "text/html", **task: str) -> FetchResult:
    return FetchResult(
        task=FetchTask("b", f"https://x.org/{name}", **task),  # type: ignore[arg-type]
        state=UrlState.FETCHED,
        reason="ok",
        status=200,
        body=body,
        media_type=media_type,
        etag='"1"',
        fetched_at=7.0,
        bytes_received=len(body),
    )


def pdf(text: str) -> bytes:
    file = io.BytesIO()
    canvas = Canvas(file)
    canvas.drawString(72, 720, text)
    canvas.save()
    return file.getvalue()


def test_new_texts_go_into_one_part(worker: PageWorker, pages: PageStore, brand: BrandConfig) -> None:
    results = [fetched(PAGE), fetched(b"<p>Kein Titel", "b"), fetched(pdf("Read me."), "c.pdf", "application/pdf")]
    outcomes = worker.process(brand, results)
    assert [(o.state, o.reason) for o in outcomes] == [(UrlState.FETCHED, "ok")] * 3
    refs = [o.page for o in outcomes if o.page]
    assert [ref.row for ref in refs] == [0, 1, 2]
    assert pages.parts("b") == [refs[0].part]
    stored = pages.read("b", refs)
    assert [(d.title, d.lang, d.kind) for d in stored] == [
        ("Fan", "en", "html"),
        ("", "de", "html"),
        ("c.pdf", "de", "pdf"),
    ]
    assert [d.content_hash for d in stored] == [o.content_hash for o in outcomes]
    first = outcomes[0]
    assert (first.title, first.links, first.etag, first.status, first.fetched_at) == ("Fan", (NEXT,), '"1"', 200, 7.0)


def test_an_unchanged_text_is_not_stored_again(worker: PageWorker, pages: PageStore, brand: BrandConfig) -> None:
    (first,) = worker.process(brand, [fetched(PAGE)])
    (again,) = worker.process(brand, [fetched(PAGE + b"<!-- new -->", content_hash=first.content_hash)])
    assert (again.state, again.reason, again.page) == (UrlState.FETCHED, "unchanged", None)
    assert (again.content_hash, again.links) == (first.content_hash, (NEXT,))
    assert len(pages.parts("b")) == 1


def one(worker: PageWorker, brand: BrandConfig, result: FetchResult) -> PageOutcome:
    (outcome,) = worker.process(brand, [result])
    assert outcome.page is None
    assert outcome.content_hash == ""
    return outcome


def test_pages_that_ask_not_to_be_indexed(worker: PageWorker, brand: BrandConfig) -> None:
    by_meta = one(worker, brand, fetched(b"<meta name=robots content=noindex>" + PAGE))
    by_header = one(worker, brand, replace(fetched(PAGE), noindex=True))
    closed = one(worker, brand, replace(fetched(PAGE), noindex=True, nofollow=True))
    file = one(worker, brand, replace(fetched(pdf("x"), media_type="application/pdf"), noindex=True))
    assert {(o.state, o.reason) for o in (by_meta, by_header, closed, file)} == {(UrlState.SKIPPED, "noindex")}
    assert [o.links for o in (by_meta, by_header, closed, file)] == [(NEXT,), (NEXT,), (), ()]


def test_nofollow_by_header_keeps_the_text(worker: PageWorker, brand: BrandConfig) -> None:
    (outcome,) = worker.process(brand, [replace(fetched(PAGE), nofollow=True)])
    assert (outcome.reason, outcome.links) == ("ok", ())


@pytest.mark.parametrize("body", [b"", b"<body><script>app()</script><a href=/next></a>"])
def test_a_page_without_text_is_empty(worker: PageWorker, brand: BrandConfig, body: bytes) -> None:
    outcome = one(worker, brand, fetched(body))
    assert (outcome.state, outcome.reason) == (UrlState.FETCHED, "empty")
    assert outcome.links == ((NEXT,) if body else ())


def test_a_pdf_that_cannot_be_read_fails_with_its_reason(worker: PageWorker, brand: BrandConfig) -> None:
    outcome = one(worker, brand, fetched(b"%PDF-1.4 broken", media_type="application/pdf"))
    assert (outcome.state, outcome.reason) == (UrlState.FAILED, "pdf_broken")


def test_the_body_decides_what_a_page_is(worker: PageWorker, pages: PageStore, brand: BrandConfig) -> None:
    results = [fetched(PAGE, "a.pdf", "application/pdf"), fetched(pdf("Read me."), "b.html", "text/html")]
    refs = [o.page for o in worker.process(brand, results) if o.page]
    assert [d.kind for d in pages.read("b", refs)] == ["html", "pdf"]


def test_results_without_a_body_pass_through(worker: PageWorker, pages: PageStore, brand: BrandConfig) -> None:
    base = fetched(b"")
    results = [
        replace(base, reason="not_modified", status=304),
        replace(base, state=UrlState.SKIPPED, reason="redirect", location=NEXT),
        replace(base, state=UrlState.QUEUED, reason="timeout", retry_at=99.0, detail="slow"),
        replace(base, state=UrlState.GONE, reason="http_404"),
    ]
    outcomes = worker.process(brand, results)
    assert [(o.state, o.reason) for o in outcomes] == [(r.state, r.reason) for r in results]
    assert (outcomes[1].location, outcomes[2].retry_at, outcomes[2].detail) == (NEXT, 99.0, "slow")
    assert pages.parts("b") == []


def test_a_defect_costs_one_page_only(worker: PageWorker, brand: BrandConfig, monkeypatch: pytest.MonkeyPatch) -> None:
    from ray_app.ingest import extract_html

    extract = extract_html.extract

    def fails_on_bad(body: bytes, **rest: object) -> object:
        if b"bad" in body:
            raise ValueError("a defect")
        return extract(body, **rest)  # type: ignore[arg-type]

    monkeypatch.setattr(extract_html, "extract", fails_on_bad)
    bad, good = worker.process(brand, [fetched(b"<p>bad"), fetched(PAGE, "b")])
    assert (bad.state, bad.reason, bad.detail) == (UrlState.FAILED, "extract_failed", "ValueError")
    assert good.page is not None and good.page.row == 0
