"""A random queue of images that people label, with the chance of each to be in it, and what they answered.

It is stratified by verdict, so that a class which the judge seldom names is looked at too. Every image has a known
chance to be in it, which the estimate uses; the verdict itself stays hidden, since who has read it agrees with it.
"""

from __future__ import annotations

import csv
import dataclasses
import io
from collections.abc import Mapping, Sequence

import numpy as np

from ..concepts.concept import Concept
from ..errors import InputError
from ..metrics.prediction_powered import FEWEST_LABELS
from ..verbs.labels import NONE


@dataclasses.dataclass(frozen=True)
class Drawn:
    """One image of the queue: its number, and the chance with which it was drawn."""

    number: int
    chance: float


def draw_queue(labels: Sequence[str | None], images: int, seed: int) -> tuple[Drawn, ...]:
    """A random sample, as evenly over the verdicts as they reach, in random order.

    A verdict with N images of which m are drawn gives each of them the chance m / N; what one verdict cannot give, the
    others do, the fuller ones first.

    Args:
        labels: the verdict of every image, None where the judge abstained: a stratum of its own.
        images: how many to draw; all of them where there are no more.
        seed: of the draw.

    Raises: InputError for fewer than the ten labels that an estimate needs, drawn or there.
    """
    if min(images, len(labels)) < FEWEST_LABELS:
        raise InputError(
            f"{min(images, len(labels))} images to label: expected {FEWEST_LABELS} or more, "
            "below which the sample does not tell how far the judge may be off"
        )
    strata: dict[str | None, list[int]] = {}
    for number, label in enumerate(labels):
        strata.setdefault(label, []).append(number)
    take = dict.fromkeys(strata, 0)
    for _ in range(min(images, len(labels))):
        # the emptiest stratum first; among equals the one with more images left, then by name
        open_ = [one for one in strata if take[one] < len(strata[one])]
        chosen = min(open_, key=lambda one: (take[one], take[one] - len(strata[one]), str(one)))
        take[chosen] += 1
    rng = np.random.default_rng([seed, 41])
    found = []
    for label, numbers in strata.items():
        chance = take[label] / len(numbers)
        found += [Drawn(int(numbers[k]), chance) for k in rng.permutation(len(numbers))[: take[label]]]
    return tuple(found[k] for k in rng.permutation(len(found)))


@dataclasses.dataclass(kw_only=True)
class Check:
    """A queue at work.

    Args:
        concept: whose classes are asked for.
        queue: drawn once; images that are made later are not in it.
        images: how many there were.
        answers: image number -> the class that a person sees, None for none of them.
    """

    concept: Concept
    queue: tuple[Drawn, ...]
    images: int
    answers: dict[int, str | None] = dataclasses.field(default_factory=dict)

    @property
    def current(self) -> int | None:
        """The image that is asked about now; None at the end."""
        return next((one.number for one in self.queue if one.number not in self.answers), None)

    def answer(self, label: str) -> None:
        """What a person sees in the current image: a class, or "none". Raises: InputError for anything else."""
        number = self.current
        if number is None:
            raise InputError("every image of the queue has its label")
        if label != NONE and label not in self.concept.class_names:
            raise InputError(f"{label!r} is no class of {self.concept.name}")
        self.answers[number] = None if label == NONE else label

    def back(self) -> None:
        """Take the latest answer back; nothing where there is none."""
        if self.answers:
            self.answers.popitem()


def sheet_text(check: Check, files: Mapping[int, str], prompt: str) -> str:
    """The labels as the CSV that `audit --labels` reads.

    Args:
        check: with an answer for every image of its queue.
        files: image number -> file in the run directory.
        prompt: for the eye.
    """
    text = io.StringIO(newline="")
    writer = csv.writer(text, lineterminator="\n")
    writer.writerow(["file", "prompt", "probability", f"label:{check.concept.name}"])
    for one in check.queue:
        label = check.answers[one.number]
        writer.writerow([files[one.number], prompt, repr(one.chance), NONE if label is None else label])
    return text.getvalue()
