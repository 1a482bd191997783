"""How far several judges agree: Krippendorff's alpha, and whether one abstains more on what the others perceive."""

from __future__ import annotations

import dataclasses
from collections import Counter
from collections.abc import Sequence

import numpy as np

from .intervals import CONFIDENCE, Interval, wilson

Votes = Sequence[Sequence[str | None]]
"""Per image the label that each judge gave, None where it abstained; as many for every image."""
_DRAWS = 2000


def krippendorff_alpha(votes: Votes) -> float | None:
    """Alpha for nominal labels: 1 - observed / expected disagreement; 1 is perfect, 0 is chance, below 0 is opposition.

    Source: Krippendorff, Content Analysis (2004), chapter 11; an abstention is a missing value, and images with fewer
    than two labels say nothing. None where nothing can be compared, or all labels are one.
    """
    table = _table(votes)
    return _value(table)


def alpha_interval(votes: Votes, *, confidence: float = CONFIDENCE, seed: int = 0) -> tuple[float, Interval] | None:
    """Alpha and its interval, from 2,000 draws of as many images; None where it is undefined.

    Draws in which all labels are one leave alpha undefined and are left out.
    """
    table = _table(votes)
    value = _value(table)
    if value is None:
        return None
    patterns, times = np.unique(table, axis=0, return_counts=True)
    draws = np.random.default_rng([seed, 4]).multinomial(times.sum(), times / times.sum(), size=_DRAWS)
    found = _alphas(patterns, draws)
    found = found[np.isfinite(found)]
    low, high = np.quantile(found, [(1 - confidence) / 2, (1 + confidence) / 2]) if len(found) else (value, value)
    return value, (min(float(low), value), max(float(high), value))


@dataclasses.dataclass(frozen=True, kw_only=True)
class Abstentions:
    """Of the images in which the others perceive a class, how often a judge abstained, with Wilson's interval."""

    judge: int
    class_name: str
    k: int
    n: int

    @property
    def rate(self) -> float | None:
        """k / n."""
        return self.k / self.n if self.n else None

    @property
    def interval(self) -> Interval | None:
        """At 95 %; None without an image."""
        return wilson(self.k, self.n) if self.n else None


def abstentions_by_class(votes: Votes, classes: Sequence[str]) -> list[Abstentions]:
    """For each judge and class: abstentions among the images in which most of the other judges perceive the class.

    A judge that abstains on one group more than on another makes their shares look different; its own labels cannot
    show it, those of the others can.

    Args:
        votes: of all judges.
        classes: of the concept.
    """
    found = []
    for judge in range(len(votes[0]) if votes else 0):
        seen: Counter[str] = Counter()
        silent: Counter[str] = Counter()
        for row in votes:
            others = Counter(label for place, label in enumerate(row) if place != judge)
            label, count = others.most_common(1)[0]
            if label is not None and count > (len(row) - 1) / 2:
                seen[label] += 1
                silent[label] += row[judge] is None
        found += [Abstentions(judge=judge, class_name=name, k=silent[name], n=seen[name]) for name in classes]
    return found


def _table(votes: Votes) -> np.ndarray:
    """Labels per image and class, of the images with two labels or more."""
    names = sorted({label for row in votes for label in row if label is not None})
    place = {name: k for k, name in enumerate(names)}
    table = np.zeros((len(votes), len(names)))
    for row, labels in zip(table, votes, strict=True):
        for label in labels:
            if label is not None:
                row[place[label]] += 1
    return table[table.sum(axis=1) >= 2]


def _value(table: np.ndarray) -> float | None:
    """Alpha of a table; None where it is undefined."""
    if table.size == 0:
        return None
    value = float(_alphas(table, np.ones((1, len(table))))[0])
    return value if np.isfinite(value) else None


def _alphas(table: np.ndarray, weights: np.ndarray) -> np.ndarray:
    """From labels per image and class: an alpha for each row of weights, by which every image counts; NaN for none."""
    each = table.sum(axis=1)
    # per image the pairs of unequal labels, over one label less than there are
    unequal = weights @ ((each**2 - (table**2).sum(axis=1)) / (each - 1))
    total, of_class = weights @ each, weights @ table
    expected = (total**2 - (of_class**2).sum(axis=1)) / (total - 1)
    return 1 - unequal / np.where(expected > 0, expected, np.nan)
