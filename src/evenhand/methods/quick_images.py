"""Images in a quarter of the sampler's steps, and what they are worth beside images in all of them.

With a deterministic sampler the class that an image shows is mostly that of the same noise in all steps, and four quick
images cost what a whole one does. Some are made in all steps too, from the same noise, and say what the quick ones are
worth (two levels, as in multilevel Monte Carlo, Giles 2008).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterable, Mapping, Sequence

import numpy as np

Pairs = Iterable[tuple[str | None, str | None]]
"""Classes of a quick image and of the whole one from the same noise; None where it cannot be told."""

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


def chances_by_prompt(
    pairs: Mapping[str, Pairs], further: Mapping[str, Sequence[str | None]], names: Sequence[str]
) -> dict[str, np.ndarray]:
    """What a further quick image of each prompt counts for: (quick class, class) weights.

    Pairs from the same noise say which class an image has where the quick one has another: so each quick image counts
    for the classes with these chances. Altogether it counts for Cohen's kappa of the pairs, squared: for one image
    where a quick image says it exactly, for nothing where it says nothing.

    Few steps may show more of a class in one prompt and less of it in another. So a prompt's own chances are drawn to
    those of all as far as prompts are alike: the Dirichlet prior whose variance between prompts is what theirs exceeds
    chance by (method of moments). And its quick images together count for no more than what so many pairs support: as
    many images as would know the shares as well as these chances are known.

    Args:
        pairs: of each prompt.
        further: classes of its quick images that have no pair.
        names: the classes.
    """
    tables = {row: _table(some, names) for row, some in pairs.items()}
    every = sum(tables.values(), np.zeros((len(names), len(names))))
    common, worth = _shares(every), _kappa(every) ** 2
    precision = np.array([_precision([one[k] for one in tables.values()]) for k in range(len(names))])
    found = {}
    for row, seen in tables.items():
        own, counted = seen.sum(axis=1), np.array([list(further.get(row, ())).count(name) for name in names])
        near = (1 - own / (precision + own))[:, None]
        chances = near * common + (1 - near) * _shares(seen)
        of = counted / max(counted.sum(), 1)
        unsure = float(of**2 @ ((chances * (1 - chances)).sum(axis=1) / (precision + own)))
        share = of @ chances
        most = float(share @ (1 - share)) / unsure if unsure > 0 else math.inf
        found[row] = min(worth, most / max(counted.sum(), 1)) * chances
    return found


def _table(pairs: Pairs, names: Sequence[str]) -> np.ndarray:
    """(quick class, class): how many pairs."""
    place = {name: number for number, name in enumerate(names)}
    seen = np.zeros((len(names), len(names)))
    for few, all_steps in pairs:
        if few is not None and all_steps is not None:
            seen[place[few], place[all_steps]] += 1
    return seen


def _shares(seen: np.ndarray) -> np.ndarray:
    """Of each quick class the classes; one that no quick partner has keeps its own name."""
    of = seen.sum(axis=1, keepdims=True)
    return np.where(of > 0, seen / np.maximum(of, 1), np.eye(len(seen)))


def _precision(counts: Sequence[np.ndarray]) -> float:
    """Images that the chances of all prompts are worth in one of them; infinite where prompts differ by chance alone.

    Counts of a quick class by class, for each prompt: one-way analysis of variance, summed over the classes. One image
    at least, so that a class that a prompt's few pairs lack keeps a chance.
    """
    some = np.array([one for one in counts if one.sum() > 0])
    if len(some) < 2:
        return math.inf
    n, mean = some.sum(axis=1), some.sum(axis=0) / some.sum()
    within = float((some * (1 - some / n[:, None])).sum() / max(n.sum() - len(n), 1))
    between = float((n[:, None] * (some / n[:, None] - mean) ** 2).sum()) / (len(n) - 1)
    spread = (between - within) / ((n.sum() - (n**2).sum() / n.sum()) / (len(n) - 1))
    total = float(mean @ (1 - mean))
    return max(total / spread - 1, 1.0) if spread > 0 and total > 0 else math.inf


def _kappa(pairs: np.ndarray) -> float:
    """Cohen's, not below 0; 1 where only one class was seen, 0 without pairs."""
    total = max(pairs.sum(), 1)
    by_chance = float(pairs.sum(axis=1) @ pairs.sum(axis=0)) / total**2
    return 1.0 if by_chance >= 1 else max(0.0, (float(np.trace(pairs)) / total - by_chance) / (1 - by_chance))
