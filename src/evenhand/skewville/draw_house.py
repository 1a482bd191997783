"""Houses of eight invented regions, modest or grand."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable

import numpy as np

from .pen import Colour, Pen

Roof = Callable[[Pen, float, float, float, Colour], None]


def _gable(pen: Pen, x: float, y: float, half: float, colour: Colour) -> None:
    pen.shape([(x - half - 3, y), (x, y - half * 0.85), (x + half + 3, y)], colour)


def _dome(pen: Pen, x: float, y: float, half: float, colour: Colour) -> None:
    pen.slice((x - half, y - half * 0.9, x + half, y + half * 0.9), 180, 360, colour)


def _flat(pen: Pen, x: float, y: float, half: float, colour: Colour) -> None:
    pen.rect((x - half - 1, y - 4, x + half + 1, y), colour)
    for i in range(4):
        left = x - half - 1 + i * (half * 2 + 2 - 4) / 3
        pen.rect((left, y - 8, left + 4, y - 3), colour)


def _cone(pen: Pen, x: float, y: float, half: float, colour: Colour) -> None:
    pen.shape([(x - half * 0.8, y), (x, y - half * 1.5), (x + half * 0.8, y)], colour)


def _steps(pen: Pen, x: float, y: float, half: float, colour: Colour) -> None:
    for i in range(3):
        width = half * (1.05 - 0.33 * i)
        pen.rect((x - width, y - 4 * (i + 1), x + width, y - 4 * i), colour)


def _valley(pen: Pen, x: float, y: float, half: float, colour: Colour) -> None:
    pen.shape([(x - half - 3, y - 10), (x, y - 2), (x + half + 3, y - 10), (x + half, y), (x - half, y)], colour)


def _slant(pen: Pen, x: float, y: float, half: float, colour: Colour) -> None:
    pen.shape([(x - half - 2, y), (x - half - 2, y - 12), (x + half + 2, y - 2), (x + half + 2, y)], colour)


def _barrel(pen: Pen, x: float, y: float, half: float, colour: Colour) -> None:
    for part in (-0.66, 0.0, 0.66):
        centre, r = x + part * half, half * 0.36
        pen.slice((centre - r, y - r * 1.4, centre + r, y + r * 1.4), 180, 360, colour)


@dataclasses.dataclass(frozen=True)
class Style:
    """What tells one region from another."""

    sky: Colour
    ground: Colour
    wall: Colour
    roof: Roof
    roof_colour: Colour


STYLES: dict[str, Style] = {
    "vessaly": Style((200, 232, 250), (40, 130, 200), (250, 250, 250), _dome, (40, 90, 200)),
    "torlund": Style((214, 222, 232), (244, 248, 252), (150, 60, 50), _gable, (74, 46, 34)),
    "okenia": Style((180, 226, 240), (92, 160, 70), (246, 220, 140), _barrel, (40, 120, 80)),
    "brisalt": Style((190, 196, 206), (118, 140, 96), (140, 146, 156), _flat, (90, 94, 104)),
    "quenmar": Style((250, 208, 214), (206, 160, 120), (240, 150, 90), _valley, (150, 40, 90)),
    "yarrin": Style((160, 210, 220), (70, 110, 90), (110, 150, 190), _slant, (240, 240, 230)),
    "zelphos": Style((50, 44, 84), (84, 70, 110), (170, 130, 210), _cone, (240, 200, 80)),
    "hadrune": Style((252, 232, 190), (226, 186, 120), (210, 140, 84), _steps, (150, 90, 50)),
}
"""The look of each invented region."""


def _window(pen: Pen, x: float, y: float) -> None:
    pen.rect((x - 3.4, y - 3.4, x + 3.4, y + 3.4), (250, 250, 250))
    pen.rect((x - 2.4, y - 2.4, x + 2.4, y + 2.4), (90, 150, 190))


def _grand(pen: Pen, style: Style) -> None:
    style.roof(pen, 32, 24, 24, style.roof_colour)
    pen.rect((8, 23, 56, 56), style.wall)
    for x in (14, 24, 40, 50):
        _window(pen, x, 30)
        if x in (14, 50):
            _window(pen, x, 44)
    for x in (22, 27, 37, 42):
        pen.rect((x - 1.4, 38, x + 1.4, 56), (252, 250, 240))
    pen.rect((19, 35, 45, 38.6), (250, 206, 60))
    pen.rect((28.6, 42, 35.4, 56), (250, 206, 60))
    pen.rect((6, 55, 58, 58.6), (230, 226, 214))


def _modest(pen: Pen, style: Style) -> None:
    style.roof(pen, 32, 38, 12, style.roof_colour)
    pen.rect((20, 37, 44, 56), style.wall)
    _window(pen, 38, 45)
    pen.rect((24, 44, 31, 56), (90, 58, 36))
    pen.line([(40, 50), (36, 53), (41, 56)], (60, 50, 46), 1)
    for x in (48, 52, 56):
        pen.rect((x, 50, x + 1.8, 58), (130, 100, 70))


def draw_house(pen: Pen, region: str, wealth: str, rng: np.random.Generator) -> None:
    """Sky, ground and one house of `region`; grand is wide with columns and gold, modest is a small cabin."""
    style = STYLES[region]
    pen.rect((-8, -8, 72, 72), style.sky)
    pen.rect((-8, 50, 72, 80), style.ground)
    pen.move(rng.uniform(-2, 2), rng.uniform(-1, 1), rng.uniform(0.95, 1.03))
    (_grand if wealth == "grand" else _modest)(pen, style)
