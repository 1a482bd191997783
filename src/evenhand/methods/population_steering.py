"""Steering by looks: what a prompt's shares still miss goes back into the weights of its winners.

A preference between populations is about shares, and shares are what a look measures. Where a prompt shows too few of a
class, winners of that class count for more from then on, and the others for less (dual ascent on the prompt's
log-odds). A look has few images, so what it says is first shrunk: by the part of the misses that chance alone explains.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Mapping, Sequence

import torch

from evenhand.methods.population_looks import Look
from evenhand.training.cache import PreferenceData
from evenhand.training.populations import Made

_LEAST = 0.02
"""No share is taken to be smaller: the odds of nothing seen would be infinite."""

Shares = Mapping[str, Mapping[str, float]]


def steered(
    data: PreferenceData, images: Sequence[Made], looks: Sequence[Look], target: Mapping[str, float], gain: float
) -> PreferenceData:
    """The data with the winners' weights that the looks so far ask for.

    Args:
        data: as training reads it.
        images: in whose order its rows are; winners show the class that they were asked for.
        looks: all that were taken; those at the plain model (step 0) say nothing.
        target: class -> wanted share.
        gain: part of a miss that is taken back after each look; 0 is off.
    """
    wanted = {name: share for name, share in target.items() if share > 0}
    odds: dict[str, dict[str, float]] = {}
    for look in looks:
        if look.step:
            for row, shares in shrunk(look.shares, target).items():
                mine = odds.setdefault(row, dict.fromkeys(wanted, 0.0))
                for name, share in wanted.items():
                    mine[name] += gain * math.log(max(share, _LEAST) / max(shares[name], _LEAST))
    weights = {row: weights_of(mine, wanted) for row, mine in odds.items()}
    found = [weights[one.slot.row][one.label] if one.slot.winner and one.slot.row in weights else 1.0 for one in images]
    return dataclasses.replace(data, weight=torch.tensor(found))


def weights_of(odds: Mapping[str, float], target: Mapping[str, float]) -> dict[str, float]:
    """Class -> weight of its winners: exp of its log-odds, 1 on the mean over the target."""
    raw = {name: math.exp(value) for name, value in odds.items()}
    mean = sum(target[name] * value for name, value in raw.items())
    return {name: value / mean for name, value in raw.items()}


def shrunk(counts: Mapping[str, Mapping[str, int]], target: Mapping[str, float]) -> dict[str, dict[str, float]]:
    """Row -> class -> share, drawn to the target by the part of the misses that chance explains (empirical Bayes).

    Args:
        counts: row -> class -> images; rows in which nothing can be told are left out.
        target: class -> wanted share.
    """
    shares = {
        row: {name: some.get(name, 0) / total for name in target}
        for row, some in counts.items()
        if (total := sum(some.values())) > 1
    }
    missed = chance = 0.0
    for row, mine in shares.items():
        total = sum(counts[row].values())
        missed += sum((share - target[name]) ** 2 for name, share in mine.items())
        chance += sum(share * (1 - share) / (total - 1) for share in mine.values())
    kept = max(0.0, 1 - chance / missed) if missed else 0.0
    return {
        row: {name: target[name] + kept * (share - target[name]) for name, share in mine.items()}
        for row, mine in shares.items()
    }
