"""The peer: Scrapy with trafilatura crawls one site and writes the same fields as JSON lines.

python benchmarks/crawling/scrapy_site.py START-URL OUT.jsonl CONCURRENCY

Prints one JSON line: seconds, requests answered, pages.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import AsyncIterator, Iterator
from typing import Any

import scrapy
import trafilatura
from scrapy.crawler import CrawlerProcess
from scrapy.http import HtmlResponse, Response
from scrapy.linkextractors import LinkExtractor


class SiteSpider(scrapy.Spider):
    """Follows every link within the host, as its documentation shows it."""

    name = "site"

    def __init__(self, start: str) -> None:
        super().__init__()
        self._start = start
        self.allowed_domains = ["127.0.0.1"]
        self._links = LinkExtractor()

    async def start(self) -> AsyncIterator[scrapy.Request]:
        yield scrapy.Request(self._start)

    def parse(self, response: Response) -> Iterator[Any]:
        if not isinstance(response, HtmlResponse):
            return
        document = trafilatura.bare_extraction(
            response.text,
            url=response.url,
            output_format="markdown",
            include_comments=False,
            include_tables=True,
            include_formatting=True,
        )
        links = [link.url for link in self._links.extract_links(response)]
        yield {
            "url": response.url,
            "title": document.title if document else "",
            "lang": document.language if document else "",
            "text": document.text if document else "",
            "links": links,
        }
        yield from map(scrapy.Request, links)


def main() -> None:
    """See the module."""
    start, out, concurrency = sys.argv[1:4]
    process = CrawlerProcess(
        {
            "CONCURRENT_REQUESTS": int(concurrency),
            "CONCURRENT_REQUESTS_PER_DOMAIN": int(concurrency),
            "DOWNLOAD_DELAY": 0,
            "DEPTH_LIMIT": 30,
            "FEEDS": {out: {"format": "jsonlines", "overwrite": True}},
            "LOG_LEVEL": "ERROR",
            "ROBOTSTXT_OBEY": True,
            "TELNETCONSOLE_ENABLED": False,
        }
    )
    crawler = process.create_crawler(SiteSpider)
    process.crawl(crawler, start=start)
    began = time.monotonic()
    process.start()
    seconds = time.monotonic() - began
    stats = crawler.stats
    assert stats is not None
    answered, pages = stats.get_value("response_received_count"), stats.get_value("item_scraped_count")
    print(json.dumps({"seconds": seconds, "requests": answered, "pages": pages}))


if __name__ == "__main__":
    main()
