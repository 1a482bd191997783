"""The activation site again: what an image's activations say of a concept is set to where one class lies.

Adding a vector pushes every image by the same amount: those that show the class already are pushed too, and a class
that lies between two others (a medium tone of skin) can be reached from neither side. Pinning reads the coordinate of
each image along the concept's axes, at every step, and moves it to the class's own:

    h <- h + min(1, s) A^T (m(t) + max(1, s) (l_c(t) - m(t)) - (A A^T)^-1 A h)

with the axes A, the coordinates l_c(t) of class c at timestep t, their mean m(t) over the classes, and the strength s.
At s = 1 the coordinate is that of the class, below it is moved a part of the way, and above it lies farther out from
where the classes meet, for sites that the rest of the denoiser follows only in part; a class in the middle stays there.
At 0 nothing happens. Axes of several concepts are solved together, so that one does not move the other.

What showing a class moves beside it, in layers that follow, may be countered: a vector of the class's own goes along,
as long as the image is moved, in units of the axes' mean length. What it narrows is widened as long (`widening`).
"""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Callable, Collection, Mapping, Sequence
from typing import Any

import torch

from evenhand.concepts.mixture import mixture
from evenhand.errors import InputError, ModelError
from evenhand.host.carrier import channel_axis, module_at
from evenhand.host.sites import Call, Site, Step
from evenhand.interventions.widening import Widening, at_timestep
from evenhand.interventions.window import ALWAYS, Window


@dataclasses.dataclass(frozen=True, kw_only=True)
class Landmarks:
    """Where the classes of a concept lie at one module.

    Args:
        module: path of the module inside the denoiser.
        axes: (axes, channels), the same at every place and for any image size, or (axes, channels, height, width),
            tied to one image size; linearly independent.
        timesteps: (moments,), falling; the schedule's, of 0 to 1,000.
        levels: class -> (moments, axes): the coordinates of its mean activation.
        counters: class -> (channels[, height, width]), taken off an image that is moved by one axis's length.
        widenings: class -> another attribute -> how it is widened in an image that is moved; not where it is pinned.
        one_sided: only coordinates above the class's are moved, down to it; for what must not appear.

    Raises:
        InputError: shapes that do not belong together.
    """

    module: str
    axes: torch.Tensor
    timesteps: torch.Tensor
    levels: Mapping[str, torch.Tensor]
    counters: Mapping[str, torch.Tensor] = dataclasses.field(default_factory=dict)
    widenings: Mapping[str, Mapping[str, Widening]] = dataclasses.field(default_factory=dict)
    one_sided: bool = False

    def __post_init__(self) -> None:
        wanted = (len(self.timesteps), len(self.axes))
        if self.axes.ndim not in (2, 4) or any(tuple(level.shape) != wanted for level in self.levels.values()):
            shapes = {name: tuple(level.shape) for name, level in self.levels.items()}
            raise InputError(
                f"landmarks at {self.module} have axes of shape {tuple(self.axes.shape)} and levels {shapes}; expected "
                f"(axes, channels[, height, width]) and levels of shape {wanted}"
            )
        place = tuple(self.axes.shape[1:])
        for one in self.counters.values():
            if tuple(one.shape) != place:
                raise InputError(f"landmarks at {self.module} have a counter of {tuple(one.shape)}; expected {place}")
        for some in self.widenings.values():
            for shape in {tuple(one.axes.shape[1:]) for one in some.values()} - {place}:
                raise InputError(f"landmarks at {self.module} have a widening along {shape}; expected {place}")

    def target(self, name: str, timestep: float, strength: float) -> torch.Tensor:
        """The coordinates that an image of the class, or of a mixture of classes, is moved to, (axes,)."""
        parts = [weight * self._at(self.levels[one], timestep) for one, weight in mixture(name).items()]
        own = torch.stack(parts).sum(dim=0)
        if len(self.levels) == 1 or strength <= 1:
            return own
        middle = torch.stack([self._at(level, timestep) for level in self.levels.values()]).mean(dim=0)
        return middle + strength * (own - middle)

    def counter(self, name: str) -> torch.Tensor | None:
        """What goes along with a class, or with a mixture of classes, (values,); None for nothing."""
        parts = [weight * self.counters[one] for one, weight in mixture(name).items() if one in self.counters]
        return torch.stack(parts).sum(dim=0).flatten() if parts else None

    def widened(self, name: str, pinned: Collection[str]) -> list[tuple[float, Widening]]:
        """What is widened with a class, or with the classes of a mixture and their weights, but for pinned concepts."""
        return [
            (weight, widening)
            for one, weight in mixture(name).items()
            for attribute, widening in self.widenings.get(one, {}).items()
            if attribute not in pinned
        ]

    def _at(self, level: torch.Tensor, timestep: float) -> torch.Tensor:
        """Interpolated between the moments."""
        return at_timestep(self.timesteps, level, timestep)


@dataclasses.dataclass(frozen=True, kw_only=True)
class Pinned:
    """One concept of one image: the class that it is to show, and how strongly."""

    concept: str
    name: str
    strength: float = 1.0


PinsOf = Callable[[Call], Sequence[Sequence[Pinned]]]
"""For each image of a call what is pinned; an empty sequence leaves the image alone."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class ActivationPin:
    """An intervention that pins concepts of the conditional rows; every image of a batch may get others.

    Args:
        name: how reports call it.
        landmarks: concept -> where its classes lie, all at one module.
        pins: for each image of a call what is pinned.
        strength: factor on all strengths; 1 as calibrated, 0 is off.
        window: the steps at which it acts.

    Raises:
        InputError: no landmarks, or at several modules.
    """

    name: str
    landmarks: Mapping[str, Landmarks]
    pins: PinsOf
    strength: float = 1.0
    window: Window = ALWAYS
    site: Site = "activation"

    def __post_init__(self) -> None:
        modules = {one.module for one in self.landmarks.values()}
        if len(modules) != 1:
            raise InputError(
                f"{self.name} has landmarks at {', '.join(sorted(modules)) or 'no module'}; "
                "expected one module, so attach one intervention for each"
            )

    @property
    def module(self) -> str:
        """Where it sits."""
        return next(iter(self.landmarks.values())).module

    def scaled(self, strength: float) -> ActivationPin:
        """The same pins at another strength."""
        return dataclasses.replace(self, strength=strength)

    def check(self, host: Any) -> None:
        """Refuse a model without the module.

        Raises:
            ModelError: the denoiser has no such module; the line names near ones.
        """
        module_at(host.denoiser, self.module)

    def begin(self, call: Call) -> PinEffect | None:
        """The effect on one call; None where nothing is pinned."""
        pins = tuple(tuple(one) for one in self.pins(call))
        for one in {pin for some in pins for pin in some}:
            known = self.landmarks[one.concept].levels if one.concept in self.landmarks else {}
            if not set(mixture(one.name)) <= set(known):
                raise InputError(f"{self.name} has no landmarks of {one.concept} for {one.name!r}")
        return PinEffect(self, pins) if any(pins) else None


class PinEffect:
    """One call."""

    def __init__(self, pin: ActivationPin, pins: Sequence[Sequence[Pinned]]) -> None:
        self._pin, self._pins = pin, pins
        self.module = pin.module
        axes = torch.cat([one.axes.float() for one in pin.landmarks.values()])
        ends = list(itertools.accumulate(len(one.axes) for one in pin.landmarks.values()))
        # concept -> its own among all axes
        self._own = {name: slice(a, b) for name, a, b in zip(pin.landmarks, [0, *ends], ends, strict=False)}
        self._flat = axes.flatten(1)
        self._dual = torch.linalg.solve(self._flat @ self._flat.T, self._flat)
        self._shape = tuple(axes.shape[1:])
        self._moved = [0.0] * len(pins)

    def shift(self, step: Step, output: torch.Tensor) -> torch.Tensor:
        """The output of the module with the coordinates moved; an image without pins keeps its bits."""
        if step.index not in self._pin.window.steps(step.total):
            return output
        seen = self._seen(output)
        change = self._change(step, seen @ self._dual.to(seen).T)
        moved = change @ self._flat.to(seen) + self._beside(step, seen, change)
        for row, norm in enumerate(moved.norm(dim=1).tolist()):
            self._moved[row] += norm
        chosen = torch.tensor([bool(one) for one in self._pins], device=output.device)
        shifted = output + self._laid_out(moved, output).to(output.dtype)
        return torch.where(chosen.view(-1, *[1] * (output.ndim - 1)), shifted, output)

    def evidence(self) -> Sequence[Mapping[str, Any]]:
        """What each image was to show, and how far it was moved in all."""
        return [
            {"pins": {pin.concept: [pin.name, round(pin.strength, 4)] for pin in some}, "moved": round(norm, 4)}
            for some, norm in zip(self._pins, self._moved, strict=True)
        ]

    def _change(self, step: Step, coordinates: torch.Tensor) -> torch.Tensor:
        """How far each coordinate of each image is moved, (images, axes)."""
        change = torch.zeros_like(coordinates)
        for row, some in enumerate(self._pins):
            for pin in some:
                landmarks, own = self._pin.landmarks[pin.concept], self._own[pin.concept]
                strength = self._pin.strength * pin.strength
                target = landmarks.target(pin.name, step.timestep, strength).to(coordinates)
                miss = target - coordinates[row, own]
                miss = miss.clamp(max=0) if landmarks.one_sided else miss
                change[row, own] = min(1.0, strength) * miss
        return change

    def _beside(self, step: Step, seen: torch.Tensor, change: torch.Tensor) -> torch.Tensor:
        """What goes along with what is moved, (images, values): counters are taken off, and what narrows is widened."""
        flat = self._flat.to(change)
        found = change.new_zeros(len(change), flat.shape[1])
        for row, some in enumerate(self._pins):
            for pin in some:
                landmarks, own = self._pin.landmarks[pin.concept], self._own[pin.concept]
                length = (change[row, own] @ flat[own]).norm() / flat[own].norm(dim=1).mean()
                counter = landmarks.counter(pin.name)
                if counter is not None:
                    found[row] -= length * counter.to(change)
                for weight, one in landmarks.widened(pin.name, {other.concept for other in some}):
                    found[row] += length * weight * one.along(seen[row], step.timestep)
        return found

    def _seen(self, output: torch.Tensor) -> torch.Tensor:
        """What the axes are read from, (images, values), in float32."""
        channels = output.shape[channel_axis(output)]
        if self._shape[0] != channels:
            raise ModelError(
                f"{self._pin.name}: the axes have {self._shape[0]} channels, {self.module} gives {channels}; "
                "they were fitted on another model or site"
            )
        if len(self._shape) == 1:
            return pooled(output)
        if self._shape != tuple(output.shape[1:]):
            raise ModelError(
                f"{self._pin.name}: the axes were fitted at {self._shape[1:]} places, {self.module} has "
                f"{tuple(output.shape[2:])}; use the image size that they were fitted at, or channel-only axes"
            )
        return output.float().flatten(1)

    def _laid_out(self, moved: torch.Tensor, output: torch.Tensor) -> torch.Tensor:
        if len(self._shape) > 1:
            return moved.view(output.shape)
        places = [1] * output.ndim
        places[0], places[channel_axis(output)] = moved.shape
        return moved.view(places)


def pooled(output: torch.Tensor) -> torch.Tensor:
    """The mean over all places of a module's output, (rows, channels), in float32."""
    seen = output.float()
    if seen.ndim == 4:
        return seen.flatten(2).mean(dim=2)
    return seen.mean(dim=1) if seen.ndim == 3 else seen
