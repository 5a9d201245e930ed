"""Stores and settings for crawls of a loopback site."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from ray_app.config import Settings, with_changes
from ray_app.store.stores import Stores, open_stores


@pytest.fixture
def stores(settings: Settings) -> Iterator[Stores]:
    opened = open_stores(settings)
    yield opened
    opened.close()


@pytest.fixture
def fast(settings: Settings) -> Settings:
    return with_changes(settings, crawl={"batch_size": 5, "retry_after_cap_s": 0.2, "total_timeout_s": 2.0})
