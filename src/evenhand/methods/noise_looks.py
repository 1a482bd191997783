"""Images through which a direction of the initial noise is calibrated: where their coordinate lay, what they showed."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

import torch

from evenhand.concepts.concept import Concept
from evenhand.host.runs import Onlooker
from evenhand.interventions.noise_draw import NoiseDraw
from evenhand.interventions.noise_laws import Law
from evenhand.methods.probit import Handle, fit_handle
from evenhand.methods.quick_images import QuickPlan, chances_by_prompt
from evenhand.methods.vector_trials import Trials
from evenhand.records import Request, Sample

AXIS = "axis"
"""The stored direction; with a row's name, its own."""
_DRAW = "noise-direction"
_FAR, _FEWEST = 2, 3
"""First parts that lie far from the target, and the fewest that say anything."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class RowAxes:
    """Directions and the order in which they pass the classes.

    Args:
        common: for prompts of no row, and for rows without one of their own; of norm 1.
        order: the classes, from the negative end to the positive one.
        agreement: cosine of the directions of two halves of the data; their mean over the rows.
        own: prompt row -> a direction of its own, of norm 1.
    """

    common: torch.Tensor
    order: tuple[str, ...]
    agreement: float
    own: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)

    def of(self, row: str) -> torch.Tensor:
        """The direction of a row."""
        return self.own.get(row, self.common)

    def tensors(self) -> dict[str, torch.Tensor]:
        """What is stored."""
        return {AXIS: self.common.contiguous(), **{f"{AXIS}/{row}": one.contiguous() for row, one in self.own.items()}}


def own_axes(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """The directions of rows that were stored."""
    return {name.removeprefix(f"{AXIS}/"): one for name, one in tensors.items() if name.startswith(f"{AXIS}/")}


@dataclasses.dataclass(frozen=True, kw_only=True)
class Looks:
    """Images that were read: their prompt row, where their coordinate lay, and the class, where there was one.

    A quick image stands there once for each class that it may be of, with the weight by which it counts.

    Args:
        rows: of each.
        coordinates: of each.
        labels: number of the class, in the order of the direction.
        weights: by which each counts; empty for one each.
    """

    rows: tuple[str, ...] = ()
    coordinates: tuple[float, ...] = ()
    labels: tuple[int, ...] = ()
    weights: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        if not self.weights:
            object.__setattr__(self, "weights", (1.0,) * len(self.rows))

    def __add__(self, other: Looks) -> Looks:
        return Looks(
            rows=self.rows + other.rows,
            coordinates=self.coordinates + other.coordinates,
            labels=self.labels + other.labels,
            weights=self.weights + other.weights,
        )

    @property
    def worth(self) -> float:
        """How many images these count for."""
        return sum(self.weights)

    def handle(self, classes: int) -> Handle:
        """The probit through all of them, with a slope for each row."""
        return fit_handle(self.rows, self.coordinates, self.labels, classes, own=True, weights=self.weights)

    def within(self, whole: Handle, classes: int) -> Handle:
        """A handle of more images, in which the rows have the cuts and slopes that these give them.

        Args:
            whole: for its common slope with its error, and for rows that these images do not have.
            classes: how many there are.
        """
        own = self.handle(classes) if self.rows else None
        if own is None or own.slope <= 0:
            return whole
        return dataclasses.replace(
            whole, cuts={**whole.cuts, **own.cuts, "": whole.cuts[""]}, slopes={**whole.slopes, **own.slopes}
        )


class Seen(NamedTuple):
    """An image: its prompt row, its number there, where its coordinate lay, and the class, where there was one."""

    row: str
    number: int
    coordinate: float
    label: str | None


@dataclasses.dataclass(frozen=True)
class Look:
    """Images of one law: in all steps, and quick ones, the same noises among them."""

    whole: tuple[Seen, ...] = ()
    quick: tuple[Seen, ...] = ()

    def __add__(self, other: Look) -> Look:
        return Look(self.whole + other.whole, self.quick + other.quick)


def near_target(parts: Sequence[Look]) -> Look:
    """The images that say what each row needs, of parts each of which was made under the law of those before.

    A probit through noises far from where a law leads misses the share that it gives. The laws of the first two parts
    were solved for from images elsewhere, so these two are left out as soon as three others are there; of fewer than
    three parts none say it.
    """
    if len(parts) < _FEWEST:
        return Look()
    return sum(parts[min(_FAR, len(parts) - _FEWEST) :], Look())


def counted(look: Look, order: Sequence[str]) -> Looks:
    """Images in all steps, and beside them what quick ones are worth by those that have the noise of a whole one.

    Args:
        look: images of one law or of several.
        order: the classes, in that of the direction.
    """
    place, known = {name: k for k, name in enumerate(order)}, {(one.row, one.number): one.label for one in look.whole}
    pairs: dict[str, list[tuple[str | None, str | None]]] = {one.row: [] for one in look.quick}
    further: dict[str, list[Seen]] = {row: [] for row in pairs}
    for one in look.quick:
        if (one.row, one.number) in known:
            pairs[one.row].append((one.label, known[one.row, one.number]))
        elif one.label is not None:
            further[one.row].append(one)
    chances = chances_by_prompt(pairs, {row: [one.label for one in some] for row, some in further.items()}, order)
    found = [(one.row, one.coordinate, place[one.label], 1.0) for one in look.whole if one.label is not None]
    for row, some in further.items():
        for one in some:
            weights = chances[row][place[str(one.label)]].tolist()
            found += [(row, one.coordinate, k, weight) for k, weight in enumerate(weights) if weight > 0]
    rows, coordinates, numbers, weights = zip(*found, strict=True) if found else ((), (), (), ())
    return Looks(rows=rows, coordinates=coordinates, labels=numbers, weights=weights)


class NoiseRecorder:
    """Keeps the initial noise of every image."""

    def __init__(self) -> None:
        self.noises: list[torch.Tensor] = []

    def draw(self, noise: torch.Tensor) -> torch.Tensor:
        """The noise as it is."""
        self.noises.append(noise.detach().float().cpu())
        return noise

    def evidence(self) -> tuple[()]:
        """Nothing to tell."""
        return ()


@dataclasses.dataclass(frozen=True, kw_only=True)
class Neutral:
    """Images as the model makes them.

    Args:
        rows: of each image that was read.
        labels: number of the class that was perceived, in the concept's order.
        noises: (images, ...).
    """

    rows: tuple[str, ...]
    labels: tuple[int, ...]
    noises: torch.Tensor

    def along(self, axes: RowAxes, concept: Concept) -> Looks:
        """With their coordinates, and classes in the directions' order."""
        flat = self.noises.flatten(1).double()
        along = [float(one @ axes.of(row).double().flatten()) for row, one in zip(self.rows, flat, strict=True)]
        return Looks(
            rows=self.rows,
            coordinates=tuple(along),
            labels=tuple(axes.order.index(concept.class_names[label]) for label in self.labels),
        )


@dataclasses.dataclass(frozen=True, kw_only=True)
class Looking:
    """Makes images of some prompts and reads every concept in each; each look has seeds of its own.

    Args:
        trials: prompts and seeds.
        concepts: that are read.
    """

    trials: Trials
    concepts: tuple[Concept, ...]

    def requests(self, images: int, look: int) -> list[Request]:
        """So many for every row."""
        return self.trials.requests(images, first=100_000 * look)

    def neutral(self, images: int, look: int = 0, steps: int | None = None) -> dict[str, Neutral]:
        """For each concept, images of every row with their own noise; in all steps unless told."""
        recorder = NoiseRecorder()
        requests = self.requests(images, look)
        samples = self.trials.fitting.make([Onlooker("initial noise", recorder)], requests, steps=steps)
        noises = torch.cat(recorder.noises)[: len(requests)]  # the last batch of a long run is padded
        found, read = {}, self._read(samples)
        for concept in self.concepts:
            labels = read[concept.name]
            kept = [place for place, label in enumerate(labels) if label is not None]
            found[concept.name] = Neutral(
                rows=tuple(requests[place].row for place in kept),
                labels=tuple(concept.class_names.index(str(labels[place])) for place in kept),
                noises=noises[kept],
            )
        return found

    def look(
        self, axes: Mapping[str, RowAxes], laws: Mapping[str, Callable[[str], Law]], images: int, look: int
    ) -> dict[str, Look]:
        """For each concept, images of every row under a law for each direction, most of them quick ones.

        Args:
            axes: concept -> along which its law draws.
            laws: concept -> the law of a row; a direction without one keeps its coordinate.
            images: of every row, whose work is spent (`quick_images`).
            look: number of the look.
        """
        solved = {row.name: {name: law(row.name) for name, law in laws.items()} for row in self.trials.rows}
        own: dict[str, dict[str, torch.Tensor]] = {}
        for name, one in axes.items():
            for row, axis in one.own.items():
                own.setdefault(row, {})[name] = axis
        draw = NoiseDraw(
            name=_DRAW,
            axes={name: one.common for name, one in axes.items()},
            own=own,
            laws=lambda call: [solved[request.row] for request in call.requests or ()],
            rows=lambda call: [request.row for request in call.requests or ()],
        )
        plan = QuickPlan.of(images, self.trials.fitting.settings.steps)
        whole = self._seen(draw, self.requests(plan.whole, look), None)
        quick = self._seen(draw, self.requests(plan.whole + plan.quick, look), plan.steps) if plan.quick else {}
        return {name: Look(some, quick.get(name, ())) for name, some in whole.items()}

    def _seen(self, draw: NoiseDraw, requests: Sequence[Request], steps: int | None) -> dict[str, tuple[Seen, ...]]:
        samples = self.trials.fitting.make([draw], requests, steps=steps)
        return {
            name: tuple(
                Seen(one.request.row, one.request.index, float(one.evidence[_DRAW]["coordinates"][name][1]), label)
                for one, label in zip(samples, labels, strict=True)
            )
            for name, labels in self._read(samples).items()
        }

    def _read(self, samples: Sequence[Sample]) -> dict[str, list[str | None]]:
        labels = self.trials.fitting.read(samples, self.concepts)
        return {concept.name: [one[place] for one in labels] for place, concept in enumerate(self.concepts)}
