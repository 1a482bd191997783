"""The interval of a mean of independent rates: Wilson's, at the number of images that would vary as much.

Wilson's intervals of single rows lean towards one half. Squared and added over rows they keep that lean while the mean
loses its own, and near 0 and 1 they cover .83 to .93 instead of .95.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Hashable, Sequence

import numpy as np

from .intervals import CONFIDENCE, Interval, score_interval, two_sided


@dataclasses.dataclass(frozen=True)
class Part:
    """A count of independent images that goes into a mean.

    Args:
        count: images that show it.
        size: of so many; 1 or more.
        weight: of its rate in the mean; the weights of all parts sum to 1.
        kind: parts of one kind have rates that are alike.
    """

    count: int
    size: int
    weight: float
    kind: Hashable = None


def mean_rate(parts: Sequence[Part], confidence: float = CONFIDENCE) -> Interval:
    """The interval of sum w k / n.

    The effective size is m (1 - m) / V with the variance V = sum w^2 r (1 - r) / n, so that parts of unlike rates,
    which take variance away, sharpen the interval (Korn and Graubard 1998 for surveys; Dean and Pagano 2015). In V
    every rate r is drawn to that of its kind by the weight of an image, and by two images per kind to one half: parts
    that show a thing never or always would else pretend to have no variance. With one part it is Wilson's.

    Args:
        parts: one or more.
        confidence: two-sided level.
    """
    k, n, w = (np.array([getattr(one, name) for one in parts], dtype=float) for name in ("count", "size", "weight"))
    value, z = float(w @ (k / n)), two_sided(confidence)
    alike = 1 / float(np.sum(w**2 / n))
    if not k.any() or (k == n).all():  # by the counts: weights of a fourteenth do not sum to 1 in the last digit
        return score_interval(float(k.any()), alike, z)
    if len(parts) == 1:
        return score_interval(value, alike, z)
    spread = value * (1 - value)
    own = {kind: [one for one in parts if one.kind == kind] for kind in dict.fromkeys(one.kind for one in parts)}
    alone = np.array([1 / len(own[one.kind]) for one in parts])
    towards = np.array([_halved(own[one.kind]) for one in parts])
    rate = (k + towards + alone) / (n + 1 + 2 * alone)
    unbiased = 1 + (1 - 1 / len(parts)) / np.maximum(n - 1, 1)
    return score_interval(value, spread / float(np.sum(w**2 * rate * (1 - rate) / n * unbiased)), z)


def _halved(parts: Sequence[Part]) -> float:
    """The rate of all together, drawn to one half by an image: never 0 or 1."""
    return (sum(one.count for one in parts) + 0.5) / (sum(one.size for one in parts) + 1)
