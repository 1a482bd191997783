"""What a perfectly fair sampler scores at the same sample sizes: the mean and the 95 % quantile of an index.

Under i.i.d. allocation it draws every image from the target. Under stratified allocation it shows what it was asked
for, and its score is that of the quotas alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import lru_cache

import numpy as np
from scipy.stats import binom

from .indices import INDICES, Index
from .rows import Row

QUANTILE = 0.95
DRAWS = 20_000
"""Fair runs simulated where there is no closed form; the mean then has an error of about .0005."""

Floor = tuple[float, float]


def row_floor(index: Index, row: Row, target: Sequence[float], seed: int = 0) -> Floor | None:
    """Mean and 95 % quantile of `index` for a fair sampler with this row's images; None where it has none.

    Two classes are enumerated, more are simulated `DRAWS` times from `seed`; cached.
    """
    if not row.n or not index.defined(target):
        return None
    if row.fair_counts is not None:
        value = float(index(np.array(row.fair_counts) / row.n, target))
        return value, value
    return _iid_floor(index.name, row.n, tuple(target), seed)


def mean_floor(index: Index, rows: Sequence[Row], target: Sequence[float], seed: int = 0) -> Floor | None:
    """The same for the mean of the index over the rows that have images."""
    used = [row for row in rows if row.n]
    if not used or not index.defined(target):
        return None
    means = [found[0] for found in (row_floor(index, row, target, seed) for row in used) if found]
    if used[0].fair_counts is not None:
        value = float(np.mean(means))
        return value, value
    sizes = tuple(sorted(row.n for row in used))
    return float(np.mean(means)), _mean_quantile(index.name, sizes, tuple(target), seed)


@lru_cache(maxsize=1024)
def _iid_floor(name: str, n: int, target: tuple[float, ...], seed: int) -> Floor:
    index = _named(name)
    if len(target) == 2:
        first = np.arange(n + 1) / n
        values, weights = (
            index(np.stack([first, 1 - first], axis=-1), target),
            binom.pmf(np.arange(n + 1), n, target[0]),
        )
    else:
        values, weights = index(fair_shares(n, target, seed), target), np.full(DRAWS, 1 / DRAWS)
    order = np.argsort(values)
    # The smallest value that a fair run stays within with the wanted probability; 1e-9 forgives rounding.
    place = int(np.searchsorted(np.cumsum(weights[order]), QUANTILE - 1e-9))
    return float(weights @ values), float(values[order][place])


@lru_cache(maxsize=256)
def _mean_quantile(name: str, sizes: tuple[int, ...], target: tuple[float, ...], seed: int) -> float:
    index = _named(name)
    total = np.zeros(DRAWS)
    for position, n in enumerate(sizes):
        total += index(fair_shares(n, target, seed, position), target)
    return float(np.quantile(total / len(sizes), QUANTILE))


def fair_shares(n: int, target: Sequence[float], seed: int, position: int = 0) -> np.ndarray:
    """Shares of `DRAWS` fair rows of n images, shape (DRAWS, K); `position` numbers independent rows."""
    return np.random.default_rng([seed, position, n]).multinomial(n, np.asarray(target), size=DRAWS) / n


def _named(name: str) -> Index:
    return next(index for index in INDICES if index.name == name)
