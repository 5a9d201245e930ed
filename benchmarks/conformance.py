"""How far URLs, robots.txt, encodings and traps agree with what others have written down; exit status 1 if they do not.

python benchmarks/conformance.py FOLDER [--sites FOLDER]

FOLDER holds url/, robots/, html/ and sites/manifests/; --sites the unpacked documentation sites (sites/get.sh).
"""

from __future__ import annotations

import argparse
import json
import re
import sys
import tarfile
from collections import Counter
from collections.abc import Callable, Iterator
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


class Tally:
    """Counts outcomes and prints what is wrong."""

    def __init__(self, title: str) -> None:
        self.title = title
        self.agreed: Counter[str] = Counter()
        self.deliberate: Counter[str] = Counter()
        self.wrong: list[str] = []

    def print(self) -> None:
        total = self.agreed.total() + self.deliberate.total() + len(self.wrong)
        print(f"\n{self.title}: {total} cases, {len(self.wrong)} disagree")
        for heading, counts in (("agree", self.agreed), ("differ on purpose", self.deliberate)):
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
        tally.deliberate["the base is no http(s) page: not a case of ours"] += 1
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
            tally.deliberate[f"{case['kind']} is not read"] += 1
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
    """The encoding cases of html5lib; the one with a script is for browsers that run it."""
    with tarfile.open(folder / "html" / "html5lib-tests.tar.gz") as archive:
        for member in archive:
            handle = archive.extractfile(member)
            if not member.name.endswith(".dat") or handle is None:
                continue
            tally = Tally(f"html/{member.name}")
            for case in _CASE.finditer(handle.read()):
                _encoding(case[1], case[2].decode(), tally)
            yield tally


def _encoding(body: bytes, label: str, tally: Tally) -> None:
    found, expected = charset.choose(body), charset.lookup(label)
    same_text = body.decode(found, "replace") == body.decode(expected, "replace")
    if found != expected and same_text:
        tally.agreed["another name for the same text (ASCII)"] += 1
    elif found == "utf-8" and not same_text and charset.prescan(body) == expected:
        tally.deliberate["the declaration is a lie: the bytes are UTF-8"] += 1
    else:
        _note(tally, found == expected, "the same", f"{body[-200:]!r}: {found} for {expected}")


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
    parser.add_argument("--sites", type=Path, help="unpacked documentation sites")
    arguments = parser.parse_args()
    folder: Path = arguments.folder
    tallies = [*urls(folder), *robots(folder), *encodings(folder), *reachable(folder)]
    if arguments.sites:
        tallies += site_encodings(arguments.sites)
    for tally in tallies:
        tally.print()
    wrong = sum(len(tally.wrong) for tally in tallies)
    print(f"\n{wrong} disagreements")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
