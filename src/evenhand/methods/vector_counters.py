"""What a vector moves beside its concept is measured, and taken back by vectors of what moved.

"A photo of an old person" may show darker skin than the model's other pictures, with the same shares of every label in
the images that the vector was made of: later layers tie the two. No direction can be left out of the axis then, since
the axis does not hold it. So images are made with the vector and read by the fit judge, and the directions that tell
the moved classes from others at the same module go along with the vector, against what moved and in proportion to it;
how much of them is found by trying. Where they take nothing back of an attribute with a class between two others, that
attribute is widened instead (`vector_widening`).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch

from evenhand.concepts.concept import Concept
from evenhand.host.runs import Runs
from evenhand.interventions.activation_pin import Landmarks
from evenhand.methods.matched_populations import Labels, comparable
from evenhand.methods.trajectories import MeanActivation
from evenhand.methods.vector_direction import Direction
from evenhand.methods.vector_trials import Trials
from evenhand.methods.vector_widening import along_texts, narrowed, with_widenings

COUNTER_IMAGES = 192
"""That are read for each class, over all rows: a share of them moves by chance by 2.5 points."""
_REACH, _FARTHEST = 2.0, 2.0
"""First guess of how much of the contrasts takes shares of the images back, and the largest factor on it afterwards."""
_WIDER = 0.5
"""First guess of the gain of a widening."""
_FEWEST = 5
"""Images of a class, and of the others, without which there is no contrast."""

Contrasts = Mapping[str, Mapping[tuple[str, str], torch.Tensor]]
"""Module -> another attribute and one of its classes -> how its activations differ from those of other classes."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Shift:
    """How far the shares of an attribute moved.

    Args:
        values: class -> change of its share.
        certain: part of it that is no chance: 1 less the sum of squared standard errors over that of squared changes.
    """

    values: Mapping[str, float]
    certain: float

    @property
    def size(self) -> float:
        """The sum of squares."""
        return sum(one**2 for one in self.values.values())


def contrasts(
    means: Mapping[str, Mapping[str, MeanActivation]], labels: Mapping[str, Labels], others: Sequence[Concept]
) -> Contrasts:
    """How classes of other attributes differ at each module, within the images of each text.

    What the texts are about themselves is left out (see `matched_populations.comparable`).

    Args:
        means: module -> text -> activations of which single images are still there.
        labels: text -> what is read in each image, one label per other attribute.
        others: the attributes.
    """
    seen = [row for rows in labels.values() for row in rows]
    found: dict[str, dict[tuple[str, str], torch.Tensor]] = {}
    for module, some in means.items():
        rows = torch.cat([some[name].deviations() for name in labels])
        found[module] = {}
        for place in comparable(labels):
            other = others[place]
            read = np.array([row[place] or "" for row in seen])
            for name in other.class_names:
                mine, rest = read == name, (read != name) & (read != "")
                if min(mine.sum(), rest.sum()) >= _FEWEST:
                    found[module][other.name, name] = rows[mine].mean(dim=0) - rows[rest].mean(dim=0)
    return found


def countered(
    trials: Trials,
    others: Sequence[Concept],
    direction: Direction,
    known: Contrasts,
    classes: Sequence[str],
    runs: Runs,
) -> tuple[Direction, dict[str, Any]]:
    """The direction with counters for what it moves beside its concept, and widenings where these take nothing back.

    Args:
        trials: make images.
        others: attributes that should stay; the fit judge knows them.
        direction: that is pinned.
        known: contrasts at its modules.
        classes: that are shown.
        runs: of a class's text, for the texts of an attribute that is widened.

    Returns:
        The direction, and class -> attribute -> changes of its shares before and after the first guess, and how much of
        the contrasts goes along; likewise for a widening that was tried. Empty where nothing moved beyond chance.

    Cost: 192 images without and with each class, as many again for a class that moves something, and once more where a
    widening is tried, for which every class of the other attribute is run too.
    """
    role = dataclasses.replace(trials, role="counter")
    requests = role.requests(math.ceil(COUNTER_IMAGES / len(trials.rows)))
    plain = trials.fitting.read(trials.fitting.make([], requests), others)

    def shifts(one: Direction, name: str) -> dict[str, Shift]:
        steered = trials.fitting.read(trials.fitting.make(one.show(name, 1.0), requests), others)
        return {
            other.name: shift_of(other.class_names, [row[k] for row in plain], [row[k] for row in steered])
            for k, other in enumerate(others)
        }

    contrasted = {other for some in known.values() for other, _ in some}
    told: dict[str, Any] = {}
    along: dict[str, Sequence[Landmarks]] = {}
    for name in classes:
        before = {other: one for other, one in shifts(direction, name).items() if other in contrasted}
        guess = {other: _REACH * one.certain for other, one in before.items() if one.certain}
        if not guess:
            continue
        after = shifts(with_counters(direction, known, name, before, guess), name)
        amounts = {other: mended(amount, before[other], after[other]) for other, amount in guess.items()}
        direction = with_counters(direction, known, name, before, amounts)
        told[name] = {other: _told(before[other], after[other], amount) for other, amount in amounts.items()}
        stuck = [other for other, amount in amounts.items() if not amount and narrowed(before[other].values)]
        asked = [one for one in others if one.name in stuck and one.name not in along]
        along |= along_texts(trials.fitting.host, asked, direction, runs)
        guess = {other: _WIDER for other in stuck if other in along}
        if guess:
            wider = shifts(with_widenings(direction, along, name, guess), name)
            gains = {other: mended(gain, before[other], wider[other]) for other, gain in guess.items()}
            direction = with_widenings(direction, along, name, gains)
            for other, gain in gains.items():
                told[name][other]["widened"] = _told(before[other], wider[other], gain)
    return direction, told


def _told(before: Shift, after: Shift, amount: float) -> dict[str, Any]:
    return {"before": _rounded(before.values), "tried": _rounded(after.values), "amount": round(amount, 4)}


def mended(amount: float, before: Shift, after: Shift) -> float:
    """The amount that takes back what is no chance, where one amount has been tried: linear, and at most twice as much.

    Args:
        amount: that was tried; one that took nothing back is given up.
        before: how far the shares moved without.
        after: how far they moved with it.
    """
    wanted = before.size * before.certain
    gained = sum(one * (one - after.values[name]) for name, one in before.values.items())
    return amount * min(wanted / gained, _FARTHEST) if gained > 0 else 0.0


def shift_of(classes: Sequence[str], plain: Sequence[str | None], steered: Sequence[str | None]) -> Shift:
    """From the labels of the same seeds without and with the vector."""
    values, errors = {}, 0.0
    for name in classes:
        apart = np.array([(b == name) - (a == name) for a, b in zip(plain, steered, strict=True)], dtype=float)
        values[name] = float(apart.mean())
        errors += float(apart.var()) / len(apart)
    size = sum(one**2 for one in values.values())
    return Shift(values=values, certain=max(0.0, 1 - errors / size) if size else 0.0)


def _rounded(values: Mapping[str, float]) -> dict[str, float]:
    return {name: round(one, 4) for name, one in values.items()}


def with_counters(
    direction: Direction, known: Contrasts, name: str, before: Mapping[str, Shift], amounts: Mapping[str, float]
) -> Direction:
    """The direction with the counters of one class set: of each attribute its contrasts, by what their shares did."""
    parts = []
    for part in direction.parts:
        landmarks = part.landmarks
        if landmarks is not None:
            counter = torch.zeros_like(landmarks.axes[0])
            for (other, one), contrast in known[part.module].items():
                if other in amounts:
                    counter = counter + amounts[other] * before[other].values[one] * contrast
            landmarks = dataclasses.replace(landmarks, counters={**landmarks.counters, name: counter})
        parts.append(dataclasses.replace(part, landmarks=landmarks))
    return dataclasses.replace(direction, parts=tuple(parts))
