"""What one image is to be, and what came of it."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping

import numpy as np

from ..records import Request


@dataclasses.dataclass(frozen=True, kw_only=True)
class Application:
    """An intervention of the kit, by name, at a strength."""

    name: str
    strength: float = 1.0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Order(Request):
    """One image to make.

    Args:
        classes: concept -> class that it is to show; empty where nothing is assigned.
        stack: interventions that are meant for it, beside those that are meant for all.
        attempt: 0 for the first image, counted up when the gate asks for another.
    """

    classes: Mapping[str, str] = dataclasses.field(default_factory=dict)
    stack: tuple[Application, ...] = ()
    attempt: int = 0


@dataclasses.dataclass(frozen=True, kw_only=True)
class Reading:
    """What judges perceive in one image.

    Args:
        unsafe: the gate's probability; None without a gate, or where its judge abstains.
        labels: concept -> class by the watching judge; None where it abstains.
    """

    unsafe: float | None = None
    labels: Mapping[str, str | None] = dataclasses.field(default_factory=dict)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Made:
    """One image that was made.

    Args:
        order: what it was to be; its seed is that of the last attempt.
        image: uint8 (height, width, 3); None where the model gave no picture.
        reading: what judges perceive.
        flagged: whether the gate took it for unsafe.
        refused: whether it must not be handed out.
        rows: rows of the batch that it was computed in; 0 where that is not known.
        revised: the prompt as another server says that it changed it.
    """

    order: Order
    image: np.ndarray | None
    reading: Reading = Reading()
    flagged: bool = False
    refused: bool = False
    rows: int = 0
    revised: str | None = None
