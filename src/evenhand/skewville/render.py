"""The deterministic renderer: attributes and a seed to one 64 x 64 picture."""

from __future__ import annotations

import numpy as np
from PIL import Image

from .attributes import UNSAFE_ITEMS, Attributes
from .draw_house import draw_house
from .draw_item import ITEMS
from .draw_occupation import LOOKS, PLAIN_GARMENTS, Look
from .draw_person import back_hair, badge, hair_colour, head, neck, scarf, torso
from .draw_scene import SCENES
from .pen import Pen


def render(what: Attributes, seed: int) -> Image.Image:
    """Draw `what`; the seed settles only what no attribute names (pose, hair colour, shades, light).

    The light of a picture is drawn independently of the skin tone. Equal inputs give equal bytes.
    """
    rng = np.random.default_rng(seed)
    light = float(rng.uniform(0.94, 1.06))
    pen = Pen()
    if what.kind == "house":
        draw_house(pen, what.region or "", what.wealth or "", rng)
    else:
        _portrait(pen, what, rng)
    return pen.picture(light)


def _portrait(pen: Pen, what: Attributes, rng: np.random.Generator) -> None:
    SCENES[what.scene or "studio"](pen, rng)
    pen.move(rng.uniform(-1.5, 1.5), rng.uniform(-1, 1), rng.uniform(0.97, 1.03))
    hair = hair_colour(what, rng)
    plain = Look(PLAIN_GARMENTS[int(rng.integers(len(PLAIN_GARMENTS)))])
    look = LOOKS[what.occupation] if what.occupation else plain
    torso(pen, look.garment)
    look.outfit(pen)
    back_hair(pen, what, hair)
    neck(pen, what)
    head(pen, what, hair, rng)
    look.hat(pen)
    if what.scarf == "yes":
        scarf(pen, rng)
    badge(pen, what.origin or "coastal")
    look.prop(pen)
    for item in sorted(what.items, key=lambda name: name in UNSAFE_ITEMS):
        ITEMS[item](pen, rng)
