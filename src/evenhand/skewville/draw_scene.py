"""Backdrops: the named places and the contexts, drawn behind the person."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from .pen import Colour, Pen


def _shade(rng: np.random.Generator, colour: Colour, spread: int = 8) -> Colour:
    r, g, b = (int(np.clip(c + rng.integers(-spread, spread + 1), 0, 255)) for c in colour)
    return (r, g, b)


def _studio(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (206, 208, 212), 14))


def _park(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 40), _shade(rng, (150, 205, 245)))
    pen.rect((-8, 36, 72, 72), _shade(rng, (96, 176, 80)))
    for x in (6 + rng.uniform(-2, 2), 58 + rng.uniform(-2, 2)):
        pen.rect((x - 2, 24, x + 2, 40), (120, 80, 50))
        pen.oval((x - 9, 6, x + 9, 28), _shade(rng, (44, 130, 60)))


def _beach(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 24), _shade(rng, (176, 226, 250)))
    pen.rect((-8, 22, 72, 40), _shade(rng, (40, 120, 200)))
    pen.rect((-8, 38, 72, 72), _shade(rng, (240, 216, 150)))
    x = rng.choice([7, 57])
    pen.oval((x - 6, 2, x + 6, 14), (255, 225, 90))


def _office(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (226, 218, 200)))
    for x in (2, 50):
        pen.rect((x, 4, x + 12, 28), (90, 100, 115))
        for row in (6, 14, 22):
            pen.rect((x + 2, row, x + 10, row + 5), _shade(rng, (170, 215, 235)))


def _street(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (120, 130, 150)))
    for x, top in ((-4, rng.uniform(2, 8)), (47, rng.uniform(2, 8))):
        pen.rect((x, top, x + 20, 60), (62, 64, 78))
        for row in range(4):
            for column in range(2):
                left = x + 4 + 7 * column
                pen.rect((left, top + 4 + 9 * row, left + 4, top + 9 + 9 * row), (250, 222, 120))


def _kitchen(pen: Pen, rng: np.random.Generator) -> None:
    light, teal = (232, 242, 238), _shade(rng, (110, 196, 190))
    for row in range(-1, 6):
        for column in range(-1, 6):
            pen.rect((column * 13, row * 13, column * 13 + 13, row * 13 + 13), teal if (row + column) % 2 else light)


def _battle(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (150, 130, 98)))
    for x in (4, 58):
        pen.oval((x - 10, 0 + rng.uniform(0, 6), x + 10, 22), _shade(rng, (92, 88, 84)))
    pen.shape([(-8, 72), (-8, 40), (10, 46), (32, 40), (54, 46), (72, 40), (72, 72)], (98, 80, 52))


def _riot(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (72, 66, 92)))
    for x in (2, 12, 50, 60):
        y = 30 + rng.uniform(-3, 3)
        pen.oval((x - 4, y - 8, x + 4, y), (30, 28, 40))
        pen.rect((x - 5, y - 1, x + 5, 72), (30, 28, 40))


def _crime_scene(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (52, 60, 84)))
    for y in (6, 22):
        pen.line([(-8, y), (72, y + 6)], (250, 214, 40), 5)
        for x in range(-4, 72, 9):
            pen.line([(x, y - 1 + x / 12), (x + 3, y + 3 + x / 12)], (20, 20, 20), 2)


def _horror_film(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (44, 22, 62)))
    x = rng.choice([9, 55])
    pen.oval((x - 7, 3, x + 7, 17), (236, 236, 200))
    for left in (2, 58):
        pen.line([(left, 72), (left, 26), (left - 6, 18)], (16, 8, 24), 3)
        pen.line([(left, 34), (left + 6, 24)], (16, 8, 24), 2)


def _car_crash(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 30), _shade(rng, (186, 196, 206)))
    pen.rect((-8, 28, 72, 72), (84, 84, 88))
    body = _shade(rng, (70, 110, 200))
    pen.shape([(-4, 34), (0, 20), (12, 20), (18, 34)], body)
    pen.oval((0, 30, 8, 38), (20, 20, 20))
    pen.shape([(46, 34), (52, 18), (62, 22), (70, 34)], _shade(rng, (230, 230, 232)))
    pen.oval((56, 30, 64, 38), (20, 20, 20))


def _boxing_match(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (28, 34, 58)))
    pen.rect((-8, 44, 72, 72), (206, 214, 226))
    for y, colour in ((14, (240, 240, 240)), (24, (80, 130, 230)), (34, (240, 240, 240))):
        pen.line([(-8, y), (72, y)], colour, 2.4)


def _hunting_trip(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (124, 140, 112)))
    for x in (0, 9, 54, 63):
        pen.shape([(x - 9, 40), (x, 4 + rng.uniform(-2, 4)), (x + 9, 40)], _shade(rng, (30, 66, 44)))
    pen.rect((-8, 40, 72, 72), (92, 78, 50))


def _dark_alley(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (30, 34, 44), 5))
    for y in range(0, 60, 8):
        for x in (-6 + (y // 8) % 2 * 5, 4 + (y // 8) % 2 * 5, 46 + (y // 8) % 2 * 5, 56 + (y // 8) % 2 * 5):
            pen.rect((x, y, x + 8, y + 6), (84, 52, 48))


def _protest(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (196, 214, 226)))
    for x in (9, 55):
        pen.line([(x, 14), (x, 60)], (140, 100, 60), 2)
        pen.rect((x - 9, 3, x + 9, 17), (250, 250, 245))
        pen.rect((x - 6, 6, x + 6, 8), (40, 60, 150))
        pen.rect((x - 6, 11, x + 4, 13), (40, 60, 150))


def _hospital(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (208, 236, 228)))
    pen.rect((-8, 38, 72, 72), (150, 200, 190))
    for x in (8, 56):
        pen.rect((x - 7, 5, x + 7, 19), (250, 252, 252))
        pen.rect((x - 1.5, 7, x + 1.5, 17), (40, 150, 110))
        pen.rect((x - 5, 10.5, x + 5, 13.5), (40, 150, 110))


def _storm(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (88, 102, 122)))
    for x in (2, 10, 50, 58):
        y = 2 + rng.uniform(0, 4)
        pen.oval((x - 8, y, x + 8, y + 10), (56, 64, 80))
    for x in (0, 6, 12, 50, 56, 62):
        pen.line([(x + 2, 18), (x - 2, 34)], (176, 210, 240), 1.4)


def _market(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (250, 236, 206)))
    for i, x in enumerate(range(-8, 72, 8)):
        pen.shape(
            [(x, -4), (x + 8, -4), (x + 8, 10), (x + 4, 14), (x, 10)], (60, 160, 90) if i % 2 else (252, 252, 252)
        )
    for x in (0, 50):
        pen.rect((x, 32, x + 14, 60), (160, 110, 60))
        for k in range(3):
            pen.oval((x + 4 * k, 27, x + 5 + 4 * k, 33), (245, 160, 40))


def _picnic(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 26), _shade(rng, (190, 228, 250)))
    pen.rect((-8, 24, 72, 72), _shade(rng, (150, 205, 90)))
    for row in range(4):
        for column in (0, 1, 5, 6, 7):
            fill = (246, 246, 246) if (row + column) % 2 else (120, 140, 230)
            pen.rect((column * 8, 34 + row * 7, column * 8 + 8, 41 + row * 7), fill)


def _birthday_party(pen: Pen, rng: np.random.Generator) -> None:
    pen.rect((-8, -8, 72, 72), _shade(rng, (255, 226, 236)))
    colours = [(240, 120, 180), (120, 120, 240), (80, 200, 140), (250, 190, 60)]
    for x, colour in zip((5, 14, 50, 59), colours, strict=True):
        y = 4 + rng.uniform(0, 8)
        pen.line([(x, y + 10), (x, 40)], (150, 150, 160), 1)
        pen.oval((x - 5, y, x + 5, y + 12), colour)


SCENES: dict[str, Callable[[Pen, np.random.Generator], None]] = {
    "studio": _studio, "park": _park, "beach": _beach, "office": _office, "street": _street, "kitchen": _kitchen,
    "battle": _battle, "riot": _riot, "crime_scene": _crime_scene, "horror_film": _horror_film,
    "car_crash": _car_crash, "boxing_match": _boxing_match, "hunting_trip": _hunting_trip,
    "dark_alley": _dark_alley, "protest": _protest, "hospital": _hospital, "storm": _storm, "market": _market,
    "picnic": _picnic, "birthday_party": _birthday_party,
}  # fmt: skip
"""Every backdrop by name: the places first, then the contexts."""
