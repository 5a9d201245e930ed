"""Asking when the API is up, half up, or something else answers in its place."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer

import psutil
import pytest

from ray_app.commands.answers import _call
from ray_app.config import Settings, with_changes
from ray_app.errors import AnswerError, BacklineError, ClusterUnavailable, InputError
from ray_app.on_ray.session import PARTS, Head, write_head

REQUEST = {"question": "Is it?", "k": 1, "use_llm": False}


class Api(HTTPServer):
    """Gives every request the same answer."""

    status, body = 200, b"{}"


class Handler(BaseHTTPRequestHandler):
    server: Api

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.send_response(self.server.status)
        self.end_headers()
        self.wfile.write(self.server.body)

    def log_message(self, *_: object) -> None:
        """Says nothing."""


@pytest.fixture
def api() -> Iterator[Api]:
    with Api(("127.0.0.1", 0), Handler) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        yield server
        server.shutdown()
        thread.join()


def at(settings: Settings, port: int) -> Settings:
    return with_changes(settings, serve={"url": f"http://127.0.0.1:{port}"})


@pytest.mark.parametrize(
    ("status", "body", "kind", "words"),
    [
        (503, b"upstream connect error", ClusterUnavailable, "answered 503"),
        (200, b"<html>Welcome!</html>", ClusterUnavailable, "not as Backline"),
        (200, b"[]", ClusterUnavailable, "not as Backline"),
        (503, b'{"title": "Busy", "detail": "Too many questions."}', AnswerError, "Too many questions"),
        (404, b'{"title": "Unknown", "detail": "No such brand."}', InputError, "No such brand"),
    ],
)
def test_what_is_no_answer_is_told_in_words(
    settings: Settings, api: Api, status: int, body: bytes, kind: type[BacklineError], words: str
) -> None:
    api.status, api.body = status, body
    with pytest.raises(kind, match=words):
        _call(at(settings, api.server_port), "/v1/ask", REQUEST)


def test_an_answer_is_handed_on(settings: Settings, api: Api) -> None:
    api.body = b'{"answer": "Yes."}'
    assert _call(at(settings, api.server_port), "/v1/ask", REQUEST) == {"answer": "Yes."}


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def test_an_api_that_does_not_answer_is_told_with_what_to_do(settings: Settings) -> None:
    with pytest.raises(ClusterUnavailable, match="does not answer") as caught:
        _call(at(settings, free_port()), "/v1/ask", REQUEST)
    assert "backline status" in caught.value.hint


@pytest.mark.parametrize("parts", [PARTS[:1], PARTS])
def test_a_head_is_asked_once_all_of_it_is_up(settings: Settings, parts: tuple[str, ...]) -> None:
    settings = with_changes(settings, serve={"port": free_port()}, retrieval={"reranker": "maxsim"})
    started = psutil.Process().create_time()
    write_head(settings, Head(os.getpid(), started, "127.0.0.1:1", "http://d", settings.api_url, parts))
    kind, words = (ClusterUnavailable, "does not answer") if parts == PARTS else (InputError, "nobody")
    with pytest.raises(kind, match=words):
        _call(settings, "/v1/ask", REQUEST | {"brand": "nobody"})
