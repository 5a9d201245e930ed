"""Sections under the headings of a page, as a reader meets both."""

from __future__ import annotations

from dataclasses import dataclass, replace
from urllib.parse import quote

from ray_app.records import Section

_FRAGMENT_SAFE = "!$%&'()*+,-./:;=?@[]^_{|}~#"


@dataclass(slots=True)
class _Heading:
    level: int
    text: str
    anchor: str
    bare: bool = True  # nothing stands under it so far


class Outline:
    """Collects sections in page order.

    A heading with nothing under it is told as text under the one above it: a product in a list, a warning. Alone and
    with none above it is most often the name of the site, and not told.
    """

    def __init__(self) -> None:
        self.first_heading = ""
        self._open: list[_Heading] = []
        self._sections: list[Section] = []
        self._bare: list[_Heading] = []  # not written yet: more may follow under the same heading
        self._bare_path: tuple[str, ...] = ()

    def begin(self, level: int, text: str, anchor: str) -> None:
        """A heading; what is written from now on stands under it."""
        self._close(level, text)
        self._open.append(_Heading(level, text, anchor))
        self.first_heading = self.first_heading or text

    def write(self, text: str, anchor: str) -> None:
        """A section under the open headings, if there is any text."""
        if text:
            self._write_bare()
            self._sections.append(Section(self._path(), fragment(anchor), text))

    def leave_out(self) -> None:
        """Something was met that is not read, like a list of the page's own parts."""
        self._path()

    def finish(self) -> tuple[Section, ...]:
        """All sections; nothing may be added any more. A page that is but headings one below the other has none."""
        if self._sections or self._bare:
            self._close(0, "")
            self._write_bare()
        return tuple(self._sections)

    def _close(self, level: int, following: str) -> None:
        """Ends the headings that one of this level ends. One that only says the same as the next says nothing."""
        bare: list[_Heading] = []
        while self._open and self._open[-1].level >= level:
            last = self._open[-1]
            if bare and not last.bare:
                self._add_bare(bare)
                bare = []
            self._open.pop()
            if last.bare and last.text != following:
                bare.insert(0, last)
        if bare:
            self._add_bare(bare)

    def _add_bare(self, bare: list[_Heading]) -> None:
        path = self._path()
        if path != self._bare_path:
            self._write_bare()
        self._bare_path = path
        self._bare += bare

    def _path(self) -> tuple[str, ...]:
        """Of what comes now, under all open headings."""
        for heading in self._open:
            heading.bare = False
        return tuple(heading.text for heading in self._open)

    def _write_bare(self) -> None:
        """At the end of the text that they follow, or as a section of their own."""
        if not self._bare_path and len(self._bare) < 2:
            self._bare = []
        if not self._bare:
            return
        lines = "\n\n".join(heading.text for heading in self._bare)
        if self._sections and self._sections[-1].path == self._bare_path:
            self._sections[-1] = replace(self._sections[-1], text=f"{self._sections[-1].text}\n\n{lines}")
        else:
            self._sections.append(Section(self._bare_path, fragment(self._bare[0].anchor), lines))
        self._bare = []


def fragment(name: str) -> str:
    """What goes at the end of the address to open at an id; "" for none."""
    return "#" + quote(name, safe=_FRAGMENT_SAFE) if name else ""
