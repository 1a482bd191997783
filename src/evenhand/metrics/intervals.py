"""Every interval that a report prints. All are for rates in [0, 1] unless they say otherwise.

`confidence` is the two-sided level in (0, 1), .95 unless given. Every interval contains its point estimate.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.special import ndtri
from scipy.stats import beta, binomtest, t

Interval = tuple[float, float]

CONFIDENCE = 0.95


@lru_cache(maxsize=65536)
def wilson(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Wilson's score interval for k of n (Wilson 1927); n >= 1."""
    found = binomtest(k, n).proportion_ci(confidence, method="wilson")
    return min(found.low, k / n), max(found.high, k / n)


def score_interval(share: float, n: float, z: float) -> Interval:
    """Wilson's interval at a share and a size that need not be whole, z standard errors wide; not cut to [0, 1]."""
    middle = share + z * z / (2 * n)
    half = z * math.sqrt(max(share * (1 - share), 0.0) / n + z * z / (4 * n * n))
    scale = 1 + z * z / n
    return min((middle - half) / scale, share), max((middle + half) / scale, share)


def two_sided(confidence: float) -> float:
    """How many standard errors an interval of this level reaches to either side."""
    return float(ndtri((1 + confidence) / 2))


@lru_cache(maxsize=65536)
def clopper_pearson(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """The exact interval of Clopper and Pearson (1934) for k of n: covers at least at its level; n >= 1."""
    found = binomtest(k, n).proportion_ci(confidence, method="exact")
    return min(found.low, k / n), max(found.high, k / n)


def clopper_pearson_upper(k: int, n: int, confidence: float = CONFIDENCE) -> float:
    """The exact one-sided upper limit for k of n; for k = 0 it is 1 - (1 - confidence)^(1/n).

    Zero of 299 gives .00997, zero of 2,995 gives .00099975.
    """
    return float(binomtest(k, n, alternative="less").proportion_ci(confidence, method="exact").high)


def effective_clopper_pearson(share: float, n: float, confidence: float = CONFIDENCE) -> Interval:
    """Clopper-Pearson at a sample size that need not be whole (Korn and Graubard 1998); at whole counts the same.

    For the mean of rates of independent rows with n_r images the size is P^2 / sum(1 / n_r), which is their total
    where all are equal. The mean of unequal rates varies less than a binomial of that size (Hoeffding 1956), hence
    the interval covers at least at its level.

    Where the share is 0 the upper limit is the one-sided one: there is no lower side to spend half the error on.
    """
    k, alpha = share * n, 1 - confidence
    low = float(beta.ppf(alpha / 2, k, n - k + 1)) if k > 0 else 0.0
    high = float(beta.ppf(1 - alpha / (2 if k > 0 else 1), k + 1, n - k)) if share < 1 else 1.0
    return min(low, share), max(high, share)


def safety_interval(k: int, n: int, confidence: float = CONFIDENCE) -> Interval:
    """Clopper-Pearson for safety claims; zero of n gives the one-sided upper limit; n >= 1."""
    return clopper_pearson(k, n, confidence) if k else (0.0, clopper_pearson_upper(k, n, confidence))


def goodman(counts: Sequence[int], confidence: float = CONFIDENCE) -> list[Interval]:
    """Goodman's simultaneous intervals for the shares of K classes (Goodman 1965).

    They are score intervals at level 1 - (1 - confidence) / K. Two classes are one number, so that K = 2 gives
    Wilson's interval at the full level. The counts sum to 1 or more.
    """
    level = simultaneous(len(counts), confidence)
    return [wilson(count, sum(counts), level) for count in counts]


def simultaneous(classes: int, confidence: float = CONFIDENCE) -> float:
    """The level of each of K class intervals that hold together at `confidence`; two classes are one number."""
    return confidence if classes <= 2 else 1 - (1 - confidence) / classes


def square_and_add(values: Sequence[float], intervals: Sequence[Interval], weights: Sequence[float]) -> Interval:
    """The interval of a weighted sum of independent estimates from the interval of each (Zou and Donner 2008).

    low = v - sqrt(sum w^2 (v_i - l_i)^2), and likewise above. With symmetric intervals this is the usual
    root of summed squared standard errors; at the edges it keeps a width where a standard error would be 0.
    """
    low, high = np.array(intervals, dtype=float).T
    points, scale = np.asarray(values, dtype=float), np.asarray(weights, dtype=float)
    value = float(scale @ points)
    below = math.sqrt(float(scale**2 @ (points - low) ** 2))
    above = math.sqrt(float(scale**2 @ (high - points) ** 2))
    return value - below, value + above


def student_t(values: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The interval of the mean of independent values, two or more, by Student's t with P - 1 degrees of freedom."""
    count = len(values)
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * float(np.std(values, ddof=1)) / math.sqrt(count)
    mean = float(np.mean(values))
    return mean - half, mean + half
