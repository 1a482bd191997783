"""What images say of the shares that predictions imply.

Implied shares cost no image and have no sampling error, but a bias of their own: least squares at three noise levels
tell what the predictions mean, not what the sampler makes of them. A few images of every prompt tell the bias, each
prompt's drawn to that of all, since so few images know little of one prompt. Most of them are made in few steps
(`quick_images`).
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence

import numpy as np

from evenhand.methods.quick_images import chances_by_prompt
from evenhand.methods.shared_noises import counted

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


def bias_of(
    implied: Shares, seen: Counts, known: Shares | None = None, earlier: float = 0
) -> dict[str, dict[str, float]]:
    """Row -> class -> logarithm of the factor between what images show and what predictions imply.

    Args:
        implied: shares.
        seen: images of the same rows by the same model.
        known: what earlier images said of the bias; None for nothing.
        earlier: what they said counts for so many, of each row.
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
    """What images show, and beside them what quick ones are worth, by the pairs from the same noises.

    Args:
        quick: in few steps; the first ones from the noises of `whole`.
        whole: in all steps; of every row as many, some from noises that all rows share (`shared_noises`).
        names: the classes.
    """
    pairs = {row: list(zip(quick.get(row, ()), seen, strict=False)) for row, seen in whole.items()}
    further = {row: list(quick.get(row, ()))[len(seen) :] for row, seen in whole.items()}
    chances, itself = chances_by_prompt(pairs, further, names), np.eye(len(names))
    votes = {
        row: np.concatenate([_votes(seen, names, itself), _votes(further[row], names, chances[row])])
        for row, seen in whole.items()
    }
    return {row: dict(zip(names, some.tolist(), strict=True)) for row, some in counted(votes).items()}


def _votes(labels: Sequence[str | None], names: Sequence[str], worth: np.ndarray) -> np.ndarray:
    """(images, classes): what each image counts for; nothing where its class cannot be told."""
    known = dict(zip(names, worth, strict=True))
    return np.array([np.zeros(len(names)) if one is None else known[one] for one in labels]).reshape(-1, len(names))


def shifted(shares: Mapping[str, float], bias: Mapping[str, float]) -> dict[str, float]:
    """Shares times exp(bias), of sum 1."""
    raw = {name: min(max(share, LEAST), 1.0) * math.exp(bias.get(name, 0.0)) for name, share in shares.items()}
    total = sum(raw.values())
    return {name: one / total for name, one in raw.items()}
