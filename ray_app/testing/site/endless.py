"""Spaces of URLs without end, as real sites have them by mistake."""

from __future__ import annotations

from itertools import product
from secrets import token_hex

from aiohttp import web

from ray_app.testing.site.pages import HTML, html

COLOURS, SIZES, SORTS = ("black", "white", "red", "blue"), ("s", "m", "l", "xl"), ("name", "price", "age", "sales")


def routes() -> list[web.RouteDef]:
    """Every endless path; each links to more of its kind."""
    return [
        web.get("/calendar", _calendar),
        web.get("/session", _session),
        web.get("/shop", _shop),
        web.get("/relative/{tail:.*}", _relative),
        web.get("/circle/{tail:.*}", _circle),
        web.get("/catalogue", _catalogue),
    ]


def _page(title: str, text: str, links: list[str]) -> web.Response:
    return web.Response(body=html(title, text, links), headers={"Content-Type": HTML})


async def _calendar(request: web.Request) -> web.Response:
    """A month without events that links to the months before and after, for ever."""
    month = int(request.query.get("month", "0"))
    links = [f"/calendar?month={month - 1}", f"/calendar?month={month + 1}", f"/calendar?month={month + 12}"]
    return _page(f"Month {month}", f"No events in month {month}.", links)


async def _session(_: web.Request) -> web.Response:
    """A page whose links carry a new session each time."""
    links = [f"/session?visit={token_hex(16)}&part={part}" for part in range(4)]
    return _page("Visit", "Welcome to the same page as ever.", links)


async def _shop(request: web.Request) -> web.Response:
    """Filters in every combination, each listing the same few things in another order."""
    links = [
        f"/shop?colour={colour}&size={size}&sort={sort}&seen={len(request.query)}{request.query.get('seen', '')}"
        for colour, size, sort in product(COLOURS, SIZES, SORTS)
    ]
    return _page("Shop", "Cables and stands.", links)


async def _relative(request: web.Request) -> web.Response:
    """A link that was meant to be absolute."""
    return web.Response(
        body=f"<title>Deep</title><p>Level {request.path.count('/')}.</p><a href='more/'>more</a>",
        headers={"Content-Type": HTML},
    )


async def _circle(request: web.Request) -> web.Response:
    return web.Response(
        body=b"<title>Circle</title><p>Round and round.</p><a href='a/b/'>on</a>", headers={"Content-Type": HTML}
    )


async def _catalogue(request: web.Request) -> web.Response:
    """No trap: 400 products under one parameter, each with a text of its own."""
    number = int(request.query.get("id", "0"))
    words = " ".join(f"{'abcdefghij'[int(digit)]}{digit}" for digit in str(number * 7919 + 10**6))
    names = " ".join("".join(chr(97 + (number * step + at) % 26) for at in range(6)) for step in (3, 5, 7, 11))
    links = [f"/catalogue?id={child}" for child in range(20 * number + 1, 20 * number + 21) if child < 400]
    return _page(f"Product {number}", f"It is called {names} and has {words}.", links)
