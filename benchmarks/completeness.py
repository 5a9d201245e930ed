"""Whether a crawl finds every page of a site: against the pages that an independent search reaches by links.

python benchmarks/completeness.py SITES MANIFESTS [--site csound ...]

SITES holds the sites as `get.sh` of the data unpacks them, MANIFESTS for each NAME.reachable.txt: "depth path" lines.
Prints for each site what only one side has, and why, in the words of `backline why`.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from urllib.parse import quote, unquote

from crawling.sites import ROOTS, STARTS, serving

from ray_app.config import Settings, load
from ray_app.index.coverage import explain
from ray_app.ingest.brands import make_brand
from ray_app.on_ray.pipeline import Pipeline, Steps
from ray_app.on_ray.session import connect
from ray_app.records import UrlState
from ray_app.store.stores import Stores, stores

SHOWN = 20  # differences told in full


def check(name: str, sites: Path, manifest: Path, settings: Settings, opened: Stores) -> bool:
    """Crawl one site and compare; whether the two sets are equal."""
    root, start = ROOTS[name], STARTS.get(name, "index.html")
    wanted = {line.split(None, 1)[1] for line in manifest.read_text().splitlines()}
    wanted = {path for path in wanted if path.endswith((".html", ".htm"))}
    with serving(sites / root, 0) as server:
        fields = {"start_urls": (f"{server.origin}/{start}",), "allow_hosts": ("127.0.0.1",), "rate": 0.0}
        config = make_brand(name, fields, settings.crawl)
        (result,) = Pipeline(settings, opened).run([config], Steps(embed=False))
    assert result.crawl, result.error
    fetched = [row.url for row in opened.ledger.urls(name, UrlState.FETCHED)]
    found = {unquote(url.removeprefix(server.origin + "/")) for url in fetched}
    missing, more = wanted - found, found - wanted
    print(f"{name}: {len(wanted)} pages by links, {len(found)} fetched, {len(missing)} missing, {len(more)} more")
    for path in sorted(missing | more)[:SHOWN]:
        told = explain(opened.ledger, opened.catalog, opened.index_root, f"{server.origin}/{quote(path)}", name)
        print(f"  {path}: {' '.join(told[0].story) if told else 'never seen'}")
    return not missing | more


def main() -> None:
    """See the module."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("sites", type=Path)
    parser.add_argument("manifests", type=Path)
    parser.add_argument("--site", action="append", choices=sorted(ROOTS))
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        settings = load(data_dir=Path(folder))
        with stores(settings) as opened, connect(settings):
            equal = [
                check(name, given.sites, given.manifests / f"{name}.reachable.txt", settings, opened)
                for name in given.site or ROOTS
            ]
    raise SystemExit(0 if all(equal) else 1)


if __name__ == "__main__":
    main()
