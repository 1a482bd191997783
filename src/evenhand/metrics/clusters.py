"""Rows that are not independent: prompts that stand in a set more than once are one cluster of rows."""

from __future__ import annotations

import math
from collections.abc import Hashable, Iterator, Sequence

import numpy as np
from scipy.stats import t

from .intervals import CONFIDENCE, Interval


def clustered_t(values: Sequence[float], clusters: Sequence[Hashable], confidence: float = CONFIDENCE) -> Interval:
    """The interval of the mean of values whose clusters are independent, by Student's t with G - 1 degrees of freedom.

    The variance is G / (G - 1) sum_g (sum of g's values - n_g mean)^2 / n^2, that of a ratio of cluster totals
    (Cochran, Sampling Techniques, section 9A.1). With clusters of one value each it is the usual interval.

    Args:
        values: one per row; their clusters are two or more.
        clusters: what each row belongs to.
        confidence: two-sided level.

    Raises: ValueError for fewer than two clusters.
    """
    groups = _places(clusters)
    if len(groups) < 2:
        raise ValueError(f"{len(groups)} cluster; expected two or more")
    points = np.asarray(values, dtype=float)
    mean, count = float(points.mean()), len(groups)
    misses = np.array([float((points[places] - mean).sum()) for places in groups])
    error = math.sqrt(count / (count - 1) * float((misses**2).sum())) / len(points)
    half = float(t.ppf((1 + confidence) / 2, count - 1)) * error
    return mean - half, mean + half


def cluster_draws(clusters: Sequence[Hashable], draws: int, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Places of rows, `draws` times: as many clusters as there are, with replacement, each with all of its rows."""
    groups = _places(clusters)
    for _ in range(draws):
        yield np.concatenate([groups[k] for k in rng.integers(0, len(groups), len(groups))])


def _places(clusters: Sequence[Hashable]) -> list[np.ndarray]:
    found: dict[Hashable, list[int]] = {}
    for place, one in enumerate(clusters):
        found.setdefault(one, []).append(place)
    return [np.asarray(places) for places in found.values()]
