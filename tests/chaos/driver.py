"""One crawl of one brand, as `backline crawl` runs it, on the cluster that BACKLINE_RAY__ADDRESS names.

python driver.py BRAND START-URL MODE     prints the report as one JSON line
"""

from __future__ import annotations

import json
import sys

from ray_app.config import load
from ray_app.ingest.brands import make_brand
from ray_app.on_ray.pipeline import Pipeline, Steps
from ray_app.on_ray.session import connect
from ray_app.store.ledger import Mode
from ray_app.store.stores import stores


def main() -> None:
    """See the module."""
    name, start, mode = sys.argv[1:4]
    settings = load()
    fields = {"start_urls": (start,), "allow_hosts": ("127.0.0.1",), "rate": 120.0}
    config = make_brand(name, fields, settings.crawl)
    with stores(settings) as opened, connect(settings):
        (result,) = Pipeline(settings, opened).run([config], Steps(embed=False, mode=Mode(mode), wait_s=30.0))
    print(json.dumps(result.as_dict()), flush=True)


if __name__ == "__main__":
    main()
