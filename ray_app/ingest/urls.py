"""One spelling per URL, so that the ledger, the pacing and the guard speak of the same thing.

Parsing follows the WHATWG standard (ada-url), as browsers do; what browsers merely tolerate and
attackers use (control characters, backslashes round the host, user names) is refused before parsing.

International host names are kept, compared and shown in their ASCII form (``xn--...``), so a look-alike of a
brand's host is never in its scope. Names that can only be meant to deceive are refused outright: labels that
are no valid Punycode, that mix scripts in ways no language does, or that spell a Latin word in other letters.
"""

from __future__ import annotations

import re
import unicodedata
from functools import lru_cache

import ada_url

from ray_app.errors import BadUrl

MAX_INPUT_CHARS = 32_768  # longer strings are data, not links; nothing above it is worth parsing

# Added by newsletters and advertising, never needed to get the page.
_TRACKING_AD = "gclid|gclsrc|gbraid|wbraid|dclid|fbclid|msclkid|yclid|ttclid|twclid|igshid|li_fat_id|srsltid"
_TRACKING_MAIL = "mc_cid|mc_eid|mkt_tok|vero_id|oly_enc_id|oly_anon_id|_hsenc|_hsmi"
_TRACKING_ANALYTICS = "utm_.*|_ga|_gl|__hssc|__hstc|__hsfp|s_cid"
_SESSION = "jsessionid|phpsessid|aspsessionid.*|cfid|cftoken|sessionid|session_id"
_NOISE = re.compile("|".join((_TRACKING_AD, _TRACKING_MAIL, _TRACKING_ANALYTICS, _SESSION)), re.IGNORECASE)

_EDGES = " \t\r\n\f"  # HTML strips these from an attribute that holds a URL
_FORBIDDEN = re.compile(r"[\x00-\x1f\x7f-\x9f\u2028\u2029\u202a-\u202e\u2066-\u2069\ud800-\udfff]")
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.\-]*):")
_AUTHORITY_HEAD = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.\-]*:[/\\]*|[/\\]{2,})[^/?#]*")
_SESSION_IN_PATH = re.compile(r";(?:jsessionid|phpsessid|sid)=[^/;?]*", re.IGNORECASE)
_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9_-]+(?:\.[a-z0-9_-]+)*)\.?(:\d+|)")
_HOST_ENTRY = re.compile(r"(\[[0-9A-Fa-f:.]+\]|[^:/?#@\\\[\]\s]+)(?::(\d{1,5}))?")
# Scripts that one language uses together (UTS 39, "highly restrictive"); all others stand alone in a label.
_TOGETHER = (
    frozenset(("LATIN", "CJK", "HIRAGANA", "KATAKANA", "KATAKANA-HIRAGANA")),
    frozenset(("LATIN", "CJK", "HANGUL")),
    frozenset(("LATIN", "CJK", "BOPOMOFO")),
)
# Letters of other scripts that look like a Latin one. A word of nothing but these, under a Latin ending, is a disguise.
_LOOK_LATIN = frozenset("асԁеһіјӏорԗԛѕԝхуъьҽпгѵѡαικνορτυχωօոսհցյ")
_SESSION_VALUE = re.compile(r"[0-9A-Za-z_\-]{16,}")  # a `sid` this long is a session, a shorter one may choose a page


def normalise(url: str, base: str = "") -> str:
    """The one spelling of ``url``, resolved against the normalised ``base`` when one is given.

    Fragment, default port, tracking parameters and session ids are dropped; the order of the other
    parameters is kept. Raises BadUrl for anything that is not a plain http(s) URL.
    """
    text = url.strip(_EDGES)
    _refuse_tricks(text)
    href = _parse(text, base).partition("#")[0]
    origin, path, query = _split(href)
    if ";" in path:
        path = _without_session(origin, path)
    kept = _without_noise(query)
    return f"{origin}{path}?{kept}" if kept else origin + path


def authority(url: str) -> str:
    """``host`` or ``host:port`` of a normalised URL; IPv6 hosts keep their brackets."""
    return url.partition("://")[2].partition("/")[0]


def origin(url: str) -> str:
    """``scheme://authority`` of a normalised URL."""
    return url[: url.index("/", len("https://"))]


def host_key(url: str) -> str:
    """What pacing counts as one host: http and https of one authority are the same machine."""
    return authority(url)


def host_and_port(url: str) -> tuple[str, int]:
    """Host (IPv6 without brackets) and the port, explicit or default, of a normalised URL."""
    scheme, _, rest = url.partition("://")
    host, colon, port = rest.partition("/")[0].rpartition(":")
    if not colon or port.endswith("]"):
        host, port = rest.partition("/")[0], ""
    return host.strip("[]"), int(port) if port else (443 if scheme == "https" else 80)


def parse_host(entry: str) -> tuple[str, int | None]:
    """Host and port of a configured ``host`` or ``host:port``; the port is None when none is given.

    The host comes back as ``authority`` would spell it, IPv6 in brackets. Raises BadUrl.
    """
    text = f"[{entry}]" if entry.count(":") > 1 and "[" not in entry else entry
    match = _HOST_ENTRY.fullmatch(text)
    if not match:
        raise BadUrl(f"{entry!r} is not a host or host:port.")
    port = int(match[2]) if match[2] else None
    if port is not None and not 0 < port < 65_536:
        raise BadUrl(f"{entry!r} has a port out of range.")
    return authority(normalise(f"http://{match[1]}/")), port


def path_of(url: str) -> str:
    """Path of a normalised URL, with its leading slash and without the query."""
    return _split(url)[1]


def _refuse_tricks(text: str) -> None:
    if not text or len(text) > MAX_INPUT_CHARS:
        raise BadUrl("The URL is empty or far too long.")
    if _FORBIDDEN.search(text):
        raise BadUrl("The URL holds control characters.")
    scheme = _SCHEME.match(text)
    if scheme and scheme[1].lower() not in ("http", "https"):
        raise BadUrl("Only http and https URLs are crawled.")
    # WHATWG reads "http://a\@b" as host a, RFC 3986 as host b: two readers, two hosts.
    head = _AUTHORITY_HEAD.match(text)
    if head and "\\" in head[0]:
        raise BadUrl("The URL has a backslash beside its host.")


def _parse(text: str, base: str) -> str:
    try:
        href: str = ada_url.join_url(base, text) if base else ada_url.normalize_url(text)
    except ValueError:
        raise BadUrl("The URL cannot be parsed.") from None
    if not href.startswith(("http://", "https://")):
        raise BadUrl("Only http and https URLs are crawled.")
    return href


def _split(href: str) -> tuple[str, str, str]:
    """Origin, path and query of a WHATWG-serialised http(s) URL without fragment."""
    head, _, query = href.partition("?")
    scheme, _, rest = head.partition("://")
    host, _, path = rest.partition("/")
    if "@" in host:
        raise BadUrl("The URL holds a user name or password.")
    return f"{scheme}://{_clean_host(host)}", f"/{path}", query


def _clean_host(host: str) -> str:
    """``example.com.`` and ``example.com`` are one name; kept apart they would be paced and scoped apart.

    WHATWG lets quotes, braces and the like stand in a host; no real name has them, so none is let through.
    """
    match = _HOST.fullmatch(host)
    if not match:
        raise BadUrl("The URL has a host that cannot be a name or an address.")
    if "xn--" in host:
        _refuse_false_names(match[1])
    return match[1] + match[2]


@lru_cache(maxsize=1024)  # a crawl meets few such hosts, and each of them on every page
def _refuse_false_names(host: str) -> None:
    ending = host.rpartition(".")[2]
    for label in host.split("."):
        if not label.startswith("xn--"):
            continue
        text: str = ada_url.idna_to_unicode(label)
        if text.startswith("xn--") or ada_url.idna_to_ascii(text) != label.encode():
            raise BadUrl("The URL has an international host that is not valid Punycode.")
        scripts = {unicodedata.name(c, "NONE").partition(" ")[0] for c in text if unicodedata.category(c)[0] == "L"}
        if len(scripts) > 1 and not any(scripts <= allowed for allowed in _TOGETHER):
            raise BadUrl("The URL has a host that mixes letters of several scripts, as look-alikes do.")
        if not ending.startswith("xn--") and _LOOK_LATIN.issuperset(c for c in text if c not in "-0123456789"):
            raise BadUrl("The URL has a host in foreign letters that look like Latin ones.")


def _without_session(origin: str, path: str) -> str:
    """``/a/..;sid=1/b`` becomes ``/a/../b`` when its session goes, so the rest is parsed again."""
    shorter = _SESSION_IN_PATH.sub("", path)
    return path if shorter == path else _split(_parse(origin + shorter, ""))[1]


def _without_noise(query: str) -> str:
    if not query:
        return ""
    return "&".join(part for part in query.split("&") if part and not _is_noise(part))


def _is_noise(part: str) -> bool:
    name, _, value = part.partition("=")
    if _NOISE.fullmatch(name):
        return True
    return name.lower() == "sid" and _SESSION_VALUE.fullmatch(value) is not None
