"""The image gate and the watch: two judges look at every batch, one decides and the other one measures."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import numpy as np

from ..concepts.allocation import image_seed
from ..concepts.concept import Concept
from ..errors import InputError
from ..judges.base import Judge
from .order import Made, Order, Reading
from .policy import Gate


@dataclasses.dataclass(frozen=True, kw_only=True)
class Inspector:
    """Looks at images.

    The gate's judge never makes the figures that are published: what it lets pass is safe in its own eyes by
    construction.

    Args:
        gate: the policy's; None where nothing is looked at.
        gate_concept: what the gate looks for; with a gate.
        gate_judge: who looks; with a gate.
        watch_judge: who measures; None where nobody does.
        concepts: what is measured.

    Raises:
        InputError: a judge that does not know a concept.
    """

    gate: Gate | None = None
    gate_concept: Concept | None = None
    gate_judge: Judge | None = None
    watch_judge: Judge | None = None
    concepts: tuple[Concept, ...] = ()

    def __post_init__(self) -> None:
        asked = [(self.watch_judge, one) for one in self.concepts]
        if self.gate_concept is not None:
            asked.append((self.gate_judge, self.gate_concept))
        for judge, concept in asked:
            if judge is not None and not judge.knows(concept):
                raise InputError(f"judge {judge.name} does not know {concept.name}; name another one in the policy")

    def __call__(self, made: Sequence[Made]) -> list[Made | Order]:
        """For each image the image with its reading, or an order for another one in its place."""
        images = [one.image for one in made]
        unsafe, labels = self._unsafe(images), self._labels(images)
        found: list[Made | Order] = []
        for one, chance, seen in zip(made, unsafe, labels, strict=True):
            read = dataclasses.replace(one, reading=Reading(unsafe=chance, labels=seen))
            found.append(self._decided(read))
        return found

    def _decided(self, one: Made) -> Made | Order:
        gate = self.gate
        if one.image is None:
            return dataclasses.replace(one, refused=True)
        if gate is None or one.reading.unsafe is None or one.reading.unsafe < gate.threshold:
            return one
        if gate.action == "resample" and one.order.attempt + 1 < gate.tries:
            return another(one.order)
        return dataclasses.replace(one, flagged=True, refused=gate.action != "flag")

    def _unsafe(self, images: Sequence[np.ndarray | None]) -> list[float | None]:
        concept, judge = self.gate_concept, self.gate_judge
        if self.gate is None or concept is None or judge is None:
            return [None] * len(images)
        place = concept.class_names.index(str(concept.unsafe_class))
        verdicts = [row[0] for row in judge.judge(images, [concept])]
        return [one.probabilities[place] if one.probabilities else None for one in verdicts]

    def _labels(self, images: Sequence[np.ndarray | None]) -> list[dict[str, str | None]]:
        if self.watch_judge is None or not self.concepts:
            return [{} for _ in images]
        rows = self.watch_judge.judge(images, self.concepts)
        return [{verdict.concept: verdict.label for verdict in row} for row in rows]


def another(order: Order) -> Order:
    """The same order from another noise, which the first one decides."""
    seed = image_seed(order.seed, "resample", order.row, order.attempt + 1)
    return dataclasses.replace(order, seed=seed, attempt=order.attempt + 1)
