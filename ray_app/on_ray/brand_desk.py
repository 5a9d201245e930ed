"""The API's BrandService over SQL and the live generations."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ray_app.api.ports import BrandInfo
from ray_app.config import Settings
from ray_app.index.coverage import Coverage, coverage, explain
from ray_app.index.depot import open_depot
from ray_app.ingest.handed import spelled
from ray_app.on_ray.targets import known
from ray_app.store.recent import Counts, RecentCounts
from ray_app.store.stores import Stores


class BrandDesk:
    """See api.ports.BrandService."""

    def __init__(self, settings: Settings, stores: Stores, recent: RecentCounts) -> None:
        self._settings = settings
        self._stores = stores
        self._depot = open_depot(settings)
        self._recent = recent

    async def brands(self) -> Sequence[BrandInfo]:
        """Every known brand, by name."""
        return await asyncio.to_thread(brand_infos, self._settings, self._stores, self._recent.counts)

    async def coverage(self, brand: str) -> Mapping[str, Any]:
        """See api.ports.BrandService."""
        return asdict(await asyncio.to_thread(self._coverage, brand))

    async def why(self, brand: str, url: str) -> Mapping[str, Any] | None:
        """See api.ports.BrandService."""
        return await asyncio.to_thread(self._why, brand, spelled(url))

    def _coverage(self, brand: str) -> Coverage:
        self._stores.catalog.brand(brand)
        return coverage(self._stores, self._depot, brand)

    def _why(self, brand: str, url: str) -> Mapping[str, Any] | None:
        self._stores.catalog.brand(brand)
        told = explain(self._stores, self._depot, url, brand)
        return {name: getattr(told[0], name) for name in ("url", "brand", "state", "reason", "story")} if told else None


def brand_infos(settings: Settings, stores: Stores, counts: Callable[[str], Counts] | None = None) -> list[BrandInfo]:
    """Every known brand, by name, with what was crawled and what is published. ``counts``: those of the ledger."""
    configs, pointers = known(settings, stores.catalog), stores.catalog.pointers()
    counted = counts or stores.ledger.counts
    titles = dict.fromkeys(stores.catalog.brands(), "") | {name: config.title for name, config in configs.items()}
    return [_info(stores, name, title, pointers.get(name, ""), counted(name)) for name, title in sorted(titles.items())]


def _info(stores: Stores, name: str, title: str, generation: str, counts: Counts) -> BrandInfo:
    urls: Counter[str] = Counter()
    for (state, _), count in counts.items():
        urls[str(state)] += count
    live = next((g for g in stores.catalog.generations(name) if g.generation == generation), None)
    return BrandInfo(
        name=name,
        title=title,
        generation=generation,
        documents=live.documents if live else 0,
        chunks=live.chunks if live else 0,
        published_at=live.created_at if live else None,
        urls=dict(urls),
    )
