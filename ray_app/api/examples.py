"""One example per operation, shown in /openapi.json. A test holds them against the schemas."""

from __future__ import annotations

from typing import Any

TASK_ID = "5f0c3b8a6f0e4f0e9d6f1f6f0c9a7d21"
_URL = "https://support.example.com/mc-707/reset.html#factory-reset"
_CHUNK_ID = "9d5b1c0f6a7e4a51b1f3a0a4d2a6c8e7"

ASK: dict[str, Any] = {"question": "How do I reset the MC-707 to factory settings?", "brand": "acme"}
ANSWER: dict[str, Any] = {
    "answer_id": "c2a1f4f2b7a94c0a8b1a6a7f1d2e3c4b",
    "answer": "Hold [SHIFT] while switching the MC-707 on, then press [ENTER]. [1]",
    "mode": "extractive",
    "citations": [
        {
            "n": 1,
            "chunk_id": _CHUNK_ID,
            "url": _URL,
            "title": "MC-707 Support",
            "section": "Maintenance > Factory reset",
            "quote": "Hold [SHIFT] while switching the MC-707 on, then press [ENTER].",
        }
    ],
    "confidence": 0.82,
    "generation": "acme:20261123T190501Z-ab12cd",
    "reason": "",
    "cache": "exact",
    "degraded": [],
    "timings_ms": {"total": 0.6},
}
SEARCH: dict[str, Any] = {"query": "MC-707 factory reset", "brand": "acme", "k": 5}
HITS: dict[str, Any] = {
    "hits": [
        {
            "chunk_id": _CHUNK_ID,
            "url": _URL,
            "title": "MC-707 Support",
            "section": "Maintenance > Factory reset",
            "text": "Hold [SHIFT] while switching the MC-707 on, then press [ENTER].",
            "score": 0.93,
            "scores": {"dense": 0.71, "bm25": 14.2, "fused": 0.98, "rerank": 0.93},
        }
    ],
    "degraded": [],
    "timings_ms": None,
}
BRANDS: dict[str, Any] = {
    "brands": [
        {
            "name": "acme",
            "title": "Acme Instruments",
            "generation": "20261123T190501Z-ab12cd",
            "documents": 412,
            "chunks": 5310,
            "published_at": 1795460701.0,
            "urls": {"fetched": 430, "skipped": 57, "gone": 3},
        }
    ]
}
COVERAGE: dict[str, Any] = {
    "brand": "acme",
    "discovered": 1204,
    "waiting": 0,
    "fetched": 431,
    "unchanged": 425,
    "texts": 428,
    "documents": 412,
    "indexed": 412,
    "generation": "20261123T190501Z-ab12cd",
    "chunks": 5310,
    "dropped": 0,
    "sitemaps": 2,
    "crawled_at": 1795460650.0,
    "reasons": {"fetched": {"not_modified": 425, "ok": 6}, "skipped": {"media_type": 690, "robots": 83}},
    "rejected": {},
}
WHY: dict[str, Any] = {
    "url": "https://support.example.com/internal/prices.html",
    "brand": "acme",
    "state": "skipped",
    "reason": "robots",
    "story": [
        "It was found on https://support.example.com/, 1 link from the start, on 2026-11-23 19:04:11 UTC.",
        "Its state is skipped: robots.txt does not allow it.",
        "It was never asked for.",
    ],
}
SCRAPE: dict[str, Any] = {"brand": "acme", "full": False}
EMBED: dict[str, Any] = {
    "brand": "acme",
    "document": {
        "url": "https://support.example.com/notes/mc-707.html",
        "title": "Notes on the MC-707",
        "markdown": "# Factory reset\n\nHold [SHIFT] while switching the MC-707 on, then press [ENTER].",
    },
}
EMBED_ACCEPTED: dict[str, Any] = {
    "brand": "acme",
    "document": {
        "url": "https://support.example.com/notes/mc-707.html",
        "title": "Notes on the MC-707",
        "content_hash": "0a3f5d2c9b6e4a51b1f3a0a4d2a6c8e7",
        "changed": True,
        "detail": "",
    },
}
RAG_QUERY: dict[str, Any] = {"query": "How do I reset the MC-707?", "brand": "acme"}
ALIVE: dict[str, Any] = {"status": "ok"}
READY: dict[str, Any] = {"status": "ready", "writes": True, "reasons": []}
HEALTH: dict[str, Any] = {
    "status": "degraded",
    "checks": [
        {"name": "store", "state": "ok", "reason": "", "latency_ms": 1.2},
        {"name": "redis", "state": "degraded", "reason": "No answer; answers are cached here.", "latency_ms": 50.3},
    ],
    "details": {"version": "0.1.0"},
}
METRICS = 'rag_queries_total{from_cache="false",status="ok"} 42.0\n'


def task(kind: str, payload: dict[str, Any], state: str = "queued") -> dict[str, Any]:
    """A task as it is right after it was submitted."""
    return {
        "task_id": TASK_ID,
        "kind": kind,
        "state": state,
        "payload": payload,
        "result": None,
        "error": None,
        "submission_id": f"task-{TASK_ID}",
        "created_at": 1795460701.0,
        "updated_at": 1795460701.0,
    }
