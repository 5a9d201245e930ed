"""Actors that read pages through a browser (``renderer:0`` ...), shared by all crawls of the cluster like fetch actors.

Each owns one browser and gives it back when nobody has needed it for a while. A browser's processes end with the
actor's, whatever ends that. What pages ask for goes to the fetch actor that paces the host, so pages and their scripts
share one pace, one guard and one robots.txt.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from typing import Any

import ray
from ray.exceptions import RayActorError

from ray_app.config import RenderSettings, Settings
from ray_app.errors import BadUrl
from ray_app.ingest.fetch import HostProfile
from ray_app.ingest.outcome import divide
from ray_app.ingest.render.renderer import Renderer
from ray_app.ingest.render.resource import Resource, ResourceTask, exact
from ray_app.observe.log import configure, get_logger
from ray_app.on_ray.named import named
from ray_app.on_ray.scrape_pool import NICENESS, fetch_actor, fetcher_of
from ray_app.records import FetchResult, PageOutcome

log = get_logger(__name__)

# The browser's processes do the work, at a lower priority than replicas; the share only says that there is some.
RENDER_CPUS = 0.1
# Batches that one actor holds at once: its browser takes their pages in turn.
RENDER_CONCURRENCY = 64
# A fetch actor that died is restarted by Ray within seconds; what a page asks of it is sent again so often.
FETCH_TRIES = 5
# A browser takes half a gigabyte, and a second to start: it is kept for as long as a crawl may pause.
IDLE_S = 60.0


class FetchActorGetter:
    """The ResourceGetter of a cluster."""

    def __init__(self, fetchers: Sequence[Any]) -> None:
        """``fetchers`` are all the cluster's, in the order of their numbers."""
        self._fetchers = fetchers

    async def get(self, task: ResourceTask, profile: HostProfile) -> Resource:
        """As ResourceGetter; a fetch actor that died is asked again while Ray restarts it."""
        try:
            actor = self._fetchers[fetcher_of(exact(task.url), len(self._fetchers))]
        except BadUrl:
            return Resource(task.url, "bad_url")
        for tries in range(1, FETCH_TRIES + 1):
            try:
                found: Resource = await actor.resource.remote(task, profile)
            except RayActorError:
                log.warning("fetch_actor_died", url=task.url, tries=tries)
                await asyncio.sleep(tries)  # Ray restarts it in about a second
            else:
                return found
        return Resource(task.url, "connect")


class RenderActor:
    """Ray's side of a Renderer.

    It outlives the job that made it, so settings come with each call. Those that differ are taken over when nothing
    is under way.
    """

    def __init__(self, settings: Settings, fetchers: int) -> None:
        """``fetchers`` is the number of fetch actors that the cluster has agreed on."""
        configure(settings.log, component="renderer")
        os.nice(NICENESS)
        actors = [fetch_actor(settings, index) for index in range(fetchers)]
        self._getter = FetchActorGetter(actors)
        self._settings = settings.render
        self._renderer = Renderer(settings.render, self._getter)
        self._under_way = 0
        self._rest: asyncio.Task[None] | None = None

    async def start(self, settings: RenderSettings) -> None:
        """Raises ConfigError when there is nothing to render with, so that a crawl can say so before it begins."""
        await self._adopt(settings)
        await self._renderer.start()

    async def render(
        self, bodies: Sequence[FetchResult], profile: HostProfile, settings: RenderSettings, only: int | None = None
    ) -> tuple[list[FetchResult], tuple[int, list[PageOutcome]]]:
        """Of all bodies, or of the one at index ``only``: the results that go on to extraction; their number, and the
        outcomes of those that scripts lead elsewhere. Raises ConfigError as ``start`` does.
        """
        await self._adopt(settings)
        wanted = bodies if only is None else bodies[only : only + 1]
        self._under_way += 1
        if self._rest:
            self._rest.cancel()
        try:
            results = await asyncio.gather(*(self._renderer.render(one, profile) for one in wanted))
        finally:
            self._under_way -= 1
            if not self._under_way:
                self._rest = asyncio.create_task(self._rest_when_idle())
        going_on, settled = divide(results)
        return going_on, (len(going_on), settled)

    async def _adopt(self, settings: RenderSettings) -> None:
        if settings != self._settings and not self._under_way:
            before = self._renderer
            self._settings, self._renderer = settings, Renderer(settings, self._getter)
            await before.close()

    async def _rest_when_idle(self) -> None:
        await asyncio.sleep(IDLE_S)
        log.info("renderer_rests")
        await asyncio.shield(self._renderer.rest())


def render_actor(settings: Settings, index: int, fetchers: int) -> Any:
    """The render actor of that number, made if it is not there; ``settings.render.workers`` says how many there are."""
    options = named(settings, f"renderer:{index}", num_cpus=RENDER_CPUS, max_concurrency=RENDER_CONCURRENCY)
    return ray.remote(RenderActor).options(**options).remote(settings, fetchers)
