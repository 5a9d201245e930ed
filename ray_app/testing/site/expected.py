"""What a crawl must make of each path of the site: the tests and the selftest read the same table."""

from __future__ import annotations

from ray_app.records import UrlState

FETCHED, SKIPPED, FAILED, GONE = UrlState.FETCHED, UrlState.SKIPPED, UrlState.FAILED, UrlState.GONE

SLOW = "slow_body or timeout"  # whichever limit is reached first
# path -> (state, reason) after one crawl that starts at /everything
FATES: dict[str, tuple[UrlState, str]] = {
    "/ok": (FETCHED, "ok"),
    "/etag": (FETCHED, "ok"),
    "/last-modified": (FETCHED, "ok"),
    "/latin-1": (FETCHED, "ok"),
    "/gzip": (FETCHED, "ok"),
    "/gzip-members": (FETCHED, "ok"),
    "/deflate": (FETCHED, "ok"),
    "/deflate-raw": (FETCHED, "ok"),
    "/typeless": (FETCHED, "ok"),
    "/typeless-pdf": (FETCHED, "ok"),
    "/manual.pdf": (FETCHED, "ok"),
    "/download.pdf": (FETCHED, "ok"),
    "/flaky/1": (FETCHED, "ok"),
    "/hidden": (FETCHED, "ok"),
    "/orders": (FETCHED, "ok"),
    "/only-orders": (FETCHED, "quarantined"),
    "/empty": (FETCHED, "empty"),
    "/204": (FETCHED, "empty"),
    "/canonical": (FETCHED, "ok"),  # it names a page that is nothing like it
    "/ok?print=1": (FETCHED, "canonical"),
    "/ok?utm_source=mail": (FETCHED, "ok"),  # recorded without its tracking parameter
    "/same": (FETCHED, "duplicate"),
    "/noindex-header": (SKIPPED, "noindex"),
    "/noindex-meta": (SKIPPED, "noindex"),
    "/private/secret": (SKIPPED, "robots"),
    "/image.png": (SKIPPED, "media_type"),
    "/binary": (SKIPPED, "media_type"),
    "/typeless-binary": (SKIPPED, "media_type"),
    "/redirect": (SKIPPED, "redirect"),
    "/redirect-metadata": (SKIPPED, "redirect"),
    "/login-wall": (SKIPPED, "login_wall"),
    "/cookie-wall": (SKIPPED, "cookie_wall"),
    "/js-shell": (SKIPPED, "js_shell"),
    "/a/a/a/a/a": (SKIPPED, "trap"),
    "/soft-404": (GONE, "soft_404"),
    "/404": (GONE, "http_404"),
    "/410": (GONE, "http_410"),
    "/403": (FAILED, "http_4xx"),
    "/500": (FAILED, "http_5xx"),
    "/captcha": (FAILED, "bot_wall"),
    "/bot-wall": (FAILED, "bot_wall"),
    "/redirect-self": (FAILED, "redirect_loop"),
    "/redirect-nowhere": (FAILED, "protocol"),
    "/redirect-ftp": (FAILED, "protocol"),
    "/gzip-bomb": (FAILED, "too_large"),
    "/length-huge": (FAILED, "too_large"),
    "/endless": (FAILED, "too_large"),
    "/gzip-cut": (FAILED, "bad_encoding"),
    "/gzip-garbage": (FAILED, "bad_encoding"),
    "/nested-encoding": (FAILED, "bad_encoding"),
    "/unasked-encoding": (FAILED, "bad_encoding"),
    "/length-too-long": (FAILED, "protocol"),
    "/length-too-short": (FAILED, "protocol"),
    "/header-bomb": (FAILED, "protocol"),
    "/not-http": (FAILED, "protocol"),
    "/hang-up": (FAILED, "protocol"),
    "/slow-body": (FAILED, SLOW),
    "/stalled-body": (FAILED, SLOW),
    "/slow-headers": (FAILED, "timeout"),
    "/broken.pdf": (FAILED, "pdf_broken"),
    "/empty.pdf": (FAILED, "pdf_no_text"),
}
# URLs that lead elsewhere: none of them is ever connected to.
ELSEWHERE: dict[str, tuple[UrlState, str]] = {
    "http://169.254.169.254/latest/meta-data/": (SKIPPED, "scope"),
    "https://elsewhere.example/": (SKIPPED, "scope"),
}


def fits(expected: tuple[UrlState, str], state: UrlState, reason: str) -> bool:
    """Whether a URL met the fate that it should."""
    return expected[0] == state and reason in expected[1].split(" or ")
