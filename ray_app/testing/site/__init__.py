"""A small web site on loopback that misbehaves on purpose, shipped so that every install can be tried on it.

``async with Site() as site`` serves it; ``site.url("/ok")`` is a page, ``site.requests`` what was asked for.
"""

from ray_app.testing.site.pages import Page, html, linked_pages, pdf
from ray_app.testing.site.server import Request, Site

__all__ = ["Page", "Request", "Site", "html", "linked_pages", "pdf"]
