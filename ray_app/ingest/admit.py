"""Which of the URLs that pages and sitemaps name become part of a crawl."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

from ray_app.config import CrawlSettings
from ray_app.ingest import traps
from ray_app.ingest.brands import BrandConfig, Scope
from ray_app.records import PageOutcome, UrlState
from ray_app.store.ledger import Discovery, Ledger
from ray_app.store.settle import MISSED

# URLs remembered as recorded, so that a link that stands on every page is not looked up again for every page; about
# 150 bytes each. When there are more the memory begins anew: that costs a look-up each, no more.
MAX_REMEMBERED = 50_000
# Answers that bring no text and so no news. A 304, a redirect or a failure says nothing about a pattern.
TEXTLESS = MISSED | {"noindex"}
MAX_REFUSED = 1_000  # patterns remembered as closed
SITEMAP_DEPTH = 4  # indexes within indexes; the protocol allows one
SITEMAP_URL_DEPTH = 1  # a page that a sitemap lists is as near as one that the start page links to

Rank = tuple[int, int]


class Admission:
    """Scope, traps and memory of one crawl."""

    def __init__(self, ledger: Ledger, config: BrandConfig, settings: CrawlSettings) -> None:
        self._ledger = ledger
        self._brand = config.name
        self._scope = Scope(config, settings)
        self._budget = traps.Budget(ledger.templates(config.name))
        self._remembered: dict[str, Rank] = {}
        self._refused: set[str] = set()  # patterns of which a URL was refused in this run
        # URLs of patterns that this run has let in. Dead links of former runs, which are looked at again, are known
        # to the budget from the ledger, and must not speak against a shop's new products a second time.
        self._on_trial: set[str] = set()

    @property
    def sites(self) -> frozenset[str]:
        """The hosts that URLs in scope are on."""
        return self._scope.sites

    def judge(self, url: str, depth: int) -> str:
        """ "" when a URL belongs to the crawl, else why not."""
        return self._scope.judge(url, depth)

    def admit(self, found: Iterable[Discovery]) -> list[Discovery]:
        """What is worth telling the ledger, each judged."""
        fresh: dict[str, Discovery] = {}
        for one in found:
            rank = (one.depth, one.hops)
            known = self._remembered.get(one.url)
            if known is not None and known <= rank:
                continue
            held = fresh.get(one.url)
            if held is None or rank < (held.depth, held.hops):
                fresh[one.url] = one
        return self._without_traps([self._judged(one) for one in fresh.values()])

    def admit_listed(self, outcome: PageOutcome) -> tuple[list[Discovery], PageOutcome]:
        """The pages that a sitemap lists, and its outcome with the sitemaps that are followed."""
        task = outcome.task
        listed = [
            Discovery(one.url, SITEMAP_URL_DEPTH, task.url, sitemap=task.url, lastmod=one.lastmod)
            for one in outcome.listed
            if self._scope.covers(one.url)
        ]
        nested = outcome.links if task.depth < SITEMAP_DEPTH else ()
        if beyond := len(outcome.listed) - len(listed):
            told = f"{beyond} of its entries lie outside the scope"
            outcome = dataclasses.replace(outcome, detail="; ".join(filter(None, (outcome.detail, told))))
        # Whoever lists a page by hand or by program means it: a sitemap needs no budget.
        return [self._judged(one) for one in listed], dataclasses.replace(outcome, links=nested)

    def refused(self, template: str) -> None:
        """URLs of this pattern are kept out, for now."""
        if len(self._refused) < MAX_REFUSED:
            self._refused.add(template)

    def reopened(self) -> list[str]:
        """Patterns that were closed and whose pages have turned out to bring new texts; forgotten once told."""
        opened = [template for template in self._refused if self._budget.is_open(template)]
        self._refused.difference_update(opened)
        return opened

    def committed(self, found: Iterable[Discovery], outcomes: Sequence[PageOutcome]) -> None:
        """The ledger has these now."""
        for one in found:
            if len(self._remembered) >= MAX_REMEMBERED:
                self._remembered.clear()
            self._remembered[one.url] = (one.depth, one.hops)
        for outcome in outcomes:
            if outcome.fingerprint:
                self._budget.seen(traps.template(outcome.task.url), outcome.fingerprint.shape)
            elif outcome.reason in TEXTLESS and outcome.task.url in self._on_trial:
                self._budget.seen(traps.template(outcome.task.url), "")
            if outcome.state is not UrlState.QUEUED:
                self._on_trial.discard(outcome.task.url)

    def _judged(self, found: Discovery) -> Discovery:
        if reason := self._scope.judge(found.url, found.depth):
            return dataclasses.replace(found, state=UrlState.SKIPPED, reason=reason)
        return found

    def _without_traps(self, found: list[Discovery]) -> list[Discovery]:
        """URLs of a pattern without end are recorded as such once their pattern has used up its budget."""
        marked = [self._marked(one) for one in found]
        doubtful = [one.url for one in marked if one.template]
        new = self._ledger.not_admitted(self._brand, doubtful) if doubtful else set()
        return [self._within_budget(one) if one.url in new else one for one in marked]

    def _marked(self, found: Discovery) -> Discovery:
        if found.state is not UrlState.QUEUED or found.forced:
            return found
        if traps.is_trap(found.url):
            return dataclasses.replace(found, state=UrlState.SKIPPED, reason="trap")
        template = traps.template(found.url)
        return dataclasses.replace(found, template=template) if template else found

    def _within_budget(self, found: Discovery) -> Discovery:
        if reason := self._budget.admit(found.url, found.template):
            self.refused(found.template)
            return dataclasses.replace(found, state=UrlState.SKIPPED, reason=reason)
        if len(self._on_trial) < MAX_REMEMBERED:
            self._on_trial.add(found.url)
        return found
