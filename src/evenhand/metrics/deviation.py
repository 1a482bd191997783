"""The debiased deviation over prompts: the headline figure of an audit."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import norm

from .floor import DRAWS, QUANTILE, Floor, fair_shares
from .intervals import CONFIDENCE, Interval, student_t
from .rows import Row

PSEUDO_COUNT = 1.0
"""Added to every class for the variance alone, so that rows that show one class only keep a width."""


def squared_deviation(row: Row, target: Sequence[float]) -> float | None:
    """1/2 (||p - q||^2 - trace of the covariance of p): unbiased for 1/2 ||pi - q||^2, and negative at times.

    For i.i.d. images it is 1/2 sum_k [(p_k - q_k)^2 - p_k (1 - p_k) / (n - 1)]; for two classes its expectation
    is the squared miss of the share. None where a stratum has fewer than two images: then nothing tells the noise.
    """
    covariance = row.covariance() if row.n else None
    if covariance is None:
        return None
    miss = row.shares - np.asarray(target)
    return float(miss @ miss - np.trace(covariance)) / 2


def squared_deviation_variance(row: Row, target: Sequence[float]) -> float:
    """Variance of `squared_deviation` for this row: d^T S d + 1/2 trace(S S), with the miss d and covariance S.

    The first term is that of the linear part, the second that of the quadratic part, which is all there is at the
    target. Both are plugged in; for i.i.d. images this is the U-statistic's variance up to terms of order 1/n^3.
    """
    covariance = row.covariance(PSEUDO_COUNT)
    if covariance is None:
        raise ValueError(f"row {row.name}: a stratum has fewer than two images")
    miss = row.shares - np.asarray(target)
    return float(miss @ covariance @ miss + np.sum(covariance * covariance) / 2)


def deviation(rows: Sequence[Row], target: Sequence[float], confidence: float = CONFIDENCE) -> tuple[float, Interval]:
    """sqrt(max(0, mean of the rows' squared deviations)) and its interval for these prompts.

    The interval is made on the square from the rows' variances, sqrt(sum se^2) / P, and then the root is taken.
    Small samples are not rewarded and opposite biases do not cancel. Every row has a squared deviation.
    """
    mean = float(np.mean(_squares(rows, target)))
    error = math.sqrt(sum(squared_deviation_variance(row, target) for row in rows)) / len(rows)
    half = float(norm.ppf((1 + confidence) / 2)) * error
    # A negative square is noise about 0: the upper limit then starts from 0, so that the interval is never empty.
    return _root(mean), (_root(mean - half), _root(max(mean, 0.0) + half))


def deviation_like_these(rows: Sequence[Row], target: Sequence[float], confidence: float = CONFIDENCE) -> Interval:
    """The interval for prompts like these: Student's t over the rows' squared deviations, then the root."""
    low, high = student_t(_squares(rows, target), confidence)
    return _root(low), _root(high)


def deviation_floor(rows: Sequence[Row], target: Sequence[float], seed: int = 0) -> Floor:
    """Mean and 95 % quantile of the deviation of a perfectly fair sampler with these rows' images."""
    fixed = [row.fair_counts for row in rows]
    if fixed[0] is not None:
        quotas = [np.array(counts) / sum(counts) - np.asarray(target) for counts in fixed if counts is not None]
        value = math.sqrt(float(np.mean([miss @ miss / 2 for miss in quotas])))
        return value, value
    total = np.zeros(DRAWS)
    for position, row in enumerate(rows):
        shares = fair_shares(row.n, target, seed, position)
        noise = (1 - np.sum(shares**2, axis=1)) / (row.n - 1)
        total += (np.sum((shares - np.asarray(target)) ** 2, axis=1) - noise) / 2
    values = np.sqrt(np.maximum(total / len(rows), 0.0))
    return float(values.mean()), float(np.quantile(values, QUANTILE))


def _squares(rows: Sequence[Row], target: Sequence[float]) -> list[float]:
    found = [squared_deviation(row, target) for row in rows]
    return [value for value in found if value is not None]


def _root(square: float) -> float:
    return math.sqrt(max(0.0, square))
