"""Looking at a model by the fit judge: images of neutral, specific and other prompts, and what is read in them."""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from evenhand.concepts.allocation import image_seed
from evenhand.concepts.concept import Concept, ConceptClass
from evenhand.concepts.prompts import PromptRow
from evenhand.concepts.wordings import caption_of
from evenhand.errors import InputError
from evenhand.host.dtype import autocast
from evenhand.host.sites import Attachable
from evenhand.methods.fitting import Fitting
from evenhand.methods.population_seen import Seen
from evenhand.methods.population_sides import NAME, other_rows, specific_prompts
from evenhand.methods.shared_noises import is_shared
from evenhand.metrics.content import Row
from evenhand.metrics.deviation import deviation
from evenhand.metrics.intervals import clopper_pearson, clopper_pearson_upper
from evenhand.metrics.rows import group_rows
from evenhand.metrics.tally import Tally
from evenhand.records import Request, Sample
from evenhand.training.populations import Plan

FRESH = 1_000_000
"""Number of the look at the kept adapter, whose seeds are used for nothing else; larger ones are those of tables."""
CHECKS = FRESH // 2
"""Number of the first look that steers a training."""


class Observer:
    """Makes images of neutral, specific and other prompts, and reads them.

    Args:
        fitting: the model and the fit judge.
        concept: what is trained.
        plan: its populations.
        target: class -> wanted share.
        values: looks, controls, others.

    Raises:
        InputError: controls=1.
    """

    def __init__(
        self, fitting: Fitting, concept: Concept, plan: Plan, target: Mapping[str, float], values: Mapping[str, Any]
    ) -> None:
        self.fitting, self.concept, self.target = fitting, concept, target
        self.images, self._controls = int(values["looks"]), int(values["controls"])
        if self._controls == 1:
            raise InputError(f"{NAME}: controls=1; two seeds or more tell how far pictures of one prompt are apart")
        self._rows, self._seed = plan.rows, plan.seed
        self._recognition = recognition(fitting, concept, plan.rows)
        self._specific = specific_prompts(fitting, concept, plan, self._controls)
        self._others = other_rows(fitting, concept, values["others"]) if self._controls else ()

    @property
    def metric(self) -> str:
        """What is looked at."""
        return "unsafe_rate" if self.concept.kind == "safety" else "deviation"

    def read(self, samples: Sequence[Sample]) -> list[tuple[str | None, str | None]]:
        """For each image the class that is perceived, and the row that it is recognised as."""
        if self._recognition is None:
            return [(one[0], None) for one in self.fitting.read(samples, [self.concept])]
        found = self.fitting.read(samples, [self.concept, self._recognition])
        return [(label, row) for label, row in found]

    def see(
        self, number: int, attached: Sequence[Attachable] = (), images: int | None = None, *, controls: bool = True
    ) -> Seen:
        """All images of a look, with whatever the denoiser is now.

        Args:
            number: of the look; other numbers have other seeds. Specific and other prompts have the same seeds in every
                look of a training, so that a change is one of the model.
            attached: interventions.
            images: of each neutral prompt; None as the looks have.
            controls: whether specific and other prompts are made too.

        Cost: images per row, and the controls.
        """
        requests = self._neutral(number, self.images if images is None else images)
        samples = self.fitting.make(attached, requests)
        read = self.read(samples)
        return Seen(
            neutral=self._pictures(samples, [label for label, _ in read], pixels=False),
            recognised={
                row.name: [
                    self._hit(row.name, one)
                    for request, one in zip(requests, read, strict=True)
                    if request.row == row.name
                ]
                for row in self._rows
            },
            **(self.see_controls(number, attached) if controls else {"specific": {}, "others": {}}),
        )

    def labels(self, number: int, images: int, steps: int | None = None) -> dict[str, list[str | None]]:
        """Row -> the class that is perceived in each image of a neutral prompt, with whatever the denoiser is now.

        Made in the fastest type of the device, whatever the weights have: it changes next to no class. Two of
        three noises are those of every prompt (`shared_noises`).

        Args:
            number: of the look.
            images: of each prompt; the first ones of more images are those of fewer.
            steps: of the sampler; None as the model has.

        Cost: images per row.
        """
        requests = [
            dataclasses.replace(one, seed=self._seed_of("every prompt", str(number), one.index))
            if is_shared(one.index)
            else one
            for one in self._neutral(number, images)
        ]
        with autocast(self.fitting.host.device):
            samples = self.fitting.make((), requests, steps)
        found: dict[str, list[str | None]] = {row.name: [] for row in self._rows}
        for request, (label,) in zip(requests, self.fitting.read(samples, [self.concept]), strict=True):
            found[request.row].append(label)
        return found

    def see_controls(self, number: int, attached: Sequence[Attachable] = ()) -> dict[str, Any]:
        """Of `see` the specific and the other prompts alone, as keyword arguments of `Seen`."""
        own = str(number) if number >= FRESH else "training"
        specific: dict[str, list[bool]] = {}
        for concept in dict.fromkeys(one.concept.name for one in self._specific):
            some = [one for one in self._specific if one.concept.name == concept]
            requests = [self._request(one.row, one.prompt, one.index, f"specific {own}") for one in some]
            read = self.fitting.read(self.fitting.make(attached, requests), [some[0].concept])
            for one, (label,) in zip(some, read, strict=True):
                specific.setdefault(one.row, []).append(label == one.shown)
        requests = [
            self._request(row.name, row.prompt(0), index, f"other {own}")
            for row in self._others
            for index in range(self._controls)
        ]
        samples = self.fitting.make(attached, requests) if requests else []
        return {"specific": specific, "others": self._pictures(samples, [None] * len(samples), pixels=True)}

    def fairness(self, seen: Seen, level: float) -> tuple[float, float, float]:
        """The deviation, or for safety the unsafe rate, with a limit on either side at an error level each."""
        names = self.concept.class_names
        labels = {name: list(row.labels) for name, row in seen.neutral.items()}
        if self.concept.kind == "safety":
            read = [label for some in labels.values() for label in some if label is not None]
            if not read:
                return 1.0, 0.0, 1.0  # nothing can be told: the worst case
            unsafe = read.count(str(self.concept.unsafe_class))
            low, _ = clopper_pearson(unsafe, len(read), 1 - 2 * level)
            return unsafe / len(read), low, clopper_pearson_upper(unsafe, len(read), 1 - level)
        tallies = [
            Tally(row=name, classes=names, counts=tuple(some.count(one) for one in names), abstained=some.count(None))
            for name, some in labels.items()
        ]
        if min(one.n for one in tallies) < 2:
            return 1.0, 0.0, 1.0  # a row in which nothing can be told counts as the worst case
        wanted = [self.target.get(name, 0.0) for name in names]
        value, (low, upper) = deviation(group_rows(tallies, "iid"), wanted, 1 - 2 * level)
        return value, low, upper

    def _hit(self, row: str, read: tuple[str | None, str | None]) -> bool:
        """Whether an image shows its row; where the fit judge cannot tell rows apart, whether it shows a class."""
        label, found = read
        return label is not None if self._recognition is None else found == row

    def _neutral(self, number: int, images: int) -> list[Request]:
        return [
            self._request(row.name, caption_of(row, index), index, str(number))
            for row in self._rows
            for index in range(images)
        ]

    def _request(self, row: str, prompt: str, index: int, look: str) -> Request:
        return Request(row=row, prompt=prompt, index=index, seed=self._seed_of(row, look, index))

    def _seed_of(self, row: str, look: str, index: int) -> int:
        return image_seed(self._seed, "stop", f"{row} {look}", index)

    def _pictures(self, samples: Sequence[Sample], labels: Sequence[str | None], *, pixels: bool) -> dict[str, Row]:
        """Samples as features by row; arrays are empty where the fit judge gives none."""
        if not samples:
            return {}
        prompts: dict[str, str] = {}
        for one in samples:
            prompts.setdefault(one.request.row, one.request.prompt)
        features, texts = self.fitting.features(samples), self.fitting.texts(list(prompts.values()))
        likeness = None if features is None or texts is None else features @ texts.T
        found = {}
        for place, name in enumerate(prompts):
            mine = [k for k, one in enumerate(samples) if one.request.row == name]
            nothing = np.zeros(0, np.float32)
            found[name] = Row(
                features=nothing if features is None else features[mine],
                pixels=_pixels([samples[k] for k in mine]) if pixels else nothing,
                own=nothing if likeness is None else likeness[mine, place],
                other=nothing if likeness is None else _mean_of_others(likeness[mine], place),
                labels=[labels[k] for k in mine],
            )
        return found


def _pixels(samples: Sequence[Sample]) -> np.ndarray:
    """(n, height, width, 3); an image that is none is black, as far from any other as it can be seen to be."""
    shape = next((one.image.shape for one in samples if one.image is not None), (1, 1, 3))
    return np.stack([np.zeros(shape) if one.image is None else one.image for one in samples]).astype(np.float32)


def _mean_of_others(likeness: np.ndarray, place: int) -> np.ndarray:
    return np.delete(likeness, place, axis=1).mean(axis=1) if likeness.shape[1] > 1 else likeness[:, place]


def recognition(fitting: Fitting, concept: Concept, rows: Sequence[PromptRow]) -> Concept | None:
    """The rows as classes, where the fit judge can tell them apart."""
    classes = tuple(ConceptClass(name=row.name, phrases=(row.phrase,)) for row in rows if row.phrase)
    if len(classes) < 2 or concept.prompts is None:
        return None
    for name in (concept.prompts, concept.prompts.removesuffix("s")):
        one = Concept(name=name, classes=classes, present=concept.present, absent=concept.absent)
        if fitting.knows(one):
            return one
    return None
