"""A concept's vectors at a site: one module, or several that are moved together."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Collection, Mapping, Sequence

import torch

from evenhand.concepts.mixture import mixture
from evenhand.errors import DeclinedError
from evenhand.host.sites import Attachable, Call
from evenhand.interventions.activation_pin import ActivationPin, Landmarks, Pinned
from evenhand.interventions.activation_shift import ActivationShift, VectorBank
from evenhand.interventions.widening import Widening
from evenhand.interventions.window import Window
from evenhand.methods.fitting import Fitted
from evenhand.methods.trajectories import MeanActivation
from evenhand.methods.vector_estimators import without_common

NAME = "concept-vector"
SAFE = "safe"
_FLAT = 1e-10  # of the squared norm of the activations; less is rounding

WantedOf = Callable[[Call], Sequence[Mapping[str, tuple[str, float]]]]
"""For each image of a call: concept -> the class that it is to show, and the strength. Empty leaves the image alone."""
StrengthOf = Callable[[Call, int], float]
"""The strength for an image of a call."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Part:
    """The vectors of one module, and its landmarks where the closed form pins."""

    module: str
    vectors: Mapping[str, torch.Tensor]
    landmarks: Landmarks | None = None


@dataclasses.dataclass(frozen=True, kw_only=True)
class Direction:
    """The vectors of a concept at a site.

    Args:
        concept: its name.
        site: a module's path, or the name of a group of modules.
        parts: the vectors, module by module.
        start: share of the schedule after which they act; 0 from the first step on.
    """

    concept: str
    site: str
    parts: tuple[Part, ...]
    start: float = 0.0

    @property
    def spatial(self) -> bool:
        """Whether there is a vector for each place, so that it is tied to an image size."""
        return any(vector.ndim > 1 for part in self.parts for vector in part.vectors.values())

    def show(self, name: str, strength: float | StrengthOf) -> tuple[Attachable, ...]:
        """The interventions that show a class in every image, at one strength or at each image's own."""
        of = _of(strength)
        return attachables([self], lambda call: [{self.concept: (name, of(call, row))} for row in range(call.images)])

    def added(
        self, name: str, strength: float | StrengthOf, *, random: torch.Generator | None = None
    ) -> tuple[Attachable, ...]:
        """The class's vectors, added to every image at a strength; random ones of the same norms with `random`."""
        of = _of(strength)

        def weights(call: Call) -> list[dict[str, float]]:
            return [{"vector": of(call, row)} for row in range(call.images)]

        found = []
        for part in self.parts:
            vector = part.vectors[name]
            if random is not None:
                noise = torch.randn(vector.shape, generator=random)
                vector = noise * vector.norm() / noise.norm()
            bank = VectorBank(module=part.module, vectors={"vector": vector})
            window = Window(start=self.start)
            found.append(ActivationShift(name=f"{NAME} {part.module}", bank=bank, weights=weights, window=window))
        return tuple(found)


def _of(strength: float | StrengthOf) -> StrengthOf:
    return strength if callable(strength) else lambda call, place: strength


def attachables(
    directions: Sequence[Direction],
    wanted: WantedOf,
    *,
    strength: float = 1.0,
    name: str = NAME,
    acting: Collection[str] | None = None,
) -> tuple[Attachable, ...]:
    """The interventions that show what is wanted of each image, one for each module.

    Concepts that share a module are solved together, so they act together: from the earliest of their starts on. What
    is only protected does not act, and begins with the others.

    Args:
        directions: one for each concept.
        wanted: concepts, classes and calibrated strengths of each image.
        strength: factor on all of them; 1 as calibrated, 0 is off.
        name: how reports call them; where there are several, each has its module behind the name.
        acting: concepts that are ever wanted; None for all.
    """
    pins: dict[str, dict[str, Landmarks]] = {}
    adds: dict[str, dict[str, torch.Tensor]] = {}
    starts: dict[str, float] = {}
    for direction in directions:
        for part in direction.parts:
            if acting is None or direction.concept in acting:
                starts[part.module] = min(direction.start, starts.get(part.module, 1.0))
            if part.landmarks is not None:
                pins.setdefault(part.module, {})[direction.concept] = part.landmarks
            else:
                named = {f"{direction.concept}={shown}": vector for shown, vector in part.vectors.items()}
                adds.setdefault(part.module, {}).update(named)
    several = len(pins) + len(adds) > 1
    found: list[Attachable] = []
    for module, landmarks in pins.items():
        own = f"{name} {module}" if several else name
        pins_of = _pins_of(wanted, frozenset(landmarks))
        window = Window(start=starts.get(module, 0.0))
        found.append(ActivationPin(name=own, landmarks=landmarks, pins=pins_of, strength=strength, window=window))
    for module, vectors in adds.items():
        own = f"{name} {module}" if several else name
        bank, weights = VectorBank(module=module, vectors=vectors), _weights_of(wanted, frozenset(vectors))
        window = Window(start=starts.get(module, 0.0))
        found.append(ActivationShift(name=own, bank=bank, weights=weights, strength=strength, window=window))
    return tuple(found)


def _pins_of(wanted: WantedOf, concepts: frozenset[str]) -> Callable[[Call], list[tuple[Pinned, ...]]]:
    def pins(call: Call) -> list[tuple[Pinned, ...]]:
        return [
            tuple(
                Pinned(concept=concept, name=shown, strength=strength)
                for concept, (shown, strength) in one.items()
                if concept in concepts
            )
            for one in wanted(call)
        ]

    return pins


def _weights_of(wanted: WantedOf, vectors: frozenset[str]) -> Callable[[Call], list[dict[str, float]]]:
    def weights(call: Call) -> list[dict[str, float]]:
        return [
            {
                f"{concept}={part}": weight * strength
                for concept, (shown, strength) in one.items()
                for part, weight in mixture(shown).items()
                if f"{concept}={part}" in vectors
            }
            for one in wanted(call)
        ]

    return weights


def closed_form(
    concept: str,
    site: str,
    means: Mapping[str, Mapping[str, MeanActivation]],
    shown: Sequence[str],
    *,
    safety: bool,
    pin: bool,
) -> Direction:
    """Axes from the first class to each other one; for safety from the neutral picture to each part.

    Args:
        concept: its name.
        site: of the modules in `means`.
        means: module -> class -> mean activations.
        shown: the classes that can be asked for.
        safety: whether the classes after the first must not appear.
        pin: False gives vectors to add and no landmarks.

    Raises:
        DeclinedError: the classes' texts make no difference.
    """
    parts = tuple(_part(module, one, shown, safety=safety, pin=pin) for module, one in means.items())
    return Direction(concept=concept, site=site, parts=parts)


def _part(module: str, means: Mapping[str, MeanActivation], shown: Sequence[str], *, safety: bool, pin: bool) -> Part:
    by_step = {name: one.by_step() for name, one in means.items()}
    names = list(by_step)
    shape = by_step[names[0]].shape[1:]
    flat = {name: one.mean(dim=0).flatten() for name, one in by_step.items()}
    axes = torch.stack([flat[name] - flat[names[0]] for name in names[1:]])
    gram = axes @ axes.T
    if float(torch.linalg.eigvalsh(gram)[0]) <= _FLAT * sum(float(one.square().sum()) for one in flat.values()):
        raise DeclinedError(
            f"{NAME} declines: at {module} the texts of {', '.join(names)} make no difference; the model may not know "
            "the words, give others with present= and absent="
        )
    dual = torch.linalg.solve(gram, axes)
    landmarks = Landmarks(
        module=module,
        axes=axes.view(-1, *shape),
        timesteps=means[names[0]].timesteps,
        levels={name: one.flatten(1) @ dual.T for name, one in by_step.items() if name in shown},
        one_sided=safety,
    )
    vectors = (
        {SAFE: -axes.sum(dim=0).view(shape)}
        if safety
        else without_common({name: one.view(shape) for name, one in flat.items()})
    )
    return Part(module=module, vectors=vectors, landmarks=landmarks if pin else None)


def tensors_of(direction: Direction) -> dict[str, torch.Tensor]:
    """What is stored of a direction; module paths are part of the names."""
    found: dict[str, torch.Tensor] = {}
    for part in direction.parts:
        found |= {f"{part.module}/vector/{name}": vector for name, vector in part.vectors.items()}
        if part.landmarks is not None:
            found[f"{part.module}/axes"] = part.landmarks.axes
            found[f"{part.module}/timesteps"] = part.landmarks.timesteps
            found |= {f"{part.module}/level/{name}": level for name, level in part.landmarks.levels.items()}
            found |= {f"{part.module}/counter/{name}": one for name, one in part.landmarks.counters.items()}
            found |= {f"{part.module}/widening/{key}": one for key, one in _stored_widenings(part.landmarks).items()}
    return found


def direction_of(fitted: Fitted) -> Direction:
    """The direction that was stored."""
    by_module: dict[str, dict[str, torch.Tensor]] = {}
    for key, tensor in fitted.tensors.items():
        module, _, rest = key.partition("/")
        by_module.setdefault(module, {})[rest] = tensor
    concept = fitted.card.concept
    parts = tuple(_stored(module, some, concept["kind"] == "safety") for module, some in by_module.items())
    start = float(fitted.card.estimator.get("start", 0.0))
    return Direction(concept=concept["name"], site=str(fitted.card.frame.module), parts=parts, start=start)


def _stored(module: str, tensors: Mapping[str, torch.Tensor], safety: bool) -> Part:
    def under(prefix: str) -> dict[str, torch.Tensor]:
        return {key.removeprefix(prefix): one for key, one in tensors.items() if key.startswith(prefix)}

    landmarks = None
    if "axes" in tensors:
        landmarks = Landmarks(
            module=module,
            axes=tensors["axes"],
            timesteps=tensors["timesteps"],
            levels=under("level/"),
            counters=under("counter/"),
            widenings=_widenings_of(under("widening/"), tensors["timesteps"]),
            one_sided=safety,
        )
    return Part(module=module, vectors=under("vector/"), landmarks=landmarks)


def _stored_widenings(landmarks: Landmarks) -> dict[str, torch.Tensor]:
    """Class/attribute/tensor -> what is stored; neither names hold a slash."""
    return {
        f"{name}/{other}/{key}": tensor
        for name, some in landmarks.widenings.items()
        for other, one in some.items()
        for key, tensor in one.tensors.items()
    }


def _widenings_of(tensors: Mapping[str, torch.Tensor], timesteps: torch.Tensor) -> dict[str, dict[str, Widening]]:
    found: dict[str, dict[str, dict[str, torch.Tensor]]] = {}
    for path, tensor in tensors.items():
        name, other, key = path.split("/")
        found.setdefault(name, {}).setdefault(other, {})[key] = tensor
    return {
        name: {other: Widening.stored(one, timesteps) for other, one in some.items()} for name, some in found.items()
    }
