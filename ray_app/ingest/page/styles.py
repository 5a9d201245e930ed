"""What CSS declarations say about whether their element can be seen."""

from __future__ import annotations

import re
from collections.abc import Mapping
from enum import IntEnum
from functools import lru_cache

MAX_STYLE_CHARS = 10_000  # of one style attribute
FAR_PX = 999.0  # nothing is scrolled or slid in from so far away
TINY_PX = 1.0
FAINT = 0.05  # opacity
NEAR_COLOUR = 8  # of 255, in each channel: no eye tells them apart

Declarations = Mapping[str, str]


class Way(IntEnum):
    """How an element is hidden, the surest last."""

    SEEN = 0
    SHUT = 1  # something on the page may open it
    TINY = 2  # its own text; what lies below it may have a size of its own
    NEVER = 3  # by a trick that nothing undoes


_COMMENT = re.compile(r"/\*.*?(?:\*/|$)", re.DOTALL)
_ESCAPE = re.compile(r"\\([0-9a-f]{1,6})\s?|\\(.)", re.IGNORECASE)
_LENGTH = re.compile(r"([-+]?(?:\d+\.?\d*|\.\d+))(px|pt|r?em|ex|ch|%|v[wh]|cm|in)?$")
# About: fonts and screens differ, but not by the factors that matter here.
_PIXELS = {
    "px": 1.0,
    "pt": 1.3,
    "em": 16.0,
    "rem": 16.0,
    "ex": 8.0,
    "ch": 8.0,
    "vw": 10.0,
    "vh": 8.0,
    "cm": 38.0,
    "in": 96.0,
}
_PERCENT_OF_FONT = 0.16
_FONT_SIZE = re.compile(r"(?:^|\s)(0|[\d.]+(?:px|pt|r?em|%))(?=\s|/)")
_SHIFT = re.compile(r"translate(?:x|y|3d)?\(([^)]*)\)")
_FLAT = re.compile(r"scale(?:[xy]|3d)?\(\s*0(?:\.0*)?\s*[,)]")
_CLIP_PATH = re.compile(
    r"inset\(\s*(?:[5-9]\d|100)(?:\.\d+)?%\s*\)|(?:circle|ellipse)\(\s*0(?!\.)|polygon\((?:[\s,]|0(?:px|%)?(?=[\s,)]))+\)"
)
_RECT = re.compile(r"rect\(([^)]*)\)")
_COLOUR = re.compile(r"#[0-9a-f]{3,8}\b|rgba?\([^)]*\)|\b[a-z]{3,20}\b")
_NUMBER = re.compile(r"\d+\.?\d*|\.\d+")
_BASIC = {
    "white": "#ffffff",
    "black": "#000000",
    "red": "#ff0000",
    "blue": "#0000ff",
    "gray": "#808080",
    "grey": "#808080",
    "silver": "#c0c0c0",
    "whitesmoke": "#f5f5f5",
    "snow": "#fffafa",
    "ivory": "#fffff0",
    "green": "#008000",
    "yellow": "#ffff00",
    "navy": "#000080",
}
_TAKEN_OVER = ("inherit", "initial", "unset", "currentcolor", "")
_MOVING = ("transition", "animation", "transform", "will-change")


def without_comments(css: str) -> str:
    """``css`` as it counts."""
    return _COMMENT.sub("", css) if "/*" in css else css


def declarations(text: str) -> Declarations:
    """Property to value, lower case; of several the last, and an important one before all."""
    found: dict[str, str] = {}
    important: dict[str, str] = {}
    if "\\" in text:
        text = _ESCAPE.sub(_unescaped, text)
    for part in text.lower().split(";"):
        name, _, value = part.partition(":")
        value, sign, _ = value.partition("!")
        (important if sign else found)[name.strip()] = value.strip()
    return found | important


@lru_cache(maxsize=4096)  # a site has few styles, each on many elements
def inline_way(style: str) -> Way:
    """How a style attribute hides its element."""
    return way_of(declarations(without_comments(style[:MAX_STYLE_CHARS])))


def way_of(style: Declarations) -> Way:
    """How an element with these declarations is hidden."""
    if _is_faint(style) or _is_clipped(style) or _is_away(style) or _is_flat(style) or _is_like_its_ground(style):
        return Way.NEVER
    if style.get("display") == "none" or style.get("visibility") in ("hidden", "collapse"):
        return Way.SHUT
    if style.get("content-visibility") == "hidden":
        return Way.SHUT
    return Way.TINY if _has_tiny_text(style) else _way_of_box(style)


def _unescaped(match: re.Match[str]) -> str:
    if not match[1]:
        return match[2]
    code = int(match[1], 16)
    return chr(code) if 0 < code <= 0x10FFFF else ""


def _is_faint(style: Declarations) -> bool:
    """Not when it is about to move as well: so frameworks write what fades in as the page is scrolled."""
    opacity = style.get("opacity", "")
    number = _NUMBER.match(opacity)
    if number is None or any(key.removeprefix("-webkit-").startswith(_MOVING) for key in style):
        return False
    return float(number[0]) / (100 if opacity.endswith("%") else 1) <= FAINT


def _is_clipped(style: Declarations) -> bool:
    if _CLIP_PATH.match(style.get("clip-path", "")):
        return True
    rect = _RECT.match(style.get("clip", ""))
    if rect is None or style.get("position") not in ("absolute", "fixed"):
        return False
    edges = [_pixels(edge) for edge in rect[1].replace(",", " ").split()]
    return len(edges) == 4 and all(edge is not None and abs(edge) <= TINY_PX for edge in edges)


def _is_away(style: Declarations) -> bool:
    """Far off the screen, all of it or its text."""
    indent = _pixels(style.get("text-indent", "")) or 0.0
    if indent <= -FAR_PX or (indent >= FAR_PX and "overflow" in style):
        return True
    # A band as wide as the window is drawn by a far margin with as much padding.
    moves = [] if "padding" in style or "padding-left" in style else [style.get("margin-left"), style.get("margin-top")]
    if style.get("position") in ("absolute", "fixed"):
        moves += map(style.get, ("left", "top", "right", "bottom"))
    if shift := _SHIFT.search(style.get("transform", "")):
        moves += [part.strip() for part in shift[1].split(",")]
    return any(move and (_pixels(move) or 0.0) <= -FAR_PX for move in moves)


def _is_flat(style: Declarations) -> bool:
    return _FLAT.search(style.get("transform", "")) is not None or "0" in (style.get("scale"), style.get("zoom"))


def _is_like_its_ground(style: Declarations) -> bool:
    colour = style.get("-webkit-text-fill-color") or style.get("color", "")
    if colour in _TAKEN_OVER or "text" in (style.get("background-clip"), style.get("-webkit-background-clip")):
        return False
    if colour == "transparent" or _alpha(colour) <= FAINT:
        return True
    ground = style.get("background-color") or style.get("background", "")
    if "url(" in ground or "gradient" in ground:
        return False
    own, under = _colour(colour), _colour(ground)
    if not (own and under):
        return colour == ground and colour.isalpha()
    return all(abs(a - b) <= NEAR_COLOUR for a, b in zip(own, under, strict=True))


def _has_tiny_text(style: Declarations) -> bool:
    font = _FONT_SIZE.search(style.get("font", ""))
    size = _pixels(style.get("font-size") or (font[1] if font else ""), percent=_PERCENT_OF_FONT)
    return size is not None and size <= TINY_PX


def _way_of_box(style: Declarations) -> Way:
    """Of a box too small for its text; no height alone is how accordions close."""
    overflow = " ".join(style.get(key, "") for key in ("overflow", "overflow-x", "overflow-y"))
    if "hidden" not in overflow and "clip" not in overflow:
        return Way.SEEN
    if any(key.startswith("padding") and any(map(_pixels, style[key].split())) for key in style):
        return Way.SEEN  # the frame of a video keeps its shape by padding
    low, narrow = (any(_is_tiny(style.get(key, "")) for key in (side, f"max-{side}")) for side in ("height", "width"))
    if low and narrow:
        return Way.NEVER
    return Way.SHUT if low or narrow else Way.SEEN


def _is_tiny(length: str) -> bool:
    size = _pixels(length)
    return size is not None and 0 <= size <= TINY_PX


def _pixels(length: str, percent: float = 1.0) -> float | None:
    """About how many; None for what is no length."""
    match = _LENGTH.match(length)
    if match is None:
        return None
    return float(match[1]) * (percent if match[2] == "%" else _PIXELS[match[2] or "px"])


def _colour(text: str) -> tuple[int, ...]:
    """Red, green and blue of the first known colour in ``text``; () without one."""
    for found in _COLOUR.findall(text):
        if found.startswith("rgb"):
            channels = tuple(int(min(255.0, float(number))) for number in _NUMBER.findall(found)[:3])
            return channels if len(channels) == 3 and "%" not in found else ()
        digits = _BASIC.get(found, found if found.startswith("#") else "")[1:]
        if digits:
            wide = digits[:6] if len(digits) >= 6 else "".join(digit * 2 for digit in digits[:3])
            return tuple(bytes.fromhex(wide))
    return ()


def _alpha(colour: str) -> float:
    """0 for a colour that lets everything through; 1 where none is given."""
    if re.fullmatch(r"#(?:[0-9a-f]{4}|[0-9a-f]{8})", colour):
        digits = colour[-1] * 2 if len(colour) == 5 else colour[-2:]
        return int(digits, 16) / 255
    numbers = _NUMBER.findall(colour) if colour.startswith(("rgb", "hsl")) else []
    return float(numbers[3]) if len(numbers) == 4 else 1.0
