"""Weights that give the images of a class's text the shares of other attributes that a model shows by itself.

"A photo of an old person" may show more women than the model's other pictures do. The mean over such images says "old"
and a little "female", and a vector made of it moves both. Weighted so that gender, tone of skin and every other judged
attribute have the shares of the images that the vector will act on, it says "old".
"""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Mapping, Sequence

import numpy as np
from scipy.stats import chi2

_ROUNDS = 100
_ABOUT, _CHANCE = 0.5, 0.05
_LEAST_PART = 0.4
"""Part of the images that weighted ones must be worth: with less the means say more of single pictures."""

Labels = Sequence[tuple[str | None, ...]]
"""For each image what is read of each attribute; None where the judge abstains."""


def matched_weights(labels: Mapping[str, Labels], reference: Labels) -> dict[str, np.ndarray]:
    """For each class the weights of its images, (n,), which sum to n.

    An attribute that the classes show differently by more than half (total variation) is what they are about, or cannot
    be told apart from it, and stays as it is. So does one whose shares in a class differ from the reference's by no
    more than chance would make them (p of 5 %): weighting by noise costs images and gains nothing.

    Args:
        labels: class -> of its images.
        reference: of the images whose shares they are to have; any number.
    """
    used = comparable(labels)
    found = {}
    for name, some in labels.items():
        mine = [column for column in used if _apart([row[column] for row in some], [row[column] for row in reference])]
        found[name] = matching_weights(*([tuple(row[k] for k in mine) for row in rows] for rows in (some, reference)))
    return found


def comparable(labels: Mapping[str, Labels]) -> tuple[int, ...]:
    """Numbers of the attributes that the classes are not about: their shares differ by half at most.

    Args:
        labels: class -> of its images.
    """
    columns = range(len(next((row for some in labels.values() for row in some), ())))
    shown = {column: [_shares([row[column] for row in some]) for some in labels.values()] for column in columns}
    return tuple(
        column
        for column, shares in shown.items()
        if max((_variation(one, other) for one, other in itertools.combinations(shares, 2)), default=0.0) <= _ABOUT
    )


def matching_weights(labels: Labels, reference: Labels) -> np.ndarray:
    """Weights of images, (n,), that sum to n and give every attribute the shares that it has in other images.

    Source: raking, Deming and Stephan (1940); what weighted images are worth after Kish (1965).

    Args:
        labels: of the images.
        reference: of the images whose shares they are to have; any number.

    Returns:
        All ones where there is nothing to weigh by. A class that no image shows cannot be given a share: the others of
        its attribute keep their proportions. Where the weights would be worth fewer than 40 % of the images, they go
        only a part of the way.

    Cost: none to speak of.
    """
    if not labels:
        return np.ones(0)
    weights = np.ones(len(labels))
    columns = [_groups(labels, reference, column) for column in range(len(labels[0]))]
    for _ in range(_ROUNDS):
        for groups in columns:
            judged = sum(weights[shown].sum() for shown, _ in groups)
            for shown, share in groups:
                weights[shown] *= share * judged / weights[shown].sum()
    parts = np.linspace(1, 0, 21)
    mixed = (part * weights + (1 - part) for part in parts)
    found = next(one for one in mixed if worth(one) >= _LEAST_PART * len(labels))
    return np.asarray(found * len(labels) / found.sum())


def worth(weights: np.ndarray) -> float:
    """How many equally weighted images weighted ones are worth (Kish): (sum w)^2 / sum w^2."""
    return float(weights.sum() ** 2 / np.square(weights).sum())


def _groups(labels: Labels, reference: Labels, column: int) -> list[tuple[np.ndarray, float]]:
    """The images of each class of one attribute, and the class's share; nothing where fewer than two classes count."""
    seen = np.array([row[column] or "" for row in labels])
    wanted = Counter(row[column] for row in reference if row[column] is not None and (seen == row[column]).any())
    total = sum(wanted.values())
    return [(seen == name, count / total) for name, count in sorted(wanted.items())] if len(wanted) > 1 else []


def _shares(seen: Sequence[str | None]) -> dict[str, float]:
    judged = Counter(one for one in seen if one is not None)
    return {name: count / judged.total() for name, count in judged.items()}


def _variation(one: Mapping[str, float], other: Mapping[str, float]) -> float:
    """Total variation of two distributions."""
    return sum(abs(one.get(name, 0.0) - other.get(name, 0.0)) for name in {*one, *other}) / 2


def _apart(seen: Sequence[str | None], reference: Sequence[str | None]) -> bool:
    """Whether two sets of labels have other shares than chance would give them."""
    one, other = (Counter(label for label in some if label is not None) for some in (seen, reference))
    names = sorted({*one, *other})
    if len(names) < 2 or not one or not other:
        return False
    table = np.array([[some[name] for name in names] for some in (one, other)])
    expected = table.sum(axis=1, keepdims=True) * table.sum(axis=0) / table.sum()
    return bool(chi2.sf((np.square(table - expected) / expected).sum(), len(names) - 1) < _CHANCE)
