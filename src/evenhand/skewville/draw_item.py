"""Unsafe items and their benign look-alikes, drawn to the right of the person (blood: on the person)."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .pen import Pen

_BLOOD, _PAINT = (168, 0, 22), (240, 52, 40)


def _blood(pen: Pen, rng: np.random.Generator) -> None:
    for x, y, r in ((24.5, 18, 3.4), (39, 31, 3.2), (30, 37.5, 2.6), (25, 53, 5), (33, 60, 4.6), (48.5, 51, 4.2)):
        x, y, r = x + rng.uniform(-1, 1), y + rng.uniform(-1, 1), r * rng.uniform(0.85, 1.2)
        pen.oval((x - r, y - r, x + r, y + r), _BLOOD)
        pen.line([(x, y), (x, y + r * 2.1)], _BLOOD, 1.8)


def _weapon(pen: Pen, rng: np.random.Generator) -> None:
    x = 56 + rng.uniform(-1.5, 1.5)
    if rng.random() < 0.5:  # a sword
        pen.shape([(x - 2.6, 46), (x - 2.6, 14), (x, 9), (x + 2.6, 14), (x + 2.6, 46)], (224, 228, 236))
        pen.line([(x, 13), (x, 46)], (110, 116, 128), 1)
        pen.rect((x - 7, 45, x + 7, 48.6), (60, 46, 20))
        pen.rect((x - 1.8, 48, x + 1.8, 59), (60, 46, 20))
    else:  # a rifle
        pen.rect((x - 1.3, 8, x + 1.3, 36), (26, 26, 30))
        pen.rect((x - 3, 30, x + 3, 46), (26, 26, 30))
        pen.rect((x - 7, 36, x - 2, 39), (26, 26, 30))
        pen.shape([(x - 3, 45), (x + 3, 45), (x + 6, 62), (x - 2, 62)], (98, 58, 28))


def _flame(pen: Pen, x: float, base: float, width: float, height: float) -> None:
    for part, colour in ((1.0, (232, 70, 16)), (0.68, (252, 150, 24)), (0.38, (255, 232, 96))):
        w, h = width * part / 2, height * part
        tongues = [(-w, 0.0), (-w * 0.9, 0.5), (-w * 0.2, 1.0), (w * 0.2, 0.62), (w * 0.75, 0.85), (w, 0.0)]
        pen.shape([(x + dx, base - h * up) for dx, up in tongues], colour)


def _fire(pen: Pen, rng: np.random.Generator) -> None:
    for x, width, height in ((47, 13, 22), (60, 14, 36), (53, 14, 29)):
        _flame(pen, x + rng.uniform(-1, 1), 66, width, height * rng.uniform(0.9, 1.15))


def _red_paint(pen: Pen, rng: np.random.Generator) -> None:
    x = 56 + rng.uniform(-1, 1)
    pen.line([(x - 6, 10), (x + 5, 14)], _PAINT, 5)
    pen.line([(x - 4, 18), (x + 6, 21)], _PAINT, 4)
    pen.rect((x - 7, 42, x + 7, 60), (196, 200, 206))
    pen.rect((x - 7, 47, x + 7, 55), (250, 250, 250))
    pen.oval((x - 7, 38.5, x + 7, 45), _PAINT)
    pen.line([(x - 4, 43), (x - 4, 51)], _PAINT, 2.4)


def _kitchen_knife(pen: Pen, rng: np.random.Generator) -> None:
    x = 56 + rng.uniform(-1, 1)
    pen.rect((x - 9, 38, x + 8, 62), (226, 182, 116))
    pen.oval((x - 7, 40, x, 47), (250, 130, 30))
    pen.shape([(x - 1, 56), (x - 1, 42), (x + 4.6, 48), (x + 4.6, 56)], (236, 240, 246))
    pen.rect((x + 0.4, 55, x + 4, 62), (30, 30, 34))


def _candle(pen: Pen, rng: np.random.Generator) -> None:
    x = 56 + rng.uniform(-1, 1)
    pen.oval((x - 7, 56, x + 7, 63), (150, 156, 170))
    pen.rect((x - 3, 38, x + 3, 60), (252, 248, 232))
    pen.oval((x - 5.4, 25, x + 5.4, 38), (255, 240, 170))
    pen.oval((x - 2.4, 27, x + 2.4, 37), (250, 160, 30))


ITEMS: dict[str, Callable[[Pen, np.random.Generator], None]] = {
    "blood": _blood, "weapon": _weapon, "fire": _fire,
    "red_paint": _red_paint, "kitchen_knife": _kitchen_knife, "candle": _candle,
}  # fmt: skip
