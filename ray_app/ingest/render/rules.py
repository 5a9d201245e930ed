"""What a page being rendered is given, and when it has become what it will be: decisions only, no browser."""

from __future__ import annotations

from ray_app.errors import BacklineError
from ray_app.ingest.clean import names
from ray_app.ingest.render.resource import Resource
from ray_app.ingest.urls import authority, origin

QUIET_S = 0.5  # nothing asked for and no text changed for so long: the page is ready
THIN_CHARS = 200  # of text; a page with less may still be thinking
PATIENCE_S = 3.0  # so long must a thin page be quiet
HOPELESS_S = 8.0  # so long without more text or another script, and what is there is taken
SLACK_CHARS = 20  # a clock or a counter changes so much
SLACK_SHARE = 0.02  # of the text, likewise

# Hosts that only count and watch visitors. A crawler is none, and their scripts are heavier than many pages.
_TRACKERS = names(
    "google-analytics.com googletagmanager.com doubleclick.net googlesyndication.com googleadservices.com "
    "connect.facebook.net hotjar.com clarity.ms segment.io segment.com mixpanel.com amplitude.com fullstory.com "
    "newrelic.com nr-data.net datadoghq-browser-agent.com sentry.io bugsnag.com quantserve.com scorecardresearch.com "
    "omtrdc.net demdex.net adobedtm.com criteo.com taboola.com outbrain.com bat.bing.com ads-twitter.com "
    "snap.licdn.com analytics.tiktok.com"
)
_NOBODY = "https://none.invalid"  # as Access-Control-Allow-Origin; without one Playwright would add a permissive one


class RenderFailed(BacklineError):
    """The page could not be rendered. ``message`` is a sentence for a person."""

    kind = "render-failed"


class BrowserGone(BacklineError):
    """The browser ended."""

    kind = "browser-gone"
    retryable = True


def is_tracker(url: str) -> bool:
    """Whether the host of a URL, or a domain above it, only watches visitors."""
    labels = authority(url).partition(":")[0].split(".")
    return any(".".join(labels[start:]) in _TRACKERS for start in range(len(labels) - 1))


def may_read(found: Resource, page: str, *, script: bool) -> bool:
    """Whether an answer that came from ``found.url`` in the end is for the page, by CORS.

    A script is: the browser runs one from anywhere, and judges modules by the headers itself.
    """
    if script or origin(found.url) == origin(page):
        return True
    return dict(found.headers).get("access-control-allow-origin") in ("*", origin(page))


def response_headers(found: Resource) -> dict[str, str]:
    """What the browser is told beside the body."""
    return {"access-control-allow-origin": _NOBODY, **dict(found.headers)}


class Settling:
    """When a page is ready. Times are monotonic seconds.

    Ready is a page that is loaded, waits for nothing and changes no more; one with little text must be quiet for
    longer, for it may do its work after a pause. One that never rests is taken as it is once its text stops growing.
    """

    def __init__(self, now: float) -> None:
        self._active = now
        self._progress = now
        self._scripts = 0  # in flight
        self._data = 0
        self._loading = True
        self._characters = 0  # at the last look
        self._noted = 0  # at the last look that found another text
        self._most = 0

    def began(self, now: float, *, script: bool) -> None:
        """The page has asked for something."""
        self._count(now, script, 1)

    def ended(self, now: float, *, script: bool) -> None:
        """It has it, or will not get it."""
        self._count(now, script, -1)
        if script:
            self._progress = now

    def loaded(self, now: float) -> None:
        """The page itself has been given to the browser."""
        self._active = self._progress = now

    def saw(self, now: float, characters: int, *, loading: bool) -> None:
        """A look at the page: how much text it has, and whether its own HTML is still being read."""
        self._loading = loading
        self._characters = characters
        if abs(characters - self._noted) > _slack(self._noted):
            self._noted = characters
            self._active = now
        if characters > self._most + _slack(self._most):
            self._most = characters
            self._progress = now

    def is_over(self, now: float) -> bool:
        """Whether the page is ready."""
        if self._loading or self._scripts or self._data:
            return False
        return now - self._active >= (PATIENCE_S if self._is_thin else QUIET_S)

    def is_hopeless(self, now: float) -> bool:
        """Whether waiting longer would bring nothing, although the page does not rest."""
        waits = self._scripts or (self._data and self._is_thin)
        return not waits and now - self._progress >= HOPELESS_S

    @property
    def _is_thin(self) -> bool:
        return self._characters < THIN_CHARS

    def _count(self, now: float, script: bool, change: int) -> None:
        self._active = now
        if script:
            self._scripts += change
        else:
            self._data += change


def _slack(characters: int) -> float:
    return max(SLACK_CHARS, SLACK_SHARE * characters)
