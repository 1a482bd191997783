"""Calibrating directions of the initial noise: what each prompt needs is read in images under the very laws."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import numpy as np

from evenhand.concepts.concept import Concept
from evenhand.errors import DeclinedError
from evenhand.interventions.noise_laws import Law, clear, shifted, tilted
from evenhand.methods.noise_looks import Look, Looking, Looks, Neutral, RowAxes, counted, near_target
from evenhand.methods.probit import Handle

NAME = "noise-direction"
CLEAR = "clear"
"""The `draw` that is calibrated on its own, since it leads far from where the others do; in plans and cards."""
LEAST = "tilted"
"""The `draw` of least cost; it and the others are used with one calibration."""
LOOK = 8
"""Images per prompt of neutral noise, and at each weight."""
WEIGHTS = (-2.0, 2.0)
"""Shifts of a direction that all prompts share, whose handle is looked for before it is used."""
SURE = 0.95
"""How often an image is to show the class that it is drawn for, by the clear law, unless told."""
_PART = 48
"""Images per prompt whose work is spent before the laws are solved again, where rows have directions of their own."""
_FIRST = 3
"""Number of the first look at the target; those before it are of neutral noise and of the weights."""


def made_clear(classes: int) -> bool:
    """Whether the clear law is for concepts of so many classes.

    What lies between two others is hardly ever clear, and loses images to both by any error of the calibration.
    """
    return classes == 2


def sure_of(values: Mapping[str, Any]) -> float | None:
    """How sure the clear law is in a plan, a card or a specification; None where the law is another."""
    return float(values.get("sure", SURE)) if values.get("draw") == CLEAR else None


def law_of_shares(handle: Handle, row: str, wanted: Sequence[float], sure: float | None) -> Law:
    """The law that a fit is calibrated under, by which a row has the wanted shares, in the direction's order.

    Args:
        handle: how the coordinate decides.
        row: of the prompts.
        wanted: share of each class.
        sure: of the clear law; None for the least one, which concepts of more than two classes get in any case.
    """

    def chances(places: np.ndarray) -> np.ndarray:
        return handle.chances(row, places)

    if sure is None or not made_clear(len(wanted)):
        return tilted(chances, wanted)
    return clear(chances, wanted, sure)


@dataclasses.dataclass(kw_only=True)
class Calibration:
    """One concept's directions, and what images have told of how they decide.

    Args:
        concept: what they are about.
        axes: the directions.
        before: neutral images, and those at weights.
        tried: images that say where to look first, and nothing afterwards.
        parts: images under laws for the target, each solved from those before.
    """

    concept: Concept
    axes: RowAxes
    before: Looks
    tried: Looks
    parts: list[Look] = dataclasses.field(default_factory=list)

    @property
    def looks(self) -> Looks:
        """The images that count."""
        return self.before + counted(sum(self.parts, Look()), self.axes.order)

    def handle(self) -> Handle:
        """How the directions decide by all that is known; what each row needs is read near its target."""
        classes = len(self.axes.order)
        if not self.parts:
            return (self.before + self.tried).handle(classes)
        return counted(near_target(self.parts), self.axes.order).within(self.looks.handle(classes), classes)

    def laws(self, handle: Handle, sure: float | None) -> Callable[[str], Law]:
        """For each row the law that a handle would give it for the concept's own target."""
        names, target = self.concept.class_names, self.concept.reference
        wanted = [target[names.index(name)] for name in self.axes.order]
        return lambda row: law_of_shares(handle, row, wanted, sure)


def begun(looking: Looking, concept: Concept, axes: RowAxes, neutral: Neutral, tried: Looks) -> Calibration:
    """What neutral images tell of directions, and, where all rows share one, images at two weights."""
    before = neutral.along(axes, concept)
    for number, weight in enumerate(() if axes.own else WEIGHTS, start=1):
        law = shifted(weight)
        looks = looking.look({concept.name: axes}, {concept.name: lambda row, law=law: law}, LOOK, number)
        before += counted(looks[concept.name], axes.order)
    return Calibration(concept=concept, axes=axes, before=before, tried=tried)


def calibrate(looking: Looking, some: Sequence[Calibration], images: int, sure: float | None) -> dict[str, Handle]:
    """Make images under the laws of all directions at once, part by part, and read every concept in each.

    A law of one concept moves what the prompts show of another, and not alike in all of them, so those that are to act
    together are calibrated together.

    Args:
        looking: prompts, seeds and the concepts.
        some: one for each concept; takes the images in.
        images: of every row, whose work is spent.
        sure: of the clear laws; None for the least ones.

    Returns:
        Concept -> handle.

    Raises:
        DeclinedError: the noise does not decide one of the concepts.
    """
    axes = {one.concept.name: one.axes for one in some}
    step = _PART if any(one.own for one in axes.values()) else max(images, 1)
    handles = {one.concept.name: one.handle() for one in some}
    for number, first in enumerate(range(0, images, step)):
        _refuse_weak(handles, looking)
        laws = {one.concept.name: one.laws(handles[one.concept.name], sure) for one in some}
        made = looking.look(axes, laws, min(step, images - first), _FIRST + number)
        for one in some:
            one.parts.append(made[one.concept.name])
        handles = {one.concept.name: one.handle() for one in some}
    _refuse_weak(handles, looking)
    return handles


def _refuse_weak(handles: Mapping[str, Handle], looking: Looking) -> None:
    for name, handle in handles.items():
        low, high = handle.interval()
        if not low > 0:
            host = looking.trials.fitting.host.name
            raise DeclinedError(
                f"{NAME} declines on {host}: the initial noise does not decide {name} "
                f"(handle {handle.strength:.2f}, 95 % interval {low:.2f} to {high:.2f}); use concept-vector "
                "or prompt-mix"
            )
