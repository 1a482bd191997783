"""Reads a concept from final latents, where no judge knows it: an image is of the class that it is nearest to."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from evenhand.records import Sample

TELLING = 4.0
"""A value of the latents is used where two classes differ by so many standard errors; the others are noise."""
_LIKE, _MOST = 6.0, 0.9
"""An image may lie so many times as far from its class as all but a tenth of the held-out images of its own text do,
which a model does not always obey."""
_NEITHER = 0.25
"""Share of plain images that must lie farther out for "none" to be an answer: what everybody shows one way or the other
(glasses, or none) is read as the nearer of the two however unlike its texts' pictures an image is."""


class LatentReader:
    """A linear discriminant with a diagonal covariance over the values that tell the classes apart.

    A picture may show none of the classes (neither a beach nor an office): it then lies farther from the nearest class
    than pictures of that class's own text do, and is no success of either.

    Args:
        latents: class -> final latents of runs of the class's own text, (images, ...); two images or more each. How far
            a class's own pictures lie is known with four or more.
        plain: final latents of images that nobody told what to show, which say whether "none" occurs at all; without
            them every picture is of the nearest class.

    Cost: none beyond those runs.
    """

    def __init__(self, latents: Mapping[str, torch.Tensor], plain: torch.Tensor | None = None) -> None:
        known = {name: one.float().cpu().flatten(1) for name, one in latents.items()}
        self._nearest = _Discriminant(known)
        self._limits = {name: _LIKE * one for name, one in _spread(known).items()}
        rows = [] if plain is None else list(plain.float().cpu().flatten(1))
        if sum(self._class_of(row) is None for row in rows) <= _NEITHER * len(rows):
            self._limits = {}

    @property
    def knows_none(self) -> bool:
        """Whether a picture can be read as none of the classes."""
        return bool(self._limits)

    def read(self, samples: Sequence[Sample]) -> list[str | None]:
        """The class of each sample, which was made with its latents kept; None for an invalid image, or no class."""
        return [None if one.image is None else self._class_of(latents_of([one])[0].flatten()) for one in samples]

    def _class_of(self, values: torch.Tensor) -> str | None:
        name, distance = self._nearest(values)
        return name if distance <= self._limits.get(name, math.inf) else None


def latents_of(samples: Sequence[Sample]) -> torch.Tensor:
    """The final latents of samples, (samples, ...).

    Raises:
        ValueError: one was made without keeping them.
    """
    kept = [one.latents for one in samples if one.latents is not None]
    if len(kept) < len(samples):
        raise ValueError("a sample has no latents; make it with keep_latents")
    return torch.from_numpy(np.stack(kept)).float()


class _Discriminant:
    """The nearest of some classes, and how far it is: the mean squared distance in standard deviations."""

    def __init__(self, flat: Mapping[str, torch.Tensor]) -> None:
        self.names = tuple(flat)
        means = torch.stack([one.mean(dim=0) for one in flat.values()])
        variance = torch.stack([one.var(dim=0) for one in flat.values()]).mean(dim=0).clamp(min=1e-6)
        error = (variance * 2 / min(len(one) for one in flat.values())).sqrt()
        apart = (means.amax(dim=0) - means.amin(dim=0)) / error
        self._used = apart >= min(TELLING, float(apart.max()))
        self._means, self._weights = means[:, self._used], 1 / variance[self._used]

    def distances(self, values: torch.Tensor) -> torch.Tensor:
        """To each class, (classes,)."""
        return ((values[self._used] - self._means).square() * self._weights).mean(dim=1)

    def __call__(self, values: torch.Tensor) -> tuple[str, float]:
        found = self.distances(values)
        place = int(found.argmin())
        return self.names[place], float(found[place])


def _spread(flat: Mapping[str, torch.Tensor]) -> dict[str, float]:
    """Class -> how far its own images are from it, but for a tenth, as a discriminant of the other half sees them."""
    if min(len(one) for one in flat.values()) < 4:
        return {}
    found: dict[str, list[float]] = {name: [] for name in flat}
    for half in (0, 1):
        seen = _Discriminant({name: one[half::2] for name, one in flat.items()})
        for place, (name, one) in enumerate(flat.items()):
            found[name] += [float(seen.distances(row)[place]) for row in one[1 - half :: 2]]
    return {name: float(np.quantile(some, _MOST)) for name, some in found.items()}
