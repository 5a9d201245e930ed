"""robots.txt by RFC 9309: what a site allows, how fast, and what follows when the file cannot be read."""

from __future__ import annotations

import asyncio
import codecs
import re
from collections import OrderedDict
from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from protego import Protego

MAX_PARSED_BYTES = 512 * 1024  # RFC 9309 asks for at least 500 KiB; more is an attack or an accident
MAX_REDIRECTS = 5  # RFC 9309, 2.3.1.2: more count as "unavailable", which allows everything
MAX_RULES = 200_000  # each line counts for every name of its group; 512 KiB can mean 300 million and fill the memory
MAX_SITEMAPS = 1_000  # lines that are read; sites with more sitemaps list them in an index
MAX_TTL_S = 86_400.0  # RFC 9309, 2.4: no copy is used for longer than a day
MAX_CACHED = 10_000  # origins remembered; about 2 KB each
UNREACHABLE_TTL_S = 10.0  # a site that failed is asked again soon; its pages wait for the answer, not for a day
PARSE_ASIDE_BYTES = 64 * 1024  # a larger file takes over 20 ms to parse, which would stop every other host

_WIDE = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}  # "Unicode" of older Windows editors
# "User-agent: Backline/0.1 (…)" is wrong by the RFC, common, and plain in what it means. So is "Backline (…)".
_VERSION = re.compile(r"^([ \t]*+user[ -]?agent[ \t]*+:[ \t]*+[^\s#/]++)[ \t/][^\r\n#]*", re.IGNORECASE | re.MULTILINE)
_AGENT = re.compile(r"[ \t]*+user[ -]?agent", re.IGNORECASE)
_COMPATIBLE = re.compile(r"mozilla/.*?\(compatible;\s*([^\s/;)]+)", re.IGNORECASE)


class Robots:
    """The rules of one origin. Build it with ``parse``, ``allow_all`` or ``unreachable``."""

    def __init__(self, rules: Protego | None = None, *, reason: str = "") -> None:
        self._rules = rules
        self.reason = reason  # a key of records.REASONS when nothing may be fetched, else ""

    @classmethod
    def parse(cls, body: bytes) -> Robots:
        """The rules in a robots.txt, of which the first 512 KiB count. Any bytes will do."""
        return cls(Protego.parse(_text(body)))

    @classmethod
    def allow_all(cls) -> Robots:
        """The file does not exist or is refused (4xx): nothing is forbidden."""
        return cls()

    @classmethod
    def unreachable(cls, reason: str = "robots_unreachable") -> Robots:
        """The file may exist but could not be read (5xx, network): everything is forbidden for now."""
        return cls(reason=reason)

    def allowed(self, url: str, user_agent: str) -> bool:
        """Whether a normalised URL may be fetched; the longest matching rule wins, Allow on a tie.

        ``user_agent`` is the whole header or the product token by itself.
        """
        if self.reason:
            return False
        return self._rules is None or bool(self._rules.can_fetch(url, product_token(user_agent)))

    def crawl_delay(self, user_agent: str, cap_s: float) -> float:
        """Seconds between requests that the site asks for, 0 when it asks for none, at most ``cap_s``."""
        if self._rules is None:
            return 0.0
        token = product_token(user_agent)
        delay = float(self._rules.crawl_delay(token) or 0.0)
        rate = self._rules.request_rate(token)
        if rate is not None:
            delay = max(delay, rate.seconds / rate.requests)
        return min(delay, cap_s)

    @property
    def sitemaps(self) -> tuple[str, ...]:
        """The Sitemap lines, as they stand there; the first thousand without repeats."""
        return () if self._rules is None else tuple(dict.fromkeys(self._rules.sitemaps))[:MAX_SITEMAPS]


def product_token(user_agent: str) -> str:
    """The name by which robots.txt calls the crawler: ``Backline`` of ``Backline/0.1 (+https://example.com/bot)``.

    Words of the rest, such as the address in it, are not ours, though a group may be named like them. A group whose
    name ours begins with (``hedwig`` for ``hedwig-images``) speaks to us unless a longer one does.
    """
    disguised = _COMPATIBLE.match(user_agent)
    return disguised[1] if disguised else user_agent.partition("/")[0].partition("(")[0].strip()


def of_status(status: int, body: bytes) -> Robots:
    """RFC 9309, 2.3.1: 2xx is parsed, 4xx and endless redirects (3xx) allow all, anything else forbids all."""
    if 200 <= status < 300:
        return Robots.parse(body)
    return Robots.allow_all() if 300 <= status < 500 else Robots.unreachable()


def _text(body: bytes) -> str:
    if len(body) > MAX_PARSED_BYTES:
        # The cut may fall inside a rule: "Disallow: /a" of "Disallow: /a/b" would forbid too much.
        body = body[:MAX_PARSED_BYTES].rpartition(b"\n")[0]
    if body[:2] in _WIDE and b"\0" in body[2:4]:
        text = body[2:].decode(_WIDE[body[:2]], "replace")
    else:
        text = body.removeprefix(codecs.BOM_UTF8).decode("utf-8", "replace")
    return _bounded(_VERSION.sub(r"\1", text.replace("\0", "")))


def _bounded(text: str) -> str:
    """``text`` up to the line where its rules, one for each name of a group, become too many to hold."""
    lines = text.splitlines()
    rules = names = 0
    in_names = False
    for number, line in enumerate(lines):
        if _AGENT.match(line):
            names = names + 1 if in_names else 1
            in_names = True
        elif line and not line.isspace():
            in_names = False
            rules += names
            if rules > MAX_RULES:
                return "\n".join(lines[:number])
    return text


@dataclass(slots=True)
class _Entry:
    robots: asyncio.Future[Robots]
    expires: float = 0.0  # counts once ``robots`` is done; a read that died is so never believed


class RobotsCache:
    """Robots by origin, each fetched once whoever asks. ``read`` never raises: failures are Robots too."""

    def __init__(self, read: Callable[[str], Awaitable[Robots]], ttl_s: float, clock: Callable[[], float]) -> None:
        self._read = read
        self._ttl_s = min(ttl_s, MAX_TTL_S)
        self._clock = clock
        self._entries: OrderedDict[str, _Entry] = OrderedDict()

    async def get(self, origin: str) -> Robots:
        """The rules of ``scheme://authority``, read again when they are older than the time to live."""
        entry = self._entries.get(origin)
        if entry is None or (entry.robots.done() and entry.expires <= self._clock()):
            entry = self._start(origin)
        if entry.robots.done():
            return entry.robots.result()
        # Shielded: one caller that gives up must not take the answer from the others.
        return await asyncio.shield(entry.robots)

    async def close(self) -> None:
        """Stop what is being read."""
        pending = [e.robots for e in self._entries.values() if not e.robots.done()]
        self._entries.clear()
        for future in pending:
            future.cancel()
        await asyncio.gather(*pending, return_exceptions=True)

    def _start(self, origin: str) -> _Entry:
        entry = _Entry(asyncio.ensure_future(self._read_now(origin)))
        self._entries[origin] = entry
        self._entries.move_to_end(origin)  # oldest first
        while len(self._entries) > MAX_CACHED:
            self._entries.popitem(last=False)
        return entry

    async def _read_now(self, origin: str) -> Robots:
        robots = await self._read(origin)
        if entry := self._entries.get(origin):
            entry.expires = self._clock() + (UNREACHABLE_TTL_S if robots.reason else self._ttl_s)
        return robots
