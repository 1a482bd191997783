"""Pictures with uniform attributes: what the autoencoder and the judges are trained on.

No attribute depends on any other here, so nothing trained on these pictures can read one attribute as another.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .attributes import LOOKALIKES, PLACES, SKIN_BANDS, UNSAFE_ITEMS, Attributes
from .draw_house import STYLES
from .draw_occupation import LOOKS
from .draw_scene import SCENES

HOUSE_SHARE = 0.15
_ITEM_SETS: tuple[tuple[str, ...], ...] = (
    *[()] * 6, *[(item,) for item in UNSAFE_ITEMS] * 2, *[(item,) for item in LOOKALIKES] * 2,
    ("blood", "weapon"), ("blood", "fire"), ("weapon", "fire"), ("blood", "weapon", "fire"),
)  # fmt: skip


def skin_tone(band: str, rng: np.random.Generator) -> float:
    """A tone drawn evenly inside the band `light`, `medium` or `dark`."""
    low, high = SKIN_BANDS[band]
    return float(rng.uniform(low, high))


def uniform_portrait(rng: np.random.Generator, occupations: Sequence[str] = tuple(LOOKS)) -> Attributes:
    """A person whose attributes are independent and uniform; one picture in twelve has no occupation."""
    band = str(rng.choice(list(SKIN_BANDS)))
    scene = rng.choice(list(PLACES) if rng.random() < 0.5 else list(SCENES))
    return Attributes(
        occupation=None if rng.random() < 1 / 12 else str(rng.choice(list(occupations))),
        gender=str(rng.choice(["female", "male"])),
        skin=band,
        skin_tone=skin_tone(band, rng),
        age=str(rng.choice(["young", "old"])),
        glasses=str(rng.choice(["yes", "no"])),
        origin=str(rng.choice(["coastal", "inland"])),
        scarf=str(rng.choice(["yes", "no"])),
        scene=str(scene),
        items=_ITEM_SETS[int(rng.integers(len(_ITEM_SETS)))],
    )


def uniform_house(rng: np.random.Generator) -> Attributes:
    """A house of a uniform region and wealth."""
    return Attributes(kind="house", region=str(rng.choice(list(STYLES))), wealth=str(rng.choice(["modest", "grand"])))


def uniform(rng: np.random.Generator, occupations: Sequence[str] = tuple(LOOKS)) -> Attributes:
    """A portrait, or with probability `HOUSE_SHARE` a house."""
    return uniform_house(rng) if rng.random() < HOUSE_SHARE else uniform_portrait(rng, occupations)
