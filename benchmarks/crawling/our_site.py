"""Our side: Backline crawls one site on a private Ray cluster, as `backline crawl` does, then again.

python benchmarks/crawling/our_site.py START-URL DATA-FOLDER CONCURRENCY RUNS

Before each crawl it waits for a line on standard input; after it, prints one JSON line.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ray_app.config import load
from ray_app.ingest.brands import make_brand
from ray_app.on_ray.pipeline import Pipeline, Steps
from ray_app.on_ray.session import connect
from ray_app.records import UrlState
from ray_app.store.stores import stores


def main() -> None:
    """See the module."""
    start, folder, concurrency, runs = sys.argv[1:5]
    settings = load(data_dir=Path(folder), crawl={"per_host_connections": int(concurrency)})
    fields = {"start_urls": (start,), "allow_hosts": ("127.0.0.1",), "rate": 0.0}
    config = make_brand("site", fields, settings.crawl)
    with stores(settings) as opened, connect(settings):
        for _ in range(int(runs)):
            print("ready", flush=True)
            sys.stdin.readline()
            (result,) = Pipeline(settings, opened).run([config], Steps(embed=False))
            assert result.crawl, result.error
            html = [row.url for row in opened.ledger.urls("site", UrlState.FETCHED)]
            told = {"seconds": result.crawl.seconds, "requests": result.crawl.handled, "pages": len(html)}
            print(json.dumps({**told, "stored": result.crawl.stored, "urls": html}), flush=True)


if __name__ == "__main__":
    main()
