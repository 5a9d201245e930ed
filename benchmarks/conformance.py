"""How far URLs, robots.txt, encodings and traps agree with what others have written down; exit status 1 if they do not.

python benchmarks/conformance.py FOLDER [SITES]

FOLDER holds url/, robots/, html/, scale/, retrieval/ and sites/manifests/; SITES the unpacked documentation sites
(sites/get.sh).
"""

from __future__ import annotations

import argparse
import codecs
import gzip
import json
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
from itertools import islice
from pathlib import Path
from typing import Any

from ray_app.errors import BadUrl
from ray_app.ingest import charset, charset_guess, traps
from ray_app.ingest.robots import Robots
from ray_app.ingest.urls import normalise

URL_FILES = ("urltestdata.json", "whatwg_from_httpx.json")
# What we refuse though browsers do not, by the message of BadUrl.
REFUSALS = {
    "The URL holds control characters.": "control characters are refused",
    "The URL holds a user name or password.": "user names are refused",
    "The URL has a backslash beside its host.": "backslashes beside the host are refused",
    "The URL has a host that cannot be a name or an address.": "hosts that no name can have are refused",
    "The URL is empty or far too long.": "an empty link is refused: it leads to its own page",
    "The URL has a host that mixes letters of several scripts, as look-alikes do.": "look-alikes are refused",
    "The URL has a host in foreign letters that look like Latin ones.": "look-alikes are refused",
}
_ABSOLUTE = re.compile(r"\s*https?:", re.IGNORECASE)
_CASE = re.compile(rb"#data\n(.*?)\n#encoding\n([^\n]*)", re.DOTALL)
_DECLARATION = re.compile(rb"(?:charset|encoding)\s*=\s*[\"']?[\w-]+", re.IGNORECASE)
_MANIFEST = re.compile(r"\d+\t(.*)")
# The encodings in which each language was written before UTF-8.
LEGACY = {
    "ko": "euc_kr",
    "ja": "cp932 euc_jp",
    "zh": "gbk",
    "ru": "cp1251 koi8-r iso8859-5 cp866",
    "pl": "cp1250 iso8859-2",
    "tr": "cp1254",
    "he": "cp1255",
    "ar": "cp1256 iso8859-6",
    **dict.fromkeys(["da", "de", "es", "et", "fr", "gl", "it", "nb", "nl", "pt"], "cp1252"),
}
RETRIEVAL = {"hebrew": "he", "xquad-ar": "ar", "xquad-de": "de"}
PASSAGES = 300  # of each language
LEGACY_LETTERS = 4  # bytes beyond ASCII that a passage must have to be a case at all
GUESSED_RIGHT = 0.98  # of the passages; fewer is an error


class Tally:
    """Counts outcomes and prints what is wrong."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.agreed: Counter[str] = Counter()
        self.deliberate: Counter[str] = Counter()
        self.not_ours: Counter[str] = Counter()
        self.missed: Counter[str] = Counter()  # of what can only be guessed
        self.wrong: list[str] = []

    def print(self) -> None:
        counted = {
            "agree": self.agreed,
            "differ on purpose": self.deliberate,
            "are not ours": self.not_ours,
            "are missed": self.missed,
        }
        total = sum(counts.total() for counts in counted.values()) + len(self.wrong)
        print(f"\n{self.title}: {total} cases, {len(self.wrong)} disagree")
        for heading, counts in counted.items():
            if counts:
                print(f"  {heading}: {counts.total()}")
            for reason, count in counts.most_common():
                print(f"    {count:6} {reason}")
        for line in self.wrong:
            print(f"  WRONG {line[:300]}")


def urls(folder: Path) -> Iterator[Tally]:
    """The parsing cases of the URL standard. Setters are not ours, and what is relative needs an http(s) base."""
    for name in URL_FILES:
        tally = Tally(f"url/{name}")
        for case in json.loads((folder / "url" / name).read_text()):
            if isinstance(case, dict):
                _url(case, tally)
        yield tally


def _url(case: dict[str, Any], tally: Tally) -> None:
    base = case.get("base") or ""
    if base and not base.startswith(("http:", "https:", "about:")) and not _ABSOLUTE.match(case["input"]):
        tally.not_ours["the base is no http(s) page"] += 1
        return
    found, refused = _normalised(case["input"], base if base.startswith("http") else "")
    expected = case.get("href", "")
    if case.get("failure") or not expected.startswith(("http://", "https://")):
        reason = "refused by both" if case.get("failure") else "another scheme, refused"
        _note(tally, not found, reason, f"{case['input']!r} of {base!r}: {found!r} for none")
    elif refused in REFUSALS:
        tally.deliberate[REFUSALS[refused]] += 1
    elif found != expected and found == _as_we_spell(expected):
        tally.deliberate["fragments, empty queries, tracking parameters and final dots are dropped"] += 1
    else:
        _note(
            tally,
            found == expected,
            "the same",
            f"{case['input']!r} of {base!r}: {found or refused!r} for {expected!r}",
        )


def _normalised(url: str, base: str) -> tuple[str, str]:
    try:
        return normalise(url, normalise(base) if base else ""), ""
    except BadUrl as error:
        return "", error.message


def _as_we_spell(href: str) -> str:
    """Only the documented changes, made by hand on the standard's own answer."""
    rest, _, query = href.partition("#")[0].partition("?")
    kept = [part for part in query.split("&") if part and not part.lower().startswith(("utm_", "gclid=", "fbclid="))]
    scheme, _, place = rest.partition("://")
    host, slash, path = place.partition("/")
    name, colon, port = host.partition(":") if not host.startswith("[") else (host, "", "")
    return f"{scheme}://{name.removesuffix('.')}{colon}{port}{slash}{path}" + ("?" + "&".join(kept) if kept else "")


def _note(tally: Tally, good: bool, reason: str, line: str) -> None:
    if good:
        tally.agreed[reason] += 1
    else:
        tally.wrong.append(line)


def robots(folder: Path) -> Iterator[Tally]:
    """The checks of Protego's own suite, through our class."""
    tally = Tally("robots/protego_cases.json")
    for case in json.loads((folder / "robots" / "protego_cases.json").read_text()):
        rules = Robots.parse(case["robots"].encode("utf-8", "replace"))
        ask = _ROBOTS.get(case["kind"])
        if ask is None:  # Host and Visit-time are no part of RFC 9309 and nothing here obeys them
            tally.not_ours[f"{case['kind']} is not read"] += 1
        else:
            found, expected = ask(rules, case["args"]), _robots_answer(case["kind"], case["expect"])
            _note(tally, found == expected, case["kind"], f"{case['test']}: {found} for {expected}")
    yield tally


_ROBOTS: dict[str, Callable[[Robots, list[str]], object]] = {
    "can_fetch": lambda rules, args: rules.allowed(args[0], args[1]),
    "crawl_delay": lambda rules, args: rules.crawl_delay(args[0], float("inf")),
    "request_rate": lambda rules, args: rules.crawl_delay(args[0], float("inf")),
    "sitemaps": lambda rules, args: sorted(rules.sitemaps),
}


def _robots_answer(kind: str, expected: Any) -> object:
    """No delay is 0 here; a rate is the delay it comes to."""
    if kind == "request_rate":
        rate = re.match(r"RequestRate\(requests=(\d+), seconds=(\d+)", str(expected))
        return int(rate[2]) / int(rate[1]) if rate else 0.0
    if kind == "crawl_delay":
        return expected or 0.0
    return sorted(expected) if kind == "sitemaps" else expected


def encodings(folder: Path) -> Iterator[Tally]:
    """The encoding cases of html5lib: what is declared, and what the bytes are read in."""
    with tarfile.open(folder / "html" / "html5lib-tests.tar.gz") as archive:
        for member in archive:
            handle = archive.extractfile(member)
            if not member.name.endswith(".dat") or handle is None:
                continue
            declared, read = Tally(f"declared, html/{member.name}"), Tally(f"read, html/{member.name}")
            for case in _CASE.finditer(handle.read()):
                _declared(case[1], charset.lookup(case[2].decode()), declared)
                _read(case[1], charset.lookup(case[2].decode()), read)
            yield from (declared, read)


def _declared(body: bytes, expected: str, tally: Tally) -> None:
    found = charset.prescan(body) or charset_guess.FALLBACK
    if body.startswith(codecs.BOM_UTF8):
        tally.not_ours["a byte-order mark, which is looked at before"] += 1
    elif found != expected and b"document.write" in body:
        tally.not_ours["only a script declares it"] += 1
    elif found != expected and len(body) > charset.SNIFF_BYTES:
        tally.deliberate["declared too late; read only if nothing else fits"] += 1
    else:
        _note(tally, found == expected, "the same", f"{body[-200:]!r}: {found} for {expected}")


def _read(body: bytes, expected: str, tally: Tally) -> None:
    found = charset.choose(body)
    if found == expected:
        tally.agreed["the same"] += 1
    elif body.isascii():
        tally.agreed["ASCII, the same text in any of them"] += 1
    elif found == "utf-8" and charset.prescan(body) == expected:
        tally.deliberate["the declaration is a lie: the bytes are UTF-8"] += 1
    else:
        tally.wrong.append(f"{body[-200:]!r}: {found} for {expected}")


def guesses(folder: Path) -> Iterator[Tally]:
    """Passages in encodings that they do not name, most of the languages from manuals that are partly English."""
    tally = Tally("guessed encodings")
    for lang, text in _passages(folder):
        for name in LEGACY[lang].split():
            body = text.encode(name, "ignore")
            if sum(byte > 0x7F for byte in body) < LEGACY_LETTERS or body.decode(name) != text:
                continue
            found = charset.choose(body)
            if body.decode(found, "replace") == text:
                tally.agreed[f"{lang} in {name}"] += 1
            else:
                tally.missed[f"{lang} in {name} is read as {found}"] += 1
    right, missed = tally.agreed.total(), tally.missed.total()
    if right < GUESSED_RIGHT * (right + missed):
        tally.wrong.append(f"{missed} of {right + missed} are missed")
    yield tally


def _passages(folder: Path) -> Iterator[tuple[str, str]]:
    """Language and text, the first few hundred of each language."""
    taken: Counter[str] = Counter()
    with gzip.open(folder / "scale" / "passages.jsonl.gz", "rt") as lines:
        for line in lines:
            passage = json.loads(line)
            lang = str(passage["metadata"].get("lang"))[:2].lower()
            if lang in LEGACY and taken[lang] < PASSAGES:
                taken[lang] += 1
                yield lang, passage["text"]
    for name, lang in RETRIEVAL.items():
        with (folder / "retrieval" / name / "corpus.jsonl").open() as lines:
            for line in islice(lines, PASSAGES):
                yield lang, json.loads(line)["text"]


def site_encodings(sites: Path) -> Iterator[Tally]:
    """Real pages decode without a loss, also when what they declare is taken away."""
    for site in sorted(path for path in sites.iterdir() if path.is_dir() and not path.name.startswith(".")):
        tally = Tally(f"encodings of {site.name}")
        for page in sorted(site.rglob("*.html")):
            if page.is_file():
                _page(page.read_bytes(), str(page.relative_to(site)), tally)
        yield tally


def _page(body: bytes, name: str, tally: Tally) -> None:
    chosen = charset.choose(body)
    whole = "\ufffd" not in body.decode(chosen, "replace") or "\ufffd".encode() in body
    _note(tally, whole, f"{chosen}, nothing lost", f"{name}: {chosen} loses characters")
    if chosen not in ("utf-8", charset_guess.FALLBACK):
        found = charset.choose(_DECLARATION.sub(b"", body))
        _note(tally, found == chosen, f"{chosen}, also when undeclared", f"{name}: undeclared, {found} for {chosen}")


def reachable(folder: Path) -> Iterator[Tally]:
    """No page that links lead to may be taken for a trap."""
    for manifest in sorted((folder / "sites" / "manifests").glob("*.reachable.txt")):
        tally = Tally(f"traps in {manifest.name}")
        budget = traps.Budget()
        for path in _MANIFEST.findall(manifest.read_text()):
            url = normalise(f"http://127.0.0.1:8000/{path}")
            pattern = traps.template(url)
            refused = traps.is_trap(url) or bool(budget.admit(url, pattern))
            _note(tally, not refused, "within a budget" if pattern else "plain", url)
        yield tally


def main() -> int:
    """Print every tally; 0 when nothing disagrees."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("folder", type=Path)
    parser.add_argument("sites", type=Path, nargs="?", help="unpacked documentation sites")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    tallies = [*urls(folder), *robots(folder), *encodings(folder), *guesses(folder), *reachable(folder)]
    if arguments.sites:
        tallies += site_encodings(arguments.sites)
    for tally in tallies:
        tally.print()
    wrong = sum(len(tally.wrong) for tally in tallies)
    print(f"\n{wrong} disagreements")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
