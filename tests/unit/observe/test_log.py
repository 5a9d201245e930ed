from __future__ import annotations

import json
import logging
from collections.abc import Iterator

import pytest
import structlog

from ray_app.config import LogSettings
from ray_app.observe.log import PACKAGE, configure, get_logger, is_secret_key, redact


@pytest.fixture(autouse=True)
def put_back() -> Iterator[None]:
    root, ours = logging.getLogger(), logging.getLogger(PACKAGE)
    before = list(root.handlers), root.level, ours.level
    yield
    root.handlers[:], root.level, ours.level = before
    root.setLevel(before[1])  # through the setter, which forgets cached levels
    ours.setLevel(before[2])


@pytest.fixture
def lines(capsys):
    """Configure JSON and give the events written since."""
    configure(LogSettings(level="INFO", format="json"), component="test")

    def read():
        captured = capsys.readouterr()
        assert captured.out == ""
        return [json.loads(line) for line in captured.err.splitlines()]

    return read


def test_an_event_is_one_json_line_on_stderr(lines):
    get_logger("ray_app.ingest.fetch").info("page_fetched", url="https://a.test/é", status=200, ok=True, none=None)
    (event,) = lines()
    assert event.pop("timestamp").endswith("Z")
    assert event == {
        "event": "page_fetched",
        "url": "https://a.test/é",
        "status": 200,
        "ok": True,
        "none": None,
        "level": "info",
        "logger": "ingest.fetch",
        "component": "test",
    }


def test_levels(lines):
    log = get_logger("somewhere")
    log.debug("hidden")
    log.info("shown")
    logging.getLogger("thirdparty").info("hidden too")
    logging.getLogger("thirdparty").warning("third %s", "party")
    assert [(e["event"], e["logger"]) for e in lines()] == [("shown", "somewhere"), ("third party", "thirdparty")]


def test_a_chatty_library_stays_quiet(lines):
    chatty = logging.getLogger("chatty")
    chatty.setLevel(logging.DEBUG)
    chatty.debug("noise")
    assert lines() == []


def test_configuring_twice_writes_once(lines):
    configure(LogSettings(format="json", level="ERROR"), component="again")
    get_logger("x").warning("hidden")
    get_logger("x").error("once")
    assert [(e["event"], e["component"]) for e in lines()] == [("once", "again")]


def test_bound_context_is_in_every_event(lines):
    with structlog.contextvars.bound_contextvars(request_id="r1"):
        get_logger("x").info("a")
        logging.getLogger("thirdparty").error("b")
    assert [e["request_id"] for e in lines()] == ["r1", "r1"]


@pytest.mark.parametrize("name", ["api_key", "apiKey", "OPENAI_API_KEY", "password", "dbPassword", "Authorization"])
def test_secrets_are_known_by_name(lines, name):
    get_logger("x").info("e", **{name: "hush"}, nested={"headers": [{name: "hush"}]})
    (event,) = lines()
    assert "hush" not in json.dumps(event)
    assert event[name] == "[redacted]"


@pytest.mark.parametrize(
    "name", ["max_tokens", "tokens", "cache_key", "embedding_key", "key", "author", "passwordless", ""]
)
def test_other_names_are_not_secret(name):
    assert not is_secret_key(name)


@pytest.mark.parametrize(
    "text",
    [
        "key sk-hush1234567890",
        "sk-proj-hush1234567",
        "Authorization: Bearer hush.hush.hush",
        "bearer hush1234",
        "redis://:hush@cache:6379/0",
        "redis://default:hu@sh/hush@cache:6379",
        "postgresql+psycopg://me:hush@db/backline",
        "https://user:hush@site.test/",
        "api_key=hush&x=1",
        "'password': 'hush'",
        "eyJhbGciOiJI.hush.hush",
    ],
)
def test_secrets_are_known_by_form(lines, text):
    assert "hush" not in redact(text)
    get_logger("x").info("e", note=text, deep=[{"a": (text,)}])
    logging.getLogger("thirdparty").warning("failed: %s", text)
    try:
        raise ValueError(text)
    except ValueError:
        get_logger("x").exception("crash")
        logging.getLogger("thirdparty").exception("crash")
    events = lines()
    assert len(events) == 4
    assert "hush" not in json.dumps(events)
    assert "ValueError" in events[2]["exception"]
    assert "ValueError" in events[3]["exception"]


@pytest.mark.parametrize(
    "text", ["https://site.test:8080/a@b", "task-management-system-long", "tokens=12", "mailto:me@site.test", "sk-8"]
)
def test_harmless_text_stays(text):
    assert redact(text) == text


def test_long_values_are_cut(lines):
    get_logger("x").info("e", body="é" * 100_000, many=list(range(1_000)), raw=b"x" * 5_000, deep=_nested(50))
    (event,) = lines()
    assert len(event["body"].encode()) < 2_100
    assert event["body"].endswith("(100000 characters)")
    assert len(event["many"]) == 50
    assert event["raw"] == "<5000 bytes>"
    assert len(json.dumps(event["deep"])) < 2_100


def test_a_long_trace_keeps_its_end(lines):
    try:
        raise ValueError("x" * 50_000 + " the end")
    except ValueError:
        get_logger("x").exception("crash")
    (event,) = lines()
    assert event["exception"].endswith("the end")
    assert len(event["exception"]) < 8_300


def _nested(depth):
    return {"a": _nested(depth - 1)} if depth else "bottom"


@pytest.mark.parametrize("form", ["json", "console"])
def test_fetched_text_cannot_forge_lines_or_move_the_cursor(capsys, form):
    configure(LogSettings(format=form), component="test")
    get_logger("x").info("e", title='a\nb\r{"event": "forged"}\x1b[2J\x9b31m', odd="\ud800")
    logging.getLogger("thirdparty").warning("got %s", "a\n2026 [info] forged")
    err = capsys.readouterr().err
    assert len(err.splitlines()) == 2
    assert not {"\x1b", "\x9b", "\r"} & set(err)


def test_console_shows_the_event(capsys):
    configure(LogSettings(format="console"), component="test")
    try:
        raise ValueError("why")
    except ValueError:
        get_logger("x").exception("crashed", brand="acme")
    err = capsys.readouterr().err
    assert "crashed" in err
    assert "brand=acme" in err
    assert "ValueError: why" in err


def test_a_closed_stderr_is_no_error(lines, monkeypatch):
    class Closed:
        def write(self, _):
            raise BrokenPipeError

    monkeypatch.setattr("sys.stderr", Closed())
    get_logger("x").info("into the void")
