"""Colours of HTML mail, to tell whether text (ink) can be seen on its background (paper). Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

_ALIKE: Final = 16  # of 255: two colours look the same when red, green and blue differ by this or less
_FAINT: Final = 0.1  # ink with a smaller alpha is not seen

_HEX = re.compile(r"#?([0-9a-f]{3,4}|[0-9a-f]{6}|[0-9a-f]{8})")
_RGB = re.compile(r"rgba?\(\s*([\d.]+)(%?)[\s,]+([\d.]+)%?[\s,]+([\d.]+)%?(?:[\s,/]+([\d.]+)(%?))?\s*\)")
_HSL = re.compile(r"hsla?\(\s*[\d.]+(?:deg)?[\s,]+[\d.]+%[\s,]+([\d.]+)%(?:[\s,/]+([\d.]+)(%?))?\s*\)")
_WORDS = re.compile(r"#[0-9a-f]{3,8}\b|(?:rgb|hsl)a?\([^)]{1,60}\)|[a-z]{3,20}")
_NAMED: Final = {
    "white": "ffffff",
    "black": "000000",
    "transparent": "00000000",
    "snow": "fffafa",
    "ivory": "fffff0",
    "ghostwhite": "f8f8ff",
    "whitesmoke": "f5f5f5",
    "floralwhite": "fffaf0",
    "azure": "f0ffff",
    "mintcream": "f5fffa",
    "aliceblue": "f0f8ff",
    "seashell": "fff5ee",
    "honeydew": "f0fff0",
    "red": "ff0000",
    "green": "008000",
    "blue": "0000ff",
    "navy": "000080",
    "yellow": "ffff00",
    "gray": "808080",
    "grey": "808080",
    "silver": "c0c0c0",
    "lightgray": "d3d3d3",
    "lightgrey": "d3d3d3",
    "maroon": "800000",
    "orange": "ffa500",
    "purple": "800080",
    "teal": "008080",
    "lime": "00ff00",
    "aqua": "00ffff",
    "cyan": "00ffff",
}


@dataclass(frozen=True, slots=True)
class Colour:
    """Red, green and blue from 0 to 255; `alpha` from 0 (transparent) to 1 (opaque)."""

    red: float
    green: float
    blue: float
    alpha: float = 1.0


WHITE, BLACK, BLUE = Colour(255, 255, 255), Colour(0, 0, 0), Colour(0, 0, 238)


def colour(text: str) -> Colour | None:
    """None for what is not known: a variable, a name that is rare in mails, most hsl() colours."""
    text = text.strip().lower()
    text = _NAMED.get(text, text)
    if found := _HEX.fullmatch(text):
        digits = found[1] if len(found[1]) > 4 else "".join(digit * 2 for digit in found[1])
        red, green, blue, *alpha = (int(digits[place : place + 2], 16) for place in range(0, len(digits), 2))
        return Colour(red, green, blue, alpha[0] / 255 if alpha else 1.0)
    try:
        if found := _RGB.fullmatch(text):
            full = 2.55 if found[2] else 1.0
            reds, greens, blues = (float(found[place]) * full for place in (1, 3, 4))
            return Colour(reds, greens, blues, _alpha(found[5], found[6]))
        if found := _HSL.fullmatch(text):  # hue is not computed: only white, black, transparent
            light, alpha_of_it = float(found[1]) * 255 / 100, _alpha(found[2], found[3])
            return Colour(light, light, light, alpha_of_it) if light in (0.0, 255.0) or alpha_of_it < _FAINT else None
    except ValueError:  # a number such as 1.2.3
        pass
    return None


def colour_in(shorthand: str) -> Colour | None:
    """The first colour among the words of `background`."""
    return next((found for word in _WORDS.findall(shorthand) if (found := colour(word))), None)


def are_alike(ink: Colour, paper: Colour | None) -> bool:
    """Is the ink invisible on its paper? With an unknown paper (None) only transparent ink is."""
    if ink.alpha < _FAINT:
        return True
    if paper is None:
        return False
    return max(abs(ink.red - paper.red), abs(ink.green - paper.green), abs(ink.blue - paper.blue)) <= _ALIKE


def _alpha(number: str | None, percent: str | None) -> float:
    return 1.0 if number is None else float(number) * (0.01 if percent else 1.0)
