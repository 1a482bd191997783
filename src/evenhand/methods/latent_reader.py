"""Reads a concept from final latents, where no judge knows it: an image is of the class that it is nearest to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from evenhand.records import Sample

TELLING = 4.0
"""A value of the latents is used where two classes differ by so many standard errors; the others are noise."""
_NEITHER = ""
_APART = 0.8
"""Share of held-out images, of every class and of none, that must be read right for "none" to be an answer."""


class LatentReader:
    """A linear discriminant with a diagonal covariance over the values that tell the classes apart.

    Args:
        latents: class -> final latents of runs of the class's own text, (images, ...); two images or more each.
        neutral: those of the neutral text, from the same seeds. A picture may show none of the classes (neither a beach
            nor an office), and is then no success of either. It counts where such pictures can be told from those of
            every class; where neutral pictures are of one class or another (with glasses, or without), they cannot.
            None reads the classes alone.

    Cost: none beyond those runs.
    """

    def __init__(self, latents: Mapping[str, torch.Tensor], neutral: torch.Tensor | None = None) -> None:
        known = {name: one.float().cpu().flatten(1) for name, one in latents.items()}
        if neutral is not None:
            more = {**known, _NEITHER: neutral.float().cpu().flatten(1)}
            known = more if _apart(more) else known
        self._nearest = _Discriminant(known)

    @property
    def knows_none(self) -> bool:
        """Whether a picture can be read as none of the classes."""
        return _NEITHER in self._nearest.names

    def read(self, samples: Sequence[Sample]) -> list[str | None]:
        """The class of each sample, which was made with its latents kept; None for an invalid image, or no class."""
        return [None if one.image is None else self._class_of(one.latents) for one in samples]

    def _class_of(self, latents: np.ndarray | None) -> str | None:
        if latents is None:
            raise ValueError("the sample has no latents; make it with keep_latents")
        return self._nearest(torch.from_numpy(latents).float().flatten()) or None


class _Discriminant:
    """The nearest of some classes."""

    def __init__(self, flat: Mapping[str, torch.Tensor]) -> None:
        self.names = tuple(flat)
        means = torch.stack([one.mean(dim=0) for one in flat.values()])
        variance = torch.stack([one.var(dim=0) for one in flat.values()]).mean(dim=0).clamp(min=1e-6)
        error = (variance * 2 / min(len(one) for one in flat.values())).sqrt()
        apart = (means.amax(dim=0) - means.amin(dim=0)) / error
        self._used = apart >= min(TELLING, float(apart.max()))
        self._means, self._weights = means[:, self._used], 1 / variance[self._used]

    def __call__(self, values: torch.Tensor) -> str:
        distances = ((values[self._used] - self._means).square() * self._weights).sum(dim=1)
        return self.names[int(distances.argmin())]


def _apart(flat: Mapping[str, torch.Tensor]) -> bool:
    """Whether a discriminant of every second image reads the others right, class by class."""
    if min(len(one) for one in flat.values()) < 4:
        return False
    half = _Discriminant({name: one[0::2] for name, one in flat.items()})
    return all(sum(half(row) == name for row in one[1::2]) >= _APART * len(one[1::2]) for name, one in flat.items())
