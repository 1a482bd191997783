"""Paired comparisons: the same seeds without and with an intervention."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
from scipy.stats import binomtest, chi2, norm

from .deviation import deviation
from .intervals import CONFIDENCE, Interval, score_interval, two_sided, wilson
from .rows import Row


def paired_difference(
    before: Sequence[bool], after: Sequence[bool], confidence: float = CONFIDENCE
) -> tuple[float, Interval]:
    """Change of a rate over pairs, after less before, with Newcombe's hybrid score interval for pairs.

    Source: Newcombe, Improved confidence intervals for the difference between binomial proportions based on paired
    data (Statistics in Medicine 1998), method 10: Wilson's intervals of the two rates are squared and added, less the
    part that their correlation takes away; the correlation is continuity corrected where it is positive.

    Args:
        before, after: one truth value per pair, in the same order; one pair or more.
        confidence: two-sided level.
    """
    if len(before) != len(after) or not before:
        raise ValueError(f"{len(before)} and {len(after)} values; expected pairs, one or more")
    return _newcombe(*_table(before, after), two_sided(confidence))


def _table(before: Sequence[bool], after: Sequence[bool]) -> tuple[int, int, int, int]:
    """Pairs that are true in both, only after, only before, and in none."""
    one, two = np.asarray(after, dtype=bool), np.asarray(before, dtype=bool)
    return int((one & two).sum()), int((one & ~two).sum()), int((~one & two).sum()), int((~one & ~two).sum())


def _newcombe(a: int, b: int, c: int, d: int, z: float) -> tuple[float, Interval]:
    n = a + b + c + d
    first, second = (a + b) / n, (a + c) / n
    value = first - second
    low1, high1 = score_interval(first, n, z)
    low2, high2 = score_interval(second, n, z)
    phi = _correlation(a, b, c, d)
    below = _root((first - low1) ** 2 - 2 * phi * (first - low1) * (high2 - second) + (high2 - second) ** 2)
    above = _root((second - low2) ** 2 - 2 * phi * (second - low2) * (high1 - first) + (high1 - first) ** 2)
    return value, (max(value - below, -1.0), min(value + above, 1.0))


def _correlation(a: int, b: int, c: int, d: int) -> float:
    """Newcombe's corrected phi: n / 2 is taken from a positive ad - bc, which stays at 0 or above; 0 at a margin."""
    product = (a + b) * (c + d) * (a + c) * (b + d)
    if product == 0:
        return 0.0
    cross = a * d - b * c
    if cross > 0:
        cross = max(cross - (a + b + c + d) / 2, 0)
    return cross / math.sqrt(product)


def paired_ratio(
    before: Sequence[bool], after: Sequence[bool], confidence: float = CONFIDENCE
) -> tuple[float | None, tuple[float, float | None]]:
    """Ratio of a rate over pairs, after over before, with Bonett and Price's hybrid score interval.

    Source: Bonett and Price, Confidence intervals for a ratio of binomial proportions based on paired data (Statistics
    in Medicine 2006): Wilson's intervals of the two rates among the pairs that show it at least once, at a level that
    makes their quotient hold the wanted one.

    Args:
        before, after: one truth value per pair, in the same order; one pair or more.
        confidence: two-sided level.

    Returns:
        The ratio, None where `before` never shows it, and its interval; the upper limit is None where it is unbounded.
    """
    if len(before) != len(after) or not before:
        raise ValueError(f"{len(before)} and {len(after)} values; expected pairs, one or more")
    one, two = np.asarray(after, dtype=bool), np.asarray(before, dtype=bool)
    first, second, either = int(one.sum()), int(two.sum()), int((one | two).sum())
    if either == 0:
        return None, (0.0, None)
    changed = int((one ^ two).sum())
    errors = [math.sqrt((1 - (k + 1) / (either + 2)) / (k + 1)) for k in (first, second)]
    z = float(norm.ppf((1 + confidence) / 2)) * math.sqrt((changed + 2) / ((first + 1) * (second + 1))) / sum(errors)
    level = float(2 * norm.cdf(z) - 1)
    (low1, high1), (low2, high2) = (wilson(k, either, level) for k in (first, second))
    return first / second if second else None, (low1 / high2, high1 / low2 if low2 > 0 else None)


def mcnemar(before: Sequence[bool], after: Sequence[bool]) -> float:
    """The exact two-sided p-value of McNemar's test: among the pairs that changed, is either way as likely?"""
    up = sum(1 for old, new in zip(before, after, strict=True) if new and not old)
    down = sum(1 for old, new in zip(before, after, strict=True) if old and not new)
    return float(binomtest(up, up + down).pvalue) if up + down else 1.0


def stuart_maxwell(before: Sequence[str], after: Sequence[str]) -> float:
    """The p-value of equal shares of all classes before and after, over pairs.

    Source: Stuart (Biometrika 1955) and Maxwell (British Journal of Psychiatry 1970): with the differences d of the two
    margins, all classes but one, d' V^-1 d has a chi-squared distribution, V_kk = n_k. + n_.k - 2 n_kk and
    V_kl = -(n_kl + n_lk). For two classes it is McNemar's test without its exact tail.
    """
    names = sorted({*before, *after})
    place = {name: k for k, name in enumerate(names)}
    table = np.zeros((len(names), len(names)))
    for old, new in zip(before, after, strict=True):
        table[place[old], place[new]] += 1
    changes = table.sum(axis=1) - table.sum(axis=0)
    both = table + table.T
    variance = np.diag(both.sum(axis=1)) - both
    # the classes fall into groups between which no pair moved; each group's differences sum to 0
    freedom = int(np.linalg.matrix_rank(variance))
    if freedom == 0:
        return 1.0
    return float(chi2.sf(changes @ np.linalg.pinv(variance) @ changes, freedom))


Pairs = tuple[Sequence[bool], Sequence[bool]]
"""Before and after, one truth value per pair."""


def mean_difference(rows: Sequence[Pairs], confidence: float = CONFIDENCE) -> tuple[float, Interval]:
    """The mean of the rows' changes, with their intervals added at the level at which the sum holds the wanted one.

    Source: Yan and Su, Stratified Wilson and Newcombe confidence intervals for multiple binomial proportions
    (Statistics in Biopharmaceutical Research 2010), with the interval for pairs in place of that for two samples: rows
    have intervals at z' = z sqrt(sum s^2) / sum s, where s is the half-width of each at z, and their ends are averaged.
    Intervals that are squared and added instead keep each row's lean while the mean loses its own, and cover .88 where
    a rate moves from nearly never to nearly always. For short rows z' is raised so that their variances are unbiased.
    One row has its own interval.

    Args:
        rows: one or more, each of one pair or more.
        confidence: two-sided level.
    """
    z, tables = two_sided(confidence), [_table(*row) for row in rows]
    values, bounds = zip(*(_newcombe(*one, z) for one in tables), strict=True)
    if len(rows) == 1:
        return values[0], bounds[0]
    halves = np.array([high - low for low, high in bounds]) / 2
    z *= float(np.sqrt((halves**2).sum()) / halves.sum())
    sizes = [max(sum(one) - 1, 1) for one in tables]
    ends = [
        _newcombe(*one, z * math.sqrt(1 + (1 - 1 / len(rows)) / size))[1]
        for one, size in zip(tables, sizes, strict=True)
    ]
    mean, low, high = (float(np.mean(some)) for some in (values, *zip(*ends, strict=True)))
    return mean, (min(low, mean), max(high, mean))


def squared_deviation_change(
    before: Sequence[Sequence[int]], after: Sequence[Sequence[int]], target: Sequence[float]
) -> tuple[float, float]:
    """Change of the mean squared debiased deviation over prompts, and its standard error over the pairs.

    Args:
        before, after: per prompt the class number of every pair's image, in the same order; two pairs or more each.
        target: one share per class.

    The error is a jackknife over the pairs of each prompt, so that what the two arms have in common cancels. Of two
    pairs, which leave one each, the square of the prompt's change stands for its variance: it is that where nothing
    changed, and more where something did. The error is at least that of two pairs that had moved from class to class:
    where none moved the next two may.
    """
    changes, variances, least = [], [], []
    for old, new in zip(before, after, strict=True):
        changes.append(_squared(new, target) - _squared(old, target))
        variances.append(_jackknife(old, new, target) if len(old) > 2 else changes[-1] ** 2)
        least.append(2 * _moved(old, new, target))
    return float(np.mean(changes)), math.sqrt(max(sum(variances), float(np.mean(least)))) / len(changes)


def _jackknife(old: Sequence[int], new: Sequence[int], target: Sequence[float]) -> float:
    n = len(old)
    left = [_squared([*new[:i], *new[i + 1 :]], target) - _squared([*old[:i], *old[i + 1 :]], target) for i in range(n)]
    return (n - 1) / n * float(np.sum((np.asarray(left) - np.mean(left)) ** 2))


def _moved(old: Sequence[int], new: Sequence[int], target: Sequence[float]) -> float:
    """Variance of the square where one of n pairs moved: (d_k - d_l)^2 / n^2 + 2 / n^4, with the miss d.

    It is d^T S d + 1/2 trace(S S), as for one arm, with S = e e^T of the move e = (1_k - 1_l) / n; the mean over all
    pairs of classes k and l, for which that of (d_k - d_l)^2 is 2 |d|^2 / (K - 1), and over the two arms.
    """
    n, classes = len(old), len(target)
    misses = [np.bincount(np.asarray(one), minlength=classes) / n - np.asarray(target) for one in (old, new)]
    return float(np.mean([2 * miss @ miss / (classes - 1) for miss in misses])) / n**2 + 2 / n**4


def _squared(labels: Sequence[int], target: Sequence[float]) -> float:
    """1/2 sum_k [(p_k - q_k)^2 - p_k (1 - p_k) / (n - 1)]."""
    return float(_squares(np.bincount(np.asarray(labels), minlength=len(target)) / len(labels), len(labels), target))


def _squares(shares: np.ndarray, n: int, target: Sequence[float]) -> np.ndarray:
    """The same from shares of shape (..., classes) of n images each."""
    miss = shares - np.asarray(target)
    return ((miss**2).sum(axis=-1) - (shares * (1 - shares)).sum(axis=-1) / (n - 1)) / 2


def deviation_change(
    before: Sequence[Sequence[int]],
    after: Sequence[Sequence[int]],
    target: Sequence[float],
    confidence: float = CONFIDENCE,
) -> tuple[float, Interval]:
    """Change of the debiased deviation over prompts, b - a, with its interval.

    Its ends are the least and the largest b - a with b^2 - a^2 within the interval of the squares, which knows what the
    arms have in common, and with a and b within their own intervals. The first alone, divided by a + b, is too narrow
    where one arm is near the target and the other is not: a root near 0 is known badly.
    """
    change, error = squared_deviation_change(before, after, target)
    half = float(norm.ppf((1 + confidence) / 2)) * error
    first, second = (_alone(rows, target, confidence) for rows in (before, after))
    value = second[0] - first[0]
    low = -_farthest(half - change, second[1], first[1])
    return value, (min(value, low), max(value, _farthest(change + half, first[1], second[1])))


def _alone(rows: Sequence[Sequence[int]], target: Sequence[float], confidence: float) -> tuple[float, Interval]:
    """One arm's deviation by itself."""
    classes = tuple(map(str, range(len(target))))
    counts = [tuple(np.bincount(np.asarray(labels), minlength=len(target)).tolist()) for labels in rows]
    own = [Row(name="", classes=classes, strata=(one,), assigned=(None,), abstained=0) for one in counts]
    return deviation(own, target, confidence)


def _farthest(square: float, start: Interval, end: Interval) -> float:
    """The largest y - x with y^2 - x^2 at most `square`, x within `start` and y at most at the upper end of `end`."""
    if square >= 0:  # the further from 0, the less the same squares are apart
        return min(end[1], math.sqrt(square + start[0] ** 2)) - start[0]
    least = max(start[0], math.sqrt(-square))
    x = max(least, min(start[1], math.sqrt(end[1] ** 2 - square)))
    return math.sqrt(max(x * x + square, 0.0)) - x


def swap_test(
    before: Sequence[Sequence[int]],
    after: Sequence[Sequence[int]],
    target: Sequence[float],
    *,
    draws: int = 999,
    seed: int = 0,
) -> float:
    """The p-value of no change in deviation: the arms of each pair are swapped at random, within prompts.

    Cost: `draws` times the pairs.
    """
    rng = np.random.default_rng([seed, 31])
    seen, swapped = 0.0, np.zeros(draws)
    for old, new in zip(before, after, strict=True):
        first, second = (np.eye(len(target))[np.asarray(one)] for one in (old, new))
        seen += float(_squares(second.mean(axis=0), len(old), target) - _squares(first.mean(axis=0), len(old), target))
        # a pair that is swapped takes its difference from one arm's counts to the other's
        moved = (rng.random((draws, len(old))) < 0.5) @ (second - first) / len(old)
        swapped += _squares(second.mean(axis=0) - moved, len(old), target)
        swapped -= _squares(first.mean(axis=0) + moved, len(old), target)
    return float(1 + (np.abs(swapped) >= abs(seen) - 1e-12).sum()) / (1 + draws)


def _root(square: float) -> float:
    return math.sqrt(max(square, 0.0))
