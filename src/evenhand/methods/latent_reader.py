"""Reads a concept from final latents, where no judge knows it: an image is of the class that it is nearest to."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from evenhand.records import Sample

TELLING = 4.0
"""A value of the latents is used where two classes differ by so many standard errors; the others are noise."""


class LatentReader:
    """A linear discriminant with a diagonal covariance over the values that tell the classes apart.

    Args:
        latents: class -> final latents of runs of the class's own text, (images, ...); two images or more each.

    Cost: none beyond those runs.
    """

    def __init__(self, latents: Mapping[str, torch.Tensor]) -> None:
        self._names = tuple(latents)
        flat = [one.float().cpu().flatten(1) for one in latents.values()]
        means = torch.stack([one.mean(dim=0) for one in flat])
        variance = torch.stack([one.var(dim=0) for one in flat]).mean(dim=0).clamp(min=1e-6)
        error = (variance * 2 / min(len(one) for one in flat)).sqrt()
        apart = (means.amax(dim=0) - means.amin(dim=0)) / error
        used = apart >= min(TELLING, float(apart.max()))
        self._means, self._weights = means[:, used], 1 / variance[used]
        self._used = used

    def read(self, samples: Sequence[Sample]) -> list[str | None]:
        """The class of each sample, which was made with its latents kept; None for an invalid image."""
        return [None if one.image is None else self._nearest(one.latents) for one in samples]

    def _nearest(self, latents: np.ndarray | None) -> str:
        if latents is None:
            raise ValueError("the sample has no latents; make it with keep_latents")
        values = torch.from_numpy(latents).float().flatten()[self._used]
        distances = ((values - self._means).square() * self._weights).sum(dim=1)
        return self._names[int(distances.argmin())]
