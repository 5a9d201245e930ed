"""Structured logs: one event per line on stderr, secrets taken out before anything is written.

An event is a stable snake_case name with keyword values: ``log.info("page_fetched", url=url, status=200)``.
Events of other libraries go the same way from WARNING up.
"""

from __future__ import annotations

import json
import logging
import re
import sys
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Any, Protocol, cast

import structlog
from structlog.typing import EventDict, Processor, WrappedLogger

PACKAGE = "ray_app"
REDACTED = "[redacted]"
VALUE_CAP_BYTES = 2_048  # a longer value is content, not context; a log line must stay readable
TRACE_CAP_BYTES = 8_192  # about 60 frames; its end is kept, for that is where the error stands
SCAN_CAP_CHARS = 2 * TRACE_CAP_BYTES  # patterns are looked for in no more than this, so a 10 MB value costs nothing
MAX_ITEMS = 50  # of a list or mapping inside an event
MAX_DEPTH = 4  # of nesting inside an event

_SECRET_PARTS = frozenset(("password", "passwd", "passphrase", "secret", "secrets", "authorization", "apikey"))
_SECRET_PARTS |= {"cookie", "cookies", "credential", "credentials"}
_STRUCTLOG_KEYS = frozenset(("_record", "_from_structlog"))  # dropped before rendering
_KEY_OWNERS = frozenset(("api", "private", "access", "signing"))
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_CONTROLS = {c: "\N{REPLACEMENT CHARACTER}" for c in (*range(32), *range(0x7F, 0xA0)) if chr(c) not in "\n\t"}
_SECRET_TEXT: tuple[tuple[re.Pattern[str], str], ...] = (
    # A password in a database URL may hold any character, so everything up to the last @ goes.
    (re.compile(r"(?i)\b((?:rediss?|postgres(?:ql)?|mysql|mariadb|amqps?)(?:\+\w+)?://[^\s:/@]*):\S*@"), r"\1:***@"),
    (re.compile(r"(?i)\b([a-z][a-z0-9+.-]{1,20}://[^\s:/@]*):[^\s/@]*@"), r"\1:***@"),
    (re.compile(r"(?<![A-Za-z0-9])sk-[A-Za-z0-9_-]{8,}"), REDACTED),
    (re.compile(r"(?i)\b(bearer|basic)\s+[A-Za-z0-9._~+/=-]{6,}"), rf"\1 {REDACTED}"),
    (re.compile(r"\beyJ[\w-]{8,}\.[\w-]+\.[\w-]*"), REDACTED),
    (
        re.compile(
            r"(?i)\b((?:\w{0,40}_)?(?:password|passwd|secret|api[_-]?key|token))(['\"]?\s?[=:]\s?['\"]?)[^\s&;,'\"]+"
        ),
        rf"\1\2{REDACTED}",
    ),
)


class LogOptions(Protocol):
    """What ``configure`` needs; ``config.LogSettings`` has it."""

    @property
    def level(self) -> str: ...

    @property
    def format(self) -> str: ...


def get_logger(name: str) -> structlog.stdlib.BoundLogger:
    """The logger of a module (pass ``__name__``). Quiet below WARNING until ``configure`` was called."""
    if not structlog.is_configured():
        structlog.configure(
            processors=[
                structlog.stdlib.filter_by_level,
                *_shared(),
                structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
            ],
            logger_factory=structlog.stdlib.LoggerFactory(),
            wrapper_class=structlog.stdlib.BoundLogger,
            cache_logger_on_first_use=True,
        )
    inside = name == PACKAGE or name.startswith(PACKAGE + ".")
    return cast(structlog.stdlib.BoundLogger, structlog.get_logger(name if inside else f"{PACKAGE}.{name}"))


def configure(options: LogOptions, *, component: str) -> None:
    """Send every event of this process to stderr as JSON or for a person. May be called again.

    ``component`` names the process's part (api, scraper, scheduler...) and stands in every event.
    """
    as_json = options.format == "json" or (options.format == "auto" and not sys.stderr.isatty())
    handler = _StderrHandler(logging.getLevelName(options.level))
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=_shared(),
            processors=[
                _add_component(component),
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                *([_json_renderer()] if as_json else [_on_one_line, _console_renderer()]),
            ],
        )
    )
    root = logging.getLogger()
    for old in [h for h in root.handlers if isinstance(h, _StderrHandler)]:
        root.removeHandler(old)
    root.addHandler(handler)
    root.setLevel(logging.WARNING)
    logging.getLogger(PACKAGE).setLevel(options.level)


def redact(text: str) -> str:
    """``text`` without keys, tokens and passwords that can be told by their form."""
    for pattern, replacement in _SECRET_TEXT:
        text = pattern.sub(replacement, text)
    return text


def is_secret_key(key: str) -> bool:
    """Whether a value under this name must not be shown: ``api_key``, ``dbPassword``, but not ``max_tokens``."""
    parts = [p for p in re.split(r"[^a-z0-9]+", _CAMEL.sub("_", key).lower()) if p]
    if not parts:
        return False
    owned_key = parts[-1] == "key" and len(parts) > 1 and parts[-2] in _KEY_OWNERS
    return owned_key or parts[-1] == "token" or not _SECRET_PARTS.isdisjoint(parts)


class _StderrHandler(logging.Handler):
    """Writes to whatever ``sys.stderr`` is now, which test runners and Ray replace."""

    def __init__(self, level: int) -> None:
        super().__init__(level)
        self.addFilter(_ours_or_warning)

    def emit(self, record: logging.LogRecord) -> None:
        line = self.format(record)
        try:
            sys.stderr.write(line + "\n")
        except (OSError, ValueError):  # stderr is closed or its reader went away: nobody is left to tell
            return


def _ours_or_warning(record: logging.LogRecord) -> bool:
    ours = record.name == PACKAGE or record.name.startswith(PACKAGE + ".")
    return ours or record.levelno >= logging.WARNING


def _shared() -> list[Processor]:
    return [
        structlog.contextvars.merge_contextvars,
        structlog.stdlib.add_log_level,
        _add_logger,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
        structlog.processors.format_exc_info,
        _clean_event,
    ]


def _add_logger(logger: WrappedLogger, _: str, event: EventDict) -> EventDict:
    record = event.get("_record")
    name = record.name if record is not None else logger.name
    event["logger"] = name.removeprefix(PACKAGE + ".")
    return event


def _add_component(component: str) -> Processor:
    def add(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
        event.setdefault("component", component)
        return event

    return add


def _clean_event(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    for key, value in event.items():
        if key == "exception":
            event[key] = _clean_trace(str(value))
        elif key not in _STRUCTLOG_KEYS:
            event[key] = _clean(key, value, MAX_DEPTH)
    return event


def _clean(key: str, value: Any, depth: int) -> Any:
    if value is None or isinstance(value, bool):
        return value
    if is_secret_key(key):
        return REDACTED
    if isinstance(value, int | float):
        return value
    if isinstance(value, Mapping | list | tuple | set | frozenset) and depth:
        return _clean_container(key, value, depth - 1)
    return _clean_text(f"<{len(value)} bytes>" if isinstance(value, bytes | bytearray) else str(value))


def _clean_container(key: str, value: Mapping[Any, Any] | Iterable[Any], depth: int) -> Any:
    if isinstance(value, Mapping):
        return {_clean_text(str(k)): _clean(str(k), v, depth) for k, v in islice(value.items(), MAX_ITEMS)}
    return [_clean(key, v, depth) for v in islice(value, MAX_ITEMS)]


def _clean_text(text: str) -> str:
    raw = _printable(redact(text[:SCAN_CAP_CHARS])).encode("utf-8", "replace")
    if len(raw) <= VALUE_CAP_BYTES:
        return raw.decode()
    return f"{raw[:VALUE_CAP_BYTES].decode('utf-8', 'ignore')}... ({len(text)} characters)"


def _clean_trace(text: str) -> str:
    raw = _printable(redact(text[-SCAN_CAP_CHARS:])).encode("utf-8", "replace")
    return raw.decode() if len(raw) <= TRACE_CAP_BYTES else "..." + raw[-TRACE_CAP_BYTES:].decode("utf-8", "ignore")


def _printable(text: str) -> str:
    """Escape sequences in fetched text must not reach a terminal."""
    return text.translate(_CONTROLS)


def _on_one_line(_: WrappedLogger, __: str, event: EventDict) -> EventDict:
    """A console shows the event's text as it is, so a line break in it could forge a second event."""
    event["event"] = str(event.get("event", "")).replace("\n", "\\n")
    return event


def _json_renderer() -> Processor:
    return structlog.processors.JSONRenderer(serializer=json.dumps, ensure_ascii=False, default=str)


def _console_renderer() -> Processor:
    return structlog.dev.ConsoleRenderer(colors=sys.stderr.isatty(), exception_formatter=structlog.dev.plain_traceback)
