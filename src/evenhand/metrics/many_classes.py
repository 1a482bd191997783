"""Shares of three classes and more, corrected for a judge that mistakes classes for each other.

A judge that answers class j to pictures of class k at a rate M_kj reads shares r = p M. The shares behind a reading are
those of the simplex under which it is most likely, which is the inverse of M where that lies in the simplex.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from .classifier_error import corrected_rates
from .intervals import CONFIDENCE, Interval

_ROUNDS, _CLOSE, _LEAST = 1000, 1e-8, 1e-5


def corrected_shares(
    counts: Sequence[float], matrix: Sequence[Sequence[int]], confidence: float = CONFIDENCE
) -> list[tuple[float, Interval]] | None:
    """The share of every class among the images that were judged, with an interval.

    A class is set against all others together: they are read as it at the mean of their rates, weighted by their own
    shares, and that mean was counted on as many pictures as give it its variance. With these the interval is Lang and
    Reiczigel's, so that it holds what is not known of the judge's errors and keeps its level at shares near 0.

    Args:
        counts: images that were read as each class; they need not be whole, and are 1 or more in all.
        matrix: what the judge answers to pictures of each class: K true classes by K + 1 answers, the last an
            abstention, which counts neither here nor among the images.
        confidence: two-sided level of each class.

    Returns: None where the judge knows nothing of a class, or reads one as another at least as often as as itself.
    """
    read = np.asarray(matrix, dtype=float)[:, :-1]
    shown = read.sum(axis=1)
    if (shown == 0).any() or (np.diag(read)[:, None] <= read - np.diag(np.diag(read))).any():
        return None
    shares = _most_likely(np.asarray(counts, dtype=float), read / shown[:, None])
    rates = (read + 0.5) / (shown + 1)[:, None]
    found = []
    for k, share in enumerate(shares):
        others = [j for j in range(len(shares)) if j != k]
        weight = shares[others] + 1e-3 * shown[others] / shown[others].sum()
        weight /= weight.sum()
        false = float(weight @ rates[others, k])
        variance = float(weight**2 @ (rates[others, k] * (1 - rates[others, k]) / shown[others]))
        size = false * (1 - false) / variance
        raised = float(weight @ (read[others, k] / shown[others])) * size
        n = float(np.sum(counts))
        rate, low, high = corrected_rates(counts[k], n, read[k, k], shown[k], size - raised, size, confidence)
        if not np.isfinite(rate):
            return None
        value = float(share)
        found.append((value, (min(float(low), value), max(float(high), value))))
    return found


def _most_likely(counts: np.ndarray, rates: np.ndarray) -> np.ndarray:
    """The inverse where it is a distribution, else the most likely one: expectation and maximisation from near it."""
    inverse = counts @ np.linalg.pinv(rates) / counts.sum()
    if (inverse >= 0).all():
        return inverse / inverse.sum()
    shares = np.maximum(inverse, _LEAST)
    shares /= shares.sum()
    for _ in range(_ROUNDS):
        mixed = shares @ rates
        belongs = np.divide(counts, mixed, out=np.zeros_like(counts), where=mixed > 0)
        after = shares * (rates @ belongs)
        after /= after.sum()
        done = float(np.abs(after - shares).max()) < _CLOSE
        shares = after
        if done:
            break
    return np.where(shares < _LEAST, 0.0, shares)
