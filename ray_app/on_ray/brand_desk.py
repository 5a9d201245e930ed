"""The API's BrandService over SQL and the live generations."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import asdict
from typing import Any

from ray_app.api.ports import BrandInfo
from ray_app.config import Settings
from ray_app.index.coverage import Coverage, coverage, explain
from ray_app.ingest.urls import normalise
from ray_app.on_ray.targets import known
from ray_app.store.stores import Stores


class BrandDesk:
    """See api.ports.BrandService."""

    def __init__(self, settings: Settings, stores: Stores) -> None:
        self._settings = settings
        self._stores = stores

    async def brands(self) -> Sequence[BrandInfo]:
        """Every known brand, by name."""
        return await asyncio.to_thread(self._brands)

    async def coverage(self, brand: str) -> Mapping[str, Any]:
        """See api.ports.BrandService."""
        return asdict(await asyncio.to_thread(self._coverage, brand))

    async def why(self, brand: str, url: str) -> Mapping[str, Any] | None:
        """See api.ports.BrandService."""
        return await asyncio.to_thread(self._why, brand, normalise(url))

    def _coverage(self, brand: str) -> Coverage:
        self._stores.catalog.brand(brand)
        return coverage(self._stores.ledger, self._stores.catalog, self._stores.index_root, brand)

    def _why(self, brand: str, url: str) -> Mapping[str, Any] | None:
        self._stores.catalog.brand(brand)
        told = explain(self._stores.ledger, self._stores.catalog, self._stores.index_root, url, brand)
        return {name: getattr(told[0], name) for name in ("url", "brand", "state", "reason", "story")} if told else None

    def _brands(self) -> list[BrandInfo]:
        pointers = self._stores.catalog.pointers()
        configs = known(self._settings, self._stores.catalog)
        return [self._info(name, configs[name].title, pointers.get(name, "")) for name in sorted(configs)]

    def _info(self, name: str, title: str, generation: str) -> BrandInfo:
        urls: dict[str, int] = {}
        for (state, _), count in self._stores.ledger.counts(name).items():
            urls[str(state)] = urls.get(str(state), 0) + count
        live = next((g for g in self._stores.catalog.generations(name) if g.generation == generation), None)
        return BrandInfo(
            name=name,
            title=title,
            generation=generation,
            documents=live.documents if live else 0,
            chunks=live.chunks if live else 0,
            published_at=live.created_at if live else None,
            urls=urls,
        )
