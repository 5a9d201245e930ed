"""Cron expressions in a time zone, with daylight saving time decided here and nowhere else.

Five fields (minute hour day-of-month month day-of-week) or an alias such as ``@daily``. croniter finds
the slots on the wall clock, where it sees no daylight saving time; this module maps them to instants:

- An expression whose hour field allows every hour (``*/5 * * * *``) follows real time: slots that the
  spring gap swallows do not exist, and the repeated hour in autumn has its slots twice, so a health
  check never pauses for an hour.
- Any other expression names times of day, and each of them runs exactly once a day: a slot inside the
  gap runs at the first instant after it (several such slots are one run), a slot inside the repeated
  hour runs the first time only.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import lru_cache
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterError, croniter

from ray_app.errors import ScheduleError

FIELDS = 5  # no seconds field: a run is a process of its own and takes seconds to start
MAX_LENGTH = 200  # characters; longer expressions are mistakes
_RANDOM = re.compile(r"(^|[\s,])r(\(|/|,|\s|$)", re.IGNORECASE)  # croniter's R: another time at every reading


@dataclass(frozen=True, slots=True)
class Cron:
    """A checked expression. Made by ``parse``; times are POSIX seconds, ticks fall on whole minutes."""

    expression: str
    zone: ZoneInfo
    every_hour: bool  # follows real time through daylight saving time, see the module's text

    def next_tick(self, after: float) -> float:
        """The first tick later than ``after``."""
        wall, overlap = self._wall(after)
        best = math.inf
        for slot in self._slots(wall - overlap, forward=True):
            instants = self._instants(slot)
            if instants and instants[0] >= best:
                return best
            best = min([best, *(t for t in instants if t > after)])
        raise AssertionError("croniter never stops")

    def latest_tick(self, until: float) -> float:
        """The last tick not later than ``until``."""
        wall, overlap = self._wall(until)
        best = -math.inf
        for slot in self._slots(wall + overlap + timedelta(seconds=1), forward=False):
            instants = self._instants(slot)
            if instants and instants[-1] <= best:
                return best
            best = max([best, *(t for t in instants if t <= until)])
        raise AssertionError("croniter never stops")

    def ticks(self, after: float, until: float) -> Iterator[float]:
        """Every tick t with after < t <= until, ascending."""
        tick = self.next_tick(after)
        while tick <= until:
            yield tick
            tick = self.next_tick(tick)

    def _wall(self, instant: float) -> tuple[datetime, timedelta]:
        """What the clock shows, and how long the repeated hour round it is (zero outside of one)."""
        local = datetime.fromtimestamp(math.floor(instant), self.zone)
        overlap = local.replace(fold=1).timestamp() - local.replace(fold=0).timestamp()
        return local.replace(tzinfo=None), timedelta(seconds=max(0.0, overlap))

    def _slots(self, start: datetime, *, forward: bool) -> Iterator[datetime]:
        """Wall-clock slots after (or before) ``start``, without end and without ``start`` itself."""
        found = croniter(self.expression, start.replace(tzinfo=UTC).timestamp(), ret_type=float)
        step = found.get_next if forward else found.get_prev
        while True:
            yield datetime.fromtimestamp(step(), UTC).replace(tzinfo=None)

    def _instants(self, slot: datetime) -> tuple[float, ...]:
        """When a wall-clock slot runs, ascending: never, once or twice."""
        first = slot.replace(tzinfo=self.zone, fold=0).timestamp()
        second = slot.replace(tzinfo=self.zone, fold=1).timestamp()
        if first == second:
            return (first,)
        if first < second:  # the repeated hour (PEP 495)
            return (first, second) if self.every_hour else (first,)
        return () if self.every_hour else (self._gap_end(int(second), int(first)),)

    def _gap_end(self, before: int, after: int) -> float:
        """The first second of the new offset, which lies in (before, after]."""
        new = self._offset(after)
        while after - before > 1:
            middle = (before + after) // 2
            before, after = (before, middle) if self._offset(middle) == new else (middle, after)
        return float(after)

    def _offset(self, instant: int) -> timedelta | None:
        return datetime.fromtimestamp(instant, self.zone).utcoffset()


@lru_cache(maxsize=512)
def parse(expression: str, timezone: str) -> Cron:
    """A checked expression in an IANA time zone. Raises ScheduleError saying what is wrong."""
    found = zone(timezone)
    text = " ".join(expression.split())
    _refuse_extensions(text)
    try:
        # Any start will do: it only shows whether the expression ever comes true.
        probe = croniter(text, 0.0, ret_type=float)
        probe.get_next()
    except (CroniterError, ValueError, KeyError) as error:
        raise ScheduleError(f"The cron expression {text!r} cannot be used: {str(error).rstrip('.')}.") from None
    hours = probe.expanded[1]
    return Cron(text, found, every_hour="*" in hours or len(set(hours)) == 24)


def zone(name: str) -> ZoneInfo:
    """An IANA time zone by name. Raises ScheduleError."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):  # OSError: a folder such as "Europe"
        raise ScheduleError(f"There is no time zone {name!r}.", hint="Use an IANA name, e.g. Europe/Berlin.") from None


def _refuse_extensions(text: str) -> None:
    if len(text) > MAX_LENGTH:
        raise ScheduleError(f"The cron expression is longer than {MAX_LENGTH} characters.")
    if not text.startswith("@") and len(text.split()) != FIELDS:
        raise ScheduleError(
            f"The cron expression {text!r} has {len(text.split())} fields instead of {FIELDS}.",
            hint="They are minute, hour, day of month, month, day of week.",
        )
    if _RANDOM.search(text):
        raise ScheduleError(f"The cron expression {text!r} asks for a random time, which no restart could repeat.")
