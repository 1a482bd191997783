"""Images in a quarter of the sampler's steps, and what they are worth beside images in all of them.

With a deterministic sampler the class that an image shows is mostly that of the same noise in all steps, and four quick
images cost what a whole one does. Some are made in all steps too, from the same noise, and say what the quick ones are
worth (two levels, as in multilevel Monte Carlo, Giles 2008).
"""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Sequence

import numpy as np

_PART, _FEWEST = 4, 6
"""Quick images take one of so many steps, and no fewer than the latter, in which pictures still hold together."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class QuickPlan:
    """How many images of a prompt are made, and in how many steps.

    Args:
        whole: images in all steps; where there are quick ones, in few steps too.
        quick: further images in few steps.
        steps: how few; None where there are no quick images.
    """

    whole: int
    quick: int = 0
    steps: int | None = None

    @classmethod
    def of(cls, images: int, steps: int) -> QuickPlan:
        """For about the work of so many images, where an image takes so many steps.

        A quarter of the work makes images in all steps, the rest quick ones. Samplers of few steps have no quick ones.
        """
        quick = max(_FEWEST, steps // _PART)
        if 2 * quick > steps or images < _PART:
            return cls(whole=images)
        whole = images // _PART
        return cls(whole=whole, quick=(images - whole) * steps // quick - whole, steps=quick)


def chances_of(pairs: Iterable[tuple[str | None, str | None]], names: Sequence[str]) -> np.ndarray:
    """What a quick image counts for: (quick class, class) weights, of sum kappa squared over each row.

    Pairs from the same noise say which class an image has where the quick one has another: so each quick image counts
    for the classes with these chances. Altogether it counts for Cohen's kappa of the pairs, squared: for one image
    where a quick image says it exactly, for nothing where it says nothing.

    Args:
        pairs: classes of a quick image and of the whole one from the same noise; None where it cannot be told.
        names: the classes.
    """
    place = {name: number for number, name in enumerate(names)}
    seen = np.zeros((len(names), len(names)))
    for few, all_steps in pairs:
        if few is not None and all_steps is not None:
            seen[place[few], place[all_steps]] += 1
    of = seen.sum(axis=1, keepdims=True)
    # a class that no quick partner has keeps its own name
    return _kappa(seen) ** 2 * np.where(of > 0, seen / np.maximum(of, 1), np.eye(len(names)))


def _kappa(pairs: np.ndarray) -> float:
    """Cohen's, not below 0; 1 where only one class was seen, 0 without pairs."""
    total = max(pairs.sum(), 1)
    by_chance = float(pairs.sum(axis=1) @ pairs.sum(axis=0)) / total**2
    return 1.0 if by_chance >= 1 else max(0.0, (float(np.trace(pairs)) / total - by_chance) / (1 - by_chance))
