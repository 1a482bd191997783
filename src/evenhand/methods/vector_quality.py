"""Whether a direction is one: controls whose outcome is known for a direction that means something.

- *split half*: fitted on two halves of the seeds, the classes differ in the same direction;
- *dose response*: more strength never shows the class less often, by more than the noise of the trial;
- *opposite sign*: the same vector subtracted shows the class less often than it was;
- *random*: a random vector of the same norm hardly changes what is read;
- *leakage*: no other attribute's shares move.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch

from evenhand.concepts.concept import Concept
from evenhand.methods.vector_direction import Direction, StrengthOf
from evenhand.methods.vector_trials import Labels, Trials
from evenhand.records import Request, Sample

LEAST_COSINE, LARGEST_MOVE, NOISE = 0.5, 0.05, 0.08


def split_half(first: Mapping[str, torch.Tensor], second: Mapping[str, torch.Tensor]) -> float:
    """Cosine between what two halves say of how the classes differ; classes and places in one vector each."""
    halves = []
    for half in (first, second):
        means = torch.stack([half[name].float().flatten() for name in first])
        halves.append((means - means.mean(dim=0)).flatten())
    return float(torch.cosine_similarity(halves[0], halves[1], dim=0))


def controls(
    trials: Trials,
    requests: Sequence[Request],
    plain: Labels,
    name: str,
    direction: Direction,
    strength: StrengthOf,
    doses: Mapping[float, Labels],
) -> dict[str, Any]:
    """Opposite sign, random vectors and dose response of one class.

    Args:
        trials: makes and reads.
        requests: the images.
        plain: what is read in them without any intervention.
        name: the class.
        direction: its vectors.
        strength: that is used, of each image.
        doses: part of that strength -> what is read at it.

    Cost: the images twice.
    """
    rng = torch.Generator().manual_seed(trials.seed)
    opposite = trials.labels(direction.added(name, lambda call, place: -strength(call, place)), requests)
    noise = trials.labels(direction.added(name, strength, random=rng), requests)
    shares = {dose: _share(labels, name) for dose, labels in sorted({0.0: plain, **doses}.items())}
    steps = list(shares.values())
    return {
        "plain": round(_share(plain, name), 4),
        "opposite": round(_share(opposite, name), 4),
        "random_changed": round(sum(a != b for a, b in zip(plain, noise, strict=True)) / len(plain), 4),
        "random_moved": round(abs(_share(noise, name) - _share(plain, name)), 4),
        "dose": {f"{dose:g}": round(share, 4) for dose, share in shares.items()},
        "monotone": all(later >= earlier - NOISE for earlier, later in itertools.pairwise(steps)),
    }


def leakage(
    read: Callable[[Sequence[Sample], Sequence[Concept]], list[tuple[str | None, ...]]],
    others: Sequence[Concept],
    plain: Sequence[Sample],
    shown: Sequence[Sequence[Sample]],
) -> dict[str, float]:
    """Other attribute -> the largest change of any of its shares, over the classes that were shown."""
    if not others:
        return {}
    before = read(plain, others)
    after = [read(some, others) for some in shown]
    moved: dict[str, float] = {}
    for place, other in enumerate(others):
        for labels in after:
            for name in other.class_names:
                share = _share([row[place] for row in labels], name) - _share([row[place] for row in before], name)
                moved[other.name] = max(moved.get(other.name, 0.0), abs(share))
    return {name: round(value, 4) for name, value in moved.items()}


def verdict(cosine: float, per_class: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether the direction passes: halves agree, doses rise, the opposite does not raise, random moves little."""
    return cosine >= LEAST_COSINE and all(
        one["monotone"] and one["opposite"] <= one["plain"] + NOISE and one["random_moved"] <= LARGEST_MOVE
        for one in per_class.values()
    )


def _share(labels: Sequence[str | None], name: str) -> float:
    return sum(label == name for label in labels) / len(labels)
