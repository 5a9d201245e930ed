"""The site that is crawled under fire: two versions of it, in a process of its own.

Prints its port. A line on standard input, ``1`` or ``2``, chooses the version, and is answered when it is served.
"""

from __future__ import annotations

import asyncio
import sys
from dataclasses import replace

from ray_app.testing.site import Page, Site, html, linked_pages, pdf

PAGES = 600
MANUALS = 8


def version(number: int) -> dict[str, Page]:
    """Pages of every fate. In the second version some have changed, some are gone, some are new."""
    pages = linked_pages(PAGES)
    for index in range(PAGES):
        path = f"/page/{index}"
        if index % 3 == 0:
            pages[path] = replace(pages[path], etag=f'"{index}-{number if index % 9 == 0 else 1}"')
        if number == 2 and index % 9 == 0:
            old = pages[path].body.decode()
            pages[path] = replace(pages[path], body=old.replace(" screws", " screws and a new knob").encode())
        if number == 2 and index >= PAGES - 12:
            pages[path] = Page(status=404 if index % 2 else 410)
    for index in range(MANUALS):
        pages[f"/manual/{index}.pdf"] = Page(
            pdf(f"Manual {index} of edition {number if index < 2 else 1}: hold SHIFT."), media_type="application/pdf"
        )
    manuals = [f"/manual/{index}.pdf" for index in range(MANUALS)]
    odd = ["/copy", "/print?page=1", "/moved", "/private/x", "/noindex", "/missing", "/picture.png", "/broken"]
    pages |= {
        "/": Page(html("Start", links=["/page/0", *manuals, *odd, *[f"/cal?month={n}" for n in range(5)]])),
        "/copy": Page(pages["/page/1"].body),
        "/print?page=1": Page(
            html("Model P-00002", "It has 3 screws and weighs 4 grams.", head='<link rel=canonical href="/page/2">')
        ),
        "/moved": Page(status=301, headers={"Location": "/page/3"}),
        "/noindex": Page(html("Hidden", head='<meta name=robots content=noindex>')),
        "/broken": Page(b"\xff\xfe\x00<p>", media_type="application/pdf"),
        "/listed": Page(html("Listed", f"Only the sitemap knows version {number}.")),
        "/sitemap.xml": Page(_sitemap(number), media_type="application/xml"),
    }  # fmt: skip
    pages |= {f"/cal?month={n}": Page(html(f"Month {n}", f"Nothing happens in month {n}.")) for n in range(5)}
    return pages


def _sitemap(number: int) -> bytes:
    entries = [("/listed", f"2025-0{number}-01"), *((f"/page/{n}", "2024-01-01") for n in range(1, 40, 3))]
    urls = "".join(f"<url><loc>http://ORIGIN{path}</loc><lastmod>{day}</lastmod></url>" for path, day in entries)
    return f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">{urls}</urlset>'.encode()


async def main() -> None:
    """See the module."""
    async with Site(version(1), log=False) as site:
        print(site.authority, flush=True)
        loop = asyncio.get_running_loop()
        while line := (await loop.run_in_executor(None, sys.stdin.readline)).strip():
            pages = version(int(line))
            sitemap = pages["/sitemap.xml"]
            pages["/sitemap.xml"] = replace(sitemap, body=sitemap.body.replace(b"ORIGIN", site.authority.encode()))
            robots = site.pages["/robots.txt"]
            site.pages.clear()
            site.pages.update({"/robots.txt": robots, **pages})
            print("ok", flush=True)


if __name__ == "__main__":
    asyncio.run(main())
