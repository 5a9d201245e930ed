"""Embeds and publishes one brand, as `backline embed` does, on the cluster that BACKLINE_RAY__ADDRESS names.

python index_driver.py BRAND FILE     writes its report, what `verify` finds, and the ids in the vector store, as JSON
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

from ray_app.config import load
from ray_app.ingest.brands import make_brand
from ray_app.ingest.indexing import BrandIndexer
from ray_app.ingest.verify import Verifier
from ray_app.on_ray.pipeline import Pipeline, Steps
from ray_app.on_ray.session import connect
from ray_app.on_ray.vector_owner import vector_store
from ray_app.store.stores import stores


def main() -> None:
    """See the module."""
    name, file = sys.argv[1:]
    settings = load()
    config = make_brand(name, {}, settings.crawl, site=False)
    with stores(settings) as opened, connect(settings):
        (result,) = Pipeline(settings, opened).run([config], Steps(crawl=False, wait_s=30.0))
        vectors = vector_store(settings)
        indexer = BrandIndexer(settings, opened, lambda order: {}, vectors)
        found = Verifier(settings, opened, indexer, vectors).verify(name, None)
        held = {one: sorted(vectors.ids(one)) for one in vectors.collections() if one.partition(".")[0] == name}
    Path(file).write_text(
        json.dumps({**result.as_dict(), "held": held, "found": [one.as_dict() for one in found]}), "utf-8"
    )


if __name__ == "__main__":
    main()
