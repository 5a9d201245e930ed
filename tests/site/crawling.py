"""What tests of whole crawls share."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from local_workers import LocalWorkers

from ray_app.config import Settings
from ray_app.ingest.brands import BrandConfig, make_brand
from ray_app.ingest.crawl import Crawler, CrawlReport, Progress
from ray_app.store.lease import Lease
from ray_app.store.ledger import Mode
from ray_app.store.stores import Stores
from ray_app.testing.site import Site


def brand(settings: Settings, site: Site, start: str = "/page/0", **fields: Any) -> BrandConfig:
    """The site as a brand without a pace."""
    wanted = {"start_urls": (site.url(start),), "allow_hosts": (site.authority,), "rate": 0.0, **fields}
    return make_brand("acme", wanted, settings.crawl)


async def crawl(
    settings: Settings,
    stores: Stores,
    config: BrandConfig,
    on_progress: Callable[[Progress], None] = lambda _: None,
    mode: Mode = Mode.DELTA,
    workers: type[LocalWorkers] = LocalWorkers,
) -> CrawlReport:
    """Runs the crawl in a thread, for the site answers in this one."""

    def run() -> CrawlReport:
        with Lease(stores.ledger, config.name, label="test", ttl_s=60) as lease:
            crawler = Crawler(stores.ledger, config, settings.crawl, workers(settings, config), on_progress)
            return crawler.run(lease, mode)

    return await asyncio.to_thread(run)
