"""What images say of the shares that predictions imply.

Implied shares cost no image and have no sampling error, but a bias of their own: least squares at three noise levels
tell what the predictions mean, not what the sampler makes of them. A few images of every prompt tell the bias, each
prompt's drawn to that of all, since so few images know little of one prompt.

Most of these images are made in a quarter of the sampler's steps: with a deterministic sampler the class is mostly
that of the same noise in all steps, and four of them cost what one does. Some are made in all steps too, from the same
noise, and say what the quick ones are worth (two levels, as in multilevel Monte Carlo, Giles 2008).
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import numpy as np

Shares = Mapping[str, Mapping[str, float]]
"""Prompt row -> class -> share."""
Counts = Mapping[str, Mapping[str, float]]
"""Prompt row -> class -> images, or what quick ones are worth of them."""
Labels = Mapping[str, Sequence[str | None]]
"""Prompt row -> the class of each image; None where it cannot be told."""

LEAST = 0.02
"""No share is taken to be smaller: the odds of nothing would be infinite."""
_WORTH = 48.0
"""Images that the implied share of a prompt is worth, once the bias of all prompts is taken off."""
_HALF = 0.5
_PART, _FEWEST = 4, 6
"""Quick images take one of so many steps, and no fewer than the latter, in which pictures still hold together."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class CheckPlan:
    """How many images of a prompt are made for a check.

    Args:
        whole: images in all steps; where there are quick ones, in few steps too.
        quick: further images in few steps.
        steps: how few; None where there are no quick images.
    """

    whole: int
    quick: int = 0
    steps: int | None = None

    @classmethod
    def of(cls, images: int, steps: int) -> CheckPlan:
        """For about the work of so many images, where an image takes so many steps.

        A quarter of the work makes images in all steps, the rest quick ones. Samplers of few steps have no quick ones.
        """
        quick = max(_FEWEST, steps // _PART)
        if 2 * quick > steps or images < _PART:
            return cls(whole=images)
        whole = images // _PART
        return cls(whole=whole, quick=(images - whole) * steps // quick - whole, steps=quick)


def bias_of(
    implied: Shares, seen: Counts, known: Shares | None = None, earlier: int = 0
) -> dict[str, dict[str, float]]:
    """Row -> class -> logarithm of the factor between what images show and what predictions imply.

    Args:
        implied: shares.
        seen: images of the same rows by the same model.
        known: what earlier images said of the bias; None for nothing.
        earlier: how many those were, of each row; what they said counts for as many.
    """
    expected = {row: shifted(shares, known[row] if known else {}) for row, shares in implied.items() if row in seen}
    names = list(next(iter(expected.values()), {}))
    total = sum(sum(seen[row].values()) for row in expected)
    common = {}
    for name in names:
        mean = sum(sum(seen[row].values()) * shares[name] for row, shares in expected.items()) / max(total, 1)
        shown = sum(seen[row].get(name, 0) for row in expected)
        common[name] = math.log((shown + _HALF) / (total + _HALF * len(names))) - math.log(max(mean, LEAST))
    found = {}
    for row, shares in expected.items():
        prior, count = shifted(shares, common), sum(seen[row].values())
        worth = _WORTH + earlier
        found[row] = {
            name: math.log((seen[row].get(name, 0) + worth * prior[name]) / (count + worth))
            - math.log(max(implied[row][name], LEAST))
            for name in names
        }
    return found


def worth_of(quick: Labels, whole: Labels, names: Sequence[str]) -> Counts:
    """What images show, and beside them what quick ones are worth.

    Of all prompts together, pairs from the same noise say which class an image has where the quick one has another: so
    each quick image that has no partner counts for the classes with these chances. Together they count for Cohen's
    kappa of the pairs, squared, of their number: for all where a quick image says it exactly, for nothing where it says
    nothing.

    Args:
        quick: in few steps; the first ones from the noises of `whole`.
        whole: in all steps.
        names: the classes.
    """
    place = {name: number for number, name in enumerate(names)}
    pairs = np.zeros((len(names), len(names)))  # quick one, whole one
    for row, seen in whole.items():
        for few, all_steps in zip(quick.get(row, ()), seen, strict=False):
            if few is not None and all_steps is not None:
                pairs[place[few], place[all_steps]] += 1
    of = pairs.sum(axis=1, keepdims=True)
    # a class that no quick partner has keeps its own name
    chances = _kappa(pairs) ** 2 * np.where(of > 0, pairs / np.maximum(of, 1), np.eye(len(names)))
    found = {}
    for row, seen in whole.items():
        further = list(quick.get(row, ()))[len(seen) :]
        counted = np.array([seen.count(name) for name in names])
        counted = counted + np.array([further.count(name) for name in names]) @ chances
        found[row] = dict(zip(names, counted.tolist(), strict=True))
    return found


def _kappa(pairs: np.ndarray) -> float:
    """Cohen's, not below 0; 1 where only one class was seen, 0 without pairs."""
    total = max(pairs.sum(), 1)
    by_chance = float(pairs.sum(axis=1) @ pairs.sum(axis=0)) / total**2
    return 1.0 if by_chance >= 1 else max(0.0, (float(np.trace(pairs)) / total - by_chance) / (1 - by_chance))


def shifted(shares: Mapping[str, float], bias: Mapping[str, float]) -> dict[str, float]:
    """Shares times exp(bias), of sum 1."""
    raw = {name: min(max(share, LEAST), 1.0) * math.exp(bias.get(name, 0.0)) for name, share in shares.items()}
    total = sum(raw.values())
    return {name: one / total for name, one in raw.items()}
