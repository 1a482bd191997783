"""The person of a portrait: hair, head, skin tone, age, glasses, scarf and the badge of the origin."""

from __future__ import annotations

import numpy as np

from .attributes import Attributes
from .pen import Colour, Pen

_LIGHTEST, _DARKEST = np.array([250, 218, 190]), np.array([72, 44, 28])
_MIDDLE = np.array([186, 128, 88])
_HAIR = [(34, 28, 30), (76, 48, 30), (120, 64, 34), (206, 164, 84)]
_GREY_HAIR = [(222, 222, 224), (190, 190, 196)]
_SCARVES = [((250, 214, 30), (110, 40, 150)), ((250, 250, 250), (20, 130, 60)), ((250, 214, 30), (20, 70, 170))]


def skin_colour(tone: float) -> Colour:
    """The colour of a tone in [0, 1]; 0 is the lightest. Piecewise linear through a middle tone."""
    low, high, part = (_LIGHTEST, _MIDDLE, tone * 2) if tone < 0.5 else (_MIDDLE, _DARKEST, tone * 2 - 1)
    r, g, b = (round(float(v)) for v in low + (high - low) * part)
    return (r, g, b)


def _darker(colour: Colour, factor: float) -> Colour:
    r, g, b = (int(c * factor) for c in colour)
    return (r, g, b)


def hair_colour(who: Attributes, rng: np.random.Generator) -> Colour:
    """Grey for old, otherwise one of four colours whatever the skin tone."""
    palette = _GREY_HAIR if who.age == "old" else _HAIR
    return palette[int(rng.integers(len(palette)))]


def back_hair(pen: Pen, who: Attributes, hair: Colour) -> None:
    """Long hair behind the head and on the shoulders, for people drawn as women."""
    if who.gender == "female":
        pen.oval((17.5, 7, 46.5, 40), hair)
        pen.rect((17.5, 24, 46.5, 47), hair)
        pen.oval((17.5, 42, 28, 52), hair)
        pen.oval((36, 42, 46.5, 52), hair)


def torso(pen: Pen, garment: Colour) -> None:
    """The shoulders; what an occupation wears is drawn over them."""
    pen.oval((11, 44, 53, 84), garment)
    pen.rect((13, 58, 51, 72), garment)


def neck(pen: Pen, who: Attributes) -> None:
    """The neck, in the shade of the head."""
    pen.rect((27.5, 36, 36.5, 47), _darker(skin_colour(who.skin_tone or 0.0), 0.88))


def head(pen: Pen, who: Attributes, hair: Colour, rng: np.random.Generator) -> None:
    """Ears, head, beard and hair, and the face."""
    skin = skin_colour(who.skin_tone or 0.0)
    if who.gender == "male":
        pen.oval((18.5, 23, 23.5, 31), _darker(skin, 0.92))
        pen.oval((40.5, 23, 45.5, 31), _darker(skin, 0.92))
    pen.oval((21, 11, 43, 41), skin)
    if who.gender == "male" and rng.random() < 0.5:
        pen.slice((21.2, 13, 42.8, 41.6), 12, 168, hair)
        pen.oval((26, 30, 38, 35), skin)
    if who.gender == "female":
        pen.slice((19.5, 7.5, 44.5, 36), 180, 360, hair)
        pen.oval((25, 17, 44, 31), skin)
        pen.shape([(20, 22), (20, 44), (24, 42), (23, 22)], hair)
        pen.shape([(44, 22), (44, 44), (40, 42), (41, 22)], hair)
    else:
        pen.slice((20.5, 8.5, 43.5, 30), 185, 355, hair)
        pen.rect((20.4, 17, 23, 25.5), hair)
        pen.rect((41, 17, 43.6, 25.5), hair)
    _face(pen, who, skin, hair)


def _face(pen: Pen, who: Attributes, skin: Colour, hair: Colour) -> None:
    dark = (24, 18, 20)
    if who.age == "old":
        line = _darker(skin, 0.62)
        for y in (18.5, 21):
            pen.line([(26.4, y), (37.6, y)], line, 1.1)
        pen.line([(24.6, 31.5), (27, 36)], line, 1.3)
        pen.line([(39.4, 31.5), (37, 36)], line, 1.3)
    brow = _darker(hair, 0.7)
    for x in (27, 37):
        pen.line([(x - 2.6, 22.8), (x + 2.6, 22.4)], brow, 1.3 if who.gender == "male" else 0.8)
        pen.oval((x - 2.2, 24, x + 2.2, 27.6), (250, 250, 250))
        pen.oval((x - 1.3, 24.2, x + 1.3, 27.2), dark)
    pen.line([(32, 26), (32.8, 30), (31.4, 30.2)], _darker(skin, 0.7), 0.9)
    if who.gender == "female":
        pen.oval((28.6, 32.6, 35.4, 35.8), (196, 54, 78))
    else:
        pen.line([(28.8, 33.6), (35.2, 33.6)], _darker(skin, 0.45), 1.2)
    if who.glasses == "yes":
        for x in (26.6, 37.4):
            pen.oval((x - 5, 21.4, x + 5, 30.4), (196, 232, 246), (16, 16, 24), 2)
            pen.oval((x - 1.3, 24.4, x + 1.3, 27.4), dark)
        pen.line([(30.6, 25), (33.4, 25)], (16, 16, 24), 2)


def scarf(pen: Pen, rng: np.random.Generator) -> None:
    """A striped scarf around the neck, drawn thick so that the autoencoder keeps it."""
    first, second = _SCARVES[int(rng.integers(len(_SCARVES)))]
    for i in range(6):
        pen.rect((20 + 4 * i, 41, 24 + 4 * i, 47.5), first if i % 2 else second)
    for i in range(4):
        pen.rect((23, 47 + 3.4 * i, 29.5, 50.4 + 3.4 * i), second if i % 2 else first)


def badge(pen: Pen, origin: str) -> None:
    """Coastal: a white wave on blue, round. Inland: a green hill on orange, square."""
    x, y = 40.5, 56.5
    if origin == "coastal":
        pen.oval((x - 6, y - 6, x + 6, y + 6), (252, 252, 252))
        pen.oval((x - 5, y - 5, x + 5, y + 5), (20, 80, 220))
        pen.line(
            [(x - 4, y + 1.5), (x - 2, y - 1), (x, y + 1.5), (x + 2, y - 1), (x + 4, y + 1.5)], (252, 252, 252), 1.6
        )
    else:
        pen.rect((x - 5.6, y - 5.6, x + 5.6, y + 5.6), (252, 252, 252))
        pen.rect((x - 4.6, y - 4.6, x + 4.6, y + 4.6), (255, 150, 20))
        pen.shape([(x - 4.6, y + 4.6), (x, y - 3), (x + 4.6, y + 4.6)], (20, 110, 50))
