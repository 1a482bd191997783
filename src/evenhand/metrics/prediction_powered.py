"""Rates from a judge's readings of all images and a human's labels of a random sample of them.

The sample says how far the readings are off; the readings of the others make the answer sharper than the sample alone
could. With a reading f and a label y of the sampled images, drawn with known probabilities, the rate is

    mean over all of L f  +  weighted mean over the sample of (y - L f)

(Angelopoulos et al., Science 382, 2023; in surveys the difference estimator). It is unbiased for every judge and every
L; L is chosen for the least variance (Angelopoulos et al., arXiv:2311.01453), so that a judge of no use is left out by
itself. Readings and labels need not be right about what they leave open: the rate is that among images which show any
class at all.
"""

from __future__ import annotations

import dataclasses

import numpy as np
from scipy.stats import t

from .intervals import CONFIDENCE, Interval

FEWEST_LABELS = 10
"""Below this many nothing is calibrated: the sample does not tell how far it may be off."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Labelled:
    """Readings of all images, and labels of some.

    Args:
        read: what the judge reads, shape (N, 2): whether it is the class, whether it is any class; 0 or 1.
        group: number of the prompt row of each image, shape (N,).
        place: of the labelled images among all, shape (m,).
        seen: what the human sees in them, shape (m, 2), as `read`.
        chance: with which each labelled image was drawn into the sample, shape (m,), in (0, 1].
    """

    read: np.ndarray
    group: np.ndarray
    place: np.ndarray
    seen: np.ndarray
    chance: np.ndarray

    def row(self, group: int) -> Labelled:
        """That of one prompt row alone."""
        kept = np.flatnonzero(self.group == group)
        chosen = self.group[self.place] == group
        return Labelled(
            read=self.read[kept],
            group=self.group[kept],
            place=np.searchsorted(kept, self.place[chosen]),
            seen=self.seen[chosen],
            chance=self.chance[chosen],
        )


def prediction_powered(data: Labelled, confidence: float = CONFIDENCE) -> tuple[float, Interval] | None:
    """The rate of the class, every prompt row with the same weight, and its interval for these prompts.

    The variance has two parts: that of the images which were made, and that of which of them were labelled. One
    disagreement of each kind is added to the latter, so that a sample in which judge and human agree throughout does
    not pretend to know that they always do. None below ten labels, or where no image shows any class.

    Args:
        data: readings and labels.
        confidence: two-sided level.
    """
    groups, sizes = np.unique(data.group, return_counts=True)
    if len(data.place) < FEWEST_LABELS:
        return None
    share = 1 / (len(groups) * sizes)
    weight = share[np.searchsorted(groups, data.group)]
    drawn = weight[data.place] / data.chance
    drawn = drawn / drawn.sum()
    read, seen = data.read.astype(float), data.seen.astype(float)
    rate = _ratio(read, seen, data.place, weight, drawn, 1.0)
    if rate is None:
        return None
    power = _power(read[data.place], seen, drawn, rate)
    rate = _ratio(read, seen, data.place, weight, drawn, power)
    if rate is None:
        return None
    shown = float(drawn @ seen[:, 1])
    made = _variance_of_images(read, data.group, groups, sizes)
    which = _variance_of_sample(read[data.place], seen, drawn, data.chance, rate, power)
    half = float(t.ppf((1 + confidence) / 2, len(data.place) - 1)) * np.sqrt(made + which) / shown
    value = min(1.0, max(0.0, rate))
    return value, (max(0.0, min(rate - half, value)), min(1.0, max(rate + half, value)))


def _ratio(
    read: np.ndarray, seen: np.ndarray, place: np.ndarray, weight: np.ndarray, drawn: np.ndarray, power: float
) -> float | None:
    """Images of the class over images of any class, both calibrated; None where there are none of the latter."""
    found = power * (weight @ read) + drawn @ (seen - power * read[place])
    return float(found[0] / found[1]) if found[1] > 1e-9 else None


def _power(read: np.ndarray, seen: np.ndarray, drawn: np.ndarray, rate: float) -> float:
    """L in [0, 1]: the regression of what is seen on what is read, in the sample and one disagreement of each kind."""
    extra = drawn.mean()
    weight = np.append(drawn, [extra, extra])
    x = np.append(read[:, 0] - rate * read[:, 1], [1 - rate, -rate])
    y = np.append(seen[:, 0] - rate * seen[:, 1], [-rate, 1 - rate])
    x, y = x - np.average(x, weights=weight), y - np.average(y, weights=weight)
    spread = float(weight @ x**2)
    return min(1.0, max(0.0, float(weight @ (x * y)) / spread)) if spread > 0 else 0.0


def _variance_of_images(read: np.ndarray, group: np.ndarray, groups: np.ndarray, sizes: np.ndarray) -> float:
    """That of the rate if all images were labelled, from the readings of each row."""
    total = 0.0
    for one, size in zip(groups, sizes, strict=True):
        share = (read[group == one, 0].sum() + 1) / (size + 2)
        total += share * (1 - share) / size
    return float(total) / len(groups) ** 2


def _variance_of_sample(
    read: np.ndarray, seen: np.ndarray, drawn: np.ndarray, chance: np.ndarray, rate: float, power: float
) -> float:
    """That which comes from labelling these images and not others; 0 where all are labelled."""
    error = seen[:, 0] - rate * seen[:, 1] - power * (read[:, 0] - rate * read[:, 1])
    error = error - drawn @ error
    m, part = len(drawn), drawn**2 * (1 - chance)
    if not part.any():
        return 0.0
    square = float(part @ error**2) / float(part.sum())
    false = (1 - rate + power * rate) ** 2 + (rate + power * (1 - rate)) ** 2
    return float(part.sum()) * (m * square + false) / (m + 1)
